"""Values of arguments, and what one is of another: the same, a multiple, a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MOST_TIMES = 16
"""The largest factor between two numbers of a block that is no coincidence."""


@dataclass(frozen=True)
class Expression:
    """``times * base // over``, exactly."""

    base: str
    times: int = 1
    over: int = 1

    def __str__(self) -> str:
        text = f"{self.times} * {self.base}" if self.times > 1 else self.base
        return f"{text} // {self.over}" if self.over > 1 else text


def number_of(value: Any) -> int | None:
    """The whole number that stands for a value: itself, or the side of a square; None where there is none."""
    match value:
        case bool():
            return None
        case int():
            return value
        case (int() as first, *rest) if all(v == first for v in rest):
            return first
    return None


def shown(value: Any, show: Callable[[Any], str], *, plain: bool) -> str:
    """A value as the text has it; `plain` numbers can be calculated with: 3, not 3x3."""
    number = number_of(value)
    return str(number) if plain and number is not None else show(value)


def factor(pairs: Sequence[tuple[Any, Any]], base: str) -> Expression | None:
    """How the first of each pair follows from the second, called `base`; None where there is no one rule for all."""
    if not pairs or any(v is None or b is None or b < 1 or v < 1 for v, b in pairs):
        return None
    value, of = pairs[0]
    if value % of == 0 and value // of <= MOST_TIMES and all(v == b * (value // of) for v, b in pairs):
        return Expression(base, times=value // of)
    if of % value == 0 and of // value <= MOST_TIMES and all(b == v * (of // value) for v, b in pairs):
        return Expression(base, over=of // value)
    return None
