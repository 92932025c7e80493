"""Loading a program with all its mistakes.

A text with a slip that was surely mended is compiled on, so that one run reports the mistakes of every kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cnndsl.errors import CnnError, Diagnostic, in_order
from cnndsl.files import Program
from cnndsl.passes.elaborate import elaborate

CERTAIN = frozenset({"E0103", "E0104", "E0105", "E0115"})
"""Slips that leave no doubt about what was meant. After others (a number that is none), names are still checked, but
shapes may be wrong for no other reason than the slip."""



def load_program(load: Callable[[], Program], settings: Mapping[str, Any] | None = None) -> Program:
    """The program that `load` gives. For one with slips, raises a CnnError that holds its other mistakes too."""
    try:
        return load()
    except CnnError as error:
        if not isinstance(error.recovered, Program):
            raise
        program = error.recovered
        slips = error.diagnostics
        further = [d for d in _mistakes(program, dict(settings or {})) if _is_sure(d, slips)]
        raise CnnError(in_order([*slips, *further], first=program.file.source)) from None


def _mistakes(program: Program, settings: dict[str, Any]) -> tuple[Diagnostic, ...]:
    """The mistakes of all its networks, each once."""
    found: dict[tuple[object, ...], Diagnostic] = {}
    for network in program.networks.values():
        own = {p.name for p in network.parameters}
        try:
            elaborate(program, network, {k: v for k, v in settings.items() if k in own})
        except CnnError as error:
            for d in error.diagnostics:
                found.setdefault((d.code, d.message, d.span), d)
    return tuple(found.values())


def _is_sure(d: Diagnostic, slips: tuple[Diagnostic, ...]) -> bool:
    """Whether a mistake in a mended text is one of the text that was meant, and no consequence of a slip."""
    if d.span is None:
        return True
    lines = {(id(s.span.source), s.span.line) for s in slips if s.span is not None and s.code not in CERTAIN}
    if (id(d.span.source), d.span.line) in lines:
        return False
    return not d.code.startswith("E03") or all(s.code in CERTAIN for s in slips)
