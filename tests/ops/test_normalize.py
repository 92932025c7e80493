"""Batch and local response normalisation against torch's modules, and from their definitions."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import (
    Bad,
    Sample,
    differ,
    maps,
    node_of,
    numbers,
    op_of,
    random_inputs,
    random_weights,
    types_of,
    vectors,
    written,
)
from torch import nn

from cnndsl.ir import TensorType
from cnndsl.ops.normalize import BatchNorm, LocalResponseNorm


def batch_norm(op: BatchNorm, x: TensorType) -> nn.Module:
    """torch's module for maps or vectors."""
    module = nn.BatchNorm2d if x.is_map else nn.BatchNorm1d
    return module(x.channels, op.eps, op.momentum, affine=op.affine)


ORACLES: dict[str, Any] = {
    "batchnorm": batch_norm,
    "lrn": lambda op, _: nn.LocalResponseNorm(op.size, op.alpha, op.beta, op.k),
}
VECTORS = {"batchnorm"}

SAMPLES = [
    Sample("batchnorm", ((4, 5, 3),), "batchnorm(eps=1e-4)"),
    Sample("batchnorm(eps=1e-3, momentum=0.01)", ((4, 5, 3),), "batchnorm(eps=1e-5)"),
    Sample("batchnorm(affine=false)", ((2, 2, 3),), "batchnorm(affine=false, eps=0.1)"),
    Sample("batchnorm", ((6,),), "batchnorm(eps=1e-4)"),
    Sample("lrn", ((2, 3, 7),), "lrn(size=4)"),
    Sample("lrn(5, alpha=5e-4, beta=0.75, k=2)", ((3, 3, 12),), "lrn(5, alpha=1e-4, beta=0.75, k=2)"),
    Sample("lrn(4, alpha=1)", ((2, 2, 9),), "lrn(5, alpha=1)"),
    Sample("lrn(9, alpha=1, beta=0.5)", ((2, 2, 3),), "lrn(9, alpha=1, beta=0.6)"),
    Sample("lrn(1, k=0.5)", ((2, 2, 3),), "lrn(1)"),
]

BAD = [
    Bad("batchnorm(eps=-1)", ((3, 3, 3),), "E0206", "-1"),
    Bad("batchnorm(momentum=1.5)", ((3, 3, 3),), "E0206", "1.5"),
    Bad("batchnorm(affine=0)", ((3, 3, 3),), "E0205", "0"),
    Bad("lrn(0)", ((3, 3, 3),), "E0206", "0"),
    Bad("lrn(2.5)", ((3, 3, 3),), "E0205", "2.5"),
    Bad("lrn(5, alpha=true)", ((3, 3, 3),), "E0205", "true"),
    Bad("lrn", ((3,),), "E0305", "lrn"),
]


@st.composite
def batch_norms(draw: st.DrawFn) -> Sample:
    """Batch norms on maps and vectors."""
    flags = st.sampled_from(("true", "false"))
    layer = written(draw, "batchnorm", (), eps=numbers(1e-7, 1.0), affine=flags, momentum=numbers(0.0, 1.0))
    return Sample(layer, (draw(maps() | vectors()),))


@st.composite
def lrns(draw: st.DrawFn) -> Sample:
    """Local response norms with windows narrower and wider than the input."""
    layer = written(
        draw, "lrn", (),
        size=st.integers(1, 9), alpha=numbers(1e-6, 2.0), beta=numbers(0.0, 2.0), k=numbers(0.5, 3.0),
    )
    return Sample(layer, (draw(maps(side=3, channels=12)),))


RANDOM = {"batchnorm": batch_norms(), "lrn": lrns()}


@given(batch_norms())
def test_scale_and_shift_are_the_batch_norm(sample: Sample) -> None:
    """What folds into a convolution is exactly the layer: scale * x + shift."""
    op, types = op_of(node_of(sample.layer, sample.inputs)), types_of(sample.inputs)
    assert isinstance(op, BatchNorm)
    weights, (x,) = random_weights(op, types), random_inputs(sample.inputs)
    scale, shift = op.scale_shift(weights)
    spread = (1, -1) + (1,) * (x.dim() - 2)
    y = scale.view(spread) * x + shift.view(spread)
    assert not differ(y, op.reference([x], weights))
    for wrong in (scale.view(spread) * x - shift.view(spread), scale.view(spread) * x):
        assert differ(wrong, op.reference([x], weights))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_lrn_from_its_definition(size: int) -> None:
    """An even window has its extra channel below; the divisor stays `size` at the ends."""
    dims = (1, 2, 7)
    op = op_of(node_of(f"lrn({size}, alpha=0.5, beta=0.75, k=2)", (dims,)))
    assert isinstance(op, LocalResponseNorm)
    (x,) = random_inputs((dims,))

    def normalised(below: int, above: int) -> torch.Tensor:
        y = torch.empty_like(x)
        for c in range(7):
            squares = x[:, max(c - below, 0) : c + above + 1].square().sum(1)
            y[:, c] = x[:, c] / (2 + 0.5 / size * squares) ** 0.75
        return y

    below, above = size // 2, (size - 1) // 2
    assert not differ(normalised(below, above), op.reference([x], {}))
    assert differ(normalised(below + 1, above), op.reference([x], {}))
    if size % 2 == 0:
        assert differ(normalised(above, below), op.reference([x], {}))
