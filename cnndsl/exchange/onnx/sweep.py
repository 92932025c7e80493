"""One way through a draft, in computing order, with rules for what stands in an item's place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from cnndsl.exchange.onnx.draft import Affine, Draft, Item
from cnndsl.ops.base import Op

Rule = Callable[["Sweep", Item], "Item | int | None"]
"""What stands in an item's place: another one, one before it by its number, or None for itself."""


class Sweep:
    """One way through a draft."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.uses = draft.uses()
        self._targets: dict[int, int] = {}

    def run(self, rules: Mapping[type[Op], tuple[Rule, ...]]) -> None:
        """Apply the rules of each item's operation until none of them changes it."""
        for number in self.draft.live():
            self._visit(number, rules)
        self.draft.redirect(self._targets)

    def _visit(self, number: int, rules: Mapping[type[Op], tuple[Rule, ...]]) -> None:
        items = self.draft.items
        inputs = tuple(self._end(i) for i in items[number].inputs)
        if inputs != items[number].inputs:
            items[number] = replace(items[number], inputs=inputs)
        changed = True
        while changed:
            changed = False
            item = items[number]
            for rule in rules.get(type(item.op), ()) if item.op is not None else ():
                found = rule(self, item)
                if isinstance(found, int):
                    self._targets[number] = found
                    self.uses[found] = self.uses.get(found, 0) + self.uses.get(number, 0) - 1
                    return
                if found is not None:
                    self.draft.put(number, found)
                    changed = True
                    break

    def _end(self, number: int) -> int:
        while number in self._targets:
            number = self._targets[number]
        return number

    def of(self, number: int) -> Item:
        """An item before the current one."""
        return self.draft.items[number]

    def alone(self, number: int) -> bool:
        """Whether an item is read once, so that what reads it may take it up."""
        return self.uses.get(number, 0) == 1


def scalar(item: Item) -> tuple[float, float] | None:
    """Scale and shift of an affine item that are one number each."""
    if isinstance(item.op, Affine) and item.weights["scale"].size == 1 and item.weights["shift"].size == 1:
        return float(item.weights["scale"][0]), float(item.weights["shift"][0])
    return None


def near(a: float, b: float) -> bool:
    """Whether two numbers are one: constants were rounded to float32, or to the 1.41421 of a programmer."""
    return math.isclose(a, b, rel_tol=3e-6)


def becomes(item: Item, op: Op, source: int) -> Item:
    return replace(item, op=op, inputs=(source,), weights={})
