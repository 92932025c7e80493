"""Kernels that a network's user has edited, put in the place of generated ones once they are known to be right."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cnndsl.codegen.package import Package, package
from cnndsl.eject import worker
from cnndsl.eject.facts import Facts, facts_of
from cnndsl.eject.layers import step_of
from cnndsl.errors import CnnError, Diagnostic, diagnostic, problem, reason_of
from cnndsl.ir import Graph
from cnndsl.linemap import line_map
from cnndsl.passes.plan import Plan

CHECKED = (1, 2)
"""Numbers of pictures that a kernel is checked with when the network is compiled."""


_Key = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Replacement:
    """A file for a layer's kernel. `text` is what it held when the network was compiled."""

    layer: str
    path: str
    text: str
    facts: Facts

    @property
    def key(self) -> _Key:
        """What tells its step from others, in whatever way the network's values are laid out."""
        return self.facts.step.writes, self.facts.step.reads

    @cached_property
    def check(self) -> str:
        """The program that compares a `launch` with torch: our own, not the file's."""
        from cnndsl.eject.source import check_source

        return check_source(self.facts)


@dataclass(frozen=True)
class Replacements:
    """All of a network. `device` is where they are checked."""

    kernels: tuple[Replacement, ...]
    device: torch.device
    _right: set[tuple[_Key, int]] = field(default_factory=set, compare=False, repr=False)
    """Kernels, by their keys, with the numbers of pictures for which they are right."""

    def texts(self, plan: Plan) -> dict[int, str]:
        """The replaced kernels of a plan by step: those whose tensors lie as in the plan that they were made for."""
        found = {number: one.text for number, one, fits in self._steps(plan) if fits}
        assert plan.keep or len(found) == len(self.kernels), "tensors lie alike for every batch size"
        return found

    def left_out(self, plan: Plan) -> tuple[Replacement, ...]:
        """Those whose layer's generated kernel runs in this plan, which lays its tensors out in another way."""
        return tuple(one for _, one, fits in self._steps(plan) if not fits)

    def _steps(self, plan: Plan) -> Iterable[tuple[int, Replacement, bool]]:
        """The replaced steps of a plan, and whether their tensors lie as in the plan that the file was made for."""
        if not self.kernels:
            return
        plain, by_key = package(plan), {one.key: one for one in self.kernels}
        for number, step in enumerate(plan.steps):
            one = by_key.get((step.writes, step.reads))
            if one is not None:
                yield number, one, facts_of(plain, number).layout == one.facts.layout

    def check(self, folder: Path, plan: Plan, n: int) -> None:
        """Compare each kernel that a plan runs with torch, for the launches that n pictures take.

        What was found right is noted in the package's folder, and not checked again. Raises CnnError (E0622), and
        (E0605) where memory is used up.
        """
        if not self.kernels:
            return
        most = plan.max_batch or n
        sizes = {min(n, most), n % most if n > most else 0} - {0}
        if n <= max(CHECKED):
            sizes |= set(CHECKED)
        new = [one for one in self.kernels if not {(one.key, size) for size in sizes} <= self._right]
        if not new:
            return
        left_out = self.left_out(plan) if plan.keep else ()
        jobs = [_Job(one, folder, sorted(sizes), self.device) for one in new if one not in left_out]
        _run([job for job in jobs if job.waiting], self.device)
        self._right.update((job.one.key, size) for job in jobs for size in sizes)

    def __getstate__(self) -> dict[str, Any]:
        # Another machine makes its own checks.
        return {**self.__dict__, "_right": set()}


