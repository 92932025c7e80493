"""Operators that together are one layer: activations written in arithmetic, constants that belong to weights.

Two sweeps over a draft, each in computing order. The first finds activations, of which each value may be read more
than once; the second takes constants and borders up into the layers beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from cnndsl.exchange.onnx.draft import Affine, Clip, Draft, Erf, Item, Part, Quotient
from cnndsl.exchange.onnx.patterns_lrn import lrn
from cnndsl.exchange.onnx.sweep import Rule, Sweep, becomes, near, scalar
from cnndsl.ops import activations as acts
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.joins import Concat, Mul
from cnndsl.ops.normalize import BatchNorm
from cnndsl.ops.pool import AvgPool, MaxPool
from cnndsl.ops.reshape import ChannelShuffle, Dropout, Flatten, Identity, Pad


def find(draft: Draft) -> None:
    """Put operators together in a draft."""
    with np.errstate(all="ignore"):  # what is no number in the file's arithmetic is none here
        Sweep(draft).run(_ACTIVATIONS)
        Sweep(draft).run(_FOLDS)


# --- activations ------------------------------------------------------------------------------------


def _clip(sweep: Sweep, item: Item) -> Item | None:
    """Bounds that an activation has; two clips behind each other are one."""
    assert isinstance(item.op, Clip)
    low, high = item.op.low, item.op.high
    inner = sweep.of(item.inputs[0])
    match inner.op:
        case Clip(below, above) if below <= high and low <= above:
            return becomes(item, Clip(max(low, below), min(high, above)), inner.inputs[0])
        case acts.Relu() if low <= 0 < high:
            return becomes(item, Clip(0.0, high), inner.inputs[0])
    if (low, high) == (0.0, 6.0):
        return becomes(item, acts.Relu6(), item.inputs[0])
    if (low, high) == (0.0, math.inf):
        return becomes(item, acts.Relu(), item.inputs[0])
    return None


def _hard_sigmoid(sweep: Sweep, item: Item) -> Item | None:
    """relu6(x + 3) / 6."""
    source = _shifted_relu6(sweep, item.inputs[0])
    found = scalar(item)
    if source is not None and found is not None and near(found[0], 1 / 6) and found[1] == 0:
        return becomes(item, acts.HardSigmoid(), source)
    return None


def _shifted_relu6(sweep: Sweep, number: int) -> int | None:
    """The x of relu6(x + 3)."""
    outer = sweep.of(number)
    if isinstance(outer.op, acts.Relu6):
        inner = sweep.of(outer.inputs[0])
        if scalar(inner) == (1.0, 3.0):
            return inner.inputs[0]
    return None


def _gate(sweep: Sweep, item: Item) -> Item | None:
    """x * sigmoid(x), x * hardsigmoid(x), and gelu with its half within."""
    if len(item.inputs) != 2:
        return None
    for x, gate in (item.inputs, item.inputs[::-1]):
        op, reads = sweep.of(gate).op, sweep.of(gate).inputs
        if isinstance(op, acts.Sigmoid) and reads == (x,):
            return becomes(item, acts.Silu(), x)
        if isinstance(op, acts.HardSigmoid) and reads == (x,):
            return becomes(item, acts.HardSwish(), x)
        base = _gelu(sweep, x, gate, factor=1.0)
        if base is not None:
            return becomes(item, acts.Gelu(), base)
    return None


def _scaled_gate(sweep: Sweep, item: Item) -> Item | None:
    """x * relu6(x + 3) / 6, and x * (1 + erf(x / sqrt 2)) / 2."""
    found = scalar(item)
    inner = sweep.of(item.inputs[0])
    if found is None or found[1] != 0 or not isinstance(inner.op, Mul) or len(inner.inputs) != 2:
        return None
    for x, gate in (inner.inputs, inner.inputs[::-1]):
        if near(found[0], 1 / 6) and _shifted_relu6(sweep, gate) == x:
            return becomes(item, acts.HardSwish(), x)
        base = _gelu(sweep, x, gate, factor=found[0])
        if base is not None:
            return becomes(item, acts.Gelu(), base)
    return None


def _without_scale(sweep: Sweep, number: int) -> tuple[float, int]:
    """A value as a number times another value: 0.5 * x."""
    found = scalar(sweep.of(number))
    if found is not None and found[1] == 0:
        return found[0], sweep.of(number).inputs[0]
    return 1.0, number


def _gelu(sweep: Sweep, x: int, gate: int, *, factor: float) -> int | None:
    """The y of which factor * x * gate is y * (1 + erf(y / sqrt 2)) / 2; the half may stand at any of the three.

    That is `x`, or, of an x of y / 2, the y; what scales an x that is y itself is no part of it.
    """
    outer = sweep.of(gate)
    own = scalar(outer)
    if own is not None and own[1] == 0:
        factor, outer = factor * own[0], sweep.of(outer.inputs[0])
        own = scalar(outer)
    if own is None:
        return None
    erf = sweep.of(outer.inputs[0])
    if not isinstance(erf.op, Erf):
        return None
    inner = sweep.of(erf.inputs[0])
    scale = scalar(inner)
    for half, base in ((1.0, x), _without_scale(sweep, x)):
        if (
            scale is not None and scale[1] == 0 and near(scale[0], math.sqrt(0.5)) and inner.inputs == (base,)
            and near(factor * half * own[0], 0.5) and near(factor * half * own[1], 0.5)
        ):
            return base
    return None


# --- constants and borders --------------------------------------------------------------------------


def _nothing(_: Sweep, item: Item) -> int | None:
    """x * 1 + 0."""
    if (item.weights["scale"] == 1).all() and (item.weights["shift"] == 0).all():
        return item.inputs[0]
    return None


def _into_source(sweep: Sweep, item: Item) -> Item | None:
    """An affine behind a layer that has weights of its own goes into those."""
    number = item.inputs[0]
    inner = sweep.of(number)
    if not sweep.alone(number):
        return None
    scale, shift = item.weights["scale"], item.weights["shift"]
    weights: dict[str, np.ndarray] = dict(inner.weights)
    match inner.op:
        case Affine():
            weights["scale"] = weights["scale"] * scale
            weights["shift"] = weights["shift"] * scale + shift
            return replace(item, inputs=inner.inputs, weights=weights)
        case BatchNorm(affine=True):
            weights["weight"] = _like(inner.weights["weight"], weights["weight"] * scale)
            weights["bias"] = _like(inner.weights["bias"], weights["bias"] * scale + shift)
            return replace(inner, weights=weights)
        case Conv() | Dense():
            kernel = weights["weight"]
            rows = (-1, *(1,) * (kernel.ndim - 1))
            if (scale != 1).any():
                weights["weight"] = _like(kernel, kernel * scale.reshape(rows))
            bias = weights.get("bias")
            bias = shift if bias is None else bias * scale + shift
            if "bias" in weights or (bias != 0).any():
                weights["bias"] = _like(kernel, np.broadcast_to(bias, kernel.shape[:1]))
            return replace(inner, op=replace(inner.op, bias="bias" in weights), weights=weights)
    return None


def _like(before: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Computed in double precision, kept in the type that was."""
    return array.astype(before.dtype)


