"""torch's word on every layer, and how far a kernel's result may lie from it.

The oracles call torch's functions with the arguments of a layer and share no code with `cnndsl.ops`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import torch
from torch.nn import functional as f

Tensors = Sequence[torch.Tensor]
Weights = Mapping[str, torch.Tensor]
Oracle = Callable[[Any, Tensors, Weights], torch.Tensor]

TORCH_TYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

TOLERANCES = {"fp32": 2e-6, "tf32": 2e-3, "fp16": 6e-4, "bf16": 4.5e-3}
"""Largest error relative to `scale`. Rounding once costs 2^-11 = 4.9e-4 in fp16 and 2^-8 = 3.9e-3 in bf16; the products
of tf32 have operands of 2^-11 each. Sums of a few hundred fp32 products were seen to err by 4e-7."""


def conv(op: Any, xs: Tensors, w: Weights) -> torch.Tensor:
    top, bottom, left, right = op.pad
    x = f.pad(xs[0], (left, right, top, bottom))
    return f.conv2d(
        x, w["weight"], w.get("bias"), stride=op.stride, dilation=op.dilation, groups=op.groups
    )


def pool(op: Any, xs: Tensors, _: Weights) -> torch.Tensor:
    """torch's own pooling for equal pads; otherwise on an input padded by hand, its windows counted by hand."""
    (x,) = xs
    top, bottom, left, right = op.pad
    is_max = op.name == "maxpool"
    if (top, left) == (bottom, right):
        if is_max:
            return f.max_pool2d(x, op.kernel, op.stride, (top, left), ceil_mode=op.ceil)
        return f.avg_pool2d(
            x, op.kernel, op.stride, (top, left), ceil_mode=op.ceil, count_include_pad=op.count_pad
        )
    # What the last windows hang over, which can be negative where floor leaves pixels out.
    over = []
    for axis, (before, after) in enumerate(((top, bottom), (left, right))):
        size, kernel, stride = x.shape[2 + axis], op.kernel[axis], op.stride[axis]
        span = before + size + after - kernel
        last = (-(-span // stride) if op.ceil else span // stride) * stride - before
        # Rounded up, the last window must still begin in the input or the padding before it.
        over.append((last if last < size else last - stride) + kernel - size)
    around = (left, over[1], top, over[0])
    if is_max:
        return f.max_pool2d(f.pad(x, around, value=-math.inf), op.kernel, op.stride)
    seen = torch.ones_like(x[:1, :1])
    if op.count_pad:
        seen = f.pad(seen, op_pads := (left, right, top, bottom), value=1.0)
        seen = f.pad(seen, tuple(a - b for a, b in zip(around, op_pads, strict=True)))
    else:
        seen = f.pad(seen, around)
    mean = partial(f.avg_pool2d, kernel_size=op.kernel, stride=op.stride)
    return mean(f.pad(x, around)) / mean(seen)


def batchnorm(op: Any, xs: Tensors, w: Weights) -> torch.Tensor:
    return f.batch_norm(
        xs[0], w["running_mean"], w["running_var"], w.get("weight"), w.get("bias"), eps=op.eps
    )


def pad(op: Any, xs: Tensors, _: Weights) -> torch.Tensor:
    top, bottom, left, right = op.size
    return f.pad(xs[0], (left, right, top, bottom), value=op.value)


def _first(function: Callable[[torch.Tensor], torch.Tensor]) -> Oracle:
    return lambda _op, xs, _w: function(xs[0])


ORACLES: dict[str, Oracle] = {
    "conv": conv,
    "dense": lambda _op, xs, w: f.linear(xs[0].flatten(1), w["weight"], w.get("bias")),
    "maxpool": pool,
    "avgpool": pool,
    "globalavgpool": _first(lambda x: x.mean((2, 3), keepdim=True)),
    "globalmaxpool": _first(lambda x: f.adaptive_max_pool2d(x, 1)),
    "adaptiveavgpool": lambda op, xs, _w: f.adaptive_avg_pool2d(xs[0], op.size),
    "batchnorm": batchnorm,
    "lrn": lambda op, xs, _w: f.local_response_norm(xs[0], op.size, op.alpha, op.beta, op.k),
    "relu": _first(f.relu),
    "leaky_relu": lambda op, xs, _w: f.leaky_relu(xs[0], op.slope),
    "relu6": _first(f.relu6),
    "elu": lambda op, xs, _w: f.elu(xs[0], op.alpha),
    "gelu": _first(f.gelu),
    "silu": _first(f.silu),
    "sigmoid": _first(torch.sigmoid),
    "tanh": _first(torch.tanh),
    "hardswish": _first(f.hardswish),
    "hardsigmoid": _first(f.hardsigmoid),
    "dropout": _first(lambda x: x),
    "identity": _first(lambda x: x),
    "flatten": _first(lambda x: x.flatten(1)),
    "softmax": _first(lambda x: f.softmax(x, 1)),
    "pad": pad,
    "channel_shuffle": lambda op, xs, _w: f.channel_shuffle(xs[0], op.groups),
    "add": lambda _op, xs, _w: reduce(torch.add, xs),
    "mul": lambda _op, xs, _w: reduce(torch.mul, xs),
    "concat": lambda _op, xs, _w: torch.cat(list(xs), 1),
}

EXACT = {"maxpool", "globalmaxpool", "relu", "relu6", "dropout", "identity", "flatten", "channel_shuffle", "concat"}
"""Layers that move values and never round one."""


def scale(op: Any, xs: Tensors, w: Weights, expected: torch.Tensor) -> torch.Tensor:
    """What an error is measured against, element by element: the sum of the magnitudes that were added up."""
    match op.name:
        case "conv" | "dense" | "avgpool" | "globalavgpool" | "adaptiveavgpool" | "add" | "mul":
            return ORACLES[op.name](op, [x.abs() for x in xs], {k: t.abs() for k, t in w.items()})
        case "batchnorm":
            # scale * x + shift, where the mean is part of the shift.
            magnitudes = {k: t if k == "running_var" else t.abs() for k, t in w.items()}
            magnitudes["running_mean"] = -magnitudes["running_mean"]
            return batchnorm(op, [xs[0].abs()], magnitudes)
        case "gelu" | "hardswish":
            return expected.abs() + xs[0].abs()
        case "hardsigmoid":
            return expected.abs() + 0.5
        case "softmax":
            # exp's argument is a difference, rounded like its larger part.
            largest = xs[0].nan_to_num(0.0, 0.0, 0.0).abs().amax(1, keepdim=True)
            return expected * (1 + largest / 4)
    return expected.abs()


def difference(
    y: torch.Tensor, expected: torch.Tensor, scale: torch.Tensor, dtype: str, *, exact: bool = False
) -> str | None:
    """What is wrong with a result, or None. NaN and inf must stand where `expected` has them, in fp64 like `scale`."""
    if tuple(y.shape) != tuple(expected.shape):
        return f"shape {tuple(y.shape)}, expected {tuple(expected.shape)}"
    if y.dtype != TORCH_TYPES[dtype]:
        return f"type {y.dtype}"
    y = y.detach().double().cpu()
    finite = expected.isfinite()
    same = (y == expected) | (y.isnan() & expected.isnan())
    if not same[~finite].all() or not y[finite].isfinite().all():
        return f"NaN or inf where torch has none, or the reverse: {y[~same]} for {expected[~same]}"
    tolerance = 0.0 if exact else TOLERANCES[dtype]
    # Below the smallest normal number of fp16 its steps are 2^-24.
    floor = 0.0 if exact else (2.0**-24 if dtype == "fp16" else 1e-37)
    error = (y - expected).abs()[finite]
    allowed = tolerance * scale[finite] + floor
    if not bool((error <= allowed).all()):
        times = error / allowed.clamp(min=1e-300)
        worst = times.argmax()
        return f"{y[finite][worst].item()!r} for {expected[finite][worst].item()!r}: {times[worst]:.3g} times too far"
    return None
