"""The binaries of a build are what Triton would compile, and it compiles nothing where they are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builds import TINY, build_in

from cnndsl.compiler import Compiled, installation
from cnndsl.errors import CnnError
from cnndsl.standalone import binaries

PROGRAM = Path(__file__).with_name("fake_machine.py")


def launched(folder: Path, cache: Path, *batches: int, target: str = "sm_90") -> dict[str, Any]:
    """Launch a build on a GPU that is not there, in a process of its own with a new cache of Triton's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TRITON")}
    done = subprocess.run(
        [sys.executable, PROGRAM, folder.parent, folder.name, target, *map(str, batches)],
        env={**kept, "TRITON_CACHE_DIR": str(cache)}, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kernels_of(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "kernels").glob("*.py") if path.stem != "__init__")


def test_nothing_is_compiled(every: Path, tmp_path: Path) -> None:
    """For a batch of one and others, by kernels of all kinds."""
    names = kernels_of(every / "sm_90")
    assert len(names) > 12
    assert launched(every, tmp_path, 1, 16, 3) == {
        "handed_over": len(names), "launches": 3 * len(names), "found": names, "compiled": [],
    }


def test_what_does_not_match_is_compiled(every: Path, tmp_path: Path) -> None:
    """A kernel that was edited, one whose binary is gone, and one of another Triton: those three alone."""
    folder = tmp_path / "every"
    shutil.copytree(every, folder)
    place = folder / "sm_90"
    edited = place / "kernels" / "mean_globalavgpool1.py"
    edited.write_text(f"\n{edited.read_text(encoding='utf-8')}", encoding="utf-8")  # one line further down is enough
    (place / "binaries" / "softmax1.json").unlink()
    other = place / "binaries" / "fc1.json"
    description = json.loads(other.read_text(encoding="utf-8"))
    other.write_text(json.dumps({**description, "triton_version": "0.1"}), encoding="utf-8")
    found = launched(folder, tmp_path / "cache", 1)
    assert found["compiled"] == ["fc1", "mean_globalavgpool1", "softmax1"]
    assert found["handed_over"] == len(kernels_of(place)) - 2  # the edited one's is there for nobody


def test_what_is_kept_of_a_binary(every: Path) -> None:
    place = every / "sm_90"
    names = {f"{name}.{suffix}" for name in kernels_of(place) for suffix in ("json", "cubin", "ptx")}
    assert {path.name for path in (place / "binaries").iterdir()} == names
    assert not (every / "interpreter" / "binaries").exists()
    packages = str(installation.find().folder.parent).encode()
    assert (place / "binaries" / "conv1.ptx").read_bytes().count(b"conv1.py") > 3
    for path in every.rglob("*"):
        if path.is_file():
            assert packages not in path.read_bytes(), path


def test_a_kernel_that_cannot_be_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(jobs: Any, **options: Any) -> list[Compiled]:
        return [Compiled(job, False, 0.0, 0.0, "OutOfResources: too much", None, None, None) for job in jobs]

    monkeypatch.setattr(binaries, "compile_kernels", refuse)
    with pytest.raises(CnnError) as caught:
        build_in(tmp_path / "out", TINY, targets=("sm_90",))
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("E0612", "conv1 cannot be compiled for sm_90")
    assert found.notes == ("OutOfResources: too much",)
    assert list(tmp_path.iterdir()) == []
