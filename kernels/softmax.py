"""Softmax over the channels of every pixel."""

import triton
import triton.language as tl

from .convert import narrow, widen
from .pixels import block_indices, count_pixels, pixel_offsets


@triton.jit(do_not_specialize=["n"])
def softmax_kernel(
    x_ptr,  # [n, H, W, C]
    y_ptr,  # [n, H, W, C], channel stride 1
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
    INDEX64: tl.constexpr,  # offsets in 64 bits: needed as soon as one exceeds 2^31 - 1 elements
    EMULATE_BF16: tl.constexpr,  # see convert.widen
    BLOCK_NHW: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y_c = exp(x_c - max) / sum of exp(x_j - max), in fp32, rounded once.

    As in torch, a pixel that holds NaN or +inf, or only -inf, becomes NaN: inf - inf is NaN, and so is every
    sum with it. Grid: (cdiv(n * H * W, BLOCK_NHW),).
    """
    nhw = block_indices(0, BLOCK_NHW, INDEX64)
    pixels = count_pixels(n, H * W, INDEX64)
    pixel = tl.minimum(nhw, pixels - 1)
    x_pixels = x_ptr + pixel_offsets(pixel, x_sn, x_sh, x_sw, H, W)[:, None]
    y_pixels = y_ptr + pixel_offsets(nhw, y_sn, y_sh, y_sw, H, W)[:, None]
    pixel_in = (nhw < pixels)[:, None]
    c = tl.arange(0, BLOCK_C)
    if INDEX64:
        c = c.to(tl.int64)

    if C <= BLOCK_C:
        # A pixel stays in registers between its one load and its one store.
        c_in = (c < C)[None, :]
        x = widen(tl.load(x_pixels + (c * x_sc)[None, :], mask=c_in, other=float("-inf")), EMULATE_BF16)
        e = tl.exp(x - tl.max(x, axis=1)[:, None])
        y = narrow(e * (1.0 / tl.sum(e, axis=1))[:, None], y_ptr.dtype.element_ty, EMULATE_BF16)
        tl.store(y_pixels + c[None, :], y, mask=pixel_in & c_in)
    else:
        # A pixel is read three times, for the maximum, the sum and the result; the later times it comes from the
        # cache. Maxima and sums are kept for a whole tile and reduced once, after the loop.
        tile = tl.full((BLOCK_NHW, BLOCK_C), float("-inf"), tl.float32)
        for start in range(0, C, BLOCK_C):
            tile = tl.maximum(tile, _load_block(x_pixels, start + c, x_sc, C, EMULATE_BF16))
        largest = tl.max(tile, axis=1)
        tile = tl.zeros((BLOCK_NHW, BLOCK_C), tl.float32)
        for start in range(0, C, BLOCK_C):
            tile += tl.exp(_load_block(x_pixels, start + c, x_sc, C, EMULATE_BF16) - largest[:, None])
        scale = 1.0 / tl.sum(tile, axis=1)
        for start in range(0, C, BLOCK_C):
            x = _load_block(x_pixels, start + c, x_sc, C, EMULATE_BF16)
            y = narrow(tl.exp(x - largest[:, None]) * scale[:, None], y_ptr.dtype.element_ty, EMULATE_BF16)
            tl.store(y_pixels + (start + c)[None, :], y, mask=pixel_in & (start + c < C)[None, :])


@triton.jit
def _load_block(x_pixels, c, x_sc, C: tl.constexpr, EMULATE_BF16: tl.constexpr):
    x = tl.load(x_pixels + (c * x_sc)[None, :], mask=(c < C)[None, :], other=float("-inf"))
    return widen(x, EMULATE_BF16)
