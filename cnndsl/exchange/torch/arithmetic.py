"""Operators of torch that join tensors, or compute with constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from cnndsl.exchange.torch.call import Call
from cnndsl.exchange.torch.values import Fixed, Outside, Partial, Ref, Value
from cnndsl.ops.base import Op
from cnndsl.ops.joins import Add, Concat, Mul
from cnndsl.ops.normalize import BatchNorm, LocalResponseNorm


def add(call: Call) -> Value:
    x, other = call["self"], call["other"]
    if call.get("alpha", 1) != 1:
        raise Outside("it multiplies its second operand", nearest="add")
    if isinstance(x, Partial) and x.kind == "lrn scaled":
        return Partial("lrn shifted", x.source, (*x.data, _number(other)))
    return _joined(call, Add(), x, other, shift=lambda number: number)


def subtract(call: Call) -> Value:
    x, other = call["self"], call["other"]
    if call.get("alpha", 1) != 1 or isinstance(other, Ref) or not isinstance(x, Ref):
        raise Outside("it takes one tensor from another", nearest="add")
    return affine(call, x.name, 1.0, -_constant(other))


def multiply(call: Call) -> Value:
    x, other = call["self"], call["other"]
    if isinstance(x, Partial) and x.kind == "lrn mean":
        return Partial("lrn scaled", x.source, (*x.data, _number(other)))
    return _joined(call, Mul(), x, other, scale=lambda number: number)


def divide(call: Call) -> Value:
    x, other = call["self"], call["other"]
    if isinstance(other, Partial) and other.kind == "lrn" and isinstance(x, Ref) and x.name == other.source:
        size, alpha, k, beta = other.data
        return call.add(LocalResponseNorm(size, alpha=alpha, beta=beta, k=k), x.name)
    if not isinstance(x, Ref) or isinstance(other, (Ref, Partial)) or call.get("rounding_mode") is not None:
        raise Outside("it divides by something other than a constant", nearest="mul")
    return affine(call, x.name, 1.0 / _constant(other), 0.0)


def power(call: Call) -> Value:
    x, exponent = call["self"], call["exponent"]
    if isinstance(x, Partial) and x.kind == "lrn shifted":
        return Partial("lrn", x.source, (*x.data, float(exponent)))
    if isinstance(x, Ref) and exponent == 2:
        return call.add(Mul(), x.name, x.name)
    raise Outside("it raises to a power", nearest="mul")


def concat(call: Call) -> Value:
    sources = call["tensors"]
    if not all(isinstance(s, Ref) for s in sources):
        raise Outside("it joins something other than layers' results", nearest="concat")
    if call["dim"] % len(call.shape) != 1:
        raise Outside("it joins along a dimension other than the channels", nearest="concat")
    return call.add(Concat(), *(s.name for s in sources))


def _joined(
    call: Call, op: Op, x: Any, other: Any, *,
    scale: Callable[[Any], Any] | None = None, shift: Callable[[Any], Any] | None = None,
) -> Value:  # fmt: skip
    """Two layers' results, or one and a constant."""
    if not isinstance(x, Ref):
        x, other = other, x
    if not isinstance(x, Ref) or isinstance(other, Partial):
        raise Outside("it computes with something other than layers' results", nearest=op.name)
    if isinstance(other, Ref):
        return call.add(op, x.name, other.name)
    number = _constant(other)
    return affine(call, x.name, scale(number) if scale else 1.0, shift(number) if shift else 0.0)


def _constant(value: Any) -> Any:
    """A number, or the tensor of a parameter."""
    return value.tensor if isinstance(value, Fixed) else float(value)


def _number(value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    raise Outside("its constant is no number", nearest="lrn")


def affine(call: Call, x: str, scale: Any, shift: Any) -> Value:
    """scale * x + shift, each a number or a tensor of one value for each channel: a batch norm without statistics."""
    channels = call.builder.type(x).channels

    def vector(value: Any) -> torch.Tensor:
        if isinstance(value, torch.Tensor):
            per_channel = value.numel() == 1 or (
                value.numel() == channels and (value.dim() == 1) == (not call.builder.type(x).is_map)
            ) or (value.dim() in {3, 4} and value.shape[-3:] == (channels, 1, 1) and value.numel() == channels)
            if not per_channel:
                raise Outside("it computes with a tensor that is not one value for each channel", nearest="batchnorm")
            return value.detach().reshape(-1).float().expand(channels).contiguous()
        return torch.full((channels,), float(value))

    zeros, ones = torch.zeros(channels), torch.ones(channels)
    op = BatchNorm(eps=0.0)
    return call.add(op, x, weight=vector(scale), bias=vector(shift), running_mean=zeros, running_var=ones)
