"""How wide a text is, without a font.

A drawing names no font file: it is shown in the reader's own sans-serif. The widths here are those of the widest of
the usual ones for every character (DejaVu Sans for most, Liberation Sans and Aileron for a few), rounded up, so that
a text fits its box in all of them.
"""

from __future__ import annotations

import unicodedata

_WIDTHS = {
    0.30: "'ijlI",
    0.34: " ,./:;\\|",
    0.40: "-()[]ft",
    0.46: '!"r',
    0.56: "`szJc?_*",
    0.60: "kvxyL",
    0.64: "$0123456789{}abdeghnopquFT",
    0.69: "ABEKPSVXYZ",
    0.76: "CRUNH",
    0.80: "&DGOQ",
    0.88: "#+<=>^~wM",
    1.02: "%mW@",
}
_OF = {character: width for width, characters in _WIDTHS.items() for character in characters}

BOLD = 1.27
"""The most that a bold letter is wider than a regular one."""


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Pixels that a text of `size` pixels needs at most."""
    return sum(map(_advance, text)) * size * (BOLD if bold else 1.0)


def elided(text: str, most: int) -> str:
    """`text`, its middle left out where it has more than `most` characters."""
    if len(text) <= most:
        return text
    head = (most - 2) // 2
    return f"{text[:head]}...{text[len(text) - (most - 3 - head):]}"


def _advance(character: str) -> float:
    known = _OF.get(character)
    if known is not None:
        return known
    return 1.1 if unicodedata.east_asian_width(character) in "WF" else 0.9
