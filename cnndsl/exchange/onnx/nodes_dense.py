"""Gemm and MatMul: dense layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cnndsl.exchange.onnx.values import Constant, Node, Tensor, shown
from cnndsl.ops.dense import Dense


def _dense(node: Node, x: Tensor, weight: np.ndarray, bias: np.ndarray | None) -> Tensor:
    """A dense layer; `weight` is [units, features] in the file's order of the features."""
    if len(x.shape) != 2:
        raise node.refuse(f"multiplies a tensor of shape {shown(x.shape)}", "dense layers read [N, F]", nearest="dense")
    type_ = node.draft.type(x.item)
    if x.last:
        if weight.shape[1] != type_.size:
            raise node.refuse(f"has a weight of shape {weight.shape} for {type_.size} features")
        # From the order height, width, channel to channel, height, width.
        units = weight.shape[0]
        weight = weight.reshape(units, *type_.shape).transpose(0, 3, 1, 2).reshape(units, -1)
    weights = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    # A feature map that the file has flattened before is flattened by the layer itself, in the same order.
    return node.made(Dense(weight.shape[0], bias=bias is not None), x.item, weights=weights)


def gemm(node: Node) -> Tensor:
    """Gemm: alpha * A * B + beta * C."""
    if isinstance(node.value(0), Constant):
        raise node.refuse("multiplies a constant by a tensor", "the weights of a dense layer come second")
    if node.number("transA", 0):
        raise node.refuse("transposes its input (transA)", "a layer treats each picture alone", nearest="dense")
    weight = node.floats(1, "weight")
    if weight.ndim != 2:
        raise node.refuse(f"has a weight of shape {weight.shape}")
    if not node.number("transB", 0):
        weight = weight.T
    weight = scaled(weight, node.real("alpha", 1.0))
    bias = None
    if node.has(2):
        bias = scaled(node.floats(2, "bias"), node.real("beta", 1.0))
        rows = bias.shape[:-1]
        if rows not in {(), (1,)} or bias.shape[-1:] not in {(), (1,), weight.shape[:1]}:
            raise node.refuse(f"has a bias of shape {bias.shape} for {weight.shape[0]} units")
        bias = np.broadcast_to(bias.reshape(-1), weight.shape[:1])
    return _dense(node, node.tensor(), weight, bias)


def scaled(array: np.ndarray, factor: float) -> np.ndarray:
    """`array` times a number, itself where that is one."""
    return array if factor == 1.0 else array * np.asarray(factor, array.dtype)


def matmul(node: Node) -> Tensor:
    """MatMul by a constant."""
    if isinstance(node.value(0), Constant):
        raise node.refuse("multiplies a constant by a tensor", "the weights of a dense layer come second")
    weight = node.floats(1, "weight")
    if weight.ndim != 2:
        raise node.refuse(f"multiplies by a weight of shape {weight.shape}", nearest="dense")
    return _dense(node, node.tensor(), weight.T, None)


TABLE: Mapping[str, Callable[[Node], Tensor]] = {"Gemm": gemm, "MatMul": matmul}
