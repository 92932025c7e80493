"""Local response normalisation and max pooling in one kernel: when that pays, and how it is launched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnndsl import tiles_simple as tiles
from cnndsl.ops.fusion import Edge, Obstacle

if TYPE_CHECKING:
    from cnndsl.ops.base import Op
    from cnndsl.ops.binding import Constant, Launch, Site
    from cnndsl.ops.normalize import LocalResponseNorm
    from cnndsl.ops.pool import AvgPool, MaxPool

MOST_CHANNELS = 17
"""The widest window over channels that reaches no further than a group of eight on either side."""

MOST_REPEATS = 3
"""How often a value may be normalised, or pooled, again before that costs more than keeping it in memory.

Counted from SASS for an H200, per multiprocessor: normalising a value takes an eighth of a cycle (two of 16 special
functions, 15 of 128 instructions), and memory moves about 18 bytes a cycle. Two kernels move 6.5 bytes for a value in
fp16 with a pool of step 2 behind, 0.36 cycles, and hide the arithmetic behind it: as much as 2.9 times an eighth.
"""


def pair(first: Op, second: Op) -> tuple[LocalResponseNorm, MaxPool | AvgPool] | None:
    """The LRN and the pool of two layers in either order, or None where they are other layers."""
    from cnndsl.ops.normalize import LocalResponseNorm
    from cnndsl.ops.pool import AvgPool, MaxPool

    match first, second:
        case LocalResponseNorm(), (MaxPool() | AvgPool()):
            return first, second
        case (MaxPool() | AvgPool()), LocalResponseNorm():
            return second, first
    return None


def obstacle(first: Op, second: Op, edge: Edge) -> Obstacle | None:
    """Why the kernel of `first` does not compute `second` too; None where both have one kernel."""
    found = pair(first, second)
    if found is None:
        return second.apart(edge)
    lrn, pool = found
    assert pool.stride is not None
    lrn_first = first is lrn
    norm_name, pool_name = (edge.source, edge.reader) if lrn_first else (edge.reader, edge.source)
    x, y = (edge.x, edge.y) if lrn_first else (edge.before[0], edge.x)
    taps, step = pool.kernel[0] * pool.kernel[1], pool.stride[0] * pool.stride[1]
    # Of a small map, windows at the border hold less than R * S values of their own.
    repeats = min(taps / step, taps * y.height * y.width / (x.height * x.width))
    if pool.mode != "max":
        return Obstacle("average", f"{pool_name} averages: with an LRN, only a maximum shares a kernel")
    if lrn.size > MOST_CHANNELS:
        return Obstacle(
            "reach", f"{norm_name} looks at {lrn.size} channels: with a pool, {MOST_CHANNELS} fit the registers"
        )
    if taps > tiles.MOST_TAPS:
        return Obstacle("large window", f"one thread would walk over all {taps} pixels of {pool_name}'s windows")
    if repeats > MOST_REPEATS:
        what = f"{norm_name} would be computed" if lrn_first else "beside its neighbours it would be pooled"
        return Obstacle(
            "overlap", f"{pool_name}'s windows overlap: {what} {repeats:.3g} times for each value, memory is cheaper"
        )
    return None


def lower(site: Site, op: Op) -> tuple[Launch, ...]:
    """The launch that computes `op` and, behind it, the second layer of a place of the plan."""
    assert site.second is not None
    found = pair(op, site.second)
    assert found is not None
    lrn, pool = found
    x, y = site.xs[0].type, site.y.type
    constants: dict[str, Constant] = {
        **pool.constants(x, y), "SIZE": lrn.size, "ALPHA": lrn.alpha, "BETA": lrn.beta, "K": lrn.k,
        "FIRST": "lrn" if op is lrn else "pool", **site.epilogue(),
    }
    tiling = tiles.lrn_pool(
        site.target, site.dtype, channels=x.channels, size=lrn.size, kernel=pool.kernel, output=(y.height, y.width),
        lrn_first=op is lrn, batch=site.batch,
    )
    return (site.launch_map("lrn_pool", "lrn_pool_kernel", tiling=tiling, constants=constants),)
