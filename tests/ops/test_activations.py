"""Activations against torch's modules, and at the values where implementations differ."""

import math
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from oracle import Bad, Sample, maps, node_of, numbers, op_of, vectors, written
from torch import nn

ORACLES: dict[str, Any] = {
    "relu": lambda _op, _x: nn.ReLU(),
    "leaky_relu": lambda op, _x: nn.LeakyReLU(op.slope),
    "relu6": lambda _op, _x: nn.ReLU6(),
    "elu": lambda op, _x: nn.ELU(op.alpha),
    "gelu": lambda _op, _x: nn.GELU(),
    "silu": lambda _op, _x: nn.SiLU(),
    "sigmoid": lambda _op, _x: nn.Sigmoid(),
    "tanh": lambda _op, _x: nn.Tanh(),
    "hardswish": lambda _op, _x: nn.Hardswish(),
    "hardsigmoid": lambda _op, _x: nn.Hardsigmoid(),
}
VECTORS = set(ORACLES)

DIMS = ((3, 4, 5),)
SAMPLES = [
    Sample("relu", DIMS, "relu6"),
    Sample("leaky_relu", DIMS, "relu"),
    Sample("leaky_relu(0.2)", DIMS, "leaky_relu(0.1)"),
    Sample("leaky_relu(slope=-1)", DIMS, "leaky_relu(slope=1)"),
    Sample("relu6", DIMS, "relu"),
    Sample("elu", DIMS, "elu(alpha=0.99)"),
    Sample("elu(2)", DIMS, "elu"),
    Sample("gelu", DIMS, lambda xs: nn.GELU(approximate="tanh")(xs[0])),
    Sample("silu", DIMS, lambda xs: xs[0] * torch.sigmoid(1.702 * xs[0])),
    Sample("sigmoid", DIMS, "hardsigmoid"),
    Sample("tanh", DIMS, "sigmoid"),
    Sample("hardswish", DIMS, "silu"),
    Sample("hardsigmoid", DIMS, lambda xs: (0.2 * xs[0] + 0.5).clamp(0, 1)),
    Sample("relu", ((7,),), "leaky_relu"),
]

BAD = [
    Bad("relu(2)", DIMS, "E0207", "2"),
    Bad("leaky_relu(slope=true)", DIMS, "E0205", "true"),
    Bad("leaky_relu(0.1, 0.2)", DIMS, "E0207", "0.2"),
    Bad("elu(alpha=(1, 2))", DIMS, "E0205", "(1, 2)"),
]


@st.composite
def activations(draw: st.DrawFn, name: str) -> Sample:
    """An activation on a map or a vector."""
    further = {"leaky_relu": {"slope": numbers(-2.0, 2.0)}, "elu": {"alpha": numbers(-2.0, 2.0)}}
    return Sample(written(draw, name, (), **further.get(name, {})), (draw(maps(side=4) | vectors()),))


RANDOM = {name: activations(name) for name in ORACLES}

LIMITS = {
    "relu": (0, math.inf),
    "leaky_relu": (-math.inf, math.inf),
    "relu6": (0, 6),
    "elu": (-1, math.inf),
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "hardswish": (-math.nan, math.inf),
    "hardsigmoid": (0, 1),
}
"""Values at -inf and +inf. GELU and SiLU are 0 * inf at -inf, where torch itself is of two minds."""


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str) -> None:
    x = torch.tensor([[-math.inf, math.inf, math.nan]])
    low, high, nan = op_of(node_of(name, ((3,),))).reference([x], {})[0].tolist()
    assert math.isnan(nan)
    expected = LIMITS[name]
    assert high == expected[1]
    assert low == expected[0] or (math.isnan(low) and math.isnan(expected[0]))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"])
def test_negative_zero_stays(name: str) -> None:
    y = op_of(node_of(name, ((1,),))).reference([torch.tensor([[-0.0]])], {})
    assert math.copysign(1.0, y.item()) == -1.0
