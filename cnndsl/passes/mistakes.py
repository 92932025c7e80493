"""The mistakes that elaboration finds in a text whose syntax errors were mended: one run shows all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnndsl.errors import CnnError, Diagnostic, Span, in_order
from cnndsl.files import Program
from cnndsl.passes.elaborate import elaborate


def with_later_mistakes(
    error: CnnError, *, network: str | None = None, settings: Mapping[str, Any] | None = None
) -> CnnError:
    """What loading a program has raised, with what is wrong beyond its syntax where that could be mended.

    `network` is the one that is asked for, all of them by default; `settings` as for `elaborate`, where those
    of other networks are left out.
    """
    program = error.recovered
    if not isinstance(program, Program):
        return error
    found: dict[tuple[str, Span | None], Diagnostic] = {(d.code, d.span): d for d in error.diagnostics}
    for name, definition in program.networks.items():
        if network is not None and name != network:
            continue
        own = {p.name for p in definition.parameters}
        try:
            elaborate(program, definition, {k: v for k, v in (settings or {}).items() if k in own})
        except CnnError as later:
            for d in later.diagnostics:
                found.setdefault((d.code, d.span), d)
    return CnnError(in_order(found.values(), first=program.file.source))
