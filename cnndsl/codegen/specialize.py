"""Kernel text and constants to kernel text: the ordinary Triton kernel that a person would have written.

Decisions are made on the syntax tree and carried out on the text, so that comments and layout stay. What is folded:
constants, run-time parameters whose value the plan knows, and what derives from them. What is never folded is
arithmetic of run-time integers, which rounds otherwise than Python's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources

from cnndsl.codegen.specialize_expressions import Call, Scope
from cnndsl.codegen.specialize_layout import decorators, signature, wrapped
from cnndsl.codegen.specialize_source import LANGUAGE, Function, Module, is_constexpr
from cnndsl.codegen.specialize_statements import Body, Reassigned
from cnndsl.codegen.specialize_types import PURE
from cnndsl.codegen.specialize_values import INT, OTHER, UNKNOWN, Known, Piece, Type, Unknown, literal

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
    modules = {name: _module(name, text) for name, text in sources.items()}
    function = modules[module].functions[kernel]
    assert set(known) <= set(function.parameters), set(known) - set(function.parameters)
    shared: frozenset[tuple[str, str, str]] = frozenset()
    while True:
        program = _Program(modules, shared)
        entry = program.entry(function, known)
        variants = program.reachable(entry)
        more = _given_differently(variants)
        if more <= shared:
            break
        # A helper that is called with several strides keeps them as parameters: one text, not one for each.
        shared |= more
    names = _named(variants)
    texts = [_renamed(v.text, names) for v in _distinct(variants, names)]
    text = "\n\n\n".join([f"import triton\nimport triton.language as {LANGUAGE}", *texts]) + "\n"
    constants = {name: known[name] for name in function.parameters if name in known} | dict(entry.derived)
    constexprs = tuple(name for name in entry.parameters if function.is_constexpr(name))
    return Specialized(wrapped(text), kernel, entry.parameters, constexprs, tuple(constants.items()))


@lru_cache(maxsize=256)
def _module(name: str, text: str) -> Module:
    return Module(name, text)


@dataclass(frozen=True)
class _Variant:
    """A function specialised for some constants; helpers in its text have their numbers for names."""

    number: int
    function: Function
    constants: Mapping[str, Known]
    derived: Mapping[str, Known]
    parameters: tuple[str, ...]
    text: str
    type: Type
    pure: bool


@dataclass
class _Program:
    """All functions that a kernel is made of.

    `shared` are parameters (module, function, parameter) that stay although they are known.
    """

    modules: Mapping[str, Module]
    shared: frozenset[tuple[str, str, str]]
    variants: dict[str, _Variant] = field(default_factory=dict)
    under_way: list[Function] = field(default_factory=list)

    def entry(self, function: Function, known: Mapping[str, Known]) -> _Variant:
        """The kernel itself, which keeps every parameter that is not known."""
        types = {
            name: OTHER if function.is_constexpr(name) else Type("pointer", shape=()) if name.endswith("_ptr") else INT
            for name in function.parameters
        }
        return self._specialised(function, known, types, kept=frozenset(function.parameters))

    def reachable(self, entry: _Variant) -> list[_Variant]:
        """The variants that a text refers to, directly or not, each behind those it refers to itself."""
        found: dict[int, _Variant] = {}
        by_number = {v.number: v for v in self.variants.values()}

        def visit(variant: _Variant) -> None:
            for number in _references(variant.text):
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
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.Constant(value=value)) if target == name:
                    return value if is_constexpr(node.annotation) else UNKNOWN  # type: ignore[return-value]
                case ast.Assign(
                    targets=[ast.Name(id=target)],
                    value=ast.Call(func=ast.expr() as function, args=[ast.Constant(value=value)]),
                ) if target == name and is_constexpr(function):
                    return value  # type: ignore[return-value]
        return UNKNOWN

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
                default = function.defaults[name]
                assert isinstance(default, ast.Constant)
                known[name] = default.value  # type: ignore[assignment]
            elif not isinstance(piece.value, Unknown) and (
                function.is_constexpr(name) or (function.module.name, function.name, name) not in self.shared
            ):
                known[name] = piece.value
            else:
                types[name] = INT if piece.type.kind == "literal" else piece.type
        kept = frozenset(name for name, piece in pieces.items() if not piece.pure)
        variant = self._specialised(function, known, types, kept)
        left = tuple(name in variant.parameters for name in given)
        return Call(_placeholder(variant.number), left, variant.type, variant.pure)

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
    ) -> _Variant:
        """A function with constants folded. Parameters that nothing reads any more go, but for those in `kept`."""
        key = repr((function.module.name, function.name, sorted(known.items()), sorted(types.items()), sorted(kept)))
        if key in self.variants:
            return self.variants[key]
        arguments = function.node.args
        if arguments.posonlyargs or arguments.kwonlyargs or arguments.vararg or arguments.kwarg:
            raise function.module.error(function.node, "a kernel's parameters are plain ones")
        self.under_way.append(function)
        body, lines = self._body(function, known, types)
        self.under_way.pop()
        used = _loaded(lines)
        left = tuple(n for n in function.parameters if n not in known and (n in kept or n in used))
        number = len(self.variants)
        above = _comment_above(function)
        text = "\n".join([
            *above, *decorators(function, left), *signature(function, _placeholder(number), left), *lines,
        ])  # fmt: skip
        type_ = body.returned[0] if body.returned else OTHER
        for other in body.returned[1:]:
            type_ |= other
        self.variants[key] = _Variant(number, function, dict(known), body.constants, left, text, type_, body.pure)
        return self.variants[key]

    def _body(
        self, function: Function, known: Mapping[str, Known], types: Mapping[str, Type]
    ) -> tuple[Body, list[str]]:
        """The lines of a function's body, after as many attempts as it takes."""
        initialised: list[str] = []
        dropped: frozenset[str] = frozenset()
        while True:
            body = Body(function, self, dropped)
            try:
                lines = body.write(Scope(dict(known), dict(types)), initialised)
            except Reassigned as again:
                initialised.append(again.name)
                continue
            unused = _unused(lines) - dropped
            if not unused:
                return body, lines
            dropped |= unused


