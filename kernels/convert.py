"""Conversions between storage types and the fp32 in which everything is accumulated."""

import triton
import triton.language as tl


@triton.jit
def widen(x, EMULATE_BF16: tl.constexpr):
    """Return the values of `x` as fp32."""
    # Set for bf16 networks on the interpreter target only. NumPy has no bfloat16: Triton's interpreter keeps the
    # bits in uint16, multiplies those bits in tl.dot as if they were integers, and cuts instead of rounding when
    # it narrows. So bf16 is moved through integer shifts, which are exact.
    if EMULATE_BF16:
        if x.dtype == tl.bfloat16:
            x = (x.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    return x.to(tl.float32)


@triton.jit
def narrow(y, dtype: tl.constexpr, EMULATE_BF16: tl.constexpr):
    """Return the fp32 tile `y` in `dtype`, rounded to nearest even; NaN stays NaN."""
    if EMULATE_BF16:
        if dtype == tl.bfloat16:
            bits = y.to(tl.uint32, bitcast=True)
            bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
            bits = tl.where(y == y, bits, 0x7FC0)
            y = bits.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return y.to(dtype)


@triton.jit
def multiply(a, b, EMULATE_BF16: tl.constexpr):
    """Return a * b for tiles of one type, rounded to it."""
    # In a 16-bit type too that is one rounding: its products are exact in fp32.
    if EMULATE_BF16:
        return narrow(widen(a, True) * widen(b, True), a.dtype, True)
    else:
        return a * b


@triton.jit
def accumulate(
    acc,
    a,
    b,
    PRECISION: tl.constexpr,  # of fp32 products: "ieee" or "tf32"; without effect on fp16 and bf16
    EMULATE_BF16: tl.constexpr,
):
    """Return acc + a @ b.T for an fp32 tile `acc`, multiplying in the type of `b`."""
    if EMULATE_BF16:
        return tl.dot(widen(a, True), tl.trans(widen(b, True)), acc, input_precision="ieee")
    else:
        return tl.dot(a.to(b.dtype), tl.trans(b), acc, input_precision=PRECISION)
