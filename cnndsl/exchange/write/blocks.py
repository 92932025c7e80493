"""Blocks: groups that are alike become calls of one text with parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cnndsl.exchange.write.alike import kind_of_group, variant
from cnndsl.exchange.write.callings import block_name, parameter_names
from cnndsl.exchange.write.names import Path
from cnndsl.exchange.write.parameters import Parameter, Parameters, Unlike
from cnndsl.exchange.write.repeats import common_call, counted
from cnndsl.exchange.write.slots import Choice, Laid, Row
from cnndsl.exchange.write.tree import Body, Goto, Group, If, Layer, Output, Repeat, bodies_of, end_of, items_within
from cnndsl.exchange.write.words import op_text
from cnndsl.ir import Graph
from cnndsl.ops.joins import Add

LINE = 12
"""Characters that a line of an arm counts for, with its braces and indentation."""

MOST_PARAMETERS = 6
"""GoogLeNet's inception has so many; a block with more is harder to read than what it stands for."""

OVERHEAD = 20
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
    parts: tuple[_Kind, ...] = ()
    """Of groups with a shortcut and others without one: the two kinds that these are by themselves."""

    @property
    def forced(self) -> str:
        """The name that a block of these must have, where there must be one."""
        return next((group.name for group in self.members if group.name), "")


def find_blocks(body: Body, graph: Graph) -> list[Block]:
    """Make calls of alike groups where that saves text; the blocks, inner ones first."""
    places: dict[int, _Place] = {}
    _find_places(body, (), "", places)
    kinds = _with_residuals(_kinds(body, graph), graph)
    while True:
        candidates = _written_twice(body, kinds)
        sites = _sites(body, {id(group): kind for kind in candidates for group in kind.members})
        blocks = []
        taken = {kind.forced for kind in candidates}
        refused = []
        for group in (g for kind in kinds for g in kind.members):
            group.block = None
        for kind in sorted(candidates, key=lambda k: k.height):
            block = _block(kind, graph, places, sites[kind], taken)
            if block is None:
                refused.append(kind)
            else:
                blocks.append(block)
        if not refused:
            return blocks
        kinds = [part for kind in kinds for part in (kind.parts if kind in refused else (kind,))]


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


def _kinds(body: Body, graph: Graph) -> list[_Kind]:
    """Groups by kind."""
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
    return list(split.values())


def _with_residuals(kinds: list[_Kind], graph: Graph) -> list[_Kind]:
    """The kinds, those of a group with a shortcut around it and without one as one kind."""
    plain: dict[Hashable, _Kind] = {}
    for kind in kinds:
        match kind.members[0].body:
            case [Group() as inner]:
                plain[inner.label, kind_of_group(inner, graph)] = kind
    done = []
    for kind in kinds:
        within = _inside_shortcut(kind.members[0], graph)
        other = plain.get((within.label, kind_of_group(within, graph))) if within is not None else None
        if other is not None and other in kinds:
            parts = (kind, other)
            done.append(_Kind([*kind.members, *other.members], max(kind.height, other.height), parts))
        else:
            done.append(kind)
    merged = {id(part) for kind in done for part in kind.parts}
    return [kind for kind in done if id(kind) not in merged]


def _inside_shortcut(group: Group, graph: Graph) -> Group | None:
    """What a group adds its input to, if that is another group."""
    match group.body:
        case [Layer(arms=[[], [Group() as inner]] | [[Group() as inner], []], refs=[]) as join]:
            return inner if isinstance(graph.by_name[join.node].op, Add) else None
    return None


def _height(body: Body) -> int:
    return max((1 + _height(inner) if isinstance(item, Group) else _height(inner)
                for item in body for inner in bodies_of(item)), default=0)


def _written_twice(body: Body, kinds: Sequence[_Kind]) -> list[_Kind]:
    """The kinds that stand in a text at two places or more, when each is written once."""
    candidates = [kind for kind in kinds if len(kind.members) > 1]
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
            if kind is not None and kind.parts:
                waiting.extend(inner)  # with a shortcut and without one
    return sites


