"""Reading a ``.cnn`` text: tokens, the repair of slips, and the syntax tree.

Lark gives the tokens and the LALR automaton; this module feeds it one definition at a time. Brackets are
paired before parsing, so that a missing one is named where it was opened, and an unexpected token is met
with the smallest repair that lets the parser go on, so that one slip does not hide the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from lark import Lark, Token, Tree, UnexpectedInput

from cnndsl import syntax as ast
from cnndsl.brackets import KEYWORDS, pair_brackets
from cnndsl.build_tree import TreeBuilder
from cnndsl.errors import CnnError, Diagnostic, Label, Source, Span, did_you_mean

MAX_TEXT = 2 * 2**20
"""Characters of a source; the largest published network takes a few thousand."""

NAMES_OF_TERMINALS = {
    "ARROW": "`->`",
    "NAME": "a name",
    "REF": "a reference (`@label`)",
    "STRING": "a string",
    "INT": "a number",
    "FLOAT": "a number",
    "DIMS": "a size like 3x3",
    "COLON": "`:`",
    "COMMA": "`,`",
    "EQUAL": "`=`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "DOT": "`.`",
    "SIGN": "`+` or `-`",
    "SCALE": "`*`, `/`, `//` or `%`",
    "COMPARE": "a comparison",
    "$END": "the end of the definition",
}

VALUE_STARTS = {"INT", "FLOAT", "STRING", "DIMS", "REF", "NAME", "TRUE", "FALSE", "LPAR"}


@cache
def _lark() -> Lark:
    grammar = resources.files("cnndsl.grammars").joinpath("cnn.lark").read_text(encoding="utf-8")
    # The basic lexer, not the contextual one: a keyword stays a keyword everywhere, so that `block` after a
    # forgotten brace is seen as the start of a definition and not as a layer of that name.
    return Lark(grammar, parser="lalr", lexer="basic", propagate_positions=True, maybe_placeholders=True)


def parse(text: str, name: str) -> ast.File:
    """The syntax tree of a ``.cnn`` text.

    Raises CnnError with every syntax error of the text (E01xx).
    """
    source = Source(name, text)
    if len(text) > MAX_TEXT:
        raise CnnError(
            (Diagnostic("E0110", f"the text is too long: {len(text):,} characters, at most {MAX_TEXT:,}"),)
        )
    if "\0" in text:
        at = text.index("\0")
        raise CnnError(
            (Diagnostic("E0109", "this is not a text: it holds a zero byte", Span(source, at, at + 1)),)
        )
    return _Reader(source).read()


class _Reader:
    """One reading of one source: collects errors as it goes."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.errors: list[Diagnostic] = []

    def read(self) -> ast.File:
        tokens, errors = pair_brackets(self.source, self._tokens())
        self.errors.extend(errors)
        if any(error.code == "E0108" for error in errors):
            raise CnnError(self.errors)
        uses: list[ast.Use] = []
        definitions: list[ast.Definition] = []
        for chunk in _chunks(tokens):
            match self._definition(chunk):
                case ast.Use() as use:
                    uses.append(use)
                case ast.Definition() as definition:
                    definitions.append(definition)
        if self.errors:
            raise CnnError(sorted(self.errors, key=lambda d: d.span.start if d.span else 0))
        return ast.File(self.source, tuple(uses), tuple(definitions))

    def _tokens(self) -> Iterator[Token]:
        for token in _lark().lex(self.source.text):
            span = self._span(token)
            match token.type:
                case "BAD_NUMBER":
                    self._bad_number(token, span)
                    yield Token.new_borrow_pos("INT", "1", token)
                case "BAD_STRING":
                    hint = 'strings end on the line they begin on: "like this"'
                    self._error("E0107", "this string is not closed", span, label='no closing `"`', help=hint)
                    yield Token.new_borrow_pos("STRING", '""', token)
                case "BAD_CHARACTER":
                    self._bad_character(token, span)
                case _:
                    yield token

    def _bad_number(self, token: Token, span: Span) -> None:
        text = str(token)
        hint = ""
        if "x" in text.lower():
            hint = "sizes are written with numbers, 3x3 or 227x227x3; with names as a tuple, (k, k) or [h, w, c]"
        elif text[:1].isdigit():
            hint = "names begin with a letter; exponents are written 5e-4"
        self._error("E0111", f"`{text}` is not a number", span, help=hint)

    def _bad_character(self, token: Token, span: Span) -> None:
        hints = {
            "→": "write `->`",
            "'": 'strings are written with double quotes: "like this"',
            ";": "nothing ends a layer: `->` or a new line feeds the next one",
            "=": "",
            "“": 'strings are written with plain quotes: "like this"',
            "!": "write `not`, or `!=`",
            "&": "write `and`",
            "|": "write `or`",
        }
        code = f"U+{ord(token[0]):04X}"
        shown = f"`{token}`" if token.isprintable() else code
        # A run of garbage is one mistake: binary files would otherwise give thousands.
        last = self.errors[-1] if self.errors else None
        if last is not None and last.code == "E0101" and last.span is not None and last.span.end == span.start:
            self.errors[-1] = Diagnostic("E0101", "unexpected characters", last.span.to(span), last.label)
            return
        self._error("E0101", f"unexpected character {shown}", span, help=hints.get(str(token), ""))

    def _error(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        label: str = "",
        labels: tuple[Label, ...] = (),
        help: str = "",  # noqa: A002 - the printed word
    ) -> None:
        self.errors.append(
            Diagnostic(code, message, span, label, labels, help=(help,) if help else ())
        )

    def _span(self, token: Token) -> Span:
        start = token.start_pos or 0
        end = token.end_pos if token.end_pos is not None else start
        return Span(self.source, start, max(end, start))

    # --- one definition --------------------------------------------------------------------------

    def _definition(self, chunk: list[Token]) -> ast.Use | ast.Definition | None:
        first = chunk[0]
        if first.type not in {"USE", "BLOCK", "NETWORK"}:
            guess = did_you_mean(str(first), ("use", "block", "network")) if first.type == "NAME" else None
            if guess is None:
                self._error(
                    "E0106",
                    f"expected `use`, `block` or `network`, found {_shown(first)}",
                    self._span(first),
                    help="layers stand inside a network: network Name { input image [HxWxC] ... }",
                )
                return None
            self._error(
                "E0105", f"`{first}` is not a keyword", self._span(first), help=f"did you mean `{guess}`?"
            )
            chunk = [Token.new_borrow_pos(guess.upper(), guess, first), *chunk[1:]]
        tree = self._feed(chunk)
        if tree is None:
            return None
        return TreeBuilder(self.source, self.errors).definition(tree.children[0])

    def _feed(self, chunk: list[Token]) -> Tree[Token] | None:
        """Feed the automaton; on a token that it refuses, report and repair, or give the definition up."""
        parser = _lark().parse_interactive()
        tokens = self._correct_keywords(chunk)
        for index, token in enumerate(tokens):
            try:
                parser.feed_token(token)
            except UnexpectedInput:
                following = tokens[index + 1] if index + 1 < len(tokens) else None
                repair = self._refused(parser, token, previous=tokens[index - 1], following=following)
                if repair is None:
                    return None
                for each in repair:
                    parser.feed_token(each)
        try:
            result = parser.feed_eof(chunk[-1])
        except UnexpectedInput:
            expected = _expected(parser.accepts())
            end = self._span(chunk[-1])
            self._error(
                "E0106", f"this definition is not complete: expected {expected}", Span(self.source, end.end - 1, end.end)
            )
            return None
        return result if isinstance(result, Tree) else None

    def _refused(
        self, parser: Any, token: Token, *, previous: Token, following: Token | None
    ) -> list[Token] | None:
        """Report a token that cannot stand here; the tokens to feed in its place, or None to give up."""
        accepted = parser.accepts()
        span = self._span(token)
        before = self._span(previous)
        if "COMMA" in accepted and token.type in VALUE_STARTS:
            gap = Span(self.source, before.end, before.end + 1)
            self._error(
                "E0104", "missing `,` between two values", gap, label="expected `,` here",
                labels=(Label(span, "the next value"),),
            )
            return [Token.new_borrow_pos("COMMA", ",", token), token]
        hint = ""
        if token.type == "ARROW":
            hint = "`->` stands between two layers"
        elif token.type == "EQUAL" and str(previous) == "in":
            hint = "comparisons are written `==`"
        elif token.type == "EQUAL" and "COMPARE" in accepted:
            hint = "comparisons are written `==`"
        elif token.type in {"LBRACE"} and previous.type in {"RPAR", "NAME"}:
            hint = "a body in braces needs a keyword or a label in front: `repeat n { ... }`, `name: { ... }`"
        elif str(token) in KEYWORDS:
            hint = f"`{token}` is a keyword; it cannot be a name"
        elif token.type == "INT" and previous.type == "NAME":
            guess = did_you_mean(str(previous), ("repeat", "if"))
            hint = f"did you mean `{guess} {token}`?" if guess else "arguments stand in parentheses: conv(96, 3x3)"
        self._error("E0106", f"expected {_expected(accepted)}, found {_shown(token)}", span, help=hint)
        trial = parser.as_immutable()
        if following is not None and following.type in trial.accepts():
            return []  # without this token the text goes on
        return None

    def _correct_keywords(self, chunk: list[Token]) -> list[Token]:
        """`repaet 3 {` and its like: a name that is nearly a keyword, where only that keyword fits."""
        tokens = list(chunk)
        depth = 0
        for index, token in enumerate(tokens[:-1]):
            depth += {"LPAR": 1, "LSQB": 1, "RPAR": -1, "RSQB": -1}.get(token.type, 0)
            if token.type != "NAME" or depth or index < 2:
                continue
            following = tokens[index + 1]
            if following.line != token.line:
                continue
            match following.type:
                case "INT":
                    options: tuple[str, ...] = ("repeat",)
                case "NAME":
                    options = ("repeat", "if", "input", "output")
                case "LBRACE" if tokens[index - 1].type == "RBRACE":
                    options = ("else",)
                case "NOT" | "LPAR" if following.type == "NOT":
                    options = ("if",)
                case _:
                    continue
            guess = did_you_mean(str(token), options)
            if guess is not None:
                self._error(
                    "E0105", f"`{token}` is not a keyword", self._span(token), help=f"did you mean `{guess}`?"
                )
                tokens[index] = Token.new_borrow_pos(guess.upper(), guess, token)
        return tokens