def _border(sweep: Sweep, item: Item) -> Item | None:
    """A border of zeros in front of a window goes into the window's own padding, where that is the same."""
    inner = sweep.of(item.inputs[0])
    op: Any = item.op
    if not isinstance(inner.op, Pad) or isinstance(op.pad, str):
        return None
    border = inner.op.size
    pad: Any = tuple(a + b for a, b in zip(op.pad, border, strict=True))
    if isinstance(op, Conv):
        return _wider(sweep, item, inner, replace(op, pad=pad)) if inner.op.value == 0 else None
    if op.ceil or max(pad[:2]) > op.kernel[0] // 2 or max(pad[2:]) > op.kernel[1] // 2:
        return None
    if isinstance(op, AvgPool):
        # The border is among the values that are counted.
        same = inner.op.value == 0 and (op.count_pad or not any(op.pad))
        return _wider(sweep, item, inner, replace(op, pad=pad, count_pad=True)) if same else None
    # Zeros never win over values that are not negative; every window holds at least one of those.
    same = inner.op.value == 0 and _positive(sweep, inner.inputs[0])
    return _wider(sweep, item, inner, replace(op, pad=pad)) if same else None


def _wider(sweep: Sweep, item: Item, border: Item, op: Op) -> Item:
    """A window's layer that reads what is within a border."""
    return sweep.draft.item(op, *border.inputs, weights=item.weights, name=item.name, where=item.where)


_FAR = 1000
"""Layers that are looked at for one question; inception blocks and dense blocks have fewer before an activation."""


def _positive(sweep: Sweep, number: int) -> bool:
    """Whether no value of an item is negative."""
    waiting, seen = [number], set[int]()
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        if len(seen) > _FAR:
            return False
        match sweep.of(at).op:
            case acts.Relu() | acts.Relu6() | acts.Sigmoid() | acts.HardSigmoid():
                pass
            case MaxPool() | AvgPool() | Concat() | Dropout() | Identity() | Flatten() | ChannelShuffle():
                waiting.extend(sweep.of(at).inputs)
            case _:
                return False
    return True


def _parts(sweep: Sweep, item: Item) -> Item | int | None:
    """All parts of one tensor in their order, each scaled or convolved on its own and then joined."""
    arms = [sweep.of(i) for i in item.inputs]
    cut = [a if isinstance(a.op, Part) else sweep.of(a.inputs[0]) if len(a.inputs) == 1 else a for a in arms]
    end, source = 0, cut[0].inputs[:1]
    for piece in cut:
        if not isinstance(piece.op, Part) or piece.inputs != source or piece.op.start != end:
            return None
        end = piece.op.stop
    if end != sweep.draft.type(source[0]).channels:
        return None
    if all(isinstance(a.op, Part) for a in arms):
        return source[0]
    if all(isinstance(a.op, Part | Affine) for a in arms):
        return replace(item, op=Affine(), inputs=source, weights={
            name: np.concatenate([
                np.broadcast_to(a.weights.get(name, np.array([one])), a.type.channels) for a in arms
            ]) for name, one in (("scale", 1.0), ("shift", 0.0))
        })  # fmt: skip
    first = arms[0].op
    widths = {piece.type.channels for piece in cut}
    if isinstance(first, Conv) and first.groups == 1 and all(a.op == first for a in arms) and len(widths) == 1:
        weights = {name: np.concatenate([a.weights[name] for a in arms]) for name in arms[0].weights}
        op = replace(first, filters=first.filters * len(arms), groups=len(arms))
        return replace(item, op=op, inputs=source, weights=weights, name=arms[0].name)
    return None


_ACTIVATIONS: Mapping[type[Op], tuple[Rule, ...]] = {
    Affine: (_hard_sigmoid, _scaled_gate),
    Clip: (_clip,),
    Mul: (_gate,),
    Quotient: (lrn,),
}

_FOLDS: Mapping[type[Op], tuple[Rule, ...]] = {
    Affine: (_nothing, _into_source),
    AvgPool: (_border,),
    Concat: (_parts,),
    Conv: (_border,),
    MaxPool: (_border,),
}
