# ruff: noqa: RUF001 - letters of other scripts are what this is about
"""Names of any script in the letters that the language has."""

from __future__ import annotations

import re
import unicodedata

_LETTERS = {
    "ß": "ss", "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ж": "zh", "з": "z", "и": "i", "к": "k",
    "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f", "х": "kh",
    "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ы": "y", "ь": "", "э": "e", "ю": "yu", "я": "ya",
}  # fmt: skip
"""Letters whose name in Unicode is not how they are written in ASCII."""

_NAMED = re.compile(r"[A-Z ]* (?:LETTER|LIGATURE|SYLLABLE) (.+?)(?: WITH .*)?")
"""LATIN SMALL LETTER O WITH STROKE, GREEK SMALL LETTER ALPHA, HIRAGANA LETTER KA."""


def in_latin(name: str) -> str:
    """`name` with its letters and digits in ASCII: ``Grosse`` for ``Große``, ``svertka`` for ``свёртка``.

    Marks are left out, other letters are spelt, and a sign that stands for a word becomes its number (``u4e2d``).
    What is neither a letter nor a digit stays. Different names may become the same.
    """
    if name.isascii():
        return name
    return "".join(map(_spelt, unicodedata.normalize("NFC", name)))


def _spelt(character: str) -> str:
    if character.isascii() or not character.isalnum():
        return "" if unicodedata.category(character).startswith("M") else character
    bare = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.category(c).startswith("M"))
    if bare.isascii() and bare.isalnum():
        return bare
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    if len(bare) == 1:
        character = bare  # without its marks
    small = character.lower()
    spelt = _LETTERS.get(small)
    if spelt is None:
        named = _NAMED.fullmatch(unicodedata.name(character, ""))
        spelt = re.sub("[^A-Z]", "", named[1]).lower() if named else f"u{ord(character):x}"
    return spelt.capitalize() if character != small else spelt
