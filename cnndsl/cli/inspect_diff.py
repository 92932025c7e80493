"""Two texts of one stage side by side: what differs, but for what differs every time."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from cnndsl.cli import terminal
from cnndsl.cli.inspect_colors import painted
from cnndsl.linemap import LineMap

CONTEXT = 3
"""Lines around a change that are shown."""

_NOISE: dict[str, tuple[tuple[str, str], ...]] = {
    # The header names file, network, target and type, and the digest of what stands below it.
    "source": (
        (r"^# Digest [0-9a-f]+\.", "# Digest."),
        (r"^# For \S+ in \w+, tiles for a batch of \d+", "# For a target"),
        (r'^""".*, compiled from .*', '"""compiled'),
        (r"^(#.*) of \w+$", r"\1"),
        (r"^(\s*#\s+)[\w.<>-]+:\d+(?=  )", r"\1"),
    ),
    # Numbers of values and registers: one more at the beginning renames all that follow.
    "ttir": ((r"(%[A-Za-z][\w-]*?)_\d+\b", r"\1"), (r"%\d+", "%")),
    "llir": ((r"%\d+", "%"), (r"#\d+", "#"), (r"^; ModuleID.*", "")),
    "ptx": ((r"//.*", ""), (r"\$L_*[A-Za-z]*\d+(?:_\d+)?", "$L"), (r"%([a-z]+)\d+", r"%\1")),
    "sass": ((r"^\s+[0-9a-f]{4,}  ", ""), (r"\b(U?[RPB])\d+", r"\1"), (r"\.L_x_\d+", ".L")),
    "amdgcn": ((r"\s*;.*", ""), (r"\b([vsa])(?:\d+|\[\d+:\d+\])", r"\1"), (r"\bL?BB\d+_\d+", "BB")),
}
_NOISE["ttgir"] = _NOISE["ttir"]
# `lines 3-5, blocks.cnn:7`
_PLACE = r"(?:lines? \d+|[^\s:]+\.cnn:\d+)(?:-\d+)?"
_NOISE["graph"] = _NOISE["simplified"] = ((rf"  # {_PLACE}$", ""),)
_NOISE["groups"] = _NOISE["plan"] = ((rf"(?<=  ){_PLACE}(?:, {_PLACE})*$", ""),)


def compared(line: str, stage: str) -> str:
    """What of a line is compared: names of values and registers, places and digests change without a reason."""
    for pattern, replacement in _NOISE.get(stage, ()):
        line = re.sub(pattern, replacement, line)
    # Columns that are wider in one of the texts move all that stands behind them.
    return re.sub(r"(?<=\S)\s+", " ", line.rstrip())


def unified(before: str, after: str, *, titles: tuple[str, str], stage: str) -> list[str]:
    """A unified diff; empty where nothing differs that counts. A line of the context is that of `before`."""
    a, b = before.splitlines(), after.splitlines()
    matcher = SequenceMatcher(None, [compared(x, stage) for x in a], [compared(x, stage) for x in b])
    lines: list[str] = []
    for group in matcher.get_grouped_opcodes(CONTEXT):
        if not lines:
            lines += [f"--- {titles[0]}", f"+++ {titles[1]}"]
        lines.append(f"@@ -{_range(group[0][1], group[-1][2])} +{_range(group[0][3], group[-1][4])} @@")
        for kind, a_start, a_end, b_start, b_end in group:
            if kind == "equal":
                lines.extend(f" {line}" for line in a[a_start:a_end])
            else:
                lines.extend(f"-{line}" for line in a[a_start:a_end])
                lines.extend(f"+{line}" for line in b[b_start:b_end])
    return lines


def paint(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a unified diff, in colours where stdout shows them."""
    shown = terminal.has_color(sys.stdout)
    for number, line in enumerate(lines):
        style = "title" if number < 2 else {"+": "added", "-": "removed", "@": "hunk"}.get(line[:1])
        yield painted(line, style) if shown and style is not None else line


def _range(start: int, end: int) -> str:
    """Lines as the headings of a unified diff number them: the first and how many, or the line before none."""
    return str(start + 1) if end - start == 1 else f"{start + (end > start)},{end - start}"


@dataclass(frozen=True)
class Pair:
    """Kernels of two packages that compute the same layers; None where the other package has no such layer."""

    one: str | None
    other: str | None


def pairs(one: LineMap, other: LineMap, chosen: tuple[Sequence[str], Sequence[str]]) -> Iterator[Pair]:
    """The kernels of two packages by the layers that they compute, each pair once; `chosen` kernels of each alone."""
    seen: dict[Pair, None] = {}
    theirs = {name for kernel in chosen[1] for name in other.kernel(kernel).layers}
    for kernel in chosen[0]:
        names = [name for name in one.kernel(kernel).layers if name in theirs]
        partners = dict.fromkeys(k for name in names for k in other.layer(name).kernels if k in chosen[1])
        for partner in partners:
            seen[Pair(kernel, partner)] = None
        if not partners:
            seen[Pair(kernel, None)] = None
    met = {pair.other for pair in seen}
    yield from seen
    yield from (Pair(None, kernel) for kernel in chosen[1] if kernel not in met)
