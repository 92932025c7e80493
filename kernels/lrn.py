"""Local response normalisation across channels."""

import triton
import triton.language as tl

from .activations import activate
from .convert import narrow, widen
from .pixels import block_indices, count_pixels, pixel_offsets


@triton.jit(do_not_specialize=["n"])
def lrn_kernel(
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
    SIZE: tl.constexpr,
    ALPHA: tl.constexpr,  # torch's: it is divided by SIZE
    BETA: tl.constexpr,
    K: tl.constexpr,
    ACT: tl.constexpr,
    ACT_ARG: tl.constexpr,
    INDEX64: tl.constexpr,
    EMULATE_BF16: tl.constexpr,
    VECTOR: tl.constexpr,  # 4 or 8: the channels that one thread owns; 16 bytes of them load at once
    BLOCK_NHW: tl.constexpr,
    BLOCK_C: tl.constexpr,  # a multiple of VECTOR
):
    """y_c = act(x_c / (K + ALPHA / SIZE * sum of x_j^2)^BETA), j from c - SIZE // 2 to c + (SIZE - 1) // 2.

    Channels outside the tensor count as 0 and the divisor stays SIZE. Everything is in fp32, rounded once.
    Where the base is negative the result is unspecified.

    Grid: (cdiv(n * H * W, BLOCK_NHW), cdiv(C, BLOCK_C)).

    Channels lie in groups of VECTOR, one group per thread. A window that reaches no further than the groups
    next to it is summed in registers: three loads, whatever SIZE is, instead of one unaligned load per window
    position.
    """
    GROUPS: tl.constexpr = BLOCK_C // VECTOR

    nhw = block_indices(0, BLOCK_NHW, INDEX64)
    pixels = count_pixels(n, H * W, INDEX64)
    pixel = tl.minimum(nhw, pixels - 1)
    c = channels_of_groups(GROUPS, VECTOR, INDEX64)
    if INDEX64:
        x_sc = tl.cast(x_sc, tl.int64)
    x_tile = x_ptr + pixel_offsets(pixel, x_sn, x_sh, x_sw, H, W)[:, None, None] + (c * x_sc)[None, :, :]

    y = load_normalised(x_tile, c, x_sc, C, SIZE, ALPHA, BETA, K, EMULATE_BF16, VECTOR)
    y = narrow(activate(y, ACT, ACT_ARG), y_ptr.dtype.element_ty, EMULATE_BF16)
    y_tile = y_ptr + pixel_offsets(nhw, y_sn, y_sh, y_sw, H, W)[:, None, None] + c[None, :, :]
    tl.store(y_tile, y, mask=(nhw < pixels)[:, None, None] & (c < C)[None, :, :])


@triton.jit
def channels_of_groups(GROUPS: tl.constexpr, VECTOR: tl.constexpr, INDEX64: tl.constexpr):
    """Return this program's channels along the grid's second axis: [GROUPS, VECTOR], int32 or int64."""
    groups = tl.program_id(1) * (GROUPS * VECTOR) + tl.arange(0, GROUPS) * VECTOR
    if INDEX64:
        groups = groups.to(tl.int64)
    return groups[:, None] + tl.arange(0, VECTOR)[None, :]


