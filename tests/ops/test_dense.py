"""The dense layer against torch.nn.Linear."""

import torch
from hypothesis import strategies as st
from oracle import Bad, Sample, maps, vectors, written
from torch import nn

from cnndsl.ir import TensorType
from cnndsl.ops.dense import Dense


class FlatLinear(nn.Linear):
    """torch's layer over everything in C, H, W order."""

    def __init__(self, op: Dense, x: TensorType) -> None:
        super().__init__(x.size, op.units, bias=op.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1))


ORACLES = {"dense": FlatLinear}
VECTORS = {"dense"}

SAMPLES = [
    Sample("dense(7)", ((5,),), lambda xs: xs[0][:, :1].repeat(1, 7)),
    # Weights of published networks want channels first, then rows, then columns.
    Sample("dense(4)", ((2, 3, 5),), lambda xs: xs[0].permute(0, 2, 3, 1).flatten(1)[:, :4]),
    Sample("dense(1, bias=false)", ((1, 1, 1),)),
]

BAD = [
    Bad("dense(0)", ((5,),), "E0206", "0"),
    Bad("dense(5 / 1)", ((5,),), "E0205", "5 / 1"),
    Bad("dense(3x3)", ((5,),), "E0205", "3x3"),
    Bad("dense(2147483647)", ((64, 64, 64),), "E0218", "dense(2147483647)"),
]


@st.composite
def dense_layers(draw: st.DrawFn) -> Sample:
    """Dense layers on maps and vectors."""
    layer = written(draw, "dense", (draw(st.integers(1, 9)),), bias=st.sampled_from(("true", "false")))
    return Sample(layer, (draw(maps(side=4) | vectors()),))


RANDOM = {"dense": dense_layers()}
