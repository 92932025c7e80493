"""torch.compile(module, backend="cnndsl"), held to torch's own results."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("torch_compile_worker.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CNNDSL_CACHE": str(tmp_path_factory.mktemp("cache")),
                   "TORCHINDUCTOR_CACHE_DIR": str(tmp_path_factory.mktemp("torch"))}  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(WORKER)], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["Plain", "Mixed", "Torn", "Nothing"])
def test_numbers(results: Any, name: str) -> None:
    """As torch's, with other values, after weights were changed in place, and with another batch."""
    assert max(results[name]["errors"]) < 1e-5


@pytest.mark.parametrize(
    ("name", "parts", "left"),
    [("Plain", 1, []), ("Mixed", 3, ["cumsum", "split"]), ("Torn", 1, ["cumsum", "transpose"]), ("Nothing", 0, ["relu"])],
)
def test_parts(results: Any, name: str, parts: int, left: list[str]) -> None:
    """What is known runs as networks, at least all between two operators that are not."""
    first = results[name]["log"][0]
    assert first.startswith(f"{parts} part(s)")
    for operator in left:
        assert operator in first
    if not left:
        assert first.endswith("left to torch: nothing")


@pytest.mark.parametrize("name", ["Plain", "Mixed"])
def test_gradients_are_left_to_torch(results: Any, name: str) -> None:
    assert results[name]["gradients"]
    assert any("gradients are recorded" in line for line in results[name]["warning"])
