"""What gpu_check.sh needs Python for: questions about the machine, a deadline for pytest, the summary.

Commands: machine, has-gpu, commit ROOT, installed SITE, workers DEVICE, summary OUT NETWORKS.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

NEEDED = {
    "click": "click", "hypothesis": "hypothesis", "lark": "lark", "numpy": "numpy", "PIL": "pillow",
    "platformdirs": "platformdirs", "pytest": "pytest", "rich": "rich", "safetensors": "safetensors",
}  # fmt: skip
"""Packages beside torch and triton, by the name that is imported."""

LATE = "gpu_check: the time for tests is over"


def pytest_runtest_setup() -> None:
    """As a pytest plugin: skip what is left when $GPU_CHECK_DEADLINE, in seconds of the epoch, has passed."""
    if time.time() > float(os.environ["GPU_CHECK_DEADLINE"]):
        import pytest

        pytest.skip(LATE)


def machine() -> int:
    try:
        import torch
        import triton
    except ImportError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, triton {triton.__version__}")
    return 0


def has_gpu() -> int:
    import torch

    if not torch.cuda.is_available():
        return 1
    print(torch.cuda.get_device_name(0))
    return 0


def commit(root: str) -> int:
    """Print the commit of a checkout, with a + where files differ from it."""

    def git(*words: str) -> str:
        command = ["git", "-c", f"safe.directory={root}", "-C", root, *words]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    name = git("rev-parse", "HEAD")
    changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
    print(f"{name}{changed}" if name else "unknown")
    return 0


def installed(site: str) -> int:
    """Whether everything is there, and the package is the one just installed."""
    missing = [package for name, package in NEEDED.items() if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        print(f"gpu_check: missing: {names}; name a folder of wheels with --wheels", file=sys.stderr)
        return 1
    import cnndsl.kernels

    import cnndsl

    for module in (cnndsl, cnndsl.kernels):
        assert module.__file__ is not None
        if not Path(module.__file__).is_relative_to(site):
            print(f"gpu_check: {module.__name__} comes from {module.__file__}", file=sys.stderr)
            return 1
    return 0


def workers(device: str) -> int:
    """Print pytest's options for several processes, with pytest-xdist: most of the time is compilation."""
    count = min(8, (os.cpu_count() or 1) // 2)
    if device == "cuda" and count > 1 and importlib.util.find_spec("xdist") is not None:
        print(f"--numprocesses={count}")
    return 0


def counts(report: Path) -> dict[str, Any]:
    """Numbers of tests in a JUnit report, and the names of those that failed."""
    if not report.exists():
        return {"status": "no report: pytest did not end by itself"}
    # A test that was interrupted has no name.
    cases = [case for case in ET.parse(report).getroot().iter("testcase") if case.get("name")]
    skips = [skip.get("message", "") for case in cases for skip in case.iter("skipped")]
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    late = sum(LATE in message for message in skips)
    return {
        "passed": len(cases) - len(skips) - len(failed), "failed": len(failed), "out_of_time": late,
        "skipped": len(skips) - late, "failures": failed,
    }  # fmt: skip


def summary(out: str, networks: str) -> int:
    """Write gpu_check.json and print the tests' part of it."""
    folder = Path(out)
    tests = {path.stem.removeprefix("tests_"): counts(path) for path in sorted(folder.glob("tests_*.xml"))}
    times = Path(networks)
    result = {"tests": tests, "networks": json.loads(times.read_text("utf-8")) if times.exists() else None}
    (folder / "gpu_check.json").write_text(json.dumps(result, indent=1), "utf-8")
    for name, found in tests.items():
        shown = ", ".join(f"{number} {word}" for word, number in found.items() if word != "failures")
        print(f"tests ({name}): {shown}")
        for failure in found.get("failures", ()):
            print(f"    failed: {failure}")
    # Where no test ran at all, nothing is known.
    return 0 if result["networks"] is not None and all(found.get("passed") for found in tests.values()) else 1


COMMANDS = {
    "machine": machine, "has-gpu": has_gpu, "commit": commit, "installed": installed, "workers": workers,
    "summary": summary,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(COMMANDS[sys.argv[1]](*sys.argv[2:]))
