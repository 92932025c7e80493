"""Every activation against torch in fp64, special values included."""

from math import inf, nan

import pytest
import torch
import triton
import triton.language as tl
from cnndsl.kernels import activations
from helpers import mutated
from torch.nn import functional

ORACLES = {
    "none": (lambda x: x, 0.0),
    "relu": (functional.relu, 0.0),
    "leaky_relu": (lambda x: functional.leaky_relu(x, 0.1), 0.1),
    "relu6": (functional.relu6, 0.0),
    "elu": (lambda x: functional.elu(x, 0.7), 0.7),
    "gelu": (functional.gelu, 0.0),
    "silu": (functional.silu, 0.0),
    "sigmoid": (torch.sigmoid, 0.0),
    "tanh": (torch.tanh, 0.0),
    "hardswish": (functional.hardswish, 0.0),
    "hardsigmoid": (functional.hardsigmoid, 0.0),
}
# Both signs of zero, infinities, magnitudes that overflow exp, the borders of every piecewise definition.
SPECIAL = [
    *[nan, inf, -inf, 0.0, -0.0, 1e-45, -1e-45, 1e-30, -1e-30, 1e30, -1e30, 3.0, -3.0, 6.0, -6.0],
    *[0.6, -0.6, 0.59, -0.59, -0.5, -0.49, 88.0, -88.0, 89.0, -89.0, 100.0, -100.0, 3.4e38, -3.4e38],
]
POINTS = 4096


# Triton's idiom is constexprs in capitals.
# ruff: noqa: N803
@triton.jit
def apply_kernel(
    x_ptr, y_ptr, ACTIVATE: tl.constexpr, ACT: tl.constexpr, ACT_ARG: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.arange(0, BLOCK)
    tl.store(y_ptr + i, ACTIVATE(tl.load(x_ptr + i), ACT, ACT_ARG))


def inputs() -> torch.Tensor:
    grid = torch.linspace(-12, 12, POINTS - len(SPECIAL), dtype=torch.float32)
    return torch.cat([torch.tensor(SPECIAL, dtype=torch.float32), grid])


def apply(module, act: str, device: str) -> torch.Tensor:
    y = torch.full((POINTS,), 777.0, device=device)
    apply_kernel[(1,)](
        inputs().to(device), y, ACTIVATE=module.activate, ACT=act, ACT_ARG=ORACLES[act][1], BLOCK=POINTS
    )
    return y.cpu()


def check(act: str, y: torch.Tensor) -> None:
    expected = ORACLES[act][0](inputs().double())
    assert torch.equal(y.isnan(), expected.isnan())
    assert torch.equal(y.isposinf(), expected.isposinf())
    assert torch.equal(y.isneginf(), expected.isneginf())
    finite = expected.isfinite()
    y, expected = y[finite].double(), expected[finite]
    # Relative, down to results so small that only their sum with something larger can matter.
    error = (y - expected).abs() / expected.abs().clamp_min(0.3 if act == "gelu" else 1e-30)
    assert error.max() < 1e-6
    zero = expected == 0.0
    assert torch.equal(y[zero].signbit(), expected[zero].signbit())


@pytest.mark.filterwarnings(
    "ignore:invalid value:RuntimeWarning"
)  # NumPy on -inf * 0, which is NaN in torch too
@pytest.mark.parametrize("act", ORACLES)
def test_matches_torch(act, device):
    check(act, apply(activations, act, device))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(
    ("act", "old", "new"),
    [
        ("none", "        return x\n", "        return x * 1.00001\n"),
        ("relu", "tl.where(x < 0.0, 0.0, x)", "tl.where(x > 0.0, x, 0.0)"),  # loses NaN and -0.0
        ("relu", "tl.where(x < 0.0, 0.0, x)", "tl.where(x <= 0.0, 0.0, x)"),  # loses -0.0
        ("leaky_relu", "x * ACT_ARG)", "x * 0.01)"),
        ("relu6", "tl.where(x < 0.0, 0.0, tl.where(x > 6.0, 6.0, x))", "tl.where(x < 0.0, 0.0, x)"),
        ("elu", "ACT_ARG * _expm1", "_expm1"),
        ("elu", "near * (1.0 + near * p)", "tl.exp(near) - 1.0"),  # cancels
        ("gelu", "0.7071067811865476", "0.70711"),
        ("silu", "return x * _sigmoid(x)", "return x * _sigmoid(1.00001 * x)"),
        (
            "sigmoid",
            "tl.where(x < 0.0, e, 1.0) / (1.0 + e)",
            "1.0 - 1.0 / (1.0 + tl.exp(tl.where(x < 88.0, x, 88.0)))",
        ),
        ("tanh", "small = tl.abs(x) < 0.6", "small = tl.abs(x) < 0.0"),  # cancels
        ("tanh", "small = tl.abs(x) < 0.6", "small = tl.abs(x) < 1.0"),
        ("hardswish", "tl.where(x > 6.0, 6.0, x)", "tl.where(x > 5.0, 5.0, x)"),
        ("hardsigmoid", "return _clip_to_six(x + 3.0)", "return _clip_to_six(x + 2.99999)"),
    ],
)
def test_wrong_activations_are_noticed(act, old, new, tmp_path, device):
    mutant = mutated(activations, old, new, tmp_path)
    y = apply(mutant, act, device)
    with pytest.raises(AssertionError):
        check(act, y)
