"""Shapes in the text: of inputs, and those that assertions claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from cnndsl import syntax as ast
from cnndsl.errors import Diagnostic
from cnndsl.ir import TensorType
from cnndsl.ops.fields import show_value
from cnndsl.passes.ledger import Ledger
from cnndsl.passes.scope import Value
from cnndsl.passes.shapes import MAX_VALUES, Dims, Tensors, fits, wrong_shape
from cnndsl.passes.values import POISON, Evaluator


def shape_dims(shape: ast.Shape, evaluator: Evaluator) -> Dims | None:
    """The sizes of a shape; None when it is wrong (reported, E0205, E0308)."""
    dims: list[int | None] = []
    good = True
    for expr in shape.dims:
        match expr:
            case ast.Dims(values):
                found: Sequence[int | None] = values
            case ast.Name("_"):
                found = (None,)
            case _:
                value = evaluator.value(expr)
                if value is POISON:
                    good = False
                    continue
                if isinstance(value, bool) or not isinstance(value, int):
                    hint = ("`/` gives a number with a fraction; `//` divides whole numbers",)
                    message = f"a size must be a whole number, found {show_value(value)}"
                    evaluator.report(
                        Diagnostic("E0205", message, expr.span, help=hint if isinstance(value, float) else ())
                    )
                    good = False
                    continue
                found = (value,)
        least = min((d for d in found if d is not None), default=1)
        if least < 1:
            good = False
            evaluator.report(Diagnostic("E0308", f"a size must be at least 1, found {least}", expr.span))
        dims.extend(found)
    if not good:
        return None
    if len(dims) not in {1, 3}:
        hint = ("a feature map is [height x width x channels], a vector [features]; the batch is left out",)
        message = f"a shape has one or three sizes, found {len(dims)}"
        evaluator.report(Diagnostic("E0308", message, shape.span, help=hint))
        return None
    return tuple(dims)


def input_type(shape: ast.Shape, evaluator: Evaluator) -> TensorType | None:
    """The type of an input; None when its shape is wrong (reported, E0205, E0218, E0308)."""
    dims = shape_dims(shape, evaluator)
    if dims is None:
        return None
    sizes = tuple(d for d in dims if d is not None)
    if len(sizes) < len(dims):
        message = "an input needs every size; `_` is for shape assertions"
        evaluator.report(Diagnostic("E0308", message, shape.span))
        return None
    if prod(sizes) > MAX_VALUES:
        message = f"an input of {prod(sizes):,} values is absurdly large"
        evaluator.report(Diagnostic("E0218", message, shape.span, f"at most {MAX_VALUES:,}"))
        return None
    return TensorType(sizes)


def check_assertion(
    item: ast.Shape, current: Value, evaluator: Evaluator, *, tensors: Tensors, ledger: Ledger
) -> Value:
    """The current tensor behind an assertion: with what the text says of it, where that is not so (reported)."""
    ledger.spend_text(item.span)
    dims = shape_dims(item, evaluator)
    if dims is None:
        return current
    sizes = tuple(d for d in dims if d is not None)
    if current.type is None:
        # After a mistake, the author's own word is the best guess at what comes next.
        known = len(sizes) == len(dims) and prod(sizes) <= MAX_VALUES
        return Value(None, TensorType(sizes), item.span) if known else current
    if current.node is None or fits(dims, current.type):
        return current
    if current.meant is not None and fits(dims, current.meant):
        return current  # it would hold if the one before did
    if not ledger.reported("E0301", item.span):
        ledger.report(wrong_shape(item, dims, current, tensors))
    if len(dims) != len(current.type.shape) or prod(sizes) > MAX_VALUES:
        return replace(current, meant=None)
    meant = tuple(f if d is None else d for d, f in zip(dims, current.type.shape, strict=True))
    return replace(current, meant=TensorType(meant))
