"""Places along a layer for nodes in a given order.

After Brandes and Koepf, "Fast and Simple Horizontal Coordinate Assignment" (Graph Drawing 2001): nodes are aligned
with their median neighbours to blocks that share a line, four times (from above and from below, from the left and
from the right); each time the blocks are pushed together; the mean of the two middle results is taken. Widths and
ports as in Rueegg and others, "Size- and Port-Aware Horizontal Node Coordinate Assignment" (Graph Drawing 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(slots=True)
class Segment:
    """A piece of a value's way: from a node to one in the next layer, with the offsets of its ends in both.

    Of two that cannot both be straight, the one of the higher `rank` is: the spine of a network (2) goes before long
    ways past other nodes (1), and these before the rest (0).
    """

    upper: int
    lower: int
    value: int
    slot: int
    upper_at: float
    lower_at: float
    rank: int = 0


Edge = tuple[int, int, float, float, int]
"""Upper and lower node, the offsets of both ends, and the rank."""


def place(
    layers: Sequence[Sequence[int]],
    segments: Sequence[Segment],
    *,
    widths: Sequence[float],
    apart: Callable[[int, int], float],
) -> list[float]:
    """The left side of every node. `apart` is the room that two neighbours of a layer need between them."""
    edges = _alignable(segments)
    results: list[list[float]] = []
    for upward in (False, True):
        for mirrored in (False, True):
            turned = [list(reversed(layer)) if mirrored else list(layer) for layer in layers]
            if upward:
                turned.reverse()
            turned_edges = [_turned(edge, widths, upward=upward, mirrored=mirrored) for edge in edges]
            x = _place_once(turned, turned_edges, widths, apart)
            results.append([-a - w for a, w in zip(x, widths, strict=True)] if mirrored else x)
    return _balanced(results, widths)


def _alignable(segments: Sequence[Segment]) -> list[Edge]:
    """The segments that may become straight: at both ends none of a higher rank ends."""
    upper: dict[int, int] = {}
    lower: dict[int, int] = {}
    for s in segments:
        upper[s.upper] = max(upper.get(s.upper, 0), s.rank)
        lower[s.lower] = max(lower.get(s.lower, 0), s.rank)
    return [
        (s.upper, s.lower, s.upper_at, s.lower_at, s.rank)
        for s in segments
        if s.rank == upper[s.upper] == lower[s.lower]
    ]


def _turned(edge: Edge, widths: Sequence[float], *, upward: bool, mirrored: bool) -> Edge:
    u, v, a, b, rank = edge
    if mirrored:
        a, b = widths[u] - a, widths[v] - b
    return (v, u, b, a, rank) if upward else (u, v, a, b, rank)


def _place_once(
    layers: list[list[int]], edges: list[Edge], widths: Sequence[float], apart: Callable[[int, int], float]
) -> list[float]:
    """One of the four: aligned with the neighbours above, from the left, and as far left as blocks go."""
    position = {v: i for layer in layers for i, v in enumerate(layer)}
    above: dict[int, list[Edge]] = {}
    for edge in edges:
        above.setdefault(edge[1], []).append(edge)
    for found in above.values():
        found.sort(key=lambda e: (position[e[0]], e[2]))
    blocked = _blocked(layers, above, position, rank=1) | _blocked(layers, above, position, rank=2)
    root = list(range(len(widths)))
    shift = [0.0] * len(widths)
    for layer in layers[1:]:
        last = -1
        for v in layer:
            around = above.get(v, [])
            for u, _, a, b, _ in around[(len(around) - 1) // 2 : len(around) // 2 + 1]:
                if root[v] == v and (u, v) not in blocked and position[u] > last:
                    root[v], shift[v] = root[u], shift[u] + a - b
                    last = position[u]
    return _compacted(layers, root, shift, widths=widths, apart=apart)


def _blocked(
    layers: list[list[int]], above: dict[int, list[Edge]], position: dict[int, int], *, rank: int
) -> set[tuple[int, int]]:
    """The segments that cross one of a rank, of a lower one: they give way."""
    blocked: set[tuple[int, int]] = set()
    for upper, lower in pairwise(layers):
        left, start = 0, 0
        for i, v in enumerate(lower):
            firm = next((e for e in above.get(v, ()) if e[4] == rank), None)
            if firm is None and i < len(lower) - 1:
                continue
            right = position[firm[0]] if firm is not None else len(upper)
            for w in lower[start : i + 1]:
                for u, _, _, _, other in above.get(w, ()):
                    if other < rank and not left <= position[u] <= right:
                        blocked.add((u, w))
            start, left = i + 1, right
    return blocked


def _compacted(
    layers: list[list[int]], root: list[int], shift: list[float], *,
    widths: Sequence[float], apart: Callable[[int, int], float],
) -> list[float]:
    """Blocks as far left as they go, then those with room as far right as their neighbours let them."""
    after: dict[int, list[tuple[int, float]]] = {root[v]: [] for layer in layers for v in layer}
    waiting = dict.fromkeys(after, 0)
    for layer in layers:
        for a, b in pairwise(layer):
            after[root[a]].append((root[b], shift[a] + widths[a] + apart(a, b) - shift[b]))
            waiting[root[b]] += 1
    order = [r for r, count in waiting.items() if count == 0]
    x = dict.fromkeys(after, 0.0)
    for r in order:
        for other, distance in after[r]:
            x[other] = max(x[other], x[r] + distance)
            waiting[other] -= 1
            if waiting[other] == 0:
                order.append(other)
    assert len(order) == len(after), "blocks that cross each other"
    for r in reversed(order):
        if after[r]:
            x[r] = max(x[r], min(x[other] - distance for other, distance in after[r]))
    return [x[root[v]] + shift[v] for v in range(len(root))]


def _balanced(results: list[list[float]], widths: Sequence[float]) -> list[float]:
    """The mean of the two middle places, all results moved to the narrowest one's edges."""
    if not widths:
        return []
    spans = [(min(x), max(a + w for a, w in zip(x, widths, strict=True))) for x in results]
    narrow = min(range(4), key=lambda i: spans[i][1] - spans[i][0])
    for i, x in enumerate(results):
        side = i % 2  # The mirrored ones lie at their right edge.
        move = spans[narrow][side] - spans[i][side]
        results[i] = [a + move for a in x]
    middle = [sum(sorted(places)[1:3]) / 2 for places in zip(*results, strict=True)]
    first = min(middle)
    return [a - first for a in middle]
