"""Layers without a window: activations, per-channel affine maps, sums and products."""

import triton
import triton.language as tl

from .activations import activate
from .convert import narrow, widen
from .pixels import block_indices, count_pixels, load_channels, pixel_offsets, store_channels


@triton.jit(do_not_specialize=["n"])
def unary_kernel(
    x_ptr,  # [n, H, W, C]
    scale_ptr,  # [C] fp32
    shift_ptr,  # [C] fp32
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
    HAS_AFFINE: tl.constexpr,  # without it, scale_ptr and shift_ptr are None
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,  # offsets in 64 bits: needed as soon as one exceeds 2^31 - 1 elements
    EMULATE_BF16: tl.constexpr,  # see convert.widen
    BLOCK_NHW: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y = act(x * scale_c + shift_c), or act(x), in fp32, rounded once.

    Grid: (cdiv(n * H * W, BLOCK_NHW), cdiv(C, BLOCK_C)).
    """
    nhw = block_indices(0, BLOCK_NHW, INDEX64)
    c = block_indices(1, BLOCK_C, INDEX64)
    pixels = count_pixels(n, H * W, INDEX64)
    pixel = tl.minimum(nhw, pixels - 1)  # beyond the end, the last pixel again: loads need no mask

    x_pixels = x_ptr + pixel_offsets(pixel, x_sn, x_sh, x_sw, H, W)
    tile = widen(load_channels(x_pixels[:, None] + (c * x_sc)[None, :], c, C, BLOCK_C), EMULATE_BF16)
    if HAS_AFFINE:
        scale = tl.load(scale_ptr + c, mask=c < C, other=0.0)
        shift = tl.load(shift_ptr + c, mask=c < C, other=0.0)
        tile = tile * scale[None, :] + shift[None, :]
    tile = narrow(activate(tile, ACT, ACT_ARG), y_ptr.dtype.element_ty, EMULATE_BF16)
    y_pixels = y_ptr + pixel_offsets(nhw, y_sn, y_sh, y_sw, H, W)
    store_channels(y_pixels[:, None] + c[None, :], tile, nhw < pixels, c, C, BLOCK_C)


@triton.jit(do_not_specialize=["n"])
def binary_kernel(
    a_ptr,  # [n, H, W, C], or [n, 1, 1, C] with BROADCAST "a"
    b_ptr,  # [n, H, W, C], or [n, 1, 1, C] with BROADCAST "b"
    y_ptr,  # [n, H, W, C], channel stride 1
    n,
    a_sn,
    a_sh,
    a_sw,
    a_sc,
    b_sn,
    b_sh,
    b_sw,
    b_sc,
    y_sn,
    y_sh,
    y_sw,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    OP: tl.constexpr,  # "add" or "mul"
    BROADCAST: tl.constexpr,  # "none", or the operand whose one pixel meets all of the other's: "a" or "b"
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,
    EMULATE_BF16: tl.constexpr,
    BLOCK_NHW: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y = act(a + b) or act(a * b), in fp32, rounded once.

    Grid: (cdiv(n * H * W, BLOCK_NHW), cdiv(C, BLOCK_C)).
    """
    nhw = block_indices(0, BLOCK_NHW, INDEX64)
    c = block_indices(1, BLOCK_C, INDEX64)
    pixels = count_pixels(n, H * W, INDEX64)
    pixel = tl.minimum(nhw, pixels - 1)  # beyond the end, the last pixel again: loads need no mask

    if BROADCAST == "a":
        a_pixels = a_ptr + pixel // (H * W) * a_sn
    else:
        a_pixels = a_ptr + pixel_offsets(pixel, a_sn, a_sh, a_sw, H, W)
    if BROADCAST == "b":
        b_pixels = b_ptr + pixel // (H * W) * b_sn
    else:
        b_pixels = b_ptr + pixel_offsets(pixel, b_sn, b_sh, b_sw, H, W)
    a = widen(load_channels(a_pixels[:, None] + (c * a_sc)[None, :], c, C, BLOCK_C), EMULATE_BF16)
    b = widen(load_channels(b_pixels[:, None] + (c * b_sc)[None, :], c, C, BLOCK_C), EMULATE_BF16)
    if OP == "add":
        tile = a + b
    else:
        tl.static_assert(OP == "mul", "OP is add or mul")
        tile = a * b
    tile = narrow(activate(tile, ACT, ACT_ARG), y_ptr.dtype.element_ty, EMULATE_BF16)
    y_pixels = y_ptr + pixel_offsets(nhw, y_sn, y_sh, y_sw, H, W)
    store_channels(y_pixels[:, None] + c[None, :], tile, nhw < pixels, c, C, BLOCK_C)
