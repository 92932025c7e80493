"""The types of what Triton's functions return, as far as leftovers of integer arithmetic depend on them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from cnndsl.codegen.specialize_values import INT, INT32, OTHER, Piece, Type, combined

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
            return replace(both, kind="int", shape=None, zero=chosen.zero)
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
