"""Data movement: copies into a slice, padding, channel shuffles, and torch's flatten."""

import triton
import triton.language as tl

from .convert import narrow, widen
from .pixels import block_indices, count_pixels, pixel_offsets, store_channels


@triton.jit(do_not_specialize=["n"])
def copy_kernel(
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
    PAD_TOP: tl.constexpr,  # rows of VALUE above the input; a negative number drops rows
    PAD_LEFT: tl.constexpr,  # what remains of P and Q lies below and to the right
    VALUE: tl.constexpr,  # -0.0 becomes 0.0, as every constant of Triton does
    GROUPS: tl.constexpr,  # channel shuffle; 1 keeps the order
    INDEX64: tl.constexpr,  # offsets in 64 bits: needed as soon as one exceeds 2^31 - 1 elements
    EMULATE_BF16: tl.constexpr,  # see convert.widen
    BLOCK_NPQ: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y[i, p, q, c] = x[i, p - PAD_TOP, q - PAD_LEFT, shuffled c], and VALUE where x has no such pixel.

    The shuffle is torch's: C read as [GROUPS, C / GROUPS], transposed. Bit-exact where x and y have one type.
    Grid: (cdiv(n * P * Q, BLOCK_NPQ), cdiv(C, BLOCK_C)).
    """
    # No output pixel lies outside the input.
    INSIDE: tl.constexpr = PAD_TOP <= 0 and PAD_LEFT <= 0 and P - PAD_TOP <= H and Q - PAD_LEFT <= W

    npq = block_indices(0, BLOCK_NPQ, INDEX64)
    c = block_indices(1, BLOCK_C, INDEX64)
    pixel_in = npq < count_pixels(n, P * Q, INDEX64)
    h = npq // Q % P - PAD_TOP
    w = npq % Q - PAD_LEFT
    x_pixels = x_ptr + (npq // (P * Q) * x_sn + h * x_sh + w * x_sw)
    if GROUPS > 1:
        x_c = c % GROUPS * (C // GROUPS) + c // GROUPS
    else:
        x_c = c
    pointers = x_pixels[:, None] + (x_c * x_sc)[None, :]
    if INSIDE:
        x = tl.load(pointers, mask=pixel_in[:, None] & (c < C)[None, :])
    else:
        inside = pixel_in & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        x = tl.load(pointers, mask=inside[:, None] & (c < C)[None, :], other=VALUE)
        if EMULATE_BF16:
            # Here `other` was cut to bf16, not rounded.
            border = narrow(tl.full(x.shape, VALUE, tl.float32), x.dtype, EMULATE_BF16)
            x = tl.where(inside[:, None], x, border)
    y_pixels = y_ptr + pixel_offsets(npq, y_sn, y_sh, y_sw, P, Q)
    y = _cast(x, y_ptr.dtype.element_ty, EMULATE_BF16)
    store_channels(y_pixels[:, None] + c[None, :], y, pixel_in, c, C, BLOCK_C)


@triton.jit(do_not_specialize=["n"])
def flatten_kernel(
    x_ptr,  # [n, H, W, C]
    y_ptr,  # [n, 1, 1, C * H * W], channel stride 1
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
    INDEX64: tl.constexpr,
    EMULATE_BF16: tl.constexpr,
    BLOCK_HW: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y[i, (c * H + h) * W + w] = x[i, h, w, c]: the order of torch's flatten. Bit-exact if the types agree.

    Grid: (n, cdiv(H * W, BLOCK_HW), cdiv(C, BLOCK_C)). Each program transposes one tile: it is read along the
    channels and written along the pixels.
    """
    image = tl.program_id(0)
    if INDEX64:
        image = image.to(tl.int64)
    hw = block_indices(1, BLOCK_HW, INDEX64)
    c = block_indices(2, BLOCK_C, INDEX64)
    inside = (hw < H * W)[:, None] & (c < C)[None, :]
    x_tile = x_ptr + (image * x_sn + hw // W * x_sh + hw % W * x_sw)[:, None] + (c * x_sc)[None, :]
    y_tile = y_ptr + image * y_sn + hw[:, None] + (c * (H * W))[None, :]
    x = tl.load(x_tile, mask=inside)
    tl.store(y_tile, _cast(x, y_ptr.dtype.element_ty, EMULATE_BF16), mask=inside)


@triton.jit
def _cast(x, dtype: tl.constexpr, EMULATE_BF16: tl.constexpr):
    if x.dtype == dtype:
        return x
    else:
        return narrow(widen(x, EMULATE_BF16), dtype, EMULATE_BF16)
