"""Whole networks through everything but the launches: compiled, loaded, bound, on a machine without a GPU.

CNNDSL_COMPILE_ALL=1 adds AlexNet and VGG-16 for several batch sizes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sample_networks import EVERYTHING, sources

from cnndsl import targets
from cnndsl.files import choose_network, load_path
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.tiles import cdiv

SCRIPT = Path(__file__).with_name("fake_run.py")

# Target, type, batch size, the batch whose tiles are taken for it, network.
CASES = [("sm_90", "fp16", 3, 1, "lenet5")]
if EVERYTHING:
    CASES += [
        ("sm_90", dtype, batch, batch, name)
        for name in ("alexnet", "vgg16")
        for dtype in ("fp32", "tf32", "fp16", "bf16")
        for batch in (1, 16, 128)
    ]


def fake_run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"CNNDSL_CACHE": str(folder / "cnndsl"), "TRITON_CACHE_DIR": str(folder / "triton")}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def expected(case: tuple[str, str, int, int, str]) -> list[list[Any]]:
    """The launches of the network's plan: layer, kernel, grid."""
    target, dtype, batch, hint, name = case
    program = load_path(Path(sources()[name]))
    groups = fuse(simplify(elaborate(program, choose_network(program, None), None)))
    made = plan(groups, target=targets.get(target), dtype=dtype, batch=hint)
    found = []
    for step in made.steps:
        for launch in step.launches:
            grid = [eval(axis, {"n": batch, "cdiv": cdiv}) for axis in launch.grid]
            found.append([step.group.title, launch.kernel, [*grid, 1, 1][:3]])
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_a_network_is_compiled_once_and_launched_twice(case: Any, tmp_path: Path) -> None:
    target, dtype, batch, _, name = case
    done = fake_run(target, dtype, batch, name, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)[name]
    assert found["launches"] == expected(case)
    assert 0 < found["compiled"] <= len(found["launches"])
    assert found["compiled_again"] == 0


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    done = fake_run("--shared", 4096, "sm_90", "fp16", 3, "lenet5", folder=tmp_path)
    assert done.returncode == 1
    assert "OutOfResources" in done.stderr


def test_another_batch_size_would_be_noticed() -> None:
    target, dtype, batch, hint, name = CASES[0]
    assert expected((target, dtype, batch + 40, hint, name)) != expected(CASES[0])
