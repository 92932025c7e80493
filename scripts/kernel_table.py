"""Write docs/kernels.csv and docs/kernels.md: what every kernel of every example compiles to, on four targets.

    python scripts/kernel_table.py                  writes both: `make kernels`
    python scripts/kernel_table.py --check          compares with both, and writes nothing: `make gate`
    python scripts/kernel_table.py --check sm_90    one target's kernels alone

What was compiled before comes from cnndsl's cache, for which `make` has a folder of its own; with nothing cached, it is
half an hour on two cores.
Nothing here needs a GPU, and nothing here was timed on one. tests/test_kernel_table.py holds both files to be fresh.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kernel_gate import Row, complaints, exceptions
from kernel_page import page

from cnndsl import targets
from cnndsl.codegen.package import known_of, package
from cnndsl.compiler import Resources, compile_kernels
from cnndsl.files import choose_network, load_path
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import Groups, fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.tiles import Aim, DType

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "kernels.md"
TABLE = PAGE.with_suffix(".csv")

TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")
DTYPES: tuple[DType, ...] = ("fp16", "fp32")
COMBINATIONS = [(target, dtype) for target in TARGETS for dtype in DTYPES]


@cache
def examples() -> tuple[str, ...]:
    """The examples that are networks; the others are files of blocks."""
    return tuple(path.stem for path in sorted((ROOT / "examples").glob("*.cnn")) if load_path(path).networks)


@cache
def groups(network: str, dtype: DType) -> Groups:
    """What an example is made of in a type, for any target."""
    program = load_path(ROOT / "examples" / f"{network}.cnn")
    return fuse(simplify(elaborate(program, choose_network(program, None), None)), Aim(dtype=dtype))


def rows_of(network: str, target: str, dtype: DType) -> Iterator[Row]:
    """The kernels of one network."""
    made = package(plan(groups(network, dtype), target=targets.get(target), dtype=dtype))
    for kernel in made.kernels:
        yield Row((network,), kernel, made.plan.target, dtype)


def rows(target: str, dtype: DType) -> list[Row]:
    """The distinct kernels of the examples, in their order: by their texts, and by which pointers are aligned."""
    found: dict[object, Row] = {}
    for network in examples():
        for row in rows_of(network, target, dtype):
            key = row.kernel.digest, tuple(p.aligned for p in row.kernel.parameters)
            first = found.get(key, row)
            networks = tuple(dict.fromkeys((*first.networks, network)))
            found[key] = replace(first, networks=networks)
    return list(found.values())


def launches_digest(network: str, dtype: DType) -> str:
    """Of all that decides what the kernels of a network are, on the targets, but for the texts in ``kernels/``."""
    found = hashlib.sha256()
    for target in TARGETS:
        for step in plan(groups(network, dtype), target=targets.get(target), dtype=dtype).steps:
            found.update(step.group.title.encode())
            for launch in step.launches:
                aligned = [_is_aligned(expression, dtype) for _, expression in launch.arguments]
                about = launch.module, launch.kernel, launch.grid, launch.num_warps, launch.num_stages
                found.update(repr((about, known_of(launch), aligned)).encode())
    return found.hexdigest()[:8]


def _is_aligned(expression: str, dtype: DType) -> bool:
    """Whether an argument does not begin within 16 bytes."""
    _, bracket, offset = expression.removesuffix(":]").partition("[")
    return not (bracket and offset.isdigit() and int(offset) % (8 if dtype == "fp16" else 4))


# --- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One line of the table: a kernel and what it compiles to.

    network     the first that has it, with the name that the kernel has there; `also` are the others.
    occupancy   percent of the multiprocessor's warps that can be resident; `limiter` is what allows no more.
    matrix      matrix instructions; `copies`: asynchronous ones to shared memory.
    reads       instructions that read global memory, copies too, as bytes x count.
    exceptions  words for what the kernel does not keep.
    text        digest of the kernel's text.
    """

    target: str
    dtype: str
    network: str
    kernel: str
    function: str
    registers: int
    shared: int
    warps: int
    stages: int
    occupancy: int
    limiter: str
    matrix: int
    copies: int
    reads: str
    writes: str
    exceptions: str
    text: str
    also: str


