"""Operators that move values, or only see them in another shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from cnndsl.exchange.onnx.draft import Part
from cnndsl.exchange.onnx.nodes_windows import axis_of
from cnndsl.exchange.onnx.values import Constant, Node, Tensor, Value, shown, viewed
from cnndsl.ops.joins import Concat
from cnndsl.ops.reshape import ChannelShuffle

Made = Value | Sequence[Value]


def _view(node: Node, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same values in another shape, which must leave the batch alone."""
    if prod(shape) != prod(x.shape):
        raise node.refuse(f"makes {list(shape)} of {shown(x.shape)}, which has other values")
    if not shape or shape[0] != x.shape[0]:
        raise node.refuse(
            f"makes {list(shape)} of {shown(x.shape)}", "the batch must stay the first axis, and whole",
            nearest="flatten",
        )
    made = viewed(x, shape, node.draft.type(x.item))
    if made.last and len(shape) > 2 and tuple(s for s in shape if s > 1) != tuple(s for s in x.shape if s > 1):
        raise node.refuse("reshapes a feature map in the order height, width, channel")
    return made


def flatten(node: Node) -> Tensor:
    """Flatten."""
    x = node.tensor()
    axis = node.number("axis", 1)
    axis = axis if axis == len(x.shape) else axis_of(node, axis, len(x.shape))
    return _view(node, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


def reshape(node: Node) -> Tensor:
    """Reshape to a known shape."""
    x = node.tensor()
    value = node.value(1)
    if isinstance(value, Tensor):
        raise node.refuse("reshapes to a shape that the network computes")
    shape = _whole(node, value.array)
    if value.other is not None:
        other = _whole(node, value.other)
        if len(shape) != len(other) or shape[1:] != other[1:]:
            raise node.refuse("reshapes to a shape that depends on the size of the batch", nearest="flatten")
    if not node.number("allowzero", 0):
        if any(size == 0 and axis >= len(x.shape) for axis, size in enumerate(shape)):
            raise node.refuse(f"reshapes {shown(x.shape)} to {list(shape)}")
        shape = tuple(x.shape[axis] if size == 0 else size for axis, size in enumerate(shape))
    if shape.count(-1) > 1 or min(shape, default=1) < -1 or 0 in shape:
        raise node.refuse(f"reshapes {shown(x.shape)} to {list(shape)}")
    if -1 in shape:
        known = prod(size for size in shape if size != -1)
        shape = tuple(prod(x.shape) // known if size == -1 else size for size in shape)
    return _view(node, x, shape)


def _whole(node: Node, array: np.ndarray) -> tuple[int, ...]:
    if array.dtype.kind not in "iu" or array.ndim != 1 or array.size > 16:
        raise node.refuse(f"reshapes to a shape of {array.size} numbers of type {array.dtype}")
    return tuple(int(v) for v in array)


def _axes(node: Node) -> tuple[int, ...] | None:
    if node.opset >= 13:
        return node.whole(1, "axes") if node.has(1) else None
    return node.ints("axes")


def squeeze(node: Node) -> Tensor:
    """Squeeze."""
    x = node.tensor()
    given = _axes(node)
    if given is None:
        # Without axes a batch of one would go too, which nobody means.
        axes = {axis for axis, size in enumerate(x.shape) if size == 1 and axis > 0}
    else:
        axes = {axis_of(node, axis, len(x.shape)) for axis in given}
    if any(x.shape[axis] != 1 for axis in axes):
        raise node.refuse(f"removes the axes {sorted(axes)} of {shown(x.shape)}")
    return _view(node, x, tuple(size for axis, size in enumerate(x.shape) if axis not in axes))


def unsqueeze(node: Node) -> Tensor:
    """Unsqueeze."""
    x = node.tensor()
    given = _axes(node)
    if given is None or len(given) > 8:
        raise node.refuse(f"adds {len(given or ())} axes")
    rank = len(x.shape) + len(given)
    axes = {axis_of(node, axis, rank) for axis in given}
    if len(axes) != len(given):
        raise node.refuse(f"adds an axis twice: {given}")
    rest = iter(x.shape)
    return _view(node, x, tuple(1 if axis in axes else next(rest) for axis in range(rank)))


def transpose(node: Node) -> Tensor:
    """Transpose: between the two orders of a feature map, of groups of channels, or of axes of one."""
    x = node.tensor()
    rank = len(x.shape)
    perm = node.ints("perm") or tuple(reversed(range(rank)))
    if sorted(perm) != list(range(rank)):
        raise node.refuse(f"has perm {perm} for {rank} axes")
    shape = tuple(x.shape[axis] for axis in perm)
    moving = [axis for axis in perm if x.shape[axis] > 1 or axis == 0]
    if moving == sorted(moving):
        return _view(node, x, shape)
    type_ = node.draft.type(x.item)
    if perm[0] == 0 and type_.is_map:
        if rank == 4 and x.last and perm == (0, 3, 1, 2) and x.shape[1:] == type_.shape:
            return Tensor(x.item, shape)
        if rank == 4 and not x.last and perm == (0, 2, 3, 1) and x.shape[1:] == type_.torch_shape:
            return Tensor(x.item, shape, last=True)
        if rank >= 3 and not x.last and perm == (0, 2, 1, *range(3, rank)):
            groups, each = x.shape[1:3]
            if groups * each == type_.channels:
                return Tensor(node.add(ChannelShuffle(groups), x.item), shape)
    raise node.refuse(
        f"transposes {shown(x.shape)} by {perm}", "layers interleave groups of channels, and move nothing else",
        nearest="channel_shuffle",
    )


def concat(node: Node) -> Tensor:
    """Concat along the channels."""
    tensors = [node.tensor(number) for number in range(len(node.inputs))]
    first = tensors[0]
    rank = len(first.shape)
    axis = axis_of(node, node.number("axis", 1), rank)
    if len(tensors) == 1:
        return first
    if any(len(t.shape) != rank for t in tensors):
        raise node.refuse(f"joins tensors of the shapes {' and '.join(shown(t.shape) for t in tensors)}")
    if rank == 4 and axis == 3 and all(t.last or t.shape[1:3] == (1, 1) for t in tensors):
        made = node.made(Concat(), *(t.item for t in tensors))
        return Tensor(made.item, (first.shape[0], *node.draft.type(made.item).shape), last=True)
    if axis != 1 or rank not in {2, 4}:
        raise node.refuse(
            f"joins along axis {axis} of {shown(first.shape)}", "layers join along the channels", nearest="concat"
        )
    reader = node.vector if rank == 2 else node.map
    return node.made(Concat(), *(reader(t) for t in tensors))


def part(node: Node, x: Tensor, start: int, stop: int) -> Tensor:
    """Some of the channels, which only other operators can make a layer of."""
    item, axis = node.channelled(x)
    if x.last:
        raise node.refuse("takes channels of a tensor in the order height, width, channel")
    shape = tuple(stop - start if i == axis else size for i, size in enumerate(x.shape))
    return Tensor(node.add(Part(start, stop), item), shape)


_PARTS = "layers take all channels; groups of a convolution are written conv(..., groups=2)"


def split(node: Node) -> Made:
    """Split of the channels."""
    x = node.tensor()
    axis = axis_of(node, node.number("axis", 0), len(x.shape))
    given = node.opset >= 13 and node.has(1)
    sizes = node.whole(1, "sizes") if given else node.ints("split")
    count = len(node.wanted)
    if sizes is None:
        each = -(-x.shape[axis] // count)
        sizes = (*([each] * (count - 1)), x.shape[axis] - each * (count - 1))
    if axis != 1 or len(sizes) != count or sum(sizes) != x.shape[axis] or min(sizes) < 1:
        raise node.refuse(f"splits {shown(x.shape)} along axis {axis} into {list(sizes)}", _PARTS)
    ends = [sum(sizes[: i + 1]) for i in range(count)]
    return [part(node, x, end - size, end) for end, size in zip(ends, sizes, strict=True)]


def slice_(node: Node) -> Tensor:
    """Slice of the channels; of all values it is the tensor itself."""
    x = node.tensor()
    rank = len(x.shape)
    if node.opset >= 10:
        starts, stops = node.whole(1, "starts"), node.whole(2, "ends")
        axes = node.whole(3, "axes") if node.has(3) else tuple(range(len(starts)))
        steps = node.whole(4, "steps") if node.has(4) else (1,) * len(starts)
    else:
        starts, stops = node.ints("starts") or (), node.ints("ends") or ()
        axes = node.ints("axes") or tuple(range(len(starts)))
        steps = (1,) * len(starts)
    if not len(starts) == len(stops) == len(axes) == len(steps):
        raise node.refuse("has starts, ends, axes and steps of several lengths")
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        own = axis_of(node, axis, rank)
        size = x.shape[own]
        begin, end, _ = slice(start, stop).indices(size)
        if (begin, end, step) == (0, size, 1):
            continue
        if own != 1 or step != 1 or end <= begin:
            raise node.refuse(f"cuts {shown(x.shape)} along axis {own}", _PARTS)
        x = part(node, x, begin, end)
    return x


def gather(node: Node) -> Tensor:
    """Gather of one channel."""
    x = node.tensor()
    axis = axis_of(node, node.number("axis", 0), len(x.shape))
    index = node.constant(1, "index").array
    if axis != 1 or index.size != 1 or index.dtype.kind not in "iu" or index.ndim > 1:
        raise node.refuse(f"picks {index.size} places along axis {axis} of {shown(x.shape)}", _PARTS)
    size = x.shape[1]
    start = axis_of(node, int(index.reshape(())), size)
    made = part(node, x, start, start + 1)
    return made if index.ndim else _view(node, made, (made.shape[0], *made.shape[2:]))


def shape_of(node: Node) -> Constant:
    """Shape and Size of a tensor: constants, but for the batch."""
    x = node.tensor()
    first = x.shape
    # Whatever depends on the batch differs between these two.
    second = (2 * first[0] + 1, *first[1:])
    if node.op == "Size":
        return Constant(np.array(prod(first), np.int64), np.array(prod(second), np.int64))
    part_ = slice(node.number("start", 0), node.number("end", len(first)))
    a, b = (np.array(s[part_], np.int64) for s in (first, second))
    return Constant(a, None if np.array_equal(a, b) else b)


TABLE: Mapping[str, Callable[[Node], Made]] = {
    "Concat": concat,
    "Flatten": flatten,
    "Gather": gather,
    "Reshape": reshape,
    "Shape": shape_of,
    "Size": shape_of,
    "Slice": slice_,
    "Split": split,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
