"""Pooling against torch in fp64. Maxima are exact; averages may differ by one rounding."""

import pytest
import simple_layers as layers
import torch
from cnndsl.kernels import pool2d as kernels
from helpers import mutated
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as fn

# The interpreter computes with NumPy, which warns of inf - inf.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NAN, INF = float("nan"), float("inf")


@st.composite
def windows(draw):
    """Draw torch's arguments of a pooling layer and an image that holds at least one window."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    arguments = {
        "kernel_size": kernel,
        "stride": draw(st.tuples(st.integers(1, 5), st.integers(1, 5))),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    image = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    for size, k, pad in zip(image, kernel, arguments["padding"], strict=True):
        assume(size + 2 * pad >= k)
    return arguments, image


def run(x, reference, arguments, *, mode, **options):
    """Run the kernel with torch's arguments; the reference only says how many windows there are."""
    top, left = arguments["padding"]
    return layers.pool2d(
        x,
        mode=mode,
        kernel=arguments["kernel_size"],
        stride=arguments["stride"],
        pads=(top, top, left, left),
        output=tuple(reference.shape[2:]),
        **options,
    )


@given(
    windows(),
    st.integers(1, 9),
    layers.batches,
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_max_equals_torch(window, channels, batch, dtype, layout, target, seed):
    arguments, image = window
    x = layers.random_input((batch, channels, *image), dtype=dtype, layout=layout, seed=seed)
    reference = fn.max_pool2d(x.cpu().double(), **arguments)
    assert layers.identical(run(x, reference, arguments, mode="max", target=target), reference)


@given(
    windows(),
    st.booleans(),
    st.integers(1, 9),
    layers.batches,
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_avg_is_close_to_torch(window, count_pad, channels, batch, dtype, layout, target, seed):
    arguments, image = window
    x = layers.random_input((batch, channels, *image), dtype=dtype, layout=layout, seed=seed)
    reference = fn.avg_pool2d(x.cpu().double(), **arguments, count_include_pad=count_pad)
    assume(reference.numel() >= 16)
    y = run(x, reference, arguments, mode="avg", count_pad=count_pad, target=target)
    assert layers.close(y, reference)


@given(windows(), st.sampled_from(("max", "avg")), st.booleans(), layers.layouts, layers.seeds)
def test_special_values_are_torchs(window, mode, count_pad, layout, seed):
    arguments, image = window
    # Both zeros in one window have a test of their own.
    values = (NAN, INF, -INF, -0.0, 2.0, -2.0)
    x = layers.special_input((2, 3, *image), layout=layout, seed=seed, values=values)
    if mode == "max":
        reference = fn.max_pool2d(x.cpu().double(), **arguments)
    else:
        reference = fn.avg_pool2d(x.cpu().double(), **arguments, count_include_pad=count_pad)
    y = run(x, reference, arguments, mode=mode, count_pad=count_pad)
    if mode == "max":
        assert layers.identical(y, reference)
    else:
        finite = reference.isfinite()
        assert layers.identical(y.where(~finite, 0), reference.where(~finite, 0))
        assert layers.identical(y.where(finite, 0), reference.float().where(finite, 0)) or layers.close(
            y.where(finite, 0), reference.where(finite, 0)
        )


def test_max_of_negatives_and_infinities_under_padding():
    x = torch.full((1, 8, 3, 3), -5.0, device=layers.DEVICE)
    x[:, 4:] = -INF
    y = layers.pool2d(x, mode="max", kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1), output=(2, 2))
    assert (y[:, :4] == -5.0).all()
    assert (y[:, 4:] == -INF).all()


def test_zeros_of_both_signs_compare_equal():
    x = layers.special_input((2, 8, 6, 6), values=(-0.0, 0.0), seed=1)
    reference = fn.max_pool2d(x.cpu(), 2)
    y = layers.pool2d(x, mode="max", kernel=(2, 2), stride=(2, 2), output=(3, 3))
    assert layers.identical(y, reference, zero_signs=False)
    negative = layers.pool2d(x * -0.0, mode="max", kernel=(2, 2), stride=(2, 2), output=(3, 3))
    assert layers.identical(negative, fn.max_pool2d(x.cpu() * -0.0, 2), zero_signs=False)


def test_the_two_ways_to_count_under_ceil():
    """4x4 of 1 .. 16, k3 s2 p1 ceil: torch gives 14/9, 20/6, 2 .. and 3.5, 5, 6 .."""
    x = torch.arange(1.0, 17.0, device=layers.DEVICE).view(1, 1, 4, 4)
    arguments = {"mode": "avg", "kernel": (3, 3), "stride": (2, 2), "pads": (1, 1, 1, 1), "output": (3, 3)}
    include = layers.pool2d(x, **arguments, count_pad=True)
    exclude = layers.pool2d(x, **arguments, count_pad=False)
    assert include[0, 0, 0].tolist() == pytest.approx([14 / 9, 30 / 9, 12 / 6])
    assert exclude[0, 0, 0].tolist() == pytest.approx([3.5, 5.0, 6.0])


@pytest.mark.parametrize("mode", ["max", "avg"])
@pytest.mark.parametrize("count_pad", [True, False])
def test_four_different_pads(mode, count_pad):
    x = layers.random_input((2, 5, 6, 7), layout="strided")
    top, bottom, left, right = pads = (1, 2, 0, 2)
    torch_pads = (left, right, top, bottom)
    if mode == "max":
        reference = fn.max_pool2d(fn.pad(x.cpu().double(), torch_pads, value=-INF), (3, 3), (2, 1))
    else:
        padded = fn.pad(x.cpu().double(), torch_pads)
        reference = fn.avg_pool2d(padded, (3, 3), (2, 1))
        if not count_pad:
            reference /= fn.avg_pool2d(fn.pad(torch.ones(1, 1, 6, 7).double(), torch_pads), (3, 3), (2, 1))
    arguments = {"mode": mode, "kernel": (3, 3), "stride": (2, 1), "output": tuple(reference.shape[2:])}
    arguments |= {"pads": pads, "count_pad": count_pad}
    assert layers.close(layers.pool2d(x, **arguments), reference)
    assert not layers.close(layers.pool2d(x, **arguments, overrides={"PAD_TOP": 0}), reference)


@pytest.mark.parametrize("kernel", [(9, 9), (1, 13), (13, 1)])
@pytest.mark.parametrize("mode", ["max", "avg"])
def test_windows_too_large_to_unroll(kernel, mode):
    x = layers.random_input((1, 4, 13, 13), dtype=torch.float16)
    pool = fn.max_pool2d if mode == "max" else fn.avg_pool2d
    reference = pool(x.cpu().double(), kernel, 2)
    arguments = {"mode": mode, "kernel": kernel, "stride": (2, 2), "output": tuple(reference.shape[2:])}
    assert layers.close(layers.pool2d(x, **arguments), reference)


def test_activation_follows():
    x = layers.random_input((1, 8, 6, 6))
    reference = fn.leaky_relu(fn.avg_pool2d(x.cpu().double(), 3), 0.1)
    arguments = {"mode": "avg", "kernel": (3, 3), "stride": (3, 3), "output": (2, 2)}
    assert layers.close(layers.pool2d(x, **arguments, act=("leaky_relu", 0.1)), reference)
    assert not layers.close(layers.pool2d(x, **arguments, act=("none", 0.0)), reference)


# In bf16, whose tolerance is the widest: what fails there fails everywhere.
MUTATIONS = [
    {"STRIDE_H": 1},
    {"STRIDE_W": 1},
    {"R": 2},
    {"S": 2},
    {"PAD_TOP": 0},
    {"PAD_LEFT": 0},
    {"H": 7},
    {"W": 7},
    {"MODE": "avg"},
]


@pytest.mark.parametrize("overrides", [{}, *MUTATIONS], ids=str)
def test_max_notices_a_wrong_kernel(overrides):
    arguments = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True}
    x = layers.random_input((2, 8, 8, 8), dtype=torch.bfloat16)
    reference = fn.max_pool2d(x.cpu().double(), **arguments)
    y = run(x, reference, arguments, mode="max", overrides=overrides)
    assert layers.identical(y, reference) == (not overrides)


