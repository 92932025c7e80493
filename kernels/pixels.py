"""Index arithmetic shared by the kernels that work on a 2-d tile: pixels x channels.

Pixels of a tensor [n, H, W, C] are numbered (i * H + h) * W + w.
"""

import triton
import triton.language as tl


@triton.jit
def block_indices(AXIS: tl.constexpr, BLOCK: tl.constexpr, INDEX64: tl.constexpr):
    """Return this program's indices along a grid axis: [BLOCK], in the type of offsets."""
    pid = tl.program_id(AXIS)
    if INDEX64:
        pid = pid.to(tl.int64)
    return pid * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def count_pixels(n, PIXELS: tl.constexpr, INDEX64: tl.constexpr):
    """Return the number of pixels of n images, in the type of offsets."""
    if INDEX64:
        return tl.cast(n, tl.int64) * PIXELS
    else:
        return n * PIXELS


@triton.jit
def pixel_offsets(pixel, s_n, s_h, s_w, H: tl.constexpr, W: tl.constexpr):
    """Return where each pixel of a tensor [n, H, W, _] starts, in elements; the type is that of `pixel`."""
    if H * W == 1:
        return pixel * s_n
    else:
        return pixel // (H * W) * s_n + pixel // W % H * s_h + pixel % W * s_w


@triton.jit
def load_channels(pointers, c, C: tl.constexpr, BLOCK_C: tl.constexpr):
    """Load a tile [pixels, BLOCK_C]; channels beyond C read as 0."""
    if C % BLOCK_C == 0:
        return tl.load(pointers)
    else:
        return tl.load(pointers, mask=(c < C)[None, :], other=0.0)


@triton.jit
def store_channels(pointers, tile, pixel_in, c, C: tl.constexpr, BLOCK_C: tl.constexpr):
    """Store a tile [pixels, BLOCK_C], channels below C, of the pixels in `pixel_in`."""
    if C % BLOCK_C == 0:
        tl.store(pointers, tile, mask=pixel_in[:, None])
    else:
        tl.store(pointers, tile, mask=pixel_in[:, None] & (c < C)[None, :])
