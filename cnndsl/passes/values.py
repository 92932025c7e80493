"""Evaluating the expressions of a ``.cnn`` file.

Values are Python's int, float, bool, str and tuples of numbers. An expression that fails is reported once and
becomes POISON, and whatever depends on POISON is POISON without a further report.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cnndsl import syntax as ast
from cnndsl.errors import Diagnostic, Span, did_you_mean, listed
from cnndsl.ir import TensorType
from cnndsl.ops.fields import kind_of, show_value


class Poison:
    """The value of an expression that was already reported."""


POISON: Final = Poison()

MAX_NUMBER = 2**53
"""Beyond this, no size of a tensor; and floats would no longer hold every integer."""

Report = Callable[[Diagnostic], None]

_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
IN_FIELDS = ("height", "width", "channels", "features")


@dataclass(frozen=True)
class Evaluator:
    """Evaluates expressions where `parameters` are known and the current tensor has type `current`.

    `current` is None when an earlier error left it unknown; `in.channels` is then POISON.
    """

    parameters: Mapping[str, Any]
    current: TensorType | None
    report: Report
    words: tuple[str, ...] = ()

    def value(self, expr: ast.Expr) -> Any:
        """The value of an expression, or POISON after reporting why there is none."""
        match expr:
            case ast.Literal(value):
                return value
            case ast.Dims(values):
                return self._dims(expr, values)
            case ast.Name(name):
                if name in self.parameters:
                    return self.parameters[name]
                # What is unknown was reported before anything was expanded, by `cnndsl.passes.names`.
                return name if name in self.words else POISON
            case ast.Field():
                return self._field(expr)
            case ast.Reference(path, span):
                return self._fail("E0205", f"`@{path}` is a tensor, not a number", span)
            case ast.Tuple(items):
                values_ = [self.value(item) for item in items]
                if any(v is POISON for v in values_):
                    return POISON
                for v, item in zip(values_, items, strict=True):
                    if isinstance(v, (tuple, str, bool)):
                        return self._fail("E0205", f"a tuple holds numbers, found {kind_of(v)}", item.span)
                return tuple(values_)
            case ast.Unary():
                return self._unary(expr)
            case ast.Binary():
                return self._binary(expr)

    def boolean(self, expr: ast.Expr) -> bool | Poison:
        """The value of a condition."""
        value = self.value(expr)
        if isinstance(value, (bool, Poison)):
            return value
        self._fail("E0205", f"a condition must be true or false, found {kind_of(value)}", expr.span)
        return POISON

    def _fail(self, code: str, message: str, span: Any, *, hint: str | None = None) -> Poison:
        self.report(Diagnostic(code, message, span, help=(hint,) if hint else ()))
        return POISON

    def _dims(self, expr: ast.Dims, values: tuple[int | None, ...]) -> Any:
        if any(v is None for v in values):
            return self._fail("E0205", "`_` stands for any size only in a shape assertion", expr.span)
        return values

    def _field(self, expr: ast.Field) -> Any:
        if self.current is None or expr.owner != "in" or expr.name not in IN_FIELDS:
            return POISON
        if expr.name == "features":
            return self.current.size
        if not self.current.is_map:
            return self._fail(
                "E0305", f"the current tensor {self.current} is a vector: it has no {expr.name}", expr.span,
                hint="write in.features",
            )
        return getattr(self.current, expr.name)

    def _unary(self, expr: ast.Unary) -> Any:
        value = self.value(expr.operand)
        if value is POISON:
            return POISON
        if expr.operator in {"not", "not not"}:
            if not isinstance(value, bool):
                return self._fail("E0212", f"`not` needs true or false, found {kind_of(value)}", expr.span)
            return value != (expr.operator == "not")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return self._fail("E0212", f"`{expr.operator}` needs a number, found {kind_of(value)}", expr.span)
        return -value if expr.operator == "-" else value

    def _binary(self, expr: ast.Binary) -> Any:
        first_operator = expr.rest[0][0] if expr.rest else ""
        if first_operator in {"and", "or"}:
            return self._logic(expr, first_operator)
        left, span = self.value(expr.first), expr.first.span
        for symbol, operand in expr.rest:
            right = self.value(operand)
            whole = span.to(operand.span)
            if left is POISON or right is POISON:
                left = POISON
            else:
                left = self._apply(symbol, (left, span), (right, operand.span), whole)
            span = whole
        return left

    def _logic(self, expr: ast.Binary, word: str) -> bool | Poison:
        for operand in (expr.first, *(e for _, e in expr.rest)):
            value = self.value(operand)
            if isinstance(value, Poison):
                return POISON
            if not isinstance(value, bool):
                self._fail("E0212", f"`{word}` needs true or false, found {kind_of(value)}", operand.span)
                return POISON
            if value == (word == "or"):
                return value  # the rest is not evaluated, as in every language with these words
        return word == "and"

    def _apply(self, symbol: str, first: tuple[Any, Span], second: tuple[Any, Span], whole: Span) -> Any:
        left, right = first[0], second[0]
        if symbol in {"==", "!="}:
            # In Python true is 1; here it is not.
            same = left == right and isinstance(left, bool) == isinstance(right, bool)
            return same == (symbol == "==")
        for value, span in (first, second):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                return self._fail("E0212", f"`{symbol}` needs numbers, found {kind_of(value)}", span)
        if symbol in _ORDER:
            return _ORDER[symbol](left, right)
        if symbol in {"/", "//", "%"} and right == 0:
            return self._fail(
                "E0212", f"division by zero: {show_value(left)} {symbol} {show_value(right)}", whole
            )
        try:
            result = _ARITHMETIC[symbol](left, right)
        except OverflowError:
            result = float("inf")
        if not abs(result) <= MAX_NUMBER:
            return self._fail("E0218", f"the result of `{symbol}` is absurdly large", whole)
        return result


def unknown_name(
    name: str, span: Span, parameters: Iterable[str], words: Sequence[str], *, shape: bool = False
) -> Diagnostic:
    """The error about a name that is no parameter. `shape` tells that a size was wanted."""
    known = list(parameters)
    guess = did_you_mean(name, [*known, *words])
    parts = name.split("x")
    message = f"unknown name `{name}`"
    if name == "in":
        message = "`in` is the current tensor, not a number"
        hint = f"write {listed([f'in.{field}' for field in IN_FIELDS], last='or')}"
    elif name.lower() in _BOOLEANS:
        hint = f"write `{_BOOLEANS[name.lower()]}`"
    elif len(parts) > 1 and all(part.isdigit() or part in known for part in parts):
        hint = f"write {'[' if shape else '('}{', '.join(parts)}{']' if shape else ')'}"
    elif guess is not None:
        hint = f"did you mean `{guess}`?"
    elif shape:
        hint = "sizes are numbers, [224x224x3], or expressions of parameters, [size, size, 3]"
    elif words:
        beginning = "the only word here is" if len(words) == 1 else "the only words here are"
        hint = f"{beginning} {listed([f'`{word}`' for word in words])}"
    elif known:
        hint = f"the parameters here are {listed([f'`{p}`' for p in known])}"
    else:
        hint = "there are no parameters here; they are declared behind the name: network Net(classes = 1000)"
    return Diagnostic("E0208", message, span, help=(hint,))


_BOOLEANS = {
    "true": "true", "yes": "true", "on": "true",
    "false": "false", "no": "false", "off": "false", "none": "false", "null": "false",
}


def unknown_field(expr: ast.Field) -> Diagnostic:
    """The error about ``in.size`` and its like."""
    fields = f"in.{', in.'.join(IN_FIELDS)}"
    if expr.owner != "in":
        hint = f"the current tensor is `in`: {fields}"
        return Diagnostic("E0208", f"`{expr.owner}` has no fields", expr.span, help=(hint,))
    guess = did_you_mean(expr.name, IN_FIELDS) or {"c": "channels", "h": "height", "w": "width"}.get(
        expr.name.lower()
    )
    hint = f"did you mean `in.{guess}`?" if guess else f"there are {fields}"
    return Diagnostic("E0208", f"a tensor has no field `{expr.name}`", expr.span, help=(hint,))
