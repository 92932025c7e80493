"""Naming and mending slips in expressions, arguments and shapes."""

from __future__ import annotations

from collections.abc import Callable

from cnndsl.cursor import VALUE_STARTS, Cursor
from cnndsl.tokens import KEYWORD_TYPES, placed, span_of

_OPERATORS = frozenset({"SIGN", "SCALE", "COMPARE", "AND", "OR"})
_ATOMS = frozenset({"INT", "FLOAT", "STRING", "DIMS", "REF", "TRUE", "FALSE"})

_MEANINGLESS = _OPERATORS | {"NOT", "DOT", "EQUAL", "COLON", "ARROW"}
"""What may stand where a value should, and is best passed over."""


def expression(c: Cursor, *, condition: bool = False) -> None:
    """One expression. `condition` tells that a single `=` can only mean `==`."""
    before, compared = "", False
    while True:
        _operand(c, before)
        kind = c.kind()
        if kind == "EQUAL" and condition:
            c.error(
                "E0115", "comparisons are written with `==`", c.span(),
                hint="`=` gives a value to an argument"
            )
            c.take_as(*(("AND", "and") if compared else ("COMPARE", "==")))
            c.sure = c.sure and not compared
            before, compared = "COMPARE", True
            continue
        if kind not in _OPERATORS:
            return
        before = kind
        if kind == "COMPARE" and compared:
            c.error(
                "E0115", "comparisons cannot be chained", c.span(), hint="join two of them: 1 < n and n < 5",
            )
            c.take_as("AND", "and")
            c.sure = False
            continue
        compared = kind == "COMPARE" or (compared and kind not in {"AND", "OR"})
        c.take()


def _operand(c: Cursor, before: str) -> None:
    while c.kind() == "NOT":
        if before in {"", "AND", "OR"}:
            c.take()
        else:
            c.error(
                "E0106", "`not` stands in front of a whole comparison", c.span(), hint="put it in parentheses"
            )
            c.skip()
    while c.kind() == "SIGN":
        c.take()
    _atom(c, before)


def _atom(c: Cursor, before: str) -> None:
    kind = c.kind()
    if kind in _ATOMS:
        c.take()
    elif kind == "NAME":
        _name(c)
    elif kind == "LPAR":
        _parentheses(c)
    elif kind == "LSQB":
        c.error(
            "E0115", "a tuple stands in parentheses", c.span(), hint="brackets hold shapes: write (1, 2, 3)"
        )
        _parentheses(c)
    elif kind in {"INPUT", "OUTPUT"} and c.kinds(3)[1:] == ("DOT", "NAME"):
        hint = f"write in.{c.token(2)}"
        c.error("E0112", f"`{c.token()}` is a keyword; the current tensor is `in`", c.span(), hint=hint)
        c.take_as("NAME", "in")
        c.take()
        c.take()
    elif kind in KEYWORD_TYPES - {"AND", "OR", "NOT"}:
        c.keyword("a value")
    else:
        what = f"behind `{c.tokens[c.at - 1]}`" if before else "here"
        c.error("E0106", f"expected a value {what}, found {c.found()}", c.span())
        while c.kind() in _MEANINGLESS:
            c.skip()
        if c.kind() in VALUE_STARTS:
            _operand(c, before or "SIGN")
        else:
            c.invent("INT", "1")


def _name(c: Cursor) -> None:
    name = c.take()
    if c.kind() == "DOT" and c.kind(1) == "NAME":
        c.take()
        c.take()
    if c.kind() == "DOT":
        message = "expected a field behind this `.`" if c.kind(1) != "NAME" else "a field has no fields"
        c.error(
            "E0106", message, c.span(),
            hint="the current tensor has in.height, in.width, in.channels, in.features"
        )
        while c.kind() == "DOT" or (c.kind() == "NAME" and c.tokens[c.at - 1].type == "DOT"):
            c.skip()
    if c.kind() == "LPAR" and c.touches():
        message = f"`{name}` cannot be called: a value is made of numbers, parameters and operators"
        c.error("E0106", message, c.span(-1).to(c.span()))
        c.skip()


def _parentheses(c: Cursor) -> None:
    """`( ... )`, or `[ ... ]` where a tuple was meant (reported by the caller)."""
    closer = "RSQB" if c.kind() == "LSQB" else "RPAR"
    c.take_as("LPAR", "(")
    if c.kind() == closer:
        c.error("E0106", "nothing stands between these parentheses", c.span(-1).to(c.span()))
        c.invent("INT", "1")
    else:
        expression(c)
        _separated(c, expression, "a value", closer=closer)
    c.take_as("RPAR", ")")


