"""What a body that was just written says of its variables: which are read, which are idle."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence

from cnndsl.codegen.specialize_source import LANGUAGE, dotted
from cnndsl.codegen.specialize_types import PURE


class Facts:
    """Facts about the lines of a body.

    read    names that are read, or read and written.
    unused  local variables that are never read, and whose values have no effect of their own.
    copies  local variables that are another variable, or a parameter, for good: neither gets another value.
    """

    def __init__(self, lines: Sequence[str], parameters: Sequence[str]) -> None:
        (function,) = ast.parse("def f():\n" + "\n".join(lines) + "\n").body
        assert isinstance(function, ast.FunctionDef)
        self.body = function.body
        self.read: set[str] = set()
        stored = Counter(parameters)
        idle: dict[str, bool] = {}
        copies: dict[str, str] = {}
        for node in ast.walk(function):
            match node:
                case ast.Name(id=name, ctx=ast.Load()):
                    self.read.add(name)
                case ast.Name(id=name):
                    stored[name] += 1
                case ast.AugAssign(target=ast.Name(id=name)):
                    self.read.add(name)
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    idle[name] = idle.get(name, True) and _is_pure(value)
                    if isinstance(value, ast.Name):
                        copies[name] = value.id
                case ast.Tuple(elts=elements, ctx=ast.Store()):
                    idle |= {e.id: False for e in elements if isinstance(e, ast.Name)}
                case ast.For(target=ast.Name(id=name), iter=ast.Call(func=called)):
                    # Python's integer, which divides otherwise than a variable.
                    stored[name] += dotted(called) == f"{LANGUAGE}.static_range"
        self.unused = frozenset(name for name, pure in idle.items() if pure) - self.read
        self.copies = {name: other for name, other in copies.items() if stored[name] == 1 and stored[other] == 1}

    def returned_as_is(self, parameters: Sequence[str]) -> str | None:
        """The parameter that the body returns unchanged, without doing anything else."""
        match [s for s in self.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]:
            case [ast.Return(value=ast.Name(id=name))] if name in parameters:
                return name
        return None


def _is_pure(value: ast.expr) -> bool:
    """Whether an expression has no effect but its value."""
    for node in ast.walk(value):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="tl"), attr=name)):
                if f"{LANGUAGE}.{name}" not in PURE:
                    return False
            case ast.Call(func=ast.Attribute(attr="to") | ast.Name(id="float")):
                pass
            case ast.Call():
                return False
    return True
