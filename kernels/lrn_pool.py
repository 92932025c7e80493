"""Local response normalisation and max pooling in one kernel: what lies between them stays in registers."""

import triton
import triton.language as tl

from .activations import activate
from .convert import narrow
from .lrn import channels_of_groups, load_normalised, normalised
from .pixels import block_indices, count_pixels, pixel_offsets
from .pool2d import clamp, max_of_windows


@triton.jit(do_not_specialize=["n"])
def lrn_pool_kernel(
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
    PAD_LEFT: tl.constexpr,
    SIZE: tl.constexpr,  # of the window over channels; where the pool is first, at most 2 * VECTOR + 1
    ALPHA: tl.constexpr,  # torch's: it is divided by SIZE
    BETA: tl.constexpr,
    K: tl.constexpr,
    FIRST: tl.constexpr,  # "lrn" or "pool"
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,
    EMULATE_BF16: tl.constexpr,
    VECTOR: tl.constexpr,  # 4 or 8: the channels that one thread owns; 16 bytes of them load at once
    UNROLL_R: tl.constexpr,  # taps of the window whose loads are in flight together
    UNROLL_S: tl.constexpr,
    BLOCK_NPQ: tl.constexpr,
    BLOCK_C: tl.constexpr,  # a multiple of VECTOR
):
    """y = act(max over windows R x S of lrn(x)), or y = act(lrn(max over windows R x S of x)).

    All in fp32, rounded once. `lrn_kernel` and `pool2d_kernel` have the definitions. Grid:
    (cdiv(n * P * Q, BLOCK_NPQ), cdiv(C, BLOCK_C)).

    A program owns output pixels. With the LRN first, it normalises every tap of their windows: a value as often as
    windows hold it, R * S / (STRIDE_H * STRIDE_W) times. With the pool first, a thread pools its own group of
    channels and the one on either side, which other threads pool too; their loads find the values in the cache.
    """
    # The last row and column that any window reaches, counted from the input's first.
    LAST_H: tl.constexpr = (P - 1) * STRIDE_H - PAD_TOP + R - 1
    LAST_W: tl.constexpr = (Q - 1) * STRIDE_W - PAD_LEFT + S - 1
    INSIDE: tl.constexpr = PAD_TOP <= 0 and PAD_LEFT <= 0 and LAST_H < H and LAST_W < W
    GROUPS: tl.constexpr = BLOCK_C // VECTOR

    npq = block_indices(0, BLOCK_NPQ, INDEX64)
    pixels = count_pixels(n, P * Q, INDEX64)
    pixel = tl.minimum(npq, pixels - 1)
    h = (pixel // Q % P * STRIDE_H - PAD_TOP)[:, None, None]
    w = (pixel % Q * STRIDE_W - PAD_LEFT)[:, None, None]
    image = (pixel // (P * Q) * x_sn)[:, None, None]
    c = channels_of_groups(GROUPS, VECTOR, INDEX64)
    if INDEX64:
        x_sc = tl.cast(x_sc, tl.int64)
    x_channels = x_ptr + (c * x_sc)[None, :, :]

    tile = tl.full((BLOCK_NPQ, GROUPS, VECTOR), float("-inf"), tl.float32)
    if FIRST == "lrn":
        for r in tl.range(R, loop_unroll_factor=UNROLL_R):
            row = image + clamp(h + r, H, INSIDE) * x_sh
            for s in tl.range(S, loop_unroll_factor=UNROLL_S):
                tap = row + clamp(w + s, W, INSIDE) * x_sw
                z = load_normalised(x_channels + tap, c, x_sc, C, SIZE, ALPHA, BETA, K, EMULATE_BF16, VECTOR)
                tile = tl.maximum(tile, z, propagate_nan=tl.PropagateNan.ALL)
    else:
        tl.static_assert(FIRST == "pool", "FIRST is lrn or pool")
        # Channels outside the tensor read as 0 at every tap: so is their maximum, which adds nothing to a sum.
        lower_in = ((c >= VECTOR) & (c - VECTOR < C))[None, :, :]
        lower = max_of_windows(
            tile, x_channels - VECTOR * x_sc, lower_in, image, h, w, x_sh, x_sw,
            H, W, R, S, INSIDE, True, EMULATE_BF16, UNROLL_R, UNROLL_S,
        )
        upper_in = (c + VECTOR < C)[None, :, :]
        upper = max_of_windows(
            tile, x_channels + VECTOR * x_sc, upper_in, image, h, w, x_sh, x_sw,
            H, W, R, S, INSIDE, True, EMULATE_BF16, UNROLL_R, UNROLL_S,
        )
        tile = max_of_windows(
            tile, x_channels, (c < C)[None, :, :], image, h, w, x_sh, x_sw,
            H, W, R, S, INSIDE, C % BLOCK_C != 0, EMULATE_BF16, UNROLL_R, UNROLL_S,
        )
        tile = normalised(lower, tile, upper, SIZE, ALPHA, BETA, K, VECTOR)

    tile = narrow(activate(tile, ACT, ACT_ARG), y_ptr.dtype.element_ty, EMULATE_BF16)
    y_tile = y_ptr + pixel_offsets(npq, y_sn, y_sh, y_sw, P, Q)[:, None, None] + c[None, :, :]
    tl.store(y_tile, tile, mask=(npq < pixels)[:, None, None] & (c < C)[None, :, :])
