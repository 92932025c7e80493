"""Repeats: what stands several times behind itself is written once.

Layers and groups that are equal are found before there are blocks, calls of blocks once there are.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence

from cnndsl.exchange.write.alike import kind_of_group
from cnndsl.exchange.write.labels import referred
from cnndsl.exchange.write.layout import lines_of
from cnndsl.exchange.write.names import is_main
from cnndsl.exchange.write.tree import Body, Group, Item, Layer, Repeat, bodies_of, end_of, items_within, layers_within
from cnndsl.exchange.write.words import op_text
from cnndsl.ir import Graph
from cnndsl.ops import operations
from cnndsl.passes.scope import Scope
from cnndsl.tokens import KEYWORDS

LONGEST = 12
"""Layers that are looked for as one pass."""

SAVED = 24
"""Characters of text that a repeat must save."""


class Repeats:
    """Finds repeats in the bodies of a network, in place."""

    def __init__(self, body: Body, graph: Graph) -> None:
        self.graph = graph
        self.kept = referred(body) | {node for _, node in graph.outputs[1:]}
        """Nodes that are spoken of elsewhere, which are no part of a repeat."""
        self._equal: dict[Hashable, int] = {}
        self._named_so: dict[str, Hashable] = {}
        """What the groups of a name hold that are to become calls of a block of that name."""

    def find(self, body: Body) -> None:
        """Equal layers, and equal groups whose labels count, become repeats."""
        for item in body:
            for inner in bodies_of(item):
                self.find(inner)
        for item in body:
            if isinstance(item, Group):
                self._numbered(item, body)
        self._named(body)
        self._layers(body)

    def _key(self, item: Item) -> int:
        """A number that is the same for items of equal text and structure; for others a number of its own."""
        key = self._content(item)
        return self._equal.setdefault(key if key is not None else ("alone", id(item)), len(self._equal))

    def _content(self, item: Item) -> Hashable | None:
        match item:
            case Layer() if not item.refs and item.node not in self.kept:
                op = self.graph.by_name[item.node].op
                arms = self._contents(item.arms)
                return None if op is None or arms is None else (op, item.label, arms)
            case Group():
                inner = self._contents([item.body])
                return None if inner is None else ("group", item.label, inner)
            case Repeat():
                inner = self._contents(item.passes[:1])
                return None if inner is None else ("repeat", item.label, len(item.passes), inner)
        return None

    def _contents(self, bodies: Sequence[Body]) -> tuple[Hashable, ...] | None:
        found = tuple(tuple(self._content(item) for item in body) for body in bodies)
        return None if any(key is None for keys in found for key in keys) else found

    # --- groups ----------------------------------------------------------------------------------------

    def _numbered(self, group: Group, body: Body) -> None:
        """``layer1: { 0: ... 1: ... }`` of equal parts as ``layer1: repeat 2 { ... }``."""
        passes = counted(group.body)
        if passes is None or group.label is None:
            return
        keys = {self._contents([one]) for one in passes}
        if len(keys) == 1 and None not in keys:
            body[body.index(group)] = Repeat(group.label, passes)

    def _named(self, body: Body) -> None:
        """``dense1: { ... } dense2: { ... }`` of equal groups as a repeat of calls, which have these names anyway."""
        number = 0
        used = {*operations(), *KEYWORDS}
        for item in [*body]:
            first = re.fullmatch(r"([A-Za-z_]*[A-Za-z])1", getattr(item, "label", None) or "")
            if first is None or not isinstance(item, Group) or first[1] in used:
                continue
            start = number = body.index(item)
            key = self._contents([item.body])
            while number < len(body):
                at = body[number]
                if not isinstance(at, Group) or at.label != f"{first[1]}{number - start + 1}":
                    break
                if key is None or self._contents([at.body]) != key:
                    break
                number += 1
            more = any(
                re.fullmatch(rf"{first[1]}\d+", getattr(at, "label", None) or "") for at in body[number:]
            )
            kind = kind_of_group(item, self.graph)
            if number - start > 1 and not more and self._named_so.setdefault(first[1], kind) == kind:
                groups = [at for at in body[start:number] if isinstance(at, Group)]
                body[start:number] = [Repeat(None, [[Group(None, at.body, name=first[1])] for at in groups])]

    # --- layers ----------------------------------------------------------------------------------------

    def _layers(self, body: Body) -> None:
        """Runs of equal layers, several as one pass: short passes first, which may be part of longer ones."""
        for length in range(1, LONGEST + 1):
            keys = [self._key(item) if getattr(item, "label", None) is None else -1 - n for n, item in enumerate(body)]
            same = 0
            runs: list[tuple[int, int]] = []
            # How far the items from a place on are those that stand `length` further on, from the end of the body.
            for number in range(len(body) - length - 1, -1, -1):
                same = same + 1 if keys[number] == keys[number + length] else 0
                if same >= length:
                    runs.append((number, same // length + 1))
            start = place = 0
            starts = {len(body)}
            for line in lines_of(body, self.graph):
                starts.add(place)
                place += len(line)
            done: Body = []
            found = dict(runs)
            for number, times in reversed(runs):
                # Where passes could begin at several lines, the right one is that where all of them get the same.
                later = range(number + 1, min(number + length, len(body)))
                if not self._turns(body[number : number + length]) and any(
                    found.get(other) == times and other in starts and self._turns(body[other : other + length])
                    for other in later
                ):
                    continue
                unit = body[number : number + length]
                whole = {number, number + length} <= starts
                if number >= start and whole and self._saves(unit, times):
                    done.extend(body[start:number])
                    start = number + length * times
                    passes = [body[at : at + length] for at in range(number, start, length)]
                    done.append(Repeat(None, passes))
            body[:] = [*done, *body[start:]]

    def _turns(self, unit: Body) -> bool:
        """Whether a pass makes what it gets."""
        first = unit[0]
        if not isinstance(first, Layer) or first.arms:
            return False
        made = self.graph.by_name[end_of(unit, first.node)]
        return self.graph.types_of(self.graph.by_name[first.node])[:1] == (made.type,)

    def put_single_passes(self, body: Body) -> None:
        """In groups that are like others but for having once what these repeat: a repeat of one pass."""
        groups = [item for item in items_within(body) if isinstance(item, Group)]
        several = [group for group in groups if any(_is_plain_repeat(item) for item in group.body)]
        wanted = {kind_of_group(group, self.graph) for group in several}
        passes = {
            kind_of_group(Group(None, item.passes[0]), self.graph): len(item.passes[0])
            for group in several for item in group.body if isinstance(item, Repeat)
        }
        for group in groups if passes else ():
            done: Body = []
            number = 0
            while number < len(group.body):
                for kind, length in passes.items():
                    part = group.body[number : number + length]
                    if kind is not None and kind_of_group(Group(None, part), self.graph) == kind:
                        done.append(Repeat(None, [part]))
                        break
                else:
                    part = group.body[number : number + 1]
                    done.extend(part)
                number += len(part)
            if kind_of_group(Group(None, done), self.graph) in wanted - {None}:
                group.body = done

    def _saves(self, unit: Body, times: int) -> bool:
        ops = [self.graph.by_name[item.node].op for item in layers_within(unit)]
        length = sum(len(op_text(op, {})) + 4 for op in ops if op is not None)
        return (times - 1) * length > SAVED and any(is_main(self.graph.by_name[i.node]) for i in layers_within(unit))


def counted(body: Body) -> list[Body] | None:
    """The bodies of items labelled 0, 1, 2 and so on, and nothing else; None where there are others."""
    passes = _passes_of(body, "")
    return passes if passes is not None and len(passes) == len(body) > 1 else None


def _passes_of(items: Sequence[Item], stem: str) -> list[Body] | None:
    """The bodies of groups that are labelled with a stem and 0, 1, 2 and so on."""
    passes: list[Body] = []
    for number, item in enumerate(items):
        if not isinstance(item, Group) or item.label != f"{stem}{number}":
            break
        passes.append([Group(None, item.body, item.block, item.written, item.values, item.spare)])
    return passes or None


def _hyphened(body: Body) -> Iterator[tuple[int, str, list[Body]]]:
    """Runs of groups labelled block3-0, block3-1 and so on: where each begins, its stem and the bodies."""
    for number, item in enumerate(body):
        label = item.label if isinstance(item, Group) else None
        if label is not None and label.endswith("-0"):
            passes = _passes_of(body[number:], label[:-1])
            if passes is not None and len(passes) > 1:
                yield number, label[:-1], passes


# --- calls -----------------------------------------------------------------------------------------------


def fold_calls(body: Body, kept: set[str]) -> None:
    """Drop the labels that calls have by themselves, and make repeats of equal calls, at every depth of a text."""
    _drop_labels(body, kept)
    for number, item in enumerate(body):
        if isinstance(item, Group) and item.block is not None:
            continue
        for inner in bodies_of(item)[:1] if isinstance(item, Repeat) else bodies_of(item):
            fold_calls(inner, kept)
        passes = counted(item.body) if isinstance(item, Group) and item.label is not None else None
        if passes is not None and (written := common_call([one[0] for one in passes])) is not None:
            _write(passes, written)
            body[number] = Repeat(item.label, passes)  # type: ignore[union-attr]
    for start, stem, passes in reversed([*_hyphened(body)]):
        spoken_of = any(kept & set(_ends(item.body)) for one in passes for item in one if isinstance(item, Group))
        if not spoken_of and (written := common_call([one[0] for one in passes])) is not None:
            _write(passes, written)
            for one in passes:
                one[0].label = stem  # type: ignore[union-attr]
            body[start : start + len(passes)] = [Repeat(None, passes)]
    _fold_equal(body, kept)


def _drop_labels(body: Body, kept: set[str]) -> None:
    """Labels such as stage1, stage2 of calls of a block `stage`."""
    calls = [item for item in body if isinstance(item, Group) and item.block is not None]
    for name in dict.fromkeys(item.block.name for item in calls if item.block is not None):
        mine = [item for item in calls if item.block is not None and item.block.name == name]
        labels = {label for item in body if (label := getattr(item, "label", None)) is not None}
        scope = Scope("", None, {})
        if all(
            item.label is not None and item.label == scope.automatic(name) and not kept & set(_ends(item.body))
            for item in mine
        ) and not any(re.fullmatch(rf"{name}_?\d+", label) for label in labels - {item.label for item in mine}):
            for item in mine:
                item.label = None


def _ends(body: Body) -> list[str]:
    return [item.node for item in body[-1:] if isinstance(item, Layer)]


def common_call(items: Sequence[Item]) -> dict[str, str] | None:
    """What can be written in calls so that one text stands for all; None where there is no such text."""
    first = items[0]
    if not isinstance(first, Group) or first.block is None:
        return None
    calls = [item for item in items if isinstance(item, Group) and item.block is first.block]
    if len(calls) < len(items):
        return None
    if all(call.written == first.written and call.values == first.values for call in calls):
        return first.written
    written = {}
    for p in first.block.parameters:
        if all(p.name in call.spare for call in calls):
            continue
        if any(p.name not in call.values or call.values[p.name] != first.values[p.name] for call in calls):
            return None
        written[p.name] = p.text(first.values[p.name])
    return written


def _write(passes: Sequence[Body], written: dict[str, str]) -> None:
    for one in passes:
        for item in one:
            if isinstance(item, Group):
                item.written = written


def _fold_equal(body: Body, kept: set[str]) -> None:
    """Calls without labels that follow each other, and repeats of such, as one repeat."""
    number = 0
    while number < len(body):
        passes: list[Body] = []
        last = number
        while last < len(body):
            more = _passes(body[last], kept)
            if more is None or common_call([one[0] for one in [*passes, *more]]) is None:
                break
            passes.extend(more)
            last += 1
        if last - number > 1:
            written = common_call([one[0] for one in passes])
            assert written is not None
            _write(passes, written)
            body[number:last] = [Repeat(None, passes)]
        number += 1


def _passes(item: Item, kept: set[str]) -> list[Body] | None:
    match item:
        case Group() if item.label is None and item.block is not None and not kept & set(_ends(item.body)):
            return [[item]]
        case Repeat() if item.label is None and not item.count and all(_is_call(one) for one in item.passes):
            return item.passes
    return None


def _is_call(body: Body) -> bool:
    return len(body) == 1 and isinstance(body[0], Group) and body[0].block is not None


def _is_plain_repeat(item: Item) -> bool:
    return isinstance(item, Repeat) and item.label is None


def dissolve(body: Body) -> None:
    """Put the layers of groups that became no calls and have no label where the groups stood, and of single passes."""
    for item in body:
        for inner in bodies_of(item):
            dissolve(inner)
    body[:] = [
        one for item in body
        for one in _undone(item)
    ]


def _undone(item: Item) -> Body:
    match item:
        case Group(label=None, block=None):
            return item.body
        case Repeat(passes=[[Layer(label=None)], *_] as passes) if item.label is not None and not item.count:
            # A lone layer would have the pass's name itself.
            return [Group(item.label, [Group(str(number), one) for number, one in enumerate(passes)])]
        case Repeat(label=None, passes=[one], count=""):
            return one
    return [item]

