"""Operators of torch that are layers: convolution, dense, batch norm, pooling, activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from cnndsl.exchange.torch.call import Call, pads, pair
from cnndsl.exchange.torch.values import Outside, Partial, Ref, Value
from cnndsl.ops import activations as act
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.global_pool import AdaptiveAvgPool, GlobalAvgPool, GlobalMaxPool
from cnndsl.ops.normalize import BatchNorm
from cnndsl.ops.pool import AvgPool, MaxPool
from cnndsl.ops.reshape import Dropout, Flatten, Softmax


def convolution(call: Call) -> Value:
    weight, bias = call.weight("weight"), call.fixed("bias")
    if weight.dim() != 4 or call.get("transposed"):
        noun = "transposed convolution" if call.get("transposed") else f"{weight.dim() - 2}-d convolution"
        raise Outside(f"it is a {noun}", nearest="conv")
    padding = call["padding"]
    pad: Any = "same" if padding == "same" else (0, 0, 0, 0) if padding == "valid" else pads(padding)
    op = Conv(
        weight.shape[0], (weight.shape[2], weight.shape[3]), stride=pair(call["stride"]), pad=pad,
        dilation=pair(call["dilation"]), groups=call["groups"], bias=bias is not None,
    )  # fmt: skip
    return call.add(op, call.ref("input"), weight=weight, **({} if bias is None else {"bias": bias}))


def linear(call: Call) -> Value:
    return dense(call, call.ref("input"), call.weight("weight"), call.fixed("bias"))


def addmm(call: Call) -> Value:
    if call.get("beta", 1) != 1 or call.get("alpha", 1) != 1:
        raise Outside("it scales its matrix product", nearest="dense")
    bias = call.fixed("self")
    if bias is not None and bias.dim() != 1:
        raise Outside("it adds a matrix", nearest="dense")
    return dense(call, call.ref("mat1"), call.weight("mat2").t(), bias)


def matrix_product(call: Call) -> Value:
    weight = call.weight("mat2" if "mat2" in call.arguments else "other")
    if weight.dim() != 2:
        raise Outside("it multiplies by something other than a matrix", nearest="dense")
    return dense(call, call.ref("self"), weight.t(), None)


def dense(call: Call, x: str, weight: torch.Tensor, bias: torch.Tensor | None) -> Value:
    if len(call.shape) != 2:
        raise Outside("it multiplies along the last of more than two dimensions", nearest="dense")
    op: Op = Dense(weight.shape[0], bias=bias is not None)
    type_ = call.builder.type(x)
    if call.as_map and type_.is_map:
        kernel = (type_.height, type_.width)
        op = Conv(weight.shape[0], kernel, bias=bias is not None)
        weight = weight.reshape(-1, type_.channels, *kernel)
    return call.add(op, x, weight=weight, **({} if bias is None else {"bias": bias}))


def batch_norm(call: Call) -> Value:
    if call.get("training"):
        raise Outside("it is in training mode", nearest="batchnorm")
    mean, variance = call.fixed("running_mean"), call.fixed("running_var")
    if mean is None or variance is None:
        raise Outside("it has no running statistics", nearest="batchnorm")
    weight, bias = call.fixed("weight"), call.fixed("bias")
    if (weight is None) != (bias is None):
        weight = torch.ones_like(mean) if weight is None else weight
        bias = torch.zeros_like(mean) if bias is None else bias
    learned = {} if weight is None or bias is None else {"weight": weight, "bias": bias}
    eps = call["epsilon"] if "epsilon" in call.arguments else call["eps"]  # cuDNN's has the long name
    op = BatchNorm(eps=eps, affine=bool(learned))
    return call.add(op, call.ref("input"), **learned, running_mean=mean, running_var=variance)


def native_batch_norm(call: Call) -> Value:
    """Its other results are the statistics of a batch, which inference has none of, and cuDNN's memory."""
    return batch_norm(call), None, None, None


def max_pool(call: Call) -> Value:
    if pair(call.get("dilation", 1)) != (1, 1):
        raise Outside("its window is dilated", nearest="maxpool")
    kernel = pair(call["kernel_size"])
    stride = pair(call["stride"]) if call["stride"] else kernel
    op = MaxPool(kernel, stride=stride, pad=pads(call["padding"]), ceil=call["ceil_mode"])
    return call.add(op, call.ref("self"))


