"""conv2d_kernel against torch in fp64."""

from dataclasses import replace

import pytest
import torch
from cnndsl.kernels import conv2d
from convolutions import ACTIVATIONS, Layer, arrange, make_data, reference, run, run_spread
from helpers import DTYPES, check_close, check_special, mutated, random_tensor
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnndsl import targets, tiles

BLOCKS = (("BLOCK_NPQ", 128), ("BLOCK_K", 16), ("BLOCK_CRS", 16))
# On a GPU, 256 rows and steps of 64 take half a minute to compile in fp32.
ROWS, STEPS = ([64, 128], [16, 32]) if torch.cuda.is_available() else ([64, 256], [16, 64])
# Everything at once: uneven padding, stride, dilation, groups, overhang of every tile.
FULL = Layer(
    n=2,
    channels=10,
    size=(11, 9),
    filters=34,
    kernel=(3, 2),
    stride=(2, 1),
    pad=(2, 0, 1, 2),
    dilation=(1, 2),
    groups=2,
    residual=True,
    act="relu",
    plain=9,
    layout="slice",
    wide_output=True,
    blocks=BLOCKS,
)
# The same for steps within one tap: the channels of a group are a multiple of BLOCK_CRS.
ONE_TAP = replace(FULL, channels=64, filters=26)
# A squeeze and excitation before it, steps within the one tap and flattened; an average behind it.
SCALED = replace(FULL, channels=40, kernel=(1, 1), stride=(2, 1), pad=(0, 0, 0, 0), dilation=(1, 1), scaled=True)
SCALED_TAP = replace(SCALED, channels=64)
POOLED = replace(FULL, size=(8, 9), stride=(1, 1), pooled=True, pad=(1, 0, 0, 0))
# Padded on the left alone, with a column to spare on the right.
LEFT = replace(ONE_TAP, stride=(2, 2), size=(11, 11), pad=(0, 0, 1, 0))


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    layer = Layer(
        n=draw(st.sampled_from([1, 3])),
        channels=groups * draw(st.sampled_from([1, 3, 8, 16, 20])),
        size=(draw(st.integers(3, 13)), draw(st.integers(3, 13))),
        filters=groups * draw(st.sampled_from([1, 5, 16, 33])),
        kernel=draw(st.tuples(st.integers(1, 3), st.integers(1, 5))),
        stride=draw(pair),
        pad=draw(st.tuples(*[st.integers(0, 3)] * 4)),
        dilation=draw(pair),
        groups=groups,
        bias=draw(st.booleans()),
        residual=draw(st.booleans()),
        act=draw(st.sampled_from(sorted(ACTIVATIONS))),
        plain=draw(st.sampled_from([0, 0, 1])),
        dtype=draw(st.sampled_from(sorted(DTYPES))),
        layout=draw(st.sampled_from(["nchw", "nhwc", "slice", "steps"])),
        wide_output=draw(st.booleans()),
        index64=draw(st.booleans()),
        blocks=(
            ("BLOCK_NPQ", draw(st.sampled_from(ROWS))),
            ("BLOCK_K", draw(st.sampled_from([16, 32]))),
            ("BLOCK_CRS", draw(st.sampled_from(STEPS))),
        ),
    )
    if draw(st.booleans()):
        layer = replace(layer, scaled=True, kernel=(1, 1), pad=(0, 0, 0, 0))
    p, q = layer.output
    if 0 < p * q <= dict(layer.blocks)["BLOCK_NPQ"]:
        layer = replace(layer, pooled=draw(st.booleans()))
    if layer.pooled:
        p, q = 1, 1
    # A handful of outputs may cancel to nearly nothing, and the error is relative to their norm.
    assume(p > 0 and q > 0 and layer.n * layer.filters * p * q >= 64)
    return layer


@given(layer=layers(), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_matches_torch(layer, seed, device):
    data = make_data(layer, seed)
    check_close(run(conv2d.conv2d_kernel, layer, data, device=device), reference(layer, data), layer.dtype)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])  # the tightest and the loosest tolerance
