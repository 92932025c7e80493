"""What every compiled kernel must keep: `complaints`, and what it need not for a reason: `exceptions`.

Of a kernel's instructions it is known how many of each width there are, not what they read. So widths are held twice:
the widest must be as wide as the operands allow, and in fp16, where a bias takes four bytes, none may be of one value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from cnndsl.codegen.package import Kernel
from cnndsl.compiler import Compiled, Job, Resources
from cnndsl.targets import Target
from cnndsl.tiles import ITEM_BYTES, DType

WIDEST = 16
"""Bytes that one instruction moves for a thread at most."""

EXCEPTIONS = {
    "picture": "reads the caller's [n, C, H, W] picture, whose channels lie far apart, value by value",
    "narrow": "a pixel's channels, or the slice of them that a group reads or writes, are no multiple of 16 bytes: "
    "accesses are as wide as they allow",
    "shuffle": "a channel shuffle gathers neighbours from as many places as there are groups, value by value",
    "sums": "a thread ends with one sum, and neighbours write neighbouring values: the results of a global pool, of a "
    "convolution that averages, and of a dense layer of one or two rows, which is a stream of weights and needs no "
    "matrix instructions",
    "amd": "AMD's matrix units leave 8 bytes of fp16 with each thread, which is what is written",
}
"""What a kernel does not keep, by a word for it."""

MATRIX = frozenset({"conv2d_kernel", "linear_kernel"})
"""Kernels whose products are those of matrices."""

SUMS = frozenset({"global_pool_kernel", "linear_small_kernel", "pool_linear_kernel"})
"""Kernels that write one value a thread."""


@dataclass(frozen=True)
class Row:
    """One kernel, as the first of the networks that have it names it."""

    networks: tuple[str, ...]
    kernel: Kernel
    target: Target
    dtype: DType

    @property
    def job(self) -> Job:
        """What to compile."""
        return Job(self.kernel, self.target)

    def constant(self, name: str) -> int:
        """A folded constant, or an integer that the launch passes."""
        passed = {p.name: p.value for p in self.kernel.parameters}
        found = {**passed, **dict(self.kernel.constants)}[name]
        assert isinstance(found, int), name
        return found


def exceptions(row: Row) -> tuple[str, ...]:
    """The words for what a kernel does not keep, by what it is and where its operands lie."""
    function = row.kernel.function
    found = {
        "picture": any(_stride(row, f"{x}_sc") != 1 for x, _ in _operands(row)),
        "narrow": any(
            _widest(row, x, run) < WIDEST
            for x, run in (*_operands(row), ("y", _written(row)))
            if _stride(row, f"{x}_sc") == 1
        ),
        "shuffle": function == "copy_kernel" and row.constant("GROUPS") > 1,
        "sums": _sums(row),
        "amd": row.target.kind == "hip" and row.dtype == "fp16" and function in MATRIX,
    }
    return tuple(word for word in EXCEPTIONS if found[word])


def complaints(row: Row, compiled: Compiled) -> Iterator[str]:
    """What is wrong with a compiled kernel, if anything."""
    found = compiled.resources
    if found is None:
        yield f"does not compile: {compiled.error}"
        return
    if found.stack or found.spill_stores or found.spill_loads or found.instructions.local:
        yield f"spills: {found.stack} bytes of stack, {found.spill_stores} stored, {found.spill_loads} loaded"
    if found.shared > row.target.shared_memory_bytes:
        yield f"{found.shared} bytes of shared memory, of {row.target.shared_memory_bytes}"
    if found.programs < 1:
        yield f"not one program fits on a multiprocessor, for {found.limiter}"
    yield from _matrix(row, compiled, found)
    yield from _reads(row, found)
    yield from _writes(row, found)


def _matrix(row: Row, compiled: Compiled, found: Resources) -> Iterator[str]:
    """In fp16 all products of matrices are the matrix units'."""
    if row.kernel.function not in MATRIX or row.dtype == "fp32":
        return
    if not found.instructions.matrix:
        yield "no matrix instructions"
    rows = row.constant("BLOCK_NPQ" if row.kernel.function == "conv2d_kernel" else "BLOCK_N")
    # Below 64 rows there is nothing to fill a warpgroup's matrix instruction with.
    if row.target.name == "sm_90" and rows >= 64 and "HGMMA" not in compiled.stage("sass"):
        yield "no HGMMA"


