"""E02xx: names, arguments and values."""

from __future__ import annotations

from cnndsl.codes.code import Code, network

NAMES = (
    Code(
        code="E0201",
        title="unknown layer",
        explanation="""No layer and no block has this name. Layers are written in small letters without
            underscores: `maxpool`, `batchnorm`. Blocks are defined in the same file, or in a file that it names
            in a `use` line; a network cannot be used as a layer.""",
        wrong=network("conv(16, 3x3) -> rleu"),
        right=network("conv(16, 3x3) -> relu"),
    ),
    Code(
        code="E0202",
        title="unknown argument",
        explanation="""The layer or block has no argument of this name. The names differ from other frameworks' in
            places: it is `pad`, not `padding`; `kernel`, not `kernel_size`; `filters`, not `out_channels`.""",
        wrong=network("conv(16, 3x3, padding=1)"),
        right=network("conv(16, 3x3, pad=1)"),
    ),
    Code(
        code="E0203",
        title="missing argument",
        explanation="""Arguments without a default must be given, by position or by name. A parameter of the
            network without a default is given from outside: `--set classes=10` on the command line,
            `set={"classes": 10}` in Python.""",
        wrong=network("conv(16)"),
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0204",
        title="an argument is given twice",
        explanation="""Each argument is given once: by its position or by its name, not both. In `conv(16, 3x3,
            filters=32)` the 16 is the number of filters already.""",
        wrong=network("conv(16, 3x3, filters=32)"),
        right=network("conv(32, 3x3)"),
    ),
    Code(
        code="E0205",
        title="a value of the wrong type",
        explanation="""A whole number, a size, a number, a word or `true` and `false` is wanted, and the value is
            of another kind. `/` gives a number with a fraction, even when it goes without rest: channels are
            halved by `channels // 2`. A size is `3`, `3x3` or `(3, 3)`.""",
        wrong=network('conv("16", 3x3)'),
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0206",
        title="a value out of range",
        explanation="""The value is of the right kind, but too small or too large to mean anything: filters,
            windows and strides are at least 1, paddings at least 0, probabilities between 0 and 1.""",
        wrong=network("conv(16, 3x3, stride=0)"),
        right=network("conv(16, 3x3, stride=1)"),
    ),
    Code(
        code="E0207",
        title="too many arguments, or in the wrong order",
        explanation="""There are more arguments than the layer or block takes, or one without a name follows one
            with a name: arguments by position come first. The options of an `input` line are always named.""",
        wrong=network("relu(0.1)"),
        right=network("leaky_relu(0.1)"),
    ),
    Code(
        code="E0208",
        title="unknown name in an expression",
        explanation="""A word in an expression is no parameter of the block or network that it stands in. A block
            knows its own parameters only; what it needs from outside it takes as an argument. The tensor that
            flows into a layer is `in`, with the fields `in.height`, `in.width`, `in.channels` and `in.features`.
            A size of names is written `(k, k)`, since `kxk` is one name.""",
        wrong=network("dense(clases)", head="network Net(classes = 10)"),
        right=network("dense(classes)", head="network Net(classes = 10)"),
    ),
    Code(
        code="E0209",
        title="unknown label",
        explanation="""`@label` refers to the output of a layer further up, by its label or by the automatic name
            that `cnndsl summary` prints. Layers inside a labelled group, arm or block are reached by a path,
            `@stem.conv1`. A block sees its own labels only.""",
        wrong=network("first: conv(3, 3x3, pad=1)", "relu", "add(@frist)"),
        right=network("first: conv(3, 3x3, pad=1)", "relu", "add(@first)"),
    ),
    Code(
        code="E0210",
        title="a label is used before it is computed",
        explanation="""A network computes its layers from top to bottom, so a reference can only reach a layer
            that stands above it. There are no loops in time.""",
        wrong=network("add(@last)", "last: conv(3, 3x3, pad=1)"),
        right=network("last: conv(3, 3x3, pad=1)", "add(@image)"),
    ),
    Code(
        code="E0211",
        title="a name is used twice",
        explanation="""Labels are unique within their network, block, group or arm, since weights are found by
            them; so are the inputs and outputs of a network, the parameters of a block or network, and blocks and
            networks within a program. The output `main` is the network's last layer.""",
        wrong=network("a: conv(8, 3x3)", "a: conv(8, 3x3)"),
        right=network("a: conv(8, 3x3)", "b: conv(8, 3x3)"),
    ),
    Code(
        code="E0212",
        title="an expression that has no value",
        explanation="""`+ - * / // %` and the order `< <= > >=` work on numbers; `and`, `or` and `not` on `true`
            and `false`. Nothing is divided by zero.""",
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
        explanation="""A file uses a file that, directly or through others, uses the first one. Move the blocks
            that both need into a third file that uses neither.""",
        message="error[E0215]: `use` goes in a circle: a.cnn is already being read",
    ),
    Code(
        code="E0216",
        title="a used file cannot be read",
        explanation="""The path behind `use` is relative to the file that it stands in (to the current folder for a
            text without a file), and must name an ordinary text file.""",
        wrong='use "no_such_file.cnn"\nnetwork Net {\n    input image [32x32x3]\n    relu\n}\n',
        right="network Net {\n    input image [32x32x3]\n    relu\n}\n",
    ),
    Code(
        code="E0217",
        title="a block calls itself",
        explanation="""Blocks are expanded while compiling, so a block that leads back to itself would have no
            end, even where an `if` seems to stop it. What repeats is written `repeat n { ... }`.""",
        wrong="block twice(n) {\n    conv(n, 3x3, pad=1)\n    twice(n)\n}\n" + network("twice(8)"),
        right="block twice(n) {\n    repeat 2 { conv(n, 3x3, pad=1) }\n}\n" + network("twice(8)"),
    ),
    Code(
        code="E0218",
        title="absurdly large",
        explanation="""The network or one of its tensors is larger than anything that could be meant: more than
            20,000 layers or 100,000 steps when expanded, a tensor of more than 2^36 values, more than 200 files,
            numbers beyond 2^53. The limits are there so that a slip, or a file from a stranger, ends in a message
            and not in a machine without memory. A product of two nested `repeat` is a common cause.""",
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
        explanation="""`add`, `mul` and `concat` join at least two tensors: the ends of arms in braces, `add { {
            ... } { ... } }`, or the current tensor and earlier ones, `add(@label)`. An empty arm is the tensor as
            it is. Other layers and blocks take no arms.""",
        wrong=network("add"),
        right=network("add { { conv(3, 3x3, pad=1) } { } }"),
    ),
    Code(
        code="E0221",
        title="an input in the wrong place",
        explanation="""`input` stands directly in the body of a network: not in a block, since a block works on
            the tensor that flows into it, and not in an arm, a group or a `repeat`.""",
        wrong="block stem {\n    input picture [32x32x3]\n    conv(8, 3x3)\n}\n" + network("stem"),
        right="block stem {\n    conv(8, 3x3)\n}\n" + network("stem"),
    ),
)
