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
def join_kernel(
    x0_ptr,  # operands: [n, H, W, C], or [n, 1, 1, C] where they are spread
    x1_ptr,
    x2_ptr,  # None where there are two operands
    x3_ptr,  # None where there are two or three
    r_ptr,  # [n, H, W, C], channel stride 1
    y_ptr,  # [n, H, W, C], channel stride 1
    n,
    x0_sn,
    x0_sh,
    x0_sw,
    x0_sc,  # 16-byte loads need 1, of every operand
    x1_sn,
    x1_sh,
    x1_sw,
    x1_sc,
    x2_sn,
    x2_sh,
    x2_sw,
    x2_sc,
    x3_sn,
    x3_sh,
    x3_sw,
    x3_sc,
    y_sn,
    y_sh,
    y_sw,
    r_sn,
    r_sh,
    r_sw,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    OP: tl.constexpr,  # "add" or "mul"
    COUNT: tl.constexpr,  # of operands: 2, 3 or 4
    SPREAD_0: tl.constexpr,  # whether this operand's one pixel meets all of the others'
    SPREAD_1: tl.constexpr,
    SPREAD_2: tl.constexpr,
    SPREAD_3: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,  # without it, r_ptr is None
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,
    EMULATE_BF16: tl.constexpr,
    BLOCK_NHW: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y = act(x0 + x1 + ... + r) or act(x0 * x1 * ... + r), from left to right in fp32, rounded once.

    Grid: (cdiv(n * H * W, BLOCK_NHW), cdiv(C, BLOCK_C)).
    """
    nhw = block_indices(0, BLOCK_NHW, INDEX64)
    c = block_indices(1, BLOCK_C, INDEX64)
    pixels = count_pixels(n, H * W, INDEX64)
    pixel = tl.minimum(nhw, pixels - 1)  # beyond the end, the last pixel again: loads need no mask

    x0 = load_operand(x0_ptr, x0_sn, x0_sh, x0_sw, x0_sc, pixel, c, C, H, W, SPREAD_0, EMULATE_BF16, BLOCK_C)
    x1 = load_operand(x1_ptr, x1_sn, x1_sh, x1_sw, x1_sc, pixel, c, C, H, W, SPREAD_1, EMULATE_BF16, BLOCK_C)
    tile = combine(x0, x1, OP)
    if COUNT > 2:
        x2 = load_operand(x2_ptr, x2_sn, x2_sh, x2_sw, x2_sc, pixel, c, C, H, W, SPREAD_2, EMULATE_BF16, BLOCK_C)
        tile = combine(tile, x2, OP)
    if COUNT > 3:
        x3 = load_operand(x3_ptr, x3_sn, x3_sh, x3_sw, x3_sc, pixel, c, C, H, W, SPREAD_3, EMULATE_BF16, BLOCK_C)
        tile = combine(tile, x3, OP)
    if HAS_RESIDUAL:
        tile += load_operand(r_ptr, r_sn, r_sh, r_sw, 1, pixel, c, C, H, W, False, EMULATE_BF16, BLOCK_C)
    tile = narrow(activate(tile, ACT, ACT_ARG), y_ptr.dtype.element_ty, EMULATE_BF16)
    y_pixels = y_ptr + pixel_offsets(nhw, y_sn, y_sh, y_sw, H, W)
    store_channels(y_pixels[:, None] + c[None, :], tile, nhw < pixels, c, C, BLOCK_C)


@triton.jit
def load_operand(
    x_ptr,
    s_n,
    s_h,
    s_w,
    s_c,
    pixel,
    c,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    SPREAD: tl.constexpr,
    EMULATE_BF16: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Return an operand's values [pixels, BLOCK_C] in fp32."""
    if SPREAD:
        x_pixels = x_ptr + pixel // (H * W) * s_n
    else:
        x_pixels = x_ptr + pixel_offsets(pixel, s_n, s_h, s_w, H, W)
    return widen(load_channels(x_pixels[:, None] + (c * s_c)[None, :], c, C, BLOCK_C), EMULATE_BF16)


@triton.jit
def combine(a, b, OP: tl.constexpr):
    """Return a + b or a * b."""
    if OP == "add":
        return a + b
    else:
        tl.static_assert(OP == "mul", "OP is add or mul")
        return a * b
