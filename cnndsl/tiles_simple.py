"""Tiles of the kernels without matrix products: pooling, LRN, pointwise, softmax, moves.

As in `tiles`, every function takes the batch size to choose for, and every other one runs correctly too.
Shapes are (height, width). The GPU tiles aim at 16-byte accesses and full memory sectors; none was timed on a
GPU yet.
"""

from cnndsl.targets import Target
from cnndsl.tiles import ITEM_BYTES, DType, Tiling, cdiv, power_of_two_from

# In the interpreter a program costs about 5 ms and an operation about 20 us before its first element, so a
# program takes whole images where it can. Below the smallest of these sizes (in elements) a larger tile takes
# no longer; above the largest its temporaries leave the cache and little is gained. Triton itself accepts
# 2^20.
_INTERPRETER_SMALLEST = 1 << 15
_INTERPRETER_LARGEST = 1 << 19

MOST_TAPS = 64
"""Taps of the largest pooling window whose loops are unrolled."""

# A GPU program that keeps a row of channels in registers has at most 32 of them per thread, in 16 warps.
_LONGEST_ROW = 16384


def pool2d(
    target: Target,
    dtype: DType,
    *,
    channels: int,
    kernel: tuple[int, int],
    output: tuple[int, int],
    batch: int = 1,
) -> Tiling:
    """Tile `pool2d_kernel` for windows of `kernel` (R, S) and an output of (P, Q)."""
    r, s = kernel
    rows, columns, warps = _tile(
        target, dtype, pixels=_area(output), channels=channels, batch=batch, largest=1024
    )
    unrolled = ("UNROLL_R", r if r * s <= MOST_TAPS else 1), ("UNROLL_S", s if s <= 8 else 1)
    return _tiling(unrolled, ("BLOCK_NPQ", rows), output, channels=channels, columns=columns, warps=warps)


