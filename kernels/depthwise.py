"""Depthwise 2-D convolution: every filter reads a single channel, so there is no matrix product."""

import triton
import triton.language as tl

from .activations import activate
from .convert import narrow, widen


@triton.jit(do_not_specialize=["n"])
def depthwise_kernel(
    x_ptr,  # [n, H, W, C]
    w_ptr,  # [R, S, K, 1] contiguous: the values of a tap are read side by side, as the channels are
    b_ptr,  # [K] fp32
    r_ptr,  # [n, P, Q, K], channel stride 1
    y_ptr,  # [n, P, Q, K], channel stride 1
    n,
    x_sn,
    x_sh,
    x_sw,
    x_sc,  # wide loads need 1, and a multiplier of 1
    y_sn,
    y_sh,
    y_sw,
    r_sn,
    r_sh,
    r_sw,
    C: tl.constexpr,  # input channels, which is also the number of groups
    H: tl.constexpr,
    W: tl.constexpr,
    K: tl.constexpr,  # filters: C times the multiplier; filter k reads channel k // (K // C)
    P: tl.constexpr,
    Q: tl.constexpr,
    R: tl.constexpr,
    S: tl.constexpr,
    STRIDE_H: tl.constexpr,
    STRIDE_W: tl.constexpr,
    PAD_TOP: tl.constexpr,
    PAD_LEFT: tl.constexpr,
    DILATION_H: tl.constexpr,
    DILATION_W: tl.constexpr,
    HAS_BIAS: tl.constexpr,  # without it, b_ptr is None
    HAS_RESIDUAL: tl.constexpr,  # without it, r_ptr is None
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,  # offsets in 64 bits: needed as soon as one exceeds 2^31 - 1 elements
    EMULATE_BF16: tl.constexpr,  # see convert.widen
    BLOCK_NPQ: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """y = act(conv(x, w) + b + r) with one input channel per filter; products and sums in fp32, rounded once.

    Grid: (cdiv(n * P * Q, BLOCK_NPQ) * cdiv(K, BLOCK_K),); filters vary fastest.
    """
    BLOCKS_K: tl.constexpr = (K + BLOCK_K - 1) // BLOCK_K

    pid = tl.program_id(0)
    if INDEX64:
        pid = pid.to(tl.int64)
        x_sh = tl.cast(x_sh, tl.int64)
        x_sw = tl.cast(x_sw, tl.int64)
    npq = pid // BLOCKS_K * BLOCK_NPQ + tl.arange(0, BLOCK_NPQ)
    k = pid % BLOCKS_K * BLOCK_K + tl.arange(0, BLOCK_K)
    n_index = npq // (P * Q)
    p = npq // Q % P
    q = npq % Q
    row_in = n_index < n
    k_in = k < K
    y_in = row_in[:, None] & k_in[None, :]

    h = p * STRIDE_H - PAD_TOP
    w = q * STRIDE_W - PAD_LEFT
    x_rows = x_ptr + (n_index * x_sn + h * x_sh + w * x_sw)
    x_tile = x_rows[:, None] + (k // (K // C) * x_sc)[None, :]
    acc = tl.zeros((BLOCK_NPQ, BLOCK_K), dtype=tl.float32)
    for r in range(R):
        # One row of taps is unrolled: the column offsets fold away, and its loads are all in flight at once.
        for s in tl.static_range(S):
            h_tap = h + r * DILATION_H
            w_tap = w + s * DILATION_W
            inside = row_in & (h_tap >= 0) & (h_tap < H) & (w_tap >= 0) & (w_tap < W)
            x_tap = x_tile + (r * DILATION_H * x_sh + s * DILATION_W * x_sw)
            x = tl.load(x_tap, mask=inside[:, None] & k_in[None, :], other=0.0)
            f = tl.load(w_ptr + (r * S + s) * K + k, mask=k_in, other=0.0)
            acc += widen(x, EMULATE_BF16) * widen(f, EMULATE_BF16)[None, :]

    if HAS_BIAS:
        acc += tl.load(b_ptr + k, mask=k_in, other=0.0)[None, :]
    if HAS_RESIDUAL:
        r_tile = r_ptr + (n_index * r_sn + p * r_sh + q * r_sw)[:, None] + k[None, :]
        acc += widen(tl.load(r_tile, mask=y_in, other=0.0), EMULATE_BF16)
    acc = activate(acc, ACT, ACT_ARG)
    y_tile = y_ptr + (n_index * y_sn + p * y_sh + q * y_sw)[:, None] + k[None, :]
    tl.store(y_tile, narrow(acc, y_ptr.dtype.element_ty, EMULATE_BF16), mask=y_in)
