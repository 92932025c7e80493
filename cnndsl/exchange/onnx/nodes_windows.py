"""Convolution, pooling and padding: ONNX's windows as layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

import numpy as np

from cnndsl.exchange.onnx.draft import ChannelMean, ChannelPad
from cnndsl.exchange.onnx.values import Node, Tensor, viewed
from cnndsl.ir import TensorType
from cnndsl.ops.conv import Conv
from cnndsl.ops.fields import Pads
from cnndsl.ops.global_pool import GlobalAvgPool, GlobalMaxPool
from cnndsl.ops.pool import AvgPool, MaxPool
from cnndsl.ops.reshape import Pad
from cnndsl.ops.window import output_size

LOWEST = float(np.finfo(np.float32).min)
"""The border of a maximum where the language's own padding is too narrow: a layer's value must be finite."""


def pads_of(
    node: Node, x: TensorType, kernel: tuple[int, int], *, stride: tuple[int, int], dilation: tuple[int, int]
) -> Pads:
    """The padding of a window over `x`, from `auto_pad` or from `pads`."""
    auto = node.text("auto_pad", "NOTSET") or "NOTSET"
    if auto == "NOTSET":
        given = node.ints("pads") or (0, 0, 0, 0)
        if len(given) != 4:
            raise node.refuse(f"works along {len(given) // 2} axes: pads {given}", "layers work on height and width")
        if min(given) < 0:
            raise node.refuse(f"has negative pads {given}", "no layer cuts rows or columns off")
        top, left, bottom, right = given
        return top, bottom, left, right
    if auto == "VALID":
        return 0, 0, 0, 0
    if auto not in {"SAME_UPPER", "SAME_LOWER"}:
        raise node.refuse(f"has an unknown auto_pad {auto}")
    pads: list[int] = []
    for size, k, s, d in zip((x.height, x.width), kernel, stride, dilation, strict=True):
        total = (-(-size // s) - 1) * s + d * (k - 1) + 1 - size
        if total < -1:
            # By ONNX's formula half of it moves the windows, which TensorFlow, whose word SAME is, does not do.
            raise node.refuse(f"steps by {s}, further than its window, with auto_pad {auto}: a padding of {total}")
        total = max(total, 0)
        less, more = total // 2, total - total // 2
        pads += (less, more) if auto == "SAME_UPPER" else (more, less)
    return pads[0], pads[1], pads[2], pads[3]


def steps_of(node: Node, name: str) -> tuple[int, int]:
    """Strides or dilations: one for each axis, at least 1."""
    found = node.pair(name, 1)
    if min(found) < 1:
        raise node.refuse(f"has {name} {found}")
    return found


def conv(node: Node) -> Tensor:
    """Conv."""
    weight = node.floats(1, "weight")
    if weight.ndim != 4:
        raise node.refuse(
            f"has a weight of shape {weight.shape}", "layers convolve along height and width, by [K, C, R, S]",
            nearest="conv",
        )
    x = node.map(node.tensor())
    kernel = (weight.shape[2], weight.shape[3])
    stated = node.ints("kernel_shape")
    if stated is not None and stated != kernel:
        raise node.refuse(f"has a weight of {kernel[0]}x{kernel[1]}, but kernel_shape {stated}")
    stride, dilation = steps_of(node, "strides"), steps_of(node, "dilations")
    weights = {"weight": weight}
    if node.has(2):
        weights["bias"] = node.floats(2, "bias")
    pad = pads_of(node, node.draft.type(x), kernel, stride=stride, dilation=dilation)
    op = Conv(
        weight.shape[0], kernel, stride=stride, pad=pad, dilation=dilation, groups=node.number("group", 1),
        bias="bias" in weights,
    )
    return node.made(op, x, weights=weights)


def _window(node: Node) -> tuple[int, tuple[int, int], tuple[int, int], Pads, bool]:
    """The input of a pool, its kernel, stride, padding, and whether sizes are rounded up."""
    x = node.map(node.tensor())
    kernel, stride = node.pair("kernel_shape", 1), steps_of(node, "strides")
    if node.ints("kernel_shape") is None or min(kernel) < 1:
        raise node.refuse(f"has kernel_shape {node.ints('kernel_shape')}")
    dilation = node.ints("dilations") or (1, 1)
    if set(dilation) != {1}:
        raise node.refuse(f"takes only some pixels of its windows: dilations {dilation}", nearest="maxpool")
    pad = pads_of(node, node.draft.type(x), kernel, stride=stride, dilation=(1, 1))
    return x, kernel, stride, pad, bool(node.number("ceil_mode", 0))


def _fits(pad: Pads, kernel: tuple[int, int]) -> bool:
    """Whether the language's pools take a padding: at most half of the window."""
    return max(pad[:2]) <= kernel[0] // 2 and max(pad[2:]) <= kernel[1] // 2


