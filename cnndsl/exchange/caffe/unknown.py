"""Options of layers in a ``.prototxt`` that our schema does not have, which protobuf's parser passes over in silence.

Most are of training. Others were added by some fork of Caffe, or are misspelt, and change what a layer computes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

IDLE = frozenset({
    "weight_filler", "bias_filler", "filler", "engine", "force_nd_im2col", "cudnn_flag", "moving_average_fraction",
    "stable_prod_grad", "scale_train", "variance_norm", "regularization", "mask", "convolution_param",
})  # fmt: skip
"""Those that change nothing at inference."""

_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{}<>:\[\],;]|[^\s{}<>:\[\],;"'#]+""")


def unknown_options(text: str, descriptor: Any) -> Iterator[tuple[str, str]]:
    """The names of messages of layers' parameters and of options in them that the schema has not, as they come.

    `text` is one that protobuf has parsed, `descriptor` that of the whole.
    """
    tokens = [token for token in _TOKEN.findall(text) if not token.startswith("#")]
    within: list[tuple[str, Any]] = [("", descriptor)]
    place = 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        if token in {"}", ">"}:
            within = within[:-1] or within
        elif token in {"{", "<"}:  # behind the name of an extension, in brackets
            within.append(("", None))
        elif token not in {",", ";", "[", "]", ":"}:
            name, message = within[-1]
            field = message.fields_by_name.get(token) if message is not None else None
            if message is not None and field is None and name.endswith("_param") and token not in IDLE:
                yield name, token
            following = tokens[place : place + 2]
            place += following[:1] == [":"]
            if {"{", "<"} & set(following[: 2 if following[:1] == [":"] else 1]):
                within.append((token, field.message_type if field is not None else None))
                place += 1
            else:
                place = _behind(tokens, place)


def _behind(tokens: list[str], place: int) -> int:
    """The place behind a value: a list, strings in a row, or one token."""
    first = tokens[place] if place < len(tokens) else "}"
    if first == "[":
        while place < len(tokens) and tokens[place] != "]":
            place += 1
        return place + 1
    if first[0] not in "\"'":
        return place + (first not in {"}", ">", "]"})
    while place < len(tokens) and tokens[place][0] in "\"'":
        place += 1
    return place
