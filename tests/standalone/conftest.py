"""A build of a network with all kernels, and a Python without cnndsl to run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from builds import EVERY, Python, build_in, needed


@pytest.fixture(scope="session")
def every(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EVERY in fp16 for sm_90 and the interpreter, in a folder called `every`. Not to be changed."""
    folder = tmp_path_factory.mktemp("built") / "every"
    build_in(folder, EVERY, targets=("sm_90",), dtype="fp16", seed=7)
    return folder


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """``python(*arguments, cwd=...)`` of an environment with torch, Triton, NumPy and Pillow, and nothing else."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    executable = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    for name, source in needed("torch", "triton", "numpy", "pillow").items():
        (packages / name).symlink_to(source)

    def run(*arguments: str | Path, cwd: Path, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TRITON", "PYTEST", "CNNDSL"))}
        done = subprocess.run(
            [executable, *arguments], cwd=cwd, env={**kept, "CUDA_VISIBLE_DEVICES": "", **variables},
            capture_output=True, text=True, check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run
