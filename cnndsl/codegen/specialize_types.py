"""The types of what Triton's functions return, as far as leftovers of integer arithmetic depend on them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from cnndsl.codegen.specialize_values import INT, INT32, OTHER, Piece, Type, absorbs, broadcast, combined

PURE = frozenset({
    "tl.program_id", "tl.num_programs", "tl.arange", "tl.cast", "tl.where", "tl.minimum", "tl.maximum", "tl.cdiv",
    "tl.zeros", "tl.full", "tl.abs", "tl.exp", "tl.exp2", "tl.log2", "tl.sqrt", "tl.rsqrt", "tl.sum", "tl.max",
    "tl.trans", "tl.reshape", "tl.join", "tl.split", "tl.broadcast_to", "tl.range", "tl.static_range", "range",
    "float", "int", "bool", "len", "min", "max", "abs", ".to",
})  # fmt: skip
"""What has no effect but its result: it may be left out when that is not used."""

_WIDTHS = {"tl.int8": 8, "tl.int16": 16, "tl.int32": 32, "tl.int64": 64}


def call_type(function: str, arguments: Sequence[Piece], names: Sequence[str]) -> Type:
    """The type of a call's result.

    `arguments` begin with the object of a method; `names` are those of the arguments that are plain names, in order.
    """
    match function:
        case "tl.program_id" | "tl.num_programs":
            return INT32
        case "tl.arange":
            first, last = (a.value for a in arguments[:2])
            if isinstance(first, int) and isinstance(last, int):
                return replace(INT32, shape=(last - first,))
            return replace(INT32, shape=None)
        case ".to" | "tl.cast" if arguments:
            width = _WIDTHS.get(names[0 if function == ".to" else 1]) if names else None
            x = arguments[0].type
            # A truth value of True is -1 as a signed integer of one bit: nothing is said of it.
            return replace(x, kind="int", width=width) if width is not None and x.is_integer else OTHER
        case "tl.where" if len(arguments) == 3:
            chosen = arguments[1].type | arguments[2].type
            if not chosen.is_integer:
                return OTHER
            both = combined(arguments[1].type, arguments[2].type)
            shape = broadcast(both.shape, arguments[0].type.shape)
            return replace(both, kind="int", shape=shape, zero=chosen.zero)
        case "tl.minimum" | "tl.maximum" if len(arguments) == 2:
            both = combined(arguments[0].type, arguments[1].type)
            return both if both.kind == "int" else OTHER
        case "tl.cdiv" if all(a.type.is_integer for a in arguments):
            return INT
    return OTHER


def subscript_type(base: Type, index: ast.expr) -> Type:
    """The type of a tile with axes inserted by `[:, None]`."""
    if base.kind not in ("int", "pointer"):
        return OTHER
    axes = index.elts if isinstance(index, ast.Tuple) else [index]
    if base.shape is None:
        return base
    shape: list[int] = []
    rest = list(base.shape)
    for axis in axes:
        match axis:
            case ast.Constant(value=None):
                shape.append(1)
            case ast.Slice(lower=None, upper=None, step=None) if rest:
                shape.append(rest.pop(0))
            case _:
                return replace(base, shape=None)
    return replace(base, shape=(*shape, *rest))


def loop_type(iterated: str, bounds: Sequence[Piece]) -> Type:
    """The type of a loop's variable."""
    if iterated == "tl.static_range":
        return INT
    fits = all(isinstance(b.value, int) and abs(b.value) < 2**31 for b in bounds)
    return INT32 if fits else INT


def without_leftovers(op: ast.operator, left: Piece, right: Piece) -> Piece | None:
    """What is left of x + 0, x - 0, x * 1, x // 1 and their like, for integers; None if nothing can go.

    Floating point keeps them (-0.0 + 0 is 0.0), and so do truth values, which they make integers of.
    """
    runs = ("int", "pointer")
    match op:
        case ast.Add() | ast.Sub() if left.type.kind in runs and (_is(right, 0) or _absorbs(left, right)):
            return left
        case ast.Add() if right.type.kind in runs and (_is(left, 0) or _absorbs(right, left)):
            return right
        case ast.Mult() | ast.FloorDiv() if left.type.kind == "int" and _is(right, 1):
            return left
        case ast.Mult() if right.type.kind == "int" and _is(left, 1):
            return right
    return None


def _absorbs(left: Piece, right: Piece) -> bool:
    """Whether adding `right` changes nothing, not even the type."""
    return right.pure and absorbs(left.type, right.type)


def _is(piece: Piece, number: int) -> bool:
    return piece.type.kind == "literal" and piece.is_known and piece.value == number


def binary_type(op: ast.operator, left: Piece, right: Piece) -> Type:
    """The type of `left op right`."""
    type_ = combined(left.type, right.type)
    zero = False
    match op:
        case ast.Add() | ast.Sub():
            zero = left.type.zero and right.type.zero
        case ast.Mult():
            zero = left.type.zero or right.type.zero
        case ast.Mod() if _is(right, 1):
            zero = True
        case ast.FloorDiv() | ast.Mod():
            zero = left.type.zero and right.is_known
        case ast.Div() | ast.Pow():
            return OTHER
        case _ if type_.kind == "pointer":
            return OTHER
        case ast.BitAnd() | ast.BitOr() | ast.BitXor() | ast.LShift() | ast.RShift():
            pass
    return replace(type_, zero=zero) if type_.kind == "int" else type_
