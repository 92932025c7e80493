"""Operators of torch that change shapes, and the steps by which they spell channel shuffles and LRN."""

from __future__ import annotations

from typing import Any

from cnndsl.exchange.torch.call import Call
from cnndsl.exchange.torch.values import Fixed, Outside, Partial, Ref, Value
from cnndsl.ops.joins import Mul
from cnndsl.ops.reshape import ChannelShuffle, Flatten, Pad


def reshape(call: Call) -> Value:
    """A view: flatten, nothing, a step of a channel shuffle, or one of a local response normalisation."""
    key = "self" if "self" in call.arguments else "input"
    x = call[key]
    if isinstance(x, Fixed):
        return Fixed(x.tensor.reshape(call.shape), x.path)
    if isinstance(x, Partial):
        return _reshaped_partial(call, x)
    if not isinstance(x, Ref):
        raise Outside("it reshapes something other than a layer's result")
    before, shape = call.builder.type(x.name), call.shape
    if shape[1:] == before.torch_shape:
        return x
    if len(shape) == 2 and shape[1] == before.size and before.is_map:
        return call.add(Flatten(), x.name)
    if len(shape) == 5 and before.is_map:
        if shape[1] == 1:
            return _squared(call, x.name)
        if shape[1] * shape[2] == before.channels and shape[3:] == (before.height, before.width):
            return Partial("grouped", x.name, (shape[1],))
    raise Outside(f"it reshapes {before} to {list(shape[1:])}", nearest="flatten")


def _reshaped_partial(call: Call, x: Partial) -> Value:
    before = call.builder.type(x.source)
    if x.kind == "shuffled" and call.shape[1:] == before.torch_shape:
        return call.add(ChannelShuffle(x.data[0]), x.source)
    if x.kind.startswith("lrn"):
        return x
    raise Outside("it reshapes what is no layer's result", nearest="flatten")


def _squared(call: Call, name: str) -> Value:
    """The first step of a local response normalisation: the squares of a layer's result, with a dimension more."""
    op = call.builder.op(name)
    sources = set(call.builder.inputs(name))
    if not isinstance(op, Mul) or len(sources) != 1:
        raise Outside("it adds a dimension", nearest="flatten")
    return Partial("lrn squares", sources.pop())


def unsqueeze(call: Call) -> Value:
    x = call["self"]
    if isinstance(x, Fixed):
        return Fixed(x.tensor.unsqueeze(call["dim"]), x.path)
    if isinstance(x, Ref) and call["dim"] == 1 and len(call.shape) == 5:
        return _squared(call, x.name)
    raise Outside("it adds a dimension", nearest="flatten")


def squeeze(call: Call) -> Value:
    x = call["self"]
    if isinstance(x, Partial) and x.kind.startswith("lrn"):
        return x
    return reshape(call)


def avg_pool_3d(call: Call) -> Value:
    x = call["self"]
    kernel = list(call["kernel_size"])
    if isinstance(x, Partial) and x.kind == "lrn squares" and kernel[1:] == [1, 1] and len(kernel) == 3:
        below, above = x.data or (0, 0)
        size = kernel[0]
        if (below, above) == (size // 2, (size - 1) // 2):
            return Partial("lrn mean", x.source, (size,))
    raise Outside("it is a 3-d pooling", nearest="avgpool")


def pad(call: Call) -> Value:
    x, amounts = call["self"], list(call["pad"])
    value = call.get("value") or 0.0
    if call.get("mode", "constant") != "constant":
        raise Outside(f"it pads by mode {call['mode']}", nearest="pad")
    if isinstance(x, Partial) and x.kind == "lrn squares" and amounts[:4] == [0] * 4 and not value:
        return Partial("lrn squares", x.source, (amounts[4], amounts[5]))
    amounts += [0] * (4 - len(amounts))
    left, right, top, bottom, *rest = amounts
    if any(rest) or min(amounts) < 0:
        raise Outside("it pads more than height and width, or takes pixels away", nearest="pad")
    return call.add(Pad((top, bottom, left, right), value=float(value)), call.ref("self"))


def transpose(call: Call) -> Value:
    x = call["self"]
    if isinstance(x, Fixed):
        return Fixed(x.tensor.transpose(call["dim0"], call["dim1"]), x.path)
    return _swapped(x, {call["dim0"] % 5, call["dim1"] % 5}, rank=len(call.shape))


def permute(call: Call) -> Value:
    x, dims = call["self"], list(call["dims"])
    if isinstance(x, Fixed):
        return Fixed(x.tensor.permute(dims), x.path)
    moved = {d for i, d in enumerate(dims) if d % len(dims) != i}
    return _swapped(x, moved, rank=len(dims)) if moved else x


def _swapped(x: Any, moved: set[int], *, rank: int) -> Value:
    if isinstance(x, Partial) and x.kind == "grouped" and moved == {1, 2} and rank == 5:
        return Partial("shuffled", x.source, x.data)
    raise Outside("it exchanges dimensions", nearest="channel_shuffle")


def matrix_transpose(call: Call) -> Value:
    x = call["self"]
    if isinstance(x, Fixed):
        return Fixed(x.tensor.t(), x.path)
    raise Outside("it exchanges dimensions", nearest="channel_shuffle")


def channel_shuffle(call: Call) -> Value:
    return call.add(ChannelShuffle(call["groups"]), call.ref("self"))


def nothing(call: Call) -> Value:
    """What changes no value: a copy, a contiguous form, a layer of training."""
    value: Value = next(iter(call.arguments.values()))
    return value
