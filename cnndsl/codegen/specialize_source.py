"""Kernel sources as syntax trees whose every node knows its place in the text."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cnndsl.errors import CnnError, Diagnostic, Source, Span

LANGUAGE = "tl"
"""The name under which kernels import triton.language."""

BUILTINS = frozenset({"triton", LANGUAGE, "float", "int", "bool", "len", "min", "max", "range", "abs", "isinstance"})
"""Names that a kernel may use without defining them."""


@dataclass(frozen=True)
class Function:
    """A `@triton.jit` function of a kernel module."""

    module: Module
    node: ast.FunctionDef

    @property
    def name(self) -> str:
        return self.node.name

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(argument.arg for argument in self.node.args.args)

    @cached_property
    def constexprs(self) -> frozenset[str]:
        """The parameters that are annotated tl.constexpr."""
        annotated = ((a.arg, a.annotation) for a in self.node.args.args)
        return frozenset(name for name, annotation in annotated if annotation is not None and is_constexpr(annotation))

    @cached_property
    def defaults(self) -> Mapping[str, ast.expr]:
        """Default values by parameter."""
        names, values = self.parameters, self.node.args.defaults
        return dict(zip(names[len(names) - len(values) :], values, strict=True))


class Module:
    """One kernel module: its text, its functions, and what it imports from its siblings."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.source = Source(f"kernels/{name}.py", text)
        self.lines = text.split("\n")
        try:
            self.tree = ast.parse(text)
        except SyntaxError as error:
            start = self.source.line_starts[max((error.lineno or 1) - 1, 0)]
            raise self.error_at(start, start + 1, f"this is not Python: {error.msg}") from None

    @cached_property
    def functions(self) -> Mapping[str, Function]:
        """The functions defined here, by name."""
        found = {n.name: Function(self, n) for n in self.tree.body if isinstance(n, ast.FunctionDef)}
        for function in found.values():
            arguments = function.node.args
            special = [*arguments.posonlyargs, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            if any(argument is not None for argument in special):
                raise self.error(function.node, "the parameters of kernels and helpers are plain ones")
        return found

    @cached_property
    def imported(self) -> Mapping[str, tuple[str, str]]:
        """Module and name of every function taken from a sibling, by its name here."""
        found: dict[str, tuple[str, str]] = {}
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module is not None:
                found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        return found

    def offsets(self, node: ast.AST) -> tuple[int, int]:
        """The characters of a node: first, and one beyond the last."""
        assert isinstance(node, ast.expr | ast.stmt | ast.arg | ast.keyword)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        text = self.lines[line - 1]
        if not text.isascii():
            # Python counts columns in bytes of UTF-8.
            column = len(text.encode()[:column].decode())
        return self.source.line_starts[line - 1] + column

    def text_of(self, node: ast.AST) -> str:
        """The text of a node."""
        start, end = self.offsets(node)
        return self.source.text[start:end]

    def error(self, node: ast.AST, message: str) -> CnnError:
        """An error at a node, to be raised."""
        return self.error_at(*self.offsets(node), message)

    def error_at(self, start: int, end: int, message: str) -> CnnError:
        """An error at a range of characters, to be raised."""
        return CnnError((Diagnostic("E0611", message, Span(self.source, start, end)),))


def is_constexpr(annotation: ast.expr) -> bool:
    """Whether an annotation is tl.constexpr."""
    return dotted(annotation) in {f"{LANGUAGE}.constexpr", "triton.language.constexpr"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` as text; empty for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{inner}.{attr}" if (inner := dotted(value)) else ""
    return ""
