"""pool_linear_kernel against torch in fp64, and against the two kernels that it stands for."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from cnndsl.kernels import linear, pool_linear
from convolutions import arrange, spread
from helpers import DTYPES, check_close, check_special, inside_nan, launch_grid, mutated, random_tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from cnndsl import targets, tiles_pooled
from cnndsl.tiles import DTYPES as NAMES
from cnndsl.tiles import Tiling, cdiv, power_of_two_from


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Global average pooling and a dense layer with bias, residual and relu, its data and its tiles."""

    n: int = 3
    channels: int = 70
    size: tuple[int, int] = (5, 3)
    units: int = 37
    bias: bool = True
    residual: bool = True
    act: str = "relu"
    dtype: str = "fp32"
    layout: str = "slice"
    index64: bool = False
    steps: int = 2
    blocks: tuple[int, int] = (4, 8)  # pixels, units


@dataclass(frozen=True, kw_only=True)
class Data:
    x: torch.Tensor  # [n, C, H, W]
    w: torch.Tensor  # [K, C]
    b: torch.Tensor | None  # [K] fp32
    r: torch.Tensor | None  # [n, K]


def make_data(layer: Layer, seed: int = 0) -> Data:
    dtype = DTYPES[layer.dtype]
    w = random_tensor(layer.units, layer.channels, dtype=torch.float32, seed=seed) / layer.channels**0.5
    return Data(
        x=(1 + random_tensor(layer.n, layer.channels, *layer.size, dtype=torch.float32, seed=seed + 1)).to(dtype),
        w=w.to(dtype),
        b=random_tensor(layer.units, dtype=torch.float32, seed=seed + 2) if layer.bias else None,
        r=random_tensor(layer.n, layer.units, dtype=dtype, seed=seed + 3) if layer.residual else None,
    )


def reference(layer: Layer, data: Data) -> torch.Tensor:
    # The means are values of the network: rounded as such.
    means = data.x.double().mean((2, 3)).to(data.x.dtype).double()
    y = functional.linear(means, data.w.double(), data.b.double() if data.b is not None else None)
    if data.r is not None:
        y = y + data.r.double()
    return functional.relu(y) if layer.act == "relu" else y


def run(
    layer: Layer, data: Data, *, device: str, kernel: Any = None, tiling: Tiling | None = None, **changes: Any
) -> torch.Tensor:
    """Launch the kernel; what surrounds x, r and y in memory is NaN."""
    kernel = kernel or pool_linear.pool_linear_kernel
    x = arrange(data.x, layer.layout).to(device)
    r = inside_nan(data.r).to(device) if data.r is not None else None
    y = inside_nan(torch.full((layer.n, layer.units), float("nan"), dtype=data.x.dtype)).to(device)
    s_n, s_c, s_h, s_w = x.stride()
    arguments = {
        "x_ptr": x, "w_ptr": data.w.to(device), "b_ptr": data.b.to(device) if data.b is not None else None,
        "r_ptr": r, "y_ptr": y, "n": layer.n, "x_sn": s_n, "x_sh": s_h, "x_sw": s_w, "x_sc": s_c,
        "y_sn": y.stride(0), "r_sn": r.stride(0) if r is not None else 0,
        "C": layer.channels, "H": layer.size[0], "W": layer.size[1], "K": layer.units,
        "HAS_BIAS": layer.bias, "HAS_RESIDUAL": layer.residual, "ACT": layer.act, "ACT_ARG": 0.0,
        "INDEX64": layer.index64, "EMULATE_BF16": layer.dtype == "bf16" and device == "cpu",
    }  # fmt: skip
    if tiling is not None:
        arguments |= dict(tiling.constants)
        grid = launch_grid(tiling, layer.n)
    else:
        rows, units = layer.blocks
        arguments |= {"STEPS": layer.steps, "UNROLL": 2, "BLOCK_HW": rows, "BLOCK_K": units}
        arguments["BLOCK_C"] = power_of_two_from(layer.channels)
        grid = (layer.n, cdiv(layer.units, units * layer.steps))
    kernel[grid](**arguments | changes)
    return y


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    return Layer(
        n=draw(st.sampled_from([1, 2, 3])),
        channels=draw(st.sampled_from([1, 7, 64, 100])),
        size=(draw(st.integers(1, 8)), draw(st.integers(1, 8))),
        units=draw(st.sampled_from([64, 65, 130])),
        bias=draw(st.booleans()),
        residual=draw(st.booleans()),
        act=draw(st.sampled_from(["none", "relu"])),
        dtype=draw(st.sampled_from(sorted(DTYPES))),
        layout=draw(st.sampled_from(["nchw", "nhwc", "slice", "steps"])),
        index64=draw(st.booleans()),
        steps=draw(st.integers(1, 3)),
        blocks=(draw(st.sampled_from([1, 4, 16])), draw(st.sampled_from([8, 64]))),
    )


