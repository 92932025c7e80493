"""The check of edited kernels in the process of the tests: a process of its own takes seconds to start."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cnndsl.eject import worker
from cnndsl.runtime import replaced


class Checks:
    """What was checked: for each start of a worker, the sizes by kernel."""

    def __init__(self) -> None:
        self.sizes: list[list[list[int]]] = []

    def run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        *_, program, job = command
        assert program == worker.__file__
        before, sys.argv = sys.argv, [program, job]
        try:
            worker.main()
        finally:
            sys.argv = before
        self.sizes.append([item["n"] for item in worker.json.loads(Path(job).read_text())["kernels"]])
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """Checks run in this process, and are counted."""
    checks = Checks()
    # In that module alone: others start processes of their own.
    monkeypatch.setattr(replaced, "subprocess", SimpleNamespace(run=checks.run, DEVNULL=subprocess.DEVNULL))
    return checks
