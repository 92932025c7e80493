"""The text of a ``.cfg`` file: sections, each with its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cnndsl.errors import CnnError, problem

MAX_SECTIONS = 10_000
"""Layers of one file; the largest published network, Darknet-53 with its heads, has 107."""


@dataclass
class Section:
    """One section: its name, the line that it begins on, and its options, which are struck out as they are read."""

    name: str
    line: int
    options: dict[str, tuple[str, int]] = field(default_factory=dict)

    def text(self, key: str, default: str) -> str:
        """The value of an option."""
        return self.options.pop(key, (default, 0))[0]

    def integer(self, key: str, default: int) -> int:
        """An option that is a whole number. Raises `SectionError`."""
        return int(self._number(key, default, int))

    def real(self, key: str, default: float) -> float:
        """An option that is a number. Raises `SectionError`."""
        return self._number(key, default, float)

    def integers(self, key: str) -> list[int]:
        """An option that is a list of whole numbers. Raises `SectionError`."""
        text = self.text(key, "")
        try:
            return [int(part) for part in text.split(",") if part]
        except ValueError:
            raise SectionError(f"{key}={text[:40]} is not a list of whole numbers") from None

    def _number(self, key: str, default: float, kind: Callable[[str], float]) -> float:
        text, line = self.options.pop(key, (None, 0))
        if text is None:
            return default
        try:
            value = kind(text)
        except ValueError:
            noun = "a whole number" if kind is int else "a number"
            raise SectionError(f"{key}={text[:40]} on line {line} is not {noun}") from None
        if not abs(value) < 2**31:
            raise SectionError(f"{key}={text[:40]} on line {line} is too large")
        return value


class SectionError(Exception):
    """What is wrong with a section; `outside` is whether it is right but nothing here computes it."""

    def __init__(self, text: str, *, outside: bool = False, help: str | None = None) -> None:  # noqa: A002
        super().__init__(text)
        self.outside, self.help = outside, help


def sections_of(text: str, path: Path) -> list[Section]:
    """The sections of a file, ``[net]`` first. Raises CnnError E0821."""

    def broken(reason: str) -> CnnError:
        return problem("E0821", f"{path} is not a network of Darknet: {reason}")

    sections: list[Section] = []
    for number, raw in enumerate(text.splitlines(), 1):
        # Darknet drops every blank within a line, too.
        line = "".join(raw.split())
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            if not line.endswith("]"):
                raise broken(f"line {number} begins a section with `[` and does not end it")
            sections.append(Section(line[1:-1].lower(), number))
            if len(sections) > MAX_SECTIONS:
                raise broken(f"more than {MAX_SECTIONS:,} sections")
            continue
        key, equals, value = line.partition("=")
        if not equals or not key:
            raise broken(f"line {number} is neither `[section]` nor `option=value`")
        if not sections:
            raise broken(f"line {number} stands before the first section")
        sections[-1].options.setdefault(key, (value, number))  # of two, Darknet takes the first
    if not sections or sections[0].name not in {"net", "network"}:
        found = f"[{sections[0].name}]" if sections else "nothing"
        raise broken(f"it must begin with [net], found {found}")
    return sections
