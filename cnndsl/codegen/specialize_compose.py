"""Text with parts of it replaced, and parentheses where they are needed."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnndsl.codegen.specialize_source import Module
from cnndsl.codegen.specialize_values import TUPLE, Piece


@dataclass(frozen=True)
class Slot:
    """A part of an expression, and what to write for it.

    strength   what an operator here must have to stand without parentheses.
    within     the characters among which the author's parentheses around it are looked for.
    """

    node: ast.expr
    piece: Piece
    strength: int
    within: tuple[int, int]


def composed(module: Module, bounds: tuple[int, int], slots: Sequence[Slot]) -> str:
    """A range of a module's text with parts of it replaced.

    Parentheses that the author put around a part stay, unless the part has become something else.
    """
    text = module.source.text
    at, end = bounds
    written: list[str] = []
    for slot in sorted(slots, key=lambda s: module.offsets(s.node)[0]):
        inner = module.offsets(slot.node)
        outer = _with_parentheses(text, inner, slot.within)
        weak = slot.piece.strength < slot.strength or _spans_lines_bare(slot.piece.text)
        if outer != inner and not (slot.piece.changed and not weak):
            outer, replacement = inner, slot.piece.text
        else:
            replacement = f"({slot.piece.text})" if weak and slot.strength > TUPLE else slot.piece.text
        written += [text[at : outer[0]], replacement]
        at = outer[1]
    return "".join([*written, text[at:end]])


def parenthesised(piece: Piece, strength: int) -> str:
    """The text of a piece where an operator of a strength is needed."""
    return f"({piece.text})" if piece.strength < strength else piece.text


def is_one_bracket(text: str) -> bool:
    """Whether a text is one pair of parentheses with something in them."""
    if not text.startswith("("):
        return False
    first = next(place for place, depth in _depths(text) if depth == 0)
    return first == len(text) - 1


def _with_parentheses(text: str, place: tuple[int, int], within: tuple[int, int]) -> tuple[int, int]:
    """A range together with the parentheses around it."""
    start, end = place
    while True:
        before, after = start - 1, end
        while before >= within[0] and text[before].isspace():
            before -= 1
        while after < within[1] and text[after].isspace():
            after += 1
        if before < within[0] or after >= within[1] or text[before] != "(" or text[after] != ")":
            return start, end
        start, end = before, after + 1


def _spans_lines_bare(text: str) -> bool:
    """Whether a text has a line end outside of brackets."""
    if "\n" not in text:
        return False
    inside = {place for place, depth in _depths(text) if depth > 0}
    return any(character == "\n" and place not in inside for place, character in enumerate(text))


def _depths(text: str) -> Iterator[tuple[int, int]]:
    """The number of brackets that are open behind each character of code; strings and comments have none."""
    depth = 0
    skip = _silent(text) if any(quote in text for quote in "\"'#") else set()
    for place, character in enumerate(text):
        if place not in skip:
            depth += (character in "([{") - (character in ")]}")
        yield place, depth


def _silent(text: str) -> set[int]:
    """The characters of strings and comments."""
    starts = [0, *(place + 1 for place, character in enumerate(f"({text})") if character == "\n")]
    found: set[int] = set()
    # In parentheses, any expression is one logical line.
    for token in tokenize.generate_tokens(io.StringIO(f"({text}\n)").readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            (row, column), (end_row, end_column) = token.start, token.end
            found |= set(range(starts[row - 1] + column - 1, starts[end_row - 1] + end_column - 1))
    return found
