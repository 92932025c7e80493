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
        code="E0811",
        title="an operator of ONNX that no layer computes",
        explanation="""An ONNX file computes with an operator that the language has no layer for. Nothing is put in its
            place, for the network would compute other numbers; all such operators of a file are told at once,
            each with its node and the nearest layer. Operators of other domains are those of one runtime or
            exporter.""",
        message="error[E0811]: cannot import net.onnx: operator InstanceNormalization, node `norm1`, is not in the "
        "language\n"
        " = help: the nearest layer is `batchnorm`",
    ),
    Code(
        code="E0812",
        title="an operator of ONNX in a form that no layer has",
        explanation="""An operator of an ONNX file has a layer in the language, but not with these attributes or on this
            tensor: an LRN of even size, a convolution along one axis, a pool with dilations. The message says
            what differs.""",
        message="error[E0812]: cannot import net.onnx: LRN `norm1` has a window of 4 channels\n"
        " = note: an even window has its extra channel above in ONNX and below in `lrn`: other numbers",
    ),
    Code(
        code="E0813",
        title="not an ONNX file, or a damaged one",
        explanation="""An ONNX file is read with bounds and nothing in it is run. It is refused where it is cut short,
            where a node contradicts the definition of its operator, where a tensor does not hold what its shape
            says, and where its weights lie in a file that is not below its folder.""",
        message="error[E0813]: cannot read the network net.onnx: it is damaged, or not an ONNX file",
    ),
    Code(
        code="E0814",
        title="the shape of an ONNX network's input",
        explanation="""The language knows all shapes but the batch. Where an ONNX file leaves height or width of an
            input open, --input-shape names them: height x width x channels, as everywhere in the language.""",
        message="error[E0814]: cannot import net.onnx: input `image` may have [N, 3, ?, ?]\n"
        " = help: --input-shape image=224x224x3 says which: height x width x channels",
    ),
    Code(
        code="E0815",
        title="an opset of ONNX that is not read",
        explanation="""What an operator of ONNX means depends on the opset that the file names. Older ones than 7 share
            too little with today's; what ones newer than those known here will mean, nobody knows yet.""",
        message="error[E0815]: cannot import net.onnx: it is written in opset 6\n"
        " = help: onnx.version_converter brings old models up to date",
    ),
    Code(
        code="E0816",
        title="the onnx package is not installed",
        explanation="""ONNX files are read and written with the `onnx` package, which cnndsl does without for all
            else: `pip install onnx`.""",
        message="error[E0816]: importing an ONNX file needs the `onnx` package, which is not installed",
    ),
    Code(
        code="E0817",
        title="an ONNX opset that is not written",
        explanation="""`cnndsl export` writes ONNX's operators of opset 13 to 22. Before 13, softmax and reductions
            meant
            something else, and no runtime of today needs them.""",
        message="error[E0817]: opset 9 is not written\n = help: write one of 13 to 22",
    ),
    Code(
        code="E0821",
        title="not a network of Darknet or Caffe",
        explanation="""A .cfg file of Darknet is a list of sections, [net] first, of lines `option=value`; a
            .prototxt of
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
    Code(
        code="E0831",
        title="a module that torch.export cannot follow",
        explanation="""`cnndsl.from_torch` takes a module as `torch.export` sees it: a fixed list of operators on
            tensors of
            fixed shapes, in evaluation mode, from inputs [n, C, H, W] or [n, features]. Branches that depend on values,
            training mode and other inputs cannot be taken.""",
        message="error[E0831]: cannot take Net: it is in training mode\n = help: call `module.eval()` first",
    ),
    Code(
        code="E0832",
        title="an operator of torch that no layer computes",
        explanation="""A module computes with an operator that the language has no layer for. Nothing is put in its
            place, for
            the network would compute other numbers; all such operators of a module are told at once, each with the
            nearest
            layer. `torch.compile(module, backend="cnndsl")` leaves those parts to torch.""",
        message="error[E0832]: cannot take Net: aten.cumsum (`cumsum` in `head`) is no layer of the language",
    ),
)
