"""Source text, spans, diagnostics and their rendering.

Every mistake a user can make, in a ``.cnn`` file, a weight file or on the command line, becomes a
`Diagnostic` with a stable code from `cnndsl.codes`. A stage collects as many as it can and raises them
together in one `CnnError`.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from os.path import basename
from typing import Any, Literal

Severity = Literal["error", "warning"]

MAX_SOURCE_WIDTH = 110
"""Characters of a source line that are shown; longer lines are cut around the culprit."""

MAX_MESSAGE = 600
"""Characters of a message, label, note or help."""

MAX_ERRORS = 100
"""Diagnostics that one stage collects before it stops; a thousand lines of errors teach nobody."""

MAX_SHOWN = 50
"""Diagnostics printed in one run."""


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

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, for tools: the file, and the line and column of the start and of the end."""
        end_line, end_column = self.source.position(self.end)
        return {
            "file": self.source.name,
            "line": self.line,
            "column": self.column,
            "end_line": end_line,
            "end_column": end_column,
        }

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
            "message": shortened(self.message),
            **(self.span.to_json() if self.span is not None else _NO_PLACE),
            "label": shortened(self.label),
            "labels": [{**label.span.to_json(), "text": shortened(label.text)} for label in self.labels],
            "notes": [shortened(note) for note in self.notes],
            "help": [shortened(each) for each in self.help],
        }


_NO_PLACE = dict.fromkeys(("file", "line", "column", "end_line", "end_column"))


class CnnError(Exception):
    """Raised for every user's mistake. `diagnostics` holds all that one stage found.

    `recovered` is what a reader made of a text all the same, so that a later stage can look for more mistakes
    in it: a `cnndsl.files.Program`, or None.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic], *, recovered: object = None) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        self.recovered = recovered
        assert self.diagnostics, "a CnnError without a diagnostic"
        super().__init__(self.diagnostics[0].message)

    def __str__(self) -> str:
        return render(self.diagnostics)

    def __reduce__(self) -> tuple[Any, ...]:
        return (CnnError, (self.diagnostics,))


def diagnostic(
    code: str, message: str, *, notes: Sequence[str] = (),
    help: Sequence[str] = ()  # noqa: A002 - the printed word
) -> Diagnostic:
    """A diagnostic that has no place in a ``.cnn`` file (a weight file, an option, the machine)."""
    return Diagnostic(code, message, notes=tuple(notes), help=tuple(help))


def problem(
    code: str, message: str, *, notes: Sequence[str] = (),
    help: Sequence[str] = ()  # noqa: A002 - the printed word
) -> CnnError:
    """A `CnnError` of one diagnostic that has no place in a ``.cnn`` file."""
    return CnnError((diagnostic(code, message, notes=notes, help=help),))


def reason_of(error: BaseException) -> str:
    """What an exception says, in one line of a message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def in_order(diagnostics: Iterable[Diagnostic], *, first: Source | None = None) -> tuple[Diagnostic, ...]:
    """File by file, `first` and then as met, and within a file in the order of the text.

    Those without a place come before all others.
    """
    order = {id(first): 0} if first is not None else {}
    found = list(diagnostics)
    for d in found:
        if d.span is not None:
            order.setdefault(id(d.span.source), len(order))

    def key(d: Diagnostic) -> tuple[int, int, int]:
        return (order[id(d.span.source)], d.span.start, d.span.end) if d.span is not None else (-1, 0, 0)

    return tuple(sorted(found, key=key))


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate nearest to a misspelt word, or None when nothing is near.

    Case and underscores are ignored first (``MaxPool`` means ``maxpool``); then one letter in three may be
    wrong, missing, added or swapped with its neighbour.
    """
    key = _folded(word)
    names = {_folded(name): name for name in sorted(set(islice(candidates, MAX_CANDIDATES)), reverse=True)}
    if key in names:
        return names[key]
    if len(key) > MAX_WORD:
        return None
    limit = max(1, len(key) // 3)
    best: tuple[int, bool, str] | None = None
    for folded, name in names.items():
        distance = _distance(key, folded, limit)
        if distance is not None and distance < len(key):
            rank = (distance, folded[:1] != key[:1], name)
            best = rank if best is None else min(best, rank)
    if best is not None:
        return best[2]
    begins = [name for folded, name in names.items() if len(folded) >= 4 and key.startswith(folded)]
    return max(begins, key=len, default=None)


MAX_CANDIDATES = 1000
"""Names that a misspelt word is compared with; 10 ms."""

MAX_WORD = 60
"""Letters beyond which a word is not taken for a misspelling."""


def _folded(word: str) -> str:
    return word.lower().replace("_", "")


def _distance(a: str, b: str, limit: int) -> int | None:
    """Letters to change, add, drop or swap to get from one word to the other; None beyond `limit`."""
    if abs(len(a) - len(b)) > limit:
        return None
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, before, last = [i], row, before
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return None
    return row[-1] if row[-1] <= limit else None


def lines_of(spans: Iterable[Span], *, home: Span) -> str:
    """Where some spans lie: ``lines 3-5``, and with their names those in other files than `home`'s."""
    found: dict[Source, list[int]] = {home.source: []}
    for span in spans:
        found.setdefault(span.source, []).append(span.line)
    parts = []
    for source, lines in found.items():
        if lines:
            first, last = min(lines), max(lines)
            numbers = f"{first}" if first == last else f"{first}-{last}"
            here = "line " if first == last else "lines "
            parts.append(f"{here}{numbers}" if source is home.source else f"{basename(source.name)}:{numbers}")
    return ", ".join(parts)


