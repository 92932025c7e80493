"""Global average pooling in the kernel before it or behind it: what that should take, and the tiles of the latter.

A dense layer that averages its input reads the whole picture in every program, where pooling alone shares it out among
many; a convolution that averages its result has tiles that are partly idle. Both save a launch, so they win where there
is little else. Nothing here was timed: the figures are of an H200, and decide for every target, so that all of them
compute the same layers together.
"""

from collections.abc import Mapping

from cnndsl.targets import Target
from cnndsl.tiles import ITEM_BYTES, MOST_POOLED, DType, Tiling, cdiv, power_of_two_from

LAUNCH_NS = 2000.0
"""What a small kernel costs beside its traffic: its launch behind another, and waiting for its first values."""

CACHE_RATE = 5000.0
"""Bytes per nanosecond that all multiprocessors together read from the L2 cache."""

MULTIPROCESSOR_RATE = 64.0
"""Bytes per nanosecond that one reads, while others wait: about half of what its port could take."""

MULTIPROCESSORS = 132

RATES: Mapping[DType, float] = {"fp32": 40e3, "tf32": 200e3, "fp16": 400e3, "bf16": 400e3}
"""Operations per nanosecond of a convolution that keeps the machine busy: half of the peak, two thirds in fp32."""

MOST_CHANNELS = 4096
"""The means of all channels are in registers: 16 of them in each of 256 threads."""

_THREADS = 256
_INTERPRETER_LARGEST = 1 << 19


def fused_ns(dtype: DType, *, channels: int, image: tuple[int, int], units: int, batch: int) -> float:
    """Expected nanoseconds of `pool_linear_kernel` for an input of `image` (H, W), less what any kernel costs."""
    return min(
        _fused_ns(dtype, channels=channels, image=image, units=units, batch=batch, programs=programs)
        for programs in _choices(units)
    )


def apart_ns(dtype: DType, *, channels: int, image: tuple[int, int], units: int, batch: int) -> float:
    """Expected nanoseconds of `global_pool_kernel` and then a dense kernel, less what any one kernel costs."""
    item, pixels = ITEM_BYTES[dtype], image[0] * image[1]
    columns = 64 // item
    pooling = _time(batch * cdiv(channels, columns), pixels * min(channels, columns) * item)
    rows, width = (batch, 4) if batch <= 2 else (16, 32) if batch <= 16 else (64, 64)
    dense = _time(cdiv(batch, rows) * cdiv(units, width), (min(rows, batch) + width) * channels * item)
    return LAUNCH_NS + pooling + dense


def idle_ns(dtype: DType, *, pixels: int, macs: int, batch: int) -> float:
    """Nanoseconds that a convolution's products take longer where a tile of MOST_POOLED rows holds one picture.

    macs  its multiply-accumulates for one picture of `pixels`.
    """
    rows = batch * MOST_POOLED
    packed = cdiv(batch * pixels, MOST_POOLED) * MOST_POOLED
    return 2 * macs / pixels * (rows - packed) / RATES[dtype]


def pooling_ns(dtype: DType, *, size: int, batch: int) -> float:
    """Nanoseconds that are saved where no picture of `size` values is stored, and loaded by a kernel that pools."""
    return LAUNCH_NS + 2 * batch * size * ITEM_BYTES[dtype] / CACHE_RATE


def pool_linear(
    target: Target, dtype: DType, *, channels: int, image: tuple[int, int], units: int, batch: int = 1
) -> Tiling:
    """Tile `pool_linear_kernel` for an input of `image` (H, W) with at most MOST_CHANNELS channels."""
    pixels, columns = image[0] * image[1], power_of_two_from(channels)
    if target.kind == "interpreter":
        rows = min(power_of_two_from(pixels), _INTERPRETER_LARGEST // columns)
        block_k = min(power_of_two_from(units), _INTERPRETER_LARGEST // columns)
        steps, unroll, warps = cdiv(units, block_k), 1, 1
    else:
        item = ITEM_BYTES[dtype]
        columns = max(columns, 64 // item)
        # A thread holds eight sums or more, and has 64 registers of loads in flight: 16 bytes each, where it can be.
        rows = min(max(1, 8 * _THREADS // columns), power_of_two_from(pixels))
        lanes = target.warp_size
        warps = min(max(rows * columns // (8 * lanes), 1), _THREADS // lanes)
        each = rows * columns // (lanes * warps) * item // 4
        unroll = min(cdiv(pixels, rows), max(1, 48 // each))
        # Of the weights a thread reads 16 bytes and more; units beyond the last cost less than narrow reads.
        least, most = (size // item * lanes * warps // columns for size in (16, 128))
        block_k = max(1, least, min(power_of_two_from(units), most))
        programs = min(
            _choices(units),
            key=lambda n: _fused_ns(dtype, channels=channels, image=image, units=units, batch=batch, programs=n),
        )
        steps = cdiv(cdiv(units, block_k), programs)
    return Tiling(
        constants=(
            ("STEPS", steps), ("UNROLL", unroll), ("BLOCK_HW", rows), ("BLOCK_K", block_k), ("BLOCK_C", columns),
        ),
        num_warps=warps,
        num_stages=1,
        grid=("n", str(cdiv(units, block_k * steps))),
    )


def _choices(units: int) -> range:
    """Programs for each picture that are weighed up: up to one for every four units."""
    return range(1, min(cdiv(units, 4), MULTIPROCESSORS) + 1)


def _fused_ns(
    dtype: DType, *, channels: int, image: tuple[int, int], units: int, batch: int, programs: int
) -> float:
    each = image[0] * image[1] + cdiv(units, programs)
    return _time(batch * programs, each * channels * ITEM_BYTES[dtype])


def _time(programs: int, read: int) -> float:
    """Nanoseconds of so many programs that read so many bytes each."""
    waves = cdiv(programs, MULTIPROCESSORS)
    return max(programs * read / CACHE_RATE, waves * read / MULTIPROCESSOR_RATE)
