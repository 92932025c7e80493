"""What is to be compiled."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cnndsl.compiler.installation import Installation
from cnndsl.targets import Target

FORMAT = 1
"""Of the entries of the cache. A change of what is compiled, or of what is kept of it, makes it another."""


class Parameter(Protocol):
    """A parameter as `cnndsl.codegen.package.Parameter` has it."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def value(self) -> int | None: ...
    @property
    def aligned(self) -> bool: ...


class Kernel(Protocol):
    """A kernel as `cnndsl.codegen.package.Kernel` has it; any file with a ``@triton.jit`` function will do."""

    @property
    def name(self) -> str: ...
    @property
    def function(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def parameters(self) -> Sequence[Parameter]: ...
    @property
    def num_warps(self) -> int: ...
    @property
    def num_stages(self) -> int: ...


@dataclass(frozen=True)
class Job:
    """A kernel to compile for a target."""

    kernel: Kernel
    target: Target

    @property
    def file(self) -> str:
        """The name of the kernel's file, as all stages call it."""
        return f"{self.kernel.name}.py"

    def request(self) -> dict[str, Any]:
        """What a worker is told, beside the folder to work in."""
        return {
            "name": self.kernel.name,
            "function": self.kernel.function,
            "parameters": [[p.name, p.type, p.value, p.aligned] for p in self.kernel.parameters],
            "backend": self.target.kind,
            "arch": self.target.arch,
            "warp_size": self.target.warp_size,
            "num_warps": self.kernel.num_warps,
            "num_stages": self.kernel.num_stages,
        }

    def digest(self, installed: Installation) -> str:
        """Name of the job in the cache: the same for all jobs that give the same code and the same line numbers."""
        body, line, unspecialised = _body(self.kernel.source, self.kernel.function)
        parameters = [
            [p.name, p.type, p.aligned if p.value is None else "any" if p.name in unspecialised else _class(p.value)]
            for p in self.kernel.parameters
        ]
        key = [FORMAT, installed.identity, {**self.request(), "parameters": parameters}, line, body]
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:40]


def _class(value: int) -> str:
    """What Triton's launcher distinguishes of an integer."""
    if value == 1:
        return "one"
    wide = not -(2**31) <= value < 2**31
    return ("multiple of 16" if value % 16 == 0 else "any") + (" in 64 bits" if wide else "")


def _body(source: str, function: str) -> tuple[str, int, frozenset[str]]:
    """The text below the header, the line it begins on, and the parameters whose values Triton does not look at."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source, 1, frozenset()  # for the worker to say what is wrong with it
    statements = tree.body
    if statements and isinstance(statements[0], ast.Expr) and isinstance(statements[0].value, ast.Constant):
        statements = statements[1:]
    if not statements:
        return source, 1, frozenset()
    line = statements[0].lineno
    if isinstance(statements[0], ast.FunctionDef) and statements[0].decorator_list:
        line = statements[0].decorator_list[0].lineno
    body = "".join(source.splitlines(keepends=True)[line - 1 :])
    kernel = next((s for s in statements if isinstance(s, ast.FunctionDef) and s.name == function), None)
    return body, line, _not_specialised(kernel)


def _not_specialised(kernel: ast.FunctionDef | None) -> frozenset[str]:
    """The names in ``@triton.jit(do_not_specialize=[...])``; of anything but plain names, none."""
    decorators = kernel.decorator_list if kernel is not None else []
    for decorator in decorators:
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
            if keyword.arg == "do_not_specialize" and isinstance(keyword.value, ast.List | ast.Tuple):
                names = [e.value for e in keyword.value.elts if isinstance(e, ast.Constant)]
                return frozenset(name for name in names if isinstance(name, str))
    return frozenset()