@triton.jit
def load_normalised(
    x_tile,  # pointers [pixels, groups, VECTOR]
    c,  # their channels [groups, VECTOR]
    x_sc,
    C: tl.constexpr,
    SIZE: tl.constexpr,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    K: tl.constexpr,
    EMULATE_BF16: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Return the normalised values of a tile in fp32, loading them and the channels around them."""
    BELOW: tl.constexpr = SIZE // 2
    ABOVE: tl.constexpr = (SIZE - 1) // 2

    x = widen(tl.load(x_tile, mask=(c < C)[None, :, :], other=0.0), EMULATE_BF16)
    if BELOW <= VECTOR:
        lower_in = (c >= VECTOR) & (c - VECTOR < C)
        upper_in = c + VECTOR < C
        lower = tl.load(x_tile - VECTOR * x_sc, mask=lower_in[None, :, :], other=0.0)
        upper = tl.load(x_tile + VECTOR * x_sc, mask=upper_in[None, :, :], other=0.0)
        y = normalised(widen(lower, EMULATE_BF16), x, widen(upper, EMULATE_BF16), SIZE, ALPHA, BETA, K, VECTOR)
    else:
        total = tl.zeros(x_tile.shape, tl.float32)
        for j in range(-BELOW, ABOVE + 1):
            inside = (c + j >= 0) & (c + j < C)
            z = widen(tl.load(x_tile + j * x_sc, mask=inside[None, :, :], other=0.0), EMULATE_BF16)
            total += z * z
        y = x * _power(K + (ALPHA / SIZE) * total, BETA)
    return y


@triton.jit
def normalised(
    lower,
    x,
    upper,
    SIZE: tl.constexpr,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    K: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Return the normalised values of `x` [pixels, groups, VECTOR], fp32.

    `lower` and `upper` hold the groups of channels before and after those of `x`, with 0 for channels outside the
    tensor; the window must reach no further than they do.
    """
    BELOW: tl.constexpr = SIZE // 2
    ABOVE: tl.constexpr = (SIZE - 1) // 2
    tl.static_assert(BELOW <= VECTOR, "the window reaches beyond the groups next to it")
    if VECTOR == 8:
        total = _window_sums_8(lower * lower, x * x, upper * upper, BELOW, ABOVE)
    else:
        tl.static_assert(VECTOR == 4, "VECTOR is 4 or 8")
        total = _window_sums_4(lower * lower, x * x, upper * upper, BELOW, ABOVE)
    return x * _power(K + (ALPHA / SIZE) * total, BETA)


@triton.jit
def _power(base, BETA: tl.constexpr):
    """Return base^-BETA. Square roots cost one instruction each, a general power three."""
    if BETA == 0.75:
        root = tl.rsqrt(base)
        return root * tl.sqrt(root)
    elif BETA == 0.5:
        return tl.rsqrt(base)
    elif BETA == 1.0:
        return 1.0 / base
    elif BETA == 0.0:
        return tl.full(base.shape, 1.0, tl.float32)
    else:
        return tl.exp2(-BETA * tl.log2(base))


# In the two functions below a tile [pixels, groups, VECTOR], each thread of which holds whole groups, is
# taken apart into VECTOR tiles [pixels, groups], one per channel of the group. That moves no data: registers
# get other names. A window is then a plain sum of such tiles.


@triton.jit
def _window_sums_4(lower, tile, upper, BELOW: tl.constexpr, ABOVE: tl.constexpr):
    """Return the sum over channels c - BELOW .. c + ABOVE, for every c; tiles are [pixels, groups, 4]."""
    # A tuple of 12 tiles: channels -4 .. 7.
    z = _channels_of_4(lower) + _channels_of_4(tile) + _channels_of_4(upper)
    even = tl.join(_window_sum(z, 4, BELOW, ABOVE), _window_sum(z, 6, BELOW, ABOVE))
    odd = tl.join(_window_sum(z, 5, BELOW, ABOVE), _window_sum(z, 7, BELOW, ABOVE))
    return tl.reshape(tl.join(even, odd), tile.shape)


@triton.jit
def _window_sums_8(lower, tile, upper, BELOW: tl.constexpr, ABOVE: tl.constexpr):
    """Return the sum over channels c - BELOW .. c + ABOVE, for every c; tiles are [pixels, groups, 8]."""
    # A tuple of 24 tiles: channels -8 .. 15.
    z = _channels_of_8(lower) + _channels_of_8(tile) + _channels_of_8(upper)
    s04 = tl.join(_window_sum(z, 8, BELOW, ABOVE), _window_sum(z, 12, BELOW, ABOVE))
    s26 = tl.join(_window_sum(z, 10, BELOW, ABOVE), _window_sum(z, 14, BELOW, ABOVE))
    s15 = tl.join(_window_sum(z, 9, BELOW, ABOVE), _window_sum(z, 13, BELOW, ABOVE))
    s37 = tl.join(_window_sum(z, 11, BELOW, ABOVE), _window_sum(z, 15, BELOW, ABOVE))
    return tl.reshape(tl.join(tl.join(s04, s26), tl.join(s15, s37)), tile.shape)


@triton.jit
def _window_sum(z, AT: tl.constexpr, BELOW: tl.constexpr, ABOVE: tl.constexpr):
    total = z[AT - BELOW]
    for j in tl.static_range(AT - (BELOW - 1), AT + (ABOVE + 1)):
        total += z[j]
    return total


@triton.jit
def _channels_of_4(tile):
    even, odd = tl.split(tl.reshape(tile, [tile.shape[0], tile.shape[1], 2, 2]))
    z0, z2 = tl.split(even)
    z1, z3 = tl.split(odd)
    return z0, z1, z2, z3


@triton.jit
def _channels_of_8(tile):
    even, odd = tl.split(tl.reshape(tile, [tile.shape[0], tile.shape[1], 4, 2]))
    z0, z2, z4, z6 = _channels_of_4(even)
    z1, z3, z5, z7 = _channels_of_4(odd)
    return z0, z1, z2, z3, z4, z5, z6, z7
