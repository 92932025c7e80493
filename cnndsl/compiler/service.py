"""Kernels to machine code, for any target, on any machine: compiled in worker processes, kept in the cache."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from cnndsl import targets
from cnndsl.compiler import entries, installation, resources, upkeep
from cnndsl.compiler.entries import Entry
from cnndsl.compiler.job import Job
from cnndsl.compiler.pool import Pool
from cnndsl.compiler.resources import Resources, Usage
from cnndsl.errors import CnnError, Diagnostic, diagnostic, listed, problem
from cnndsl.targets import Target

Progress = Callable[[int, int, str], None]
"""Called with the number of kernels that are done, the number of all, and the name of the one just done."""

_TRITON_FOLDER = re.compile(r'(?<=["\s])/[^"\n]*/(?=triton/language\b)')

_used: set[str] = set()
"""What this process has compiled or found, which stays in the cache while it runs."""


@dataclass(frozen=True)
class Compiled:
    """A compiled kernel, or why there is none.

    cached       whether it was in the cache and nothing had to be done.
    seconds      wall time of compiling it, whenever that was; `cpu_seconds` of the processor.
    error        the last lines of what Triton said, where it cannot be compiled; all that follows is None then.
    resources    what it takes of the target's machine.
    folder       of its entry in the cache; `triton` therein is as Triton's cache has it, named by Triton's key.
    """

    job: Job
    cached: bool
    seconds: float
    cpu_seconds: float
    error: str | None
    resources: Resources | None
    folder: Path | None
    triton: Path | None

    @property
    def failure(self) -> Diagnostic | None:
        """The error (E0612) of a kernel that cannot be compiled."""
        if self.error is None:
            return None
        message = f"{self.job.kernel.name} cannot be compiled for {self.job.target.name}"
        return diagnostic("E0612", message, notes=self.error.splitlines())

    @property
    def stages(self) -> tuple[str, ...]:
        """The names that `stage` takes; none where it could not be compiled."""
        return self.job.target.stages if self.error is None else ()

    def stage(self, name: str) -> str:
        """The text of a stage, read when asked for. If somebody has cleared the cache, it is compiled again.

        Places in the kernel's file are named by its base name: "conv1.py".
        """
        assert name in self.stages, name
        for kernel in chain([self], _again(self.job)):
            assert kernel.folder is not None
            assert kernel.triton is not None
            function = self.job.kernel.function[:150]  # as Triton shortens it
            path = kernel.folder / "kernel.sass" if name == "sass" else kernel.triton / f"{function}.{name}"
            try:
                text = path.read_text("utf-8")
            except FileNotFoundError:
                continue
            return _TRITON_FOLDER.sub("", text)
        raise problem("E0606", f"compiled kernels vanish from {entries.root()} as soon as they are written")


def _again(job: Job) -> Iterator[Compiled]:
    (compiled,) = compile_kernels([job])
    if compiled.error is None:
        yield compiled


def compile_kernels(
    jobs: Sequence[Job], *, workers: int | None = None, progress: Progress | None = None
) -> tuple[Compiled, ...]:
    """Compile kernels, each once and those alone that are not in the cache; the results are in the jobs' order.

    workers   processes to compile in; by default as many as this process may use processors.
    progress  called in this process whenever a kernel is done.

    A kernel that cannot be compiled is a result with an `error`. Raises CnnError when nothing can be: Triton is not
    installed (E0601), or cannot compile for a target (E0705), or the cache cannot be written (E0606).
    """
    for target in dict.fromkeys(job.target for job in jobs):
        if target.kind == "interpreter":
            raise problem(
                "E0705",
                "there is nothing to compile for the interpreter",
                notes=("it runs the kernels' sources themselves",),
                help=("name a GPU: --target sm_90",),
            )
    if not jobs:
        return ()
    limit = upkeep.limit_bytes()
    installed = installation.find()
    digests = [job.digest(installed) for job in jobs]
    distinct = dict(zip(digests, jobs, strict=True))
    _used.update(distinct)
    done: dict[str, Compiled] = {}

    def finish(digest: str, compiled: Compiled) -> None:
        done[digest] = compiled
        if progress is not None:
            progress(len(done), len(distinct), compiled.job.kernel.name)

    for digest, job in distinct.items():
        if (entry := entries.find(digest)) is not None:
            finish(digest, _found(job, entry, cached=True))
    missing = {digest: job for digest, job in distinct.items() if digest not in done}
    if missing:
        for target in dict.fromkeys(job.target for job in missing.values()):
            _require(target, installed)
        for digest, compiled in _compile(missing, workers or processors()):
            finish(digest, compiled)
        upkeep.trim(limit, keep=_used)
    return tuple(replace(done[digest], job=job) for digest, job in zip(digests, jobs, strict=True))


def processors() -> int:
    """How many this process may use, which is how many workers compile unless somebody says otherwise."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _compile(missing: Mapping[str, Job], workers: int) -> Iterator[tuple[str, Compiled]]:
    found: list[tuple[str, Compiled]] = []
    with entries.scratch() as scratch, Pool(min(workers, len(missing))) as pool:

        def requests() -> Iterator[tuple[str, dict[str, Any]]]:
            for digest, job in missing.items():
                # Another process may compile the same network at this moment.
                if (entry := entries.find(digest)) is not None:
                    found.append((digest, _found(job, entry, cached=True)))
                    continue
                folder = scratch / digest
                with entries.writing():
                    folder.mkdir()
                    (folder / job.file).write_text(job.kernel.source, "utf-8")
                yield digest, {**job.request(), "folder": str(folder)}

        for digest, reply in pool.run(requests()):
            job = missing[digest]
            if "unsupported" in reply:
                raise _unavailable(job.target)
            if "error" in reply:
                yield digest, _failed(job, _cleaned(reply["error"], scratch))
                continue
            with entries.writing():
                entry = entries.commit(scratch / digest, digest, {"kernel": job.kernel.name, **reply})
            yield digest, _found(job, entry, cached=False)
            while found:
                yield found.pop()
    yield from found