def _placeholder(number: int) -> str:
    return f"helper_{number}__"


def _references(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\bhelper_(\d+)__", text)]


def _comment_above(function: Function) -> list[str]:
    """The comment directly above a function."""
    lines = function.module.lines
    first = end = function.node.decorator_list[0].lineno - 1
    while first > 0 and lines[first - 1].startswith("#"):
        first -= 1
    return lines[first:end]


def _parsed(lines: Sequence[str]) -> ast.Module:
    return ast.parse("def f():\n" + "\n".join(lines) + "\n    pass\n")


def _loaded(lines: Sequence[str]) -> set[str]:
    """The names that a body reads, or reads and writes."""
    nodes = list(ast.walk(_parsed(lines)))
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return read | {n.target.id for n in nodes if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)}


def _unused(lines: Sequence[str]) -> frozenset[str]:
    """Local variables that are never read, and whose values have no effect of their own."""
    stored: dict[str, bool] = {}
    for node in ast.walk(_parsed(lines)):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                stored[name] = stored.get(name, True) and _is_pure(value)
            case ast.Tuple(elts=elements, ctx=ast.Store()):
                stored |= {e.id: False for e in elements if isinstance(e, ast.Name)}
    return frozenset(name for name, pure in stored.items() if pure) - _loaded(lines)


def _is_pure(value: ast.expr) -> bool:
    for node in ast.walk(value):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Attribute(value=ast.Name(id="tl"), attr=name) if f"tl.{name}" in PURE:
                    pass
                case ast.Attribute(attr="to"):
                    pass
                case ast.Name(id="float"):
                    pass
                case _:
                    return False
    return True


# --- names of helpers -----------------------------------------------------------------------------------------------


def _given_differently(variants: Sequence[_Variant]) -> frozenset[tuple[str, str, str]]:
    """Run-time parameters of helpers that were folded to several numbers."""
    seen: dict[tuple[str, str, str], set[str]] = {}
    for variant in variants:
        function = variant.function
        for name in function.parameters:
            if not function.is_constexpr(name):
                value = variant.constants.get(name)
                shown = literal(value) if name in variant.constants else "?"
                seen.setdefault((function.module.name, function.name, name), set()).add(shown)
    return frozenset(key for key, values in seen.items() if len(values) > 1 and not values & {"None"})


def _named(variants: Sequence[_Variant]) -> dict[int, str]:
    """A name for every variant; those with the same text share one."""
    same: dict[int, int] = {}
    first: dict[str, _Variant] = {}
    for variant in variants:
        own = {**{n: f"helper_{s}__" for n, s in same.items()}, variant.number: "itself"}
        text = f"{variant.function.module.name}\n{_renamed(variant.text, own)}"
        same[variant.number] = first.setdefault(text, variant).number
    distinct = list(first.values())
    by_name: dict[str, list[_Variant]] = {}
    for variant in distinct:
        by_name.setdefault(variant.function.name, []).append(variant)
    names: dict[int, str] = {}
    taken = set(by_name)
    for name, group in by_name.items():
        for variant, suffix in zip(group, _suffixes(group), strict=True):
            chosen = candidate = name + suffix
            count = 2
            while len(group) > 1 and chosen in taken:
                chosen = f"{candidate}_{count}"
                count += 1
            taken.add(chosen)
            names[variant.number] = chosen
    return {number: names[one] for number, one in same.items()}


def _suffixes(group: Sequence[_Variant]) -> list[str]:
    """What tells the variants of a helper apart: nothing for one alone, else their modules or their constants."""
    if len(group) == 1:
        return [""]
    if len({v.function.module.name for v in group}) == len(group):
        return [f"_of_{v.function.module.name}" for v in group]
    parameters = [p for p in group[0].function.parameters if any(p in v.constants for v in group)]
    differing = [p for p in parameters if len({_word(v, p) for v in group}) > 1]
    telling = next(([p] for p in differing if len({_word(v, p) for v in group}) == len(group)), differing)
    return ["".join(_word(variant, parameter) for parameter in telling) for variant in group]


def _word(variant: _Variant, parameter: str) -> str:
    """A constant as part of a name: "_at_4"."""
    if parameter not in variant.constants:
        return ""
    value = variant.constants[parameter]
    if isinstance(value, bool):
        return f"_{parameter.lower()}" if value else f"_not_{parameter.lower()}"
    shown = str(value).lower().replace("-", "minus_").replace(".", "_").replace("+", "")
    return f"_{parameter.lower()}_{re.sub(r'[^a-z0-9_]', '_', shown)}"


def _distinct(variants: Sequence[_Variant], names: Mapping[int, str]) -> list[_Variant]:
    return list({names[v.number]: v for v in reversed(variants)}.values())[::-1]


def _renamed(text: str, names: Mapping[int, str]) -> str:
    return re.sub(r"\bhelper_(\d+)__", lambda m: names.get(int(m[1]), m[0]), text)
