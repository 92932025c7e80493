"""depthwise_kernel against torch in fp64."""

from dataclasses import replace

import pytest
from cnndsl.kernels import depthwise
from convolutions import ACTIVATIONS, Layer, make_data, reference, run, run_spread
from helpers import DTYPES, check_close, check_special, mutated
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnndsl import targets, tiles

BLOCKS = (("BLOCK_NPQ", 128), ("BLOCK_K", 16))
# Everything at once: uneven padding, stride, dilation, two filters per channel, overhang of every tile.
FULL = Layer(
    n=3,
    channels=11,
    size=(11, 9),
    filters=22,
    kernel=(3, 2),
    stride=(2, 1),
    pad=(2, 0, 1, 2),
    dilation=(1, 2),
    groups=11,
    residual=True,
    act="relu",
    layout="slice",
    wide_output=True,
    blocks=BLOCKS,
)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    channels = draw(st.sampled_from([1, 3, 16, 24]))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    layer = Layer(
        n=draw(st.sampled_from([1, 3])),
        channels=channels,
        size=(draw(st.integers(3, 13)), draw(st.integers(3, 13))),
        filters=channels * draw(st.integers(1, 3)),
        kernel=draw(st.tuples(st.integers(1, 3), st.integers(1, 5))),
        stride=draw(pair),
        pad=draw(st.tuples(*[st.integers(0, 3)] * 4)),
        dilation=draw(pair),
        groups=channels,
        bias=draw(st.booleans()),
        residual=draw(st.booleans()),
        act=draw(st.sampled_from(sorted(ACTIVATIONS))),
        dtype=draw(st.sampled_from(["fp32", "fp16", "bf16"])),
        layout=draw(st.sampled_from(["nchw", "nhwc", "slice", "steps"])),
        wide_output=draw(st.booleans()),
        index64=draw(st.booleans()),
        blocks=(("BLOCK_NPQ", draw(st.sampled_from([64, 256]))), ("BLOCK_K", draw(st.sampled_from([8, 32])))),
    )
    p, q = layer.output
    # A handful of outputs may cancel to nearly nothing, and the error is relative to their norm.
    assume(p > 0 and q > 0 and layer.n * layer.filters * p * q >= 64)
    return layer


@given(layer=layers(), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_matches_torch(layer, seed, device):
    data = make_data(layer, seed)
    check_close(
        run(depthwise.depthwise_kernel, layer, data, device=device), reference(layer, data), layer.dtype
    )


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])  # the tightest and the loosest tolerance
def test_wrong_arguments_are_noticed(dtype, device):
    layer = replace(FULL, dtype=dtype)
    data = make_data(layer)
    expected = reference(layer, data)
    check_close(run(depthwise.depthwise_kernel, layer, data, device=device), expected, dtype)
    wrong = [
        {"STRIDE_H": 1}, {"PAD_TOP": 1}, {"PAD_LEFT": 0}, {"DILATION_W": 1}, {"R": 2, "S": 3}, {"H": 10},
        {"W": 8}, {"C": 22}, {"HAS_BIAS": False}, {"HAS_RESIDUAL": False}, {"ACT": "none"}, {"n": 2},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(AssertionError):
            check_close(
                run(depthwise.depthwise_kernel, layer, data, device=device, **change), expected, dtype
            )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(r * S + s)", "(s * R + r)"),
        ("pid % BLOCKS_K", "pid * 0"),
        ("k_in = k < K", "k_in = k < K - 1"),
        ("acc = activate(acc, ACT, ACT_ARG)", "acc = acc"),
    ],
)
def test_wrong_kernels_are_noticed(old, new, tmp_path, device):
    data = make_data(FULL)
    mutant = mutated(depthwise, old, new, tmp_path)
    with pytest.raises(AssertionError):
        check_close(
            run(mutant.depthwise_kernel, FULL, data, device=device), reference(FULL, data), FULL.dtype
        )


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy on infinity * 0
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_special_values_stay_where_they_are(dtype, tmp_path, device):
    layer = replace(FULL, pad=(1, 1, 1, 1), dilation=(1, 1), stride=(1, 1), dtype=dtype)
    data = make_data(layer)
    data.x[0, 1, 0, 0] = float("nan")
    data.x[1, 2, 10, 8] = float("inf")
    data.r[2, 3, 2, 5] = float("nan")
    expected = reference(layer, data)
    check_special(run(depthwise.depthwise_kernel, layer, data, device=device), expected, dtype)
    for old, new in [("(h_tap < H)", "(h_tap <= H)"), ("(w_tap >= 0)", "(w_tap >= -1)")]:
        mutant = mutated(depthwise, old, new, tmp_path)
        with pytest.raises(AssertionError):
            check_special(run(mutant.depthwise_kernel, layer, data, device=device), expected, dtype)


@pytest.mark.parametrize("batch", [1, 2])
def test_planned_tiles(batch, device):
    """Tiles chosen for one image, run with one and with two."""
    layer = replace(FULL, n=batch)
    data = make_data(layer)
    target = targets.get("interpreter" if device == "cpu" else "sm_90")
    tiling = tiles.depthwise(target, "fp32", filters=layer.filters, output=layer.output)
    y = run(depthwise.depthwise_kernel, layer, data, device=device, tiling=tiling)
    check_close(y, reference(layer, data), layer.dtype)


@pytest.mark.parametrize("far", ["x_sn", "x_sc", "x_sh", "y_sn", "r_sw"])
def test_offsets_beyond_32_bits(far, device):
    if device != "cpu":
        pytest.skip("takes address space without memory behind it")
    layer = Layer(
        n=3,
        channels=16,
        size=(5, 5),
        filters=16,
        kernel=(1, 1),
        groups=16,
        residual=True,
        dtype="fp16",
        blocks=BLOCKS,
    )
    data = make_data(layer)
    expected = reference(layer, data)
    kernel = depthwise.depthwise_kernel
    check_close(run_spread(kernel, layer, data, far, index64=True), expected, "fp16")
    with pytest.raises(AssertionError):
        check_close(run_spread(kernel, layer, data, far, index64=False), expected, "fp16")
