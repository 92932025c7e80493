"""E08xx: networks that come from elsewhere, and go there."""

from __future__ import annotations

from cnndsl.codes.code import Code

EXCHANGE = (
    Code(
        code="E0801",
        title="a foreign network does not fit",
        explanation="""A network of another format holds a layer whose input, arguments and weights do not go together,
            or it has no output. The message names the layer as its file does, and the arithmetic.""",
        message="error[E0801]: cannot import net.onnx: Conv `conv2` does not fit: window does not fit: "
        "conv 3x3 over a 2x2 tensor",
    ),
    Code(
        code="E0821",
        title="not a network of Darknet or Caffe",
        explanation="""A .cfg file of Darknet is a list of sections, [net] first, of lines `option=value`; a .prototxt of
            Caffe is a text of its network format. The message names the line at which the file stops being one.""",
        message="error[E0821]: alexnet.cfg is not a network of Darknet: it must begin with [net], found [conv]",
    ),
    Code(
        code="E0822",
        title="a layer of Darknet or Caffe that cannot be kept",
        explanation="""Some layers compute what no layer of the language does: heads of detectors, recurrent layers,
            sums of tensors of different shapes. Nothing is imported in their place, for the network would compute other
            numbers. All such layers of a file are told at once.""",
        message="error[E0822]: yolo.cfg: [yolo] on line 785 cannot be kept: no layer of the language computes it",
    ),
)
