"""Pooling over windows against torch's modules, and against its definition pixel by pixel."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import Bad, Sample, differ, maps, node_of, op_of, pairs, random_inputs, written
from torch import nn

from cnndsl.errors import CnnError
from cnndsl.ir import TensorType
from cnndsl.ops.pool import AvgPool, MaxPool


def windows(op: MaxPool | AvgPool, size: int, axis: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of the windows along one axis, in pixels of the input.

    A window exists where it lies in the padded input. With `ceil` there is one more where those leave pixels
    of the padded input over, unless it would begin beyond the input and its padding before.
    """
    assert op.stride is not None
    assert not isinstance(op.pad, str)
    before, after = op.pad[2 * axis : 2 * axis + 2]
    start, end = -before, -before
    while start + op.kernel[axis] <= size + after or (op.ceil and end < size + after and start < size):
        end = start + op.kernel[axis]
        yield start, end
        start += op.stride[axis]


class Pool(nn.Module):
    """Max and average pooling from their definitions, for four-sided padding too."""

    def __init__(self, op: MaxPool | AvgPool, _: TensorType) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        columns = list(windows(self.op, width, 1))
        rows = [torch.stack([self.pixel(x, r, c) for c in columns], 2) for r in windows(self.op, height, 0)]
        return torch.stack(rows, 2)

    def pixel(self, x: torch.Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> torch.Tensor:
        height, width = x.shape[2:]
        seen = x[:, :, max(rows[0], 0) : rows[1], max(columns[0], 0) : columns[1]]
        if isinstance(self.op, MaxPool):
            return seen.amax((2, 3))
        if not self.op.count_pad:
            return seen.mean((2, 3))
        assert not isinstance(self.op.pad, str)
        _, bottom, _, right = self.op.pad
        # The padding counts, what `ceil` hangs over it does not.
        counted = (min(rows[1], height + bottom) - rows[0]) * (min(columns[1], width + right) - columns[0])
        return seen.sum((2, 3)) / counted


ORACLES = {"maxpool": Pool, "avgpool": Pool}
VECTORS: set[str] = set()

SAMPLES = [
    Sample("maxpool(2x2)", ((6, 6, 3),), "avgpool(2x2)"),
    Sample("maxpool(3x3, stride=2)", ((7, 8, 3),), "maxpool(3x2, stride=2)"),
    Sample("maxpool(3x3, stride=2, pad=1)", ((8, 8, 2),), "maxpool(3x3, stride=2, ceil=true)"),
    Sample("maxpool(3x3, stride=2, ceil=true)", ((8, 8, 2),), "maxpool(3x3, stride=2, pad=1)"),
    Sample("maxpool(3, stride=1, pad=same)", ((4, 5, 2),), "avgpool(3, stride=1, pad=same)"),
    Sample("maxpool(2x3, stride=3, pad=(1, 0, 0, 1))", ((7, 7, 2),), "maxpool(2x3, stride=3, pad=(0, 1))"),
    # A last window that would begin beyond the input and its padding is dropped.
    Sample("maxpool(2, stride=3, ceil=true)", ((6, 7, 2),), "maxpool(2, stride=3)"),
    Sample("maxpool(1, stride=4, ceil=true)", ((5, 6, 2),), "maxpool(1, stride=3, ceil=true)"),
    Sample("avgpool(2x2)", ((6, 6, 3),), "maxpool(2x2)"),
    Sample("avgpool(3, stride=2, pad=1)", ((6, 7, 2),), "avgpool(3, stride=2, pad=1, count_pad=false)"),
    Sample("avgpool(3, stride=2, pad=1, count_pad=false)", ((6, 7, 2),), "avgpool(3, stride=2, pad=1)"),
    Sample("avgpool(3, stride=2, pad=1, ceil=true)", ((4, 4, 1),), "avgpool(3, stride=2, pad=1)"),
    Sample("avgpool(3, pad=(1, 0, 0, 1), ceil=true)", ((7, 8, 2),), "avgpool(3, pad=(1, 0), ceil=true)"),
    Sample(
        "avgpool(2x4, stride=1, pad=same, count_pad=false)", ((5, 6, 2),), "avgpool(2x4, stride=1, pad=same)"
    ),
]

BAD = [
    Bad("maxpool(3x3)", ((2, 5, 1),), "E0304", "maxpool(3x3)"),
    Bad("maxpool(3x3, stride=2)", ((2, 2, 64),), "E0304", "maxpool(3x3, stride=2)"),
    Bad("avgpool(7)", ((6, 7, 1),), "E0304", "avgpool(7)"),
    Bad("maxpool(3, pad=2)", ((9, 9, 1),), "E0306", "maxpool(3, pad=2)"),
    Bad("avgpool(2x4, pad=(0, 0, 0, 3))", ((9, 9, 1),), "E0306", "avgpool(2x4, pad=(0, 0, 0, 3))"),
    Bad("maxpool(1, pad=1)", ((9, 9, 1),), "E0306", "maxpool(1, pad=1)"),
    Bad("maxpool(0)", ((9, 9, 1),), "E0206", "0"),
    Bad("maxpool(2, stride=0)", ((9, 9, 1),), "E0206", "0"),
    Bad("maxpool(2, ceil=1)", ((9, 9, 1),), "E0205", "1"),
    Bad("maxpool(2, count_pad=true)", ((9, 9, 1),), "E0202", "count_pad"),
    Bad("avgpool(2, pad=-1)", ((9, 9, 1),), "E0206", "-1"),
]


@st.composite
def pools(draw: st.DrawFn, name: str, *, even: bool = False) -> Sample:
    """Pooling layers, fitting or not; `even` leaves out what torch's modules do not have."""
    side = st.integers(0, 2)
    padding = side.map(str) | st.tuples(side, side).map(str)
    if not even:
        padding |= st.tuples(side, side, side, side).map(str) | st.just("same")
    flags = st.sampled_from(("true", "false"))
    further = {"count_pad": flags} if name == "avgpool" else {}
    layer = written(draw, name, (draw(pairs(1, 5)),), stride=pairs(1, 4), pad=padding, ceil=flags, **further)
    return Sample(layer, (draw(maps(channels=2)),))


def refusal(sample: Sample) -> str | None:
    """The code with which a sample is refused."""
    try:
        node_of(sample.layer, sample.inputs)
    except CnnError as error:
        (diagnostic,) = error.diagnostics
        return diagnostic.code
    return None


RANDOM = {name: pools(name).filter(lambda s: refusal(s) is None) for name in ("maxpool", "avgpool")}


def torch_pool(op: MaxPool | AvgPool) -> nn.Module:
    """torch's own module."""
    assert not isinstance(op.pad, str)
    pad = (op.pad[0], op.pad[2])
    if isinstance(op, MaxPool):
        return nn.MaxPool2d(op.kernel, op.stride, pad, ceil_mode=op.ceil)
    return nn.AvgPool2d(op.kernel, op.stride, pad, ceil_mode=op.ceil, count_include_pad=op.count_pad)


@pytest.mark.parametrize("name", ["maxpool", "avgpool"])
@given(data=st.data())
def test_fits_and_computes_as_torch(name: str, data: st.DataObject) -> None:
    """The language refuses exactly what torch refuses; elsewhere the definition above is torch's."""
    sample = data.draw(pools(name, even=True))
    refused = refusal(sample)
    # A stride that is left out depends on nothing but the kernel, so a large input tells every argument; a
    # padding of more than half the window is refused on any input.
    if refused == "E0306":
        return
    op = op_of(node_of(sample.layer, ((99, 99, 1),)))
    assert isinstance(op, (MaxPool, AvgPool))
    (x,) = random_inputs(sample.inputs)
    try:
        expected = torch_pool(op)(x)
    except RuntimeError:
        assert refused == "E0304"
    else:
        assert refused is None
        assert not differ(Pool(op, TensorType(sample.inputs[0]))(x), expected)


@given(pairs(1, 6), st.integers(0, 4), st.integers(0, 4))
def test_padding_limit_is_torch_s(kernel: str, vertical: int, horizontal: int) -> None:
    sample = Sample(f"maxpool({kernel}, pad=({vertical}, {horizontal}))", ((20, 20, 1),))
    bare = op_of(node_of(f"maxpool({kernel})", sample.inputs))
    assert isinstance(bare, MaxPool)
    try:
        nn.MaxPool2d(bare.kernel, padding=(vertical, horizontal))(*random_inputs(sample.inputs))
    except RuntimeError:
        assert refusal(sample) == "E0306"
    else:
        assert refusal(sample) is None


def test_average_of_sixteen() -> None:
    """Worked by hand: 1..16 in a 4x4, 3x3 windows at stride 2 with padding 1 and ceil."""
    x = torch.arange(1.0, 17.0, dtype=torch.float64).reshape(1, 1, 4, 4)
    layer = "avgpool(3, stride=2, pad=1, ceil=true{})"
    counted = op_of(node_of(layer.format(""), ((4, 4, 1),))).reference([x], {})
    valid = op_of(node_of(layer.format(", count_pad=false"), ((4, 4, 1),))).reference([x], {})
    # Windows see rows 1-2, 2-4 and 4, and so columns. Padding counts, what ceil hangs over it does not.
    sums = torch.tensor([[14.0, 30, 12], [57, 99, 36], [27, 45, 16]], dtype=torch.float64)
    cells = torch.tensor([[9.0, 9, 6], [9, 9, 6], [6, 6, 4]], dtype=torch.float64)
    torch.testing.assert_close(counted[0, 0], sums / cells, rtol=1e-15, atol=0)
    assert valid[0, 0].tolist() == [[3.5, 5, 6], [9.5, 11, 12], [13.5, 15, 16]]


@pytest.mark.parametrize("pad", ["1", "(1, 0, 0, 1)"])
def test_max_of_special_values(pad: str) -> None:
    """Padding never wins over negatives, NaN always wins, infinities are values like others."""
    op = op_of(node_of(f"maxpool(2x2, stride=1, pad={pad})", ((3, 3, 1),)))
    negative = torch.full((1, 1, 3, 3), -2.0)
    assert op.reference([negative], {}).unique().tolist() == [-2.0]
    low = torch.full((1, 1, 3, 3), -math.inf)
    assert op.reference([low], {}).unique().tolist() == [-math.inf]
    one = negative.clone()
    one[0, 0, 1, 1] = math.nan
    y = op.reference([one], {})
    assert y.isnan().sum() == 4
    assert y.nan_to_num(-2.0).unique().tolist() == [-2.0]