def _block(
    kind: _Kind, graph: Graph, places: Mapping[int, _Place], sites: int, taken: set[str]
) -> Block | None:
    """The block of a kind, its members made calls; None where it cannot be or saves nothing."""
    laid = Laid(graph)
    entries = {number: graph.by_name[places[id(group)].start].type for number, group in enumerate(kind.members)}
    body = _laid_residual(kind, laid, places) if kind.parts else _laid(kind, laid, places)
    if body is None:
        return None
    try:
        parameters = Parameters(laid, entries, lambda found: parameter_names(found, graph)).run()
    except Unlike:
        return None
    first = max(kind.members, key=lambda group: sum(1 for _ in items_within(group.body)))
    name = kind.forced or block_name(kind.members, graph, {p.name for p in parameters}, taken)
    block = Block(name, parameters, body, places[id(first)].path)
    for number, group in enumerate(kind.members):
        group.values = {p.name: p.values[number] for p in parameters}
        group.spare = {p.name for p in parameters if number in p.spare}
        group.written = {p.name: p.text(group.values[p.name]) for p in parameters if p.name not in group.spare}
    if not kind.forced and not _saves(block, kind, sites, _length(first.body, graph)):
        return None
    taken.add(name)
    for group in kind.members:
        group.block = block
    return block


def _laid(kind: _Kind, laid: Laid, places: Mapping[int, _Place]) -> Body:
    """The body of a block. The first group that has all that any of them has stands for all."""
    rows = [Row(number, group.body, places[id(group)].start) for number, group in enumerate(kind.members)]
    rows.sort(key=lambda row: -sum(1 for _ in items_within(row.body)))
    return laid.body(rows)


def _laid_residual(kind: _Kind, laid: Laid, places: Mapping[int, _Place]) -> Body | None:
    """The body of a block that adds its input to a call where it can; None where that is no call but longer."""
    with_shortcut = len(kind.parts[0].members)
    rows = []
    for number, group in enumerate(kind.members):
        inner = group.body if number >= with_shortcut else [_inside_shortcut(group, laid.graph)]
        rows.append(Row(number, [item for item in inner if item is not None], places[id(group)].start))
    call = laid.body(rows)
    if not isinstance(call[0], Group) or call[0].block is None:
        return None
    join = kind.members[0].body[0]
    assert isinstance(join, Layer)
    both = Layer(join.node, [call if arm else [] for arm in join.arms], label=join.label)
    chosen = If("", [both], call)
    type_ = {row.call: laid.graph.by_name[row.start].type for row in rows}
    made = {row.call: laid.graph.by_name[end_of(row.body, "")].type for row in rows}
    laid.choices.append(Choice(chosen, {row.call: row.call < with_shortcut for row in rows}, type_, made=made))
    return [chosen]


def _saves(block: Block, kind: _Kind, sites: int, whole: int) -> bool:
    """Whether calls and a definition are shorter than a text of `whole` characters at each place."""
    if len(block.parameters) > MOST_PARAMETERS or all(_becomes_repeat(group) for group in kind.members):
        return False
    arguments = [p for group in kind.members for p in block.parameters if p.name in group.written]
    calls = len(block.name) + 2 + sum(6 + len(p.name) * bool(p.default) for p in arguments) // len(kind.members)
    definition = whole + sum(len(p.name) + 6 for p in block.parameters) + OVERHEAD
    return definition + sites * calls < sites * whole


def _becomes_repeat(group: Group) -> bool:
    """Whether a group will be written as a repeat of calls, short enough by itself."""
    passes = counted(group.body)
    return passes is not None and common_call([one[0] for one in passes]) is not None


def _length(body: Body, graph: Graph) -> int:
    """About how many characters a body takes."""
    return sum(_parts(body, graph))


def _parts(body: Body, graph: Graph) -> Iterator[int]:
    for item in body:
        yield 6 + len(getattr(item, "label", None) or "")
        match item:
            case Layer():
                op = graph.by_name[item.node].op
                yield (len(op_text(op, {})) if op is not None else 0) + LINE * len(item.arms)
                for arm in item.arms:
                    yield from _parts(arm, graph)
            case Group() if item.block is not None:
                yield len(item.block.call(item.written))
            case Repeat():
                yield from _parts(item.passes[0], graph)
            case Group() | If():
                yield from _parts(item.body, graph)
            case Goto() | Output():
                pass

