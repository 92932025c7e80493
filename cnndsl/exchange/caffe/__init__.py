"""Caffe's prototxt and caffemodel files."""
