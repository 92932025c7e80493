"""E01xx: the text itself."""

from __future__ import annotations

from cnndsl.codes.code import Code, network

SYNTAX = (
    Code(
        code="E0101",
        title="a character that the language does not have",
        explanation="""A .cnn file is made of names, numbers, strings in double quotes, `->`, brackets and the usual
            operators. Anything else stands there by mistake: an arrow or a multiplication sign copied from a paper,
            say, or a name with letters beyond A to Z.""",
        wrong=network("conv(16, 3x3) $ relu"),
        right=network("conv(16, 3x3) -> relu"),
    ),
    Code(
        code="E0102",
        title="a brace is missing, or one too many",
        explanation="""Bodies of networks, blocks, repeats, conditions and arms stand in braces, and every `{` needs
            its `}`. The message points to the brace that was opened and never closed; how far the lines are
            indented helps to find which one that is.""",
        wrong="network Net {\n    input image [32x32x3]\n    repeat 2 {\n        conv(16, 3x3)\n}\n",
        right="network Net {\n    input image [32x32x3]\n    repeat 2 {\n        conv(16, 3x3)\n    }\n}\n",
    ),
    Code(
        code="E0103",
        title="a parenthesis or bracket is missing, or one too many",
        explanation="""Arguments stand in parentheses, shapes in brackets. The message points to where the closing
            one is expected, and to the one that was opened.""",
        wrong=network("conv(16, 3x3 -> relu"),
        right=network("conv(16, 3x3) -> relu"),
    ),
    Code(
        code="E0104",
        title="a comma is missing",
        explanation="Arguments, the sizes of a shape and the numbers of a tuple are parted by commas.",
        wrong=network("conv(16 3x3)"),
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0105",
        title="a keyword is misspelt",
        explanation="""The keywords are use, block, network, input, output, repeat, if, else, and, or, not, true and
            false. A word that is nearly one of them, where only a keyword can stand, is taken for it so that the
            rest of the file is still checked.""",
        wrong=network("repaet 2 { conv(16, 3x3) }"),
        right=network("repeat 2 { conv(16, 3x3) }"),
    ),
    Code(
        code="E0106",
        title="a word in the wrong place",
        explanation="""At this place something else must stand; the message says what. The language page of the
            documentation lists what a file can hold.""",
        wrong=network("conv(16, 3x3)", "if { relu }"),
        right=network("conv(16, 3x3)", "if in.channels == 16 { relu }"),
    ),
    Code(
        code="E0107",
        title="a string is not closed",
        explanation='Strings stand in double quotes and end on the line on which they begin: use "vgg.cnn".',
        wrong='network Net {\n    input image [32x32x3] (order="bgr\n                          )\n    relu\n}\n',
        right='network Net {\n    input image [32x32x3] (order="bgr")\n    relu\n}\n',
    ),
    Code(
        code="E0108",
        title="nested too deep",
        explanation="""Brackets within brackets, or bodies within bodies, go deeper than any network needs. The
            limit keeps a broken or hostile file from using up the machine. Deep structure reads better as blocks.""",
        wrong=network("identity " + "x: { " * 60 + "relu " + "} " * 60),
    ),
    Code(
        code="E0109",
        title="not a text",
        explanation="""A .cnn file is plain text in UTF-8. This file holds bytes that no such text has: it may be a
            weight file, a picture, or a text saved in another encoding.""",
        message="error[E0109]: weights.cnn is not a text in UTF-8: byte 0x80 on line 1",
    ),
    Code(
        code="E0110",
        title="the file cannot be read",
        explanation="""The file does not exist, is a folder or a device, may not be read by this user, or is far
            larger than any network's description.""",
        message="error[E0110]: cannot read alexnt.cnn: there is no such file\n = help: did you mean alexnet.cnn?",
    ),
    Code(
        code="E0111",
        title="not a number",
        explanation="""Numbers are written 3, 0.5 or 5e-4; sizes 3x3 or 227x227x3. Names in a size need the form
            with commas: (k, k) for a window, [h, w, c] for a shape.""",
        wrong=network("conv(16, 3x)"),
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0112",
        title="a keyword used as a name",
        explanation="""Keywords cannot name a network, a block, a parameter or a layer. Layer names such as `conv`
            are no keywords and can be labels.""",
        wrong="block repeat(n) { conv(n, 3x3) }\n",
        right="block repeated(n) { conv(n, 3x3) }\n",
    ),
    Code(
        code="E0113",
        title="an arrow that joins nothing",
        explanation="""`->` stands between two layers of one body and feeds the left one's output to the right one.
            A new line does the same, so no arrow is needed at the begin or the end of a body.""",
        wrong=network("conv(16, 3x3) -> -> relu"),
        right=network("conv(16, 3x3) -> relu"),
    ),
    Code(
        code="E0114",
        title="something outside of, or inside, a definition that does not belong there",
        explanation="""At the top of a file stand `use`, `block` and `network`; layers stand inside of blocks and
            networks, and no definition stands inside another.""",
        wrong="conv(16, 3x3)\n",
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0115",
        title="written as in another language",
        explanation="""The meaning is clear, but the language writes it differently: comparisons with `==`, strings
            in double quotes, `and`, `or` and `not` as words, comments with `#`, arguments in parentheses, nothing
            at the end of a line. The message says what to write.""",
        wrong=network("conv(16, 3x3);"),
        right=network("conv(16, 3x3)"),
    ),
)