def _separated(
    c: Cursor, item: Callable[[Cursor], None], what: str, *, closer: str, filled: bool = True
) -> None:
    """The items of a bracket up to where it closes, with a comma between each two.

    `filled` tells that the first stands already; a comma behind the last is allowed.
    """
    while c.kind() != closer:
        if c.kind() == "COMMA" and filled:
            c.take()
            filled = False
        elif c.kind() == "COMMA":
            c.error(
                "E0106", f"expected {what}, found `,`", c.span(),
                hint=f"drop this comma, or write the {what.split()[1]}"
            )
            c.drop()
        elif not filled:
            item(c)
            filled = True
        elif c.kind() in VALUE_STARTS or (c.kind() in KEYWORD_TYPES and c.kind(1) == "EQUAL"):
            c.missing_comma(what.split()[1])
            filled = False
        else:
            bracket = {"RPAR": ")", "RSQB": "]"}[closer]
            c.error("E0106", f"expected `,` or `{bracket}`, found {c.found()}", c.span())
            c.skip_to_comma()


def arguments(c: Cursor) -> None:
    """`( ... )` behind a layer or an input."""
    c.take()
    _separated(c, _argument, "an argument", closer="RPAR", filled=False)
    c.take()


def _argument(c: Cursor) -> None:
    if c.kind() == "LBRACE":
        c.error(
            "E0115", "a body in braces is no argument", c.span(),
            hint="arms stand behind: add { { ... } { ... } }"
        )
        c.skip()
        c.invent("INT", "1")
        return
    if c.kind(1) in {"EQUAL", "COLON"} and (c.kind() == "NAME" or c.kind() in KEYWORD_TYPES):
        if c.kind() == "NAME":
            c.take()
        else:
            c.keyword("an argument")
        if c.kind() == "COLON":
            c.error(
                "E0115", "an argument is given with `=`", c.span(), hint=f"write {c.tokens[c.at - 1]}=..."
            )
            c.take_as("EQUAL", "=")
        else:
            c.take()
        if c.kind() in {"COMMA", "RPAR"}:
            name = c.tokens[c.at - 2]
            c.error(
                "E0106", f"`{name}` has no value", c.span(-2).to(c.span(-1)),
                label="expected a value behind it"
            )
            c.invent("INT", "1")
            return
    expression(c)


def shape(c: Cursor) -> None:
    """`[ ... ]`: an assertion or the shape of an input."""
    c.take()
    if c.kind() == "RSQB":
        c.error(
            "E0106", "this shape is empty", c.span(-1).to(c.span()),
            hint="write [224x224x3], or `_` for any size"
        )
        c.invent("INT", "1")
    else:
        expression(c)
        _separated(c, expression, "a size", closer="RSQB")
    if c.out[-1].type == "COMMA":
        c.error(
            "E0106", "expected a size behind this `,`", span_of(c.source, c.out.pop()), hint="drop the comma"
        )
    c.take()


def parameters(c: Cursor) -> None:
    """`(name, name = default)` behind the name of a block or network."""
    c.take()
    _separated(c, _parameter, "a parameter", closer="RPAR", filled=False)
    c.take()


def _parameter(c: Cursor) -> None:
    if c.kind() == "NAME":
        c.take()
    elif c.kind() in KEYWORD_TYPES:
        c.keyword("a parameter")
    else:
        c.error("E0106", f"expected the name of a parameter, found {c.found()}", c.span())
        c.invent("NAME", "_unnamed")
        c.skip_to_comma()
        return
    if c.kind() == "COLON":
        c.error("E0115", "a default is given with `=`", c.span(), hint=f"write {c.tokens[c.at - 1]} = ...")
        c.take_as("EQUAL", "=")
        expression(c)
    elif c.kind() == "EQUAL":
        c.take()
        expression(c)


def input_shape(c: Cursor) -> None:
    """The shape behind an input's name, in whatever brackets it was written."""
    hint = "write input image [224x224x3]"
    if c.kind() == "COLON":
        c.error("E0106", "nothing stands between the name of an input and its shape", c.span(), hint=hint)
        c.drop()
    if c.kind() == "LSQB":
        shape(c)
    elif c.kind() in {"DIMS", "INT"} and c.on_same_line():
        c.error("E0115", "the shape of an input stands in brackets", c.span(), hint=f"write [{c.token()}]")
        c.insert("LSQB", "[")
        c.take()
        c.insert("RSQB", "]")
    elif c.kind() == "LPAR" and c.kind(2) != "EQUAL":
        c.error("E0115", "the shape of an input stands in brackets", c.span(), hint=hint)
        close = c.partner[c.at]
        c.tokens[c.at] = placed("LSQB", "[", c.tokens[c.at])
        c.tokens[close] = placed("RSQB", "]", c.tokens[close])
        shape(c)
    else:
        c.error("E0106", f"the input `{c.tokens[c.at - 1]}` has no shape", c.span(-1), hint=hint)
        for type_, text in (("LSQB", "["), ("INT", "1"), ("RSQB", "]")):
            c.invent(type_, text)