def read(
    kernels: Mapping[str, str | os.PathLike[str]], graph: Graph, made: Package, *, device: torch.device
) -> Replacements:
    """The replacements for a network's layers by name.

    Raises CnnError with all that is wrong: E0621 for a file that cannot take the layer's place, E0623 and E0707 for a
    name that stands for no kernel.
    """
    if not isinstance(kernels, Mapping):
        hint = ('kernels={"conv2": "my_conv.py"}',)
        raise problem("E0621", f"kernels is a mapping from layers to files, not {kernels!r}", help=hint)
    lines = line_map(graph, made)
    found: list[Replacement] = []
    errors: list[Diagnostic] = []
    for layer, path in kernels.items():
        try:
            facts = facts_of(made, step_of(lines, layer))
            one = Replacement(layer, os.fspath(path), _text(os.fspath(path)), facts)
            _fit(one)
            twin = next((other for other in found if other.key == one.key), None)
            if twin is not None:
                raise problem("E0621", f"{twin.layer} and {layer} are computed by one kernel: give it one file")
            found.append(one)
        except CnnError as error:
            errors.extend(error.diagnostics)
    if errors:
        raise CnnError(errors)
    return Replacements(tuple(found), device)


# --- a file, before it is run -------------------------------------------------------------------------------------


def _text(path: str) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise problem("E0621", f"cannot read {path}: it is not a text in UTF-8") from None
    except (OSError, ValueError) as error:  # a name may hold what no name can
        raise problem("E0621", f"cannot read {path}: {reason_of(error)}") from None


def _fit(one: Replacement) -> None:
    """Raise CnnError (E0621) for a file that is no Python, has no fitting `launch`, or was ejected elsewhere."""
    try:
        tree = ast.parse(one.text, one.path)
    except (SyntaxError, ValueError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno is not None else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise problem("E0621", f"{one.path} is no Python{where}: {said}") from None
    except (MemoryError, RecursionError):
        raise problem("E0621", f"{one.path} is no Python: it is nested too deeply") from None
    wanted = f"launch({', '.join(one.facts.parameters)})"
    again = f"`cnndsl eject` writes a file with the `launch` that {one.layer} needs"
    launch = next((s for s in reversed(tree.body) if isinstance(s, ast.FunctionDef) and s.name == "launch"), None)
    if launch is None:
        raise problem("E0621", f"{one.path} has no function `{wanted}`", help=(again,))
    if ast.unparse(launch.args) != ", ".join(one.facts.parameters):
        raise problem(
            "E0621",
            f"{one.path} has launch({ast.unparse(launch.args)}), but {one.layer} is launched as {wanted}",
            help=(again,),
        )
    layer = _layer(tree)
    differences = [] if layer is None else list(_differences(layer, one.facts))
    if differences:
        message = f"{one.path} was ejected for another place: its kernel cannot be that of {one.layer}"
        raise problem("E0621", message, notes=differences, help=("eject this network's layer again",))


def _layer(tree: ast.Module) -> dict[str, Any] | None:
    """What a file says that it was ejected from, read and not run; None where it says nothing that can be read."""
    for statement in tree.body:
        match statement:
            case ast.Assign([ast.Name("LAYER")], value):
                try:
                    found = ast.literal_eval(value)
                except (ValueError, TypeError, RecursionError):
                    return None
                return found if isinstance(found, dict) else None
    return None


def _differences(layer: Mapping[str, Any], facts: Facts) -> Iterable[str]:
    """In what a file's layer and this one differ, in sentences."""
    own = facts.layout
    if layer.get("dtype") != own["dtype"]:
        yield f"it computes in {layer.get('dtype')}, this network in {own['dtype']}"
    target = facts.plan.target
    if own["dtype"] == "bf16" and (layer.get("target") == "interpreter") != (target.kind == "interpreter"):
        yield f"it is for {layer.get('target')}, and bf16 is computed otherwise for {target.name}"
    theirs, ours = layer.get("tensors"), own["tensors"]
    assert isinstance(ours, dict)
    if not isinstance(theirs, dict):
        return
    for name in ours:
        for what, word in {"shape": "is", "strides": "has strides"}.items():
            a, b = (side[name].get(what) if isinstance(side.get(name), dict) else None for side in (theirs, ours))
            if a != b:
                yield f"its `{name}` {word} {_shown(a)}, that of {facts.step.group.title} {word} {_shown(b)}"
                break


def _shown(value: object) -> str:
    return "of the caller's choice" if value is None else str(list(value) if isinstance(value, tuple) else value)


# --- running it ---------------------------------------------------------------------------------------------------


def _digest(check: str, text: str, device: torch.device, n: int) -> str:
    """What a finding holds for: the texts, the number of pictures, the machine, the versions of what computes."""
    import triton

    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    parts = (check, text, str(n), machine, torch.__version__, triton.__version__, np.__version__, sys.version)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


class _Job:
    """A kernel to check, with the notes to leave when it is right for a number of pictures."""

    def __init__(self, one: Replacement, folder: Path, sizes: Iterable[int], device: torch.device) -> None:
        self.one = one
        notes = {n: folder / f"checked-{_digest(one.check, one.text, device, n)}" for n in sizes}
        self.waiting = {n: note for n, note in notes.items() if not note.exists()}


def _run(jobs: list[_Job], device: torch.device) -> None:
    """Check kernels in a new process. Raises CnnError (E0605, E0622)."""
    if not jobs:
        return
    with tempfile.TemporaryDirectory(prefix="cnndsl-check-") as scratch:
        folder = Path(scratch)
        by_kernel = {str(folder / f"kernel_{i}.py"): job for i, job in enumerate(jobs)}
        items = []
        for kernel, job in by_kernel.items():
            check = f"{kernel}.check"
            Path(kernel).write_bytes(job.one.text.encode())
            Path(check).write_bytes(job.one.check.encode())
            items.append({"kernel": kernel, "check": check, "n": list(job.waiting)})
        findings = folder / "findings"
        findings.touch()
        whole = {"device": str(device), "findings": str(findings), "kernels": items}
        (folder / "job.json").write_text(json.dumps(whole), encoding="utf-8")
        ended = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, "-P", worker.__file__, str(folder / "job.json")],
            stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, errors="replace",
        )
        lines = findings.read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    errors = []
    for finding in found:
        job = by_kernel[finding["kernel"]]
        if finding["kind"] == "right":
            with contextlib.suppress(OSError):  # someone else's cache: it will be checked again
                job.waiting[finding["n"]].touch()
        elif finding["kind"] != "begun":
            errors.append(_error(job.one, finding))
    if ended.returncode != 0:
        said = ended.stderr.strip().splitlines()[-3:]
        assert found, f"the check of edited kernels could not run: {said}"
        if found[-1]["kind"] == "begun":
            crash = {"kind": "raised", "text": "\n".join([_ended(ended.returncode), *said]), "line": None}
            errors.append(_error(by_kernel[found[-1]["kernel"]].one, found[-1] | crash))
    if errors:
        raise CnnError(errors)
    assert ended.returncode == 0, f"the check of edited kernels did not end well: {ended.stderr}"


