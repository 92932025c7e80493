"""Convolution against torch.nn.Conv2d."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import Bad, Sample, maps, node_of, op_of, pairs, random_inputs, random_weights, types_of, written
from torch import nn
from torch.nn import functional as f

from cnndsl.errors import CnnError
from cnndsl.ir import TensorType
from cnndsl.ops.conv import Conv


class PaddedConv(nn.Conv2d):
    """torch's convolution over an input with four-sided padding."""

    def __init__(self, op: Conv, x: TensorType) -> None:
        super().__init__(
            x.channels, op.filters, op.kernel,
            stride=op.stride, dilation=op.dilation, groups=op.groups, bias=op.bias,
        )
        assert not isinstance(op.pad, str)
        self.sides = op.pad

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top, bottom, left, right = self.sides
        return super().forward(f.pad(x, (left, right, top, bottom)))


ORACLES = {"conv": PaddedConv}
VECTORS: set[str] = set()

SAMPLES = [
    Sample("conv(4, 3x3)", ((7, 6, 3),), "conv(4, 3x3, dilation=2)"),
    Sample("conv(96, 11x11, stride=4)", ((23, 27, 3),), "conv(96, 11x11, stride=3)"),
    Sample("conv(4, 1x1, bias=false)", ((1, 1, 5),)),
    Sample("conv(4, 2x3, stride=2x1, pad=(1, 2))", ((6, 7, 2),), "conv(4, 2x3, stride=2x1, pad=(2, 1))"),
    Sample("conv(3, 3x2, pad=(0, 1, 2, 0))", ((5, 4, 2),), "conv(3, 3x2, pad=(1, 0, 2, 0))"),
    Sample("conv(3, 3x2, pad=(0, 1, 2, 0))", ((5, 4, 2),), "conv(3, 3x2, pad=(0, 1, 0, 2))"),
    Sample("conv(3, 3x3, dilation=2x3)", ((9, 9, 2),), "conv(3, 3x3, dilation=3x2)"),
    Sample("conv(6, 3x3, pad=1, groups=3)", ((5, 5, 6),)),
    Sample("conv(8, 3x3, pad=1, groups=in.channels)", ((5, 5, 4),)),
    Sample("conv(4, 3x3, pad=same, stride=2)", ((8, 7, 3),), "conv(4, 3x3, pad=1, stride=2)"),
    Sample("conv(4, 4x4, pad=same)", ((6, 6, 3),), "conv(4, 4x4, pad=(2, 1, 2, 1))"),
    Sample("conv(2, 3x3, pad=5)", ((1, 2, 1),), "conv(2, 3x3, pad=(5, 4))"),
    Sample("conv(2, 1x1, stride=5)", ((4, 9, 3),), "conv(2, 1x1, stride=3)"),
]

BAD = [
    Bad("conv(4, 3x3)", ((2, 5, 3),), "E0304", "conv(4, 3x3)"),
    Bad("conv(4, 3x3, dilation=3)", ((6, 7, 3),), "E0304", "conv(4, 3x3, dilation=3)"),
    Bad("conv(4, 1x1, groups=2)", ((5, 5, 3),), "E0302", "conv(4, 1x1, groups=2)"),
    Bad("conv(4, 1x1, groups=3)", ((5, 5, 3),), "E0302", "conv(4, 1x1, groups=3)"),
    Bad("conv(0, 3x3)", ((5, 5, 3),), "E0206", "0"),
    Bad("conv(4, 0x3)", ((5, 5, 3),), "E0206", "0x3"),
    Bad("conv(4, 3x3x3)", ((5, 5, 3),), "E0205", "3x3x3"),
    Bad("conv(4.0, 3)", ((5, 5, 3),), "E0205", "4.0"),
    Bad("conv(8 / 2, 3)", ((5, 5, 3),), "E0205", "8 / 2"),
    Bad("conv(4, 3, stride=0)", ((5, 5, 3),), "E0206", "0"),
    Bad("conv(4, 3, pad=-1)", ((5, 5, 3),), "E0206", "-1"),
    Bad("conv(4, 3, pad=valid)", ((5, 5, 3),), "E0208", "valid"),
    Bad("conv(4, 3, dilation=(1, 0))", ((5, 5, 3),), "E0206", "(1, 0)"),
    Bad("conv(4, 3, bias=1)", ((5, 5, 3),), "E0205", "1"),
    Bad("conv(4, 3, groups=true)", ((5, 5, 3),), "E0205", "true"),
    Bad("conv(2147483648, 3)", ((5, 5, 3),), "E0206", "2147483648"),
    Bad("conv(2147483647, 7x7)", ((9, 9, 512),), "E0218", "conv(2147483647, 7x7)"),
]


