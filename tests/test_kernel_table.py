"""docs/kernels.md says what the kernels of the examples compile to, and they compile well.

Every kernel of every example is written and compared with the page by the digest of its text. A sample of them is
compiled here too, and its figures are compared; with CNNDSL_COMPILE_ALL=1 all are, some 350 (`make gate`).
"""

import importlib.util
import os
import re
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

from cnndsl.compiler import Compiled, compile_kernels

ROOT = Path(__file__).parent.parent
EVERYTHING = "CNNDSL_COMPILE_ALL" in os.environ


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kernel_table", ROOT / "scripts" / "kernel_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table = load()
PAGE = table.PAGE.read_text(encoding="utf-8")
COMBINATIONS = [(target, dtype) for target in table.TARGETS for dtype in table.DTYPES]

# The pinned version's figures stand on the page; others differ by a register here and there.
SAME_TRITON = f"as Triton {version('triton')} compiles it" in " ".join(PAGE.split())


def written(target: str, dtype: str) -> list[str]:
    """The lines of a table on the page."""
    (_, after) = PAGE.split(f"{table.section(target, dtype)}\n")
    return [line for line in after.split("\n## ")[0].splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize(("target", "dtype"), COMBINATIONS)
def test_the_page_holds_every_kernel_as_it_is(target: str, dtype: str) -> None:
    texts = [[cell.strip() for cell in line.strip("|").split("|")] for line in written(target, dtype)]
    on_page = [(cells[0], cells[1], cells[2], cells[-1]) for cells in texts]
    rows = [(r.network, r.kernel.name, r.layers, r.kernel.digest[:8]) for r in table.rows(target, dtype)]
    assert on_page == rows, "run `make kernels`"


def test_the_page_holds_networks_that_are_examples() -> None:
    """Not all of them yet: the newer ones have ten times as many kernels."""
    files = {path.stem for path in (ROOT / "examples").glob("*.cnn")}
    assert set(table.EXAMPLES) <= files
    assert len(table.EXAMPLES) >= 9


def sample(target: str, dtype: str) -> list[int]:
    """Which rows are compiled here: all, or a few of every kind on the usual target and one elsewhere."""
    rows = list(table.rows(target, dtype))
    if EVERYTHING:
        return list(range(len(rows)))
    if (target, dtype) == ("sm_90", "fp16"):
        return [i for i, row in enumerate(rows) if row.network in {"lenet5", "alexnet"}]
    offset = COMBINATIONS.index((target, dtype))
    return [offset + 1, 22 + offset]


@pytest.mark.skipif(not SAME_TRITON, reason="the page's figures are another Triton's")
@pytest.mark.parametrize(("target", "dtype"), COMBINATIONS)
def test_kernels_compile_to_what_the_page_says(target: str, dtype: str) -> None:
    rows, lines, wanted = list(table.rows(target, dtype)), written(target, dtype), sample(target, dtype)
    workers = 1 if "PYTEST_XDIST_WORKER" in os.environ else None
    compiled = compile_kernels([rows[i].job for i in wanted], workers=workers)
    assert len(wanted) >= 2
    for i, made in zip(wanted, compiled, strict=True):
        assert list(table.complaints(rows[i], made)) == []
        assert made.resources is not None
        assert table.line(rows[i], made.resources) == lines[i], "run `make kernels`"


# --- each promise can be broken -------------------------------------------------------------------------------------


def compiled_conv() -> tuple[object, Compiled]:
    row = next(r for r in table.rows("sm_90", "fp16", ["alexnet"]) if r.kernel.name == "conv2")
    return row, compile_kernels([row.job])[0]


def test_the_gate_notices_what_it_is_for() -> None:
    row, made = compiled_conv()
    found = made.resources
    assert found is not None
    assert list(table.complaints(row, made)) == []

    def complains(**changes: object) -> str:
        counts = {name: value for name, value in changes.items() if hasattr(found.instructions, name)}
        other = {name: value for name, value in changes.items() if name not in counts}
        broken = replace(found, **other, instructions=replace(found.instructions, **counts))
        return "; ".join(table.complaints(row, replace(made, resources=broken)))

    assert re.match("spills", complains(stack=8))
    assert re.match("spills", complains(spill_stores=4))
    assert re.match("spills", complains(spill_loads=4))
    assert re.match("spills", complains(local=1))
    assert re.match(r"\d+ bytes of shared memory", complains(shared=228 * 1024))
    assert complains(matrix=0) == "no matrix instructions"
    assert complains(copy_widths=((4, 3),), global_loads=((4, 3),)).startswith("no reads of 16 bytes")
    assert complains(copy_widths=((8, 3), (16, 3))).startswith("copies of")
    assert complains(global_stores=((8, 2),)).startswith("no writes of 16 bytes")
    assert next(table.complaints(row, replace(made, resources=None, error="no"))) == "does not compile: no"


def test_a_kernel_without_the_warps_for_it_fails() -> None:
    """One warp in place of four: 64 sums a thread and no warpgroup for HGMMA."""
    row, _ = compiled_conv()
    source = row.kernel.source.replace("num_warps=4", "num_warps=1")
    starved = replace(row, kernel=replace(row.kernel, num_warps=1, source=source))
    (made,) = compile_kernels([starved.job])
    assert "no HGMMA" in list(table.complaints(starved, made))
