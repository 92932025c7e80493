"""2-D convolution as an implicit GEMM: rows NPQ (output pixels), columns K (filters), reduction CRS."""

import triton
import triton.language as tl

from .activations import activate
from .convert import accumulate, multiply, narrow, widen


@triton.jit(do_not_specialize=["n"])
def conv2d_kernel(
    x_ptr,  # [n, H, W, GROUPS * C]
    w_ptr,  # [K, R, S, C] contiguous, in the type the products are computed in
    b_ptr,  # [K] fp32
    r_ptr,  # [n, P, Q, K], channel stride 1
    s_ptr,  # [n, GROUPS * C], rows contiguous
    y_ptr,  # [n, P, Q, K], channel stride 1; [n, 1, 1, K] with POOL
    n,
    x_sn,
    x_sh,
    x_sw,
    x_sc,  # 16-byte loads need 1
    y_sn,
    y_sh,
    y_sw,
    r_sn,
    r_sh,
    r_sw,
    s_sn,
    C: tl.constexpr,  # input channels per group
    H: tl.constexpr,
    W: tl.constexpr,
    K: tl.constexpr,  # filters, all groups together
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
    GROUPS: tl.constexpr,
    HAS_BIAS: tl.constexpr,  # without it, b_ptr is None
    HAS_RESIDUAL: tl.constexpr,  # without it, r_ptr is None
    HAS_SCALE: tl.constexpr,  # whether x is multiplied by s first; without it, s_ptr is None
    POOL: tl.constexpr,  # whether y is the mean over all pixels; BLOCK_NPQ >= P * Q then
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    ACT_K: tl.constexpr,  # filters that are activated, the first ones: of several layers, some may end in nothing
    PRECISION: tl.constexpr,  # of fp32 products: "ieee" or "tf32"; without effect on fp16 and bf16
    INDEX64: tl.constexpr,  # offsets in 64 bits: needed as soon as one exceeds 2^31 - 1 elements
    EMULATE_BF16: tl.constexpr,  # see convert.widen
    BLOCK_NPQ: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_CRS: tl.constexpr,
):
    """y = act(conv(x * s, w) + b + r), accumulated in fp32 and rounded once; or the mean of that over each picture.

    Grid: (cdiv(n * P * Q, BLOCK_NPQ) * cdiv(K // GROUPS, BLOCK_K), GROUPS); with POOL, every picture is one block of
    rows: (n * cdiv(K // GROUPS, BLOCK_K), GROUPS). Filters vary fastest: the programs that share an input tile run side
    by side, and the whole filter bank (at most 5 MB in fp16 in the usual networks) stays in L2.

    Padding is a zero that is multiplied, as in torch: times an infinite filter value it gives NaN. Scales are for
    windows of one pixel without padding. Products with them, and what is averaged, are rounded as if they were stored.
    """
    K_GROUP: tl.constexpr = K // GROUPS
    CRS: tl.constexpr = C * R * S
    BLOCKS_K: tl.constexpr = (K_GROUP + BLOCK_K - 1) // BLOCK_K
    ONE_TAP: tl.constexpr = C % BLOCK_CRS == 0
    # Whether any tap of any output pixel lies outside the input.
    PADDED: tl.constexpr = (
        PAD_TOP > 0
        or PAD_LEFT > 0
        or (P - 1) * STRIDE_H + (R - 1) * DILATION_H >= H
        or (Q - 1) * STRIDE_W + (S - 1) * DILATION_W >= W
    )

    pid = tl.program_id(0)
    if INDEX64:
        pid = pid.to(tl.int64)
        x_sh = tl.cast(x_sh, tl.int64)
        x_sw = tl.cast(x_sw, tl.int64)
        x_sc = tl.cast(x_sc, tl.int64)
    rows = tl.arange(0, BLOCK_NPQ)
    if POOL:
        npq = pid // BLOCKS_K * (P * Q) + rows
    else:
        npq = pid // BLOCKS_K * BLOCK_NPQ + rows
    k = pid % BLOCKS_K * BLOCK_K + tl.arange(0, BLOCK_K)
    crs = tl.arange(0, BLOCK_CRS)

    # Rows and filters beyond the end are computed on valid data and not stored: no mask in the loop.
    n_index = npq // (P * Q)
    p = npq // Q % P
    q = npq % Q
    if POOL:
        row_in = rows < P * Q
    else:
        row_in = n_index < n
    n_valid = tl.where(row_in, n_index, 0)
    k_in = k < K_GROUP
    k_valid = tl.where(k_in, k, 0)
    if GROUPS > 1:
        group = tl.program_id(1)
        if INDEX64:
            group = group.to(tl.int64)
        x_ptr += group * C * x_sc
        if HAS_SCALE:
            s_ptr += group * C
        k += group * K_GROUP
        k_valid += group * K_GROUP

    h = p * STRIDE_H - PAD_TOP
    w = q * STRIDE_W - PAD_LEFT
    x_rows = x_ptr + (n_valid * x_sn + h * x_sh + w * x_sw)
    if HAS_SCALE:
        s_tile = s_ptr + (n_valid * s_sn)[:, None] + crs[None, :]
    w_tile = w_ptr + k_valid[:, None] * CRS + crs[None, :]
    acc = tl.zeros((BLOCK_NPQ, BLOCK_K), dtype=tl.float32)

    if ONE_TAP:
        # Every step of the reduction lies within one filter tap: the tap is a scalar, and bounds are checked per row.
        CHUNKS: tl.constexpr = C // BLOCK_CRS
        x_tile = x_rows[:, None] + crs[None, :] * x_sc
        for step in range(R * S * CHUNKS):
            if R * S == 1 and not PADDED:
                x = tl.load(x_tile + step * BLOCK_CRS * x_sc)
                if HAS_SCALE:
                    x = multiply(x, tl.load(s_tile + step * BLOCK_CRS), EMULATE_BF16)
            else:
                tap = step // CHUNKS
                dh = tap // S * DILATION_H
                dw = tap % S * DILATION_W
                x_tap = x_tile + (dh * x_sh + dw * x_sw + step % CHUNKS * BLOCK_CRS * x_sc)
                if PADDED:
                    h_tap = h + dh
                    w_tap = w + dw
                    inside = (h_tap >= 0) & (h_tap < H) & (w_tap >= 0) & (w_tap < W)
                    x = tl.load(x_tap, mask=inside[:, None], other=0.0)
                else:
                    x = tl.load(x_tap)
            f = tl.load(w_tile + step * BLOCK_CRS)
            acc = accumulate(acc, x, f, PRECISION, EMULATE_BF16)
    else:
        # The steps run over the flattened (r, s, c), of several taps where there are few channels; with C a multiple
        # of 8 the loads are as wide.
        for start in range(0, CRS, BLOCK_CRS):
            crs_in = (start + crs < CRS)[None, :]
            if R * S == 1 and not PADDED:
                x = tl.load(x_rows[:, None] + ((start + crs) * x_sc)[None, :], mask=crs_in, other=0.0)
                if HAS_SCALE:
                    x = multiply(x, tl.load(s_tile + start, mask=crs_in, other=0.0), EMULATE_BF16)
            else:
                c = (start + crs) % C
                dh = (start + crs) // C // S * DILATION_H
                dw = (start + crs) // C % S * DILATION_W
                x_tap = x_rows[:, None] + (dh * x_sh + dw * x_sw + c * x_sc)[None, :]
                if PADDED:
                    h_tap = h[:, None] + dh[None, :]
                    w_tap = w[:, None] + dw[None, :]
                    inside = (h_tap >= 0) & (h_tap < H) & (w_tap >= 0) & (w_tap < W)
                    x = tl.load(x_tap, mask=crs_in & inside, other=0.0)
                else:
                    x = tl.load(x_tap, mask=crs_in, other=0.0)
            # Both operands are masked: 0 * anything else that lies in memory could be NaN.
            f = tl.load(w_tile + start, mask=crs_in, other=0.0)
            acc = accumulate(acc, x, f, PRECISION, EMULATE_BF16)

    y_in = row_in[:, None] & k_in[None, :]
    if HAS_BIAS:
        acc += tl.load(b_ptr + k, mask=k_in, other=0.0)[None, :]
    if HAS_RESIDUAL:
        r_tile = r_ptr + (n_index * r_sn + p * r_sh + q * r_sw)[:, None] + k[None, :]
        acc += widen(tl.load(r_tile, mask=y_in, other=0.0), EMULATE_BF16)
    if ACT_K == K:
        acc = activate(acc, ACT, ACT_ARG)
    else:
        acc = tl.where((k < ACT_K)[None, :], activate(acc, ACT, ACT_ARG), acc)
    y = narrow(acc, y_ptr.dtype.element_ty, EMULATE_BF16)
    if POOL:
        pixels = tl.where(row_in[:, None], widen(y, EMULATE_BF16), 0.0)
        means = narrow(tl.sum(pixels, axis=0) * (1.0 / (P * Q)), y_ptr.dtype.element_ty, EMULATE_BF16)
        tl.store(y_ptr + pid // BLOCKS_K * y_sn + k, means, mask=k_in)
    else:
        y_tile = y_ptr + (n_index * y_sn + p * y_sh + q * y_sw)[:, None] + k[None, :]
        tl.store(y_tile, y, mask=y_in)
