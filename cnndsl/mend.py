"""Naming and mending the slips of a text that the parser has refused.

Lark decides whether a text is valid; this walk only explains why one is not. It follows the grammar of
``grammars/cnn.lark`` by hand, so that at every place it knows what was being written, and it writes the
tokens that were meant, so that one slip does not hide the next. A property test holds that whatever Lark
refuses is reported here, that valid texts pass unchanged, and that Lark accepts what comes out.
"""

from __future__ import annotations

from bisect import bisect_right

from lark import Token

from cnndsl.cursor import Cursor
from cnndsl.errors import Diagnostic, Label, Source, Span, did_you_mean
from cnndsl.mend_bodies import body, misspelt
from cnndsl.mend_values import parameters
from cnndsl.tokens import DEFINITIONS, KEYWORD_TYPES, as_written, not_a_network, span_of


def mend(source: Source, tokens: list[Token], errors: list[Diagnostic]) -> tuple[
    list[Token], list[Diagnostic], bool
]:
    """The tokens that were meant, every error, and whether the tokens are surely those.

    `tokens` have paired brackets; `errors` are those of the lexer and of the pairing. Of these, the ones that
    stand in text that is no part of a network at all are dropped: garbage is one error.
    """
    walk = _Walk(Cursor(source, tokens))
    walk.file()
    kept = [e for e in errors if e.span is None or not walk.is_explained(e.span.start)]
    return walk.c.out, kept + walk.c.errors, walk.c.sure