def _chunks(tokens: list[Token]) -> Iterator[list[Token]]:
    """The tokens of one definition at a time. Brackets are paired already."""
    chunk: list[Token] = []
    depth = 0
    for token in tokens:
        if depth == 0 and chunk and token.type in {"USE", "BLOCK", "NETWORK"}:
            yield chunk
            chunk = []
        chunk.append(token)
        depth += {"LBRACE": 1, "RBRACE": -1, "LPAR": 1, "RPAR": -1, "LSQB": 1, "RSQB": -1}.get(token.type, 0)
        if depth == 0 and (token.type == "RBRACE" or (token.type == "STRING" and chunk[0].type == "USE")):
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _shown(token: Token) -> str:
    text = str(token)
    return f"`{text}`" if len(text) <= 30 else f"`{text[:27]}...`"


def _expected(accepted: set[str]) -> str:
    names = {NAMES_OF_TERMINALS.get(t, f"`{t.lower()}`") for t in accepted if not t.startswith("BAD_")}
    keywords = {"`repeat`", "`if`", "`output`", "`input`"}
    if keywords <= names and "a name" in names:
        # A body: thirty tokens may come; the reader wants the one word.
        names = {"a layer"} | (names & {"`}`"})
    elif "a number" in names and "a string" in names:
        names = {"a value"} | (names & {"`)`", "`]`"})
    elif names & {"a comparison"}:
        names -= {"a comparison", "`+` or `-`", "`*`, `/`, `//` or `%`", "`and`", "`or`", "`.`"}
        names = names or {"an operator"}
    ordered = sorted(names)
    return ordered[0] if len(ordered) == 1 else ", ".join(ordered[:-1]) + " or " + ordered[-1]
