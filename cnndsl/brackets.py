"""Pairing the brackets of a token stream before anything else is made of it.

A missing bracket is the slip whose consequences spread furthest, so it is found first, blamed on the right
place (with the help of line ends and indentation, as a reader would) and mended in the stream.
"""

from __future__ import annotations

from collections import Counter

from lark import Token

from cnndsl.errors import Diagnostic, Label, Source, Span
from cnndsl.tokens import DEFINITIONS, inserted, placed, shown, span_of

MAX_DEPTH = 50
"""Brackets within brackets, and `else if` after `else if`. The deepest published network needs six."""

_CLOSERS = {"LBRACE": ("RBRACE", "}"), "LPAR": ("RPAR", ")"), "LSQB": ("RSQB", "]")}
_OPENERS = {"RBRACE": "LBRACE", "RPAR": "LPAR", "RSQB": "LSQB"}
_NAMES = {"RPAR": "parenthesis", "RSQB": "bracket"}
_CONTINUES = frozenset(
    {"COMMA", "EQUAL", "SIGN", "SCALE", "COMPARE", "AND", "OR", "NOT", "LPAR", "LSQB", "DOT"}
)
_VALUES = frozenset({"INT", "FLOAT", "DIMS", "STRING", "TRUE", "FALSE"})


def pair_brackets(source: Source, tokens: list[Token]) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens with every bracket paired, and an error for each that had to be added, dropped or changed.

    When the nesting is too deep (E0108) that is the only error, and the tokens are not to be used.
    """
    too_deep = _too_deep(source, tokens)
    if too_deep is not None:
        return tokens, [too_deep]
    if _is_paired(tokens):
        return tokens, []
    return _Pairing(source, tokens).run()


def _too_deep(source: Source, tokens: list[Token]) -> Diagnostic | None:
    depth = 0
    chains: dict[int, int] = {}
    for previous, token in zip([None, *tokens], tokens, strict=False):
        if token.type in _CLOSERS:
            depth += 1
        elif token.type in _OPENERS:
            depth -= 1
        elif token.type == "IF":
            # Each `else if` stands one deeper in the syntax tree, though no bracket shows it.
            chained = previous is not None and previous.type == "ELSE"
            chains[depth] = chains.get(depth, 0) + 1 if chained else 0
        if depth > MAX_DEPTH:
            message = f"brackets are nested more than {MAX_DEPTH} deep"
            return Diagnostic(
                "E0108", message, span_of(source, token), help=("move the inner part into a block",)
            )
        if token.type == "IF" and chains[depth] > MAX_DEPTH:
            message = f"more than {MAX_DEPTH} `else if` follow each other"
            return Diagnostic(
                "E0108", message, span_of(source, token), help=("move some of them into a block",)
            )
    return None


def _is_paired(tokens: list[Token]) -> bool:
    open_: list[str] = []
    for token in tokens:
        if token.type in _CLOSERS:
            open_.append(_CLOSERS[token.type][0])
        elif token.type in _OPENERS and (not open_ or open_.pop() != token.type):
            return False
    return not open_


class _Pairing:
    """One walk over a stream whose brackets do not pair."""

    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self.source = source
        self.tokens = tokens
        self.out: list[Token] = []
        self.open: list[Token] = []
        self.errors: list[Diagnostic] = []
        counts = Counter(token.type for token in tokens)
        self.missing = counts["LBRACE"] - counts["RBRACE"]
        """Closing braces that the text lacks, less those that are too many. Kept up as they are mended."""
        self.indents: dict[int, int] = {}
        for token in tokens:
            self.indents.setdefault(token.line or 0, token.column or 0)
        self.tuples: set[int] = set()
        """Offsets of the `(` that begin a value and not a layer's arguments."""

    def run(self) -> tuple[list[Token], list[Diagnostic]]:
        if self.missing < 0:
            self.tokens = self._with_missing_openers()
        for index, token in enumerate(self.tokens):
            following = self.tokens[index + 1] if index + 1 < len(self.tokens) else None
            while self.open and self.open[-1].type != "LBRACE" and self._ends_parentheses(
                token, index, following
            ):
                self._close()
            if self.missing > 0 and self._begins_definition(token, following):
                self._close_body(token)
            if token.type in _CLOSERS:
                self.open.append(token)
                if token.type == "LPAR" and self.out and self.out[-1].type in {"COMMA", "EQUAL", "LPAR"}:
                    self.tuples.add(token.start_pos or 0)
                self.out.append(token)
            elif token.type == "RBRACE":
                if self._closing_brace(token, following):
                    self.out.append(token)
            elif token.type in _OPENERS:
                self.out.extend(self._closing_parenthesis(token))
            else:
                self.out.append(token)
        self._close_body(None)
        return self.out, self.errors

    # --- helpers -------------------------------------------------------------------------------------

    def _span(self, token: Token) -> Span:
        return span_of(self.source, token)

    def _after(self, token: Token) -> Span:
        end = token.end_pos or 0
        return Span(self.source, end, end + 1)

    def _first_on_line(self, token: Token) -> bool:
        return self.indents[token.line or 0] == token.column

    def _indent(self, token: Token) -> int:
        return self.indents[token.line or 0]

    def _error(
        self, code: str, message: str, span: Span, *, label: str = "", labels: tuple[Label, ...] = (),
        hint: str = ""
    ) -> None:
        if not (self.errors and self.errors[-1].span == span):  # one place, one error: `dense(((10`
            self.errors.append(Diagnostic(code, message, span, label, labels, help=(hint,) if hint else ()))

    # --- braces --------------------------------------------------------------------------------------

    def _with_missing_openers(self) -> list[Token]:
        """Where `}` are too many: the headers (``repeat 2``) that lack their `{` get one."""
        out: list[Token] = []
        wanted: set[int] = set()
        for index, token in enumerate(self.tokens):
            out.append(token)
            end = self._header_end(index)
            if end is not None:
                wanted.add(end)
            if index in wanted and self.missing < 0:
                self.missing += 1
                out.append(inserted("LBRACE", "{", token))
                message = "missing `{` at the beginning of a body"
                self._error("E0102", message, self._after(token), label="expected `{`")
        return out

    def _header_end(self, index: int) -> int | None:
        """The last token of a header that no `{` follows."""
        tokens, token = self.tokens, self.tokens[index]
        end = index + 1
        match token.type:
            case "NETWORK" | "BLOCK" | "OUTPUT":
                if end >= len(tokens) or tokens[end].type != "NAME":
                    return None
                if end + 1 < len(tokens) and tokens[end + 1].type == "LPAR" and token.type != "OUTPUT":
                    while end + 1 < len(tokens) and tokens[end].type != "RPAR" and tokens[
                        end
                    ].type != "LBRACE":
                        end += 1
            case "ELSE":
                if end < len(tokens) and tokens[end].type == "IF":
                    return None
                end = index
            case "REPEAT" | "IF":
                if end >= len(tokens) or tokens[end].type in {"COLON", "EQUAL"}:
                    return None
                while end + 1 < len(tokens) and tokens[end + 1].line == token.line and tokens[
                    end
                ].type != "LBRACE":
                    end += 1
            case _:
                return None
        braced = tokens[end].type == "LBRACE" or (end + 1 < len(tokens) and tokens[end + 1].type == "LBRACE")
        return None if braced else end

    def _begins_definition(self, token: Token, following: Token | None) -> bool:
        if token.type not in DEFINITIONS or not self.open or following is None:
            return False
        return self._first_on_line(token) and following.type in {"NAME", "STRING"}

    def _close_body(self, at: Token | None) -> None:
        """Close all that is open at a definition's keyword or the end: one forgotten brace is one error."""
        reported = False
        while self.open:
            if self.open[-1].type != "LBRACE":
                self._close()
                continue
            opener = self.open.pop()
            if not reported:
                reported = True
                self._unclosed_brace(opener, at, "comes before it is closed" if at is not None else "")
            self.missing -= 1
            self.out.append(inserted("RBRACE", "}", self.out[-1]))

    def _unclosed_brace(self, opener: Token, at: Token | None, what: str) -> None:
        labels = (Label(self._span(at), f"{shown(at)} {what}"),) if at is not None else ()
        self._error(
            "E0102", "this `{` is never closed", self._span(opener), labels=labels,
            label="opened here" if at is not None else "the file ends before it is closed",
            hint="add the missing `}`" if at is None else f"add `}}` above line {at.line}",
        )

    def _closing_brace(self, token: Token, following: Token | None) -> bool:
        """Pair a `}`; False when it is dropped."""
        while self.open and self.open[-1].type != "LBRACE":
            self._close()
        first = self._first_on_line(token)
        column = token.column or 0
        while self.missing > 0 and len(self.open) > 1 and first and self._indent(self.open[-1]) > column:
            # The `}` stands further left than the line that the innermost `{` is on: it is not meant for that
            # one.
            self.missing -= 1
            self._unclosed_brace(self.open.pop(), token, "closes a body further out")
            self.out.append(inserted("RBRACE", "}", self.out[-1]))
            while self.open and self.open[-1].type != "LBRACE":
                self._close()
        if not self.open:
            self.missing += 1
            self._error("E0102", "this `}` closes nothing", self._span(token), label="no `{` is open here")
            return False
        opener = self.open[-1]
        if self.missing < 0 and opener.line != token.line and self._is_surplus(token, opener, following):
            self.missing += 1
            labels = (Label(self._span(opener), "it would close this one"),)
            self._error(
                "E0102", "this `}` is one too many", self._span(token), labels=labels,
                label="the lines below would stand outside",
            )
            return False
        self.open.pop()
        return True

    def _is_surplus(self, token: Token, opener: Token, following: Token | None) -> bool:
        """Whether indentation shows that a `}` is not the one that its `{` waits for."""
        if self._first_on_line(token):
            return self._indent(opener) != token.column
        return following is not None and self._indent(following) > self._indent(opener)

    # --- parentheses and brackets ----------------------------------------------------------------------

    def _close(self) -> None:
        """Close the innermost `(` or `[`, which the text leaves open."""
        opener, last = self.open.pop(), self.out[-1]
        kind, text = _CLOSERS[opener.type]
        self._error(
            "E0103", f"missing closing {_NAMES[kind]} `{text}`", self._after(last),
            label=f"expected `{text}`",
            labels=(Label(self._span(opener), "opened here"),),
        )
        self.out.append(inserted(kind, text, last))

    def _closing_parenthesis(self, token: Token) -> list[Token]:
        """What a `)` or `]` becomes: itself, the one that fits, or nothing."""
        inner = []
        for opener in reversed(self.open):
            if opener.type == "LBRACE":
                break
            inner.append(opener.type)
        if _OPENERS[token.type] in inner:
            while self.open[-1].type != _OPENERS[token.type]:
                self._close()
            self.open.pop()
            return [token]
        if inner:
            opener = self.open.pop()
            kind, text = _CLOSERS[opener.type]
            labels = (Label(self._span(opener), "opened here"),)
            message = f"`{opener}` is closed by `{token}`"
            self._error("E0103", message, self._span(token), label=f"expected `{text}`", labels=labels)
            return [placed(kind, text, token)]
        if self._with_opener(token):
            return [token]
        opener_text = {"RPAR": "(", "RSQB": "["}[token.type]
        again = self.out and self.out[-1].type == token.type
        message = f"this `{token}` is one too many" if again else f"this `{token}` closes nothing"
        self._error("E0103", message, self._span(token), label=f"no `{opener_text}` is open here")
        return []

    def _with_opener(self, closer: Token) -> bool:
        """``conv 64, 3x3)`` and ``input image 32x32x3]``: put the opening one where the values begin."""
        start = len(self.out)
        while start > 0 and self.out[start - 1].line == closer.line and self.out[start - 1].type not in {
            "ARROW", "RPAR", "RSQB", "LBRACE", "RBRACE", "COLON"
        }:
            start -= 1
        for index in range(start, len(self.out) - 1):
            before, value = self.out[index], self.out[index + 1]
            if before.type == "NAME" and value.type in _VALUES:
                opener = inserted(_OPENERS[closer.type], {"RPAR": "(", "RSQB": "["}[closer.type], before)
                name = _NAMES[closer.type]
                self._error(
                    "E0103", f"missing opening {name} `{opener}`", self._after(before),
                    label=f"expected `{opener}`",
                    labels=(Label(self._span(closer), "closed here"),),
                )
                self.out.insert(index + 1, opener)
                return True
        return False

    def _tuple_ends_here(self, comma: int) -> bool:
        """``pad=(1, 1, stride=2)``: a tuple holds no named argument, so it should have ended there."""
        named = [t.type for t in self.tokens[comma + 1 : comma + 3]] == ["NAME", "EQUAL"]
        return named and len(self.open) > 1 and self.open[-1].start_pos in self.tuples

    def _ends_parentheses(self, token: Token, index: int, following: Token | None) -> bool:
        """Whether a token shows that the innermost `(` or `[` should have been closed before it."""
        previous, opener = self.out[-1], self.open[-1]
        if token.type == "ARROW":
            return True
        if token.type == "LBRACE":
            return previous.type not in {"LPAR", "COMMA", "RBRACE", "COLON"}
        if opener.type == "LSQB" and token.type == "LPAR" and previous.type in {"DIMS", "INT", "NAME"}:
            return True
        if token.type == "COMMA" and self._tuple_ends_here(index):
            return True
        begins_line = token.line != previous.line
        if not begins_line or previous.type in _CONTINUES:
            return False
        if token.type in {"REF", "LSQB", "REPEAT", "IF", "ELSE", "INPUT", "OUTPUT", *DEFINITIONS}:
            return True
        # `name = value` on a new line is an argument after a missing comma; anything else is the next layer.
        return token.type in {"NAME", "INT"} and (
            following is None
            or following.type in {"COLON", "LPAR", "ARROW", "NAME", "LBRACE", "RBRACE"}
            or (following.line != token.line and following.type not in {"COMMA", "RPAR", "RSQB"})
        )