class _Walk:
    def __init__(self, c: Cursor) -> None:
        self.c = c
        self.garbage: list[tuple[int, int]] = []
        self.explained: set[int] = set()
        """Offsets of tokens that are explained here better than the lexer could."""

    def is_explained(self, offset: int) -> bool:
        """Whether an error of the lexer or the pairing there says nothing new."""
        region = bisect_right(self.garbage, (offset, len(self.c.source.text) + 1)) - 1
        return offset in self.explained or (region >= 0 and offset < self.garbage[region][1])

    # --- files ---------------------------------------------------------------------------------------

    def file(self) -> None:
        c = self.c
        before: tuple[str, Span] | None = None
        while c.kind():
            if c.kind() not in DEFINITIONS and not self.misspelt_definition():
                self.outside(before)
            elif c.kind() == "USE":
                self.use()
            else:
                before = self.definition()

    def misspelt_definition(self) -> bool:
        """Whether `netwrok Net {` stands here; the keyword is then corrected, and ready to be read."""
        c = self.c
        if c.kind() != "NAME":
            return False
        word = str(c.token())
        guess: str | None = None
        if c.kind(1) == "STRING":
            guess = _USE.get(word.lower()) or did_you_mean(word, ("use",))
        elif c.kind(1) == "NAME" and c.on_same_line(1):
            guess = did_you_mean(word, ("network", "block"))
            if guess is None and c.kind(2) in {"LPAR", "LBRACE"}:
                guess = _DEFINITIONS.get(word.lower())
        if guess is None:
            return False
        misspelt(c, guess)
        return True

    def outside(self, before: tuple[str, Span] | None) -> None:
        """What stands outside of every definition: one error, up to the next definition."""
        c = self.c
        first, start = c.token(), c.span().start
        kind, inside = c.kind(), c.kind(1) in {"LPAR", "COLON", "ARROW", "LBRACE"}
        if before is not None:
            name, end = before
            c.error(
                "E0114", f"{as_written(c.source, first)} stands outside of every network and block", c.span(),
                labels=(Label(end, f"{name} ends here"),), hint="move it inside, or make it a comment with `#`",
            )
        elif kind == "INPUT" or (kind == "NAME" and inside and c.kind(2) != "STRING"):
            c.error(
                "E0114", f"{as_written(c.source, first)} stands outside of every network and block", c.span(),
                hint="layers stand inside a network: network Name { input image [224x224x3] ... }",
            )
        else:
            c.errors.append(not_a_network(c.source, first))
        while True:
            c.skip()
            if not c.kind() or (c.kind() in DEFINITIONS and not c.on_same_line()):
                break
        end_ = c.span().start if c.kind() else len(c.source.text) + 1
        self.garbage.append((start, end_))

    def use(self) -> None:
        c = self.c
        c.take()
        if c.kind() == "STRING":
            c.take()
            return
        if c.kind() == "NAME" and c.on_same_line():
            span = c.span()
            c.insert("STRING", '""')
            while c.kind() not in DEFINITIONS | {""} and c.on_same_line():
                span = span.to(c.span())
                c.skip()
            c.error("E0115", "the file to use stands in double quotes", span, hint=f'write use "{span.text}"')
        else:
            c.error("E0106", f"expected the name of a file behind `use`, found {c.found()}", c.span(-1))
            c.invent("STRING", '""')
        c.sure = False

    def definition(self) -> tuple[str, Span]:
        """A block or network; what it is called in words, and where it ends."""
        c = self.c
        kind = str(c.take())
        self.definition_name(kind)
        name = f"{kind} `{c.out[-1]}`"
        if c.kind() == "LPAR":
            parameters(c)
        if c.kind() == "COLON" and c.kind(1) == "LBRACE":
            c.error("E0106", "no `:` stands between a name and its body", c.span())
            c.drop()
        if c.kind() == "LBRACE":
            return name, body(c, name)
        if c.kind() in DEFINITIONS | {""} or not c.on_same_line():
            c.error("E0102", f"{name} has no body", c.gap(), label="expected `{`")
        else:
            c.error("E0106", f"expected `(` or `{{`, found {c.found()}", c.span())
        start = c.span().start if c.kind() else len(c.source.text)
        while c.kind() not in DEFINITIONS | {"", "LBRACE"}:
            c.skip()
        if c.kind() == "LBRACE":
            return name, body(c, name)
        self.garbage.append((start, c.span().start if c.kind() else len(c.source.text) + 1))
        end = c.span(-1)
        c.invent("LBRACE", "{")
        c.invent("RBRACE", "}")
        return name, end

    def definition_name(self, kind: str) -> None:
        c = self.c
        if c.kind() == "NAME":
            name = c.take()
            if (c.kind() == "SIGN" and c.touches()) or c.kind() == "DOT":
                span = span_of(c.source, name)
                while c.touches() and c.kind() not in {"LBRACE", "LPAR"}:
                    span = span.to(c.span())
                    c.drop()
                hint = f"write {''.join(ch if ch.isalnum() else '_' for ch in span.text)}"
                c.error(
                    "E0106", f"`{span.text}` is not a name: it is made of letters, digits and `_`", span,
                    hint=hint
                )
        elif c.kind() in KEYWORD_TYPES and c.kind(1) in {"LBRACE", "LPAR"}:
            c.keyword(f"the name of a {kind}")
        elif c.kind() in {"INT", "DIMS"}:
            c.error("E0106", f"{c.found()} is not a name: names begin with a letter", c.span())
            self.explained.add(c.span().start)
            c.take_as("NAME", "_bad")
        elif c.kind() == "STRING":
            c.error("E0115", "names stand without quotes", c.span(), hint=f"write {str(c.token())[1:-1]}")
            c.take_as("NAME", "_bad")
        else:
            c.error("E0106", f"this {kind} has no name", c.span(-1), hint=f"write {kind} Name {{ ... }}")
            c.insert("NAME", "_unnamed")


_USE = {"import": "use", "include": "use", "from": "use", "using": "use", "require": "use"}
_DEFINITIONS = {
    "net": "network", "model": "network", "module": "network", "class": "network", "graph": "network",
    "def": "block", "function": "block", "fn": "block", "macro": "block", "layer": "block",
    "template": "block",
}
