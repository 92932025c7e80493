"""Global and adaptive pooling against torch's adaptive modules."""

import math

import pytest
import torch
from hypothesis import strategies as st
from oracle import Bad, Sample, maps, node_of, op_of, pairs
from torch import nn

ORACLES = {
    "globalavgpool": lambda _op, _x: nn.AdaptiveAvgPool2d(1),
    "globalmaxpool": lambda _op, _x: nn.AdaptiveMaxPool2d(1),
    "adaptiveavgpool": lambda op, _x: nn.AdaptiveAvgPool2d(op.size),
}
VECTORS: set[str] = set()

SAMPLES = [
    Sample("globalavgpool", ((7, 5, 3),), "globalmaxpool"),
    Sample("globalavgpool", ((1, 1, 3),)),
    Sample("globalmaxpool", ((7, 5, 3),), "globalavgpool"),
    Sample("globalmaxpool", ((1, 6, 2),)),
    Sample("adaptiveavgpool(6x6)", ((7, 7, 3),), "adaptiveavgpool(6x5)"),
    Sample("adaptiveavgpool(3)", ((9, 6, 3),), "adaptiveavgpool(2)"),
    Sample("adaptiveavgpool(3x2)", ((7, 7, 2),), "adaptiveavgpool(2x3)"),
    # Larger than the input: windows repeat pixels.
    Sample("adaptiveavgpool(5x4)", ((3, 4, 2),), "adaptiveavgpool(5x3)"),
]

BAD = [
    Bad("adaptiveavgpool(0)", ((5, 5, 1),), "E0206", "0"),
    Bad("adaptiveavgpool(1x1x1)", ((5, 5, 1),), "E0205", "1x1x1"),
    Bad("adaptiveavgpool(1000000)", ((5, 5, 1),), "E0218", "adaptiveavgpool(1000000)"),
    Bad("globalavgpool(2)", ((5, 5, 1),), "E0207", "2"),
    Bad("globalavgpool", ((5,),), "E0305", "globalavgpool"),
]

RANDOM = {
    "globalavgpool": st.builds(lambda dims: Sample("globalavgpool", (dims,)), maps()),
    "globalmaxpool": st.builds(lambda dims: Sample("globalmaxpool", (dims,)), maps()),
    "adaptiveavgpool": st.builds(
        lambda size, dims: Sample(f"adaptiveavgpool({size})", (dims,)), pairs(1, 7), maps(side=12)
    ),
}


def test_windows_of_adaptive_pooling() -> None:
    """Window i covers floor(i * in / out) up to ceil((i + 1) * in / out): from 5 to 3, 0-2, 1-4 and 3-5."""
    x = torch.tensor([1.0, 10, 100, 1000, 10000], dtype=torch.float64).reshape(1, 1, 1, 5)
    y = op_of(node_of("adaptiveavgpool(1x3)", ((1, 5, 1),))).reference([x], {})
    assert y.flatten().tolist() == [11 / 2, 1110 / 3, 11000 / 2]


@pytest.mark.parametrize("layer", ["globalavgpool", "globalmaxpool", "adaptiveavgpool(2)"])
def test_nan_stays(layer: str) -> None:
    x = torch.ones(1, 2, 4, 4)
    x[0, 1, 0, 0] = math.nan
    y = op_of(node_of(layer, ((4, 4, 2),))).reference([x], {})
    assert y[:, 0].eq(1).all()
    assert y[:, 1].flatten()[0].isnan()
