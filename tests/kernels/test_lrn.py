"""Local response normalisation against torch in fp64."""

import pytest
import simple_layers as layers
import torch
from cnndsl.kernels import lrn as kernels
from helpers import mutated
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as fn

# The interpreter computes with NumPy, which warns of inf - inf.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NAN, INF = float("nan"), float("inf")


def reference_of(x, *, size, alpha, beta, k):
    return fn.local_response_norm(x.cpu().double(), size, alpha, beta, k)


@given(
    st.integers(1, 20),
    st.integers(1, 21),
    st.sampled_from((0.75, 0.5, 1.0, 0.0, 0.6, 2.5)),
    st.sampled_from((1.0, 2.0, 0.5)),
    layers.batches,
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_is_torchs(size, channels, beta, k, batch, dtype, layout, target, seed):
    x = layers.random_input((batch, channels, 2, 3), dtype=dtype, layout=layout, seed=seed)
    arguments = {"size": size, "alpha": 2.0, "beta": beta, "k": k}
    assert layers.close(layers.lrn(x, **arguments, target=target), reference_of(x, **arguments))


@pytest.mark.parametrize("size", [2, 5, 8, 9, 17, 18, 40])
@pytest.mark.parametrize("dtype", layers.TORCH_DTYPES.values())
@pytest.mark.parametrize("target", ["interpreter", "sm_90"])
def test_every_way_to_sum_a_window(size, dtype, target):
    """Groups of 4 and of 8 channels in registers, then loads one by one, each up to its largest window.

    For the interpreter these are 9, 17 and 18; with a GPU's groups of 8, 17 and 18.
    """
    x = layers.random_input((1, 48, 3, 3), dtype=dtype)
    arguments = {"size": size, "alpha": 2.0, "beta": 0.75, "k": 1.0}
    assert layers.close(layers.lrn(x, **arguments, target=target), reference_of(x, **arguments))


@pytest.mark.parametrize("size", [2, 4, 6, 16, 24])
def test_the_extra_channel_of_an_even_window_is_below(size):
    """Mirrored channels put it above."""
    x = layers.random_input((2, 32, 2, 2), dtype=torch.bfloat16)
    arguments = {"size": size, "alpha": 10.0, "beta": 0.75, "k": 1.0}
    reference = reference_of(x, **arguments)
    assert layers.close(layers.lrn(x, **arguments), reference)
    assert not layers.close(layers.lrn(x.flip(1), **arguments).flip(1), reference)


@given(st.sampled_from((0.75, 0.5, 1.0, 0.6)), layers.seeds)
def test_special_values_are_torchs(beta, seed):
    values = (NAN, INF, -INF, -0.0, 0.0, 1.5, -2.0, 3.0)
    x = layers.special_input((2, 40, 3, 3), seed=seed, values=values)
    arguments = {"size": 3, "alpha": 0.3, "beta": beta, "k": 1.0}
    y = layers.lrn(x, **arguments)
    reference = fn.local_response_norm(x.cpu(), 3, 0.3, beta, 1.0)
    assert layers.identical(y.where(reference == 0, 1), reference.where(reference == 0, 1))  # -0.0 stays -0.0
    assert torch.allclose(y, reference, rtol=2e-6, atol=0, equal_nan=True)


def test_a_window_that_reaches_too_far_up_is_noticed(tmp_path, monkeypatch):
    wrong = mutated(kernels, "(SIZE - 1) // 2", "SIZE // 2", tmp_path)
    monkeypatch.setattr(layers, "lrn_kernel", wrong.lrn_kernel)
    x = layers.random_input((2, 32, 2, 2), dtype=torch.bfloat16)
    for size, noticed in ((5, False), (6, True)):
        arguments = {"size": size, "alpha": 10.0, "beta": 0.75, "k": 1.0}
        assert layers.close(layers.lrn(x, **arguments), reference_of(x, **arguments)) != noticed


def test_nothing_but_nan_where_everything_cancels():
    x = torch.zeros(1, 8, 1, 1, device=layers.DEVICE)
    assert layers.lrn(x, size=3, alpha=1.0, beta=0.75, k=0.0).isnan().all()  # 0 / 0, as in torch


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"SIZE": 4},
        {"SIZE": 6},
        {"ALPHA": 5e-1 / 5},
        {"BETA": 0.5},
        {"BETA": 1.0},
        {"BETA": 0.74},
        {"K": 1.0},
        {"C": 95},
        {"ACT": "none"},
    ],
    ids=str,
)
def test_notices_a_wrong_kernel(overrides):
    # The widest tolerance: what fails there fails everywhere. alpha is large, so that the window matters.
    x = layers.random_input((2, 96, 3, 3), dtype=torch.bfloat16)
    arguments = {"size": 5, "alpha": 5e-1, "beta": 0.75, "k": 2.0}
    reference = fn.relu(reference_of(x, **arguments))
    y = layers.lrn(x, **arguments, act=("relu", 0.0), overrides=overrides)
    assert layers.close(y, reference) == (not overrides)


# Wrong offsets of images stay in the buffer, as `huge` says; those of a window's channels would leave it.
@pytest.mark.parametrize(("of", "index64"), [("images", True), ("images", False), ("channels", True)])
@pytest.mark.parametrize("size", [5, 19])
def test_offsets_beyond_2_31(size, of, index64):
    x = layers.huge(8, 3, 3, of=of)
    x.copy_(layers.random_input(x.shape, dtype=torch.float16))
    y = layers.huge(8, 3, 3) if of == "images" else torch.full_like(x, NAN, memory_format=torch.channels_last)
    arguments = {"size": size, "alpha": 2.0, "beta": 0.75, "k": 1.0}
    result = layers.lrn(x, **arguments, y=y, index64=index64)
    assert layers.close(result, reference_of(x, **arguments)) == index64