@pytest.mark.parametrize("layer", [FULL, ONE_TAP, POOLED], ids=["flattened", "one_tap", "pooled"])
def test_wrong_arguments_are_noticed(layer, dtype, device):
    layer = replace(layer, dtype=dtype)
    data = make_data(layer)
    expected = reference(layer, data)
    check_close(run(conv2d.conv2d_kernel, layer, data, device=device), expected, dtype)
    wrong = [
        {"STRIDE_H": 3}, {"PAD_TOP": 3}, {"PAD_LEFT": 2}, {"DILATION_W": 1}, {"R": 2, "S": 3}, {"H": 7},
        {"W": 8}, {"HAS_BIAS": False}, {"HAS_RESIDUAL": False}, {"ACT": "none"}, {"Q": layer.output[1] - 1},
        *([{"P": 5}, {"y_sn": 1}] if layer.pooled else [{"n": 1}]),
        {"ACT_K": layer.acts - 1}, {"ACT_K": layer.filters},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(AssertionError):
            check_close(run(conv2d.conv2d_kernel, layer, data, device=device, **change), expected, dtype)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("layer", [SCALED, SCALED_TAP], ids=["flattened", "one_tap"])
def test_wrong_scales_are_noticed(layer, dtype, device):
    layer = replace(layer, dtype=dtype)
    data = make_data(layer)
    expected = reference(layer, data)
    check_close(run(conv2d.conv2d_kernel, layer, data, device=device), expected, dtype)
    for change in ({"HAS_SCALE": False}, {"s_sn": 0}, {"s_sn": layer.channels}):
        with pytest.raises(AssertionError):
            check_close(run(conv2d.conv2d_kernel, layer, data, device=device, **change), expected, dtype)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_scaled_values_are_rounded_as_if_they_were_stored(dtype, tmp_path, device):
    """(1 + e)(1 + e) = 1 + 2e + e², of which e² is no value of the type, is all that weights of 1 and -1 leave."""
    e = torch.finfo(DTYPES[dtype]).eps
    layer = Layer(channels=8, filters=1, kernel=(1, 1), bias=False, scaled=True, dtype=dtype, blocks=BLOCKS)
    data = make_data(layer)
    data.x[:, ::2], data.s[:, ::2], data.w[:, ::2] = 1 + e, 1 + e, 1
    data.x[:, 1::2], data.s[:, 1::2], data.w[:, 1::2] = 1 + 2 * e, 1, -1
    assert not run(conv2d.conv2d_kernel, layer, data, device=device).any()
    scales = "tl.load(s_tile + start, mask=crs_in, other=0.0)"
    old, new = f"multiply(x, {scales}, EMULATE_BF16)", f"widen(x, EMULATE_BF16) * widen({scales}, EMULATE_BF16)"
    mutant = mutated(conv2d, old, new, tmp_path)
    w = data.w.float().permute(0, 2, 3, 1).contiguous().to(device)
    assert run(mutant.conv2d_kernel, layer, data, device=device, w_ptr=w).any()


@pytest.mark.parametrize(
    ("layer", "old", "new"),
    [
        # The order of the packed filters, which a permutation of the weights undoes only for 1x1.
        (FULL, "c = (start + crs) % C", "c = (start + crs) // (R * S)"),
        (replace(FULL, plain=0), "acc = activate(acc, ACT, ACT_ARG)", "acc = acc"),
        (FULL, "k < ACT_K", "k <= ACT_K"),
        (FULL, "pid % BLOCKS_K", "pid * 0"),
        (FULL, "k_in = k < K_GROUP", "k_in = k < K_GROUP - 1"),
        (FULL, "group * C * x_sc", "0 * group"),
        (FULL, "k += group * K_GROUP", "k += group"),
        (ONE_TAP, "(w_tap < W)", "(w_tap <= W)"),
        (ONE_TAP, "step % CHUNKS * BLOCK_CRS * x_sc", "0"),
        (ONE_TAP, "(h_tap >= 0) &", "(h_tap >= -1) &"),
        (LEFT, "or PAD_LEFT > 0", "or False"),
        (SCALED, "s_ptr += group * C", "s_ptr += group"),
        (SCALED, "tl.load(s_tile + start,", "tl.load(s_tile,"),
        (SCALED_TAP, "s_tile + step * BLOCK_CRS", "s_tile"),
        (SCALED_TAP, "(n_valid * s_sn)[:, None]", "(n_valid * 0)[:, None]"),
        (POOLED, "pid // BLOCKS_K * (P * Q) + rows", "rows"),
        (POOLED, "row_in = rows < P * Q", "row_in = rows < P * Q - 1"),
        (POOLED, "tl.where(row_in[:, None], widen(y, EMULATE_BF16), 0.0)", "widen(y, EMULATE_BF16)"),
        (POOLED, "1.0 / (P * Q)", "1.0 / BLOCK_NPQ"),
    ],
)
def test_wrong_kernels_are_noticed(layer, old, new, tmp_path, device):
    data = make_data(layer)
    mutant = mutated(conv2d, old, new, tmp_path)
    expected = reference(layer, data)
    check_close(run(conv2d.conv2d_kernel, layer, data, device=device), expected, layer.dtype)
    with pytest.raises(AssertionError):
        check_close(run(mutant.conv2d_kernel, layer, data, device=device), expected, layer.dtype)


SPECIAL = Layer(
    channels=16,
    size=(7, 8),
    filters=8,
    pad=(1, 1, 1, 1),
    residual=True,
    act="relu",
    layout="slice",
    blocks=BLOCKS,
)


# NumPy mentions NaN and infinity in the interpreter's matrix products.
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("channels", [5, 16])
def test_special_values_stay_where_they_are(channels, dtype, tmp_path, device):
    """NaN and infinities reach the windows that hold them and nothing else: not through padding, not through
    the overhang of a tile, not from the neighbours in memory, which are NaN."""
    layer = replace(SPECIAL, channels=channels, dtype=dtype)
    data = make_data(layer)
    data.x[0, 1, 0, 0] = float("nan")
    data.x[0, 2, 6, 3] = float("inf")
    data.x[0, channels - 1, 3, 0] = -float("inf")
    data.r[0, 3, 2, 5] = float("nan")
    data.r[0, 4, 4, 5] = float("inf")
    expected = reference(layer, data)
    check_special(run(conv2d.conv2d_kernel, layer, data, device=device), expected, dtype)

    leaks = [("(h_tap < H)", "(h_tap <= H)"), ("(w_tap >= 0)", "(w_tap >= -1)")]
    if channels == 5:
        leaks.append(("mask=crs_in & inside", "mask=inside"))
    for old, new in leaks:
        mutant = mutated(conv2d, old, new, tmp_path)
        with pytest.raises(AssertionError):
            check_special(run(mutant.conv2d_kernel, layer, data, device=device), expected, dtype)


def test_negative_zero_survives(device):
    layer = Layer(channels=4, filters=4, kernel=(1, 1), bias=False, residual=True, act="relu", blocks=BLOCKS)
    data = make_data(layer)
    data.x.zero_().neg_()
    data.w.zero_()
    data.r.zero_().neg_()
    y = run(conv2d.conv2d_kernel, layer, data, device=device)
    assert torch.equal(y.cpu(), torch.zeros(y.shape))
    # The sum starts from +0.0, as in torch: 0.0 + -0.0 is 0.0.
    assert not y.signbit().any()


def test_a_float_picture_feeds_a_half_network(device):
    """The first layer reads the caller's fp32 tensor and multiplies in the type of the weights."""
    layer = Layer(channels=3, dtype="fp16", layout="nchw", blocks=BLOCKS)
    data = make_data(layer)
    picture = random_tensor(*data.x.shape, dtype=torch.float32, seed=7)
    y = run(conv2d.conv2d_kernel, layer, data, device=device, x_ptr=picture.to(device))
    rounded = make_data(layer)
    rounded.x.copy_(picture)
    check_close(y, reference(layer, rounded), "fp16")
    with pytest.raises(AssertionError):
        check_close(y, reference(layer, data), "fp16")


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "layer",
    [
        Layer(channels=3, size=(35, 35), filters=20, kernel=(11, 11), stride=(4, 4), layout="nchw"),
        Layer(channels=24, size=(14, 14), filters=40, kernel=(5, 5), pad=(2, 2, 2, 2)),
        Layer(channels=64, size=(14, 14), filters=64, pad=(1, 1, 1, 1)),
        Layer(channels=64, size=(8, 8), filters=48, groups=4, pad=(1, 1, 1, 1)),
        Layer(channels=40, size=(6, 6), filters=8, kernel=(1, 1)),
    ],
    ids=lambda layer: f"{layer.channels}to{layer.filters}",
)
def test_planned_tiles(layer, dtype, batch, device):
    """Tiles chosen for one image, run with one and with two."""
    layer = replace(layer, dtype=dtype, n=batch)
    data = make_data(layer)
    tiling = tiles.conv2d(
        targets.get("interpreter" if device == "cpu" else "sm_90"),
        dtype,
        channels=layer.channels // layer.groups,
        filters=layer.filters,
        kernel=layer.kernel,
        output=layer.output,
        groups=layer.groups,
    )
    check_close(
        run(conv2d.conv2d_kernel, layer, data, device=device, tiling=tiling), reference(layer, data), dtype
    )


@pytest.mark.parametrize("far", ["x_sn", "x_sc", "x_sh", "x_sw", "y_sn", "y_sh", "r_sn", "r_sw"])
def test_offsets_beyond_32_bits(far, device):
    if device != "cpu":
        pytest.skip("takes address space without memory behind it")
    layer = Layer(
        n=3, channels=16, size=(3, 3), filters=4, kernel=(1, 1), residual=True, dtype="fp16", blocks=BLOCKS
    )
    data = make_data(layer)
    expected = reference(layer, data)
    check_close(run_spread(conv2d.conv2d_kernel, layer, data, far, index64=True), expected, "fp16")
    with pytest.raises(AssertionError):
        check_close(run_spread(conv2d.conv2d_kernel, layer, data, far, index64=False), expected, "fp16")


def test_layouts_hold_the_same_values():
    x = random_tensor(2, 3, 4, 5, dtype=torch.float32, seed=0)
    for layout in ("nchw", "nhwc", "slice", "steps"):
        assert torch.equal(arrange(x, layout), x)
    assert arrange(x, "slice").stride(1) == 1
    assert not arrange(x, "steps").is_contiguous()
