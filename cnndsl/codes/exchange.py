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
)
