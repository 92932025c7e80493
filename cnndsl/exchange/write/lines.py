"""Lines of a text before they are put below each other: labels and shapes stand in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnndsl.tokens import written_label

INDENT = "    "
WIDTH = 104
"""Columns of a line, without its shape."""

_LONGEST_LABEL = 16
"""Longer labels are not brought into columns."""


@dataclass
class Line:
    """One line: its text, how deep it stands within its body, and the node that it ends in where a shape may follow.

    `opens` tells that the lines behind it, up to a brace, are what it holds.
    """

    text: str
    depth: int = 0
    label: str | None = None
    end: str = ""
    opens: bool = False
    is_part: bool = False
    """Whether it stands for several layers: a call, a repeat or a whole group."""

    @property
    def whole(self) -> str:
        """The text with its label."""
        return f"{written_label(self.label)}: {self.text}" if self.label is not None else self.text

    @property
    def plain(self) -> Line:
        """The line with its label as a part of its text."""
        return replace(self, text=self.whole, label=None)


def deeper(lines: Sequence[Line]) -> list[Line]:
    """The lines one step further in."""
    return [replace(line, depth=line.depth + 1) for line in lines]


def joined(lines: Sequence[Line], *, width: int) -> str | None:
    """All lines in one, where they are short enough; what has a number for its label stands apart."""
    if any(line.depth or line.opens or "#" in line.text for line in lines):
        return None
    text = ""
    for line in lines:
        apart = line.label is not None and line.label.isdigit()
        text += (("  " if apart else " -> ") if text else "") + line.whole
    return text if len(text) <= width else None


def in_columns(lines: Sequence[Line]) -> list[Line]:
    """The lines of one body with their labels in columns."""
    labels = [line.label for line in lines if line.label is not None]
    if labels and all(label.isdigit() for label in labels):
        return _numbered(lines, max(map(len, labels)))
    done: list[Line] = []
    number = 0
    while number < len(lines):
        run = number
        while run < len(lines) and _has_column(lines[run]):
            run += 1
        width = max((len(written_label(line.label or "")) for line in lines[number:run]), default=0)
        for line in lines[number:run]:
            label = written_label(line.label or "")
            done.append(replace(line, text=f"{label}: {' ' * (width - len(label))}{line.text}", label=None))
        if run < len(lines):
            done.append(lines[run].plain)
        number = run + 1
    return done


def _has_column(line: Line) -> bool:
    if line.label is None or line.depth or line.opens or line.text.endswith("}"):
        return False
    return len(line.label) <= _LONGEST_LABEL


def _numbered(lines: Sequence[Line], width: int) -> list[Line]:
    """Lines whose labels are numbers: these end below each other, and what has none stands behind them."""
    done = []
    shift = 0
    for line in lines:
        if line.label is not None:
            shift = width - len(line.label)
        elif not line.depth and not line.text.startswith("}"):
            shift = width + 2
        done.append(replace(line, text=" " * shift + line.whole, label=None))
    return done


def with_shapes(lines: Sequence[Line], shapes: Sequence[str]) -> list[str]:
    """The lines as text, each with its shape, if any, in one column behind all that have one."""
    texts = [f"{INDENT * line.depth}{line.text}".rstrip() for line in lines]
    lengths = [len(text) for text, shape in zip(texts, shapes, strict=True) if shape]
    column = max((length for length in lengths if length <= WIDTH), default=0) + 4
    return [
        f"{text}{' ' * max(column - len(text), 2)}{shape}" if shape else text
        for text, shape in zip(texts, shapes, strict=True)
    ]
