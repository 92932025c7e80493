"""Kernels specialised for tests, and what they and the generic ones compile to."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sample_networks import EXAMPLES, chosen, examples

from cnndsl import targets
from cnndsl.codegen.package import known_of
from cnndsl.codegen.specialize import Known, Specialized, kernel_sources, specialize
from cnndsl.files import choose_network, load_path
from cnndsl.ops.binding import Launch
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import Groups, fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.tiles import DType

NETWORKS = chosen(examples())
GPU = ("cuda", 90, 32)
AMD = ("hip", "gfx942", 64)


@dataclass(frozen=True)
class Case:
    """A kernel with some of its parameters known; the constants in `rest` are not folded into its text."""

    module: str
    kernel: str
    known: Mapping[str, Known]
    rest: Mapping[str, Known] = field(default_factory=dict)
    element: str = "fp16"
    unaligned: frozenset[str] = frozenset()
    target: tuple[Any, ...] = GPU

    @property
    def specialized(self) -> Specialized:
        key = repr((self.module, self.kernel, sorted(self.known.items())))
        if key not in _SPECIALIZED:
            _SPECIALIZED[key] = specialize(kernel_sources(), self.module, self.kernel, self.known)
        return _SPECIALIZED[key]

    def requests(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What to ask a worker for: the generic kernel with constants, and the specialised one without."""
        text = self.specialized
        run_time = [name for name in text.parameters if name not in text.constexprs]
        assert set(text.constexprs) == set(self.rest)
        types = {name: self.type(name) for name in run_time}
        aligned = [name for name in run_time if name != "n" and name not in self.unaligned]
        shared = {"kernel": self.kernel, "types": types, "aligned": aligned, "target": list(self.target)}
        generic = {"module": self.module, "constants": {**self.known, **self.rest}}
        return {**shared, **generic}, {**shared, "text": text.text, "constants": dict(self.rest)}

    def type(self, parameter: str) -> str:
        if not parameter.endswith("_ptr"):
            return "i32"
        bias = parameter in ("b_ptr", "scale_ptr", "shift_ptr")
        return "*fp32" if bias else f"*{self.element}"


_SPECIALIZED: dict[str, Specialized] = {}


class Compilers:
    """Worker processes that make Triton IR; what was made is kept."""

    def __init__(self, count: int) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        program = [sys.executable, str(Path(__file__).with_name("ttir_worker.py"))]
        self.workers = [
            subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(count)
        ]
        self.made: dict[str, dict[str, Any]] = {}

    def __call__(self, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to requests, in order."""
        texts = [json.dumps(request) for request in requests]
        missing = list(dict.fromkeys(text for text in texts if text not in self.made))

        def serve(number: int) -> None:
            worker = self.workers[number]
            assert worker.stdin is not None
            assert worker.stdout is not None
            for text in missing[number :: len(self.workers)]:
                worker.stdin.write(f"{text}\n")
                worker.stdin.flush()
                self.made[text] = json.loads(worker.stdout.readline())

        with ThreadPoolExecutor(len(self.workers)) as pool:
            list(pool.map(serve, range(len(self.workers))))
        return [self.made[text] for text in texts]

    def close(self) -> None:
        for worker in self.workers:
            worker.communicate()


def same(generic: dict[str, Any], special: dict[str, Any]) -> None:
    """Hold two answers against each other."""
    assert "error" not in generic, generic["error"]
    assert "error" not in special, special["error"]
    assert special["ir"] == generic["ir"]


@cache
def groups_of(network: str) -> Groups:
    program = load_path(EXAMPLES / f"{network}.cnn")
    return fuse(simplify(elaborate(program, choose_network(program, None), None)))


@cache
def launches(network: str, target: str, dtype: DType, batch: int) -> tuple[Launch, ...]:
    """The launches of an example network."""
    made = plan(groups_of(network), target=targets.get(target), dtype=dtype, batch=batch)
    return tuple(launch for step in made.steps for launch in step.launches)


def case_of(launch: Launch, *, element: str, target: tuple[Any, ...] = GPU) -> Case:
    """A launch as a case, with all that its plan knows."""
    known = known_of(launch)
    assert "INDEX64" in known
    return Case(launch.module, launch.kernel, known, element=element, target=target)


def distinct(cases: Sequence[Case]) -> list[Case]:
    """Cases that differ, in order."""
    return list({repr((c.module, c.kernel, c.known, c.element, c.target)): c for c in cases}.values())