def max_pool(node: Node) -> Tensor:
    """MaxPool."""
    if len(node.wanted) > 1 and node.wanted[1]:
        raise node.refuse("also makes the places of its largest values (Indices)", nearest="maxpool")
    x, kernel, stride, pad, ceil = _window(node)
    if not _fits(pad, kernel):
        if max(pad[0], pad[1]) >= kernel[0] or max(pad[2], pad[3]) >= kernel[1]:
            raise node.refuse(f"has pads of a whole window {kernel[0]}x{kernel[1]}", nearest="maxpool")
        type_ = node.draft.type(x)
        found = _same_windows(type_, kernel, stride=stride, pad=pad, ceil=ceil)
        if found is not None:
            pad, ceil = found
        else:
            # ONNX takes any padding short of a window; a border of the lowest number never wins over a pixel either.
            x = node.add(Pad(_without_ceil(type_, kernel, stride=stride, pad=pad, ceil=ceil), LOWEST), x)
            pad, ceil = (0, 0, 0, 0), False
    return node.made(MaxPool(kernel, stride, pad, ceil=ceil), x)


def _same_windows(
    x: TensorType, kernel: tuple[int, int], *, stride: tuple[int, int], pad: Pads, ceil: bool
) -> tuple[Pads, bool] | None:
    """Padding and rounding that the language's pools take, for the same windows where only pixels count.

    Below and right the padding only says how many windows there are: torch's exporter writes `ceil` as more of it.
    """
    for rounding in (False, True):
        found: list[int] = []
        for axis, size in enumerate((x.height, x.width)):
            k, s, before, after = kernel[axis], stride[axis], pad[2 * axis], pad[2 * axis + 1]
            wanted = output_size(size, k, stride=s, before=before, after=after, dilation=1, ceil=ceil)
            same = (
                own for own in range(k // 2 + 1)
                if output_size(size, k, stride=s, before=before, after=own, dilation=1, ceil=rounding) == wanted
            )  # fmt: skip
            found += (before, *islice(same, 1))
        if len(found) == 4 and _fits((found[0], found[1], found[2], found[3]), kernel):
            return (found[0], found[1], found[2], found[3]), rounding
    return None


def _without_ceil(
    x: TensorType, kernel: tuple[int, int], *, stride: tuple[int, int], pad: Pads, ceil: bool
) -> Pads:
    """A padding with which a maximum rounded down has the windows of one rounded up."""
    if not ceil:
        return pad
    made = list(pad)
    for axis, size in enumerate((x.height, x.width)):
        k, s, before, after = kernel[axis], stride[axis], pad[2 * axis], pad[2 * axis + 1]
        out = output_size(size, k, stride=s, before=before, after=after, dilation=1, ceil=True)
        made[2 * axis + 1] = max(after, (out - 1) * s + k - size - before)
    return made[0], made[1], made[2], made[3]


def average_pool(node: Node) -> Tensor:
    """AveragePool."""
    if len(node.tensor().shape) == 5:
        return _mean_of_channels(node)
    x, kernel, stride, pad, ceil = _window(node)
    count = bool(node.number("count_include_pad", 0))
    if not any(pad) and not ceil:
        # There is no padding to count: what is shorter to write.
        count = True
    if not _fits(pad, kernel):
        found = _same_windows(node.draft.type(x), kernel, stride=stride, pad=pad, ceil=ceil) if not count else None
        if found is not None:
            return node.made(AvgPool(kernel, stride, found[0], ceil=found[1], count_pad=False), x)
        if not count or ceil:
            raise node.refuse(
                f"has pads of more than half a window {kernel[0]}x{kernel[1]}, which it leaves out of the mean",
                nearest="avgpool",
            )
        x, pad = node.add(Pad(pad), x), (0, 0, 0, 0)
    return node.made(AvgPool(kernel, stride, pad, ceil=ceil, count_pad=count), x)


def _mean_of_channels(node: Node) -> Tensor:
    """AveragePool of [N, 1, C, H, W] over windows of channels, as torch's exporter writes a part of an LRN."""
    x = node.tensor()
    type_ = node.draft.type(x.item)
    kernel, pads = node.ints("kernel_shape") or (), node.ints("pads") or (0,)
    stride = node.ints("strides") or (1,)
    plain = {*stride, *(node.ints("dilations") or (1,)), *kernel[1:]} == {1} and not any(pads) and len(kernel) == 3
    if not plain or x.shape[1:] != (1, *type_.torch_shape) or not 1 <= kernel[0] <= type_.channels:
        raise node.refuse(f"is a pool along {len(kernel)} axes", "layers work on height and width", nearest="avgpool")
    item = node.add(ChannelMean(kernel[0]), x.item)
    return Tensor(item, (*x.shape[:2], *node.draft.type(item).torch_shape))


def global_average_pool(node: Node) -> Tensor:
    """GlobalAveragePool."""
    return node.made(GlobalAvgPool(), node.map(node.tensor()))


def global_max_pool(node: Node) -> Tensor:
    """GlobalMaxPool."""
    return node.made(GlobalMaxPool(), node.map(node.tensor()))


def reduce_pixels(node: Node) -> Tensor:
    """ReduceMean and ReduceMax over all pixels."""
    x = node.tensor()
    rank = len(x.shape)
    nearest = "globalavgpool" if node.op == "ReduceMean" else "globalmaxpool"
    given = node.whole(1, "axes") if node.opset >= 18 and node.has(1) else node.ints("axes")
    if not given:
        if node.number("noop_with_empty_axes", 0):
            return x
        raise node.refuse("reduces along all axes, the batch too", nearest=nearest)
    axes = {axis_of(node, axis, rank) for axis in given}
    pixels = {1, 2} if x.last and rank == 4 else set(range(2, rank))
    if axes != pixels or rank < 3:
        raise node.refuse(
            f"reduces along the axes {tuple(sorted(axes))} of {rank}", "layers reduce over all pixels", nearest=nearest
        )
    item, _ = node.channelled(x)
    made = node.made(GlobalAvgPool() if node.op == "ReduceMean" else GlobalMaxPool(), item)
    if node.number("keepdims", 1):
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    else:
        shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    return viewed(made, shape, node.draft.type(made.item))


def axis_of(node: Node, axis: int, rank: int) -> int:
    """An axis counted from the front; those counted from the back are negative."""
    if not -rank <= axis < rank:
        raise node.refuse(f"names axis {axis} of a tensor with {rank}")
    return axis % rank


def pad(node: Node) -> Tensor:
    """Pad, of a constant."""
    mode = node.text("mode", "constant")
    if mode != "constant":
        raise node.refuse(f"pads in the mode `{mode}`", "the border of a layer holds one number", nearest="pad")
    x = node.tensor()
    rank = len(x.shape)
    if node.opset >= 11:
        given = node.whole(1, "padding")
        value = node.scalar(2, "value") if node.has(2) else 0.0
        axes = node.whole(3, "axes") if node.has(3) else tuple(range(rank))
    else:
        given = node.ints("pads") or ()
        value, axes = node.real("value", 0.0), tuple(range(rank))
    if len(given) != 2 * len(axes):
        raise node.refuse(f"has {len(given)} pads for {len(axes)} axes")
    before, after = [0] * rank, [0] * rank
    for number, axis in enumerate(axes):
        own = axis_of(node, axis, rank)
        before[own], after[own] = given[number], given[number + len(axes)]
    if min(*before, *after) < 0:
        raise node.refuse(f"has negative pads {given}", "no layer cuts rows or columns off")
    if not any(before) and not any(after):
        return x
    type_ = node.draft.type(x.item)
    channels_alone = rank == 5 and not any(b + a for i, (b, a) in enumerate(zip(before, after, strict=True)) if i != 2)
    if channels_alone and x.shape[1:] == (1, *type_.torch_shape) and value == 0:
        # A part of an LRN, as torch's exporter writes it.
        item = node.add(ChannelPad(before[2], after[2]), x.item)
        return Tensor(item, (*x.shape[:2], *node.draft.type(item).torch_shape))
    if rank != 4 or before[0] or after[0] or (before[3] or after[3] if x.last else before[1] or after[1]):
        raise node.refuse("pads other axes than height and width", nearest="pad")
    if x.last:
        size = (before[1], after[1], before[2], after[2])
        made = node.made(Pad(size, value), x.item)
        return Tensor(made.item, (x.shape[0], *node.draft.type(made.item).shape), last=True)
    return node.made(Pad((before[2], after[2], before[3], after[3]), value), node.map(x))


TABLE: Mapping[str, Callable[[Node], Tensor]] = {
    "AveragePool": average_pool,
    "Conv": conv,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
    "Pad": pad,
    "ReduceMax": reduce_pixels,
    "ReduceMean": reduce_pixels,
}
