"""The mistakes found while a network is expanded, and the work done: both bounded."""

from __future__ import annotations

from dataclasses import replace

from cnndsl.errors import MAX_ERRORS, Diagnostic, Label, Span

MAX_LAYERS = 20_000
"""Layers of an expanded network; the deepest published one has four thousand."""

MAX_STEPS = 100_000
"""Work done while expanding, in elements visited: bounds `repeat` and blocks that make no layers."""

CHARACTERS_PER_STEP = 40
"""Evaluating this much text of an expression counts as one element visited."""


class StopError(Exception):
    """The expansion passed a limit, which was reported, or there are enough mistakes."""


class Ledger:
    """What one expansion has found wrong so far, and what it has cost."""

    def __init__(self) -> None:
        self.errors: dict[tuple[str, Span], Diagnostic] = {}
        self.calls: list[tuple[str, Label]] = []
        """The calls of blocks that are being expanded, by the block's name; shown with what is wrong inside."""
        self.steps = 0
        self.layers = 0

    def report(self, d: Diagnostic) -> None:
        """Keep a mistake, once for each place however often a loop or a block repeats it."""
        assert d.span is not None
        if self.reported(d.code, d.span):
            return
        called = tuple(label for _, label in reversed(self.calls[-3:]))
        self.errors[d.code, d.span] = replace(d, labels=(*d.labels, *called)) if called else d
        if len(self.errors) >= MAX_ERRORS:
            raise StopError

    def reported(self, code: str, span: Span) -> bool:
        """Whether a mistake is known already."""
        return (code, span) in self.errors

    def too_large(
        self, message: str, span: Span, *, hint: str = "look for a number with a digit too many"
    ) -> StopError:
        """Report a size beyond all bounds (E0218); the expansion cannot go on."""
        self.report(Diagnostic("E0218", message, span, help=(hint,)))
        return StopError()

    def spend(self, steps: int, span: Span) -> None:
        """Count work. Raises StopError when it is too much (E0218)."""
        self.steps += steps
        hint = "repeats within repeats, and blocks that call blocks several times, multiply"
        if self.layers > MAX_LAYERS:
            message = f"the network has more than {MAX_LAYERS:,} layers when expanded"
            raise self.too_large(message, span, hint=hint)
        if self.steps > MAX_STEPS:
            message = f"expanding the network takes more than {MAX_STEPS:,} steps"
            raise self.too_large(message, span, hint=hint)

    def spend_text(self, span: Span) -> None:
        """Count the work of evaluating expressions, by their length. Raises StopError."""
        self.spend((span.end - span.start) // CHARACTERS_PER_STEP, span)
