"""E03xx: shapes."""

from __future__ import annotations

from cnndsl.codes.code import Code, network

SHAPES = (
    Code(
        code="E0301",
        title="a shape assertion does not hold",
        explanation="""`[55x55x96]` behind a layer says what its output is, and here it is something else. Shapes
            are height x width x channels, without the batch; `_` leaves a size unchecked. The message shows how
            the shape that was found comes about, and, where changing one argument would make the assertion hold,
            which.

            What only follows from a wrong assertion is not reported again: the layers behind it are checked
            against what the text says.""",
        wrong=network("conv(16, 3x3) -> relu [32x32x16]"),
        right=network("conv(16, 3x3, pad=1) -> relu [32x32x16]"),
    ),
    Code(
        code="E0302",
        title="groups do not divide the channels",
        explanation="""A grouped convolution splits its input channels and its filters into `groups` equal parts,
            so the number of groups must divide both. `groups=in.channels` is a depthwise convolution.
            `channel_shuffle` needs channels that its groups divide, too.""",
        wrong=network("conv(16, 3x3, groups=2)"),
        right=network("conv(18, 3x3, groups=3)"),
    ),
    Code(
        code="E0303",
        title="the arms do not agree",
        explanation="""`add` needs arms of one shape; `concat` needs equal heights and widths; `mul` needs equal
            shapes, or [1x1xC] beside [HxWxC]. An empty arm passes the current tensor on as it is. Where a block
            changes the number of channels or the stride, ResNets put a 1x1 convolution with the same stride on
            the shortcut.""",
        wrong=network("add { { conv(16, 3x3, pad=1) } { } }"),
        right=network("add { { conv(16, 3x3, pad=1) } { conv(16, 1x1) } }"),
    ),
    Code(
        code="E0304",
        title="the window does not fit",
        explanation="""The window of a convolution or a pooling is larger than its padded input, so there is no
            place to put it: floor((in + pads - dilation * (kernel - 1) - 1) / stride) + 1 is less than 1. Usually
            the map has become too small through the strides and poolings before; the message lists the sizes on
            the way.""",
        wrong=network("maxpool(3x3, stride=2)", input="[2x2x64]"),
        right=network("maxpool(3x3, stride=2, pad=1)", input="[2x2x64]"),
    ),
    Code(
        code="E0305",
        title="a feature map is needed",
        explanation="""Convolution, pooling and whatever else works on rows and columns needs a feature map
            [HxWxC]. `dense` and `flatten` make a vector, which has `in.features` and neither height nor width,
            and nothing makes a map of a vector again. `dense` flattens by itself, so no `flatten` is needed
            before it.""",
        wrong=network("dense(10) -> maxpool(2x2)"),
        right=network("maxpool(2x2) -> dense(10)"),
    ),
    Code(
        code="E0306",
        title="a pooling with too much padding",
        explanation="""A pooling window may reach at most half of itself into the padding. With more, there would
            be windows that see nothing but padding, whose maximum is minus infinity. PyTorch has the same rule.""",
        wrong=network("maxpool(2x2, pad=2)"),
        right=network("maxpool(2x2, pad=1)"),
    ),
    Code(
        code="E0307",
        title="the network has no input",
        explanation="""The first line of a network's body says what flows into it: `input image [224x224x3]`. The
            name is free; the shape is height x width x channels, or one number for a vector.""",
        wrong="network Net {\n    conv(16, 3x3)\n}\n",
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0308",
        title="not a shape",
        explanation="""A shape has three sizes, height x width x channels, or one, the features of a vector; each
            is at least 1, and the batch is left out. `_` leaves a size unchecked in an assertion; an input needs
            all of them.""",
        wrong="network Net {\n    input image [3x224]\n    relu\n}\n",
        right="network Net {\n    input image [224x224x3]\n    relu\n}\n",
    ),
    Code(
        code="E0309",
        title="the options of an input do not fit it",
        explanation="""The options of an `input` line say how a picture becomes the tensor: it is resized
            (`resize=256`, the shorter side, or `resize=256x256`), then the centre is cut out (`crop=224`), then
            `mean` is subtracted and the rest divided by `std`. What comes out must have the input's height and
            width, and `mean` and `std` one number for each channel, or one for all.""",
        wrong="network Net {\n    input image [32x32x3] (mean=(0.5, 0.5))\n    relu\n}\n",
        right="network Net {\n    input image [32x32x3] (mean=(0.5, 0.5, 0.5))\n    relu\n}\n",
    ),
)
