"""Activations, affine maps, sums and products against torch in fp64."""

import math

import pytest
import simple_layers as layers
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as fn

# The interpreter computes with NumPy, which warns of inf - inf.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NAN, INF = float("nan"), float("inf")
shapes = st.tuples(layers.batches, st.integers(1, 40), st.integers(1, 6), st.integers(1, 6)).filter(
    lambda shape: math.prod(shape) >= 16
)
OPS = {"add": torch.add, "mul": torch.mul}


def per_channel(c, seed):
    scale, shift = layers.random_input((2, c, 1, 1), layout="nchw", seed=seed + 1).flatten(1)
    return scale.contiguous(), shift.contiguous()


def affine_reference(x, affine):
    scale, shift = (p.cpu().double().view(1, -1, 1, 1) for p in affine)
    return x.cpu().double() * scale + shift


@given(shapes, st.booleans(), layers.dtypes, layers.layouts, layers.target_names, layers.seeds)
def test_unary_is_torchs(shape, relu, dtype, layout, target, seed):
    x = layers.random_input(shape, dtype=dtype, layout=layout, seed=seed)
    affine = per_channel(shape[1], seed)
    y = layers.unary(x, affine=affine, act=("relu" if relu else "none", 0.0), target=target)
    reference = affine_reference(x, affine)
    assert layers.close(y, fn.relu(reference) if relu else reference)


@given(shapes, layers.dtypes, layers.layouts, layers.target_names, layers.seeds)
def test_an_activation_alone_passes_special_values_on(shape, dtype, layout, target, seed):
    x = layers.special_input(shape, dtype=dtype, layout=layout, seed=seed)
    assert layers.identical(layers.unary(x, act=("relu", 0.0), target=target), fn.relu(x.cpu()))
    assert layers.identical(layers.unary(x, target=target), x)


@pytest.mark.parametrize(
    "overrides", [{}, {"HAS_AFFINE": False}, {"ACT": "none"}, {"C": 23}, {"H": 4}, {"W": 3}], ids=str
)
def test_unary_notices_a_wrong_kernel(overrides):
    x = layers.random_input((2, 24, 5, 4), dtype=torch.bfloat16, layout="strided")
    affine = per_channel(24, seed=0)
    y = layers.unary(x, affine=affine, act=("relu", 0.0), overrides=overrides)
    assert layers.close(y, fn.relu(affine_reference(x, affine))) == (not overrides)


@given(
    shapes,
    st.sampled_from(("add", "mul")),
    st.sampled_from(("none", "a", "b")),
    layers.dtypes,
    layers.layouts,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_binary_is_torchs(shape, op, broadcast, dtype, layout_a, layout_b, target, seed):
    vector = (*shape[:2], 1, 1)
    a = layers.random_input(vector if broadcast == "a" else shape, dtype=dtype, layout=layout_a, seed=seed)
    b = layers.random_input(
        vector if broadcast == "b" else shape, dtype=dtype, layout=layout_b, seed=seed + 1
    )
    reference = OPS[op](a.cpu().double(), b.cpu().double())
    assert layers.close(layers.binary(a, b, op=op, target=target), reference)


@pytest.mark.parametrize("op", ["add", "mul"])
@pytest.mark.parametrize("dtype", layers.TORCH_DTYPES.values())
def test_binary_passes_special_values_on(op, dtype):
    a = layers.special_input((2, 24, 4, 4), dtype=dtype, seed=1)
    b = layers.special_input((2, 24, 4, 4), dtype=dtype, seed=2)
    assert layers.identical(layers.binary(a, b, op=op), OPS[op](a.cpu(), b.cpu()))


@pytest.mark.parametrize(
    "overrides",
    [{}, {"OP": "mul"}, {"BROADCAST": "none"}, {"BROADCAST": "a"}, {"ACT": "none"}, {"C": 23}, {"W": 3}],
    ids=str,
)
def test_binary_notices_a_wrong_kernel(overrides):
    a = layers.random_input((2, 24, 5, 4), dtype=torch.bfloat16, layout="strided")
    b = layers.random_input((2, 24, 1, 1), dtype=torch.bfloat16, layout="strided", seed=1)
    y = layers.binary(a, b, op="add", act=("relu", 0.0), overrides=overrides)
    assert layers.close(y, fn.relu(a.cpu().double() + b.cpu().double())) == (not overrides)


@pytest.mark.parametrize("index64", [True, False])
@pytest.mark.parametrize("of", ["images", "channels"])
def test_offsets_beyond_2_31(index64, of):
    x = layers.huge(8, 3, 3, of=of)
    values = layers.random_input(x.shape, dtype=torch.float16)
    x.copy_(values)
    y = layers.huge(8, 3, 3) if of == "images" else torch.full_like(values, NAN)
    assert layers.identical(layers.unary(x, y=y, index64=index64), values) == index64
    y.fill_(NAN) if of == "channels" else [image.fill_(NAN) for image in y]
    doubled = (values.double() * 2).half()
    assert layers.identical(layers.binary(x, x, op="add", y=y, index64=index64), doubled) == index64
