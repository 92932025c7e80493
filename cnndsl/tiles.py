"""Tile sizes, warps, stages and launch grids of the convolution and dense kernels.

Nothing here was timed on a GPU yet: the GPU choices follow from registers, shared memory and the number of
multiprocessors, and were checked by compiling. The batch size is not known while compiling: each function
takes the one to choose for (1 unless told otherwise), and every batch size runs correctly with its answer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from cnndsl.targets import Target

DType = Literal["fp32", "tf32", "fp16", "bf16"]

DTYPES: tuple[DType, ...] = get_args(DType)


@dataclass(frozen=True)
class Aim:
    """What is worth fusing is decided for: a number of pictures, and a type. Every batch runs with every answer."""

    batch: int = 1
    dtype: DType = "fp32"


ITEM_BYTES: Mapping[DType, int] = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2}
"""Bytes of one value."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How one kernel is cut into programs.

    constants   the kernel's BLOCK_... constants and their values.
    num_warps   launch options of Triton; without effect in the interpreter.
    num_stages
    grid        one Python expression per axis, over the batch size `n` and the function `cdiv(a, b)`.
    """

    constants: tuple[tuple[str, int], ...]
    num_warps: int
    num_stages: int
    grid: tuple[str, ...]


MOST_POOLED = 64
"""Pixels of the largest picture that a tile of `conv2d_kernel` holds as a whole, to average it; on GPUs its rows."""


def cdiv(a: int, b: int) -> int:
    """Divide, rounding up; the `cdiv` of grid expressions."""
    return -(-a // b)


def power_of_two_from(value: int) -> int:
    """The smallest power of two that is not below `value`."""
    return 1 << (value - 1).bit_length()


def conv2d(
    target: Target,
    dtype: DType,
    *,
    channels: int,
    filters: int,
    kernel: tuple[int, int],
    output: tuple[int, int],
    groups: int = 1,
    batch: int = 1,
    residual: bool = False,
    scaled: bool = False,
    pooled: bool = False,
) -> Tiling:
    """Tile `conv2d_kernel`.

    channels  input channels per group (C).
    filters   all groups together (K).
    kernel    (R, S); output: (P, Q).
    residual, scaled, pooled  whether it has a residual, has scales, averages its result: then P * Q is at most
                              MOST_POOLED.
    """
    pixels = output[0] * output[1]
    reduction = channels * kernel[0] * kernel[1]
    per_group = filters // groups
    if target.kind == "interpreter":
        block_npq, block_k, block_crs = _interpreter_tile(
            channels, reduction, rows=pixels if pooled else batch * pixels, columns=per_group, groups=groups
        )
        if pooled:
            block_npq = power_of_two_from(pixels)
        warps, stages = 1, 1
    else:
        block_npq, block_k, warps = _gpu_tile(
            target, dtype, rows=batch * (MOST_POOLED if pooled else pixels), columns=per_group, groups=groups,
            # With a residual, tiles of 128x256 spill.
            most_columns=128 if residual else 256, only_rows=MOST_POOLED if pooled else None,
        )
        if (scaled or (pooled and target.arch == 80)) and dtype == "fp32" and block_npq * block_k >= 64 * 64:
            warps = 8  # with 4, a tile of 64x64 spills: with scales on sm_90, with averages on sm_80 (on sm_90 with 8)
        if channels % 8 != 0 and (block_npq >= 128 or (dtype == "fp32" and block_npq * block_k >= 64 * 64)):
            # Values gathered one by one take registers: with 4 warps the 7x7 of ResNet spills, and in fp32 the 11x11 of
            # AlexNet does in tiles of 64x64.
            warps = 8
        block_crs = _gpu_conv2d_step(dtype, channels, reduction, columns=block_k)
        # A tile of scales passes through shared memory beside that of the input.
        stages = _gpu_stages(target, dtype, (block_npq * (2 if scaled else 1) + block_k) * block_crs)
        if dtype == "fp32" and target.arch == 100 and kernel[0] * kernel[1] >= 25:
            stages = 2  # products hide the loads, and with more ZFNet's 5x5 spills; on sm_90 it does with these
    blocks = "n" if pooled else f"cdiv(n * {pixels}, {block_npq})"
    return Tiling(
        constants=(("BLOCK_NPQ", block_npq), ("BLOCK_K", block_k), ("BLOCK_CRS", block_crs)),
        num_warps=warps,
        num_stages=stages,
        grid=(f"{blocks} * {cdiv(per_group, block_k)}", str(groups)),
    )


def depthwise(target: Target, dtype: DType, *, filters: int, output: tuple[int, int], batch: int = 1) -> Tiling:
    """Tile `depthwise_kernel` for `filters` filters (the multiplier included) and an output of (P, Q)."""
    pixels = output[0] * output[1]
    if target.kind == "interpreter":
        block_k = min(power_of_two_from(filters), 1024)
        block_npq = min(power_of_two_from(batch * pixels), _INTERPRETER_TILE // block_k)
    else:
        # 16 outputs per thread: 16-byte loads along the channels, and enough threads to hide their latency. In fp32 3x3
        # windows spill with that on sm_100, and in fp16 on sm_80 where rows are short or begin anywhere.
        block_k = max(16, min(64, power_of_two_from(filters)))
        few = target.warp_size > 32 or ITEM_BYTES[dtype] == 4 or filters < 64 or filters % 8 != 0
        block_npq = (8 if few else 16) * 4 * target.warp_size // block_k
    return Tiling(
        constants=(("BLOCK_NPQ", block_npq), ("BLOCK_K", block_k)),
        num_warps=1 if target.kind == "interpreter" else 4,
        num_stages=1,
        grid=(f"cdiv(n * {pixels}, {block_npq}) * {cdiv(filters, block_k)}",),
    )


def linear(target: Target, dtype: DType, *, features: int, units: int, batch: int = 1) -> Tiling:
    """Tile `linear_kernel`, a matrix product, for `features` inputs (F) and `units` outputs (K)."""
    if target.kind == "interpreter":
        block_n, block_k, block_f = _interpreter_tile(features, features, rows=batch, columns=units, groups=1)
        warps, stages = 1, 1
    elif batch <= 16:
        # A stream of weights: many programs with deep queues, whatever the matrix units make of 16 rows.
        block_n, block_k, warps = 16, 32, 4
        block_f = 256 // ITEM_BYTES[dtype]
        stages = _gpu_stages(target, dtype, (block_n + block_k) * block_f)
    else:
        block_n, block_k, warps = _gpu_tile(target, dtype, rows=batch, columns=units, groups=1)
        block_f = 128 // ITEM_BYTES[dtype]
        stages = _gpu_stages(target, dtype, (block_n + block_k) * block_f)
    return Tiling(
        constants=(("BLOCK_N", block_n), ("BLOCK_K", block_k), ("BLOCK_F", block_f)),
        num_warps=warps,
        num_stages=stages,
        grid=(f"cdiv(n, {block_n}) * {cdiv(units, block_k)}",),
    )


def linear_is_small(target: Target, batch: int) -> bool:
    """Whether `linear_small_kernel` is the one for this batch size.

    Up to two rows, its products fit into registers beside a tile wide enough to stream. From three on, matrix
    units that pad to 16 rows should cost nothing: the weights take longer to arrive.
    """
    return target.kind != "interpreter" and batch <= 2


def linear_small(target: Target, dtype: DType, *, features: int, units: int, batch: int = 1) -> Tiling:
    """Tile `linear_small_kernel`, a stream of weights for a few rows."""
    block_n = min(8, power_of_two_from(batch))
    if target.kind == "interpreter":
        block_f = min(power_of_two_from(features), 1024)
        block_k = min(power_of_two_from(units), _INTERPRETER_TILE // (block_f * block_n))
        warps = 1
    else:
        # One row of threads, 16 bytes each, spans BLOCK_F: no exchange between threads in the loop.
        per_warp = target.warp_size * 16 // ITEM_BYTES[dtype]
        warps = next(
            (w for w in (4, 2) if features % (w * per_warp) == 0), 4 if features > 2 * per_warp else 1
        )
        block_f = warps * per_warp
        block_k = max(1, (8 if units >= 4096 else 4) // block_n)
    return Tiling(
        constants=(("BLOCK_N", block_n), ("BLOCK_K", block_k), ("BLOCK_F", block_f)),
        num_warps=warps,
        num_stages=1,
        grid=(f"cdiv(n, {block_n}) * {cdiv(units, block_k)}",),
    )


# --- GPU ---------------------------------------------------------------------------------------------------

# (rows, columns, warps, share of the peak that a machine full of such tiles is expected to reach). The shares
# are estimates from how often a loaded value is used; they only rank the tiles.
_GpuTile = tuple[int, int, int, float]
_MATRIX_TILES: tuple[_GpuTile, ...] = (
    (128, 256, 8, 1.0),
    (128, 128, 8, 0.85),
    (128, 64, 8, 0.7),
    (64, 128, 4, 0.7),
    (64, 64, 4, 0.5),
    (128, 32, 4, 0.45),
    (64, 32, 4, 0.35),
    (64, 16, 4, 0.2),
)
# IEEE fp32 runs on the ordinary units: a thread holds at most 32 sums, so that nothing spills.
_VECTOR_TILES: tuple[_GpuTile, ...] = (
    (128, 64, 8, 1.0),
    (64, 64, 4, 0.95),
    (64, 32, 4, 0.8),
    (32, 32, 4, 0.6),
    (64, 16, 4, 0.5),
)


def _gpu_tile(
    target: Target,
    dtype: DType,
    *,
    rows: int,
    columns: int,
    groups: int,
    most_columns: int = 256,
    only_rows: int | None = None,
) -> tuple[int, int, int]:
    """Choose (rows, columns, warps) of the output tile by the least expected time.

    The programs run in waves of one per multiprocessor; a wave takes as long as its tile has products, but
    never less than a 64x32 tile at its expected share, where the latency of the loop's loads takes over.
    """
    tiles = _VECTOR_TILES if dtype == "fp32" else _MATRIX_TILES
    if target.shared_memory_bytes < 3 * (128 + 256) * 128 or dtype == "tf32":
        # Three stages of the largest tile do not fit; in tf32 it spills at 5x5 filters.
        tiles = tuple(tile for tile in tiles if tile[1] <= 128)
    # A tile much wider than the layer computes columns that nobody wants, and with tanh in fp32 it spills.
    tiles = tuple(tile for tile in tiles if tile[1] <= min(most_columns, max(16, power_of_two_from(columns))))
    tiles = tuple(tile for tile in tiles if only_rows in {None, tile[0]})

    def cost(tile: _GpuTile) -> tuple[float, int]:
        block_rows, block_columns, _, share = tile
        programs = cdiv(rows, block_rows) * cdiv(columns, block_columns) * groups
        waves = cdiv(programs, target.num_multiprocessors)
        return waves * max(block_rows * block_columns / share, 64 * 32 / 0.35), -block_rows * block_columns

    block_rows, block_columns, warps, _ = min(tiles, key=cost)
    return block_rows, block_columns, warps


def _gpu_conv2d_step(dtype: DType, channels: int, reduction: int, *, columns: int) -> int:
    """Choose BLOCK_CRS: 128 bytes per row, a line of shared memory, unless the reduction is shorter.

    It need not divide the channels: for 96 channels on sm_90, a step of 64 over the flattened reduction takes
    166 instructions, two steps of 32 within a tap take 196.
    """
    wide = 128 // ITEM_BYTES[dtype]
    if channels % 8 != 0:
        wide = 32  # values gathered one by one: a wider step only takes registers
    elif dtype == "fp32":
        # A step is unrolled into single multiplications: 32 of them spill on sm_80. Not with 16 columns, whose 128
        # threads would copy filters by 8 bytes with 16.
        wide = 16 if columns > 16 else 32
    return max(16, min(wide, power_of_two_from(reduction)))


def _gpu_stages(target: Target, dtype: DType, elements: int) -> int:
    """Choose the depth of the loop's pipeline, for stages of `elements` in shared memory.

    Four where two programs still fit on a multiprocessor, three otherwise, two where the memory ends.
    """
    if target.kind == "hip":
        return 2
    stage = elements * ITEM_BYTES[dtype]
    shared = target.shared_memory_bytes - 1024  # what the driver keeps for itself
    return max(2, min(shared // stage, 4 if 2 * 4 * stage <= shared else 3))


# --- The interpreter ---------------------------------------------------------------------------------------

_INTERPRETER_TILE = 1 << 20  # the largest tile Triton accepts, TRITON_MAX_TENSOR_NUMEL

# Costs in nanoseconds, measured on two cores with Triton 3.7.1: every operation of the interpreter is a NumPy
# call on a whole tile, so programs and steps of the loop have a cost of their own, and gathering an element
# through its pointer costs as much as two thousand multiplications.
_PROGRAM_NS = 4e6
_STEP_NS = 2e6
_GATHER_NS = 26.0
_BOUNDS_NS = 50.0  # the two-dimensional bounds of a step over several taps, per element of the input tile
_PRODUCT_NS = 0.012
_OUTPUT_NS = 50.0


def _interpreter_tile(
    channels: int, reduction: int, *, rows: int, columns: int, groups: int
) -> tuple[int, int, int]:
    """Choose the tile's (rows, columns, reduction) by the least expected time in the interpreter."""

    def cost(tile: tuple[int, int, int]) -> float:
        block_rows, block_columns, block_reduction = tile
        programs = cdiv(rows, block_rows) * cdiv(columns, block_columns) * groups
        gather_input = _GATHER_NS if channels % block_reduction == 0 else _GATHER_NS + _BOUNDS_NS
        step = (
            _STEP_NS
            + block_rows * block_reduction * gather_input
            + block_columns * block_reduction * _GATHER_NS
            + block_rows * block_columns * block_reduction * _PRODUCT_NS
        )
        epilogue = block_rows * block_columns * _OUTPUT_NS
        return programs * (_PROGRAM_NS + cdiv(reduction, block_reduction) * step + epilogue)

    return min(_interpreter_tiles(rows, columns, reduction), key=cost)


def _interpreter_tiles(rows: int, columns: int, reduction: int) -> Iterator[tuple[int, int, int]]:
    """All tiles of powers of two that Triton accepts, none more than twice as large as the layer.

    Steps of more than 1024 are left out: gathering 4096 elements a row was measured 30 % slower per element.
    """
    for block_rows in _powers_of_two(rows):
        for block_columns in _powers_of_two(columns):
            for block_reduction in _powers_of_two(min(reduction, 1024)):
                widest, second = sorted((block_rows, block_columns, block_reduction))[1:]
                if widest * second <= _INTERPRETER_TILE:
                    yield block_rows, block_columns, block_reduction


def _powers_of_two(last: int) -> Iterator[int]:
    """1, 2, 4 ... up to the first power of two that is not below `last`."""
    power = 1
    while power < last:
        yield power
        power *= 2
    yield power
