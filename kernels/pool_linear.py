"""Global average pooling and the dense layer behind it, in one kernel."""

import triton
import triton.language as tl

from .activations import activate
from .convert import narrow, widen
from .pixels import load_channels


@triton.jit(do_not_specialize=["n"])
def pool_linear_kernel(
    x_ptr,  # [n, H, W, C]
    w_ptr,  # [K, C] contiguous
    b_ptr,  # [K] fp32
    r_ptr,  # [n, K], rows contiguous
    y_ptr,  # [n, K], rows contiguous
    n,
    x_sn,
    x_sh,
    x_sw,
    x_sc,  # 16-byte loads need 1
    y_sn,
    r_sn,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    K: tl.constexpr,
    HAS_BIAS: tl.constexpr,  # without it, b_ptr is None
    HAS_RESIDUAL: tl.constexpr,  # without it, r_ptr is None
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,  # offsets in 64 bits: needed as soon as one exceeds 2^31 - 1 elements
    EMULATE_BF16: tl.constexpr,  # see convert.widen
    STEPS: tl.constexpr,  # blocks of units that a program computes, one after the other
    UNROLL: tl.constexpr,  # blocks of pixels whose loads are in flight together
    BLOCK_HW: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,  # C or more: a program holds the means of all channels
):
    """y[n, k] = act(sum over c of mean(x[n, :, :, c]) * w[k, c] + b[k] + r[n, k]).

    Means and products are taken in fp32 without matrix units; between them the means are rounded to y's type, as if
    they had been stored. Grid: (n, cdiv(K, BLOCK_K * STEPS)). Every program averages its whole picture, so there
    should be few for each.
    """
    image = tl.program_id(0)
    if INDEX64:
        image = image.to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    hw = tl.arange(0, BLOCK_HW)
    if INDEX64:
        c = c.to(tl.int64)
        hw = hw.to(tl.int64)
    x_channels = x_ptr + image * x_sn + (c * x_sc)[None, :]
    tile = tl.zeros((BLOCK_HW, BLOCK_C), tl.float32)
    for start in tl.range(0, H * W, BLOCK_HW, loop_unroll_factor=UNROLL):
        pixel = start + hw
        pointers = x_channels + (pixel // W * x_sh + pixel % W * x_sw)[:, None]
        if H * W % BLOCK_HW == 0:
            x = load_channels(pointers, c, C, BLOCK_C)
        else:
            x = tl.load(pointers, mask=(pixel < H * W)[:, None] & (c < C)[None, :], other=0.0)
        tile += widen(x, EMULATE_BF16)
    means = narrow(tl.sum(tile, axis=0) * (1.0 / (H * W)), y_ptr.dtype.element_ty, EMULATE_BF16)
    means = widen(means, EMULATE_BF16)

    for step in range(STEPS):
        k = (tl.program_id(1) * STEPS + step) * BLOCK_K + tl.arange(0, BLOCK_K)
        k_in = k < K
        # Units beyond the end are computed on valid data and not stored: no mask in the load.
        w_rows = w_ptr + tl.where(k_in, k, 0) * C
        w = load_channels(w_rows[:, None] + c[None, :], c, C, BLOCK_C)
        y = tl.sum(widen(w, EMULATE_BF16) * means[None, :], axis=1)
        if HAS_BIAS:
            y += tl.load(b_ptr + k, mask=k_in, other=0.0)
        if HAS_RESIDUAL:
            y += widen(tl.load(r_ptr + image * r_sn + k, mask=k_in, other=0.0), EMULATE_BF16)
        y = narrow(activate(y, ACT, ACT_ARG), y_ptr.dtype.element_ty, EMULATE_BF16)
        tl.store(y_ptr + image * y_sn + k, y, mask=k_in)
