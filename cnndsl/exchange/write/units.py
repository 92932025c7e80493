"""Parts that come again in a network without names: they become groups, to be written as blocks.

A body is read line by line, as it would be written. Of all runs of lines that come again, alike but for their numbers,
the one is taken that saves most text, until none saves any.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields

from cnndsl.exchange.write.alike import kind_of_group, shortcut
from cnndsl.exchange.write.blocks import MOST_PARAMETERS
from cnndsl.exchange.write.layout import lines_of
from cnndsl.exchange.write.tree import Body, Group, Layer, Repeat, bodies_of, items_within, written_layers
from cnndsl.exchange.write.words import op_text
from cnndsl.ir import Graph
from cnndsl.ops.conv import Conv

LONGEST = 8
"""Lines of a unit."""

MOST_UNITS = 24
"""A text with more blocks is no easier to read than one with less."""

CALL, ARGUMENT, DEFINITION = 16, 6, 50
"""Characters that a call, each of its arguments and a block's frame take, about."""


@dataclass(frozen=True)
class _Line:
    """Items that stand in one line, or in one construct."""

    items: Body
    kind: Hashable
    """What makes it like others: its layers, and whether convolutions are depthwise or 1x1."""
    size: int


@dataclass(frozen=True)
class _Run:
    """Lines of a body that come again elsewhere."""

    body: Body
    items: Body


