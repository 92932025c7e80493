"""Reading a ``.cnn`` text: tokens, the parser, the syntax tree; and for a text that is refused, its slips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lark import Token, Tree, UnexpectedInput

from cnndsl import syntax as ast
from cnndsl.brackets import pair_brackets
from cnndsl.build_tree import TreeBuilder
from cnndsl.errors import MAX_ERRORS, CnnError, Diagnostic, Source, Span, in_order
from cnndsl.mend import mend
from cnndsl.tokens import lark, lex, shown, span_of

MAX_TEXT = 2 * 2**20
"""Characters of a source; the largest published network takes a few ten thousand."""


_GUESSED = frozenset({"E0102", "E0111", "E0112"})
"""Slips whose mending is a guess: where a body ends, which number was meant, how a name is written elsewhere."""


@dataclass(frozen=True)
class Reading:
    """What was read: the tree of the text that was meant, where that is sure, and every syntax error."""

    file: ast.File | None
    errors: tuple[Diagnostic, ...]
    tokens: int = 0
    """Length of the text, in words and signs."""


def parse(text: str, name: str) -> ast.File:
    """The syntax tree of a ``.cnn`` text.

    Raises CnnError with every syntax error of the text (E01xx).
    """
    reading = read(text, name)
    if reading.errors:
        raise CnnError(reading.errors)
    assert reading.file is not None
    return reading.file


def read(text: str, name: str) -> Reading:
    """What a ``.cnn`` text says, with its slips mended and reported."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    source = Source(name, text)
    if len(text) > MAX_TEXT:
        message = f"the text is too long: {len(text):,} characters, at most {MAX_TEXT:,}"
        return Reading(None, (Diagnostic("E0110", message, Span(source, 0, 1)),))
    if "\0" in text:
        at = text.index("\0")
        hint = "a .cnn file is plain text; is this a weight file?"
        error = Diagnostic(
            "E0109", "this is not a text: it holds a zero byte", Span(source, at, at + 1), help=(hint,)
        )
        return Reading(None, (error,))
    try:
        tokens, slips = lex(source)
    except CnnError as error:
        return Reading(None, error.diagnostics)
    tokens, brackets = pair_brackets(source, tokens)
    errors = [*slips.values(), *brackets]
    if any(error.code == "E0108" for error in brackets):
        return Reading(None, (*brackets,))
    tree, refused = _feed(tokens)
    sure = True
    if tree is None or errors:
        mended, errors, sure = mend(source, tokens, errors)
        sure = sure and not any(error.code in _GUESSED for error in errors)
        if not errors:
            # Not reached as far as the property tests know; but a refused text is never passed over in
            # silence.
            errors = [_plain_error(source, tokens, refused)]
        tree, _ = _feed(mended) if sure else (None, None)
    if tree is None:
        return Reading(None, in_order(errors)[:MAX_ERRORS], len(tokens))
    numbers: list[Diagnostic] = []
    file = TreeBuilder(source, numbers).file(tree)
    return Reading(None if numbers else file, in_order([*errors, *numbers])[:MAX_ERRORS], len(tokens))


def _feed(tokens: Iterable[Token]) -> tuple[Tree[Token] | None, Token | None]:
    """Lark's tree of the tokens, or the token that it refuses (None for the end)."""
    parser = lark().parse_interactive()
    last: Token | None = None
    try:
        for token in tokens:
            last = token
            parser.feed_token(token)
        last = None
        result = parser.feed_eof()
    except UnexpectedInput:
        return None, last
    assert isinstance(result, Tree)
    return result, None


def _plain_error(source: Source, tokens: list[Token], refused: Token | None) -> Diagnostic:
    found = shown(refused) if refused is not None else "the end of the text"
    return Diagnostic(
        "E0106", f"found {found}, which cannot stand here", span_of(source, refused or tokens[-1])
    )
