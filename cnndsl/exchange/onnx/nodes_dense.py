"""Gemm and MatMul: dense layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cnndsl.exchange.onnx.values import Constant, Node, Tensor, shown
from cnndsl.ops.dense import Dense
from cnndsl.ops.global_pool import AdaptiveAvgPool


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


def _window_means(size: int, out: int) -> np.ndarray:
    """[out, size]: the matrix that takes the mean of each window of an adaptive pooling along one axis."""
    starts, stops = np.arange(out) * size // out, -(-(np.arange(out) + 1) * size // out)
    places = np.arange(size)
    within = (places >= starts[:, None]) & (places < stops[:, None])
    return np.asarray(within / (stops - starts)[:, None])


def _adaptive(node: Node, x: Tensor, matrix: np.ndarray, *, axis: int) -> Tensor:
    """A product with a matrix of means along height or width, which is how an adaptive pooling can be written."""
    item = node.map(x)
    type_ = node.draft.type(item)
    size = (type_.height, type_.width)[axis]
    fits = matrix.ndim == 2 and matrix.shape[1] == size
    if not fits or not np.allclose(matrix, _window_means(size, len(matrix)), atol=1e-6):
        raise node.refuse(f"multiplies a feature map by a matrix of shape {matrix.shape}", nearest="adaptiveavgpool")
    before = node.draft.items[item]
    height, width = (len(matrix), type_.width) if axis == 0 else (type_.height, len(matrix))
    if isinstance(before.op, AdaptiveAvgPool):
        # Of means along the other axis, which left this one as it was: both together are one pooling.
        source = node.draft.type(before.inputs[0])
        if (source.height, source.width)[axis] == size and before.op.size[axis] == size:
            item = before.inputs[0]
    return node.made(AdaptiveAvgPool((height, width)), item)


def matmul(node: Node) -> Tensor:
    """MatMul by a constant."""
    first, second = node.value(0), node.value(1)
    if isinstance(first, Constant) and isinstance(second, Tensor) and len(second.shape) == 4:
        return _adaptive(node, second, node.floats(0, "matrix"), axis=0)
    if isinstance(first, Tensor) and isinstance(second, Constant) and len(first.shape) == 4:
        return _adaptive(node, first, node.floats(1, "matrix").T, axis=1)
    if isinstance(node.value(0), Constant):
        raise node.refuse("multiplies a constant by a tensor", "the weights of a dense layer come second")
    weight = node.floats(1, "weight")
    if weight.ndim != 2:
        raise node.refuse(f"multiplies by a weight of shape {weight.shape}", nearest="dense")
    return _dense(node, node.tensor(), weight.T, None)


TABLE: Mapping[str, Callable[[Node], Tensor]] = {"Gemm": gemm, "MatMul": matmul}
