"""What is kept of Triton's own cache is found by Triton's launcher: nothing is left to compile."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from samples import DENSE, with_source

from cnndsl.compiler import Compiled, groups, worker

JIT = Path(__file__).with_name("jit_worker.py")


def moved(compiled: Compiled, folder: Path) -> Path:
    """A copy of Triton's group elsewhere, as a built package has it."""
    copy = folder / compiled.triton.name
    shutil.copytree(compiled.triton, copy)
    (list_,) = copy.glob("__grp__*.json")
    listed = json.loads(list_.read_text())["child_paths"]
    assert {Path(path).parent for path in listed.values()} == {compiled.triton}
    groups.place(copy)
    placed = json.loads(list_.read_text())["child_paths"]
    assert placed == {name: str(copy / name) for name in listed}
    assert all(Path(path).exists() for path in placed.values())
    return folder


def test_a_launch_compiles_nothing(dense, tmp_path: Path) -> None:
    # Neither the folder nor the module's name are those that it was compiled under.
    file = tmp_path / "elsewhere" / "it.py"
    file.parent.mkdir()
    file.write_text(DENSE.source)
    # Other code, and code on other lines, is other code to Triton.
    changed, shifted = tmp_path / "changed.py", tmp_path / "shifted.py"
    changed.write_text(with_source(DENSE, "acc, 0.0,", "acc, 1.0,").source)
    shifted.write_text("#\n" + DENSE.source)
    requests: list[dict[str, Any]] = []
    for name in ("sm_90", "gfx942"):
        target = dense[name].job.target
        cache = moved(dense[name], tmp_path / name)
        base = {
            "file": str(file), "launch": "launch", "cache": str(cache), "backend": target.kind, "arch": target.arch,
            "warp_size": target.warp_size, "tensors": ["fp16", "fp16", "fp32", "fp16"], "integers": [4, 512],
        }  # fmt: skip
        # `n` is not specialised, and a multiple of 16 is one like another.
        requests += [base, {**base, "integers": [1, 512]}, {**base, "integers": [64, 1024]}]
        if name == "gfx942":  # the quicker to compile
            requests += [{**base, "integers": [4, 513]}, {**base, "file": str(changed)}, {**base, "file": str(shifted)}]
    done = subprocess.run(
        [sys.executable, JIT], input=json.dumps(requests), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [len(launch) for launch in found] == [1] * len(requests)
    assert [hit for ((_, hit),) in found] == [True] * 6 + [False] * 3
    keys = [base64.b32encode(bytes.fromhex(key)).decode().rstrip("=") for ((key, _),) in found]
    assert keys[:6] == [dense["sm_90"].triton.name] * 3 + [dense["gfx942"].triton.name] * 3
    assert not set(keys[6:]) & set(keys[:6])


def test_triton_is_the_one_that_is_recorded(dense) -> None:
    for compiled in dense.values():
        (metadata,) = (path for path in compiled.triton.glob("*.json") if not path.name.startswith("__grp__"))
        record = json.loads((compiled.folder / "entry.json").read_text())["record"]
        assert record["triton"] == json.loads(metadata.read_text())["triton_version"]
        assert record["triton_key"] == compiled.triton.name


@pytest.mark.parametrize("line", ["", "import torch\n"])
def test_torch_is_imported_for_a_kernel_that_wants_it_alone(line: str, tmp_path: Path) -> None:
    """In a process of its own, as a worker; it is told of the kernel as a worker is."""
    if line:
        # The real one: with 1.9 s the slowest part of this file.
        line += "TORCH = torch.float16\n"
    source = f"{line}{DENSE.source}"
    request = {
        "name": "fc1", "function": "dense_kernel", "backend": "hip", "arch": "gfx942", "warp_size": 64,
        "num_warps": 4, "num_stages": 1, "folder": str(tmp_path),
        "parameters": [[p.name, p.type, p.value, p.aligned] for p in DENSE.parameters],
    }  # fmt: skip
    (tmp_path / "fc1.py").write_text(source)
    program = f"""
import json, os, sys
os.environ.pop("TRITON_INTERPRET", None)
from {worker.__name__} import answer
reply = answer(json.loads(sys.stdin.read()))
assert "error" not in reply, reply
assert ("torch" in sys.modules) == {bool(line)}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(request), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