def _ended(code: int) -> str:
    return f"the process that ran it ended with {f'signal {-code}' if code < 0 else f'exit status {code}'}"


def _error(one: Replacement, finding: Mapping[str, Any]) -> Diagnostic:
    pictures = f"{finding['n']} picture{'s' if finding['n'] > 1 else ''}"
    match finding["kind"]:
        case "wrong":
            message = f"{one.path} does not compute what {one.layer} does, with {pictures}"
            notes = [finding["text"]]
            said = (_layer(ast.parse(one.text)) or {}).get("operations")
            own = one.facts.operations
            if isinstance(said, tuple) and said != own:
                notes.append(f"it was ejected from {' -> '.join(map(str, said))}; here stands {' -> '.join(own)}")
        case _ if finding["text"].startswith(("MemoryError", "OutOfMemoryError")):
            message = f"memory is used up while {one.path} is compared with torch, with {pictures}"
            return diagnostic("E0605", message, help=("run fewer pictures at a time",))
        case _:
            line = f", line {finding['line']}" if finding["line"] is not None else ""
            message = f"{one.path}{line} fails in the place of {one.layer}, with {pictures}"
            notes = finding["text"].splitlines()
    ejected = "LAYER = {" in one.text
    hint = (f"python {one.path} --n {finding['n']} makes this comparison by itself",) if ejected else ()
    return diagnostic("E0622", message, notes=notes, help=hint)