def _found(job: Job, entry: Entry, *, cached: bool) -> Compiled:
    record = entry.record
    return Compiled(
        job,
        cached=cached,
        seconds=record["seconds"],
        cpu_seconds=record["cpu_seconds"],
        error=None,
        resources=resources.on_target(Usage.from_json(record["usage"]), job.target.name),
        folder=entry.folder,
        triton=entry.triton,
    )


def _failed(job: Job, error: str) -> Compiled:
    return Compiled(
        job, cached=False, seconds=0.0, cpu_seconds=0.0, error=error, resources=None, folder=None, triton=None
    )


def _cleaned(error: str, scratch: Path) -> str:
    """A message without the folder that its file was in for a moment."""
    return re.sub(rf"{re.escape(str(scratch))}/\w+/", "", error)


# --- targets --------------------------------------------------------------------------------------------------------


def available(target: Target) -> bool:
    """Whether the installed Triton compiles for a target. Raises CnnError (E0601) when there is no Triton."""
    return target in _all_available(installation.find(), target)


def _all_available(installed: installation.Installation, target: Target) -> tuple[Target, ...]:
    """The targets of one kind, and `target`, that Triton compiles for."""
    alike = dict.fromkeys([*(t for t in targets.TARGETS if t.kind == target.kind), target])
    match target.kind:
        case "interpreter":
            return ()
        case "cuda":
            return tuple(t for t in alike if isinstance(t.arch, int) and installation.compiles_cuda(installed, t.arch))
        case "hip":
            known = _amd_architectures(installed, tuple(str(t.arch) for t in alike))
            return tuple(t for t in alike if t.arch in known)


@cache
def _amd_architectures(installed: installation.Installation, names: tuple[str, ...]) -> frozenset[str]:  # noqa: ARG001 - the key
    """Those that LLVM knows, which only a process with Triton in it can tell: 0.5 s. Kept for each installation."""
    with Pool(1) as pool:
        for _, reply in pool.run([("architectures", {"supported": names})]):
            return frozenset(reply.get("supported", ()))
    return frozenset()


def _require(target: Target, installed: installation.Installation) -> None:
    """Raise CnnError (E0705) for a CUDA target that Triton lacks; of AMD's targets the workers know."""
    if target.kind == "cuda" and target not in _all_available(installed, target):
        raise _unavailable(target)


def _unavailable(target: Target) -> CnnError:
    installed = installation.find()
    names = [t.name for t in _all_available(installed, target)]
    has = f"it compiles for {listed(names, most=len(names))}" if names else "it compiles for no GPU of that maker"
    return problem(
        "E0705",
        f"the installed Triton cannot compile for {target.name}",
        notes=(f"Triton {installed.version}: {has}",),
        help=("install another version of Triton, or name one of those targets",),
    )