class Units:
    """Finds units and puts them in groups, in place. What `kept` names is read elsewhere and stays where it is."""

    def __init__(self, graph: Graph, kept: set[str]) -> None:
        self.graph, self.kept = graph, kept
        self.kinds: dict[int, Hashable] = {}
        """The kinds of the groups that were made, by identity."""
        self.lines: dict[int, list[_Line]] = {}
        self.plain: dict[int, _Line] = {}
        """Lines of layers alone, which stay as they are, by their first item."""
        self.numbers: dict[Hashable, int] = {}

    def find(self, body: Body) -> None:
        """Group what comes again, at any depth."""
        for _ in range(MOST_UNITS):
            best = self._best(list(self._bodies(body, set())))
            if best is None:
                return
            for run in self._everywhere(body, best):
                self._group(run, best)
            self.lines.clear()

    # --- reading ---------------------------------------------------------------------------------------

    def _bodies(self, body: Body, seen: set[Hashable]) -> Iterator[Body]:
        """The bodies that a text would hold: of units of one kind, the first one's."""
        yield body
        for item in body:
            kind = self.kinds.get(id(item))
            if kind is not None:
                if kind in seen:
                    continue
                seen.add(kind)
            inner = bodies_of(item)
            for one in inner[:1] if isinstance(item, Repeat) else inner:
                yield from self._bodies(one, seen)

    def _all_bodies(self, body: Body) -> Iterator[Body]:
        yield body
        for item in items_within(body):
            yield from bodies_of(item)

    def _lines_of(self, body: Body) -> list[_Line]:
        if id(body) not in self.lines:
            self.lines[id(body)] = [self._known(items) for items in lines_of(body, self.graph)]
        return self.lines[id(body)]

    def _known(self, items: Body) -> _Line:
        line = self.plain.get(id(items[0]))
        if line is not None and len(line.items) == len(items):
            return line
        line = self._line(items)
        # A number is compared in no time, and what a kind is made of is not.
        line = _Line(items, self.numbers.setdefault(line.kind, len(self.numbers)), line.size)
        if all(isinstance(item, Layer) and not item.arms for item in items):
            self.plain[id(items[0])] = line
        return line

    def _line(self, items: Body) -> _Line:
        alone = any(isinstance(i, Layer) and i.node in self.kept for i in items_within(items))
        kind = None if alone else kind_of_group(Group(None, items), self.graph)
        if kind is None:
            return _Line(items, ("alone", id(items[0])), 0)
        size = 0
        for item in written_layers(items):
            op = self.graph.by_name[item.node].op
            assert op is not None
            size += len(op_text(op, {})) + 4 + 12 * len(item.arms)
        convs = self._convs(items)
        first = items[0]
        if isinstance(first, Group) and id(first) in self.kinds:
            return _Line(items, ("unit", self.kinds[id(first)], len(items)), CALL)
        return _Line(items, (kind, frozenset((op.groups == op.filters > 1, op.kernel == (1, 1)) for op in convs)), size)

    def _convs(self, body: Body) -> list[Conv]:
        """The convolutions of a text, but for projections, which one of two alike parts may lack."""
        found = []
        for item in body:
            inner = list(bodies_of(item)[:1] if isinstance(item, Repeat) else bodies_of(item))
            if isinstance(item, Layer):
                op = self.graph.by_name[item.node].op
                found.extend([op] if isinstance(op, Conv) else [])
                short = shortcut(item, self.graph)
                if short is not None:
                    del inner[short]
            for one in inner:
                found.extend(self._convs(one))
        return found

    # --- choosing --------------------------------------------------------------------------------------

    def _best(self, bodies: Sequence[Body]) -> tuple[Hashable, ...] | None:
        """The kinds of the lines that are best written once; None where that saves nothing."""
        found: dict[tuple[Hashable, ...], list[tuple[int, int]]] = {}
        for place, body in enumerate(bodies):
            lines = self._lines_of(body)
            for first in range(len(lines)):
                for length in range(1, min(LONGEST, len(lines) - first) + 1):
                    if not lines[first + length - 1].size:
                        break
                    kinds = tuple(line.kind for line in lines[first : first + length])
                    runs = found.setdefault(kinds, [])
                    if not runs or runs[-1][0] != place or runs[-1][1] + length <= first:
                        runs.append((place, first))
        best, most = None, 0
        for kinds, runs in found.items():
            size = sum(line.size + 8 for line in self._lines_of(bodies[runs[0][0]])[runs[0][1] :][: len(kinds)])
            if len(runs) > 1 and (len(runs) - 1) * size - len(runs) * CALL - DEFINITION > most:
                saved = self._saved([self._lines_of(bodies[b])[i : i + len(kinds)] for b, i in runs])
                if saved > most:
                    best, most = kinds, saved
        return best

    def _saved(self, runs: Sequence[Sequence[_Line]]) -> int:
        first = [item for line in runs[0] for item in line.items]
        if len(first) == 1 and isinstance(first[0], Group | Repeat):
            return 0
        cores = {self._core(line) for line in runs[0]}
        if len(cores) == 1 and None not in cores:
            return 0  # one repeat of calls, once defaults say what differs
        layers = sum(1 for _ in written_layers(first))
        if layers < 3:
            return 0
        size = sum(line.size for line in runs[0]) + 8 * len(runs[0])
        arguments = self._arguments([[item for line in run for item in line.items] for run in runs])
        if arguments > MOST_PARAMETERS:
            return 0
        return (len(runs) - 1) * size - len(runs) * (CALL + ARGUMENT * arguments) - DEFINITION

    def _core(self, line: _Line) -> Hashable | None:
        """The unit that a line calls or repeats, and nothing else."""
        match line.items:
            case [Group() as group]:
                return self.kinds.get(id(group))
            case [Repeat(passes=[[Group() as group], *_])]:
                return self.kinds.get(id(group))
        return None

    def _arguments(self, runs: Sequence[Body]) -> int:
        """How many numbers differ between alike bodies, equal ones counted once."""
        columns: set[Hashable] = set()
        values = [[self._numbers(item.node) for item in written_layers(items)] for items in runs]
        least = min(map(len, values))  # shortcuts may differ
        for layer in range(least):
            for names in zip(*(found[layer] for found in values), strict=False):
                if any(value != names[0] for value in names):
                    columns.add(names)
        return len(columns)

    def _numbers(self, node: str) -> tuple[Hashable, ...]:
        op = self.graph.by_name[node].op
        return tuple(getattr(op, f.name) for f in fields(op)) if op is not None else ()

    # --- grouping --------------------------------------------------------------------------------------

    def _everywhere(self, body: Body, kinds: tuple[Hashable, ...]) -> list[_Run]:
        """All runs of lines of these kinds, in the parts that are written once for several too."""
        runs = []
        for one in self._all_bodies(body):
            lines = self._lines_of(one)
            number = 0
            while number < len(lines):
                part = lines[number : number + len(kinds)]
                if tuple(line.kind for line in part) == kinds:
                    runs.append(_Run(one, [item for line in part for item in line.items]))
                    number += len(kinds)
                else:
                    number += 1
        return runs

    def _group(self, run: _Run, kind: Hashable) -> None:
        group = Group(None, run.items)
        self.kinds[id(group)] = kind
        start = next(number for number, item in enumerate(run.body) if item is run.items[0])
        run.body[start : start + len(run.items)] = [group]
