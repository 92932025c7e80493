"""E01xx: the text itself."""

from __future__ import annotations

from cnndsl.codes.code import Code, network

SYNTAX = (
    Code(
        code="E0101",
        title="a character that the language does not have",
        explanation="""The text holds a character that is no part of the language. Names of layers, labels and
            parameters are made of the letters a to z and A to Z, digits and `_`; other letters may stand in
            comments and in strings. A label in double quotes may hold hyphens too, or be a keyword: "block-1".

            A reference is `@` directly followed by the label, without a space.""",
        wrong=network("conv(16, 3x3) $ relu"),
        right=network("conv(16, 3x3) -> relu"),
    ),
    Code(
        code="E0102",
        title="a brace is missing, or one too many",
        explanation="""Every `{` needs its `}`. When one is missing, the place to blame is found by indentation,
            as a reader would: a `}` that stands further left than the line of the innermost open `{` is taken to
            close an outer one. So indent what stands inside braces, and the message will point at the right line.

            The bodies of networks, blocks, `repeat`, `if`, `else` and `output`, and each arm of a join stand in
            braces, even when they hold one layer only.""",
        wrong="network Net {\n    input image [32x32x3]\n    repeat 2 {\n        conv(16, 3x3)\n}\n",
        right="network Net {\n    input image [32x32x3]\n    repeat 2 {\n        conv(16, 3x3)\n    }\n}\n",
    ),
    Code(
        code="E0103",
        title="a parenthesis or bracket is missing, or one too many",
        explanation="""Arguments and tuples stand in parentheses, shapes in brackets. A parenthesis that is left
            open ends at the latest at `->` or where the next layer begins on a new line; that is where the
            message asks for it.""",
        wrong=network("conv(16, 3x3 -> relu"),
        right=network("conv(16, 3x3) -> relu"),
    ),
    Code(
        code="E0104",
        title="a comma is missing",
        explanation="""Arguments, parameters, and the numbers of a tuple or a shape are parted by commas, also
            where each stands on a line of its own. A comma behind the last one is allowed.""",
        wrong=network("conv(16 3x3)"),
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0105",
        title="a keyword is misspelt",
        explanation="""A word stands where only a keyword makes sense, and is nearly one. The keywords are `use`,
            `block`, `network`, `input`, `output`, `repeat`, `if`, `else`, `and`, `or`, `not`, `true` and `false`,
            all in small letters.""",
        wrong=network("repaet 2 { conv(16, 3x3) }"),
        right=network("repeat 2 { conv(16, 3x3) }"),
    ),
    Code(
        code="E0106",
        title="a word in the wrong place",
        explanation="""What stands here does not fit what comes before it: a name, a value, a number of passes or
            a condition is missing, or something stands where the language has no place for it. The message says
            what was expected.""",
        wrong=network("conv(16, 3x3)", "if { relu }"),
        right=network("conv(16, 3x3)", "if in.channels == 16 { relu }"),
    ),
    Code(
        code="E0107",
        title="a string is not closed",
        explanation="""A string begins with a double quote and ends with one on the same line. Strings name files
            in `use` lines; the words that arguments take (`pad=same`, `order=bgr`) need no quotes.""",
        wrong='network Net {\n    input image [32x32x3] (order="bgr\n                          )\n    relu\n}\n',
        right='network Net {\n    input image [32x32x3] (order="bgr")\n    relu\n}\n',
    ),
    Code(
        code="E0108",
        title="nested too deep",
        explanation="""Brackets within brackets, or bodies within bodies, go deeper than any network needs. The
            limit keeps a broken or hostile file from using up the machine. Deep structure reads better as blocks.""",
        wrong=network("identity " + "x: { " * 60 + "relu " + "} " * 60),
        right=network("identity", "x: { relu }"),
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
        explanation="""The file does not exist, is a folder, may not be read, or is far too large to be a network:
            at most 2 MiB of text and 100,000 words and signs. What repeats is written as `repeat n { ... }` or as
            a block, and takes no room.""",
        message="error[E0110]: cannot read alexnt.cnn: there is no such file\n = help: did you mean alexnet.cnn?",
    ),
    Code(
        code="E0111",
        title="not a number",
        explanation="""Whole numbers are written in decimal digits, at most 15 of them. Numbers with a fraction
            have digits on both sides of the point (`0.5`, `1.0`), and may have an exponent: `5e-4`. Sizes are
            joined by an `x`, `3x3` or `227x227x3`; where a size is computed, it is a tuple, `(k, k)`, or in a
            shape `[h, w, 4*c]`.""",
        wrong=network("conv(16, 3x)"),
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0112",
        title="a keyword used as a name",
        explanation="""The keywords (`use`, `block`, `network`, `input`, `output`, `repeat`, `if`, `else`, `and`,
            `or`, `not`, `true`, `false`) cannot name labels, parameters, blocks or networks; a label may be one
            in double quotes, `"block": relu`. The tensor that flows into a layer is called `in`, as in
            `in.channels`.""",
        wrong="block repeat(n) { conv(n, 3x3) }\n",
        right="block repeated(n) { conv(n, 3x3) }\n",
    ),
    Code(
        code="E0113",
        title="an arrow that joins nothing",
        explanation="""`->` stands between two layers and means that the first feeds the second. A new line means
            the same, so no arrow is needed at the end of a line, and none may stand at the beginning or end of a
            body or between the arms of a join.""",
        wrong=network("conv(16, 3x3) -> -> relu"),
        right=network("conv(16, 3x3) -> relu"),
    ),
    Code(
        code="E0114",
        title="something outside of, or inside, a definition that does not belong there",
        explanation="""A file holds `use` lines, blocks and networks, and nothing else outside of them. Layers
            stand inside a network or block; and a network, a block or a `use` line stands at the top of the file,
            never inside another body.

            When this points at the first word of a file, the file is probably not a .cnn file at all. When it
            points behind the end of a network, look for a `}` that closes it too early.""",
        wrong="conv(16, 3x3)\n",
        right=network("conv(16, 3x3)"),
    ),
    Code(
        code="E0115",
        title="written as in another language",
        explanation="""This is how other languages say it. Here comments begin with `#`; strings have double
            quotes; arguments stand in parentheses and are named with `=`; labels end with a colon; layers are
            joined by `->` or a new line, without commas or semicolons; conditions use `==`, `and`, `or` and
            `not`; tuples stand in parentheses and shapes in brackets; a 3 by 3 window is `3x3`, while `3*3` is
            the number 9.""",
        wrong=network("conv(16, 3x3);"),
        right=network("conv(16, 3x3)"),
    ),
)
