"""Functions of one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from cnndsl.exchange.onnx.draft import Clip, Erf, is_infinite
from cnndsl.exchange.onnx.values import FLOATS, Node, Tensor, seen
from cnndsl.ops import activations as acts
from cnndsl.ops.base import Op
from cnndsl.ops.reshape import Dropout

SIXTH = 1 / 6


def unary(node: Node, op: Op) -> Tensor:
    """A layer that treats each value alone, whatever shape the file sees."""
    x = node.tensor()
    return seen(x, node.add(op, x.item))


def _plain(op: Op) -> Callable[[Node], Tensor]:
    return lambda node: unary(node, op)


def leaky_relu(node: Node) -> Tensor:
    """LeakyRelu."""
    return unary(node, acts.LeakyRelu(node.real("alpha", 0.01)))


def prelu(node: Node) -> Tensor:
    """PRelu with one slope for all channels."""
    slopes = node.floats(1, "slope")
    if slopes.size == 0 or (slopes != slopes.flat[0]).any():
        raise node.refuse("has a slope for each channel", "one slope holds for all channels", nearest="leaky_relu")
    node.need_rank(node.tensor(), slopes)
    return unary(node, acts.LeakyRelu(float(str(slopes.flat[0]))))


def elu(node: Node) -> Tensor:
    """Elu."""
    return unary(node, acts.Elu(node.real("alpha", 1.0)))


def celu(node: Node) -> Tensor:
    """Celu, which is Elu where alpha is 1."""
    if node.real("alpha", 1.0) != 1.0:
        raise node.refuse(f"has an alpha of {node.real('alpha', 1.0):g}, not of 1", nearest="elu")
    return unary(node, acts.Elu(1.0))


def clip(node: Node) -> Tensor:
    """Clip, whose bounds are attributes before opset 11 and inputs from then on."""
    if node.opset >= 11:
        low = node.scalar(1, "lower bound") if node.has(1) else -math.inf
        high = node.scalar(2, "upper bound") if node.has(2) else math.inf
    else:
        low, high = node.real("min", -math.inf), node.real("max", math.inf)
    return clipped(node, node.tensor(), low, high)


def clipped(node: Node, x: Tensor, low: float, high: float) -> Tensor:
    """min(max(x, low), high)."""
    low = -math.inf if is_infinite(low) and low < 0 else low
    high = math.inf if is_infinite(high) and high > 0 else high
    if (low, high) == (-math.inf, math.inf):
        return x
    return seen(x, node.add(Clip(low, high), x.item))


def gelu(node: Node) -> Tensor:
    """Gelu by the error function."""
    if node.text("approximate", "none") != "none":
        raise node.refuse(
            "approximates gelu by tanh", "the layer computes it exactly: values would differ by up to 5e-4",
            nearest="gelu",
        )
    return unary(node, acts.Gelu())


def swish(node: Node) -> Tensor:
    """Swish with a factor of 1."""
    if node.real("alpha", 1.0) != 1.0:
        raise node.refuse(f"has an alpha of {node.real('alpha', 1.0):g}, not of 1", nearest="silu")
    return unary(node, acts.Silu())


def hard_sigmoid(node: Node) -> Tensor:
    """HardSigmoid of MobileNetV3: alpha 1/6, not ONNX's default of 0.2."""
    alpha, beta = node.real("alpha", 0.2), node.real("beta", 0.5)
    if abs(alpha - SIXTH) > 1e-7 or beta != 0.5:
        raise node.refuse(
            f"has an alpha of {alpha:g} and a beta of {beta:g}", "the layer computes relu6(x + 3) / 6: 1/6 and 0.5",
            nearest="hardsigmoid",
        )
    return unary(node, acts.HardSigmoid())


def dropout(node: Node) -> Tensor:
    """Dropout at inference."""
    if len(node.wanted) > 1 and node.wanted[1]:
        raise node.refuse("also makes its mask", nearest="dropout")
    if node.opset >= 12:
        ratio = node.scalar(1, "ratio") if node.has(1) else 0.5
        if node.has(2) and node.scalar(2, "training mode"):
            raise node.refuse("is in training mode", "layers compute as at inference", nearest="dropout")
    else:
        ratio = node.real("ratio", 0.5)
    return unary(node, Dropout(ratio))


def identity(node: Node) -> Tensor:
    """Identity: the tensor itself."""
    return node.tensor()


def cast(node: Node) -> Tensor:
    """Cast from one floating-point type to another: the network has one type throughout."""
    from onnx import TensorProto

    to = node.number("to", 0)
    if to not in {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}:
        kind = TensorProto.DataType.Name(to) if to in TensorProto.DataType.values() else str(to)
        raise node.refuse(f"casts to {kind}", FLOATS)
    node.notes.append("casts are left out: the network has one type throughout, that of --dtype")
    return node.tensor()


TABLE: Mapping[str, Callable[[Node], Tensor]] = {
    "Cast": cast,
    "Celu": celu,
    "Clip": clip,
    "Dropout": dropout,
    "Elu": elu,
    "Erf": _plain(Erf()),
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _plain(acts.HardSwish()),
    "Identity": identity,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Relu": _plain(acts.Relu()),
    "Sigmoid": _plain(acts.Sigmoid()),
    "Swish": swish,
    "Tanh": _plain(acts.Tanh()),
}
