"""Kernel text and constants to kernel text: the ordinary Triton kernel that a person would have written.

Decisions are made on the syntax tree and carried out on the text, so that comments and layout stay. What is folded:
constants, run-time parameters whose value the plan knows, and what derives from them. What is never folded is
arithmetic of run-time integers, which rounds otherwise than Python's.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources

from cnndsl.codegen.specialize_expressions import Call, Scope
from cnndsl.codegen.specialize_facts import Facts
from cnndsl.codegen.specialize_helpers import Variant, given_differently, placeholder, references, written
from cnndsl.codegen.specialize_layout import decorators, signature, wrapped
from cnndsl.codegen.specialize_source import LANGUAGE, Function, Module, is_constexpr
from cnndsl.codegen.specialize_statements import Body, Reassigned
from cnndsl.codegen.specialize_values import INT, OTHER, SCALAR, UNKNOWN, Known, Piece, Type, Unknown

__all__ = ["Known", "Specialized", "kernel_sources", "specialize"]


@dataclass(frozen=True)
class Specialized:
    """A specialised kernel.

    text        a module: imports of triton, the helpers that are needed, the kernel.
    kernel      the kernel's name.
    parameters  names of what is left of its parameters, in order.
    constexprs  those of them that are constants which were not given.
    constants   folded parameters and the constants derived from them, in source order.
    """

    text: str
    kernel: str
    parameters: tuple[str, ...]
    constexprs: tuple[str, ...]
    constants: tuple[tuple[str, Known], ...]


_LOCK = threading.Lock()
"""Held while a kernel is specialised: threads have programs in common, and in Python 3.11 two that parse at a time can
end in a SystemError of `ast.parse`."""


@cache
def kernel_sources() -> Mapping[str, str]:
    """The texts of the package's kernel modules by name ("conv2d")."""
    files = resources.files("cnndsl.kernels").iterdir()
    found = {f.name.removesuffix(".py"): f for f in files if f.name.endswith(".py") and f.name != "__init__.py"}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def specialize(sources: Mapping[str, str], module: str, kernel: str, known: Mapping[str, Known]) -> Specialized:
    """Fold what is known of a kernel's parameters into its text.

    `sources` holds the text of `module` and of every sibling it imports helpers from, by name. `known` binds any of
    the kernel's parameters: constants, and run-time ones (None for an absent pointer). Run-time parameters are
    pointers, whose names end in `_ptr`, or integers.

    Raises CnnError (E0611) for syntax that kernels may not use, for a constant that cannot be computed and for a
    static_assert that does not hold.
    """
    with _LOCK:
        return _specialize(sources, module, kernel, known)


def _specialize(sources: Mapping[str, str], module: str, kernel: str, known: Mapping[str, Known]) -> Specialized:
    texts = tuple(sources.items())
    function = _program(texts, frozenset()).modules[module].functions[kernel]
    assert set(known) <= set(function.parameters), set(known) - set(function.parameters)
    shared: frozenset[tuple[str, str, str]] = frozenset()
    while True:
        program = _program(texts, shared)
        entry = program.entry(function, known)
        variants = program.reachable(entry)
        more = given_differently(variants) - shared
        if not more:
            break
        shared |= more
    functions = written(variants)
    text = "\n\n\n".join([f"import triton\nimport triton.language as {LANGUAGE}", *functions]) + "\n"
    constants = {name: known[name] for name in function.parameters if name in known} | dict(entry.derived)
    constexprs = tuple(name for name in entry.parameters if name in function.constexprs)
    return Specialized(wrapped(text), kernel, entry.parameters, constexprs, tuple(constants.items()))