@pytest.mark.parametrize(
    "overrides",
    [{}, *MUTATIONS[:-1], {"COUNT_PAD": False}, {"PAD_BOTTOM": 2}, {"PAD_RIGHT": 0}, {"MODE": "max"}],
    ids=str,
)
def test_avg_notices_a_wrong_kernel(overrides):
    arguments = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True}
    x = layers.random_input((2, 8, 8, 8), dtype=torch.bfloat16)
    reference = fn.avg_pool2d(x.cpu().double(), **arguments)
    y = run(x, reference, arguments, mode="avg", overrides=overrides)
    assert layers.close(y, reference) == (not overrides)


@given(
    st.sampled_from(("max", "avg")),
    st.tuples(layers.batches, st.integers(1, 40), st.integers(1, 9), st.integers(1, 9)),
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_global_is_torchs(mode, shape, dtype, layout, target, seed):
    x = layers.random_input(shape, dtype=dtype, layout=layout, seed=seed)
    y = layers.global_pool(x, mode=mode, target=target)
    if mode == "max":
        assert layers.identical(y, x.cpu().amax((2, 3), keepdim=True))
    else:
        assume(y.numel() >= 16)
        assert layers.close(y, x.cpu().double().mean((2, 3), keepdim=True))


@given(st.sampled_from(("max", "avg")), layers.layouts, layers.target_names, layers.seeds)
def test_global_passes_special_values_on(mode, layout, target, seed):
    values = (NAN, INF, -INF, -0.0, 0.0, 2.0) if seed % 2 else (INF, -INF, 0.0, 2.0)
    x = layers.special_input((2, 12, 2, 3), layout=layout, seed=seed, values=values)
    y = layers.global_pool(x, mode=mode, target=target)
    if mode == "max":
        assert layers.identical(y, x.cpu().amax((2, 3), keepdim=True), zero_signs=False)
    else:
        reference = x.cpu().mean((2, 3), keepdim=True)
        assert torch.allclose(y, reference, rtol=1e-6, atol=0, equal_nan=True)


def test_a_global_maximum_that_drops_nan_is_noticed(tmp_path, monkeypatch):
    wrong = mutated(kernels, "nans > 0", "nans < 0", tmp_path)
    monkeypatch.setattr(layers, "global_pool_kernel", wrong.global_pool_kernel)
    x = layers.random_input((2, 8, 4, 4))
    for value, noticed in ((INF, False), (NAN, True)):
        x[1, 5, 2, 3] = value
        y = layers.global_pool(x, mode="max")
        assert layers.identical(y, x.cpu().amax((2, 3), keepdim=True)) != noticed


@pytest.mark.parametrize("overrides", [{}, {"H": 10}, {"W": 8}, {"MODE": "max"}, {"ACT": "none"}], ids=str)
def test_global_notices_a_wrong_kernel(overrides):
    x = layers.random_input((2, 8, 11, 9), dtype=torch.float16)
    reference = fn.relu(x.cpu().double().mean((2, 3), keepdim=True))
    y = layers.global_pool(x, mode="avg", act=("relu", 0.0), overrides=overrides)
    assert layers.close(y, reference) == (not overrides)


@given(
    st.tuples(layers.batches, st.integers(1, 9), st.integers(1, 14), st.integers(1, 14)),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_adaptive_is_torchs(shape, output, dtype, layout, target, seed):
    x = layers.random_input(shape, dtype=dtype, layout=layout, seed=seed)
    reference = fn.adaptive_avg_pool2d(x.cpu().double(), output)
    assume(reference.numel() >= 16)
    assert layers.close(layers.adaptive_avg_pool2d(x, output=output, target=target), reference)


@pytest.mark.parametrize("overrides", [{}, {"H": 12}, {"W": 10}, {"ACT": "none"}], ids=str)
def test_adaptive_notices_a_wrong_kernel(overrides):
    x = layers.random_input((2, 8, 13, 11))
    reference = fn.relu(fn.adaptive_avg_pool2d(x.cpu().double(), (6, 7)))
    y = layers.adaptive_avg_pool2d(x, output=(6, 7), act=("relu", 0.0), overrides=overrides)
    assert layers.close(y, reference) == (not overrides)


@pytest.mark.parametrize("index64", [True, False])
def test_offsets_beyond_2_31(index64):
    x, y = layers.huge(8, 6, 6), layers.huge(8, 3, 3)
    x.copy_(layers.random_input((3, 8, 6, 6), dtype=torch.float16))
    reference = fn.max_pool2d(x.cpu(), 2)
    arguments = {"mode": "max", "kernel": (2, 2), "stride": (2, 2), "output": (3, 3)}
    y = layers.pool2d(x, **arguments, y=y, index64=index64)
    assert layers.identical(y, reference) == index64
