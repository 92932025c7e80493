"""What is wrong with the text of a ``.prototxt`` file, at its place and in words about that file."""

from __future__ import annotations

import re

from cnndsl.errors import CnnError, Diagnostic, Source, Span

_WORDS = tuple((re.compile(rf"(?:^|: ){said}$"), words) for said, words in (
    (r"String missing ending quote: .*", "this string is not closed"),
    (r"Expected string but found: '(.+)'", "a string in quotes is expected, found `{0}`"),
    (r"Couldn't parse string: .*", "a string before this is no text in UTF-8"),
    (r"Couldn't parse integer: (.+)", "a whole number is expected, found `{0}`"),
    (r"Couldn't parse float: (.+)", "a number is expected, found `{0}`"),
    (r"Invalid octal float: (.+)", "a number is expected, found `{0}`"),
    (r"Value out of range: (.+)", "the number {0} is out of range"),
    (r"Expected \"true\" or \"false\"\.", "true or false is expected"),
    (r"Enum type \"\S+\" has no value (?:named|with number) (.+)\.", "`{0}` is none of the values that this may have"),
    (r"Message type \"\S+\" should not have multiple \"(\w+)\" fields\.", "`{0}` is given twice"),
    (r"Expected \"(.)\"\.", "`{0}` is expected"),
    (r"Expected identifier(?: or number)?, got (.+)\.", "a name is expected, found `{0}`"),
    (r"Invalid field value: (.+)", "a value is expected, found `{0}`"),
    (r"Message too deep.*", "it is nested too deeply"),
))  # fmt: skip
"""What protobuf says, and what it means: its words are of classes and enumerations that no user has written."""


def misread(said: str, source: Source, *, line: int | None = None, column: int | None = None) -> CnnError:
    """The mistake (E0821) that protobuf tells of, at a line and column, both from 1, where it knows them."""
    found = ((pattern.search(said[-1000:]), words) for pattern, words in _WORDS)
    place = _place(source, line, column or 1)
    otherwise = "it cannot be read" if place is None else "it cannot be read from here on"
    reason = next((words.format(*(g[:60] for g in match.groups())) for match, words in found if match), otherwise)
    return CnnError((Diagnostic("E0821", f"{source.name} is not a network of Caffe: {reason}", place),))


def _place(source: Source, line: int | None, column: int) -> Span | None:
    """The word at a line and column; None where that is no place of the text."""
    if line is None or not 1 <= line <= len(source.line_starts):
        return None
    start = min(source.line_starts[line - 1] + max(column, 1) - 1, len(source.text))
    word = re.compile(r"\w+|[^\w\s]").match(source.text, start)
    return Span(source, start, word.end() if word else start)