@given(layer=layers(), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_matches_torch(layer, seed, device):
    data = make_data(layer, seed)
    check_close(run(layer, data, device=device), reference(layer, data), layer.dtype)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])  # the tightest and the loosest tolerance
def test_wrong_arguments_are_noticed(dtype, device):
    layer = Layer(dtype=dtype)
    data = make_data(layer)
    expected = reference(layer, data)
    check_close(run(layer, data, device=device), expected, dtype)
    wrong = [
        {"C": 69}, {"K": 36}, {"H": 4}, {"W": 4}, {"x_sn": 70}, {"x_sh": 70}, {"x_sw": 3}, {"y_sn": 37}, {"r_sn": 37},
        {"HAS_BIAS": False}, {"HAS_RESIDUAL": False}, {"ACT": "none"}, {"STEPS": 1},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(AssertionError):
            check_close(run(layer, data, device=device, **change), expected, dtype)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(1.0 / (H * W))", "(1.0 / (H * W + 1))"),
        ("pixel % W * x_sw", "0"),
        ("start + hw", "hw"),
        ("* STEPS + step", "* STEPS"),
        ("tl.where(k_in, k, 0) * C", "0 * k"),
        ("activate(y, ACT, ACT_ARG)", "y"),
    ],
)
def test_wrong_kernels_are_noticed(old, new, tmp_path, device):
    layer = Layer()
    data = make_data(layer)
    mutant = mutated(pool_linear, old, new, tmp_path).pool_linear_kernel
    with pytest.raises(AssertionError):
        check_close(run(layer, data, device=device, kernel=mutant), reference(layer, data), layer.dtype)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_means_are_rounded_as_if_they_were_stored(dtype, tmp_path, device):
    """Means of 1 and the number behind it, and weights under which nothing but their rounding is left."""
    small = 2.0**-10 if dtype == "fp16" else 2.0**-7
    x = torch.ones(1, 16, 2, 2)
    x[:, :, 0, 0] += small  # a quarter of a step above 1: rounded away
    w = torch.ones(1, 16)
    w[:, 1::2] = -1
    x[:, 1::2] = 1
    layer = Layer(n=1, channels=16, size=(2, 2), units=1, bias=False, residual=False, act="none", dtype=dtype)
    data = Data(x=x.to(DTYPES[dtype]), w=w.to(DTYPES[dtype]), b=None, r=None)
    assert not run(layer, data, device=device).any()
    unrounded = mutated(
        pool_linear, "means = widen(means, EMULATE_BF16)", "means = tl.sum(tile, axis=0) * (1.0 / (H * W))", tmp_path
    ).pool_linear_kernel
    assert run(layer, data, device=device, kernel=unrounded).any()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy on infinity * 0
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_special_values_stay_in_their_row(dtype, tmp_path, device):
    """Not through the channels and pixels beyond the end, where NaN lies."""
    layer = Layer(dtype=dtype)
    data = make_data(layer)
    data.x[1, 5, 2, 1] = float("nan")
    data.x[2, 6, 2, 1] = float("inf")
    data.w[4, 2] = -float("inf")
    data.r[0, 3] = -float("inf")
    expected = reference(layer, data)
    assert expected.isnan().any()
    assert expected.isinf().any()
    check_special(run(layer, data, device=device), expected, dtype)
    mask = "mask=(pixel < H * W)[:, None] & (c < C)[None, :], other=0.0"
    mutant = mutated(pool_linear, mask, "mask=(pixel < H * W)[:, None], other=0.0", tmp_path).pool_linear_kernel
    with pytest.raises(AssertionError):
        check_special(run(layer, data, device=device, kernel=mutant), expected, dtype)


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("planned_for", [1, 32])
def test_planned_tiles_and_the_two_kernels_apart(dtype, planned_for, device):
    """The same to the last bit but one as pooling, and then the dense layer."""
    layer = Layer(n=2, channels=200, size=(7, 7), units=90, dtype=dtype, residual=False)
    data = make_data(layer)
    target = targets.get("interpreter" if device == "cpu" else "sm_90")
    assert dtype in NAMES
    tiling = tiles_pooled.pool_linear(target, dtype, channels=200, image=(7, 7), units=90, batch=planned_for)
    y = run(layer, data, device=device, tiling=tiling)
    check_close(y, reference(layer, data), dtype)
    means = data.x.float().mean((2, 3)).to(data.x.dtype).to(device)
    apart = torch.full_like(y, float("nan"))
    linear.linear_small_kernel[(2 * cdiv(90, 16),)](
        means, data.w.to(device), data.b.to(device), None, apart, 2, 200, apart.stride(0), 0, 200, 90,
        HAS_BIAS=True, HAS_RESIDUAL=False, ACT="relu", ACT_ARG=0.0, INDEX64=False, EMULATE_BF16=False,
        BLOCK_N=1, BLOCK_K=16, BLOCK_F=256,
    )  # fmt: skip
    step = torch.finfo(y.dtype).eps
    torch.testing.assert_close(y, apart, rtol=2 * step, atol=8 * step)


