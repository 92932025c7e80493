"""Normalisation and softmax."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import prod

from cnndsl.exchange.onnx.nodes_windows import axis_of
from cnndsl.exchange.onnx.values import Constant, Node, Tensor, seen, shown
from cnndsl.ops.normalize import BatchNorm, LocalResponseNorm
from cnndsl.ops.reshape import Softmax

_STATISTICS = ("weight", "bias", "running_mean", "running_var")


def batch_norm(node: Node) -> Tensor:
    """BatchNormalization with stored statistics."""
    if node.opset >= 14 and node.number("training_mode", 0):
        raise node.refuse("is in training mode", "layers normalise with stored statistics", nearest="batchnorm")
    if any(node.wanted[1:]):
        raise node.refuse("also makes the statistics of the batch", nearest="batchnorm")
    if node.opset < 9 and not node.number("spatial", 1):
        raise node.refuse("normalises each pixel apart (spatial=0)", nearest="batchnorm")
    x = node.tensor()
    item, axis = node.channelled(x)
    if axis != 1 and len(x.shape) == 4:
        raise node.refuse("reads a tensor in the order height, width, channel", nearest="batchnorm")
    weights = {name: node.floats(number, name) for number, name in enumerate(_STATISTICS, start=1)}
    for name, array in weights.items():
        if array.ndim != 1:
            raise node.refuse(f"has a {name} of shape {array.shape}")
    # torch keeps what is new, ONNX what is old.
    momentum = round(1.0 - node.real("momentum", 0.9), 7)
    affine = not _is_ours_without(node)
    if not affine:
        del weights["weight"], weights["bias"]
    eps = node.real("epsilon", 1e-5)
    op = BatchNorm(eps=eps, momentum=momentum if 0 <= momentum <= 1 else 0.1, affine=affine)
    return seen(x, node.add(op, item, weights=weights))


def _is_ours_without(node: Node) -> bool:
    """Whether the scale and shift are those that `cnndsl export` makes for ``affine=false``, by value and by name.

    By value alone would take the keys of a network that nobody has trained yet: its scales are ones, too.
    """
    ones, zeros = node.inputs[1], node.inputs[2]
    assert isinstance(ones, Constant)
    assert isinstance(zeros, Constant)
    called = re.search(r"\.ones_*$", ones.name) and re.search(r"\.zeros_*$", zeros.name)
    return bool(called) and bool((ones.array == 1).all()) and bool((zeros.array == 0).all())


def lrn(node: Node) -> Tensor:
    """LRN over a window of odd size."""
    size = node.number("size", 0)
    if size % 2 == 0:
        raise node.refuse(
            f"has a window of {size} channels",
            "an even window has its extra channel above in ONNX and below in `lrn`: other numbers",
            nearest="lrn",
        )
    op = LocalResponseNorm(
        size, alpha=node.real("alpha", 1e-4), beta=node.real("beta", 0.75), k=node.real("bias", 1.0)
    )
    return node.made(op, node.map(node.tensor()))


def softmax(node: Node) -> Tensor:
    """Softmax; before opset 13 over all axes from one on, from then on over one axis."""
    x = node.tensor()
    rank = len(x.shape)
    if node.opset >= 13:
        axes = {axis_of(node, node.number("axis", -1), rank)}
    else:
        axes = set(range(axis_of(node, node.number("axis", 1), rank), rank))
    axes = {axis for axis in axes if x.shape[axis] > 1 or axis == 0}
    rest = prod(size for axis, size in enumerate(x.shape) if axis not in axes and axis > 0)
    type_ = node.draft.type(x.item)
    channels = {1} if not x.last else {rank - 1}
    if 0 not in axes:
        if rest == 1:
            # All values of a picture.
            one_pixel = type_.is_map and type_.height * type_.width == 1
            item = x.item if one_pixel else node.draft.flat(x.item)
            if not x.last:
                return seen(x, node.add(Softmax(), item))
        if axes == channels and type_.is_map and x.shape[max(channels)] == type_.channels:
            return seen(x, node.add(Softmax(), x.item))
    raise node.refuse(
        f"normalises along {'the axes ' + str(sorted(axes)) if axes else 'an axis of 1'} of {shown(x.shape)}",
        "softmax normalises over a vector, or over the channels of each pixel", nearest="softmax",
    )


TABLE: Mapping[str, Callable[[Node], Tensor]] = {
    "BatchNormalization": batch_norm,
    "LRN": lrn,
    "Softmax": softmax,
}
