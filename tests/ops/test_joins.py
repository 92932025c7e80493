"""add, mul and concat against torch's operators."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from oracle import Bad, Sample, graph_of, maps, node_of, op_of, vectors
from torch import nn


class Joined(nn.Module):
    """A function of several tensors as a module."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *xs: torch.Tensor) -> torch.Tensor:
        return self.function(*xs)


def product(*xs: torch.Tensor) -> torch.Tensor:
    """The product over a new dimension; torch spreads [1x1xC] over the pixels."""
    return torch.stack(torch.broadcast_tensors(*xs)).prod(0)


ORACLES: dict[str, Any] = {
    "add": lambda *_: Joined(lambda *xs: torch.stack(xs).sum(0)),
    "mul": lambda *_: Joined(product),
    "concat": lambda *_: Joined(lambda *xs: torch.cat(xs, 1)),
}
VECTORS = set(ORACLES)

SAMPLES = [
    Sample("add(@x1)", ((3, 4, 2), (3, 4, 2)), "mul(@x1)"),
    Sample("add(@x1, @x2)", ((3, 4, 2),) * 3, lambda xs: xs[0] + xs[1]),
    Sample("add(@x1)", ((5,), (5,)), lambda xs: xs[0] - xs[1]),
    Sample("mul(@x1)", ((3, 4, 2), (3, 4, 2)), "add(@x1)"),
    Sample("mul(@x1)", ((3, 4, 2), (1, 1, 2)), lambda xs: xs[0] + xs[1]),
    Sample("mul(@x1)", ((1, 1, 2), (3, 4, 2))),
    Sample("mul(@x1, @x2)", ((1, 1, 2), (3, 4, 2), (3, 4, 2)), lambda xs: xs[1] * xs[2]),
    Sample("concat(@x1)", ((3, 4, 2), (3, 4, 5)), lambda xs: torch.cat((xs[1], xs[0]), 1)),
    Sample("concat(@x1, @x2)", ((3, 4, 2),) * 3, lambda xs: torch.cat((xs[0], xs[2], xs[1]), 1)),
    Sample("concat(@x1)", ((3,), (4,)), lambda xs: torch.cat((xs[1], xs[0]), 1)),
]

BAD = [
    Bad("add(@x1)", ((3, 4, 2), (3, 4, 3)), "E0303", "add(@x1)"),
    Bad("add(@x1)", ((3, 4, 2), (1, 1, 2)), "E0303", "add(@x1)"),
    Bad("add(@x1)", ((1, 1, 2), (2,)), "E0303", "add(@x1)"),
    Bad("mul(@x1)", ((3, 4, 2), (3, 1, 2)), "E0303", "mul(@x1)"),
    Bad("mul(@x1)", ((3, 4, 2), (1, 1, 3)), "E0303", "mul(@x1)"),
    Bad("mul(@x1)", ((3, 4, 2), (2,)), "E0303", "mul(@x1)"),
    Bad("concat(@x1)", ((3, 4, 2), (4, 3, 2)), "E0303", "concat(@x1)"),
    Bad("concat(@x1)", ((1, 1, 2), (2,)), "E0303", "concat(@x1)"),
    Bad("add", ((3, 4, 2),), "E0220", "add"),
    Bad("add { { relu } }", ((3, 4, 2),), "E0220", "add"),
]


@st.composite
def joins(draw: st.DrawFn, name: str) -> Sample:
    """Joins of two to four tensors, of any order of sizes."""
    first = draw(maps(side=4) | vectors())
    inputs = [first]
    for _ in range(draw(st.integers(1, 3))):
        if name == "mul" and len(first) == 3 and draw(st.booleans()):
            inputs.append((1, 1, first[2]))
        elif name == "concat":
            inputs.append((*first[:-1], draw(st.integers(1, 5))))
        else:
            inputs.append(first)
    order = draw(st.permutations(inputs))
    references = ", ".join(f"@x{i}" for i in range(1, len(order)))
    return Sample(f"{name}({references})", tuple(order))


RANDOM = {name: joins(name) for name in ORACLES}


def test_arms_and_references_mean_the_same() -> None:
    arms = graph_of("network T { input x [4x4x2] concat { { a: conv(3, 1x1) } { } { b: relu } } }")
    references = graph_of(
        "network T { input x [4x4x2] a: conv(3, 1x1) @x b: relu @a concat(@x, @b) }"
    )
    assert [(n.name, n.op, n.inputs, n.type) for n in arms.nodes] == [
        (n.name, n.op, n.inputs, n.type) for n in references.nodes
    ]


@pytest.mark.parametrize("name", ["add", "mul"])
def test_special_values(name: str) -> None:
    """Opposite infinities cancel to NaN, infinity times nothing is NaN, NaN stays."""
    a = torch.tensor([[math.inf, math.inf, math.nan, -0.0]])
    b = torch.tensor([[-math.inf, 0.0, 1.0, 0.0]])
    y = op_of(node_of(f"{name}(@x1)", ((4,), (4,)))).reference([a, b], {})[0].tolist()
    assert [math.isnan(v) for v in y] == [name == "add", name == "mul", True, False]
    assert math.copysign(1.0, y[3]) == (1.0 if name == "add" else -1.0)
