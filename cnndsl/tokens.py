"""From text to tokens, with what is no token of the language named and mended.

Lark's lexer does the splitting, by the terminals of ``grammars/cnn.lark``. Its BAD_ terminals match, whole,
what people write by mistake (a number like ``1.``, an unclosed string, ``&&``); here each becomes an error
and the token that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import resources

from lark import Lark, Token

from cnndsl.errors import CnnError, Diagnostic, Source, Span

MAX_TOKENS = 100_000
"""Words and signs of a text. The largest published networks take six thousand; each takes 40 us."""

KEYWORDS = frozenset(
    ("use", "block", "network", "input", "output", "repeat", "if", "else", "and", "or", "not", "true", "false")
)
KEYWORD_TYPES = frozenset(word.upper() for word in KEYWORDS)
QUOTED_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]*"
"""What a label in quotes is made of; a reference reads the same without quotes."""
DEFINITIONS = frozenset({"USE", "BLOCK", "NETWORK"})


@cache
def lark() -> Lark:
    """The lexer and parser of the grammar."""
    grammar = resources.files("cnndsl.grammars").joinpath("cnn.lark").read_text(encoding="utf-8")
    # The basic lexer, not the contextual one: a keyword stays a keyword everywhere, so that `block` after a
    # forgotten brace is seen as the start of a definition and not as a layer of that name.
    return Lark(grammar, parser="lalr", lexer="basic", propagate_positions=True, maybe_placeholders=True)


def span_of(source: Source, token: Token) -> Span:
    """Where a token stands."""
    start = token.start_pos or 0
    end = token.end_pos if token.end_pos is not None else start
    return Span(source, start, max(end, start))


def placed(type_: str, text: str, at: Token) -> Token:
    """A token of our own, standing where another stands."""
    return Token.new_borrow_pos(type_, text, at)


def inserted(type_: str, text: str, after: Token) -> Token:
    """A token of our own, standing directly behind another and taking no room."""
    end, line, column = after.end_pos, after.end_line, after.end_column
    return Token(type_, text, end, line, column, line, column, end)


def lex(source: Source) -> tuple[list[Token], dict[int, Diagnostic]]:
    """The tokens of a text, and by offset an error for each that had to be mended.

    Raises CnnError when there are too many (E0110).
    """
    tokens: list[Token] = []
    errors: dict[int, Diagnostic] = {}
    for number, token in enumerate(lark().lex(source.text)):
        if number >= MAX_TOKENS:
            raise CnnError((_too_long(source, tokens, token),))
        if token.type.startswith("BAD_"):
            span = span_of(source, token)
            error, meant = _mended(token, span)
            if error is not None:
                errors[span.start] = error
            if meant is not None:
                tokens.append(meant)
        else:
            tokens.append(token)
    return tokens, errors


def _too_long(source: Source, tokens: list[Token], token: Token) -> Diagnostic:
    first = tokens[0] if tokens else token
    if first.type not in DEFINITIONS:
        return not_a_network(source, first)
    message = f"the text is too long: more than {MAX_TOKENS:,} words and signs"
    return Diagnostic(
        "E0110", message, span_of(source, token), help=("write layers that repeat as `repeat n { ... }`",)
    )


def not_a_network(source: Source, first: Token) -> Diagnostic:
    """The error about a text that is something else altogether."""
    return Diagnostic(
        "E0114", f"expected `use`, `block` or `network`, found {as_written(source, first)}",
        span_of(source, first),
        "is this a .cnn file?", help=("a network is written: network Name { input image [224x224x3] ... }",),
    )


def shown(token: Token | str) -> str:
    """A token in a message: quoted, and cut when long."""
    text = str(token)
    return f"`{text}`" if len(text) <= 30 else f"`{text[:27]}...`"


def as_written(source: Source, token: Token) -> str:
    """A token in a message as it stands in the text, even where another was taken for it."""
    return shown(span_of(source, token).text or token)


def written_label(name: str) -> str:
    """A label as a text has it: in quotes where it is a keyword or holds a hyphen."""
    plain = name not in KEYWORDS and re.fullmatch(r"[0-9]+|[A-Za-z_][A-Za-z0-9_]*", name)
    return name if plain else f'"{name}"'


def _mended(token: Token, span: Span) -> tuple[Diagnostic | None, Token | None]:
    """The error about a token of no program, and the token that was meant, if any."""

    def error(code: str, message: str, hint: str = "", *, label: str = "") -> Diagnostic:
        return Diagnostic(code, message, span, label, help=(hint,) if hint else ())

    text = str(token)
    match token.type:
        case "BAD_NUMBER":
            meant = placed("INT", "1", token)
            return error("E0111", f"{shown(text)} is not a number", _number_hint(text)), meant
        case "BAD_STRING":
            hint = 'a string ends on the line that it begins on: "like this"'
            meant = placed("STRING", f'{text}"', token)
            return error("E0107", "this string is not closed", hint, label='no closing `"`'), meant
        case "BAD_QUOTES":
            inner = text[1:].rstrip("'\u2018\u2019\u201c\u201d")
            hint = f'write "{inner}"' if len(inner) <= 30 else ""
            meant = placed("STRING", f'"{inner}"', token)
            return error("E0115", 'strings are written between double quotes, "like this"', hint), meant
        case "BAD_COMMENT":
            return error("E0115", "a comment begins with `#` and goes to the end of the line"), None
        case "BAD_NAME":
            hint = "names are made of the letters a to z and A to Z, digits and `_`"
            return error("E0101", f"{shown(text)} is not a name", hint), placed("NAME", text, token)
        case "BAD_REFERENCE":
            meant = placed("REF", f"@{text[1:].strip()}", token)
            return error("E0101", "no space stands between `@` and the label", f"write {meant}"), meant
        case "BAD_OPERATOR":
            return _operator(token, error)
    if text == "?":
        return error("E0101", "unexpected character `?`", "`_` leaves a size unchecked: [_x_x64]"), placed(
            "NAME", "_", token
        )
    if text == "@":
        return error("E0101", "this `@` has no label behind it", "a reference is written @label"), None
    if len(text) > 1:
        return error("E0101", "unexpected characters"), None
    named = f"`{text}`" if text.isprintable() else f"U+{ord(text):04X}"
    return error("E0101", f"unexpected character {named}"), None


_OPERATORS = {
    "&&": ("AND", "and", "`and`"),
    "&": ("AND", "and", "`and`"),
    "||": ("OR", "or", "`or`"),
    "!": ("NOT", "not", "`not`"),
    "=>": ("ARROW", "->", "`->`"),
    "|>": ("ARROW", "->", "`->`"),
    ">>": ("ARROW", "->", "`->`"),
    "\u2192": ("ARROW", "->", "`->`"),
    "\u21d2": ("ARROW", "->", "`->`"),
    "\u27f6": ("ARROW", "->", "`->`"),
    "\u2794": ("ARROW", "->", "`->`"),
    "**": ("SCALE", "*", "as a product, `n * n`,"),
}


def _operator(token: Token, error: Callable[..., Diagnostic]) -> tuple[Diagnostic, Token | None]:
    text = str(token)
    if text == ";":
        message = "nothing ends a layer: `->` or a new line feeds the next one"
        return error("E0115", message, "drop the `;`"), None
    if text == "|":
        hint = "write `->` between layers, `or` in a condition"
        return error("E0115", "`|` means nothing here", hint), None
    type_, word, written = _OPERATORS[text]
    return error("E0115", f"`{text}` is written {written} here"), placed(type_, word, token)


def _number_hint(text: str) -> str:
    """What a malformed number was probably meant to be."""
    if text.endswith(".") and text[:-1].isdigit():
        return f"write {text[:-1]} or {text}0"
    if text.startswith("."):
        return f"write 0{text}" if text[1:].isdigit() else ""
    if "_" in text and text.replace("_", "").isdigit():
        return f"write {text.replace('_', '')}"
    if text[:-1].isdigit() and text[-1] in "kK":
        return f"write {text[:-1]}000, or {text[:-1]} * 1024"
    if "x" in text.lower() and text[0].isdigit():
        return "sizes are written in numbers, 3x3 or 227x227x3; names need commas, (k, k) or [h, w, c]"
    if text[-1] in "eE":
        return f"an exponent follows the `{text[-1]}`: {text}-4"
    if text[-1] in "fF" and text[:-1].replace(".", "", 1).isdigit():
        return f"write {text[:-1]}"
    return "names begin with a letter" if "." not in text else ""