def listed(words: Sequence[str], *, most: int = 8, last: str = "and") -> str:
    """``a, b and c``; long lists are cut."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return f" {last} ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), *words[-1:]])


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
    """Diagnostics as text: message, place, line, underline, arithmetic, help."""
    shown = [_render_one(d, color=color) for d in diagnostics[:MAX_SHOWN]]
    if len(diagnostics) > MAX_SHOWN:
        rest = f"{len(diagnostics) - MAX_SHOWN} more" if len(diagnostics) < MAX_ERRORS else "more"
        shown.append(f"... and {rest}")
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
            place = f"{printable(span.source.name)}:{span.line}:{span.column}"
            out.append(f"{' ' * width}{paint('rule', arrow)} {place}")
            previous = span.source
        out.append(f"{' ' * width} {bar}")
        line = _ShownLine.of(span)
        out.append(
            f"{paint('rule', str(span.line).rjust(width))} {bar} {''.join(line.cells).rstrip()}".rstrip()
        )
        for place_ in group:
            primary = d.span is not None and place_ is places[0]
            mark, style = ("^", d.severity) if primary else ("-", "second")
            indent, under = line.underline(place_.span, mark)
            out.append(
                f"{' ' * width} {bar} {indent}{paint(style, f'{under} {printable(place_.text)}'.rstrip())}"
            )
    out.extend(f"{' ' * width} {paint('rule', '=')} {paint('bold', 'note')}: {printable(n)}" for n in d.notes)
    out.extend(f"{' ' * width} {paint('rule', '=')} {paint('help', 'help')}: {printable(h)}" for h in d.help)
    return "\n".join(out)


def _by_line(places: Sequence[Label]) -> list[list[Label]]:
    """Places grouped by the line they are on; the first place's line first, then in the given order."""
    groups: dict[tuple[int, int], list[Label]] = {}
    for place in dict.fromkeys(places):
        groups.setdefault((id(place.span.source), place.span.line), []).append(place)
    return list(groups.values())


@dataclass(frozen=True)
class _ShownLine:
    """The characters of a line that are shown, one string for each, and the column of the first."""

    cells: tuple[str, ...]
    first: int

    @classmethod
    def of(cls, span: Span) -> _ShownLine:
        line, column = span.source.line(span.line), span.column - 1
        start = max(0, column - MAX_SOURCE_WIDTH // 2) if len(line) > MAX_SOURCE_WIDTH else 0
        cells = [_cell(c) for c in line[start : start + MAX_SOURCE_WIDTH]]
        if start > 0:
            cells[0] = "... "
        if start + MAX_SOURCE_WIDTH < len(line):
            cells.append(" ...")
        return cls(tuple(cells), start)

    def underline(self, span: Span, mark: str) -> tuple[str, str]:
        """The white space before the underline of a span, and the underline."""
        first = span.column - 1 - self.first
        if not 0 <= first <= len(self.cells):
            return "", f"(column {span.column})"
        # A span that runs over the end of its line is underlined to that end.
        last = max(first + 1, min(first + span.end - span.start, len(self.cells)))
        indent = " " * sum(map(_width, self.cells[:first]))
        return indent, mark * max(1, sum(map(_width, self.cells[first:last])))


def _cell(character: str) -> str:
    if character == "\t":
        return "    "
    shown = character.isprintable() or unicodedata.category(character).startswith("M")
    return character if shown else "\N{REPLACEMENT CHARACTER}"


def _width(cell: str) -> int:
    """Columns that a cell takes on a terminal."""
    if cell.isascii():
        return len(cell)
    if unicodedata.category(cell) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(cell) in "WF" else 1


def printable(text: str) -> str:
    """`text` without control characters, so that a file's bytes never steer a terminal, and cut when endless."""
    text = shortened(text)
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def shortened(text: str) -> str:
    """`text`, cut when endless: a message may quote a name of a million letters."""
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."
