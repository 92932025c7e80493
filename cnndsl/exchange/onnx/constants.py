"""Operators on values that are known: the arithmetic of shapes, weights stored in another form, constants of one value.

Only what exporters write of such arithmetic, each as a line of numpy; nothing else in a file is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from cnndsl.exchange.onnx.refused import Refused
from cnndsl.exchange.onnx.values import Constant

MAX_BYTES = 2 << 30
"""Bytes that the computed constants of a file without weights may take, one value repeated included. Files that fill
their weights with constants need 0.6 GB for VGG-19, the largest of them."""

PER_STORED = 4
"""Further bytes for each byte of stored weights, which may be turned, scaled and cast."""

Arrays = Sequence[np.ndarray | None]


class UnknownError(Exception):
    """An operator that is not folded."""


@dataclass(frozen=True)
class Call:
    """An operator with its known inputs."""

    op: str
    opset: int
    attributes: Mapping[str, Any]
    arrays: Arrays
    outputs: int

    def array(self, number: int) -> np.ndarray:
        """An input that must be there."""
        found = self.arrays[number] if number < len(self.arrays) else None
        if found is None:
            raise ValueError(f"its input {number + 1} is missing")
        return found

    def optional(self, number: int) -> np.ndarray | None:
        """An input that may be left out."""
        return self.arrays[number] if number < len(self.arrays) else None

    def axes(self, *, since: int) -> tuple[int, ...] | None:
        """The axes, an attribute up to an opset and an input from then on; None where they are not given."""
        if self.opset >= since:
            array = self.optional(1)
            return None if array is None else tuple(int(a) for a in array.reshape(-1))
        found = self.attributes.get("axes")
        return None if found is None else tuple(found)


class Folder:
    """Computes the constants of one file, whose weights take `stored` bytes."""

    def __init__(self, stored: int) -> None:
        self.most = self.left = MAX_BYTES + PER_STORED * stored

    def fold(self, call: Call, where: str) -> list[np.ndarray]:
        """The outputs of an operator. Raises UnknownError where it is not folded, Refused where it cannot be."""
        function = _TABLE.get(call.op)
        if function is None:
            raise UnknownError(call.op)
        try:
            size = _SIZES[call.op](call) if call.op in _SIZES else sum(a.nbytes for a in call.arrays if a is not None)
            if call.op not in _VIEWS:
                self.left -= size
            if self.left < 0:
                raise Refused("E0801", f"{where} makes constants of more than {self.most:,} bytes")
            with np.errstate(all="ignore"):
                made = function(call)
        except Refused:
            raise
        except Exception as error:  # numpy's, on anything that does not fit together
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise Refused("E0801", f"{where} cannot be computed from its constants: {why}") from error
        return [np.asarray(a) for a in (made if isinstance(made, list) else [made])]

    def fold_values(self, call: Call, where: str, inputs: Sequence[Constant | None]) -> list[Constant]:
        """As `fold`, on constants of which some depend on the batch."""
        first = self.fold(call, where)
        if all(c is None or c.other is None for c in inputs):
            return [Constant(a) for a in first]
        others = [None if c is None else c.array if c.other is None else c.other for c in inputs]
        second = self.fold(Call(call.op, call.opset, call.attributes, others, call.outputs), where)
        return [Constant(a, None if np.array_equal(a, b) else b) for a, b in zip(first, second, strict=True)]


# --- what each operator makes ------------------------------------------------------------------------


def _dtype(number: int) -> np.dtype:
    from onnx import TensorProto, helper

    if number == TensorProto.BFLOAT16:
        return np.dtype(np.float32)
    found = np.dtype(helper.tensor_dtype_to_np_dtype(number))
    if found.kind not in "fiub":
        raise ValueError(f"its type {found} is no plain number")
    return found


def _shape(call: Call) -> np.ndarray:
    shape = call.array(0).shape
    return np.array(shape[call.attributes.get("start", 0) : call.attributes.get("end", len(shape))], np.int64)


def _constant_of_shape(call: Call) -> np.ndarray:
    value = call.attributes.get("value")
    value = np.zeros(1, np.float32) if value is None else np.asarray(value)
    return np.broadcast_to(value.reshape(()), tuple(int(v) for v in call.array(0)))


def _constant_of_shape_bytes(call: Call) -> int:
    value = call.attributes.get("value")
    return prod(int(v) for v in call.array(0)) * (4 if value is None else np.asarray(value).itemsize)


def _expanded(call: Call) -> tuple[int, ...]:
    return np.broadcast_shapes(call.array(0).shape, tuple(int(v) for v in call.array(1)))


def _gather(call: Call) -> np.ndarray:
    return np.take(call.array(0), call.array(1), axis=call.attributes.get("axis", 0))


def _slice(call: Call) -> np.ndarray:
    x = call.array(0)
    if call.opset >= 10:
        starts, stops = (call.array(i).reshape(-1).tolist() for i in (1, 2))
        given, skips = call.optional(3), call.optional(4)
        axes = list(range(len(starts))) if given is None else given.reshape(-1).tolist()
        steps = [1] * len(starts) if skips is None else skips.reshape(-1).tolist()
    else:
        starts, stops = list(call.attributes["starts"]), list(call.attributes["ends"])
        axes = list(call.attributes.get("axes", range(len(starts))))
        steps = [1] * len(starts)
    slices = [slice(None)] * x.ndim
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        # As Python counts, but for a start before the first when counting down, which to ONNX is the first.
        first, end, _ = slice(start, stop, step).indices(x.shape[axis])
        first = max(first, 0)
        slices[axis] = slice(first, end if end >= 0 else None, step)
    return np.asarray(x[tuple(slices)])


def _squeeze(call: Call) -> np.ndarray:
    return np.squeeze(call.array(0), axis=call.axes(since=13))


def _unsqueeze(call: Call) -> np.ndarray:
    axes = call.axes(since=13)
    if axes is None:
        raise ValueError("its axes are missing")
    return np.expand_dims(call.array(0), axes)


def _reshape(call: Call) -> np.ndarray:
    x = call.array(0)
    shape = [int(v) for v in call.array(1).reshape(-1)]
    if not call.attributes.get("allowzero", 0):
        shape = [x.shape[i] if v == 0 else v for i, v in enumerate(shape)]
    if np.broadcast_to(np.float32(0), x.shape).strides == x.strides and x.size:
        # One value repeated stays one value in memory.
        known = prod(v for v in shape if v != -1)
        return np.broadcast_to(x.flat[0], [x.size // known if v == -1 else v for v in shape])
    return x.reshape(shape)


def _divided(call: Call) -> np.ndarray:
    a, b = call.array(0), call.array(1)
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    # Whole numbers are divided towards zero, as in C.
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)


def _range(call: Call) -> np.ndarray:
    start, stop, step = (call.array(i).reshape(()).item() for i in range(3))
    return np.arange(start, stop, step, dtype=call.array(0).dtype)


def _range_bytes(call: Call) -> int:
    start, stop, step = (float(call.array(i).reshape(())) for i in range(3))
    return 8 * max(0, int((stop - start) / step) + 1)


def _reduced(call: Call) -> np.ndarray:
    # An empty list of axes is as none; numpy would reduce along none of them.
    x, axes = call.array(0), call.axes(since=13 if call.op == "ReduceSum" else 18) or None
    if axes is None and call.attributes.get("noop_with_empty_axes", 0):
        return x
    function = {"ReduceProd": np.prod, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min}[call.op]
    made: Any = function
    return np.asarray(made(x, axis=axes, keepdims=bool(call.attributes.get("keepdims", 1)))).astype(x.dtype)


def _split(call: Call) -> list[np.ndarray]:
    x, axis = call.array(0), call.attributes.get("axis", 0)
    sizes = call.optional(1) if call.opset >= 13 else call.attributes.get("split")
    if sizes is None:
        # All but the last are of one size, rounded up.
        count = call.outputs
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    ends = np.cumsum(np.asarray(sizes))
    if len(ends) != call.outputs or ends[-1] != x.shape[axis]:
        raise ValueError("its parts are not the whole")
    return np.split(x, [int(e) for e in ends[:-1]], axis=axis)


def _cast(call: Call) -> np.ndarray:
    return call.array(0).astype(_dtype(call.attributes["to"]))


def _typed(function: np.ufunc) -> Callable[[Call], np.ndarray]:
    """A function whose result has the type of its first input; one of two is applied along any number of them."""
    def made(call: Call) -> np.ndarray:
        arrays = [call.array(i) for i in range(len(call.arrays))]
        result = function(*arrays) if function.nin == 1 else reduce(function, arrays)
        return np.asarray(result).astype(arrays[0].dtype)

    return made


def _plain(function: Callable[..., Any]) -> Callable[[Call], np.ndarray]:
    """A function of any inputs with a type of its own."""
    return lambda call: np.asarray(function(*(call.array(i) for i in range(len(call.arrays)))))


_TABLE: dict[str, Callable[[Call], np.ndarray | list[np.ndarray]]] = {
    "Abs": _typed(np.abs),
    "Add": _typed(np.add),
    "And": _plain(np.logical_and),
    "Cast": _cast,
    "Ceil": _typed(np.ceil),
    "Concat": lambda c: np.concatenate([c.array(i) for i in range(len(c.arrays))], axis=c.attributes["axis"]),
    "ConstantOfShape": _constant_of_shape,
    "Div": _divided,
    "Equal": _plain(np.equal),
    "Exp": _typed(np.exp),
    "Expand": lambda c: np.broadcast_to(c.array(0), _expanded(c)),
    "Floor": _typed(np.floor),
    "Gather": _gather,
    "Greater": _plain(np.greater),
    "GreaterOrEqual": _plain(np.greater_equal),
    "Identity": lambda c: c.array(0),
    "Less": _plain(np.less),
    "LessOrEqual": _plain(np.less_equal),
    "Log": _typed(np.log),
    "Max": _typed(np.maximum),
    "Min": _typed(np.minimum),
    "Mod": lambda c: (np.fmod if c.attributes.get("fmod", 0) else np.mod)(c.array(0), c.array(1)),
    "Mul": _typed(np.multiply),
    "Neg": _typed(np.negative),
    "Not": _plain(np.logical_not),
    "Or": _plain(np.logical_or),
    "Pow": _typed(np.power),
    "Range": _range,
    "Reciprocal": _typed(np.reciprocal),
    "ReduceMax": _reduced,
    "ReduceMin": _reduced,
    "ReduceProd": _reduced,
    "ReduceSum": _reduced,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": lambda c: np.array(c.array(0).size, np.int64),
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _typed(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _typed(np.subtract),
    "Sum": _typed(np.add),
    "Transpose": lambda c: np.transpose(c.array(0), c.attributes.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Where": _plain(np.where),
}

_VIEWS = {"Identity", "Shape", "Size", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators that copy nothing."""


def _broadcast_bytes(call: Call) -> int:
    arrays = [a for a in call.arrays if a is not None]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    widest: int = max(a.itemsize for a in arrays)
    return prod(int(size) for size in shape) * widest


def _gather_bytes(call: Call) -> int:
    x, index = call.array(0), call.array(1)
    each: int = x.nbytes // max(1, x.shape[call.attributes.get("axis", 0)])
    return each * index.size


_SIZES: dict[str, Callable[[Call], int]] = {
    "Cast": lambda c: 8 * c.array(0).size,
    "ConstantOfShape": _constant_of_shape_bytes,
    "Expand": lambda c: prod(_expanded(c)) * c.array(0).itemsize,
    "Gather": _gather_bytes,
    "Range": _range_bytes,
    **dict.fromkeys(
        (
            "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod",
            "Mul", "Or", "Pow", "Sub", "Sum", "Where",
        ),
        _broadcast_bytes,
    ),
}
"""Bytes of a result; of other operators, no more than of the inputs."""

FOLDED = frozenset(_TABLE)
"""Operators that are computed where all of their inputs are known."""
