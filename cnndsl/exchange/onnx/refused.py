"""What a handler raises when a node is outside the language."""

from __future__ import annotations

from collections.abc import Sequence


class Refused(Exception):
    """A node that cannot be taken; the reader collects all of a file. `code` is one of E081x, or E0801."""

    def __init__(
        self, code: str, message: str, *, notes: Sequence[str] = (), help: Sequence[str] = ()  # noqa: A002 - printed word
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.notes, self.help = code, message, tuple(notes), tuple(help)