@pytest.mark.parametrize("far", ["x_sn", "x_sc", "x_sh", "x_sw"])
def test_offsets_beyond_32_bits(far, device):
    if device != "cpu":
        pytest.skip("takes address space without memory behind it")
    layer = Layer(dtype="fp16")
    data = make_data(layer)
    x = spread(data.x, far[2:])
    strides = dict(zip(("x_sn", "x_sc", "x_sh", "x_sw"), x.stride(), strict=True))
    expected = reference(layer, data)
    check_close(run(layer, data, device=device, x_ptr=x, INDEX64=True, **strides), expected, "fp16")
    with pytest.raises(AssertionError):
        check_close(run(layer, data, device=device, x_ptr=x, INDEX64=False, **strides), expected, "fp16")


def test_what_is_expected_of_one_kernel_and_of_two():
    """Small pictures win by the launch that is saved; large ones lose what many programs would have shared."""

    def wins(channels, side, units, *, dtype="fp16", batch=1):
        shape = {"channels": channels, "image": (side, side), "units": units, "batch": batch}
        return tiles_pooled.fused_ns(dtype, **shape) < tiles_pooled.apart_ns(dtype, **shape)

    assert wins(512, 7, 1000)  # ResNet-18
    assert wins(1024, 7, 1000)  # GoogLeNet
    assert wins(1152, 7, 48)  # EfficientNet-B0's last squeeze
    assert not wins(2048, 7, 1000)  # ResNet-50: 200 KB for each of 63 programs
    assert not wins(1024, 7, 1000, dtype="fp32")
    assert not wins(96, 56, 4)  # one program would read 600 KB
    assert wins(96, 56, 4, batch=128)  # as many programs as multiprocessors
    assert not wins(512, 7, 1000, batch=16)  # every picture's programs read all weights
    times = [tiles_pooled.fused_ns("fp16", channels=512, image=(s, s), units=64, batch=1) for s in range(1, 60)]
    assert times == sorted(times)