def paddings() -> st.SearchStrategy[str]:
    """One number, two, four, or ``same``."""
    small = st.integers(0, 3)
    return (
        small.map(str)
        | st.tuples(small, small).map(str)
        | st.tuples(small, small, small, small).map(str)
        | st.just("same")
    )


@st.composite
def convolutions(draw: st.DrawFn) -> Sample:
    """Convolutions, fitting or not."""
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    height, width, _ = draw(maps())
    channels, filters = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    layer = written(
        draw, "conv", (filters, draw(pairs(1, 4))),
        stride=pairs(1, 3), pad=paddings(), dilation=pairs(1, 3), bias=st.sampled_from(("true", "false")),
    )
    if groups > 1:
        layer = f"{layer[:-1]}, groups={groups})"
    return Sample(layer, ((height, width, channels),))


def fits(sample: Sample) -> bool:
    """Whether the language accepts it."""
    try:
        node_of(sample.layer, sample.inputs)
    except CnnError as error:
        return [d.code for d in error.diagnostics] != ["E0304"]
    return True


RANDOM = {"conv": convolutions().filter(fits)}


@given(convolutions())
def test_fits_exactly_where_torch_runs(sample: Sample) -> None:
    # On a large input every window fits, and the arguments are the same.
    wide = op_of(node_of(sample.layer, ((99, 99, sample.inputs[0][2]),)))
    assert isinstance(wide, Conv)
    if "same" in sample.layer:
        assert fits(sample)
        return
    module = PaddedConv(wide, TensorType(sample.inputs[0])).double()
    try:
        module(*random_inputs(sample.inputs))
    except RuntimeError:
        assert not fits(sample)
    else:
        assert fits(sample)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(maps(), pairs(1, 6), pairs(1, 3))
def test_same_is_torch_s_same(dims: tuple[int, ...], kernel: str, dilation: str) -> None:
    """torch knows ``padding='same'`` for stride 1."""
    op = op_of(node_of(f"conv(2, {kernel}, pad=same, dilation={dilation})", (dims,)))
    assert isinstance(op, Conv)
    weights = random_weights(op, types_of((dims,)))
    (x,) = random_inputs((dims,))
    expected = f.conv2d(x, weights["weight"], weights["bias"], padding="same", dilation=op.dilation)
    torch.testing.assert_close(op.reference([x], weights), expected, rtol=1e-12, atol=1e-12)


@given(maps(side=40), pairs(1, 7), pairs(1, 4), pairs(1, 3))
def test_same_keeps_the_rounded_up_quotient(
    dims: tuple[int, ...], kernel: str, stride: str, dilation: str
) -> None:
    node = node_of(f"conv(2, {kernel}, stride={stride}, pad=same, dilation={dilation})", (dims,))
    op = op_of(node)
    assert isinstance(op, Conv)
    assert not isinstance(op.pad, str)
    for axis in (0, 1):
        size, out, step = dims[axis], node.type.shape[axis], op.stride[axis]
        extent = op.dilation[axis] * (op.kernel[axis] - 1) + 1
        before, after = op.pad[2 * axis : 2 * axis + 2]
        assert out == -(-size // step)
        assert after - before in {0, 1}
        # Not a pixel more than needed: the last window ends where the padded input ends.
        assert before + after == max((out - 1) * step + extent - size, 0)


@pytest.mark.parametrize("pad", ["1", "(1, 0)", "(1, 1, 0, 0)", "(0, 2, 1, 0)"])
def test_groups_are_separate_convolutions(pad: str) -> None:
    """The oracle's groups, checked from the definition: each group sees its own channels only."""
    dims = (5, 6, 6)
    op = op_of(node_of(f"conv(4, 3x3, pad={pad}, groups=2)", (dims,)))
    half = op_of(node_of(f"conv(2, 3x3, pad={pad})", ((5, 6, 3),)))
    weights, (x,) = random_weights(op, types_of((dims,))), random_inputs((dims,))
    parts = [
        half.reference([x[:, 3 * g : 3 * g + 3]], {k: w[2 * g : 2 * g + 2] for k, w in weights.items()})
        for g in (0, 1)
    ]
    torch.testing.assert_close(op.reference([x], weights), torch.cat(parts, 1), rtol=1e-12, atol=1e-12)
    swapped = torch.cat(parts[::-1], 1)
    assert not torch.allclose(op.reference([x], weights), swapped)
