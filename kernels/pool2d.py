"""Pooling: windows, whole images, and torch's adaptive averages."""

import triton
import triton.language as tl

from .activations import activate
from .convert import narrow, widen
from .pixels import block_indices, count_pixels, load_channels, pixel_offsets, store_channels


@triton.jit(do_not_specialize=["n"])
def pool2d_kernel(
    x_ptr,  # [n, H, W, C]
    y_ptr,  # [n, P, Q, C], channel stride 1
    n,
    x_sn,
    x_sh,
    x_sw,
    x_sc,  # 16-byte loads need 1
    y_sn,
    y_sh,
    y_sw,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    P: tl.constexpr,
    Q: tl.constexpr,
    R: tl.constexpr,
    S: tl.constexpr,
    STRIDE_H: tl.constexpr,
    STRIDE_W: tl.constexpr,
    PAD_TOP: tl.constexpr,
    PAD_BOTTOM: tl.constexpr,
    PAD_LEFT: tl.constexpr,
    PAD_RIGHT: tl.constexpr,
    MODE: tl.constexpr,  # "max" or "avg"
    COUNT_PAD: tl.constexpr,  # avg: padding counts in the divisor; what a rounded-up P or Q adds never does
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,  # offsets in 64 bits: needed as soon as one exceeds 2^31 - 1 elements
    EMULATE_BF16: tl.constexpr,  # see convert.widen
    UNROLL_R: tl.constexpr,  # taps of the window whose loads are in flight together
    UNROLL_S: tl.constexpr,
    BLOCK_NPQ: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y = act(pool(x)) over windows R x S, in fp32, rounded once.

    Grid: (cdiv(n * P * Q, BLOCK_NPQ), cdiv(C, BLOCK_C)).

    P and Q are given, rounded down or up. Every window must hold at least one input pixel, which torch's
    rules ensure. Padding of a maximum is then done without masks: a coordinate outside is moved to the
    nearest one inside, which the window holds too, and seeing a pixel twice does not change a maximum.

    NaN propagates. Of +0.0 and -0.0 in one window a GPU gives +0.0, torch the first of them.
    """
    # The last row and column that any window reaches, counted from the input's first.
    LAST_H: tl.constexpr = (P - 1) * STRIDE_H - PAD_TOP + R - 1
    LAST_W: tl.constexpr = (Q - 1) * STRIDE_W - PAD_LEFT + S - 1
    INSIDE: tl.constexpr = PAD_TOP <= 0 and PAD_LEFT <= 0 and LAST_H < H and LAST_W < W

    npq = block_indices(0, BLOCK_NPQ, INDEX64)
    c = block_indices(1, BLOCK_C, INDEX64)
    # Pixels beyond the end are computed on the last one's window and not stored: no mask in the loop.
    pixels = count_pixels(n, P * Q, INDEX64)
    pixel = tl.minimum(npq, pixels - 1)
    h = pixel // Q % P * STRIDE_H - PAD_TOP
    w = pixel % Q * STRIDE_W - PAD_LEFT
    image = pixel // (P * Q) * x_sn
    x_channels = x_ptr + (c * x_sc)[None, :]

    if MODE == "max":
        tile = tl.full((BLOCK_NPQ, BLOCK_C), float("-inf"), tl.float32)
        tile = max_of_windows(
            tile, x_channels, (c < C)[None, :], image[:, None], h[:, None], w[:, None], x_sh, x_sw,
            H, W, R, S, INSIDE, C % BLOCK_C != 0, EMULATE_BF16, UNROLL_R, UNROLL_S,
        )
    else:
        tl.static_assert(MODE == "avg", "MODE is max or avg")
        tile = tl.zeros((BLOCK_NPQ, BLOCK_C), tl.float32)
        for r in tl.range(R, loop_unroll_factor=UNROLL_R):
            row = image + (h + r) * x_sh
            row_in = (h + r >= 0) & (h + r < H)
            for s in tl.range(S, loop_unroll_factor=UNROLL_S):
                pointers = x_channels + (row + (w + s) * x_sw)[:, None]
                if INSIDE:
                    x = load_channels(pointers, c, C, BLOCK_C)
                else:
                    inside = row_in & (w + s >= 0) & (w + s < W)
                    x = tl.load(pointers, mask=inside[:, None] & (c < C)[None, :], other=0.0)
                tile += widen(x, EMULATE_BF16)
        if INSIDE or (COUNT_PAD and LAST_H < H + PAD_BOTTOM and LAST_W < W + PAD_RIGHT):
            tile *= 1.0 / (R * S)
        elif COUNT_PAD:
            rows = tl.minimum(h + R, H + PAD_BOTTOM) - h
            columns = tl.minimum(w + S, W + PAD_RIGHT) - w
            tile *= (1.0 / (rows * columns).to(tl.float32))[:, None]
        else:
            rows = tl.minimum(h + R, H) - tl.maximum(h, 0)
            columns = tl.minimum(w + S, W) - tl.maximum(w, 0)
            tile *= (1.0 / (rows * columns).to(tl.float32))[:, None]

    tile = narrow(activate(tile, ACT, ACT_ARG), y_ptr.dtype.element_ty, EMULATE_BF16)
    y_pixels = y_ptr + pixel_offsets(npq, y_sn, y_sh, y_sw, P, Q)
    store_channels(y_pixels[:, None] + c[None, :], tile, npq < pixels, c, C, BLOCK_C)


@triton.jit
def max_of_windows(
    tile,  # [pixels, ...], fp32: what the maxima begin with
    x_channels,  # pointers [1, ...] to the channels of the input's first pixel
    channel_in,  # [1, ...]: whether a channel is there
    image,  # [pixels, 1 ...]: offset of the image, then row and column of the window's first tap
    h,
    w,
    x_sh,
    x_sw,
    H: tl.constexpr,
    W: tl.constexpr,
    R: tl.constexpr,
    S: tl.constexpr,
    INSIDE: tl.constexpr,  # whether no window reaches beyond the image
    MASKED: tl.constexpr,  # whether some channels may be missing; they count as 0
    EMULATE_BF16: tl.constexpr,
    UNROLL_R: tl.constexpr,
    UNROLL_S: tl.constexpr,
):
    """Return the largest of `tile` and each window's values. See `pool2d_kernel` for padding and NaN."""
    for r in tl.range(R, loop_unroll_factor=UNROLL_R):
        row = image + clamp(h + r, H, INSIDE) * x_sh
        for s in tl.range(S, loop_unroll_factor=UNROLL_S):
            pointers = x_channels + (row + clamp(w + s, W, INSIDE) * x_sw)
            if MASKED:
                x = tl.load(pointers, mask=channel_in, other=0.0)
            else:
                x = tl.load(pointers)
            tile = tl.maximum(tile, widen(x, EMULATE_BF16), propagate_nan=tl.PropagateNan.ALL)
    return tile


@triton.jit
def clamp(position, SIZE: tl.constexpr, INSIDE: tl.constexpr):
    """Return `position`, moved into 0 .. SIZE - 1."""
    if INSIDE:  # it is there
        return position
    else:
        return tl.minimum(tl.maximum(position, 0), SIZE - 1)


@triton.jit(do_not_specialize=["n"])
def global_pool_kernel(
    x_ptr,  # [n, H, W, C]
    y_ptr,  # [n, 1, 1, C], channel stride 1
    n,
    x_sn,
    x_sh,
    x_sw,
    x_sc,  # 16-byte loads need 1
    y_sn,
    y_sh,
    y_sw,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    MODE: tl.constexpr,  # "max" or "avg"
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,
    EMULATE_BF16: tl.constexpr,
    BLOCK_HW: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y = act(max or mean of each image's channels), in fp32, rounded once. NaN propagates.

    Grid: (n, cdiv(C, BLOCK_C)). A program walks over its image in blocks of BLOCK_HW pixels, keeps a whole
    tile of partial results, and reduces it once at the end.
    """
    image = tl.program_id(0)
    if INDEX64:
        image = image.to(tl.int64)
    c = block_indices(1, BLOCK_C, INDEX64)
    hw = tl.arange(0, BLOCK_HW)
    if INDEX64:
        hw = hw.to(tl.int64)
    x_channels = x_ptr + image * x_sn + (c * x_sc)[None, :]

    if MODE == "max":
        tile = tl.full((BLOCK_HW, BLOCK_C), float("-inf"), tl.float32)
        for start in range(0, H * W, BLOCK_HW):
            # Beyond the end the last pixel again: that does not change a maximum.
            pixel = tl.minimum(start + hw, H * W - 1)
            x = load_channels(x_channels + (pixel // W * x_sh + pixel % W * x_sw)[:, None], c, C, BLOCK_C)
            tile = tl.maximum(tile, widen(x, EMULATE_BF16), propagate_nan=tl.PropagateNan.ALL)
        # tl.max drops NaN, so they are counted.
        nans = tl.sum((tile != tile).to(tl.int32), axis=0)
        y = tl.max(tl.where(tile == tile, tile, float("-inf")), axis=0)
        y = tl.where(nans > 0, float("nan"), y)
    else:
        tl.static_assert(MODE == "avg", "MODE is max or avg")
        tile = tl.zeros((BLOCK_HW, BLOCK_C), tl.float32)
        for start in range(0, H * W, BLOCK_HW):
            pixel = start + hw
            pointers = x_channels + (pixel // W * x_sh + pixel % W * x_sw)[:, None]
            if H * W % BLOCK_HW == 0:
                x = load_channels(pointers, c, C, BLOCK_C)
            else:
                x = tl.load(pointers, mask=(pixel < H * W)[:, None] & (c < C)[None, :], other=0.0)
            tile += widen(x, EMULATE_BF16)
        y = tl.sum(tile, axis=0) * (1.0 / (H * W))

    y = narrow(activate(y, ACT, ACT_ARG), y_ptr.dtype.element_ty, EMULATE_BF16)
    tl.store(y_ptr + image * y_sn + c, y, mask=c < C)


@triton.jit(do_not_specialize=["n"])
def adaptive_avg_pool2d_kernel(
    x_ptr,  # [n, H, W, C]
    y_ptr,  # [n, P, Q, C], channel stride 1
    n,
    x_sn,
    x_sh,
    x_sw,
    x_sc,  # 16-byte loads need 1
    y_sn,
    y_sh,
    y_sw,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    P: tl.constexpr,
    Q: tl.constexpr,
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,
    EMULATE_BF16: tl.constexpr,
    BLOCK_NPQ: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y = act(adaptive average of x), in fp32, rounded once. P may exceed H, and Q may exceed W.

    Output row p averages the input rows floor(p * H / P) to ceil((p + 1) * H / P) - 1; columns alike.
    Grid: (cdiv(n * P * Q, BLOCK_NPQ), cdiv(C, BLOCK_C)).
    """
    # The longest window: where P does not divide H, some window straddles one row more than ceil(H / P).
    R: tl.constexpr = H // P if H % P == 0 else (H + P - 1) // P + 1
    S: tl.constexpr = W // Q if W % Q == 0 else (W + Q - 1) // Q + 1

    npq = block_indices(0, BLOCK_NPQ, INDEX64)
    c = block_indices(1, BLOCK_C, INDEX64)
    pixels = count_pixels(n, P * Q, INDEX64)
    pixel = tl.minimum(npq, pixels - 1)
    p = pixel // Q % P
    q = pixel % Q
    h = p * H // P
    w = q * W // Q
    h_end = ((p + 1) * H + (P - 1)) // P
    w_end = ((q + 1) * W + (Q - 1)) // Q
    x_channels = x_ptr + (c * x_sc)[None, :]
    image = pixel // (P * Q) * x_sn

    tile = tl.zeros((BLOCK_NPQ, BLOCK_C), tl.float32)
    for r in range(R):
        for s in range(S):
            inside = (h + r < h_end) & (w + s < w_end)
            pointers = x_channels + (image + (h + r) * x_sh + (w + s) * x_sw)[:, None]
            x = tl.load(pointers, mask=inside[:, None] & (c < C)[None, :], other=0.0)
            tile += widen(x, EMULATE_BF16)
    tile *= (1.0 / ((h_end - h) * (w_end - w)).to(tl.float32))[:, None]

    tile = narrow(activate(tile, ACT, ACT_ARG), y_ptr.dtype.element_ty, EMULATE_BF16)
    y_pixels = y_ptr + pixel_offsets(npq, y_sn, y_sh, y_sw, P, Q)
    store_channels(y_pixels[:, None] + c[None, :], tile, npq < pixels, c, C, BLOCK_C)
