"""Copies, padding, shuffles and flatten: the same bits as torch."""

import pytest
import simple_layers as layers
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as fn

# The interpreter computes with NumPy, which warns of inf - inf.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NAN, INF = float("nan"), float("inf")
pads = st.tuples(*[st.integers(-2, 3)] * 4)


@given(
    st.tuples(layers.batches, st.integers(1, 40), st.integers(1, 6), st.integers(1, 6)),
    st.one_of(st.just((0, 0, 0, 0)), pads),
    st.sampled_from((0.0, 1.5, INF, -INF, NAN)),
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_copy_pads_and_crops_as_torch_does(shape, sides, value, dtype, layout, target, seed):
    top, bottom, left, right = sides
    assume(shape[2] + top + bottom > 0)
    assume(shape[3] + left + right > 0)
    # torch crops first, so a side that is cropped beyond the image is not for it to judge.
    assume(shape[2] + min(top, 0) + min(bottom, 0) > 0)
    assume(shape[3] + min(left, 0) + min(right, 0) > 0)
    x = layers.special_input(shape, dtype=dtype, layout=layout, seed=seed)
    y = layers.copy(x, pads=sides, value=value, target=target)
    assert layers.identical(y, fn.pad(x.cpu(), (left, right, top, bottom), value=value))


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    layers.batches,
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_copy_shuffles_as_torch_does(groups, per_group, batch, dtype, layout, target, seed):
    x = layers.special_input((batch, groups * per_group, 2, 3), dtype=dtype, layout=layout, seed=seed)
    y = layers.copy(x, groups=groups, target=target)
    assert layers.identical(y, fn.channel_shuffle(x.cpu().contiguous(), groups))


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"PAD_TOP": 0},
        {"PAD_LEFT": 0},
        {"VALUE": 0.0},
        {"H": 4},
        {"W": 3},
        {"C": 23},
        {"GROUPS": 2},
        {"GROUPS": 1},
    ],
    ids=str,
)
def test_copy_notices_a_wrong_kernel(overrides):
    x = layers.random_input((2, 24, 5, 4))
    y = layers.copy(x, pads=(1, 2, 2, 1), value=-0.5, groups=4, overrides=overrides)
    reference = fn.pad(fn.channel_shuffle(x.cpu().contiguous(), 4), (2, 1, 1, 2), value=-0.5)
    assert layers.identical(y, reference) == (not overrides)


@given(
    st.tuples(layers.batches, st.integers(1, 40), st.integers(1, 7), st.integers(1, 7)),
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_flatten_is_torchs(shape, dtype, layout, target, seed):
    x = layers.special_input(shape, dtype=dtype, layout=layout, seed=seed)
    y = layers.flatten(x, target=target)
    assert layers.identical(y.flatten(1), x.cpu().flatten(1))


@pytest.mark.parametrize("overrides", [{}, {"H": 4}, {"W": 4}, {"C": 23}], ids=str)
def test_flatten_notices_a_wrong_kernel(overrides):
    x = layers.random_input((2, 24, 5, 5))
    assert layers.identical(layers.flatten(x, overrides=overrides).flatten(1), x.cpu().flatten(1)) == (
        not overrides
    )


@pytest.mark.parametrize("index64", [True, False])
@pytest.mark.parametrize("of", ["images", "channels"])
def test_offsets_beyond_2_31(index64, of):
    x = layers.huge(8, 3, 3, of=of)
    values = layers.random_input(x.shape, dtype=torch.float16)
    x.copy_(values)
    y = layers.huge(8, 3, 3) if of == "images" else torch.full_like(values, NAN)
    assert layers.identical(layers.copy(x, y=y, index64=index64), values) == index64
    y = (
        layers.huge(72, 1, 1)
        if of == "images"
        else torch.full((1, 27, 1, 1), NAN, dtype=values.dtype, device=values.device)
    )
    assert layers.identical(layers.flatten(x, y=y, index64=index64).flatten(1), values.flatten(1)) == index64
