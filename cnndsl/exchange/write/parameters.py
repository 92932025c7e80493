"""The parameters of a block: which of the numbers in it differ between its calls, and how they hang together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cnndsl.exchange.write.numbers import Expression, factor, number_of, shown
from cnndsl.exchange.write.slots import Choice, Laid, Sample, Slot
from cnndsl.exchange.write.tree import Group, Layer, Repeat, items_within
from cnndsl.ir import TensorType

COUNTS = frozenset({"filters", "groups", "units"})
"""Arguments that count channels, and so may be multiples of each other."""

LARGE = 16
"""A quotient from which on the number of channels in front of the block is the likelier reason: 1/4 of 1/6."""

_ORDER = {"n": 0, "filters": 1, "units": 1}
"""What people give first: how many, how wide."""

Naming = Callable[[Sequence["Parameter"]], Sequence[str]]


@dataclass(eq=False)
class Parameter:
    """A parameter: the first place it stands in, its value in each call, its default and the calls that have it."""

    name: str
    slot: Slot
    values: dict[int, Any]
    plain: bool = False
    """Whether calls give a number that can be calculated with: 3, not 3x3."""
    default: str = ""
    default_value: Any = None
    """The default where it is no expression."""
    spare: set[int] = field(default_factory=set)

    def text(self, value: Any) -> str:
        """A value as a call gives it."""
        return shown(value, self.slot.show, plain=self.plain)

    def number(self, call: int) -> int | None:
        """The value in a call as a whole number."""
        return number_of(self.values.get(call))


class Unlike(Exception):
    """Bodies that no parameters make one of."""


class Parameters:
    """Finds the parameters that make all calls of one text, and writes what stands for them into it."""

    def __init__(self, laid: Laid, entries: Mapping[int, TensorType], naming: Naming) -> None:
        """`entries` are the types that flow into the calls; `naming` names all parameters at once."""
        self.laid, self.entries, self.naming = laid, entries, naming
        self.found: list[Parameter] = []
        self.meaning: dict[tuple[int, str], Callable[[int], int | None]] = {}
        """For each place with an expression, how to compute it for a call."""

    def run(self) -> list[Parameter]:
        """The parameters, those without a default first. Raises Unlike."""
        for slot in sorted(self.laid.slots, key=lambda slot: slot.optional):
            self._settle(slot)
        for choice in self.laid.choices:
            choice.item.condition = self._condition(choice)
        for p in self.found:
            self._find_default(p)
        self._name()
        return sorted(self.found, key=lambda p: (bool(p.default), _ORDER.get(p.slot.root, 2)))

    def _name(self) -> None:
        """Put the parameters' names where signs stood for them."""
        names = {p.name: name for p, name in zip(self.found, self.naming(self.found), strict=True)}

        def named(text: str) -> str:
            return re.sub(r"\$\d+", lambda sign: names[sign[0]], text)

        for slot in self.laid.slots:
            match slot.owner:
                case Repeat() as repeat:
                    repeat.count = named(repeat.count)
                case Layer() | Group() as item:
                    item.written = {name: named(text) for name, text in item.written.items()}
        for choice in self.laid.choices:
            choice.item.condition = named(choice.item.condition)
        for p in self.found:
            p.name, p.default = names[p.name], named(p.default)

    # --- places ----------------------------------------------------------------------------------------

    def _settle(self, slot: Slot) -> None:
        """Write a number, an expression or a parameter into a place."""
        samples = slot.samples
        if all(s.left_out for s in samples):
            return
        first = samples[0].value
        same = self._same(samples) if slot.optional else None
        if same is not None and same.slot.root == slot.root:
            self._refer(slot, same, Expression(same.name))
            return
        if all(s.value == first for s in samples):
            if slot.root == "groups" and number_of(first) != 1 and _of_channels(samples) == Expression("in.channels"):
                slot.write("in.channels")
            elif isinstance(slot.owner, Group | Repeat):
                slot.write(slot.show(first))
            return
        p = self._same(samples)
        if p is not None:
            self._refer(slot, p, Expression(p.name))
            return
        if self._follows(slot):
            return
        values: dict[int, Any] = {}
        for s in samples:
            if values.setdefault(s.call, s.value) != s.value:
                raise Unlike
        if len(values) < len(self.entries):
            raise Unlike
        p = Parameter(f"${len(self.found)}", slot, values)
        self.found.append(p)
        self._refer(slot, p, Expression(p.name))

    def _refer(self, slot: Slot, p: Parameter, expression: Expression) -> None:
        slot.write(str(expression))
        times, over = expression.times, expression.over
        self.meaning[id(slot.owner), slot.name] = lambda call: (
            None if (number := p.number(call)) is None else times * number // over
        )

    def _same(self, samples: Sequence[Sample]) -> Parameter | None:
        """A parameter that has the values of a place, or the numbers that these are."""
        for p in self.found:
            if all(p.values.get(s.call) == s.value for s in samples):
                return p
        numbers = [number_of(s.value) for s in samples]
        if None in numbers:
            return None
        for p in self.found:
            if all(p.number(s.call) == n for s, n in zip(samples, numbers, strict=True)):
                p.plain = True
                return p
        return None

    def _follows(self, slot: Slot) -> bool:
        """Write an expression of another parameter or of the channels that flow in, if the values follow from one."""
        numbers = [number_of(s.value) for s in slot.samples]
        if None in numbers:
            return False
        if slot.root == "pad":
            for p in self.found:
                halves = [None if (k := p.number(s.call)) is None else k // 2 for s in slot.samples]
                if p.slot.root == "kernel" and halves == numbers:
                    p.plain = True
                    self._refer(slot, p, Expression(p.name, over=2))
                    return True
        if slot.root not in COUNTS:
            return False
        channels = _of_channels(slot.samples)
        if channels is None or (channels.times, channels.over) != (1, 1):
            for p in self.found:
                pairs = [(n, p.number(s.call)) for s, n in zip(slot.samples, numbers, strict=True)]
                expression = factor(pairs, p.name) if p.slot.root in COUNTS else None
                if expression is not None:
                    self._refer(slot, p, expression)
                    return True
        if channels is None or channels.over >= LARGE:
            return False
        slot.write(str(channels))
        return True

    # --- shortcuts -------------------------------------------------------------------------------------

    def _condition(self, choice: Choice) -> str:
        """What tells whether a call has a projection, or a shortcut at all. Raises Unlike."""
        differ, word = ("!=", "or") if choice.body is not None else ("==", "and")
        tests: list[tuple[str, Callable[[int], bool]]] = []
        size = self._channels_made(choice)
        if size is not None and all(x.is_map for x in choice.x.values()):
            text, made = size
            tests.append((f"in.channels {differ} {text}", lambda call: choice.x[call].channels != made(call)))
        stride = next((p for p in self.found if p.slot.root == "stride"), None)
        if stride is not None:
            step = f"{stride.name} {differ} 1"
            if tests:
                text, differs = tests[0]
                tests.insert(0, (f"{step} {word} {text}", lambda call: stride.number(call) != 1 or differs(call)))
            tests.append((step, lambda call: stride.number(call) != 1))
        for text, test in tests:
            if all(test(call) == (needed == (word == "or")) for call, needed in choice.needed.items()):
                return text
        raise Unlike

    def _channels_made(self, choice: Choice) -> tuple[str, Callable[[int], int | None]] | None:
        """The channels that a block makes: as the text has them, and computed for a call."""
        if choice.body is None:
            for p in self.found:
                if all(p.number(call) == type_.channels for call, type_ in choice.made.items()):
                    return p.name, p.number
            return None
        places = [
            slot for item in items_within(choice.body) for slot in self.laid.slots
            if slot.owner is item and slot.root == "filters"
        ]
        if not places:
            return None
        slot = places[0]
        assert isinstance(slot.owner, Layer | Group)
        first = slot.samples[0].value
        constant = all(s.value == first for s in slot.samples)
        text = slot.owner.written.get(slot.name, slot.show(first))
        return text, self.meaning.get((id(slot.owner), slot.name), lambda _: first if constant else None)

    # --- defaults --------------------------------------------------------------------------------------

    def _find_default(self, p: Parameter) -> None:
        """The default of a parameter: that of the layer's argument, or what the channels say, whichever is more often.

        A residual block halves height and width where it doubles the channels.
        """
        ways: list[tuple[str, Any, set[int]]] = []
        if p.slot.default is not None:
            same = {call for call, value in p.values.items() if value == p.slot.default}
            ways.append((p.text(p.slot.default), p.slot.default, same))
        if all(x.is_map for x in self.entries.values()):
            if p.slot.root == "stride":
                ways.extend((text, None, same) for text, same in self._ratios(p))
            elif p.slot.root in COUNTS:
                pairs = [(p.number(call), x.channels) for call, x in self.entries.items()]
                expression = factor(pairs, "in.channels")
                if expression is not None:
                    ways.append((str(expression), None, set(p.values)))
        text, value, same = max(ways, key=lambda way: len(way[2]), default=("", None, set()))
        if same:
            p.default, p.default_value, p.spare = text, value, same

    def _ratios(self, p: Parameter) -> list[tuple[str, set[int]]]:
        """Quotients of the channels that a block makes and takes."""
        found = []
        for q in self.found:
            if q.slot.root != "filters" or q.default:
                continue
            for times in self._multiples(q):
                expression = Expression(q.name, times)
                same = {
                    call for call, x in self.entries.items()
                    if (number := q.number(call)) is not None and times * number // x.channels == p.number(call)
                }
                found.append((f"{expression} // in.channels", same))
        return found

    def _multiples(self, q: Parameter) -> list[int]:
        """The factors that stand before a parameter in the text."""
        texts = {
            text for slot in self.laid.slots if isinstance(slot.owner, Layer | Group)
            if (text := slot.owner.written.get(slot.name, "")).endswith(q.name)
        }
        factors = Counter(int(text.split(" * ")[0]) if " * " in text else 1 for text in texts)
        return sorted(factors, reverse=True)


def _of_channels(samples: Sequence[Sample]) -> Expression | None:
    """How the values follow from the channels that flow in."""
    if not all(s.x.is_map for s in samples):
        return None
    return factor([(number_of(s.value), s.x.channels) for s in samples], "in.channels")
