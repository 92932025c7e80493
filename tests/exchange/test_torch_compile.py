"""torch.compile(module, backend="cnndsl"), held to torch's own results."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("torch_compile_worker.py")

PARTS = {
    "Plain": (1, []), "Mixed": (3, ["cumsum", "split"]), "Torn": (1, ["cumsum", "transpose", "max_pool2d_with"]),
    "Views": (1, ["cumsum", "permute", "view"]), "Kinds": (3, ["_to_copy", "cat", "mul"]), "Changing": (1, ["add"]),
    "Nothing": (0, ["relu", "add"]), "Sizes": (1, ["cumsum"]),
}  # fmt: skip
"""How many parts of each module run as networks, and operators that torch computes."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CNNDSL_CACHE": str(tmp_path_factory.mktemp("cache")),
                   "TORCHINDUCTOR_CACHE_DIR": str(tmp_path_factory.mktemp("torch"))}  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(WORKER)], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [*PARTS, "Inference"])
def test_results(results: Any, name: str) -> None:
    """As torch's: with other values and batches, changed and other weights, and laid out in memory as torch does."""
    assert max(results[name]["errors"]) < (2e-3 if name == "Kinds" else 1e-5)
    assert results[name]["differ"] == []


@pytest.mark.parametrize("name", PARTS)
def test_parts(results: Any, name: str) -> None:
    """What is known runs as networks, at least all between two operators that are not."""
    parts, left = PARTS[name]
    for line in (line for line in results[name]["log"] if "part(s)" in line and name != "Sizes"):
        assert line.startswith(f"{parts} part(s)")
    first = results[name]["log"][0]
    for operator in left:
        assert operator in first
    if not left:
        assert first.endswith("left to torch: nothing")


def test_a_batch_that_changes_stays_in_the_part(results: Any) -> None:
    """Compiled for one batch, and for any; made again for changed weights, in place and by other memory."""
    log = results["Plain"]["log"]
    assert log == ["1 part(s) run as networks; left to torch: nothing"] * 4


def test_what_is_warned_of(results: Any) -> None:
    assert any("torch.compile(..., dynamic=False)" in line for line in results["Sizes"]["log"])
    assert any("build the module outside" in line for line in results["Inference"]["log"])
    assert not any("dynamic" in line for line in results["Plain"]["log"])


def test_gradients_are_left_to_torch(results: Any) -> None:
    found = results["gradients"]
    assert found["same"]
    assert found["recorded"]
    assert any("gradients are recorded" in line for line in found["log"])
