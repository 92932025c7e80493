"""Alike bodies laid on top of each other: one body for the text, and what stands in each place of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cnndsl.exchange.write.alike import shortcut
from cnndsl.exchange.write.tree import Body, Goto, Group, If, Item, Layer, Repeat, end_of
from cnndsl.ir import Graph, TensorType


@dataclass(frozen=True)
class Row:
    """One body of those that are alike: of which call it is, and the node that flows into it."""

    call: int
    body: Body
    start: str


@dataclass(frozen=True)
class Sample:
    """The value in a place, in one call, and the type of what flows in there."""

    call: int
    value: Any
    x: TensorType
    left_out: bool = False
    """Whether the call of an inner block could do without it."""


@dataclass(eq=False)
class Slot:
    """A place for a value: an argument of a layer, of an inner block's call, or the number of a repeat."""

    owner: Layer | Group | Repeat
    name: str
    root: str
    """The argument of a layer that it is in the end, or n for the number of a repeat."""
    show: Callable[[Any], str]
    samples: list[Sample]
    default: Any = None
    label: str = ""
    """The nearest label around it."""
    arm: Body | None = None
    """The arm of a concat that it stands in, if it does."""
    squeezes: bool = False
    """Whether it stands in an arm of a product."""
    optional: bool = False

    def write(self, text: str) -> None:
        """Put a value or an expression here."""
        if isinstance(self.owner, Repeat):
            self.owner.count = text
        else:
            self.owner.written[self.name] = text


@dataclass(eq=False)
class Choice:
    """What some calls have and others do not: the `If` in the text, and for each call whether it has it.

    That is the projection `body` of a shortcut; or without one the whole shortcut around what makes `made`.
    """

    item: If
    needed: dict[int, bool]
    x: dict[int, TensorType]
    """What flows in."""
    body: Body | None = None
    made: dict[int, TensorType] = field(default_factory=dict)


@dataclass
class Laid:
    """The text's body and the places in it."""

    graph: Graph
    slots: list[Slot] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    _label: str = ""
    _arm: Body | None = None
    _join: str = ""
    _optional: bool = False

    def body(self, rows: Sequence[Row]) -> Body:
        """One body for all; rows are those of all calls, of a repeat one for each pass."""
        done: Body = []
        starts = [row.start for row in rows]
        for number, item in enumerate(rows[0].body):
            items = [row.body[number] for row in rows]
            calls = [row.call for row in rows]
            done.append(self._item(item, items, calls, starts))
            starts = [end_of([at], start) for at, start in zip(items, starts, strict=True)]
        return done

    def _type(self, node: str) -> TensorType:
        return self.graph.by_name[node].type

    def _item(self, item: Item, items: Sequence[Any], calls: Sequence[int], starts: Sequence[str]) -> Item:
        around = self._label
        rows = list(zip(calls, items, starts, strict=True))
        done: Item
        match item:
            case Layer():
                self._label = item.label or around
                done = self._layer(item, rows)
            case Group():
                self._label = item.label or around
                done = Group(item.label, [], item.block)
                if item.block is None:
                    done.body = self.body([Row(call, at.body, start) for call, at, start in rows])
                else:
                    done.body = item.body
                    self._call(done, item, rows)
            case Repeat():
                done = Repeat(item.label, [])
                samples = [Sample(call, len(at.passes), self._type(start)) for call, at, start in rows]
                self._slot(Slot(done, "n", "n", str, samples))
                inner = []
                for call, at, start in rows:
                    for one in at.passes:
                        inner.append(Row(call, one, start))
                        start = end_of(one, start)  # noqa: PLW2901 - what flows into the next pass
                done.passes = [self.body(inner)]
            case Goto():
                done = Goto(item.node)
            case _:
                raise AssertionError("no part of a block")
        self._label = around
        return done

    def _layer(self, item: Layer, rows: Sequence[tuple[int, Layer, str]]) -> Layer:
        done = Layer(item.node, refs=item.refs, label=item.label)
        ops = [self.graph.by_name[at.node].op for _, at, _ in rows]
        op = ops[0]
        assert op is not None
        for a in op.arguments():
            values = [getattr(o, a.name) for o in ops]
            if isinstance(values[0], bool) or all(o is not None and o.is_implied(a.name) for o in ops):
                continue
            samples = [
                Sample(call, value, self._type(start))
                for (call, _, start), value in zip(rows, values, strict=True)
            ]
            default = None if a.required else a.default
            self._slot(Slot(done, a.name, a.name, a.kind.show, samples, default))
        short = shortcut(item, self.graph)
        for number in range(len(item.arms)):
            arms = [Row(call, at.arms[number], start) for call, at, start in rows]
            outer = self._arm, self._join
            self._arm = item.arms[number] if op.name == "concat" else self._arm
            self._join = op.name
            if number == short and any(row.body for row in arms) and not all(row.body for row in arms):
                done.arms.append(self._choice(arms))
            else:
                done.arms.append(self.body(arms))
            self._arm, self._join = outer
        return done

    def _choice(self, arms: Sequence[Row]) -> Body:
        """An arm that is empty in some calls."""
        outer, self._optional = self._optional, True
        body = self.body([row for row in arms if row.body])
        self._optional = outer
        chosen = If("", body)
        whole: Body = [chosen]
        match body:
            case [Group(label=str(), block=None) as group]:
                chosen.body = group.body
                group.body = [chosen]
                whole = body
        needed = {row.call: bool(row.body) for row in arms}
        self.choices.append(Choice(chosen, needed, {row.call: self._type(row.start) for row in arms}, chosen.body))
        return whole

    def _call(self, done: Group, item: Group, rows: Sequence[tuple[int, Group, str]]) -> None:
        assert item.block is not None
        for p in item.block.parameters:
            samples = [
                Sample(call, at.values[p.name], self._type(start), p.name in at.spare) for call, at, start in rows
            ]
            default = p.default_value
            self._slot(Slot(done, p.name, p.slot.root, p.text, samples, default))

    def _slot(self, slot: Slot) -> None:
        slot.label, slot.arm, slot.squeezes, slot.optional = (
            self._label, self._arm, self._join == "mul", self._optional,
        )
        self.slots.append(slot)