def max_pool_with_indices(call: Call) -> Value:
    return max_pool(call), None


def avg_pool(call: Call) -> Value:
    kernel = pair(call["kernel_size"])
    if call.get("divisor_override") is not None:
        raise Outside("it divides by a number of its own", nearest="avgpool")
    stride = pair(call["stride"]) if call["stride"] else kernel
    op = AvgPool(
        kernel, stride=stride, pad=pads(call["padding"]), ceil=call["ceil_mode"], count_pad=call["count_include_pad"]
    )
    return call.add(op, call.ref("self"))


def adaptive_avg_pool(call: Call) -> Value:
    size = pair(call["output_size"])
    return call.add(GlobalAvgPool() if size == (1, 1) else AdaptiveAvgPool(size), call.ref("self"))


def adaptive_max_pool(call: Call) -> Value:
    if pair(call["output_size"]) != (1, 1):
        raise Outside("it makes more than one pixel", nearest="globalmaxpool")
    return call.add(GlobalMaxPool(), call.ref("self")), None


def mean(call: Call) -> Value:
    return _over_pixels(call, GlobalAvgPool())


def largest(call: Call) -> Value:
    return _over_pixels(call, GlobalMaxPool())


def _over_pixels(call: Call, op: Op) -> Value:
    """A reduction over height and width, of [n, C, H, W] or of [n, C, H * W]."""
    x, dims = call["self"], call.get("dim") or []
    source = x.source if isinstance(x, Partial) else call.ref("self")
    type_ = call.builder.type(source)
    flat = isinstance(x, Partial) and x.kind == "view" and x.data == (type_.channels, type_.height * type_.width)
    rank = 3 if flat else 4
    if not type_.is_map or (x != Ref(source) and not flat) or sorted(d % rank for d in dims) != [2, 3][: rank - 2]:
        raise Outside("it reduces dimensions other than height and width", nearest=op.name)
    made = call.add(op, source)
    if call["keepdim"]:
        return Partial("view", made.name, (type_.channels, 1)) if flat else made
    return made if call.as_map else call.add(Flatten(), made.name)


def plain(op: Op) -> Callable[[Call], Value]:
    """An activation without arguments."""
    return lambda call: call.add(op, call.ref("self"))


def hardtanh(call: Call) -> Value:
    if (call["min_val"], call["max_val"]) != (0, 6):
        raise Outside(f"it clamps to {call['min_val']}..{call['max_val']}", nearest="relu6")
    return call.add(act.Relu6(), call.ref("self"))


def clamp(call: Call) -> Value:
    match call.get("min"), call.get("max"):
        case 0, 6:
            return call.add(act.Relu6(), call.ref("self"))
        case 0, None:
            return call.add(act.Relu(), call.ref("self"))
    bounds = (f"{b:g}" if isinstance(b, (int, float)) else b and "a tensor" for b in (call.get("min"), call.get("max")))
    raise Outside(f"it clamps to {'..'.join(b or 'none' for b in bounds)}", nearest="relu6")


def gelu(call: Call) -> Value:
    if call["approximate"] != "none":
        raise Outside("it is an approximation by tanh", nearest="gelu")
    return call.add(act.Gelu(), call.ref("self"))


def elu(call: Call) -> Value:
    if not math.isclose(call["scale"], 1) or not math.isclose(call["input_scale"], 1):
        raise Outside("it is scaled", nearest="elu")
    return call.add(act.Elu(float(call["alpha"])), call.ref("self"))


def leaky_relu(call: Call) -> Value:
    return call.add(act.LeakyRelu(float(call["negative_slope"])), call.ref("self"))


def softmax(call: Call) -> Value:
    if call["dim"] % len(call.shape) != 1 or call.get("half_to_float"):
        raise Outside("it is not over the channels", nearest="softmax")
    return call.add(Softmax(), call.ref("self"))


def dropout(call: Call) -> Value:
    if call.get("train"):
        raise Outside("it is in training mode", nearest="dropout")
    x = "input" if "input" in call.arguments else "self"
    return call.add(Dropout(call["p"]), call.ref(x))
