"""The program that compiles: a process that reads requests and writes replies, each one line of JSON.

A request names a folder with the kernel's file in it (`Job.request` has the other fields). In that folder the worker
leaves Triton's cache for the kernel, in ``triton/<KEY>/``, and ``kernel.sass`` for CUDA. Kernels are compiled by
Triton's own launcher, up to the launch itself, for a GPU that need not be there: what the file's ``launch`` would
compile on that GPU is what is compiled here, key of Triton's cache included.

Imports triton and not torch. Started by `cnndsl.compiler.pool`.
"""

from __future__ import annotations

import contextlib
import json
import linecache
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TextIO

from cnndsl.compiler import resources, sass
from cnndsl.compiler.lines import source_lines

MAX_ERROR_LINES = 20


def main() -> None:
    """Answer requests until there are no more."""
    requests, replies = _private_streams()
    try:
        import triton  # noqa: F401 - whether it can be, and now rather than within the first request's time
        from triton.runtime.cache import triton_key

        triton_key()  # hashes all of Triton, 0.3 s, once
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises
        _send(replies, {"broken": _last_lines(f"{type(error).__name__}: {error}")})
        return
    _send(replies, {"ready": True})
    for line in requests:
        _send(replies, answer(json.loads(line)))


def _private_streams() -> tuple[TextIO, TextIO]:
    """Standard input and output, out of the reach of what Triton, LLVM, kernels' files and ptxas print or read."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return requests, replies


def _send(replies: TextIO, reply: Mapping[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what is asked. Nothing that a kernel does wrong is raised: it becomes an `error`."""
    if "supported" in request:
        return {"supported": [arch for arch in request["supported"] if amd_knows(arch)]}
    if request["backend"] == "hip" and not amd_knows(request["arch"]):
        return {"unsupported": True}
    started, cpu = time.perf_counter(), _cpu_seconds()
    try:
        facts = compile_kernel(request)
    except Exception as error:  # noqa: BLE001 - a kernel's file can raise anything
        return {"error": _message(error)}
    finally:
        os.chdir("/")
        sys.stdout.flush()  # what Triton printed belongs to this request
    return {
        "seconds": round(time.perf_counter() - started, 3),
        "cpu_seconds": round(_cpu_seconds() - cpu, 3),
        **facts,
    }


def _cpu_seconds() -> float:
    """Of this process and of the tools that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def amd_knows(arch: str) -> bool:
    """Whether LLVM knows an architecture of AMD's; one that it does not know it ignores, and says so."""
    from triton._C.libtriton import amd, llvm

    llvm.init_targets()
    empty = f'target triple = "{amd.TARGET_TRIPLE}"\n'
    return f"--{arch}" in llvm.translate_to_asm(empty, amd.TARGET_TRIPLE, arch, "", [], False, False)  # noqa: FBT003


# --- one kernel -----------------------------------------------------------------------------------------------------


class _Pointer:
    """What Triton's launcher asks of a tensor. `ptr_range` is for AMD: smaller than 2 GiB, as most tensors are."""

    def __init__(self, element: str, *, aligned: bool) -> None:
        self.dtype = element
        self._address = 1 << 20 if aligned else (1 << 20) + 4

    def data_ptr(self) -> int:
        return self._address

    def ptr_range(self) -> int:
        return 0


def compile_kernel(request: Mapping[str, Any]) -> dict[str, Any]:
    """Compile the kernel of a request; returns its usage and the version of Triton. Raises what Triton raises."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.driver import driver

    folder = Path(request["folder"])
    # Of the path that a file is compiled under, Triton writes all into the code; so it is a relative one.
    os.chdir(folder)
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    target = GPUTarget(request["backend"], request["arch"], request["warp_size"])
    driver.set_active(
        SimpleNamespace(
            get_current_target=lambda: target, get_current_device=lambda: 0, get_current_stream=lambda _: 0
        )
    )
    file = f"{request['name']}.py"
    kernel = getattr(_load(file, request["name"]), request["function"])
    arguments = [
        _Pointer(type_[1:], aligned=aligned) if value is None else value
        for _, type_, value, aligned in request["parameters"]
    ]
    options = {name: request[name] for name in ("num_warps", "num_stages")}
    with _without_torch():
        compiled = kernel.warmup(*arguments, grid=(1,), **options, enable_fp_fusion=True)
    _check_signature(request["parameters"], compiled.src.signature)
    metadata = compiled.metadata._asdict()
    if request["backend"] == "hip":
        usage = resources.of_amd(amdgcn=compiled.asm["amdgcn"], metadata=metadata)
    else:
        usage = _disassemble(compiled, folder, file)
    return {"triton": triton.__version__, "usage": usage.to_json()}


def _load(file: str, name: str) -> ModuleType:
    """The module of a file in the working folder, under that relative name."""
    linecache.clearcache()  # another kernel's file may have had the name
    module = ModuleType(name)
    code = compile(Path(file).read_text("utf-8"), file, "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102 - what importing does, but for the path
    return module


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Keep Triton from importing torch, 1.9 s for nothing: it wants the class of tensors, of which there are none."""
    if "torch" in sys.modules:  # the kernel's own file wants it
        yield
        return
    stand_in = ModuleType("torch")
    stand_in.Tensor = type("Tensor", (), {})  # type: ignore[attr-defined]
    sys.modules["torch"] = stand_in
    try:
        yield
    finally:
        del sys.modules["torch"]


def _check_signature(parameters: list[tuple[str, str, int | None, bool]], signature: Mapping[str, str]) -> None:
    for name, type_, value, _ in parameters:
        assert signature[name] in ({type_, "constexpr"} if value == 1 else {type_}), (name, type_, signature)


def _disassemble(compiled: Any, folder: Path, file: str) -> resources.Usage:
    """Write ``kernel.sass``; returns the usage that it shows."""
    from triton import knobs

    (cubin,) = (folder / "triton").glob("*/*.cubin")
    # Without the analysis of jumps, which it often warns that it cannot do, it is a third faster.
    raw = _tool(knobs.nvidia.nvdisasm.path, "-c", "-ndf", "-g", "-gp", str(cubin))
    text = sass.readable(raw, ptx_lines=source_lines("ptx", compiled.asm["ptx"], file), file=file)
    (folder / "kernel.sass").write_text(text, "utf-8")
    usage = _tool(knobs.nvidia.cuobjdump.path, "-res-usage", str(cubin))
    return resources.of_cuda(sass=text, usage=usage, metadata=compiled.metadata._asdict())


def _tool(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - Triton's own
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")
    return done.stdout


# --- mistakes -------------------------------------------------------------------------------------------------------


def _message(error: Exception) -> str:
    """What a user can make use of, for the last few lines of it."""
    causes = []
    cause: BaseException | None = error
    while cause is not None:
        if (text := str(cause).strip()) not in causes:
            causes.append(text)
        cause = cause.__cause__
    text = "\n".join(c for c in causes if c)
    # ptxas is run on a file that is gone by now.
    text = re.sub(r"\n*Repro command: .*", "", text)
    return f"{type(error).__name__}: {_last_lines(text)}"


def _last_lines(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-MAX_ERROR_LINES:])
