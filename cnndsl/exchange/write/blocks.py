"""Blocks: groups that are alike become calls of one text with parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from cnndsl.exchange.write.alike import kind_of_group, variant
from cnndsl.exchange.write.callings import block_name, parameter_name
from cnndsl.exchange.write.names import Path
from cnndsl.exchange.write.parameters import Parameter, Parameters, Unlike
from cnndsl.exchange.write.slots import Laid, Row
from cnndsl.exchange.write.tree import Body, Group, If, Layer, Repeat, bodies_of, end_of, items_within
from cnndsl.exchange.write.words import op_text
from cnndsl.ir import Graph

OVERHEAD = 30
"""Characters that a block must save beyond its own: it is one more thing to understand."""


@dataclass(eq=False)
class Block:
    """A block's definition. `scope` is the path of the group whose labels its body refers by."""

    name: str
    parameters: list[Parameter]
    body: Body
    scope: Path

    def call(self, written: Mapping[str, str]) -> str:
        """A call with arguments: those without a default by their place, the others by name."""
        shown = [
            f"{p.name}={written[p.name]}" if p.default else written[p.name]
            for p in self.parameters
            if p.name in written
        ]
        return f"{self.name}({', '.join(shown)})" if shown else self.name


@dataclass(frozen=True)
class _Place:
    """Where a group stands: its path, the node that flows in, the labels around it from the outermost on."""

    path: Path
    start: str


@dataclass(eq=False)
class _Kind:
    """Groups that could be calls of one block, in the order of the text."""

    members: list[Group] = field(default_factory=list)
    height: int = 0

    @property
    def forced(self) -> str:
        """The name that a block of these must have, where there must be one."""
        return next((group.name for group in self.members if group.name), "")


def find_blocks(body: Body, graph: Graph) -> list[Block]:
    """Make calls of alike groups where that saves text; the blocks, inner ones first."""
    places: dict[int, _Place] = {}
    _find_places(body, (), "", places)
    kinds = _kinds(body, graph)
    while True:
        candidates = _written_twice(body, kinds)
        sites = _sites(body, {id(group): kind for kind in candidates for group in kind.members})
        blocks = []
        taken: set[str] = set()
        refused = []
        for group in (g for kind in kinds.values() for g in kind.members):
            group.block = None
        for kind in sorted(candidates, key=lambda k: k.height):
            block = _block(kind, graph, places, sites[kind], taken)
            if block is None:
                refused.append(kind)
            else:
                blocks.append(block)
        if not refused:
            return blocks
        kinds = {key: kind for key, kind in kinds.items() if kind not in refused}


def _find_places(body: Body, path: Path, start: str, places: dict[int, _Place]) -> None:
    """The place of each group of a body."""
    for item in body:
        match item:
            case Group():
                inner = (*path, item.label if item.label is not None else "?")
                places[id(item)] = _Place(inner, start)
                _find_places(item.body, inner, start, places)
            case Repeat():
                begin = start
                for number, one in enumerate(item.passes):
                    inner = (*path, item.label, str(number)) if item.label is not None else path
                    _find_places(one, inner, begin, places)
                    begin = end_of(one, begin)
            case _:
                for one in bodies_of(item):
                    _find_places(one, path, start, places)
        start = end_of([item], start)


def _kinds(body: Body, graph: Graph) -> dict[Hashable, _Kind]:
    """Groups by kind, where there are several."""
    kinds: dict[Hashable, _Kind] = {}
    for item in items_within(body):
        if isinstance(item, Group):
            key = kind_of_group(item, graph)
            if key is not None:
                kind = kinds.setdefault(key, _Kind())
                kind.members.append(item)
                kind.height = _height(item.body)
    split: dict[Hashable, _Kind] = {}
    for key, kind in kinds.items():
        variants = [variant(group, graph) for group in kind.members]
        shortcuts = zip(*variants, strict=True)
        one_way = all(len({short for short in found if short is not None}) <= 1 for found in shortcuts)
        for group, found in zip(kind.members, variants, strict=True):
            part = split.setdefault((key, None if one_way else found), _Kind(height=kind.height))
            part.members.append(group)
    return {key: kind for key, kind in split.items() if len(kind.members) > 1}


def _height(body: Body) -> int:
    return max((1 + _height(inner) if isinstance(item, Group) else _height(inner)
                for item in body for inner in bodies_of(item)), default=0)


def _written_twice(body: Body, kinds: Mapping[Hashable, _Kind]) -> list[_Kind]:
    """The kinds that stand in a text at two places or more, when each is written once."""
    candidates = list(kinds.values())
    while True:
        sites = _sites(body, {id(group): kind for kind in candidates for group in kind.members})
        kept = [kind for kind in candidates if sites[kind] > 1 or kind.forced]
        if len(kept) == len(candidates):
            return kept
        candidates = kept


def _sites(body: Body, kind_of: Mapping[int, _Kind]) -> Counter[_Kind]:
    """How often each kind stands in the text."""
    sites: Counter[_Kind] = Counter()
    waiting = [body]
    while waiting:
        for item in waiting.pop():
            kind = kind_of.get(id(item))
            if kind is not None:
                sites[kind] += 1
                if sites[kind] > 1:
                    continue
            inner = bodies_of(item)
            waiting.extend(inner[:1] if isinstance(item, Repeat) else inner)
    return sites


def _block(
    kind: _Kind, graph: Graph, places: Mapping[int, _Place], sites: int, taken: set[str]
) -> Block | None:
    """The block of a kind, its members made calls; None where it cannot be or saves nothing."""
    rows = [Row(number, group.body, places[id(group)].start) for number, group in enumerate(kind.members)]
    laid = Laid(graph)
    # The first that has all that any of them has stands for all: its layers are those of the text.
    rows.sort(key=lambda row: -sum(1 for _ in items_within(row.body)))
    body = laid.body(rows)
    entries = {row.call: graph.by_name[row.start].type for row in rows}
    try:
        parameters = Parameters(laid, entries, parameter_name).run()
    except Unlike:
        return None
    first = kind.members[rows[0].call]
    name = kind.forced or block_name(kind.members, graph, {p.name for p in parameters}, taken)
    block = Block(name, parameters, body, places[id(first)].path)
    for number, group in enumerate(kind.members):
        group.values = {p.name: p.values[number] for p in parameters}
        group.spare = {p.name for p in parameters if number in p.spare}
        group.written = {p.name: p.text(group.values[p.name]) for p in parameters if p.name not in group.spare}
    whole = _length(first.body, graph)
    call = max(len(block.call(group.written)) for group in kind.members)
    if not kind.forced and sites * whole <= whole + sites * call + sum(len(p.name) + 10 for p in parameters) + OVERHEAD:
        return None
    taken.add(name)
    for group in kind.members:
        group.block = block
    return block


def _length(body: Body, graph: Graph) -> int:
    """About how many characters a body takes."""
    return sum(_parts(body, graph))


def _parts(body: Body, graph: Graph) -> Iterator[int]:
    for item in body:
        yield 6 + len(getattr(item, "label", None) or "")
        match item:
            case Layer():
                op = graph.by_name[item.node].op
                yield len(op_text(op, {})) if op is not None else 0
                for arm in item.arms:
                    yield from _parts(arm, graph)
            case Group() if item.block is not None:
                yield len(item.block.call(item.written))
            case Repeat():
                yield from _parts(item.passes[0], graph)
            case Group() | If():
                yield from _parts(item.body, graph)

