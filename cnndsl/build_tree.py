"""From Lark's parse tree to the syntax tree of `cnndsl.syntax`."""

from __future__ import annotations

import re
from typing import Any

from lark import Token, Tree

from cnndsl import syntax as ast
from cnndsl.errors import Diagnostic, Source, Span
from cnndsl.tokens import QUOTED_LABEL, shown

MAX_DIGITS = 15
"""Digits of a number: beyond 2^53 no size of a tensor makes sense, and Python's own limit is an exception."""

LarkTree = Tree[Token]


def _children(tree: LarkTree) -> list[Any]:
    """A tree's children: which of them are tokens, trees or None, the rule's name tells and a type cannot."""
    return list(tree.children)


class TreeBuilder:
    """Builds syntax trees for one source. Numbers out of all bounds and labels of other signs
    than keys have are reported in `errors`.

    Recursion is bounded by the depth of brackets, which was checked before; long chains of operators are
    flat.
    """

    def __init__(self, source: Source, errors: list[Diagnostic]) -> None:
        self.source = source
        self.errors = errors

    def span(self, item: LarkTree | Token) -> Span:
        """Where a tree or a token stands."""
        if isinstance(item, Token):
            return Span(self.source, item.start_pos or 0, item.end_pos or 0)
        if item.meta.empty:
            return Span(self.source, 0, 0)
        return Span(self.source, item.meta.start_pos, item.meta.end_pos)

    def file(self, tree: LarkTree) -> ast.File:
        """The whole text."""
        found = [self.definition(child) for child in _children(tree)]
        uses = tuple(each for each in found if isinstance(each, ast.Use))
        definitions = tuple(each for each in found if isinstance(each, ast.Definition))
        return ast.File(self.source, uses, definitions)

    def definition(self, tree: LarkTree) -> ast.Use | ast.Definition:
        """A `use`, `block` or `network` rule."""
        if tree.data == "use":
            (path,) = _children(tree)
            return ast.Use(str(path)[1:-1], self.span(path))
        name, parameters, body = _children(tree)[0], _children(tree)[1:-1], _children(tree)[-1]
        given = [p for group in parameters if group is not None for p in group.children if p is not None]
        return ast.Definition(
            str(tree.data),
            str(name),
            self.span(name),
            tuple(self.parameter(p) for p in given),
            self.body(body),
            self.span(tree),
        )

    def parameter(self, tree: LarkTree) -> ast.Parameter:
        """A `param` rule."""
        name, default = _children(tree)
        return ast.Parameter(str(name), None if default is None else self.expr(default), self.span(name))

    def body(self, tree: LarkTree) -> ast.Body:
        """A `body` rule."""
        items = [c for c in _children(tree) if isinstance(c, Tree)]
        return ast.Body(tuple(self.item(c) for c in items), self.span(tree))

    def item(self, tree: LarkTree) -> ast.Item:
        """Any element of a body."""
        children = _children(tree)
        match str(tree.data):
            case "layer":
                return self.layer(tree)
            case "group":
                return ast.Group(self.label(children[0]), self.body(children[1]), self.span(tree))
            case "goto":
                return ast.Goto(self.reference(children[0]), self.span(tree))
            case "repeat":
                label = self.label(children[0]) if len(children) == 3 else None
                return ast.Repeat(label, self.expr(children[-2]), self.body(children[-1]), self.span(tree))
            case "if_":
                return self.if_(tree)
            case "output":
                return ast.Output(
                    str(children[0]), self.span(children[0]), self.body(children[1]), self.span(tree)
                )
            case "input":
                options = children[2] if len(children) > 2 else None
                return ast.Input(
                    str(children[0]), self.span(children[0]), self.shape(children[1]),
                    self.arguments(options), self.span(tree),
                )
            case "shape":
                return self.shape(tree)
        raise AssertionError(f"no such rule: {tree.data}")

    def layer(self, tree: LarkTree) -> ast.Layer:
        """A `layer` rule: label? NAME args? arms?."""
        label: ast.Label | None = None
        arguments: LarkTree | None = None
        arms: tuple[ast.Arm, ...] | None = None
        name: Token | None = None
        for child in _children(tree):
            if isinstance(child, Token):
                name = child
            elif child.data == "label":
                label = self.label(child)
            elif child.data == "args":
                arguments = child
            else:
                arms = tuple(self.arm(arm) for arm in child.children)
        assert name is not None
        span = Span(self.source, name.start_pos or 0, self.span(tree).end)
        return ast.Layer(label, str(name), self.span(name), self.arguments(arguments), arms, span)

    def label(self, tree: LarkTree) -> ast.Label:
        """A `label` rule; its span leaves the colon out."""
        (token,) = _children(tree)
        if token.type != "STRING":
            return ast.Label(str(token), self.span(token))
        name = str(token)[1:-1]
        if not re.fullmatch(QUOTED_LABEL, name):
            hint = "in quotes a label is made of the letters a to z and A to Z, digits, `_` and, behind the first, `-`"
            self.errors.append(Diagnostic("E0101", f"{shown(token)} is not a label", self.span(token), help=(hint,)))
        return ast.Label(name, self.span(token))

    def arm(self, tree: LarkTree) -> ast.Arm:
        """An `arm` rule."""
        label = self.label(_children(tree)[0]) if len(tree.children) == 2 else None
        return ast.Arm(label, self.body(_children(tree)[-1]), self.span(tree))

    def if_(self, tree: LarkTree) -> ast.If:
        """An `if_` rule; `else if` becomes a body of one If."""
        condition, then, other = _children(tree)
        otherwise: ast.Body | None = None
        if other is not None:
            chained = other.data == "if_"
            otherwise = ast.Body((self.if_(other),), self.span(other)) if chained else self.body(other)
        return ast.If(self.expr(condition), self.body(then), otherwise, self.span(tree))

    def shape(self, tree: LarkTree) -> ast.Shape:
        """A `shape` rule."""
        return ast.Shape(tuple(self.expr(c) for c in _children(tree) if c is not None), self.span(tree))

    def arguments(self, tree: LarkTree | None) -> tuple[ast.Argument, ...]:
        """An `args` rule, or its absence."""
        if tree is None:
            return ()
        found = []
        for child in _children(tree):
            if child is None:
                continue
            name, value = child.children
            found.append(
                ast.Argument(None if name is None else str(name), self.expr(value), self.span(child))
            )
        return tuple(found)

    def reference(self, token: Token) -> ast.Reference:
        """A REF token."""
        return ast.Reference(str(token)[1:], self.span(token))

    def expr(self, tree: LarkTree) -> ast.Expr:
        """Any expression."""
        span, children = self.span(tree), _children(tree)
        match str(tree.data):
            case "int":
                return ast.Literal(self.integer(str(children[0]), span), span)
            case "float":
                return ast.Literal(self.real(str(children[0]), span), span)
            case "string":
                return ast.Literal(str(children[0])[1:-1], span)
            case "true" | "false":
                return ast.Literal(tree.data == "true", span)
            case "dims":
                parts = str(children[0]).replace("\u00d7", "x").split("x")
                return ast.Dims(
                    tuple(None if p.strip() == "_" else self.integer(p.strip(), span) for p in parts), span
                )
            case "ref":
                return self.reference(children[0])
            case "name":
                return ast.Name(str(children[0]), span)
            case "field":
                return ast.Field(str(children[0]), str(children[1]), span)
            case "parens":
                return self.expr(children[0])
            case "tuple":
                return ast.Tuple(tuple(self.expr(c) for c in children if c is not None), span)
            case "not_" | "sign":
                *operators, operand = children
                # Signs of one operand cancel in pairs; no chain of them is ever nested.
                minus = sum(str(o) == "-" for o in operators) % 2
                word = ("not" if len(operators) % 2 else "not not") if tree.data == "not_" else "+-"[minus]
                return ast.Unary(word, self.expr(operand), span)
            case "or_" | "and_":
                word = str(tree.data)[:-1]
                first, *rest = (self.expr(c) for c in children)
                return ast.Binary(first, tuple((word, e) for e in rest), span)
            case "compare" | "sum" | "product":
                pairs = zip(children[1::2], children[2::2], strict=True)
                return ast.Binary(
                    self.expr(children[0]), tuple((str(o), self.expr(e)) for o, e in pairs), span
                )
        raise AssertionError(f"no such rule: {tree.data}")

    def integer(self, text: str, span: Span) -> int:
        """The value of digits, or 1 with an error."""
        if len(text.lstrip("0")) > MAX_DIGITS:
            self.errors.append(
                Diagnostic("E0111", f"this number has {len(text)} digits", span, f"at most {MAX_DIGITS}")
            )
            return 1
        return int(text)

    def real(self, text: str, span: Span) -> float:
        """The value of a float, or 1 with an error when it overflows."""
        value = float(text)
        if value == float("inf"):
            self.errors.append(Diagnostic("E0111", f"`{text[:30]}` is too large for a float", span))
            return 1.0
        return value
