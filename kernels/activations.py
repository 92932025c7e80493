"""Activation functions on an fp32 tile: the last step of every epilogue.

NaN stays NaN, relu and relu6 keep -0.0, and +-inf give what torch gives in fp64 (silu, gelu and hardswish of -inf are
NaN: -inf * 0).
"""

import triton
import triton.language as tl


@triton.jit
def activate(
    x,
    ACT: tl.constexpr,  # none relu leaky_relu relu6 elu gelu silu sigmoid tanh hardswish hardsigmoid
    ACT_ARG: tl.constexpr,  # the slope of leaky_relu, the alpha of elu; 0.0 for all others
):
    """Apply an activation to `x` (fp32, any shape) and return fp32 of the same shape."""
    if ACT == "relu":
        # NaN and -0.0 fail the comparison and are passed on; tl.maximum would turn both into 0.
        return tl.where(x < 0.0, 0.0, x)
    elif ACT == "leaky_relu":
        return tl.where(x > 0.0, x, x * ACT_ARG)
    elif ACT == "relu6":
        return _clip_to_six(x)
    elif ACT == "elu":
        return tl.where(x <= 0.0, ACT_ARG * _expm1_of_negative(x), x)
    elif ACT == "gelu":
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif ACT == "silu":
        return x * _sigmoid(x)
    elif ACT == "sigmoid":
        return _sigmoid(x)
    elif ACT == "tanh":
        return _tanh(x)
    elif ACT == "hardswish":
        return x * (_clip_to_six(x + 3.0) * 0.16666666666666666)
    elif ACT == "hardsigmoid":
        return _clip_to_six(x + 3.0) * 0.16666666666666666
    else:
        tl.static_assert(ACT == "none", "unknown activation")
        return x


@triton.jit
def _clip_to_six(x):
    # Written so that NaN is passed on, which tl.minimum and tl.maximum would not do.
    return tl.where(x < 0.0, 0.0, tl.where(x > 6.0, 6.0, x))


@triton.jit
def _sigmoid(x):
    # exp of a negative number only: it cannot overflow, and small results keep their relative precision.
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0.0, e, 1.0) / (1.0 + e)


@triton.jit
def _tanh(x):
    # Near 0, (1 - e) / (1 + e) cancels; below 0.6 an odd polynomial stands in (a Chebyshev fit of relative
    # error 1.1e-8). Measured over all magnitudes in fp32 arithmetic: relative error below 2e-7.
    # It ends in a multiplication by x, which keeps -0.0.
    small = tl.abs(x) < 0.6
    z = tl.where(small, x, 0.0)
    z = z * z
    p = -0.00626911972 * z + 0.021110959
    p = p * z - 0.0538739488
    p = p * z + 0.133329154
    p = p * z - 0.333333303
    e = tl.exp(-tl.abs(x))
    e = e * e
    t = (1.0 - e) / (1.0 + e)
    return tl.where(small, x * (1.0 + z * p), tl.where(x < 0.0, -t, t))


@triton.jit
def _expm1_of_negative(x):
    # exp(x) - 1 cancels near 0; from -0.5 on a polynomial (Chebyshev fit, relative error 5e-9) stands in.
    # Values above 0 give 0: the caller selects them away, and exp must not overflow on them.
    x = tl.where(x > 0.0, 0.0, x)
    near = tl.where(x > -0.5, x, 0.0)
    p = 0.00116428703 * near + 0.00823822135
    p = p * near + 0.04164993
    p = p * near + 0.166665628
    p = p * near + 0.49999999
    return tl.where(x > -0.5, near * (1.0 + near * p), tl.exp(x) - 1.0)
