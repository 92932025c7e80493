"""Expressions of a kernel, written again with what is known of them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cnndsl.codegen import specialize_values as values
from cnndsl.codegen.specialize_compose import Slot, composed, is_one_bracket, parenthesised
from cnndsl.codegen.specialize_source import BUILTINS, Module, dotted
from cnndsl.codegen.specialize_types import PURE, binary_type, call_type, subscript_type, without_leftovers
from cnndsl.codegen.specialize_values import OTHER, UNKNOWN, Known, Piece, Type, constant


@dataclass
class Scope:
    """What is known at one place of a function: constants by name, and the types of its variables.

    `aliases` are variables that are written as another; they hold everywhere.
    """

    known: dict[str, Known]
    types: dict[str, Type] = field(default_factory=dict)
    aliases: dict[str, Piece] = field(default_factory=dict)

    def copy(self) -> Scope:
        return Scope(dict(self.known), dict(self.types), self.aliases)

    def assign(self, name: str, type_: Type) -> None:
        """Note that a name holds a run-time value from here on."""
        self.known.pop(name, None)
        self.types[name] = type_

    def join(self, other: Scope) -> None:
        """Keep what holds on both of two roads to one place."""
        same = {k: v for k, v in self.known.items() if k in other.known and is_same(v, other.known[k])}
        self.known = same
        mine, its = self.types, other.types
        self.types = {k: mine[k] | its[k] if k in mine and k in its else OTHER for k in {**mine, **its}}


def is_same(left: Known, right: Known) -> bool:
    """Whether two constants are one: 1, 1.0 and True are three."""
    return type(left) is type(right) and repr(left) == repr(right)


class Helpers(Protocol):
    """Where helper functions are specialised."""

    def call(self, module: Module, node: ast.Call, arguments: Sequence[tuple[str | None, Piece]]) -> Call | None:
        """How a call is written that may be one of a helper; None if it is not."""

    def constant(self, module: Module, name: str) -> Known | values.Unknown:
        """The value of a constant of a module."""


@dataclass(frozen=True)
class Call:
    """A call of a specialised helper: its name, which arguments are left, and what it returns.

    `same` is the argument that it returns, where it does nothing else.
    """

    name: str
    kept: tuple[bool, ...]
    type: Type
    pure: bool
    same: int | None


@dataclass(frozen=True)
class Expressions:
    """Writes the expressions of one module."""

    module: Module
    helpers: Helpers

    def write(self, node: ast.expr, scope: Scope) -> Piece:
        """An expression with its constants folded, its dead arms gone and its leftovers cleared."""
        match node:
            case ast.Constant(value=int() | float() | str() | None as value):
                return Piece(self.module.text_of(node), values.ATOM, value, values.type_of(value))
            case ast.Constant(value=value) if value is ...:
                return Piece("...", values.ATOM)
            case ast.Name():
                return self._name(node, scope)
            case ast.Attribute():
                return self._attribute(node, scope)
            case ast.BinOp():
                return self._binary(node, scope)
            case ast.UnaryOp():
                return self._unary(node, scope)
            case ast.BoolOp():
                return self._boolean(node, scope)
            case ast.Compare():
                return self._comparison(node, scope)
            case ast.IfExp():
                return self._choice(node, scope)
            case ast.Call():
                return self._call(node, scope)
            case ast.Subscript():
                return self._subscript(node, scope)
            case ast.Slice():
                parts = [part for part in (node.lower, node.upper, node.step) if part is not None]
                return self._composed(node, parts, scope, strength=values.CHOICE)
            case ast.Tuple() | ast.List():
                return self._sequence(node, scope)
        raise self.module.error(node, f"a kernel that is specialised can do without {type(node).__name__}")

    # --- one method for each kind of expression ---

    def _name(self, node: ast.Name, scope: Scope) -> Piece:
        name = node.id
        if name in scope.known:
            return constant(scope.known[name])
        if name in scope.aliases:
            return replace(scope.aliases[name], folded=True, changed=True)
        if name in scope.types:
            return Piece(name, values.ATOM, type=scope.types[name])
        value = self.helpers.constant(self.module, name)
        if not isinstance(value, values.Unknown):
            return constant(value)
        if name not in BUILTINS:
            raise self.module.error(node, f"`{name}` is neither a variable of this kernel nor one of its helpers")
        return Piece(name, values.ATOM)

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Piece:
        base = self.write(node.value, scope)
        if base.is_known and node.attr == "value":
            return replace(base, folded=True, changed=True)
        # `3.to` is no Python.
        base = replace(base, strength=values.UNARY) if base.is_known else base
        slot = Slot(node.value, base, values.PRIMARY, self.module.offsets(node))
        return Piece(self._text(node, [slot]), values.PRIMARY, folded=base.folded, pure=base.pure)

    def _binary(self, node: ast.BinOp, scope: Scope) -> Piece:
        if isinstance(node.op, ast.MatMult):
            raise self.module.error(node, "products of tiles are written tl.dot")
        left, right = self.write(node.left, scope), self.write(node.right, scope)
        folded = left.folded or right.folded
        value: Known | values.Unknown = UNKNOWN
        if left.is_known and right.is_known:
            known: Known = self._computed(node, values.BINARY_FUNCTIONS[type(node.op)], left.value, right.value)
            if folded:
                return constant(known)
            value = known
        shorter = without_leftovers(node.op, left, right)
        if shorter is not None and folded:
            return replace(shorter, folded=True, changed=True)
        strength = values.BINARY[type(node.op)]
        needed = (values.PRIMARY, values.UNARY) if isinstance(node.op, ast.Pow) else (strength, strength + 1)
        if right.text.startswith("-") and strength <= values.BINARY[ast.Add]:
            needed = (needed[0], values.PRIMARY)
        bounds = self.module.offsets(node)
        slots = [Slot(node.left, left, needed[0], bounds), Slot(node.right, right, needed[1], bounds)]
        type_ = binary_type(node.op, left, right)
        return Piece(self._text(node, slots), strength, value, type_, folded, pure=left.pure and right.pure)

    def _unary(self, node: ast.UnaryOp, scope: Scope) -> Piece:
        operand = self.write(node.operand, scope)
        value: Known | values.Unknown = UNKNOWN
        if operand.is_known:
            known: Known = self._computed(node, values.UNARY_FUNCTIONS[type(node.op)], operand.value)
            if operand.folded:
                return constant(known)
            value = known
        strength = values.NOT if isinstance(node.op, ast.Not) else values.UNARY
        text = self._text(node, [Slot(node.operand, operand, strength, self.module.offsets(node))])
        type_ = operand.type if isinstance(node.op, ast.USub | ast.UAdd) else OTHER
        return Piece(text, strength, value, type_, operand.folded, pure=operand.pure)

    def _boolean(self, node: ast.BoolOp, scope: Scope) -> Piece:
        # An operand that decides ends the chain; one that cannot is left out, as Triton does.
        deciding = isinstance(node.op, ast.Or)
        kept: list[tuple[ast.expr, Piece]] = []
        folded = False
        for number, operand in enumerate(node.values):
            piece = self.write(operand, scope)
            folded = folded or piece.folded
            if not piece.is_known:
                kept.append((operand, piece))
            elif bool(piece.value) == deciding or (number == len(node.values) - 1 and not kept):
                if not kept or all(p.pure for _, p in kept):
                    return constant(piece.known) if folded else piece
                kept.append((operand, piece))
                break
        strength = values.AND if isinstance(node.op, ast.And) else values.OR
        pure = all(piece.pure for _, piece in kept)
        if len(kept) == len(node.values):
            bounds = self.module.offsets(node)
            slots = [Slot(operand, piece, strength + 1, bounds) for operand, piece in kept]
            return Piece(self._text(node, slots), strength, folded=folded, pure=pure)
        if len(kept) == 1:
            return replace(kept[0][1], folded=True, changed=True)
        word = " and " if isinstance(node.op, ast.And) else " or "
        text = word.join(parenthesised(piece, strength + 1) for _, piece in kept)
        return Piece(text, strength, folded=True, changed=True, pure=pure)

    def _comparison(self, node: ast.Compare, scope: Scope) -> Piece:
        operands = [node.left, *node.comparators]
        pieces = [self.write(operand, scope) for operand in operands]
        folded = any(piece.folded for piece in pieces)
        value: Known | values.Unknown = UNKNOWN
        if all(piece.is_known for piece in pieces):
            holds = True
            for number, op in enumerate(node.ops):
                if type(op) not in values.COMPARISONS:
                    raise self.module.error(node, "only ==, !=, <, <=, >, >=, is and is not compare constants")
                left, right = pieces[number].value, pieces[number + 1].value
                holds = holds and bool(self._computed(node, values.COMPARISONS[type(op)], left, right))
            if folded:
                return constant(holds)
            value = holds
        bounds = self.module.offsets(node)
        pairs = zip(operands, pieces, strict=True)
        text = self._text(node, [Slot(operand, piece, values.COMPARE + 1, bounds) for operand, piece in pairs])
        pure = all(piece.pure for piece in pieces)
        shape: tuple[int, ...] | None = ()
        for piece in pieces:
            shape = values.broadcast(shape, piece.type.shape)
        return Piece(text, values.COMPARE, value, Type("bool", shape=shape), folded, pure=pure)

    def _choice(self, node: ast.IfExp, scope: Scope) -> Piece:
        test = self.write(node.test, scope)
        if test.is_known:
            taken = self.write(node.body if test.value else node.orelse, scope)
            return replace(taken, folded=True, changed=True)
        body, orelse = self.write(node.body, scope), self.write(node.orelse, scope)
        bounds = self.module.offsets(node)
        slots = [
            Slot(node.body, body, values.OR, bounds), Slot(node.test, test, values.OR, bounds),
            Slot(node.orelse, orelse, values.CHOICE, bounds),
        ]  # fmt: skip
        parts = (test, body, orelse)
        folded, pure = any(p.folded for p in parts), all(p.pure for p in parts)
        return Piece(self._text(node, slots), values.CHOICE, UNKNOWN, body.type | orelse.type, folded, pure=pure)

    def _call(self, node: ast.Call, scope: Scope) -> Piece:
        given: list[tuple[str | None, ast.expr]] = [(None, value) for value in node.args]
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.module.error(keyword, "arguments are written out when a kernel is specialised")
            given.append((keyword.arg, keyword.value))
        arguments = [(value, name, self.write(value, scope)) for name, value in given]
        pieces = [piece for _, _, piece in arguments]
        folded, pure = any(p.folded for p in pieces), all(p.pure for p in pieces)
        call = self.helpers.call(self.module, node, [(name, piece) for _, name, piece in arguments])
        inside = (self._bracket(node.func, "(") + 1, self.module.offsets(node)[1] - 1)
        slots = [Slot(value, piece, values.CHOICE, inside) for value, _, piece in arguments]
        if call is None:
            function = dotted(node.func)
            first = None
            if isinstance(node.func, ast.Attribute) and not function.startswith(("tl.", "triton.")):
                first = self.write(node.func.value, scope)
                bounds = self.module.offsets(node.func)
                slots.insert(0, Slot(node.func.value, first, values.PRIMARY, bounds))
                function = f".{node.func.attr}"
                folded, pure = folded or first.folded, pure and first.pure
            elif isinstance(node.func, ast.Name):
                self._name(node.func, scope)
            every = [first, *pieces] if first is not None else pieces
            type_ = call_type(function, every, [dotted(value) for value, _, _ in arguments])
            text, number = self._text(node, slots), self._float(function, pieces)
            return Piece(text, values.PRIMARY, number, type_, folded, pure=pure and function in PURE)
        if call.same is not None:
            return replace(pieces[call.same], folded=True, changed=True)
        start, end = self.module.offsets(node.func)
        if all(call.kept):
            text = call.name + self._text(node, slots)[end - start :]
        else:
            left = [argument for argument, kept in zip(arguments, call.kept, strict=True) if kept]
            texts = [f"{name}={p.text}" if name is not None else p.text for _, name, p in left]
            text = f"{call.name}({', '.join(texts)})"
        return Piece(text, values.PRIMARY, UNKNOWN, call.type, folded=True, pure=pure and call.pure)

    def _float(self, function: str, pieces: list[Piece]) -> Known | values.Unknown:
        """The value of float("inf") and its like, which stand in the text as they are."""
        if function == "float" and len(pieces) == 1 and isinstance(pieces[0].value, str | int | float):
            return float(pieces[0].value)
        return UNKNOWN

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Piece:
        base, index = self.write(node.value, scope), self.write(node.slice, scope)
        bounds = self.module.offsets(node)
        inside = (self._bracket(node.value, "[") + 1, bounds[1] - 1)
        slots = [Slot(node.value, base, values.PRIMARY, bounds), Slot(node.slice, index, values.TUPLE, inside)]
        type_ = subscript_type(base.type, node.slice)
        folded, pure = base.folded or index.folded, base.pure and index.pure
        return Piece(self._text(node, slots), values.PRIMARY, UNKNOWN, type_, folded, pure=pure)

    def _sequence(self, node: ast.Tuple | ast.List, scope: Scope) -> Piece:
        start, end = self.module.offsets(node)
        bare = isinstance(node, ast.Tuple) and not is_one_bracket(self.module.source.text[start:end])
        return self._composed(
            node, node.elts, scope, strength=values.TUPLE if bare else values.ATOM,
            within=(start, end) if bare else (start + 1, end - 1),
        )  # fmt: skip

    def _composed(
        self,
        node: ast.expr,
        parts: Sequence[ast.expr],
        scope: Scope,
        *,
        strength: int,
        within: tuple[int, int] | None = None,
    ) -> Piece:
        bounds = within or self.module.offsets(node)
        pieces = [self.write(part, scope) for part in parts]
        slots = [Slot(part, piece, values.CHOICE, bounds) for part, piece in zip(parts, pieces, strict=True)]
        folded, pure = any(p.folded for p in pieces), all(p.pure for p in pieces)
        return Piece(self._text(node, slots), strength, folded=folded, pure=pure)

    def _text(self, node: ast.expr, slots: Sequence[Slot]) -> str:
        return composed(self.module, self.module.offsets(node), slots)

    def _bracket(self, node: ast.expr, bracket: str) -> int:
        """Where the bracket of a call or subscript opens, behind what is called or indexed."""
        return self.module.source.text.index(bracket, self.module.offsets(node)[1])

    def _computed(self, node: ast.expr, function: Any, *operands: Any) -> Any:
        try:
            return function(*operands)
        except (ArithmeticError, TypeError, ValueError) as error:
            shown = " and ".join(values.literal(operand) for operand in operands)
            raise self.module.error(node, f"cannot be computed for {shown}: {error}") from None
