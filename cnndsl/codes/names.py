"""E02xx: names, arguments and values."""

from __future__ import annotations

from cnndsl.codes.code import Code, network

NAMES = (
    Code(
        code="E0201",
        title="unknown layer",
        explanation="""No layer of the language and no block of this file, or of the files that it uses, has this
            name.""",
        wrong=network("conv(16, 3x3) -> rleu"),
        right=network("conv(16, 3x3) -> relu"),
    ),
    Code(
        code="E0202",
        title="unknown argument",
        explanation="""The layer, the block or the input has no argument of this name. The names of other frameworks
            (padding, kernel_size, out_channels) are recognised and answered with the one used here.""",
        wrong=network("conv(16, 3x3, padding=1)"),
        right=network("conv(16, 3x3, pad=1)"),
    ),
    Code(
        code="E0203",
        title="missing argument",
        explanation="""An argument or parameter without a default was not given. Parameters of the network itself
            are given from outside, with --set on the command line or set= in Python, or get a default.""",
        wrong=network("conv(16)"),
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0204",
        title="an argument is given twice",
        explanation="An argument was given twice, both times by name, or once by position and once by name.",
        wrong=network("conv(16, 3x3, filters=32)"),
        right=network("conv(32, 3x3)"),
    ),
    Code(
        code="E0205",
        title="a value of the wrong type",
        explanation="""A whole number, a size, a boolean or a number is wanted here, and something else was given.
            Division with `/` gives a number with a fraction even where it comes out even; `//` divides whole
            numbers.""",
        wrong=network('conv("16", 3x3)'),
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0206",
        title="a value out of range",
        explanation="The value has the right type, but no such layer can be: a stride of 0, a probability of 2.",
        wrong=network("conv(16, 3x3, stride=0)"),
        right=network("conv(16, 3x3, stride=1)"),
    ),
    Code(
        code="E0207",
        title="too many arguments, or in the wrong order",
        explanation="""More values were given than the layer has arguments, or one without a name follows one with a
            name. Past the first two, arguments read best by name.""",
        wrong=network("relu(0.1)"),
        right=network("leaky_relu(0.1)"),
    ),
    Code(
        code="E0208",
        title="unknown name in an expression",
        explanation="""Expressions know the parameters of the block or network that they stand in, and `in.height`,
            `in.width`, `in.channels` and `in.features` of the current tensor. A block does not see its caller's
            parameters.""",
        wrong=network("dense(clases)", head="network Net(classes = 10)"),
        right=network("dense(classes)", head="network Net(classes = 10)"),
    ),
    Code(
        code="E0209",
        title="unknown label",
        explanation="""`@label` refers to the output of a layer before it: by its label, by its automatic name
            (conv1, relu1, as `summary` prints them), or as `@block.label` into a labelled block or group. A block
            sees its own labels only.""",
        wrong=network("first: conv(3, 3x3, pad=1)", "relu", "add(@frist)"),
        right=network("first: conv(3, 3x3, pad=1)", "relu", "add(@first)"),
    ),
    Code(
        code="E0210",
        title="a label is used before it is computed",
        explanation="Data flows from top to bottom: a reference can only name a layer that stands before it.",
        wrong=network("add(@last)", "last: conv(3, 3x3, pad=1)"),
        right=network("last: conv(3, 3x3, pad=1)", "add(@image)"),
    ),
    Code(
        code="E0211",
        title="a name is used twice",
        explanation="""Labels are unique in their body, since weights are named after them; so are the parameters of
            a block, the blocks and networks of a file with those that it uses, and the outputs of a network. The
            last layer's output is called main.""",
        wrong=network("a: conv(8, 3x3)", "a: conv(8, 3x3)"),
        right=network("a: conv(8, 3x3)", "b: conv(8, 3x3)"),
    ),
    Code(
        code="E0212",
        title="an expression that has no value",
        explanation="""A division by zero, or an operator between values that it is not made for: arithmetic and
            order need numbers; `and`, `or` and `not` need true or false.""",
        wrong=network("conv(16 // 0, 3x3)"),
        right=network("conv(16 // 2, 3x3)"),
    ),
    Code(
        code="E0213",
        title="which network?",
        explanation="""`file.cnn` means the only network of a file. Where it holds several, say which: file.cnn:Name
            on the command line, or network="Name" in Python.""",
        message="error[E0213]: nets.cnn holds 2 networks; say which\n = help: write nets.cnn:Small",
    ),
    Code(
        code="E0214",
        title="no network in the file",
        explanation="""The file holds blocks for others to use, or nothing at all, and no network. A network is
            written: network Name { input image [224x224x3] ... }""",
        message="error[E0214]: blocks.cnn holds no network",
    ),
    Code(
        code="E0215",
        title="`use` goes in a circle",
        explanation="""A file uses another that uses the first, directly or through further ones. Move what both
            need into a third file.""",
        message="error[E0215]: `use` goes in a circle: a.cnn is already being read",
    ),
    Code(
        code="E0216",
        title="a used file cannot be read",
        explanation="""The path behind `use` is relative to the file that it stands in (to the current folder for a
            text without a file), and must name an ordinary text file.""",
        wrong='use "no_such_file.cnn"\nnetwork Net {\n    input image [32x32x3]\n    relu\n}\n',
    ),
    Code(
        code="E0217",
        title="a block calls itself",
        explanation="""Blocks are expanded while compiling, so one that calls itself, directly or through others,
            would never end. `repeat` does the same thing several times.""",
        wrong="block twice(n) {\n    conv(n, 3x3, pad=1)\n    twice(n)\n}\n" + network("twice(8)"),
        right="block twice(n) {\n    repeat 2 { conv(n, 3x3, pad=1) }\n}\n" + network("twice(8)"),
    ),
    Code(
        code="E0218",
        title="absurdly large",
        explanation="""The network has more layers, a tensor more values, or a number more digits than any machine
            could use: a repeat of a million, a map of a terabyte. Mostly it is a digit too many. The limits keep a
            broken or hostile file from using up the machine.""",
        wrong=network("repeat 1000000000 { relu }"),
        right=network("repeat 10 { relu }"),
    ),
    Code(
        code="E0219",
        title="the network has no such parameter",
        explanation="""--set on the command line and set= in Python set the parameters behind the network's name:
            network Net(classes = 1000). This one is not among them.""",
        message="error[E0219]: network `AlexNet` has no parameter `clases`\n = help: did you mean `classes`?",
    ),
    Code(
        code="E0220",
        title="arms where there can be none, or a join without any",
        explanation="""`add`, `mul` and `concat` join at least two tensors: arms in braces, add { { ... } { ... } },
            or the current tensor and earlier ones, add(@label). No other layer has arms.""",
        wrong=network("add"),
        right=network("add { { conv(3, 3x3, pad=1) } { } }"),
    ),
    Code(
        code="E0221",
        title="an input in the wrong place",
        explanation="""Inputs stand in the body of a network itself. A block, an arm or a repeat works on the tensor
            that flows into it.""",
        wrong="block stem {\n    input picture [32x32x3]\n    conv(8, 3x3)\n}\n" + network("stem"),
        right="block stem {\n    conv(8, 3x3)\n}\n" + network("stem"),
    ),
)
