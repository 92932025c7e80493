"""The syntax tree as text: what the parser understood, one element a line."""

from __future__ import annotations

from collections.abc import Iterator

from cnndsl import syntax as ast
from cnndsl.ops.fields import show_value
from cnndsl.tokens import written_label

_INDENT = "  "


def show(file: ast.File, *, network: str | None = None) -> str:
    """The tree of a file, or of its network called `network` alone. Elements end with their line."""
    only = ("network", network)
    definitions = [d for d in file.definitions if network is None or (d.kind, d.name) == only]
    lines = [f"file {file.source.name}"]
    if network is None:
        lines.extend(f'{_INDENT}use "{use.path}"{_line(use)}' for use in file.uses)
    for definition in definitions:
        lines.append(f"{_INDENT}{definition.kind} {definition.name}{_line(definition)}")
        for p in definition.parameters:
            default = f" = {expression(p.default)}" if p.default is not None else ""
            lines.append(f"{_INDENT * 2}parameter {p.name}{default}")
        lines.extend(_INDENT * 2 + line for line in _body(definition.body))
    return "\n".join(lines)


def expression(expr: ast.Expr) -> str:
    """An expression with every operation in parentheses, which shows how it was understood."""
    match expr:
        case ast.Literal(value):
            return show_value(value)
        case ast.Dims(values):
            return "x".join("_" if v is None else str(v) for v in values)
        case ast.Name(name):
            return name
        case ast.Field(owner, name):
            return f"{owner}.{name}"
        case ast.Reference(path):
            return f"@{path}"
        case ast.Tuple(items):
            return "(" + ", ".join(map(expression, items)) + ("," if len(items) == 1 else "") + ")"
        case ast.Unary(operator, operand):
            space = " " if operator.isalpha() or " " in operator else ""
            return f"({operator}{space}{expression(operand)})"
        case ast.Binary(first, rest):
            # One level of precedence is one node of the tree: a + b - c, worked out from the left.
            return "(" + expression(first) + "".join(f" {word} {expression(e)}" for word, e in rest) + ")"


def _body(body: ast.Body) -> Iterator[str]:
    for item in body.items:
        yield from _item(item)


def _item(item: ast.Item) -> Iterator[str]:
    match item:
        case ast.Layer(label, name, _, arguments, arms):
            yield f"layer {_label(label)}{name}{_arguments(arguments)}{_line(item)}"
            for arm in arms or ():
                yield f"{_INDENT}arm{f' {written_label(arm.label.name)}' if arm.label is not None else ''}{_line(arm)}"
                yield from _deeper(arm.body, 2)
        case ast.Group(label, body):
            yield f"group {written_label(label.name)}{_line(item)}"
            yield from _deeper(body)
        case ast.Goto(target):
            yield f"goto @{target.path}{_line(item)}"
        case ast.Repeat(label, count, body):
            yield f"repeat {_label(label)}{expression(count)}{_line(item)}"
            yield from _deeper(body)
        case ast.If(condition, then, otherwise):
            yield f"if {expression(condition)}{_line(item)}"
            yield from _deeper(then)
            if otherwise is not None:
                yield f"else{_line(otherwise)}"
                yield from _deeper(otherwise)
        case ast.Output(name, _, body):
            yield f"output {name}{_line(item)}"
            yield from _deeper(body)
        case ast.Input(name, _, shape, options):
            given = f" {_arguments(options)}" if options else ""
            yield f"input {name} {_shape(shape)}{given}{_line(item)}"
        case ast.Shape():
            yield f"shape {_shape(item)}{_line(item)}"


def _deeper(body: ast.Body, levels: int = 1) -> Iterator[str]:
    return (_INDENT * levels + line for line in _body(body))


def _label(label: ast.Label | None) -> str:
    return f"{written_label(label.name)}: " if label is not None else ""


def _shape(shape: ast.Shape) -> str:
    return "[" + ", ".join(map(expression, shape.dims)) + "]"


def _arguments(arguments: tuple[ast.Argument, ...]) -> str:
    if not arguments:
        return ""
    shown = ((f"{a.name}=" if a.name is not None else "") + expression(a.value) for a in arguments)
    return "(" + ", ".join(shown) + ")"


def _line(element: ast.Item | ast.Definition | ast.Use | ast.Arm | ast.Body) -> str:
    return f"  # line {element.span.line}"
