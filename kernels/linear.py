"""Dense layers: y[n, k] = act(sum over f of x[n, f] * w[k, f] + b[k] + r[n, k])."""

import triton
import triton.language as tl

from .activations import activate
from .convert import accumulate, narrow, widen


@triton.jit(do_not_specialize=["n"])
def linear_kernel(
    x_ptr,  # [n, F], rows contiguous
    w_ptr,  # [K, F] contiguous, in the type the products are computed in
    b_ptr,  # [K] fp32
    r_ptr,  # [n, K], rows contiguous
    y_ptr,  # [n, K], rows contiguous
    n,
    x_sn,
    y_sn,
    r_sn,
    F: tl.constexpr,
    K: tl.constexpr,
    HAS_BIAS: tl.constexpr,  # without it, b_ptr is None
    HAS_RESIDUAL: tl.constexpr,  # without it, r_ptr is None
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    PRECISION: tl.constexpr,  # of fp32 products: "ieee" or "tf32"; without effect on fp16 and bf16
    INDEX64: tl.constexpr,  # offsets in 64 bits: needed as soon as one exceeds 2^31 - 1 elements
    EMULATE_BF16: tl.constexpr,  # see convert.widen
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    """A matrix product with tl.dot; accumulated in fp32 and rounded once.

    Grid: (cdiv(n, BLOCK_N) * cdiv(K, BLOCK_K),). Rows vary fastest: the programs that share a tile of
    weights, which are nearly all of the traffic, run side by side.
    """
    row_blocks = tl.cdiv(n, BLOCK_N)
    pid = tl.program_id(0)
    rows = pid % row_blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    k = pid // row_blocks * BLOCK_K + tl.arange(0, BLOCK_K)
    f = tl.arange(0, BLOCK_F)
    if INDEX64:
        rows = rows.to(tl.int64)
        k = k.to(tl.int64)
    # Rows and units beyond the end are computed on valid data and not stored: no mask in the loop.
    row_in = rows < n
    k_in = k < K
    x_tile = x_ptr + (tl.where(row_in, rows, 0) * x_sn)[:, None] + f[None, :]
    w_tile = w_ptr + (tl.where(k_in, k, 0) * F)[:, None] + f[None, :]
    acc = tl.zeros((BLOCK_N, BLOCK_K), dtype=tl.float32)
    for start in range(0, F, BLOCK_F):
        if F % BLOCK_F == 0:
            x = tl.load(x_tile + start)
            w = tl.load(w_tile + start)
        else:
            # Both operands are masked: 0 * anything else that lies in memory could be NaN.
            f_in = (start + f < F)[None, :]
            x = tl.load(x_tile + start, mask=f_in, other=0.0)
            w = tl.load(w_tile + start, mask=f_in, other=0.0)
        acc = accumulate(acc, x, w, PRECISION, EMULATE_BF16)

    y_in = row_in[:, None] & k_in[None, :]
    if HAS_BIAS:
        acc += tl.load(b_ptr + k, mask=k_in, other=0.0)[None, :]
    if HAS_RESIDUAL:
        r_tile = r_ptr + (rows * r_sn)[:, None] + k[None, :]
        acc += widen(tl.load(r_tile, mask=y_in, other=0.0), EMULATE_BF16)
    acc = activate(acc, ACT, ACT_ARG)
    y_tile = y_ptr + (rows * y_sn)[:, None] + k[None, :]
    tl.store(y_tile, narrow(acc, y_ptr.dtype.element_ty, EMULATE_BF16), mask=y_in)


@triton.jit(do_not_specialize=["n"])
def linear_small_kernel(
    x_ptr,  # [n, F], rows contiguous
    w_ptr,  # [K, F] contiguous
    b_ptr,  # [K] fp32
    r_ptr,  # [n, K], rows contiguous
    y_ptr,  # [n, K], rows contiguous
    n,
    x_sn,
    y_sn,
    r_sn,
    F: tl.constexpr,
    K: tl.constexpr,
    HAS_BIAS: tl.constexpr,  # without it, b_ptr is None
    HAS_RESIDUAL: tl.constexpr,  # without it, r_ptr is None
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,  # offsets in 64 bits: needed as soon as one exceeds 2^31 - 1 elements
    EMULATE_BF16: tl.constexpr,  # see convert.widen
    BLOCK_N: tl.constexpr,  # 1, 2, 4 or 8: the products of all rows are held in registers
    BLOCK_K: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    """A dense layer for a few rows: a stream of weights, multiplied and summed in fp32 without matrix units.

    Right for any n, fast while n <= BLOCK_N: further blocks of rows read all weights again.
    Grid: (cdiv(n, BLOCK_N) * cdiv(K, BLOCK_K),), rows fastest.
    """
    row_blocks = tl.cdiv(n, BLOCK_N)
    pid = tl.program_id(0)
    rows = pid % row_blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    k = pid // row_blocks * BLOCK_K + tl.arange(0, BLOCK_K)
    f = tl.arange(0, BLOCK_F)
    if INDEX64:
        rows = rows.to(tl.int64)
        k = k.to(tl.int64)
    row_in = rows < n
    k_in = k < K
    x_tile = x_ptr + (tl.where(row_in, rows, 0) * x_sn)[:, None, None] + f[None, None, :]
    w_tile = w_ptr + (tl.where(k_in, k, 0) * F)[None, :, None] + f[None, None, :]
    acc = tl.zeros((BLOCK_N, BLOCK_K, BLOCK_F), dtype=tl.float32)
    for start in range(0, F, BLOCK_F):
        if F % BLOCK_F == 0:
            x = tl.load(x_tile + start)
            w = tl.load(w_tile + start)
        else:
            f_in = (start + f < F)[None, None, :]
            x = tl.load(x_tile + start, mask=f_in, other=0.0)
            w = tl.load(w_tile + start, mask=f_in, other=0.0)
        acc += widen(x, EMULATE_BF16) * widen(w, EMULATE_BF16)
    acc = tl.sum(acc, axis=2)

    y_in = row_in[:, None] & k_in[None, :]
    if HAS_BIAS:
        acc += tl.load(b_ptr + k, mask=k_in, other=0.0)[None, :]
    if HAS_RESIDUAL:
        r_tile = r_ptr + (rows * r_sn)[:, None] + k[None, :]
        acc += widen(tl.load(r_tile, mask=y_in, other=0.0), EMULATE_BF16)
    acc = activate(acc, ACT, ACT_ARG)
    y_tile = y_ptr + (rows * y_sn)[:, None] + k[None, :]
    tl.store(y_tile, narrow(acc, y_ptr.dtype.element_ty, EMULATE_BF16), mask=y_in)
