"""The layout of specialised text: signatures, and lines that have grown too long."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Sequence
from itertools import pairwise

from cnndsl.codegen.specialize_source import Function, dotted

WIDTH = 120
"""Columns of a line."""

SHORT = 100
"""Columns of a signature that is joined to one line."""


def decorators(function: Function, kept: Sequence[str]) -> list[str]:
    """The lines of a function's decorators; a parameter that is gone is not named in them."""
    lines = []
    for node in function.node.decorator_list:
        text = function.module.text_of(node)
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                names = keyword.value
                known = isinstance(names, ast.List) and all(isinstance(e, ast.Constant) for e in names.elts)
                if keyword.arg != "do_not_specialize" or not known or len(node.keywords) > 1:
                    raise function.module.error(node, "a kernel is decorated with do_not_specialize and nothing else")
                assert isinstance(names, ast.List)
                left = [str(e.value) for e in names.elts if isinstance(e, ast.Constant) and e.value in kept]
                listed = ", ".join(f'"{name}"' for name in left)
                text = dotted(node.func) + (f"(do_not_specialize=[{listed}])" if left else "")
        lines.append(f"@{text}")
    return lines


def signature(function: Function, name: str, kept: Sequence[str]) -> list[str]:
    """The lines of `def name(...):` with the parameters that are left, and the comments behind them."""
    module = function.module
    arguments = [a for a in function.node.args.args if a.arg in kept]
    defaults = function.defaults
    texts = [
        module.text_of(a) + (f"={module.text_of(defaults[a.arg])}" if a.arg in defaults else "") for a in arguments
    ]
    first = function.node.lineno
    numbers = [a.lineno for a in function.node.args.args]
    apart = first not in numbers and len(set(numbers)) == len(numbers)
    joined = f"def {name}({', '.join(texts)}):"
    lines: list[str] = []
    commented = False
    if apart:
        previous = first
        for argument in function.node.args.args:
            above = module.lines[previous : argument.lineno - 1]
            line = module.lines[argument.lineno - 1]
            if argument.arg in kept:
                lines += [*above, line]
                commented = commented or "#" in line or bool(above)
            previous = argument.end_lineno or argument.lineno
    if not apart or (not commented and len(joined) <= SHORT):
        return [joined]
    return [f"def {name}(", *lines, "):"]


def wrapped(text: str) -> str:
    """A module's text, whose simple statements are broken into lines where they are too long."""
    lines = text.split("\n")
    if all(len(line) <= WIDTH for line in lines):
        return text
    tree = ast.parse(text)
    simple = [n for n in ast.walk(tree) if isinstance(n, ast.Assign | ast.AugAssign | ast.Expr | ast.Return)]
    for node in sorted(simple, key=lambda n: -n.lineno):
        assert node.end_lineno is not None
        if node.lineno == node.end_lineno and len(lines[node.lineno - 1]) > WIDTH:
            lines[node.lineno - 1 : node.end_lineno] = _broken(lines[node.lineno - 1])
    return "\n".join(lines)


def _broken(line: str) -> list[str]:
    """A statement on several lines: its comment above it, then broken at its weakest operators or its commas."""
    indent = " " * (len(line) - len(line.lstrip()))
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(line.strip()).readline) if t.string.strip()]
    code, above = line.strip(), []
    if tokens[-1].type == tokenize.COMMENT:
        above = [indent + tokens[-1].string]
        code = code[: tokens[-1].start[1]].rstrip()
    if len(indent + code) <= WIDTH:
        return [*above, indent + code]
    statement = ast.parse(code if not code.startswith("return") else f"r = {code[7:]}").body[0]
    shift = 3 if code.startswith("return") else 0
    assert isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr)
    value = statement.value
    assert value.end_col_offset is not None
    start, end = value.col_offset + shift, value.end_col_offset + shift
    head, tail = code[:start], code[end:]
    inner = f"{indent}    "
    match value:
        case ast.Call() if not tail:
            opening = code.index("(", (value.func.end_col_offset or 0) + shift)
            parts: list[ast.expr | ast.keyword] = [*value.args, *value.keywords]
            texts = [code[p.col_offset + shift : (p.end_col_offset or 0) + shift] for p in parts]
            rows = _filled([f"{t}, " for t in texts], WIDTH - len(inner))
            if len(rows) == 1:
                rows = [rows[0].removesuffix(",")]
            return [*above, indent + code[: opening + 1], *(inner + row for row in rows), f"{indent})"]
        case ast.BinOp():
            operands = _operands(value, type(value.op))
            cuts = [o.col_offset + shift for o in operands[1:]]
            places = [start, *(_before_operator(code, cut) for cut in cuts), end]
            texts = [code[a:b].strip() for a, b in pairwise(places)]
            rows = _filled([f"{t} " for t in texts], WIDTH - len(inner))
            return [*above, f"{indent}{head}(", *(inner + row for row in rows), f"{indent}){tail}"]
    return [*above, f"{indent}{head}(", f"{inner}{code[start:end]}", f"{indent}){tail}"]


def _operands(node: ast.expr, op: type[ast.operator]) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and type(node.op) is op:
        return [*_operands(node.left, op), node.right]
    return [node]


def _before_operator(code: str, place: int) -> int:
    """Where the operator in front of an operand begins."""
    while code[place - 1] in " (":
        place -= 1
    while code[place - 1] not in " )":
        place -= 1
    return place


def _filled(parts: Sequence[str], width: int) -> list[str]:
    """Parts side by side, as many as fit a line."""
    rows = [""]
    for part in parts:
        if rows[-1] and len((rows[-1] + part).rstrip()) > width:
            rows.append("")
        rows[-1] += part
    return [row.rstrip() for row in rows]
