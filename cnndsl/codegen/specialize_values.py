"""What is known of an expression of a kernel: its value, or at least its type."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

Known = int | float | bool | str | None
"""A value that is known before the kernel is compiled."""


class Unknown:
    """The absence of a known value."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()

Kind = Literal["int", "literal", "bool", "pointer", "other"]


@dataclass(frozen=True)
class Type:
    """What is known of the type of a value.

    kind    "int" is a run-time integer of any width but one bit, or a tile of them; "literal" one that Triton gives
            the type of what it meets; "bool" a comparison; "other" anything, known or not.
    width   bits of an "int", None where they are not known.
    shape   of a tile, () of a scalar, None where it is not known.
    zero    whether every value is 0.
    """

    kind: Kind = "other"
    width: int | None = None
    shape: tuple[int, ...] | None = None
    zero: bool = False

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "literal")

    def __or__(self, other: Type) -> Type:
        """What is known of a value that is one or the other."""
        if self == other:
            return self
        if not (self.is_integer and other.is_integer):
            return OTHER
        return Type(
            "int",
            self.width if self.width == other.width else None,
            self.shape if self.shape == other.shape else None,
            self.zero and other.zero,
        )


OTHER: Final = Type()
LITERAL: Final = Type("literal", shape=())
INT: Final = Type("int")
SCALAR: Final = Type("int", shape=())
INT32: Final = Type("int", 32, ())


def combined(left: Type, right: Type) -> Type:
    """The type of a sum or product of integers; nothing is known of any other, or of its being zero."""
    if "pointer" in (left.kind, right.kind) and (left.is_integer or right.is_integer):
        return Type("pointer", shape=broadcast(left.shape, right.shape))
    if not (left.is_integer and right.is_integer):
        return OTHER
    if left.kind == "literal":
        return replace(right, zero=False)
    if right.kind == "literal":
        return replace(left, zero=False)
    width = max(left.width, right.width) if left.width is not None and right.width is not None else None
    return Type("int", width, broadcast(left.shape, right.shape))


def broadcast(left: tuple[int, ...] | None, right: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The shape of a sum; None where it is not known."""
    if left is None or right is None:
        return None
    if not left or not right:
        return left or right
    if len(left) != len(right):
        return None
    return tuple(max(a, b) for a, b in zip(left, right, strict=True))


def absorbs(left: Type, right: Type) -> bool:
    """Whether left + right is left, type and all, for a `right` of zeros."""
    if not right.zero or right.shape is None or broadcast(left.shape, right.shape) != left.shape:
        return False
    if left.shape is None:
        return False
    if left.kind == "pointer" or right.kind == "literal":
        return left.kind in ("pointer", "int")
    return left.kind == "int" and left.width is not None and right.width is not None and left.width >= right.width


def type_of(value: Known) -> Type:
    """The type of a constant."""
    if isinstance(value, int) and not isinstance(value, bool):
        return replace(LITERAL, zero=value == 0)
    return OTHER


# Strength of Python's operators, weakest first; an operand of a weaker one stands in parentheses.
TUPLE, CHOICE, OR, AND, NOT, COMPARE = range(6)
UNARY, POWER, PRIMARY, ATOM = range(12, 16)
BINARY: Mapping[type[ast.operator], int] = {
    ast.BitOr: 6, ast.BitXor: 7, ast.BitAnd: 8, ast.LShift: 9, ast.RShift: 9, ast.Add: 10, ast.Sub: 10,
    ast.Mult: 11, ast.Div: 11, ast.FloorDiv: 11, ast.Mod: 11, ast.Pow: POWER,
}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """An expression as it will be written.

    strength   of its outermost operator.
    value      where it is known.
    folded     whether anything in it was replaced by a constant.
    changed    whether it is something else than the author wrote: parentheses around it are ours to drop.
    pure       whether it may be left out.
    """

    text: str
    strength: int
    value: Known | Unknown = UNKNOWN
    type: Type = OTHER
    folded: bool = False
    changed: bool = False
    pure: bool = True

    @property
    def known(self) -> Known:
        """The value, of a piece that has one."""
        assert not isinstance(self.value, Unknown)
        return self.value

    @property
    def is_known(self) -> bool:
        return not isinstance(self.value, Unknown)

    @property
    def is_true(self) -> bool:
        return self.is_known and bool(self.value)


def constant(value: Known) -> Piece:
    """A value that takes the place of an expression."""
    text = literal(value)
    strength = UNARY if text.startswith("-") else PRIMARY if text.endswith(")") else ATOM
    return Piece(text, strength, value, type_of(value), folded=True, changed=True)


def literal(value: Known) -> str:
    """A value as Python text."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, str):
        text = repr(value)
        return f'"{text[1:-1]}"' if '"' not in text and "'" not in text[1:-1] else text
    return repr(value)


BINARY_FUNCTIONS: Mapping[type[ast.operator], Callable[[Any, Any], Known]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.BitOr: operator.or_,
    ast.BitXor: operator.xor, ast.BitAnd: operator.and_, ast.LShift: operator.lshift, ast.RShift: operator.rshift,
}  # fmt: skip
UNARY_FUNCTIONS: Mapping[type[ast.unaryop], Callable[[Any], Known]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_, ast.Invert: operator.invert,
}  # fmt: skip
COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip
