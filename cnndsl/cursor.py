"""A cursor over the tokens of a text that is not valid, for naming and mending its slips."""

from __future__ import annotations

from lark import Token

from cnndsl.errors import Diagnostic, Label, Source, Span
from cnndsl.tokens import as_written, inserted, placed, span_of

_OPEN = {"LBRACE", "LPAR", "LSQB"}
_CLOSE = {"RBRACE", "RPAR", "RSQB"}

VALUE_STARTS = frozenset({"INT", "FLOAT", "STRING", "DIMS", "REF", "NAME", "TRUE", "FALSE", "LPAR"})


class Cursor:
    """Walks over tokens whose brackets are paired, writing to `out` the tokens that were meant.

    `sure` turns False once something had to be left out: `out` is then good for going on, not for compiling.
    """

    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self.source = source
        self.tokens = tokens
        self.at = 0
        self.out: list[Token] = []
        self.errors: list[Diagnostic] = []
        self.sure = True
        self.partner: dict[int, int] = {}
        """For each opening bracket, where it closes."""
        open_: list[int] = []
        for index, token in enumerate(tokens):
            if token.type in _OPEN:
                open_.append(index)
            elif token.type in _CLOSE:
                self.partner[open_.pop()] = index

    def kind(self, ahead: int = 0) -> str:
        """The type of a token from here on; empty behind the last one."""
        index = self.at + ahead
        return self.tokens[index].type if index < len(self.tokens) else ""

    def kinds(self, count: int) -> tuple[str, ...]:
        """The types of the next tokens."""
        return tuple(self.kind(ahead) for ahead in range(count))

    def token(self, ahead: int = 0) -> Token:
        """A token from here on, or the last of all."""
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def span(self, ahead: int = 0) -> Span:
        """Where a token from here on stands; behind the end of the text, its last character."""
        if self.at + ahead >= len(self.tokens):
            end = span_of(self.source, self.tokens[-1]).end
            return Span(self.source, end - 1, end)
        return span_of(self.source, self.token(ahead))

    def gap(self) -> Span:
        """The place just behind the token before this one, where something is missing."""
        end = span_of(self.source, self.tokens[self.at - 1]).end
        return Span(self.source, end, end + 1)

    def found(self) -> str:
        """The token here in words."""
        return as_written(self.source, self.token()) if self.kind() else "the end of the text"

    def on_same_line(self, ahead: int = 0) -> bool:
        """Whether a token from here on stands on the line of the one before it."""
        return bool(self.kind(ahead)) and self.token(ahead).line == self.token(ahead - 1).line

    def touches(self, ahead: int = 0) -> bool:
        """Whether no white space parts a token from the one before it."""
        return bool(self.kind(ahead)) and self.token(ahead).start_pos == self.token(ahead - 1).end_pos

    # --- moving --------------------------------------------------------------------------------------

    def take(self) -> Token:
        """Keep the token here and go on."""
        token = self.tokens[self.at]
        self.out.append(token)
        self.at += 1
        return token

    def take_as(self, type_: str, text: str) -> None:
        """Keep the token here as another one."""
        self.out.append(placed(type_, text, self.tokens[self.at]))
        self.at += 1

    def insert(self, type_: str, text: str) -> None:
        """Add a token that is missing here."""
        self.out.append(inserted(type_, text, self.out[-1]))

    def invent(self, type_: str, text: str) -> None:
        """Add a token that nobody can know, only to go on."""
        self.insert(type_, text)
        self.sure = False

    def skip(self) -> None:
        """Leave out what stands here: a token, or a bracket with all that is in it."""
        self.at = self.partner.get(self.at, self.at) + 1
        self.sure = False

    def drop(self) -> None:
        """Leave out a token that means nothing here, and without which the text is what was meant."""
        self.at += 1

    def skip_to_comma(self) -> None:
        """Leave out what follows, up to a comma or the end of this bracket."""
        while self.kind() not in {"COMMA", "RPAR", "RSQB", "RBRACE", ""}:
            self.skip()

    def skip_element(self) -> None:
        """Leave out the rest of a layer: up to `->`, a new line or the end of the body."""
        while self.kind() not in {"ARROW", "RBRACE", ""}:
            self.skip()
            if not self.on_same_line():
                break

    # --- reporting -----------------------------------------------------------------------------------

    def error(
        self, code: str, message: str, span: Span, *, label: str = "", labels: tuple[Label, ...] = (),
        hint: str = ""
    ) -> None:
        """Report a mistake."""
        self.errors.append(Diagnostic(code, message, span, label, labels, help=(hint,) if hint else ()))

    def missing_comma(self, what: str) -> None:
        """Report a missing comma in front of the token here, and add it."""
        labels = (Label(self.span(), f"the next {what}"),)
        self.error(
            "E0104", f"missing `,` between two {what}s", self.gap(), label="expected `,`", labels=labels
        )
        self.insert("COMMA", ",")

    def keyword(self, what: str) -> None:
        """Report a keyword that stands for a name, and keep it as one."""
        word = str(self.token())
        message = f"`{word}` is a keyword, so it cannot be {what}"
        hint = f"take another name, `{word}_` or `the_{word}` for example"
        if what == "a label":
            hint = f'take another name, or write it in quotes: "{word}"'
        self.error("E0112", message, self.span(), hint=hint)
        self.take_as("NAME", f"{word}_")
