"""The finer points of a line: round corners and an arrow's tip."""

from __future__ import annotations

import math
from collections.abc import Iterator

from cnndsl.draw.scene import Line
from cnndsl.draw.ways import BEND, XY, towards

_LENGTH, _HALF = 7.5, 3.2
"""Length and half the width of an arrow's tip."""


def bends(line: Line) -> Iterator[tuple[XY, XY, XY]]:
    """For each corner: where its bend begins, the corner itself, and where the bend ends."""
    points = line.points
    for i, (before, corner, after) in enumerate(zip(points, points[1:], points[2:], strict=False)):
        # Two bends share the line between them; before the first there is none.
        room = math.dist(before, corner) / (1 if i == 0 else 2)
        size = min(BEND, room, math.dist(corner, after) / 2)
        yield towards(corner, before, size), corner, towards(corner, after, size)


def tip(line: Line) -> tuple[tuple[XY, XY, XY], XY]:
    """The corners of the arrow's tip, and the middle of its base, where the line ends."""
    before, end = line.points[-2:]
    length = max(math.dist(before, end), 0.01)
    dx, dy = (end[0] - before[0]) / length, (end[1] - before[1]) / length
    base = towards(end, before, min(_LENGTH, length))
    left = (base[0] - dy * _HALF, base[1] + dx * _HALF)
    right = (base[0] + dy * _HALF, base[1] - dx * _HALF)
    return (end, left, right), base