def global_pool(target: Target, dtype: DType, *, channels: int, image: tuple[int, int]) -> Tiling:
    """Tile `global_pool_kernel` for an input of `image` (H, W). Every image has programs of its own."""
    if target.kind == "interpreter":
        columns = min(power_of_two_from(channels), 4096)
        rows = min(power_of_two_from(_area(image)), _INTERPRETER_LARGEST // columns)
        warps = 1
    else:
        # Only channels and images are divided among programs: the shortest runs that fill sectors.
        columns = min(power_of_two_from(channels), 64 // ITEM_BYTES[dtype])
        rows = min(power_of_two_from(_area(image)), 1024 // columns)
        warps = min(max(rows * columns // _least(target, dtype), 1), 4)
    return Tiling(
        constants=(("BLOCK_HW", rows), ("BLOCK_C", columns)),
        num_warps=warps,
        num_stages=1,
        grid=("n", str(cdiv(channels, columns))),
    )


def adaptive_avg_pool2d(
    target: Target, dtype: DType, *, channels: int, output: tuple[int, int], batch: int = 1
) -> Tiling:
    """Tile `adaptive_avg_pool2d_kernel` for an output of (P, Q)."""
    rows, columns, warps = _tile(
        target, dtype, pixels=_area(output), channels=channels, batch=batch, largest=1024
    )
    return _tiling((), ("BLOCK_NPQ", rows), output, channels=channels, columns=columns, warps=warps)


def lrn(
    target: Target, dtype: DType, *, channels: int, size: int, image: tuple[int, int], batch: int = 1
) -> Tiling:
    """Tile `lrn_kernel` for a tensor of `image` (H, W) and windows of `size` channels."""
    vector = _vector(target, dtype, size)
    rows, columns, warps = _tile(
        target, dtype, pixels=_area(image), channels=max(channels, vector), batch=batch, largest=2048
    )
    return _tiling(
        (("VECTOR", vector),), ("BLOCK_NHW", rows), image, channels=channels, columns=columns, warps=warps
    )


def lrn_pool(
    target: Target,
    dtype: DType,
    *,
    channels: int,
    size: int,
    kernel: tuple[int, int],
    output: tuple[int, int],
    lrn_first: bool,
    batch: int = 1,
) -> Tiling:
    """Tile `lrn_pool_kernel` for windows of `size` channels and of `kernel` (R, S) pixels, and an output of (P, Q)."""
    vector = _vector(target, dtype, size)
    rows, columns, warps = _tile(
        target, dtype, pixels=_area(output), channels=max(channels, vector), batch=batch, largest=1024
    )
    r, s = kernel
    # All taps' loads at once take up to 168 registers where each is normalised; a row's take 64. One warp for a tile
    # means that there is little work: registers are free then, and waiting is not.
    whole = r * s <= MOST_TAPS and (warps == 1 or not lrn_first)
    unrolled = ("UNROLL_R", r if whole else 1), ("UNROLL_S", s if s <= 8 else 1)
    if lrn_first and ITEM_BYTES[dtype] == 4 and target.kind == "cuda":
        warps *= 2  # 16 bytes for each thread: with 32, GoogLeNet's 3x3 spills on sm_80 and sm_100
    return _tiling(
        (("VECTOR", vector), *unrolled), ("BLOCK_NPQ", rows), output, channels=channels, columns=columns, warps=warps
    )


def pointwise(
    target: Target, dtype: DType, *, channels: int, image: tuple[int, int], batch: int = 1
) -> Tiling:
    """Tile `unary_kernel` and `join_kernel` for an output of `image` (H, W)."""
    rows, columns, warps = _tile(
        target, dtype, pixels=_area(image), channels=channels, batch=batch, largest=2048
    )
    return _tiling((), ("BLOCK_NHW", rows), image, channels=channels, columns=columns, warps=warps)


def softmax(target: Target, *, channels: int, image: tuple[int, int] = (1, 1), batch: int = 1) -> Tiling:
    """Tile `softmax_kernel` for a tensor of `image` (H, W). A program owns whole pixels."""
    if target.kind == "interpreter":
        columns = min(power_of_two_from(channels), _INTERPRETER_LARGEST)
        rows = _interpreter_rows(_area(image) * batch, columns)
        warps = 1
    else:
        columns = power_of_two_from(channels) if channels <= _LONGEST_ROW else 4096
        rows = max(1, 1024 // columns)
        warps = min(max(rows * columns // 256, 1), 16)
    return Tiling(
        constants=(("BLOCK_NHW", rows), ("BLOCK_C", columns)),
        num_warps=warps,
        num_stages=1,
        grid=(_row_blocks(image, rows),),
    )


def copy(target: Target, dtype: DType, *, channels: int, output: tuple[int, int], batch: int = 1) -> Tiling:
    """Tile `copy_kernel` for an output of (P, Q)."""
    rows, columns, warps = _tile(
        target, dtype, pixels=_area(output), channels=channels, batch=batch, largest=2048
    )
    return _tiling((), ("BLOCK_NPQ", rows), output, channels=channels, columns=columns, warps=warps)


def flatten(target: Target, *, channels: int, image: tuple[int, int]) -> Tiling:
    """Tile `flatten_kernel` for an input of `image` (H, W). Every image has programs of its own."""
    pixels = power_of_two_from(_area(image))
    if target.kind == "interpreter":
        columns = min(power_of_two_from(channels), 4096)
        rows = min(pixels, _INTERPRETER_LARGEST // columns)
        warps = 1
    else:
        # Read along the channels and written along the pixels: both sides of the tile are runs in memory.
        rows = min(pixels, 64)
        columns = min(power_of_two_from(channels), 2048 // rows)
        warps = min(max(rows * columns // 256, 1), 4)
    return Tiling(
        constants=(("BLOCK_HW", rows), ("BLOCK_C", columns)),
        num_warps=warps,
        num_stages=1,
        grid=("n", str(cdiv(_area(image), rows)), str(cdiv(channels, columns))),
    )


def _vector(target: Target, dtype: DType, size: int) -> int:
    """One thread's group of channels: 16 bytes, but 8 where windows of up to 17 channels then fit the registers."""
    return 4 if size // 2 <= 4 and (target.kind == "interpreter" or ITEM_BYTES[dtype] == 4) else 8


def _tiling(
    constants: tuple[tuple[str, int], ...],
    rows: tuple[str, int],
    image: tuple[int, int],
    *,
    channels: int,
    columns: int,
    warps: int,
) -> Tiling:
    """A grid of (blocks of all images' pixels, blocks of channels)."""
    return Tiling(
        constants=(*constants, rows, ("BLOCK_C", columns)),
        num_warps=warps,
        num_stages=1,
        grid=(_row_blocks(image, rows[1]), str(cdiv(channels, columns))),
    )


def _row_blocks(image: tuple[int, int], rows: int) -> str:
    return f"cdiv(n * {_area(image)}, {rows})"


def _tile(
    target: Target, dtype: DType, *, pixels: int, channels: int, batch: int, largest: int
) -> tuple[int, int, int]:
    """Choose (pixels, channels, warps) of a tile; on a GPU it has at most `largest` elements."""
    if target.kind == "interpreter":
        columns = min(power_of_two_from(channels), 4096)
        return _interpreter_rows(pixels * batch, columns), columns, 1
    columns = _gpu_columns(channels, ITEM_BYTES[dtype])
    # Two tiles per multiprocessor, where there is that much work.
    least = _least(target, dtype)
    elements = largest
    while elements > least and cdiv(pixels * batch, elements // columns) * cdiv(channels, columns) < (
        2 * target.num_multiprocessors
    ):
        elements //= 2
    return elements // columns, columns, min(4, elements // least)


def _least(target: Target, dtype: DType) -> int:
    """Elements of a warp: 256, and 16 bytes for a thread, of which AMD's warps have 64."""
    return max(256, target.warp_size * 16 // ITEM_BYTES[dtype])


def _gpu_columns(channels: int, itemsize: int) -> int:
    """Choose the channels of a tile: the fewest idle lanes, then the longest runs, 64 bytes or more."""
    longest = min(power_of_two_from(channels), 128)
    shortest = min(longest, 64 // itemsize)
    candidates = [columns for columns in (1, 2, 4, 8, 16, 32, 64, 128) if shortest <= columns <= longest]
    return min(candidates, key=lambda columns: (cdiv(channels, columns) * columns, -columns))


def _interpreter_rows(pixels: int, columns: int) -> int:
    fewest = max(1, _INTERPRETER_SMALLEST // columns)
    most = max(1, _INTERPRETER_LARGEST // columns)
    return min(max(power_of_two_from(pixels), fewest), most)


def _area(image: tuple[int, int]) -> int:
    return image[0] * image[1]

