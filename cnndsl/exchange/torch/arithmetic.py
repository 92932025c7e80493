"""Operators of torch that join tensors, or compute with constants."""

from __future__ import annotations

from typing import Any

import torch

from cnndsl.exchange.torch.call import Call
from cnndsl.exchange.torch.values import Fixed, Outside, Partial, Ref, Value
from cnndsl.ops.base import Op
from cnndsl.ops.joins import Add, Concat, Mul
from cnndsl.ops.normalize import BatchNorm, LocalResponseNorm


def add(call: Call) -> Value:
    x, other, alpha = call["self"], call["other"], call.get("alpha", 1)
    if isinstance(x, Partial) and x.kind == "lrn scaled" and alpha == 1:
        return Partial("lrn shifted", x.source, (*x.data, _number(other)))
    if alpha != 1:
        # torch multiplies the second one.
        other = (
            affine(call, other.name, float(alpha), 0.0) if isinstance(other, Ref) else Fixed(_constant(other) * alpha)
        )
    return _joined(call, Add(), x, other)


def subtract(call: Call) -> Value:
    return _difference(call, call["self"], call["other"])


def reverse_subtract(call: Call) -> Value:
    return _difference(call, call["other"], call["self"])


def _difference(call: Call, x: Any, other: Any) -> Value:
    if call.get("alpha", 1) != 1:
        raise Outside("it multiplies what it subtracts", nearest="add")
    match x, other:
        case Ref(), Ref():
            return call.add(Add(), x.name, affine(call, other.name, -1.0, 0.0).name)
        case Ref(), _:
            return affine(call, x.name, 1.0, -_constant(other))
        case _, Ref():
            return affine(call, other.name, -1.0, _constant(x))
    raise Outside("it computes with something other than layers' results", nearest="add")


def negative(call: Call) -> Value:
    return affine(call, call.ref("self"), -1.0, 0.0)


def multiply(call: Call) -> Value:
    x, other = call["self"], call["other"]
    if isinstance(x, Partial) and x.kind == "lrn mean":
        return Partial("lrn scaled", x.source, (*x.data, _number(other)))
    if isinstance(x, Partial):
        x, other = other, x
    if isinstance(other, Partial) and other.kind == "spread" and isinstance(x, Ref):
        # The product repeats [1x1xC] by itself.
        return call.add(Mul(), x.name, other.source)
    return _joined(call, Mul(), x, other)


def divide(call: Call) -> Value:
    x, other = call["self"], call["other"]
    if isinstance(other, Partial) and other.kind == "lrn" and isinstance(x, Ref) and x.name == other.source:
        size, alpha, k, beta = other.data
        return call.add(LocalResponseNorm(size, alpha=alpha, beta=beta, k=k), x.name)
    if not isinstance(x, Ref) or isinstance(other, (Ref, Partial)) or call.get("rounding_mode") is not None:
        raise Outside("it divides by something other than a constant", nearest="mul")
    divisor = _constant(other).double()
    if not divisor.all():
        raise Outside("it divides by zero", nearest="mul")
    return affine(call, x.name, 1 / divisor, 0.0)


def power(call: Call) -> Value:
    x, exponent = call["self"], call["exponent"]
    if isinstance(x, Partial) and x.kind == "lrn shifted":
        return Partial("lrn", x.source, (*x.data, _number(exponent)))
    if isinstance(x, Ref) and exponent in {1, 2, 3}:
        return x if exponent == 1 else call.add(Mul(), *[x.name] * int(exponent))
    raise Outside("it raises to a power", nearest="mul")


def concat(call: Call) -> Value:
    sources = call["tensors"]
    if not all(isinstance(s, Ref) for s in sources):
        raise Outside("it joins something other than layers' results", nearest="concat")
    if call["dim"] % len(call.shape) != 1:
        raise Outside("it joins along a dimension other than the channels", nearest="concat")
    return call.add(Concat(), *(s.name for s in sources))


def _joined(call: Call, op: Op, x: Any, other: Any) -> Value:
    """Two layers' results, or one and a constant."""
    if not isinstance(x, Ref):
        x, other = other, x
    if not isinstance(x, Ref) or isinstance(other, Partial):
        raise Outside("it computes with something other than layers' results", nearest=op.name)
    if isinstance(other, Ref):
        return call.add(op, x.name, other.name)
    number = _constant(other)
    return affine(call, x.name, 1.0, number) if isinstance(op, Add) else affine(call, x.name, number, 0.0)


def _constant(value: Any) -> torch.Tensor:
    """A number as a tensor, or that of a parameter. Raises Outside."""
    match value:
        case Fixed():
            return value.tensor
        case int() | float():
            return torch.tensor(float(value), dtype=torch.float64)
    raise Outside("it computes with something other than layers' results and constants")


def _number(value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    raise Outside("its constant is no number", nearest="lrn")


def affine(call: Call, x: str, scale: torch.Tensor | float, shift: torch.Tensor | float) -> Ref:
    """scale * x + shift, each a number or a tensor of one value for each channel: a batch norm without statistics."""
    channels = call.builder.type(x).channels
    rank = len(call.shape)

    def vector(value: torch.Tensor | float) -> torch.Tensor:
        value = torch.as_tensor(value).detach()
        sizes = (1,) * (rank - value.dim()) + tuple(value.shape)
        if len(sizes) != rank or any(size != 1 and (i != 1 or size != channels) for i, size in enumerate(sizes)):
            raise Outside("it computes with a tensor that is not one value for each channel", nearest="batchnorm")
        return value.reshape(-1).float().expand(channels).contiguous()

    weight, bias = vector(scale), vector(shift)
    zeros, ones = torch.zeros(channels), torch.ones(channels)
    return call.add(BatchNorm(eps=0.0), x, weight=weight, bias=bias, running_mean=zeros, running_var=ones)
