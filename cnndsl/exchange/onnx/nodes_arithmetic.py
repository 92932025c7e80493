"""Sums, products and their like: joins of tensors, and constants per channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import numpy as np

from cnndsl.exchange.onnx.draft import Affine, Power, Quotient
from cnndsl.exchange.onnx.nodes_activations import clipped
from cnndsl.exchange.onnx.values import Constant, Node, Tensor, seen, shown
from cnndsl.ops.base import Op
from cnndsl.ops.joins import Add, Mul


def affine(node: Node, x: Tensor, *, scale: np.ndarray | float = 1.0, shift: np.ndarray | float = 0.0) -> Tensor:
    """scale * x + shift, each one number or an array that is broadcast as the file's."""
    scale, shift = np.asarray(scale, np.float64), np.asarray(shift, np.float64)
    node.need_rank(x, scale, shift)
    item, axis = x.item, None
    if scale.size > 1 or shift.size > 1:
        item, axis = node.channelled(x)
    channels = node.draft.type(item).channels
    weights = {
        name: _per_channel(node, array, x.shape, axis=axis, channels=channels)
        for name, array in (("scale", scale), ("shift", shift))
    }
    return seen(x, node.add(Affine(), item, weights=weights))


def _per_channel(
    node: Node, array: np.ndarray, shape: tuple[int, ...], *, axis: int | None, channels: int
) -> np.ndarray:
    """An array that is broadcast to `shape`, as one number or as one for each channel."""
    if array.size == 1:
        return array.reshape(1)
    rank = len(shape)
    sizes = (1,) * (rank - array.ndim) + array.shape
    per_channel = len(sizes) == rank and all(size == 1 or i == axis for i, size in enumerate(sizes))
    if not per_channel or array.size != channels:
        if array.size and (array == array.flat[0]).all() and len(sizes) == rank and all(
            size in {1, shape[i]} for i, size in enumerate(sizes)
        ):
            return np.array(array.flat[:1])
        raise node.refuse(
            f"computes with a constant of shape {list(array.shape)} beside {shown(shape)}",
            "a layer has one constant for each channel (batchnorm)", nearest="batchnorm",
        )
    return array.reshape(-1)


def _split(node: Node) -> tuple[list[Tensor], list[np.ndarray]]:
    """The inputs of a node that the network computes, and those that are known."""
    tensors: list[Tensor] = []
    arrays: list[np.ndarray] = []
    for number in range(len(node.inputs)):
        value = node.value(number)
        if isinstance(value, Tensor):
            tensors.append(value)
        else:
            arrays.append(_numbers(node, value))
    return tensors, arrays


def _numbers(node: Node, value: Constant) -> np.ndarray:
    if value.other is not None:
        raise node.refuse("computes with the size of the batch")
    if value.array.dtype.kind not in "fiu":
        raise node.refuse(f"computes with a constant of type {value.array.dtype}")
    return value.array.astype(np.float64)


def _joined(node: Node, op: Op, tensors: Sequence[Tensor]) -> Tensor:
    """A join of tensors of one shape; of a product, one may be [N, C, 1, 1]."""
    first = tensors[0]
    if len(tensors) == 1:
        return first
    shapes = {t.shape for t in tensors}
    types = {node.draft.type(t.item) for t in tensors}
    if len(shapes) == 1 and len(types) == 1 and len({t.last for t in tensors}) == 1:
        return seen(first, node.add(op, *(t.item for t in tensors)))
    widest = max(tensors, key=lambda t: math.prod(t.shape))
    if widest.last and all(t.last or t.shape[1:3] == (1, 1) for t in tensors):
        # Height, width, channel: a scale [N, 1, 1, C] is the map [1x1xC] of the draft as well.
        items = [t.item for t in tensors]
        if all(node.draft.type(i).is_map for i in items):
            return seen(widest, node.add(op, *items))
    if len(shapes) == 1 and len(first.shape) == 2:
        return node.made(op, *(node.vector(t) for t in tensors))
    spread = {shape for shape in shapes if shape != widest.shape}
    if spread and not (isinstance(op, Mul) and all(_spreads(s, widest.shape) for s in spread)):
        what = "equal shapes, or [N, C, 1, 1] beside [N, C, H, W]" if isinstance(op, Mul) else "equal shapes"
        raise node.refuse(
            f"joins tensors of the shapes {' and '.join(shown(t.shape) for t in tensors)}",
            f"{op.name} needs {what}", nearest=op.name,
        )
    return node.made(op, *(node.map(t) for t in tensors))


def _spreads(shape: tuple[int, ...], widest: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2:] == (1, 1) and shape[:2] == widest[:2]


def add(node: Node) -> Tensor:
    """Add and Sum."""
    tensors, arrays = _split(node)
    made = _joined(node, Add(), tensors)
    return affine(node, made, shift=reduce(np.add, arrays)) if arrays else made


def mul(node: Node) -> Tensor:
    """Mul."""
    tensors, arrays = _split(node)
    made = _joined(node, Mul(), tensors)
    return affine(node, made, scale=reduce(np.multiply, arrays)) if arrays else made


def sub(node: Node) -> Tensor:
    """Sub."""
    a, b = node.value(0), node.value(1)
    if isinstance(b, Constant):
        return affine(node, node.tensor(0), shift=-_numbers(node, b))
    if isinstance(a, Constant):
        return affine(node, b, scale=-1.0, shift=_numbers(node, a))
    return _joined(node, Add(), (a, affine(node, b, scale=-1.0)))


def div(node: Node) -> Tensor:
    """Div by a constant; by a tensor it may be a part of an LRN."""
    b = node.value(1)
    if isinstance(b, Tensor):
        x = node.tensor(0)
        if x.shape != b.shape or x.last != b.last or node.draft.type(x.item) != node.draft.type(b.item):
            raise node.refuse("divides by a tensor", "there is no layer for it", nearest="mul")
        return seen(x, node.add(Quotient(), x.item, b.item))
    divisor = _numbers(node, b)
    if not divisor.all():
        raise node.refuse("divides by zero")
    return affine(node, node.tensor(0), scale=1.0 / divisor)


def neg(node: Node) -> Tensor:
    """Neg."""
    return affine(node, node.tensor(), scale=-1.0)


def power(node: Node) -> Tensor:
    """Pow; with the exponent 2 or 3 a product of the tensor with itself, with others perhaps a part of an LRN."""
    exponent = node.scalar(1, "exponent")
    x = node.tensor()
    node.need_rank(x, node.constant(1, "exponent").array)
    if exponent in {2.0, 3.0}:
        return seen(x, node.add(Mul(), *([x.item] * int(exponent))))
    return seen(x, node.add(Power(exponent), x.item))


def extreme(node: Node) -> Tensor:
    """Max and Min with a constant of one number."""
    tensors, arrays = _split(node)
    if len(tensors) != 1 or any(a.size != 1 for a in arrays):
        raise node.refuse("compares tensors value by value", "there is no layer for it", nearest="relu")
    node.need_rank(tensors[0], *arrays)
    bounds = [float(str(np.float32(a.reshape(())))) for a in arrays]
    if node.op == "Max":
        return clipped(node, tensors[0], max(bounds, default=-math.inf), math.inf)
    return clipped(node, tensors[0], -math.inf, min(bounds, default=math.inf))


TABLE: Mapping[str, Callable[[Node], Tensor]] = {
    "Add": add,
    "Div": div,
    "Max": extreme,
    "Min": extreme,
    "Mul": mul,
    "Neg": neg,
    "Pow": power,
    "Sub": sub,
    "Sum": add,
}
