"""scripts/gpu_check.sh on a machine without a GPU: what it refuses, and its dry run, right and with wrong kernels."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("cnndsl", "kernels", "grammars", "examples", "tests", "benchmarks", "scripts")
FILES = ("pyproject.toml", "README.md", "LICENSE")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout, which a test may break."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    return folder


def check(checkout: Path, *options: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable}
    command = ["bash", str(checkout / "scripts" / "gpu_check.sh"), *map(str, options)]
    return subprocess.run(
        command, cwd=checkout.parent, env=environment, capture_output=True, text=True, check=False
    )


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gpu_check.json").read_text(encoding="utf-8"))
    return found


def sabotage(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_dry_run_takes_the_whole_road(checkout: Path, tmp_path: Path) -> None:
    before = files(checkout)
    done = check(checkout, "--dry-run", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert files(checkout) == before
    found = result(tmp_path / "out")
    assert found["tests"]["kernels"]["passed"] > 10
    assert found["tests"]["kernels"]["failures"] == []
    (entry,) = found["networks"]["configurations"]
    assert (entry["network"], entry["batch"], entry["status"]) == ("lenet5", 1, "ok")
    assert set(entry["contestants"]) == {"cnndsl", "torch"}
    for contestant in entry["contestants"].values():
        assert contestant["status"] == "ok"
        assert contestant["relative_error"] < 1e-5
        assert contestant["repetitions"] == 2
        assert 0 < contestant["p10_us"] <= contestant["median_us"] <= contestant["p90_us"]
    assert entry["macs"] == 416_520  # LeNet-5: 117,600 + 240,000 + 48,000 + 10,080 + 840
    assert "lenet5" in done.stdout


def test_wrong_kernels_are_reported_and_the_rest_still_runs(checkout: Path, tmp_path: Path) -> None:
    sabotage(checkout / "kernels" / "softmax.py", "x - tl.max(x, axis=1)[:, None]", "x")
    sabotage(checkout / "kernels" / "pool2d.py", "1.0 / (R * S)", "1.1 / (R * S)")
    done = check(checkout, "--dry-run", "--out", tmp_path / "out")
    assert done.returncode == 1, done.stdout + done.stderr
    found = result(tmp_path / "out")
    assert found["tests"]["kernels"]["failed"] > 0
    assert found["tests"]["kernels"]["passed"] > 0
    (entry,) = found["networks"]["configurations"]
    assert entry["contestants"]["cnndsl"]["status"] == "wrong"
    assert "median_us" not in entry["contestants"]["cnndsl"]
    assert entry["contestants"]["torch"]["median_us"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    done = check(ROOT)
    assert done.returncode == 3
    assert "finds no GPU" in done.stderr


@pytest.mark.parametrize("options", [["--fast"], ["--wheels"], ["--wheels", "/nowhere"], ["--python", "/nowhere"]])
def test_wrong_usage(options: list[str]) -> None:
    done = check(ROOT, *options)
    assert done.returncode == 2
    assert done.stderr.startswith("gpu_check: ")


def test_help() -> None:
    done = check(ROOT, "--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--quick", "--wheels", "--out", "--dry-run"))
