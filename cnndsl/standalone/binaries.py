"""Compiled kernels as files of a build."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from cnndsl.codegen.package import Package
from cnndsl.compiler import Compiled, Job, compile_kernels, installation
from cnndsl.errors import CnnError

CODE, ASSEMBLY = (".cubin", ".hsaco"), (".ptx", ".amdgcn")
"""What is kept of Triton's files: the code for the GPU, which Triton loads, and its assembly. The stages before them
are made again by whoever wants to see them."""

Step = Callable[[int, int, str], None]


def compile_all(packages: Sequence[Package], step: Step) -> list[dict[str, bytes]]:
    """For each package the files of its ``binaries/``; none for the interpreter. Raises CnnError (E06xx).

    A kernel `conv1` has its code in `conv1.cubin` or `conv1.hsaco`, its assembly in `conv1.ptx` or `conv1.amdgcn`, and
    in `conv1.json` what Triton knows of it, the hash under which it looks for the code among that.
    """
    found: list[dict[str, bytes]] = [{} for _ in packages]
    wanted = [
        (number, kernel)
        for number, package in enumerate(packages)
        if package.plan.target.kind != "interpreter"
        for kernel in package.kernels
    ]
    if not wanted:
        return found  # Triton need not be there
    jobs = [Job(kernel, packages[number].plan.target) for number, kernel in wanted]
    for (number, kernel), compiled in zip(wanted, compile_kernels(jobs, progress=step), strict=True):
        found[number] |= _files(compiled, kernel.name)
    return found


def _files(compiled: Compiled, name: str) -> dict[str, bytes]:
    """The files of one kernel, called as the kernel is."""
    if compiled.failure is not None:
        raise CnnError([compiled.failure])
    assert compiled.triton is not None
    (description,) = (p for p in compiled.triton.glob("*.json") if not p.name.startswith("__grp__"))
    files = {f"{name}.json": _portable(description)}
    # With the lines of its source, Triton notes where its own helpers lie on this machine, which is nobody's business.
    packages = f"{installation.find().folder.parent}/".encode()
    for path in sorted(compiled.triton.iterdir()):
        if path.suffix in ASSEMBLY:
            files[f"{name}{path.suffix}"] = path.read_bytes().replace(packages, b"")
        elif path.suffix in CODE:
            # Nothing may move in these: slashes as many as there were letters lead to the same name.
            files[f"{name}{path.suffix}"] = path.read_bytes().replace(packages, b"/" * len(packages))
    return files


def _portable(description: Path) -> bytes:
    """A description with its keys in order, and without this machine's paths, so that two builds agree."""
    data = json.loads(description.read_bytes())
    # Of the libraries that were linked Triton's hash counts the contents alone, and nobody opens them again.
    data["extern_libs"] = [[name, Path(path).name] for name, path in data["extern_libs"]]
    return json.dumps(data, indent=1, sort_keys=True).encode() + b"\n"
