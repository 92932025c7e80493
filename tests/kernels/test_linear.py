"""linear_kernel and linear_small_kernel against torch in fp64."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from cnndsl.kernels import linear
from convolutions import spread
from helpers import DTYPES, check_close, check_special, inside_nan, launch_grid, mutated, random_tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from cnndsl import targets, tiles
from cnndsl.tiles import Tiling, cdiv

KERNELS = ["linear_kernel", "linear_small_kernel"]


@dataclass(frozen=True, kw_only=True)
class Dense:
    """A dense layer with bias, residual and relu, its data and its tiles."""

    n: int = 3
    features: int = 70
    units: int = 37
    bias: bool = True
    residual: bool = True
    act: str = "relu"
    dtype: str = "fp32"
    index64: bool = False
    blocks: tuple[int, int, int] = (2, 16, 32)


@dataclass(frozen=True, kw_only=True)
class Data:
    x: torch.Tensor  # [n, F]
    w: torch.Tensor  # [K, F]
    b: torch.Tensor | None  # [K] fp32
    r: torch.Tensor | None  # [n, K]


def make_data(layer: Dense, seed: int = 0) -> Data:
    dtype = DTYPES[layer.dtype]
    w = random_tensor(layer.units, layer.features, dtype=torch.float32, seed=seed) / layer.features**0.5
    return Data(
        x=random_tensor(layer.n, layer.features, dtype=dtype, seed=seed + 1),
        w=w.to(dtype),
        b=random_tensor(layer.units, dtype=torch.float32, seed=seed + 2) if layer.bias else None,
        r=random_tensor(layer.n, layer.units, dtype=dtype, seed=seed + 3) if layer.residual else None,
    )


def reference(layer: Dense, data: Data) -> torch.Tensor:
    y = functional.linear(data.x.double(), data.w.double(), data.b.double() if data.b is not None else None)
    if data.r is not None:
        y = y + data.r.double()
    return functional.relu(y) if layer.act == "relu" else y


def run(
    kernel: Any, layer: Dense, data: Data, *, device: str, tiling: Tiling | None = None, **changes: Any
) -> torch.Tensor:
    """Launch one of the two kernels; every row of x, r and y is a slice of a longer one, full of NaN."""
    x = inside_nan(data.x).to(device)
    r = inside_nan(data.r).to(device) if data.r is not None else None
    y = inside_nan(torch.full((layer.n, layer.units), float("nan"), dtype=data.x.dtype)).to(device)
    arguments = {
        "x_ptr": x,
        "w_ptr": data.w.to(device),
        "b_ptr": data.b.to(device) if data.b is not None else None,
        "r_ptr": r,
        "y_ptr": y,
        "n": layer.n,
        "x_sn": x.stride(0),
        "y_sn": y.stride(0),
        "r_sn": r.stride(0) if r is not None else 0,
        "F": layer.features,
        "K": layer.units,
        "HAS_BIAS": layer.bias,
        "HAS_RESIDUAL": layer.residual,
        "ACT": layer.act,
        "ACT_ARG": 0.0,
        "INDEX64": layer.index64,
        "EMULATE_BF16": layer.dtype == "bf16" and device == "cpu",
    }
    if "PRECISION" in kernel.arg_names:
        arguments["PRECISION"] = "tf32" if layer.dtype == "tf32" else "ieee"
    if tiling is not None:
        arguments |= dict(tiling.constants)
        grid = launch_grid(tiling, layer.n)
    else:
        rows, columns, step = layer.blocks
        if device == "cuda" and "PRECISION" in kernel.arg_names:
            rows = max(rows, 16)  # the least that tl.dot takes
        arguments |= {"BLOCK_N": rows, "BLOCK_K": columns, "BLOCK_F": step}
        grid = (cdiv(layer.n, rows) * cdiv(layer.units, columns),)
    kernel[grid](**arguments | changes)
    return y


@st.composite
def layers(draw: st.DrawFn) -> Dense:
    return Dense(
        n=draw(st.sampled_from([1, 2, 3, 9])),
        features=draw(st.sampled_from([1, 7, 64, 100, 256])),
        units=draw(st.sampled_from([64, 65, 130])),
        bias=draw(st.booleans()),
        residual=draw(st.booleans()),
        act=draw(st.sampled_from(["none", "relu"])),
        dtype=draw(st.sampled_from(sorted(DTYPES))),
        index64=draw(st.booleans()),
        blocks=(
            draw(st.sampled_from([1, 2, 8])),
            draw(st.sampled_from([16, 64])),
            draw(st.sampled_from([32, 64])),
        ),
    )


@pytest.mark.parametrize("name", KERNELS)
@given(layer=layers(), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_matches_torch(name, layer, seed, device):
    data = make_data(layer, seed)
    check_close(run(getattr(linear, name), layer, data, device=device), reference(layer, data), layer.dtype)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])  # the tightest and the loosest tolerance
@pytest.mark.parametrize("name", KERNELS)
def test_wrong_arguments_are_noticed(name, dtype, device):
    kernel = getattr(linear, name)
    layer = Dense(dtype=dtype)
    data = make_data(layer)
    expected = reference(layer, data)
    check_close(run(kernel, layer, data, device=device), expected, dtype)
    wrong = [
        {"F": 69}, {"K": 36}, {"n": 2}, {"x_sn": 70}, {"y_sn": 37}, {"r_sn": 37},
        {"HAS_BIAS": False}, {"HAS_RESIDUAL": False}, {"ACT": "none"},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(AssertionError):
            check_close(run(kernel, layer, data, device=device, **change), expected, dtype)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("w_tile + start", "w_tile"),
        ("pid // row_blocks", "pid * 0"),
        ("pid % row_blocks", "pid * 0"),
        ("acc = activate(acc, ACT, ACT_ARG)", "acc = acc"),
    ],
)
def test_wrong_kernels_are_noticed(name, old, new, tmp_path, device):
    layer = replace(Dense(), n=17)  # two blocks of rows in every kernel on every device
    data = make_data(layer)
    expected = reference(layer, data)
    check_close(run(getattr(linear, name), layer, data, device=device), expected, layer.dtype)
    mutant = getattr(mutated(linear, old, new, tmp_path), name)
    with pytest.raises(AssertionError):
        check_close(run(mutant, layer, data, device=device), expected, layer.dtype)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy on infinity * 0
@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("name", KERNELS)
def test_special_values_stay_in_their_row(name, dtype, tmp_path, device):
    """Not through the overhang of the last step, beyond which lies NaN."""
    layer = Dense(dtype=dtype)
    data = make_data(layer)
    data.x[1, 5] = float("nan")
    data.w[4, 2] = float("inf")
    data.r[0, 3] = -float("inf")
    expected = reference(layer, data)
    check_special(run(getattr(linear, name), layer, data, device=device), expected, dtype)
    mutant = getattr(
        mutated(linear, "x_tile + start, mask=f_in, other=0.0", "x_tile + start", tmp_path), name
    )
    with pytest.raises(AssertionError):
        check_special(run(mutant, layer, data, device=device), expected, dtype)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("planned_for", [1, 2, 32])
def test_planned_tiles(batch, dtype, planned_for, device):
    """Tiles chosen for some batch size, run with another."""
    layer = Dense(n=batch, features=600, units=300, dtype=dtype)
    data = make_data(layer)
    target = targets.get("interpreter" if device == "cpu" else "sm_90")
    plans = [(linear.linear_kernel, tiles.linear)]
    if planned_for <= 2:
        plans.append((linear.linear_small_kernel, tiles.linear_small))
    for kernel, plan in plans:
        tiling = plan(target, dtype, features=layer.features, units=layer.units, batch=planned_for)
        check_close(run(kernel, layer, data, device=device, tiling=tiling), reference(layer, data), dtype)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("far", ["x", "y", "r"])
def test_offsets_beyond_32_bits(name, far, device):
    if device != "cpu":
        pytest.skip("takes address space without memory behind it")
    layer = Dense(dtype="fp16")
    data = make_data(layer)
    values = {"x": data.x, "y": torch.zeros(layer.n, layer.units).half(), "r": data.r}[far]
    tensor = spread(values[:, :, None, None], "sn")[:, :, 0, 0]
    changes = {f"{far}_ptr": tensor, f"{far}_sn": tensor.stride(0)}

    def result(*, index64: bool) -> torch.Tensor:
        y = run(getattr(linear, name), layer, data, device=device, INDEX64=index64, **changes)
        return tensor if far == "y" else y

    check_close(result(index64=True), reference(layer, data), "fp16")
    tensor[:] = values
    with pytest.raises(AssertionError):
        check_close(result(index64=False), reference(layer, data), "fp16")
