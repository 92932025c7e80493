"""Every error code: what it means, an example of it, and the example mended.

Codes are stable: a code is never given to another mistake. E01xx syntax, E02xx names and arguments, E03xx shapes,
E04xx files beside the network (weights, pictures, tensors, labels), E05xx tensors passed to a network, E06xx the
machine, E07xx the command line, E08xx networks of other formats.
"""

from __future__ import annotations

import textwrap

from cnndsl.codes.code import Code
from cnndsl.codes.exchange import EXCHANGE
from cnndsl.codes.files import FILES
from cnndsl.codes.machine import MACHINE
from cnndsl.codes.names import NAMES
from cnndsl.codes.shapes import SHAPES
from cnndsl.codes.syntax import SYNTAX
from cnndsl.errors import did_you_mean, problem

CODES: dict[str, Code] = {code.code: code for code in (*SYNTAX, *NAMES, *SHAPES, *FILES, *MACHINE, *EXCHANGE)}
"""All codes, in order."""


def explain(code: str) -> str:
    """What `cnndsl explain` prints: title, explanation, example. Raises CnnError (E0704) for an unknown code."""
    entry = CODES.get(code)
    if entry is None:
        guess = did_you_mean(code, CODES)
        hint = f"did you mean {guess}?" if guess is not None else "`cnndsl explain` lists the codes"
        raise problem("E0704", f"there is no error code {code}", help=(hint,))
    parts = [f"{entry.code}: {entry.title}", *(textwrap.fill(p, 80) for p in entry.paragraphs)]
    if entry.code == "E0201":
        parts.append(_layers())
    if entry.wrong:
        parts.append("Wrong:\n\n" + textwrap.indent(entry.wrong.rstrip(), "    "))
    if entry.right:
        parts.append("Right:\n\n" + textwrap.indent(entry.right.rstrip(), "    "))
    if entry.message:
        parts.append("For example:\n\n" + textwrap.indent(entry.message.rstrip(), "    "))
    return "\n\n".join(parts) + "\n"


def _layers() -> str:
    """The layers by family."""
    from cnndsl.ops import operations

    families: dict[str, list[str]] = {}
    for name, op in operations().items():
        families.setdefault(op.family, []).append(name)
    lines = []
    for family, names in families.items():
        lines.append(textwrap.fill(f"{family}: {', '.join(names)}", 80, subsequent_indent="    "))
    return "The layers are\n\n" + "\n".join(lines)
