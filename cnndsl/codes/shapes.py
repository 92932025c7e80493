"""E03xx: shapes."""

from __future__ import annotations

from cnndsl.codes.code import Code, network

SHAPES = (
    Code(
        code="E0301",
        title="a shape assertion does not hold",
        explanation="""The shape in brackets behind a layer is checked. Either it is wrong, or an argument before it
            is: the message shows how the layer came to its shape. `_` leaves a size unchecked.""",
        wrong=network("conv(16, 3x3) -> relu [32x32x16]"),
        right=network("conv(16, 3x3, pad=1) -> relu [32x32x16]"),
    ),
    Code(
        code="E0302",
        title="groups do not divide the channels",
        explanation="""A grouped layer splits its channels evenly, so `groups` must divide the input's channels and,
            for a convolution, the filters.""",
        wrong=network("conv(16, 3x3, groups=2)"),
        right=network("conv(18, 3x3, groups=3)"),
    ),
    Code(
        code="E0303",
        title="the arms do not agree",
        explanation="""`add` needs equal shapes; `mul` equal shapes or [1x1xC] beside [HxWxC]; `concat` equal
            heights and widths. Mostly an arm has another stride or number of channels than its neighbour; a 1x1
            convolution on the shorter arm mends it, as in ResNet.""",
        wrong=network("add { { conv(16, 3x3, pad=1) } { } }"),
        right=network("add { { conv(16, 3x3, pad=1) } { conv(16, 1x1) } }"),
    ),
    Code(
        code="E0304",
        title="the window does not fit",
        explanation="""A convolution's or pooling's window is larger than the input with its padding, so that not a
            single output is left. The size is floor((in + pads - dilation * (kernel - 1) - 1) / stride) + 1. Too
            many poolings for so small an input are the usual reason.""",
        wrong=network("maxpool(3x3, stride=2)", input="[2x2x64]"),
        right=network("maxpool(3x3, stride=2, pad=1)", input="[2x2x64]"),
    ),
    Code(
        code="E0305",
        title="a feature map is needed",
        explanation="""The layer works on feature maps, height x width x channels, but a vector reaches it: it
            stands behind a dense or flatten layer. A vector has no in.height, in.width or in.channels, only
            in.features.""",
        wrong=network("dense(10) -> maxpool(2x2)"),
        right=network("maxpool(2x2) -> dense(10)"),
    ),
    Code(
        code="E0306",
        title="a pooling with too much padding",
        explanation="""A pooling window may reach at most half of it into the padding, as in torch. With more, there
            would be windows that see no pixel at all.""",
        wrong=network("maxpool(2x2, pad=2)"),
        right=network("maxpool(2x2, pad=1)"),
    ),
    Code(
        code="E0307",
        title="the network has no input",
        explanation="A network begins with what flows into it: input image [224x224x3].",
        wrong="network Net {\n    conv(16, 3x3)\n}\n",
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0308",
        title="not a shape",
        explanation="""A shape has three sizes, height x width x channels, or one, the number of features; the batch
            is left out. Sizes are at least 1. Inputs need every size, so `_` is for shape assertions alone.""",
        wrong="network Net {\n    input image [3x224]\n    relu\n}\n",
        right="network Net {\n    input image [224x224x3]\n    relu\n}\n",
    ),
    Code(
        code="E0309",
        title="the options of an input do not fit it",
        explanation="""`mean` and `std` have one number for each channel, or one for all; `std` is not 0; `crop`
            makes exactly the height and width of the input. A vector is not made from a picture and takes none of
            them.""",
        wrong="network Net {\n    input image [32x32x3] (mean=(0.5, 0.5))\n    relu\n}\n",
        right="network Net {\n    input image [32x32x3] (mean=(0.5, 0.5, 0.5))\n    relu\n}\n",
    ),
)
