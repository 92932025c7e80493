"""Layers that move values, and softmax, against torch's modules."""

import math
from typing import Any

import torch
from hypothesis import strategies as st
from oracle import Bad, Sample, maps, node_of, numbers, op_of, vectors, written
from torch import nn


def padded(op: Any, _: Any) -> nn.Module:
    """torch counts the sides from the last dimension: left, right, top, bottom."""
    top, bottom, left, right = op.size
    return nn.ConstantPad2d((left, right, top, bottom), op.value)


ORACLES: dict[str, Any] = {
    "flatten": lambda _op, _x: nn.Flatten(),
    "pad": padded,
    "channel_shuffle": lambda op, _x: nn.ChannelShuffle(op.groups),
    "identity": lambda _op, _x: nn.Identity(),
    "dropout": lambda op, _x: nn.Dropout(op.p),
    "softmax": lambda _op, _x: nn.Softmax(1),
}
VECTORS = {"flatten", "identity", "dropout", "softmax"}

SAMPLES = [
    Sample("flatten", ((3, 4, 5),), lambda xs: xs[0].permute(0, 2, 3, 1).flatten(1)),
    Sample("flatten", ((5,),)),
    Sample("pad(1)", ((3, 4, 2),), "pad(1, value=1)"),
    Sample("pad((1, 2))", ((3, 3, 2),), "pad((2, 1))"),
    Sample("pad((0, 1, 2, 3), value=-1.5)", ((3, 3, 2),), "pad((1, 0, 2, 3), value=-1.5)"),
    Sample("pad(0)", ((3, 3, 2),), "relu"),
    Sample("channel_shuffle(2)", ((2, 3, 6),), "channel_shuffle(3)"),
    Sample("channel_shuffle(6)", ((2, 3, 6),), "channel_shuffle(2)"),
    Sample("identity", ((2, 3, 4),), "relu"),
    Sample("dropout", ((2, 3, 4),), lambda xs: xs[0] * 0.5),
    Sample("dropout(0.25)", ((8,),), lambda xs: nn.functional.dropout(xs[0], 0.25)),
    Sample("softmax", ((9,),), "sigmoid"),
    Sample("softmax", ((3, 4, 5),), lambda xs: xs[0].softmax(3)),
]

BAD = [
    Bad("pad(-1)", ((3, 3, 2),), "E0206", "-1"),
    Bad("pad((1, 2, 3))", ((3, 3, 2),), "E0205", "(1, 2, 3)"),
    Bad("pad(1.5)", ((3, 3, 2),), "E0205", "1.5"),
    Bad("pad(1)", ((3,),), "E0305", "pad(1)"),
    Bad("channel_shuffle(4)", ((3, 3, 6),), "E0302", "channel_shuffle(4)"),
    Bad("channel_shuffle(0)", ((3, 3, 6),), "E0206", "0"),
    Bad("dropout(1.01)", ((3, 3, 6),), "E0206", "1.01"),
    Bad("dropout(-0.1)", ((3, 3, 6),), "E0206", "-0.1"),
    Bad("softmax(1)", ((3, 3, 6),), "E0207", "1"),
]

any_shape = maps(side=4) | vectors()


@st.composite
def pads(draw: st.DrawFn) -> Sample:
    """Borders of every form."""
    side = st.integers(0, 3)
    sizes = side.map(str) | st.tuples(side, side).map(str) | st.tuples(side, side, side, side).map(str)
    return Sample(written(draw, "pad", (draw(sizes),), value=numbers(-9.0, 9.0)), (draw(maps(side=4)),))


@st.composite
def shuffles(draw: st.DrawFn) -> Sample:
    """Shuffles whose groups divide the channels."""
    groups, per_group = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    height, width, _ = draw(maps(side=3))
    return Sample(f"channel_shuffle({groups})", ((height, width, groups * per_group),))


@st.composite
def dropouts(draw: st.DrawFn) -> Sample:
    """Dropouts of every probability."""
    return Sample(written(draw, "dropout", (), p=numbers(0.0, 1.0)), (draw(any_shape),))


RANDOM = {
    "flatten": st.builds(lambda dims: Sample("flatten", (dims,)), any_shape),
    "pad": pads(),
    "channel_shuffle": shuffles(),
    "identity": st.builds(lambda dims: Sample("identity", (dims,)), any_shape),
    "dropout": dropouts(),
    "softmax": st.builds(lambda dims: Sample("softmax", (dims,)), any_shape),
}


def test_shuffle_interleaves() -> None:
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    y = op_of(node_of("channel_shuffle(2)", ((1, 1, 6),))).reference([x], {})
    assert y.flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_softmax_of_special_values() -> None:
    """Large values do not overflow, -inf is a probability of 0; +inf, NaN and nothing but -inf are NaN."""
    inf, nan = math.inf, math.nan
    x = torch.tensor([[1000.0, 1000.0, -inf], [0.0, inf, 0.0], [0.0, nan, 0.0], [-inf, -inf, -inf]])
    y = op_of(node_of("softmax", ((3,),))).reference([x], {})
    assert y[0].tolist() == [0.5, 0.5, 0.0]
    assert y[1:].isnan().all()
