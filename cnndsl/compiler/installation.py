"""The installed Triton, looked at without importing it: version, tools, architectures."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cnndsl.errors import problem

_OURS_TO_DROP = ("TRITON_", "MLIR_", "LLVM_", "AMDGCN_", "NVPTX_", "PTXAS_", "DISABLE_", "USE_IR_", "ALLOW_LHS_")
"""Beginnings of the variables that change what Triton does. Compiled code must not depend on who compiles it."""

_TOOLS = {
    "ptxas": "TRITON_PTXAS_PATH",
    "ptxas-blackwell": "TRITON_PTXAS_BLACKWELL_PATH",
    "cuobjdump": "TRITON_CUOBJDUMP_PATH",
    "nvdisasm": "TRITON_NVDISASM_PATH",
}
"""Variables by which a tool of another CUDA toolkit is chosen: those stay, and count for the cache."""


@dataclass(frozen=True)
class Installation:
    """An installed Triton. `identity` changes with whatever its compiled code may depend on."""

    folder: Path
    version: str
    identity: str

    def tool(self, name: str) -> Path:
        """The path of ptxas, ptxas-blackwell, cuobjdump or nvdisasm."""
        chosen = os.environ.get(_TOOLS[name])
        return Path(chosen) if chosen else self.folder / "backends" / "nvidia" / "bin" / name


def find() -> Installation:
    """The Triton that workers will import. Raises CnnError (E0601) when there is none."""
    try:
        spec = importlib.util.find_spec("triton")
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise problem(
            "E0601",
            "compiling a kernel needs Triton, which is not installed",
            notes=("Triton has packages for Linux alone; kernels' sources can be read without it",),
            help=("pip install triton",),
        )
    folder = Path(spec.origin).parent
    version = _version(folder)
    # Builds of one version differ from Python to Python, and from one compilation of its source to the next.
    parts = [version, *(f"{path.name} {path.stat().st_size}" for path in sorted(folder.glob("_C/libtriton*")))]
    chosen = ((variable, os.environ.get(variable)) for variable in _TOOLS.values())
    parts.extend(f"{variable} {path} {_stamp(Path(path))}" for variable, path in chosen if path)
    return Installation(folder, version, "\n".join(parts))


def _version(folder: Path) -> str:
    from importlib import metadata  # 50 ms

    try:
        return metadata.version("triton")
    except metadata.PackageNotFoundError:
        # Packages for AMD's GPUs go by another name.
        found = re.search(r'^__version__ = ["\'](.+?)["\']', (folder / "__init__.py").read_text("utf-8"), re.MULTILINE)
        return found[1] if found is not None else "unknown"


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def environment() -> dict[str, str]:
    """The variables of a worker: ours, without those that would change what Triton does."""
    kept = set(_TOOLS.values())
    return {
        name: value for name, value in os.environ.items() if name in kept or not name.startswith(_OURS_TO_DROP)
    }


def compiles_cuda(installed: Installation, arch: int) -> bool:
    """Whether Triton's ptxas knows a compute capability, given as 80 or 90."""
    # As Triton chooses them: the variant with all instructions from Hopper on, a newer ptxas from Blackwell on.
    name = f"sm_{arch}a" if arch >= 90 else f"sm_{arch}"
    return name in _ptxas_architectures(installed.tool("ptxas-blackwell" if arch >= 100 else "ptxas"))


@cache
def _ptxas_architectures(ptxas: Path) -> frozenset[str]:
    try:
        done = subprocess.run([ptxas, "--help"], capture_output=True, text=True, check=True)  # noqa: S603 - Triton's own
    except (OSError, subprocess.CalledProcessError):
        return frozenset()
    return frozenset(re.findall(r"'(sm_\w+)'", done.stdout))
