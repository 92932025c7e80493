"""Ways as points: without needless ones, and without what was drawn before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

XY = tuple[float, float]

BEND = 6.0
"""The size of a round corner."""


def straightened(points: Iterable[XY]) -> tuple[XY, ...]:
    """Points without those that lie straight between their neighbours."""
    kept: list[XY] = []
    for x, y in points:
        p = (round(x, 2), round(y, 2))
        if kept and p == kept[-1]:
            continue
        if len(kept) > 1 and (kept[-2][0] == kept[-1][0] == p[0] or kept[-2][1] == kept[-1][1] == p[1]):
            kept[-1] = p
        else:
            kept.append(p)
    return tuple(kept)


class Drawn:
    """What was drawn of the ways of one value, which part like the branches of a tree."""

    def __init__(self) -> None:
        self.reach: dict[tuple[XY, XY], float] = {}
        """How far lines go from a corner in a direction."""

    def rest_of(self, way: Sequence[XY]) -> tuple[XY, ...]:
        """A way from where it leaves those that were drawn, a bend's length before. From now on it is drawn too."""
        lengths = [math.dist(a, b) for a, b in pairwise(way)]
        keys = [
            (a, (round((b[0] - a[0]) / length, 3), round((b[1] - a[1]) / length, 3)))
            for (a, b), length in zip(pairwise(way), lengths, strict=True)
        ]
        known = [self.reach.get(key, 0.0) for key in keys]
        for key, length in zip(keys, lengths, strict=True):
            self.reach[key] = max(self.reach.get(key, 0.0), length)
        last = len(lengths) - 1
        parted = next((i for i in range(last) if known[i] < lengths[i]), last)
        if known[parted] > 0:
            begin = towards(way[parted], way[parted + 1], max(0.0, known[parted] - BEND))
        elif parted > 0:
            parted -= 1
            begin = towards(way[parted], way[parted + 1], max(0.0, lengths[parted] - BEND))
        else:
            begin = way[0]
        return (begin, *way[parted + 1 :])


def towards(start: XY, end: XY, distance: float) -> XY:
    """The point at a distance from one on the way to another."""
    length = max(math.dist(start, end), 0.01)
    return (
        start[0] + (end[0] - start[0]) * distance / length,
        start[1] + (end[1] - start[1]) * distance / length,
    )
