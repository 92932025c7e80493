"""A kernel's resources in words: what each figure means, and whether it is one to worry about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cnndsl.codegen.package import Kernel
from cnndsl.compiler import Resources
from cnndsl.figures import counted
from cnndsl.report import model
from cnndsl.report.model import Level
from cnndsl.targets import Target

Fact = tuple[str, str, str, Level]


def summary(found: Resources) -> model.Resources:
    """The figures of the table of launches."""
    return model.Resources(
        registers=found.registers,
        spills=found.spill_stores + found.spill_loads,
        shared=found.shared,
        occupancy=found.occupancy,
        matrix=found.instructions.matrix,
        copies=found.instructions.bulk_copies + found.instructions.async_copies,
    )


def facts(found: Resources | None, kernel: Kernel, target: Target) -> tuple[Fact, ...]:
    """Rows of title, value, meaning and level."""
    shape = [
        ("Warps", str(kernel.num_warps), f"of {target.warp_size} threads, in each program", ""),
        ("Stages", str(kernel.num_stages), "tiles in flight while the loop computes, as asked of Triton", ""),
    ]
    if found is None:
        return tuple(_typed(shape if target.kind != "interpreter" else ()))
    return tuple(_typed((*_resources(found, target), *shape, *_instructions(found, target))))


def _typed(rows: Iterable[tuple[str, str, str, str]]) -> Iterator[Fact]:
    for title, value, about, level in rows:
        assert level in {"", "good", "bad"}
        yield title, value, about, "bad" if level == "bad" else "good" if level == "good" else ""


def _resources(found: Resources, target: Target) -> Iterator[tuple[str, str, str, str]]:
    spills = found.spill_stores + found.spill_loads
    registers = "of 32 bits for each thread; 255 at most"
    if target.kind == "hip":
        registers = "for each thread, vector and accumulation registers together; 512 at most"
    yield "Registers", str(found.registers), registers, ""
    yield (
        "Spills", f"{found.spill_stores} B out, {found.spill_loads} B in" if spills else "none",
        "registers that did not fit and went to local memory, for each thread; loops are not counted",
        "bad" if spills else "good",
    )
    yield "Stack", f"{found.stack} B", "of each thread, in local memory", "bad" if found.stack else "good"
    too_much = found.shared > target.shared_memory_bytes
    limit = f"of each program; {target.shared_memory_bytes // 1024} KiB at most on {target.name}"
    yield "Shared memory", _bytes(found.shared), limit, "bad" if too_much else ""
    if found.tensor_memory:
        yield "Tensor memory", f"{found.tensor_memory} columns", "of each program; 512 at most", ""
    yield (
        "Occupancy", f"{found.occupancy:.0f} %",
        f"of the warps that a multiprocessor can hold: {counted(found.programs, 'program')} at once, "
        f"limited by {found.limiter}",
        "bad" if found.programs == 0 else "",
    )


def _instructions(found: Resources, target: Target) -> Iterator[tuple[str, str, str, str]]:
    counts = found.instructions
    amd = target.kind == "hip"
    yield "Instructions", f"{counts.total:,}", "in the machine code, however often each is executed", ""
    yield "Matrix", f"{counts.matrix:,}", f"of the matrix units: {'v_mfma' if amd else 'HMMA, HGMMA, UTCHMMA'}", ""
    if not amd:
        names = "UTMALDG, UTMASTG, UBLKCP"
        yield "Bulk copies", f"{counts.bulk_copies:,}", f"of whole tiles by the copy engine: {names}", ""
    moved = (
        ("Asynchronous copies", counts.copy_widths, "from global to shared memory, past the registers"),
        ("Global loads", counts.global_loads, "into registers"),
        ("Global stores", counts.global_stores, "from registers"),
    )
    for title, widths, about in moved:
        yield title, f"{sum(count for _, count in widths):,}", about + _widths(widths), ""
    level = "bad" if counts.local else "good"
    yield "Local memory", f"{counts.local:,}", "loads and stores of spilled registers", level


def _widths(widths: Iterable[tuple[int, int]]) -> str:
    shown = ", ".join(f"{count} of {width} B" for width, count in reversed(tuple(widths)))
    return f"; for each thread {shown}" if shown else ""


def _bytes(value: int) -> str:
    return f"{value / 1024:.4g} KiB" if value >= 1024 else f"{value} B"