def _reads(row: Row, found: Resources) -> Iterator[str]:
    counts, excused = found.instructions, exceptions(row)
    reads = {width for width, _ in (*counts.global_loads, *counts.copy_widths)}
    if "picture" in excused or "shuffle" in excused:
        return
    allowed = [_widest(row, x, run) for x, run in _operands(row)]
    if max(reads) < min(allowed):
        yield f"no reads of {min(allowed)} bytes: {sorted(reads)}"
    if counts.copy_widths and min(allowed) == WIDEST and {width for width, _ in counts.copy_widths} != {WIDEST}:
        yield f"copies of {counts.copy_widths}"
    # A residual is added to one sum as it is written.
    one_by_one = row.kernel.function in SUMS and _flag(row, "HAS_RESIDUAL")
    if row.dtype == "fp16" and min(allowed) > 2 and min(reads) <= 2 and not one_by_one:
        yield f"reads value by value: {sorted(reads)}"


def _writes(row: Row, found: Resources) -> Iterator[str]:
    excused = exceptions(row)
    if "sums" in excused:
        return
    writes = {width for width, _ in found.instructions.global_stores}
    allowed = _widest(row, "y", _written(row))
    if "amd" in excused and found.instructions.matrix:
        allowed = min(allowed, 8)
    if max(writes) < allowed:
        yield f"no writes of {allowed} bytes: {sorted(writes)}"


# --- operands -------------------------------------------------------------------------------------------------------


def _operands(row: Row) -> list[tuple[str, int]]:
    """What a kernel reads of other kernels, by its prefix, and how many neighbouring values of a pixel it reads."""
    function = row.kernel.function
    names = [f"x{i}" for i in range(row.constant("COUNT"))] if function == "join_kernel" else ["x"]
    run = row.constant("F" if function.startswith("linear") else "C")
    found = [(name, run) for name in (*names, *(["s"] if _flag(row, "HAS_SCALE") else []))]
    if _flag(row, "HAS_RESIDUAL") and function not in SUMS:
        found.append(("r", _written(row)))
    return found


def _sums(row: Row) -> bool:
    """Whether each of its threads writes one value."""
    return row.kernel.function in SUMS or _flag(row, "POOL")


def _flag(row: Row, name: str) -> bool:
    return bool(dict(row.kernel.constants).get(name, False))


def _written(row: Row) -> int:
    """How many neighbouring values it writes."""
    function, known = row.kernel.function, dict(row.kernel.constants)
    if function == "conv2d_kernel":
        return row.constant("K") // row.constant("GROUPS")
    if function == "flatten_kernel":
        return row.constant("H") * row.constant("W")
    # K of a normalisation is a number of its formula.
    return row.constant("K" if "K" in known and "lrn" not in function else "C")


def _stride(row: Row, name: str) -> int:
    """A stride; of a channel it is 1 where the kernel takes none."""
    return row.constant(name) if _has(row, name) else 1


def _has(row: Row, name: str) -> bool:
    return name in dict(row.kernel.constants) or any(p.name == name for p in row.kernel.parameters)


def _widest(row: Row, operand: str, run: int) -> int:
    """Bytes of the widest access that an operand allows, of which `run` neighbouring values are taken at a time."""
    bytes_ = ITEM_BYTES[row.dtype]
    if _stride(row, f"{operand}_sc") != 1 or not _aligned(row, f"{operand}_ptr"):
        return bytes_
    pixel = f"{operand}_sw" if _has(row, f"{operand}_sw") else f"{operand}_sn"
    return gcd(run, row.constant(pixel), WIDEST // bytes_) * bytes_


def _aligned(row: Row, pointer: str) -> bool:
    return all(p.aligned for p in row.kernel.parameters if p.name == pointer)
