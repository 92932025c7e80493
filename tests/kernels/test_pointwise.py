"""Activations, affine maps, sums and products against torch in fp64."""

import math
from functools import reduce

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


def operands(shape, spread, *, dtype, layout="channels_last", seed=0):
    """A map for each letter "m" of `spread`, one pixel for each "p"."""
    sizes = [shape if kind == "m" else (*shape[:2], 1, 1) for kind in spread]
    return [layers.random_input(size, dtype=dtype, layout=layout, seed=seed + i) for i, size in enumerate(sizes)]


def join_reference(xs, op, residual=None):
    y = reduce(OPS[op], (x.cpu().double() for x in xs))
    return y if residual is None else y + residual.cpu().double()


@given(
    shapes,
    st.sampled_from(("add", "mul")),
    st.lists(st.sampled_from("mmp"), min_size=1, max_size=3).flatmap(lambda s: st.permutations(["m", *s])),
    st.booleans(),
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_join_is_torchs(shape, op, spread, has_residual, dtype, layout, target, seed):
    xs = operands(shape, spread, dtype=dtype, layout=layout, seed=seed)
    residual = layers.random_input(shape, dtype=dtype, seed=seed + 9) if has_residual else None
    y = layers.join(*xs, op=op, residual=residual, target=target)
    assert layers.close(y, join_reference(xs, op, residual))


@pytest.mark.parametrize("op", ["add", "mul"])
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("dtype", layers.TORCH_DTYPES.values())
def test_join_passes_special_values_on(op, count, dtype):
    xs = [layers.special_input((2, 24, 4, 4), dtype=dtype, seed=i) for i in range(count)]
    assert layers.identical(layers.join(*xs, op=op), reduce(OPS[op], (x.cpu().float() for x in xs)))


def test_join_goes_from_left_to_right_as_torch_does():
    """2e38 * 3 is infinite, whatever comes behind it; 2e38 * 1e-3 * 3 is not. Nothing is rounded to fp16 in between."""
    big, three, small = (layers.arrange(torch.full((1, 16, 1, 1), v), "nchw") for v in (2e38, 3.0, 1e-3))
    assert layers.join(big, three, small, op="mul").isinf().all()
    assert layers.join(big, small, three, op="mul").isfinite().all()
    assert layers.join(big, big, -big, op="add").isinf().all()
    assert layers.join(big, -big, big, op="add").isfinite().all()
    half = [layers.arrange(torch.full((1, 16, 1, 1), v).half(), "nchw") for v in (6e4, 6e4, -6e4)]
    assert torch.equal(layers.join(*half, op="add"), half[0])


WRONG_JOINS = [
    {}, {"OP": "add"}, {"COUNT": 2}, {"SPREAD_1": False}, {"SPREAD_0": True}, {"SPREAD_2": True}, {"ACT": "none"},
    {"HAS_RESIDUAL": False}, {"C": 23}, {"W": 3},
]  # fmt: skip


@pytest.mark.parametrize("overrides", WRONG_JOINS, ids=str)
def test_join_notices_a_wrong_kernel(overrides):
    xs = operands((2, 24, 5, 4), "mpm", dtype=torch.bfloat16, layout="strided")
    residual = layers.random_input((2, 24, 5, 4), dtype=torch.bfloat16, seed=7)
    y = layers.join(*xs, op="mul", residual=residual, act=("relu", 0.0), overrides=overrides)
    assert layers.close(y, fn.relu(join_reference(xs, "mul", residual))) == (not overrides)


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
    assert layers.identical(layers.join(x, x, op="add", y=y, index64=index64), doubled) == index64
