"""Write docs/kernels.md: what every kernel of every example compiles to, on four targets in two types.

    python scripts/kernel_table.py      writes the page: `make kernels`, two minutes on two cores with nothing cached

Nothing here needs a GPU, and nothing here was timed on one. tests/test_kernel_table.py holds the page to be fresh, and
each kernel to `complaints`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cnndsl import targets
from cnndsl.codegen.package import Kernel, package
from cnndsl.compiler import Compiled, Job, Resources, compile_kernels
from cnndsl.files import choose_network, load_path
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.targets import Target
from cnndsl.tiles import Aim, DType

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "kernels.md"

EXAMPLES = (
    "lenet5", "alexnet", "alexnet_paper", "alexnet_torchvision", "vgg11", "vgg13", "vgg16", "vgg16_bn", "vgg19",
)  # fmt: skip
TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")
DTYPES: tuple[DType, ...] = ("fp16", "fp32")

HEAD = """\
# What the kernels compile to

Every kernel of networks without branches, for tiles of a batch of 1, as Triton {triton} compiles it. A kernel that
several networks share stands once, with the network that has it first. `cnndsl inspect FILE --stage resources`
prints the same for your own network, and `--stage sass` the code.

This page comes from compiling alone: no kernel here has run or been timed on a GPU. What it can promise, a test holds:
every kernel compiles; none uses a stack or spills; shared memory is within the target's limit; in fp16 every
convolution and matrix product over 16 channels and more uses matrix instructions (HGMMA on sm_90); and global memory is
read and written 16 bytes at a time where a pixel's channels are a multiple of 16 bytes. Three things are as they are:
the first layers read the caller's [n, C, H, W] picture value by value; a dense layer for one or two rows is a stream of
weights, which needs no matrix instructions and writes one value a program; and AMD's matrix units leave 8 bytes of fp16
with each thread, which is what those kernels write.

Columns: registers of a thread; shared memory of a program in bytes; warps and stages; the share of the
multiprocessor's warps that can be resident, by registers and memory; how many matrix and asynchronous copy instructions
there are; instructions that read and write global memory, as bytes x count (copies are reads); and the digest of
the kernel's text. Written by `make kernels`.
"""

COLUMNS = (
    "network", "kernel", "layers", "registers", "shared", "warps", "stages", "occupancy", "matrix", "async", "reads",
    "writes", "text",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One kernel: where it first occurs, and what it computes."""

    network: str
    layers: str
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
        assert isinstance(found, int)
        return found


def rows(target: str, dtype: DType, networks: Iterable[str] = EXAMPLES) -> Iterator[Row]:
    """The distinct kernels of the examples, in their order."""
    seen: set[str] = set()
    for network in networks:
        program = load_path(ROOT / "examples" / f"{network}.cnn")
        graph = simplify(elaborate(program, choose_network(program, None), None))
        groups = fuse(graph, Aim(dtype=dtype))
        made = package(plan(groups, target=targets.get(target), dtype=dtype))
        for kernel in made.kernels:
            if kernel.digest not in seen:
                seen.add(kernel.digest)
                layers = made.plan.steps[kernel.steps[0]].group.title
                yield Row(network, layers, kernel, made.plan.target, dtype)


# --- the gate -------------------------------------------------------------------------------------------------------


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
    yield from _matrix(row, compiled, found)
    yield from _width(row, found)


def _matrix(row: Row, compiled: Compiled, found: Resources) -> Iterator[str]:
    multiplies = row.kernel.function in {"conv2d_kernel", "linear_kernel"}
    if not multiplies or row.dtype == "fp32":
        return
    channels = row.constant("C" if row.kernel.function == "conv2d_kernel" else "F")
    if channels >= 16 and not found.instructions.matrix:
        yield "no matrix instructions"
    rows_ = row.constant("BLOCK_NPQ" if row.kernel.function == "conv2d_kernel" else "BLOCK_N")
    # Below 64 rows there is nothing to fill a warpgroup's matrix instruction with.
    if row.target.name == "sm_90" and channels >= 16 and rows_ >= 64 and "HGMMA" not in compiled.stage("sass"):
        yield "no HGMMA"


def _width(row: Row, found: Resources) -> Iterator[str]:
    """Accesses of 16 bytes where channels allow them."""
    values = 16 // (2 if row.dtype == "fp16" else 4)
    counts = found.instructions
    function = row.kernel.function
    reads = {width for width, _ in (*counts.global_loads, *counts.copy_widths)}
    writes = {width for width, _ in counts.global_stores}
    linear = function.startswith("linear")
    inner = row.constant("F" if linear else "C")
    if inner % values == 0 and (linear or row.constant("x_sc") == 1) and 16 not in reads:
        yield f"no reads of 16 bytes: {sorted(reads)}"
    if counts.copy_widths and inner % values == 0 and {w for w, _ in counts.copy_widths} != {16}:
        yield f"copies of {counts.copy_widths}"
    outer = row.constant("K" if linear or function in {"conv2d_kernel", "depthwise_kernel"} else "C")
    by_matrix_unit = row.target.kind == "hip" and counts.matrix > 0
    if function != "linear_small_kernel" and outer % values == 0 and max(writes) < (8 if by_matrix_unit else 16):
        yield f"no writes of 16 bytes: {sorted(writes)}"


# --- the page -------------------------------------------------------------------------------------------------------


def line(row: Row, found: Resources) -> str:
    """A row of the page's tables."""
    counts = found.instructions
    reads = _widths((*counts.global_loads, *counts.copy_widths))
    cells = (
        row.network, row.kernel.name, row.layers, found.registers, found.shared, found.warps, found.stages,
        f"{found.occupancy:.0f} %", counts.matrix, counts.async_copies, reads, _widths(counts.global_stores),
        row.kernel.digest[:8],
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _widths(found: Sequence[tuple[int, int]]) -> str:
    total: dict[int, int] = {}
    for width, count in found:
        total[width] = total.get(width, 0) + count
    return ", ".join(f"{width}x{count}" for width, count in sorted(total.items())) or "-"


def section(target: str, dtype: DType) -> str:
    """The heading of a target's and a type's table."""
    return f"## {target}, {dtype}"


def page(progress: bool = False) -> str:  # noqa: FBT001, FBT002 - of the script alone
    """The whole text. Raises AssertionError where a kernel breaks a promise."""
    parts = [HEAD.format(triton=version("triton"))]
    for target in TARGETS:
        for dtype in DTYPES:
            started = time.perf_counter()
            found = list(rows(target, dtype))
            compiled = compile_kernels([row.job for row in found])
            both = list(zip(found, compiled, strict=True))
            wrong = [f"{row.network} {row.kernel.name}: {c}" for row, made in both for c in complaints(row, made)]
            assert not wrong, "\n".join([f"{target} {dtype}", *wrong])
            lines = [line(row, made.resources) for row, made in both if made.resources is not None]
            head = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
            parts.append("\n".join([section(target, dtype), "", *head, *lines, ""]))
            if progress:
                seconds = time.perf_counter() - started
                sys.stderr.write(f"{target} {dtype}: {len(found)} kernels in {seconds:.1f} s\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(progress=True), encoding="utf-8")
