"""Networks that come from elsewhere, and go there: ONNX, torch, Caffe, Darknet."""