@dataclass
class _Program:
    """The functions that kernels are made of, with all that were specialised so far.

    `shared` are parameters (module, function, parameter) of helpers that stay although they are known.
    """

    modules: Mapping[str, Module]
    shared: frozenset[tuple[str, str, str]]
    variants: dict[str, Variant] = field(default_factory=dict)
    under_way: list[Function] = field(default_factory=list)

    def entry(self, function: Function, known: Mapping[str, Known]) -> Variant:
        """The kernel itself, which keeps every parameter that is not known."""
        pointer = Type("pointer", shape=())
        types = {
            name: OTHER if name in function.constexprs else pointer if name.endswith("_ptr") else SCALAR
            for name in function.parameters
        }
        return self._specialised(function, known, types, kept=frozenset(function.parameters))

    def reachable(self, entry: Variant) -> list[Variant]:
        """The variants that a text refers to, directly or not, each behind those it refers to itself."""
        found: dict[int, Variant] = {}
        by_number = list(self.variants.values())

        def visit(variant: Variant) -> None:
            for number in references(variant.text):
                if number != variant.number and number not in found:
                    visit(by_number[number])
            found[variant.number] = variant

        visit(entry)
        return list(found.values())

    # --- what expressions ask for ---

    def constant(self, module: Module, name: str) -> Known | Unknown:
        """The value of a constant defined in a module, `NAME: tl.constexpr = 3` or `NAME = tl.constexpr(3)`."""
        for node in module.tree.body:
            match node:
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                    if is_constexpr(node.annotation):
                        return self._literal(module, value)
                case ast.Assign(targets=[ast.Name(id=target)], value=ast.Call(func=function, args=[value])):
                    if target == name and is_constexpr(function):
                        return self._literal(module, value)
        return UNKNOWN

    def _literal(self, module: Module, node: ast.expr) -> Known:
        try:
            value = ast.literal_eval(node)
        except ValueError:
            value = ()
        if value is not None and not isinstance(value, int | float | str):
            raise module.error(node, "constants of a module are numbers, strings, True, False and None")
        return value

    def call(self, module: Module, node: ast.Call, arguments: Sequence[tuple[str | None, Piece]]) -> Call | None:
        """How a call of a helper is written; None for any other call."""
        function = self._resolved(module, node.func)
        if function is None:
            return None
        if function in self.under_way:
            raise module.error(node, f"`{function.name}` calls itself")
        given = self._bound(module, node, function, [name for name, _ in arguments])
        pieces = dict(zip(given, (piece for _, piece in arguments), strict=True))
        known: dict[str, Known] = {}
        types: dict[str, Type] = {}
        for name in function.parameters:
            piece = pieces.get(name)
            if piece is None:
                known[name] = self._literal(function.module, function.defaults[name])
            elif piece.is_known and (function.module.name, function.name, name) not in self.shared:
                known[name] = piece.known
            elif name in function.constexprs:
                types[name] = OTHER
            else:
                types[name] = INT if piece.type.kind == "literal" else piece.type
        kept = frozenset(name for name, piece in pieces.items() if not piece.pure)
        variant = self._specialised(function, known, types, kept)
        left = tuple(name in variant.parameters for name in given)
        same = given.index(variant.same) if variant.same is not None and not kept - {variant.same} else None
        return Call(placeholder(variant.number), left, variant.type, variant.pure, same)

    def _resolved(self, module: Module, called: ast.expr) -> Function | None:
        if not isinstance(called, ast.Name):
            return None
        if called.id in module.functions:
            return module.functions[called.id]
        if called.id in module.imported:
            sibling, name = module.imported[called.id]
            if sibling not in self.modules or name not in self.modules[sibling].functions:
                raise module.error(called, f"there is no function `{name}` in kernels/{sibling}.py")
            return self.modules[sibling].functions[name]
        return None

    def _bound(self, module: Module, node: ast.Call, function: Function, names: Sequence[str | None]) -> list[str]:
        """The parameter that each argument of a call is for."""
        bound = [
            name if name is not None else function.parameters[place] if place < len(function.parameters) else ""
            for place, name in enumerate(names)
        ]
        missing = set(function.parameters) - set(bound) - set(function.defaults)
        if missing or len(set(bound)) != len(bound) or not set(bound) <= set(function.parameters):
            raise module.error(node, f"`{function.name}` takes {', '.join(function.parameters)}")
        return bound

    # --- functions ---

    def _specialised(
        self, function: Function, known: Mapping[str, Known], types: Mapping[str, Type], kept: frozenset[str]
    ) -> Variant:
        """A function with constants folded. Parameters that nothing reads any more go, but for those in `kept`."""
        key = repr((function.module.name, function.name, sorted(known.items()), sorted(types.items()), sorted(kept)))
        if key in self.variants:
            return self.variants[key]
        self.under_way.append(function)
        try:
            body, lines, facts = self._body(function, known, types)
        finally:
            self.under_way.pop()
        left = tuple(n for n in function.parameters if n not in known and (n in kept or n in facts.read))
        number = len(self.variants)
        above = _comment_above(function)
        text = "\n".join([
            *above, *decorators(function, left), *signature(function, placeholder(number), left), *lines,
        ])  # fmt: skip
        type_ = body.returned[0] if body.returned else OTHER
        for other in body.returned[1:]:
            type_ |= other
        self.variants[key] = Variant(
            number, function, dict(known), body.constants, left, text, type_, body.pure, facts.returned_as_is(left)
        )
        return self.variants[key]

    def _body(
        self, function: Function, known: Mapping[str, Known], types: Mapping[str, Type]
    ) -> tuple[Body, list[str], Facts]:
        """The lines of a function's body, after as many attempts as it takes."""
        initialised: list[str] = []
        dropped: frozenset[str] = frozenset()
        aliases: dict[str, str] = {}
        while True:
            body = Body(function, self, dropped, aliases)
            try:
                lines = body.write(Scope(dict(known), dict(types)), initialised)
            except Reassigned as again:
                initialised.append(again.name)
                continue
            facts = Facts(lines, function.parameters)
            if not facts.unused and not facts.copies:
                return body, lines, facts
            dropped |= facts.unused
            aliases |= facts.copies


def _comment_above(function: Function) -> list[str]:
    """The comment directly above a function."""
    lines = function.module.lines
    first = end = function.node.decorator_list[0].lineno - 1
    while first > 0 and lines[first - 1].startswith("#"):
        first -= 1
    return lines[first:end]


@lru_cache(maxsize=64)
def _program(texts: tuple[tuple[str, str], ...], shared: frozenset[tuple[str, str, str]]) -> _Program:
    """Kept, because kernels have most of their helpers in common."""
    return _Program({name: Module(name, text) for name, text in texts}, shared)
