"""Softmax against torch in fp64."""

import pytest
import simple_layers as layers
import torch
from cnndsl.kernels import softmax as kernels
from helpers import mutated
from hypothesis import given
from hypothesis import strategies as st

# The interpreter computes with NumPy, which warns of inf - inf and of rows without a number.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NAN, INF = float("nan"), float("inf")
LOOP = {"BLOCK_C": 16}  # rows longer than the block


@given(
    st.tuples(layers.batches, st.integers(1, 70), st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from((1.0, 30.0)),
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    st.sampled_from((None, LOOP)),
    layers.seeds,
)
def test_is_torchs(shape, scale, dtype, layout, target, overrides, seed):
    x = layers.random_input(shape, dtype=dtype, layout=layout, seed=seed).mul_(scale)
    y = layers.softmax(x, target=target, overrides=overrides)
    assert layers.close(y, x.cpu().double().softmax(1))


@pytest.mark.parametrize("offset", [-1e30, -1e4, 1e4, 1e30])
@pytest.mark.parametrize("overrides", [None, LOOP], ids=["block", "loop"])
def test_is_stable(offset, overrides):
    x = layers.random_input((4, 40, 1, 1)).add_(offset)
    assert layers.close(layers.softmax(x, overrides=overrides), x.cpu().double().softmax(1))


def test_a_softmax_that_forgets_the_maximum_is_noticed(tmp_path, monkeypatch):
    wrong = mutated(kernels, "x - tl.max(x, axis=1)[:, None]", "x", tmp_path)
    monkeypatch.setattr(layers, "softmax_kernel", wrong.softmax_kernel)
    for offset, noticed in ((0.0, False), (1e4, True)):
        x = layers.random_input((4, 40, 1, 1)).add_(offset)
        assert layers.close(layers.softmax(x), x.cpu().double().softmax(1)) != noticed


@pytest.mark.parametrize("special", [[NAN], [INF], [INF, INF], [-INF], [INF, -INF], [NAN, -INF]], ids=str)
@pytest.mark.parametrize("overrides", [None, LOOP], ids=["block", "loop"])
def test_special_values_are_torchs(special, overrides):
    x = layers.random_input((1, 40, 4, 4))
    for i, value in enumerate(special):
        x[:, 17 * i, 1:3, 1:3] = value
    x[:, :, 0, 0] = -INF
    x[:, :, 0, 1] = NAN
    x[:, :16, 0, 2] = -INF  # a whole block of the loop
    y = layers.softmax(x, overrides=overrides)
    reference = x.cpu().softmax(1)
    assert y[:, :, 0, :2].isnan().all()
    assert torch.equal(y == 0, reference == 0)
    assert torch.allclose(y, reference, rtol=1e-5, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "overrides", [{}, LOOP, {"C": 39}, {"C": 39} | LOOP, {"H": 1, "W": 1}, {"W": 2}], ids=str
)
def test_notices_a_wrong_kernel(overrides):
    x = layers.random_input((2, 40, 3, 3), dtype=torch.bfloat16, layout="strided")
    y = layers.softmax(x, overrides=overrides)
    assert layers.close(y, x.cpu().double().softmax(1)) == (overrides in ({}, LOOP))


def test_a_row_of_one_channel_is_1():
    x = layers.random_input((3, 1, 2, 2))
    assert (layers.softmax(x) == 1).all()


@pytest.mark.parametrize("index64", [True, False])
@pytest.mark.parametrize("overrides", [{}, LOOP], ids=["block", "loop"])
@pytest.mark.parametrize("of", ["images", "channels"])
def test_offsets_beyond_2_31(index64, overrides, of):
    x = layers.huge(40, 2, 2, of=of)
    values = layers.random_input(x.shape, dtype=torch.float16)
    x.copy_(values)
    y = layers.huge(40, 2, 2) if of == "images" else torch.full_like(values, NAN)
    overrides = overrides if of == "images" else dict.fromkeys(overrides, 2)
    result = layers.softmax(x, y=y, index64=index64, overrides=overrides)
    assert layers.close(result, x.cpu().double().softmax(1)) == index64
