"""LRN and max pooling in one kernel, in both orders, against torch in fp64."""

import pytest
import simple_layers as layers
import torch
from cnndsl.kernels import lrn as lrn_module
from cnndsl.kernels import lrn_pool as kernels
from cnndsl.kernels import pool2d as pool_module
from helpers import mutated
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as fn

# The interpreter computes with NumPy, which warns of inf - inf.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NAN, INF = float("nan"), float("inf")
ORDERS = ("lrn", "pool")
NORM = {"size": 5, "alpha": 2.0, "beta": 0.75, "k": 1.0}

orders = st.sampled_from(ORDERS)


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


def reference_of(x, window, norm, *, first):
    """The two layers one after the other in x's precision."""
    if first == "lrn":
        return fn.max_pool2d(fn.local_response_norm(x, *norm.values()), **window)
    return fn.local_response_norm(fn.max_pool2d(x, **window), *norm.values())


def run(x, window, norm, *, first, **options):
    """Run the kernel with torch's arguments; the reference only says how many windows there are."""
    output = tuple(fn.max_pool2d(x[:1, :1].cpu().float(), **window).shape[2:])
    return layers.lrn_pool(
        x,
        first=first,
        kernel=window["kernel_size"],
        stride=window["stride"],
        pads=window["padding"],
        output=output,
        **norm,
        **options,
    )


@given(
    windows(),
    orders,
    st.tuples(st.integers(1, 17), st.integers(1, 21)),
    st.sampled_from((0.75, 0.5, 1.0, 0.6)),
    st.sampled_from((1.0, 2.0, 0.5)),
    layers.batches,
    layers.dtypes,
    layers.layouts,
    layers.target_names,
    layers.seeds,
)
def test_is_torchs(drawn, first, channels, beta, k, batch, dtype, layout, target, seed):
    window, image = drawn
    size, c = channels
    norm = {"size": size, "alpha": 2.0, "beta": beta, "k": k}
    x = layers.random_input((batch, c, *image), dtype=dtype, layout=layout, seed=seed)
    reference = reference_of(x.cpu().double(), window, norm, first=first)
    assert layers.close(run(x, window, norm, first=first, target=target), reference)


@given(windows(), orders, layers.dtypes, layers.layouts, layers.target_names, layers.seeds)
def test_special_values_are_torchs(drawn, first, dtype, layout, target, seed):
    window, image = drawn
    values = (NAN, INF, -INF, -0.0, 1.5, -2.0, 3.0)
    x = layers.special_input((2, 19, *image), dtype=dtype, layout=layout, seed=seed, values=values)
    norm = {**NORM, "size": 3}
    y = run(x, window, norm, first=first, target=target)
    reference = reference_of(x.cpu().double(), window, norm, first=first)
    assert torch.equal(y.isnan(), reference.isnan())
    number = ~reference.isnan()
    # An infinite neighbour makes zeros of both signs: which of them a window gives is left open, as in pool2d.
    assert torch.allclose(y[number].double(), reference[number], rtol=layers.TOLERANCE[dtype], atol=0)


@pytest.mark.parametrize("first", ORDERS)
def test_negative_zeros_stay(first):
    x = torch.full((1, 9, 4, 4), -0.0, device=layers.DEVICE)
    window = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False}
    assert run(x, window, NORM, first=first).signbit().all()


@pytest.mark.parametrize("first", ORDERS)
def test_nothing_but_negatives_and_infinities_under_padding(first):
    x = torch.full((1, 16, 3, 3), -5.0, device=layers.DEVICE)
    x[:, 8:] = -INF
    window = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil_mode": False}
    norm = {**NORM, "size": 1}
    y = run(x, window, norm, first=first)
    assert layers.close(y[:, :8], torch.full((1, 8, 2, 2), -5.0).double() / 51.0**0.75)
    assert y[:, 8:].isnan().all()  # -inf / inf, as in torch


@pytest.mark.parametrize("size", [2, 8, 9, 16, 17])
@pytest.mark.parametrize("first", ORDERS)
def test_windows_over_channels_up_to_the_widest(first, size):
    """Groups of 4 channels (up to 9) and of 8, with even windows, whose extra channel is below."""
    x = layers.random_input((1, 48, 5, 5), dtype=torch.bfloat16)
    window = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False}
    norm = {**NORM, "size": size}
    reference = reference_of(x.cpu().double(), window, norm, first=first)
    assert layers.close(run(x, window, norm, first=first), reference)
    mirrored = run(x.flip(1), window, norm, first=first).flip(1)
    assert layers.close(mirrored, reference) == (size % 2 == 1)


@pytest.mark.parametrize("kernel", [(9, 9), (1, 13), (13, 1)])
@pytest.mark.parametrize("first", ORDERS)
def test_windows_too_large_to_unroll(first, kernel):
    x = layers.random_input((1, 8, 13, 13), dtype=torch.float16)
    window = {"kernel_size": kernel, "stride": (2, 2), "padding": (0, 0), "ceil_mode": False}
    reference = reference_of(x.cpu().double(), window, NORM, first=first)
    assert layers.close(run(x, window, NORM, first=first), reference)


