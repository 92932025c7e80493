"""Pairing the brackets of a token stream before it is parsed.

A missing bracket is the slip whose consequences spread furthest, so it is found first, reported at the bracket
that was opened, and mended in the stream.
"""

from __future__ import annotations

from collections.abc import Iterable

from lark import Token

from cnndsl.errors import Diagnostic, Label, Source, Span

MAX_DEPTH = 50
"""Brackets within brackets. The deepest published network needs six."""

KEYWORDS = frozenset(
    {"use", "block", "network", "input", "output", "repeat", "if", "else", "and", "or", "not", "true", "false"}
)

_CLOSER = {"LBRACE": ("RBRACE", "}"), "LPAR": ("RPAR", ")"), "LSQB": ("RSQB", "]")}
_OPENS = {closer: opener for opener, (closer, _) in _CLOSER.items()}
_NAMES = {"RBRACE": "brace", "RPAR": "parenthesis", "RSQB": "bracket"}
_NOT_IN_PARENTHESES = {"ARROW", "LBRACE", "RBRACE", "REPEAT", "IF", "ELSE", "INPUT", "OUTPUT"}
_DEFINITIONS = {"USE", "BLOCK", "NETWORK"}
_CONTINUES = {"COMMA", "EQUAL", "SIGN", "SCALE", "COMPARE", "AND", "OR", "NOT", "LPAR", "LSQB", "DOT"}


def pair_brackets(source: Source, tokens: Iterable[Token]) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens with every bracket paired, and an error for each that had to be added or dropped."""
    out: list[Token] = []
    errors: list[Diagnostic] = []
    open_: list[Token] = []
    stream = list(tokens)

    def span(token: Token) -> Span:
        return Span(source, token.start_pos or 0, token.end_pos or 0)

    def close(at: Token | None, *, report: bool) -> None:
        opener = open_.pop()
        kind, text = _CLOSER[opener.type]
        last = out[-1]
        if report:
            where = Span(source, last.end_pos or 0, (last.end_pos or 0) + 1)
            end = Label(span(at), f"`{at}` comes before it is closed") if at is not None else None
            if kind != "RBRACE":
                labels: tuple[Label, ...] = (Label(span(opener), "opened here"),)
                errors.append(
                    Diagnostic("E0103", f"missing closing {_NAMES[kind]} `{text}`", where, f"expected `{text}`", labels)
                )
            else:
                errors.append(
                    Diagnostic(
                        "E0102",
                        "this `{` is never closed",
                        span(opener),
                        "opened here" if end is not None else "the file ends before it is closed",
                        (end,) if end is not None else (),
                        help=("add the missing `}`",),
                    )
                )
        out.append(Token.new_borrow_pos(kind, text, last))

    for index, token in enumerate(stream):
        following = stream[index + 1] if index + 1 < len(stream) else None
        while open_ and open_[-1].type != "LBRACE" and _ends_parentheses(token, following, out, open_):
            close(token, report=True)
        if token.type in _DEFINITIONS and open_:
            # Inner braces are closed silently: one forgotten brace is one error, at the innermost.
            close(token, report=True)
            while open_:
                close(token, report=False)
        if token.type in _CLOSER:
            open_.append(token)
            if len(open_) > MAX_DEPTH:
                message = f"brackets are nested more than {MAX_DEPTH} deep"
                errors.append(Diagnostic("E0108", message, span(token)))
                return out, errors
        elif token.type in _OPENS:
            if not any(opener.type == _OPENS[token.type] for opener in open_):
                errors.append(Diagnostic("E0103", f"`{token}` closes nothing", span(token), "no bracket is open here"))
                continue
            while open_[-1].type != _OPENS[token.type]:
                close(token, report=True)
            open_.pop()
        out.append(token)
    reported = False
    while open_:
        close(None, report=not reported or open_[-1].type != "LBRACE")
        reported = True
    return out, errors


def _ends_parentheses(token: Token, following: Token | None, out: list[Token], open_: list[Token]) -> bool:
    """Whether a token shows that the innermost `(` or `[` should have been closed before it."""
    if token.type in _NOT_IN_PARENTHESES or token.type in _DEFINITIONS:
        return True
    previous = out[-1]
    if open_[-1].type == "LSQB" and token.type == "LPAR" and previous.type in {"DIMS", "INT", "NAME"}:
        return True
    begins_line = token.line != previous.line
    if not begins_line or previous.type in _CONTINUES:
        return False
    if token.type in {"REF", "LSQB"}:
        return True
    # `name = value` on a new line is an argument after a missing comma; anything else is the next layer.
    return token.type in {"NAME", "INT"} and (
        following is None or following.type in {"COLON", "LPAR", "ARROW", "NAME", "LBRACE", "RBRACE"}
        or following.line != token.line
    )
