"""The order of nodes within their layers: few crossings, and else the order of the text.

Barycentre sweeps as in Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System
Structures" (1981): each layer is sorted by the mean place of its neighbours in the layer before, down and up in turn,
and the best order met is kept. Crossings are counted as inversions, after Barth, Juenger and Mutzel, "Simple and
Efficient Bilayer Cross Counting" (2002).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from cnndsl.draw.place import Segment

_SWEEPS = 12


def order(
    layers: Sequence[Sequence[int]],
    segments: Sequence[Segment],
    *,
    widths: Sequence[float],
    owner: dict[int, int],
    rank: Callable[[int], tuple[int, ...]],
) -> list[list[int]]:
    """The layers, each in its order. Those with an `owner` stand right behind it. `rank` orders what else is equal."""
    below: list[list[Segment]] = [[] for _ in widths]
    above: list[list[Segment]] = [[] for _ in widths]
    for s in segments:
        below[s.upper].append(s)
        above[s.lower].append(s)
    units: list[list[list[int]]] = []
    for layer in layers:
        unit_of = {v: [v] for v in layer if v not in owner}
        for v in layer:
            if v in owner:
                unit_of[owner[v]].append(v)
                unit_of[owner[v]][1:] = sorted(unit_of[owner[v]][1:], key=rank)
        units.append(sorted(unit_of.values(), key=lambda unit: rank(unit[0])))

    def lower_end(s: Segment) -> float:
        # Arrows into a box are sorted by where they come from, so that they never cross in front of it.
        return s.lower_at / widths[s.lower] if s.lower_at >= 0 and widths[s.lower] > 0 else 0.5

    def upper_end(s: Segment) -> float:
        return s.upper_at / widths[s.upper] if widths[s.upper] > 0 else 0.5

    def places(layer: list[list[int]]) -> dict[int, int]:
        return {v: i for i, v in enumerate(v for unit in layer for v in unit)}

    def crossings(arranged: list[list[list[int]]]) -> int:
        total = 0
        for upper, lower in pairwise(arranged):
            at, to = places(upper), places(lower)
            ends = sorted(
                (at[u] + upper_end(s), to[s.lower] + lower_end(s)) for unit in upper for u in unit for s in below[u]
            )
            total += _inversions(ends)
        return total

    def swept(arranged: list[list[list[int]]], *, upward: bool) -> list[list[list[int]]]:
        result = list(arranged)
        numbers = range(len(result) - 2, -1, -1) if upward else range(1, len(result))
        for i in numbers:
            at = places(result[i + 1 if upward else i - 1])
            keys: list[float] = []
            for unit in result[i]:
                if upward:
                    near = [at[s.lower] + lower_end(s) for v in unit for s in below[v]]
                else:
                    near = [at[s.upper] + upper_end(s) for v in unit for s in above[v]]
                # A node without neighbours keeps to the one on its left.
                keys.append(sum(near) / len(near) if near else keys[-1] if keys else -1.0)
            ranked = sorted(range(len(keys)), key=keys.__getitem__)
            result[i] = [result[i][k] for k in ranked]
        return result

    current = best = swept(units, upward=False)
    least = crossings(best)
    stale = 0
    for turn in range(_SWEEPS):
        if least == 0 or stale == 4:
            break
        current = swept(current, upward=turn % 2 == 0)
        count = crossings(current)
        stale = 0 if count < least else stale + 1
        if count < least:
            best, least = current, count
    return [[v for unit in layer for v in unit] for layer in best]


def _inversions(ends: Sequence[tuple[float, float]]) -> int:
    """Pairs of lines that cross, given by both ends and sorted by the first, then the second."""
    rank = {value: i + 1 for i, value in enumerate(sorted({second for _, second in ends}))}
    tree = [0] * (len(rank) + 1)
    total = 0
    for seen, (_, second) in enumerate(ends):
        i, smaller = rank[second], 0
        while i > 0:
            smaller += tree[i]
            i -= i & -i
        total += seen - smaller
        i = rank[second]
        while i < len(tree):
            tree[i] += 1
            i += i & -i
    return total