@pytest.mark.parametrize("first", ORDERS)
def test_what_lies_between_is_not_rounded(first):
    """The two layers one after the other would round twice: the kernel's error is that of one rounding."""
    x = layers.random_input((2, 96, 9, 9), dtype=torch.bfloat16)
    window = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False}
    exact = reference_of(x.cpu().double(), window, NORM, first=first)
    assert torch.equal(run(x, window, NORM, first=first), exact.bfloat16())


WINDOW = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True}


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"STRIDE_H": 1},
        {"STRIDE_W": 1},
        {"R": 2},
        {"S": 2},
        {"PAD_TOP": 0},
        {"PAD_LEFT": 0},
        {"H": 7},
        {"W": 7},
        {"SIZE": 4},
        {"SIZE": 6},
        {"ALPHA": 2.0 / 5},
        {"BETA": 0.5},
        {"BETA": 0.74},
        {"K": 2.0},
        {"C": 95},
        {"ACT": "none"},
        {"FIRST": "other order"},
    ],
    ids=str,
)
@pytest.mark.parametrize("first", ORDERS)
def test_notices_a_wrong_kernel(first, overrides):
    # The widest tolerance: what fails there fails everywhere. Where the pool is first, the other order gives other
    # numbers only because windows over channels and over pixels mix.
    x = layers.random_input((2, 96, 8, 8), dtype=torch.bfloat16)
    wrong = {name: ORDERS[first == "lrn"] if name == "FIRST" else value for name, value in overrides.items()}
    reference = fn.relu(reference_of(x.cpu().double(), WINDOW, NORM, first=first))
    y = run(x, WINDOW, NORM, first=first, act=("relu", 0.0), overrides=wrong)
    assert layers.close(y, reference) == (not overrides)


MUTATIONS = [
    ("LAST_H < H", "LAST_H < H", "none"),  # nothing changed: right
    # Drops NaN where the LRN is first; the pool's own maximum is `max_of_windows`.
    ("tl.maximum(tile, z, propagate_nan=tl.PropagateNan.ALL)", "tl.where(z > tile, z, tile)", "lrn"),
    ("x_channels - VECTOR * x_sc, lower_in", "x_channels - x_sc, lower_in", "pool"),
    ("x_channels + VECTOR * x_sc, upper_in", "x_channels + VECTOR * x_sc, lower_in", "pool"),
    ("(c < C)[None, :, :], image", "(c >= 0)[None, :, :], image", "pool"),
    ("pixel = tl.minimum(npq, pixels - 1)", "pixel = tl.minimum(npq, pixels - 2)", "both"),
    ("clamp(h + r, H, INSIDE)", "clamp(h + r, H, True)", "lrn"),
]


@pytest.mark.parametrize(("right", "wrong", "order"), MUTATIONS)
def test_mutated_kernels_are_noticed(right, wrong, order, tmp_path, monkeypatch):
    # A wide buffer full of NaN around the input: what is read beside it is seen. The channels end within a group.
    mutant = mutated(kernels, right, wrong, tmp_path)
    x = layers.random_input((2, 21, 9, 9), layout="strided")
    x[0, 3, 2, 2] = NAN
    monkeypatch.setattr(layers, "lrn_pool_kernel", mutant.lrn_pool_kernel)
    for first in ORDERS:
        assert right_on(x, first=first) == (order not in {first, "both"})


def right_on(x, *, first):
    reference = reference_of(x.cpu().double(), WINDOW, NORM, first=first)
    y = run(x, WINDOW, NORM, first=first)
    number = ~reference.isnan()
    return torch.equal(~y.isnan(), number) and layers.close(y.where(number, 0), reference.where(number, 0))


def test_the_shared_parts_are_tested_where_they_live():
    """`lrn` and `pool2d` keep their own mutations; this kernel must go on using their parts."""
    assert kernels.normalised is lrn_module.normalised
    assert kernels.load_normalised is lrn_module.load_normalised
    assert kernels.max_of_windows is pool_module.max_of_windows


# Wrong offsets of images stay in the buffer, as `huge` says; those of a window's channels would leave it.
@pytest.mark.parametrize(("of", "index64"), [("images", True), ("images", False), ("channels", True)])
@pytest.mark.parametrize("first", ORDERS)
def test_offsets_beyond_2_31(first, of, index64):
    x = layers.huge(8, 5, 5, of=of)
    x.copy_(layers.random_input(x.shape, dtype=torch.float16))
    window = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False}
    if of == "images":
        y = layers.huge(8, 2, 2)
    else:
        y = torch.full((1, 3, 2, 2), NAN, dtype=x.dtype, device=x.device).contiguous(memory_format=torch.channels_last)
    result = run(x, window, NORM, first=first, y=y, index64=index64)
    assert layers.close(result, reference_of(x.cpu().double(), window, NORM, first=first)) == index64