def entry(row: Row, found: Resources) -> Entry:
    """The line of a compiled kernel."""
    counts = found.instructions
    first, *others = row.networks
    return Entry(
        row.target.name, row.dtype, first, row.kernel.name, row.kernel.function, found.registers, found.shared,
        found.warps, found.stages, round(found.occupancy), found.limiter, counts.matrix,
        counts.async_copies, _widths((*counts.global_loads, *counts.copy_widths)), _widths(counts.global_stores),
        " ".join(exceptions(row)), row.kernel.digest[:8], " ".join(others),
    )  # fmt: skip


def _widths(found: Sequence[tuple[int, int]]) -> str:
    total: dict[int, int] = {}
    for width, count in found:
        total[width] = total.get(width, 0) + count
    return " ".join(f"{width}x{count}" for width, count in sorted(total.items()))


def write_table(entries: Iterable[Entry]) -> str:
    """The text of the table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Entry))
    writer.writerows(map(astuple, entries))
    return text.getvalue()


def read_table(text: str) -> list[Entry]:
    """The inverse."""
    numbers = {field.name for field in fields(Entry) if field.type == "int"}
    found: list[Entry] = []
    for line in csv.DictReader(io.StringIO(text)):
        values: dict[str, Any] = {name: int(value) if name in numbers else value for name, value in line.items()}
        found.append(Entry(**values))
    return found


def write_page(entries: Sequence[Entry]) -> str:
    """The text of the page about a table."""
    digests: dict[tuple[str, str], str] = {
        (network, dtype): launches_digest(network, dtype) for network in examples() for dtype in DTYPES
    }
    return page(entries, targets=TARGETS, networks=examples(), digests=digests, triton=version("triton"))


# --- the program ----------------------------------------------------------------------------------------------------


def compiled(target: str, dtype: DType) -> tuple[list[Entry], list[str]]:
    """The lines of a target and a type, and the complaints about them."""
    started = time.perf_counter()
    found = rows(target, dtype)

    def progress(done: int, total: int, _name: str) -> None:
        if done % 50 == 0 or done == total:
            seconds = time.perf_counter() - started
            sys.stderr.write(f"{target} {dtype}: {done} of {total} kernels in {seconds:.0f} s\n")

    made = compile_kernels([row.job for row in found], progress=progress)
    entries, wrong = [], []
    for row, one in zip(found, made, strict=True):
        wrong += [f"{target} {dtype} {row.networks[0]} {row.kernel.name}: {c}" for c in complaints(row, one)]
        if one.resources is not None:
            entries.append(entry(row, one.resources))
    return entries, wrong


def main(arguments: list[str]) -> int:
    """Write both files, or compare; exit code 1 where a kernel breaks a promise or the files are stale."""
    check = "--check" in arguments
    wanted = [a for a in arguments if a != "--check"]
    assert set(wanted) <= set(TARGETS), f"known targets: {TARGETS}"
    assert check or not wanted, "the files hold all targets: name some with --check alone"
    entries: list[Entry] = []
    wrong: list[str] = []
    for target, dtype in COMBINATIONS:
        if target in (wanted or TARGETS):
            some, complained = compiled(target, dtype)
            entries += some
            wrong += complained
    if check:
        held = [e for e in read_table(TABLE.read_text("utf-8")) if e.target in (wanted or TARGETS)]
        stale = set(entries) ^ set(held)
        wrong += [f"{e.target} {e.dtype} {e.network} {e.kernel}: the table is stale" for e in entries if e in stale]
        wrong += [f"{e.target} {e.dtype} {e.network} {e.kernel}: gone, or changed" for e in held if e in stale]
        if not wrong and not wanted and PAGE.read_text("utf-8") != write_page(entries):
            wrong.append("the page is stale")
    elif not wrong:
        TABLE.write_text(write_table(entries), "utf-8")
        PAGE.write_text(write_page(entries), "utf-8")
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    sys.stderr.write(f"{len(entries)} kernels, {len(wrong)} complaints\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
