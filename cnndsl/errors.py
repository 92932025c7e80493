"""Source text, spans, diagnostics and their rendering.

Every mistake a user can make, in a ``.cnn`` file, a weight file or on the command line, becomes a
`Diagnostic` with a stable code from `cnndsl.codes`. A stage collects as many as it can and raises them
together in one `CnnError`.
"""

from __future__ import annotations

import bisect
import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

Severity = Literal["error", "warning"]

MAX_SOURCE_WIDTH = 110
"""Characters of a source line that are shown; longer lines are cut around the culprit."""

MAX_SHOWN = 50
"""Diagnostics printed in one run; a thousand lines of errors teach nobody."""


@dataclass(frozen=True, eq=False)
class Source:
    """A named text. Compared by identity: two files may hold the same text."""

    name: str
    text: str

    @cached_property
    def line_starts(self) -> list[int]:
        """Offset of the first character of each line."""
        return [0, *(m.end() for m in re.finditer("\n", self.text))]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1, the column in characters."""
        line = bisect.bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line, without its end."""
        start = self.line_starts[number - 1]
        end = self.line_starts[number] if number < len(self.line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")


@dataclass(frozen=True)
class Span:
    """A half-open range of characters in a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        """Line of the first character, from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """Column of the first character, from 1."""
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        """The characters themselves."""
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of `other`."""
        return Span(self.source, self.start, max(self.end, other.end))

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Label:
    """A second place that a diagnostic points to, with a few words beside it."""

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: where it is, what is wrong, why, and what to write instead."""

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    severity: Severity = "error"

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, for tools."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            **_place(self.span),
            "label": self.label,
            "labels": [{**_place(label.span), "text": label.text} for label in self.labels],
            "notes": list(self.notes),
            "help": list(self.help),
        }


class CnnError(Exception):
    """Raised for every user's mistake. `diagnostics` holds all that one stage found."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        assert self.diagnostics, "a CnnError without a diagnostic"
        super().__init__(self.diagnostics[0].message)

    def __str__(self) -> str:
        return render(self.diagnostics)

    def __reduce__(self) -> tuple[Any, ...]:
        return (CnnError, (self.diagnostics,))


def diagnostic(
    code: str, message: str, *, notes: Sequence[str] = (), help: Sequence[str] = ()  # noqa: A002 - the printed word
) -> Diagnostic:
    """A diagnostic that has no place in a ``.cnn`` file (a weight file, an option, the machine)."""
    return Diagnostic(code, message, notes=tuple(notes), help=tuple(help))


def problem(
    code: str, message: str, *, notes: Sequence[str] = (), help: Sequence[str] = ()  # noqa: A002 - the printed word
) -> CnnError:
    """A `CnnError` of one diagnostic that has no place in a ``.cnn`` file."""
    return CnnError((diagnostic(code, message, notes=notes, help=help),))


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate nearest to a misspelt word, or None when nothing is near.

    Case and underscores are ignored first (``MaxPool`` means ``maxpool``); then by similarity.
    """
    names = sorted(set(candidates))
    folded = {name.lower().replace("_", ""): name for name in names}
    key = word.lower().replace("_", "")
    if key in folded:
        return folded[key]
    near = difflib.get_close_matches(key, list(folded), n=1, cutoff=0.65)
    return folded[near[0]] if near else None


# --- rendering -----------------------------------------------------------------------------------

_STYLES = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "bold": "\x1b[1m",
    "rule": "\x1b[1;34m",
    "second": "\x1b[1;34m",
    "help": "\x1b[1;36m",
}


def render(diagnostics: Sequence[Diagnostic], *, color: bool = False) -> str:
    """Diagnostics as text, each like rustc's: message, place, line, underline, arithmetic, help."""
    shown = [_render_one(d, color=color) for d in diagnostics[:MAX_SHOWN]]
    if len(diagnostics) > MAX_SHOWN:
        shown.append(f"... and {len(diagnostics) - MAX_SHOWN} more")
    return "\n\n".join(shown)


def _render_one(d: Diagnostic, *, color: bool) -> str:
    def paint(style: str, text: str) -> str:
        return f"{_STYLES[style]}{text}\x1b[0m" if color and text else text

    places = [Label(d.span, d.label), *d.labels] if d.span is not None else list(d.labels)
    width = max((len(str(p.span.line)) for p in places), default=0) + 1
    bar = paint("rule", "|")
    out = [paint(d.severity, f"{d.severity}[{d.code}]") + paint("bold", f": {printable(d.message)}")]
    previous: Source | None = None
    for rank, group in enumerate(_by_line(places)):
        span = group[0].span
        if span.source is not previous:
            arrow = "-->" if rank == 0 else ":::"
            out.append(f"{' ' * width}{paint('rule', arrow)} {span.source.name}:{span.line}:{span.column}")
            previous = span.source
        out.append(f"{' ' * width} {bar}")
        cells, offset = _cells(span)
        line = "".join(cells).rstrip()
        out.append(f"{paint('rule', str(span.line).rjust(width))} {bar} {line}".rstrip())
        for place in group:
            primary = d.span is not None and place is places[0]
            mark, style = ("^", d.severity) if primary else ("-", "second")
            first = place.span.column - 1 - offset
            # A span that runs over the end of its line is underlined to that end.
            last = max(first + 1, min(first + place.span.end - place.span.start, len(cells)))
            indent = " " * sum(_width(c) for c in cells[: max(first, 0)])
            under = mark * max(1, sum(_width(c) for c in cells[max(first, 0) : last]))
            text = f"{under} {printable(place.text)}".rstrip()
            out.append(f"{' ' * width} {bar} {indent}{paint(style, text)}")
    out.extend(f"{' ' * width} {paint('rule', '=')} {paint('bold', 'note')}: {printable(n)}" for n in d.notes)
    out.extend(f"{' ' * width} {paint('rule', '=')} {paint('help', 'help')}: {printable(h)}" for h in d.help)
    return "\n".join(out)


def _by_line(places: Sequence[Label]) -> list[list[Label]]:
    """Places grouped by the line they are on; the first place's line first, then in the given order."""
    groups: dict[tuple[int, int], list[Label]] = {}
    for place in places:
        groups.setdefault((id(place.span.source), place.span.line), []).append(place)
    return list(groups.values())


def _cells(span: Span) -> tuple[list[str], int]:
    """The shown characters of a span's line, one string each, and how many were cut on the left."""
    line, column = span.source.line(span.line), span.column - 1
    offset = 0
    if len(line) > MAX_SOURCE_WIDTH and column > MAX_SOURCE_WIDTH // 2:
        offset = column - MAX_SOURCE_WIDTH // 2
    cells = [_cell(c) for c in line[offset : offset + MAX_SOURCE_WIDTH]]
    return cells, offset


def _cell(character: str) -> str:
    if character == "\t":
        return "    "
    return character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"


def _width(cell: str) -> int:
    """Columns that a cell takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in cell if not unicodedata.combining(c))


def printable(text: str) -> str:
    """`text` without control characters, so that a file's bytes never steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _place(span: Span | None) -> dict[str, Any]:
    if span is None:
        return {"file": None, "line": None, "column": None, "end_line": None, "end_column": None}
    end_line, end_column = span.source.position(span.end)
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
    }
