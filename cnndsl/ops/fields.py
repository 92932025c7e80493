"""Kinds of layer arguments: what a value must be, how it is converted, how it is printed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from typing import Any

MAX_SIZE = 2**31 - 1
"""Largest size, count or padding that a layer may name."""


class BadValueError(Exception):
    """A value that an argument cannot take. `code` is E0205 (type) or E0206 (range)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Kind:
    """One kind of argument.

    `convert` gives the stored value or raises BadValueError; `show` writes it as a person would; `words` are
    the bare words that may stand for a value (``pad=same``).
    """

    describe: str
    convert: Callable[[Any], Any]
    show: Callable[[Any], str]
    words: tuple[str, ...] = ()


def arg(kind: Kind, doc: str, *, default: Any = MISSING, default_text: str | None = None) -> Any:
    """A dataclass field for a layer's argument. `default_text` is printed in the manual for the default."""
    return field(default=default, metadata={"kind": kind, "doc": doc, "default_text": default_text})


def show_value(value: Any) -> str:
    """A value of the language as it would be written."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case float():
            return show_float(value)
        case tuple():
            return "(" + ", ".join(map(show_value, value)) + ("," if len(value) == 1 else "") + ")"
    return str(value)


def show_float(value: float) -> str:
    """A float as briefly as reading it back allows: ``0.0005``, ``2``, ``1.234567891``."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def kind_of(value: Any) -> str:
    """What a value is, for messages: "the number 3", "the string "a""."""
    match value:
        case bool():
            return f"the boolean {show_value(value)}"
        case int() | float():
            return f"the number {show_value(value)}"
        case str():
            return f"the string {show_value(value)}"
    return f"the tuple {show_value(value)}"


def _integer(value: Any, *, least: int, describe: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadValueError("E0205", f"must be {describe}, found {kind_of(value)}")
    if not least <= value <= MAX_SIZE:
        limit = f"at least {least}" if value < least else f"at most {MAX_SIZE:,}"
        raise BadValueError("E0206", f"must be {limit}, found {value}")
    return value


def count(least: int = 1) -> Kind:
    """A whole number of at least `least`."""
    describe = "a whole number"
    return Kind(describe, lambda v: _integer(v, least=least, describe=describe), str)


def pair(least: int = 1) -> Kind:
    """``3``, ``3x5`` or ``(3, 5)``: height, then width."""
    describe = "a size: 3, 3x3 or (3, 3)"

    def convert(value: Any) -> tuple[int, int]:
        if isinstance(value, tuple):
            if len(value) != 2:
                raise BadValueError("E0205", f"must be {describe}, found {len(value)} numbers")
            h, w = (_integer(v, least=least, describe=describe) for v in value)
            return h, w
        v = _integer(value, least=least, describe=describe)
        return v, v

    return Kind(describe, convert, show_pair)


def show_pair(value: tuple[int, int]) -> str:
    """``3x5``."""
    return f"{value[0]}x{value[1]}"


def show_short_pair(value: tuple[int, int]) -> str:
    """``2`` for (2, 2), else ``2x1``: how strides and paddings are read in papers."""
    return str(value[0]) if value[0] == value[1] else show_pair(value)


def short_pair(least: int = 1) -> Kind:
    """A pair that prints as one number when both agree: strides, dilations."""
    kind = pair(least)
    return Kind(kind.describe, kind.convert, show_short_pair)


Pads = tuple[int, int, int, int]
"""Top, bottom, left, right."""


def pads() -> Kind:
    """``1``, ``(1, 2)`` (height, width), ``(top, bottom, left, right)`` or ``same``."""
    describe = "a padding: 1, (1, 2), (top, bottom, left, right) or same"

    def convert(value: Any) -> Pads | str:
        if value == "same":
            return "same"
        values = value if isinstance(value, tuple) else (value,)
        if len(values) not in {1, 2, 4}:
            raise BadValueError("E0205", f"must be {describe}, found {len(values)} numbers")
        numbers = [_integer(v, least=0, describe=describe) for v in values]
        match numbers:
            case [p]:
                return p, p, p, p
            case [h, w]:
                return h, h, w, w
        return numbers[0], numbers[1], numbers[2], numbers[3]

    return Kind(describe, convert, show_pads, words=("same",))


def show_pads(value: Pads | str) -> str:
    """The shortest way to write a padding."""
    if isinstance(value, str):
        return value
    top, bottom, left, right = value
    if top == bottom and left == right:
        return str(top) if top == left else f"({top}, {left})"
    return f"({top}, {bottom}, {left}, {right})"


def real(least: float = -math.inf, most: float = math.inf, *, open_least: bool = False) -> Kind:
    """A finite number in a range; `open_least` leaves the lower end out."""

    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadValueError("E0205", f"must be a number, found {kind_of(value)}")
        if not math.isfinite(value):
            raise BadValueError("E0206", f"must be finite, found {show_value(value)}")
        if value < least or (open_least and value == least):
            word = "more than" if open_least else "at least"
            raise BadValueError("E0206", f"must be {word} {least:g}, found {show_value(value)}")
        if value > most:
            raise BadValueError("E0206", f"must be at most {most:g}, found {show_value(value)}")
        return float(value)

    return Kind("a number", convert, show_float)


def flag() -> Kind:
    """``true`` or ``false``."""

    def convert(value: Any) -> bool:
        if not isinstance(value, bool):
            raise BadValueError("E0205", f"must be true or false, found {kind_of(value)}")
        return value

    return Kind("true or false", convert, show_value)


def reals() -> Kind:
    """A tuple of finite numbers; one number stands for a tuple of one."""
    one = real()
    return Kind(
        "numbers: (0.485, 0.456, 0.406)",
        lambda v: tuple(one.convert(x) for x in (v if isinstance(v, tuple) else (v,))),
        show_value,
    )


def choice(*options: Any) -> Kind:
    """One of a few values; strings may be written bare (``order=bgr``)."""
    text = " or ".join(str(o) for o in options)

    def convert(value: Any) -> Any:
        if isinstance(value, bool) or value not in options:
            raise BadValueError("E0206", f"must be {text}, found {show_value(value)}")
        return value

    return Kind(text, convert, str, words=tuple(o for o in options if isinstance(o, str)))


def pixels() -> Kind:
    """``256`` (the shorter side) or ``256x256`` (height x width)."""
    two = pair()

    def convert(value: Any) -> int | tuple[int, int]:
        height, width = two.convert(value)
        return (height, width) if isinstance(value, tuple) else height

    return Kind("a size: 256 or 256x256", convert, lambda v: str(v) if isinstance(v, int) else show_pair(v))
