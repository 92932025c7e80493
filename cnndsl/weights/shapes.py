"""The shapes a network's parameters have, and what it means when a file's tensor has another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cnndsl.figures import counted

Role = Literal["weight", "bias", "scale", "shift", "mean", "variance"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorSpec:
    """One parameter of a network.

    `shape` is torch's: [filters, channels / groups, height, width] for a convolution, [out, in] for a dense
    layer, [channels] for the rest. `role` says what the values do: the weight or bias of a layer, or the
    scale, shift, mean or variance of a normalisation. `fan_in` is how many values one output of the layer
    sums.
    """

    shape: Shape
    role: Role
    fan_in: int = 1


def fits(spec: TensorSpec, shape: Shape) -> bool:
    """Whether a tensor of `shape` is the parameter, perhaps written as the equal dense layer or filter."""
    if shape == spec.shape:
        return True
    if {len(shape), len(spec.shape)} != {2, 4}:
        return False
    channels_last = len(shape) == 4 and shape[1] == shape[2] != shape[3]
    return folded(shape) == folded(spec.shape) and not channels_last


def folded(shape: Shape) -> Shape:
    """A weight's shape as [out, in]; other shapes as they are."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else shape


def misfit(name: str, spec: TensorSpec, shape: Shape) -> str:
    """A sentence on a tensor of the wrong shape: the network's ("here"), the file's ("there"), and why."""
    reason = _reason(name.rpartition(".")[0] or name, spec, shape)
    sides = f"`{name}` is {brackets(spec.shape)} here, but {brackets(shape)} there"
    return f"{sides}: {reason}" if reason else sides


_TORCH = "where torch keeps [out, in, height, width]"

_LAYOUTS = (
    ("[out, height, width, in]", (0, 2, 3, 1), "permute(0, 3, 1, 2)"),
    ("[height, width, in, out]", (2, 3, 1, 0), "permute(3, 2, 0, 1)"),
    ("[in, out, height, width]", (1, 0, 2, 3), "permute(1, 0, 2, 3)"),
)
"""Orders in which other programs keep a convolution's weight, and how to come from there to torch's."""


def _reason(layer: str, spec: TensorSpec, shape: Shape) -> str:
    want = spec.shape
    if math.prod(shape) == 0:
        return "there it is empty"
    if len(shape) != len(want):
        if len(shape) == 4 and len(want) == 2 and folded(shape) == want:
            return f"there it looks like [out, height, width, in], {_TORCH}"
        return f"it has {counted(len(want), 'dimension')}, not {len(shape)}"
    if len(want) == 2:
        if shape == (want[1], want[0]):
            return "there it is transposed, [in, out] where torch keeps [out, in]; use `tensor.T`"
        return _facts(
            (want[0] != shape[0], f"{layer} makes {want[0]} features, not {shape[0]}"),
            (want[1] != shape[1], f"{layer} reads {want[1]} features, not {shape[1]}"),
        )
    if len(want) == 4:
        for order, axes, way in _LAYOUTS:
            if shape == tuple(want[axis] for axis in axes):
                return f"there it is in the order {order}, {_TORCH}; use `{way}`"
        return _facts(
            (want[0] != shape[0], f"{layer} makes {want[0]} channels, not {shape[0]}"),
            (want[1] != shape[1], f"a filter of {layer} reads {want[1]} channels, not {shape[1]}"),
            (want[2:] != shape[2:], f"its window is {want[2]}x{want[3]}, not {shape[2]}x{shape[3]}"),
        )
    if len(want) == 1:
        return f"{layer} has {counted(want[0], 'channel')}, not {shape[0]:,}"
    return ""


def _facts(*facts: tuple[bool, str]) -> str:
    return "; ".join(text for differs, text in facts if differs)


def brackets(shape: tuple[int | str, ...]) -> str:
    """A shape as it is printed: ``[64, 3, 7, 7]``."""
    return f"[{', '.join(map(str, shape))}]"
