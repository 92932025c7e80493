"""Tables of plain text that fit a terminal: columns, wrapping at sensible places, nothing cut off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2
"""Spaces between two columns."""

_SAMPLE = 200
"""Rows that are looked at to share the width out; enough to see every kind of a network's layers."""


@dataclass(frozen=True)
class Column:
    """A column: its title, its cells, and whether they stand to the right (numbers) or may wrap (texts)."""

    title: str
    cells: tuple[str, ...]
    right: bool = False
    wraps: bool = False
    least: int = 8
    """Characters that a column which wraps must keep."""

    @property
    def natural(self) -> int:
        """Characters of the longest cell."""
        return max(len(self.title), *map(len, self.cells)) if self.cells else len(self.title)


def natural_width(columns: Sequence[Column]) -> int:
    """Characters of a line when nothing wraps."""
    return sum(c.natural for c in columns) + GAP * (len(columns) - 1)


def fitting_widths(columns: Sequence[Column], width: int | None) -> tuple[int, ...] | None:
    """A width for each column so that a line has at most `width` characters, or None where that cannot be.

    Of two columns that wrap, the space is shared so that the table has the fewest lines.
    """
    natural = tuple(c.natural for c in columns)
    if width is None or natural_width(columns) <= width:
        return natural
    flexible = [i for i, c in enumerate(columns) if c.wraps]
    room = width - GAP * (len(columns) - 1) - sum(n for i, n in enumerate(natural) if i not in flexible)
    if room < sum(min(columns[i].least, natural[i]) for i in flexible):
        return None
    match flexible:
        case [only]:
            return tuple(room if i == only else n for i, n in enumerate(natural))
        case [first, second]:
            split = _best_split(columns[first], columns[second], room)
            return tuple({first: split, second: room - split}.get(i, n) for i, n in enumerate(natural))
    return None


def _best_split(a: Column, b: Column, room: int) -> int:
    """The width for `a`, the rest going to `b`, with which the fewest lines are needed."""
    lowest = max(min(a.least, a.natural), room - b.natural)
    highest = min(a.natural, room - min(b.least, b.natural))

    def lines(split: int) -> int:
        pairs = zip(a.cells[:_SAMPLE], b.cells[:_SAMPLE], strict=True)
        return sum(max(len(wrap(x, split)), len(wrap(y, room - split))) for x, y in pairs)

    return min(range(lowest, highest + 1), key=lambda split: (lines(split), -split))


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width`, broken before `->`, at spaces, or after a path's dots and `_`."""
    if len(text) <= width:
        return [text]
    lines: list[str] = [""]
    for piece in _pieces(text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:  # one word that is wider than the column
            cut = max(lines[-1].rfind(mark, 0, width) for mark in "._") + 1 or width
            lines[-1:] = [lines[-1][:cut], lines[-1][cut:]]
    lines[-1] = lines[-1].rstrip()
    return lines


def _pieces(text: str) -> list[str]:
    """The parts between which a line may end, each with its space behind it."""
    if " " in text:
        return re.findall(r"(?:-> )?[^ ]+ ?", text)
    return re.findall(r"[^._]*[._]*", text)


def render_rows(columns: Sequence[Column], widths: Sequence[int], *, gap: int = GAP) -> list[list[str]]:
    """The lines of each row, the titles' row first."""
    rows = [[c.title for c in columns], *(list(row) for row in zip(*(c.cells for c in columns), strict=True))]
    return [_row(row, columns, widths, gap=gap) for row in rows]


def _row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], *, gap: int) -> list[str]:
    placed_in = list(zip(cells, columns, widths, strict=True))
    wrapped = [wrap(cell, w) if c.wraps else [cell] for cell, c, w in placed_in]
    lines = []
    for number in range(max(map(len, wrapped))):
        parts = [cell[number] if number < len(cell) else "" for cell in wrapped]
        placed = [
            part.rjust(w) if c.right else part.ljust(w)
            for part, c, w in zip(parts, columns, widths, strict=True)
        ]
        lines.append((" " * gap).join(placed).rstrip())
    return lines


def markdown(columns: Sequence[Column]) -> list[str]:
    """A table of GitHub's markdown."""
    rule = "|" + "|".join("---:" if c.right else ":---" for c in columns) + "|"
    rows = zip(*(c.cells for c in columns), strict=True)
    lines = ["| " + " | ".join(map(_escape, row)) + " |" for row in ([c.title for c in columns], *rows)]
    return [lines[0], rule, *lines[1:]]


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
