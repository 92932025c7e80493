"""Operators of torch that change shapes, and the steps by which they spell channel shuffles and LRN."""

from __future__ import annotations

import sys
from math import prod
from typing import Any

from cnndsl.exchange.torch.call import Call
from cnndsl.exchange.torch.values import Outside, Partial, Ref, Value
from cnndsl.ir import TensorType
from cnndsl.ops.joins import Mul
from cnndsl.ops.reshape import ChannelShuffle, Flatten, Pad


class NeedsMap(Outside):
    """A vector [F] that is given the shape [F, 1, 1]."""


def reshape(call: Call) -> Value:
    """A view: nothing, flatten, or a shape that only another view makes something of."""
    x = call["self"] if "self" in call.arguments else call["input"]
    shape = tuple(call.shape[1:])
    match x:
        case Ref():
            source = x.name
        case Partial(kind="view"):
            source = x.source
        case Partial(kind="shuffled"):
            source = call.add(ChannelShuffle(x.data[0]), x.source).name
        case Partial(kind="lrn squares" | "lrn mean") if shape == _lrn_shape(x, call.builder.type(x.source)):
            return x
        case Partial(kind="lrn mean") if shape == call.builder.type(x.source).torch_shape:
            return x
        case _:
            raise Outside("it reshapes what is no layer's result", nearest="flatten")
    before = call.builder.type(source)
    if prod(shape) != before.size:
        what = "takes the batch away" if prod(call.shape) == before.size else f"reshapes {before} to {list(shape)}"
        raise Outside(f"it {what}", nearest="flatten")
    if shape == before.torch_shape or (call.as_map and before.is_map):
        return Ref(source)
    if len(shape) == 1:
        return call.add(Flatten(), source)
    if len(shape) == 3 and shape[1:] == (1, 1) and not before.is_map:
        raise NeedsMap(f"it reshapes {before} to {list(shape)}")
    if shape == (1, *before.torch_shape):
        op = call.builder.op(source)
        factors = call.builder.inputs(source)
        if isinstance(op, Mul) and len(factors) == 2 and len(set(factors)) == 1:
            return Partial("lrn squares", factors[0])
    return Partial("view", source, shape)


def _lrn_shape(x: Partial, source: TensorType) -> tuple[int, ...]:
    """The shape that the squares of a local response normalisation have, or their means."""
    return (1, *source.torch_shape) if x.kind == "lrn mean" or not x.data else ()


def avg_pool_3d(call: Call) -> Value:
    x, kernel = call["self"], list(call["kernel_size"])
    stride, padding = list(call["stride"]) or kernel, list(call["padding"])
    kernel, stride, padding = ([*v * 3][:3] if len(v) == 1 else v for v in (kernel, stride, padding))
    if isinstance(x, Partial) and x.kind == "lrn squares" and kernel[1:] == [1, 1] and stride == [1, 1, 1]:
        size = kernel[0]
        # Padded before, or, by an odd window, here; either way padding counts.
        below, above = x.data or (padding[0], padding[0])
        plain = call.get("divisor_override") is None and padding[1:] == [0, 0]
        alone = call["count_include_pad"] if not x.data else padding[0] == 0
        if (below, above) == (size // 2, (size - 1) // 2) and plain and (alone or size == 1):
            return Partial("lrn mean", x.source, (size,))
    raise Outside("it is a 3-d pooling", nearest="avgpool")


def pad(call: Call) -> Value:
    x, amounts = call["self"], list(call["pad"])
    value = call.get("value") or 0.0
    if call.get("mode", "constant") != "constant":
        raise Outside(f"it pads by mode {call['mode']}", nearest="pad")
    if isinstance(x, Partial) and x.kind == "lrn squares" and not x.data:
        if len(amounts) == 6 and amounts[:4] == [0] * 4 and not value:
            return Partial("lrn squares", x.source, (amounts[4], amounts[5]))
        raise Outside("it pads what is no layer's result", nearest="pad")
    amounts += [0] * (4 - len(amounts))
    left, right, top, bottom, *rest = amounts
    if any(rest) or min(amounts) < 0:
        raise Outside("it pads more than height and width, or takes pixels away", nearest="pad")
    return call.add(Pad((top, bottom, left, right), value=float(value)), call.ref("self"))


def transpose(call: Call) -> Value:
    rank = len(call.shape)
    return _swapped(call, {call["dim0"] % rank, call["dim1"] % rank})


def permute(call: Call) -> Value:
    dims = list(call["dims"])
    return _swapped(call, {d % len(dims) for i, d in enumerate(dims) if d % len(dims) != i})


def _swapped(call: Call, moved: set[int]) -> Value:
    """Dimensions exchanged: the groups of a channel shuffle, [n, g, C / g, ...] to [n, C / g, g, ...]."""
    x: Any = call["self"]
    if len(moved) < 2:
        value: Value = x
        return value
    if isinstance(x, Partial) and x.kind == "view" and len(x.data) > 2 and moved == {1, 2}:
        source = call.builder.type(x.source)
        if source.is_map and x.data[0] * x.data[1] == source.channels:
            return Partial("shuffled", x.source, (x.data[0],))
    raise Outside("it exchanges dimensions", nearest="channel_shuffle")


def matrix_transpose(_: Call) -> Value:
    raise Outside("it exchanges dimensions", nearest="channel_shuffle")


def channel_shuffle(call: Call) -> Value:
    return call.add(ChannelShuffle(call["groups"]), call.ref("self"))


def expand(call: Call) -> Value:
    """One value repeated for every pixel, which a product does by itself."""
    source = call.ref("self")
    before, shape = call.builder.type(source), tuple(call.shape[1:])
    if shape == before.torch_shape:
        return Ref(source)
    if before.is_map and (before.height, before.width) == (1, 1) and len(shape) == 3 and shape[0] == before.channels:
        return Partial("spread", source, shape)
    raise Outside(f"it repeats {before} to {list(shape)}", nearest="mul")


def part(call: Call) -> Value:
    """Some of a tensor, which no layer takes: all of it is the tensor itself."""
    source, end = call.ref("self"), call["end"]
    if call["dim"] % len(call.shape) == 0:
        # Of a batch of one, the first picture is all of it; of any other it is not.
        whole = not call["start"] and (end is None or end == sys.maxsize)
    else:
        whole = tuple(call.shape[1:]) == call.builder.type(source).torch_shape
    if not whole or call["step"] != 1:
        raise Outside("it takes a part of a tensor", nearest="concat")
    return Ref(source)


def nothing(call: Call) -> Value:
    """What changes no value: a copy, a contiguous form, a layer of training."""
    value: Value = next(iter(call.arguments.values()))
    return value


def convert(call: Call) -> Value:
    """Another type, device or order in memory: a network has its own."""
    if call.dtype is None or not call.dtype.is_floating_point:
        raise Outside(f"it converts numbers to {str(call.dtype).removeprefix('torch.')}")
    return nothing(call)
