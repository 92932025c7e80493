"""Ways between two layers: one track of the channel for each value that turns there.

The horizontal pieces of a channel are given tracks so that no two values share a stretch of line: of two values, one
that begins above the other's end must turn before it. Among the orders that are left, one with few crossings is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnndsl.draw.pieces import PORT

STRAIGHT, SLANTED = -1, -2
"""Tracks of values that need none: those that go straight on, and those that only a slanted line can take along."""

_NEAR = 0.6 * PORT
"""Lines nearer than this look like one."""

_MANY = 80
"""Values in a channel beyond which their crossings are not counted, which takes the square of their number."""


@dataclass(frozen=True)
class Net:
    """A value in a channel: where it comes from above, and all places where it goes below."""

    top: float
    bottoms: tuple[float, ...]

    @property
    def left(self) -> float:
        """The leftmost of all its places."""
        return min(self.top, *self.bottoms)

    @property
    def right(self) -> float:
        """The rightmost of all its places."""
        return max(self.top, *self.bottoms)


def assign_tracks(nets: Sequence[Net]) -> tuple[list[int], int]:
    """The track of each value, from above, STRAIGHT or SLANTED; and how many tracks there are."""
    tracks = [STRAIGHT] * len(nets)
    turning = [i for i, net in enumerate(nets) if net.right - net.left > 0.01]
    before = {i: {j for j in turning if j != i and _must_precede(nets[j], nets[i])} for i in turning}
    if len(turning) > _MANY:
        order, slanted = _ordered(turning, before, {})
    else:
        order, slanted = _ordered(turning, before, {
            (i, j): _crossings(nets[i], nets[j]) for i in turning for j in turning if i != j
        })  # fmt: skip
    done: list[int] = []
    for i in order:
        if i in slanted:
            tracks[i] = SLANTED
            continue
        near = (j for j in done if j in before[i] or _overlap(nets[i], nets[j]))
        tracks[i] = 1 + max((tracks[j] for j in near), default=-1)
        done.append(i)
    return tracks, 1 + max((t for t in tracks if t >= 0), default=-1)


def _must_precede(a: Net, b: Net) -> bool:
    """Whether `a` comes down where `b` goes down: it has to turn away above."""
    return any(abs(a.top - bottom) < _NEAR for bottom in b.bottoms)


def _overlap(a: Net, b: Net) -> bool:
    return a.left < b.right + _NEAR and b.left < a.right + _NEAR


def _crossings(a: Net, b: Net) -> int:
    """How often two values cross when `a` turns above `b`."""
    return (a.left < b.top < a.right) + sum(b.left < bottom < b.right for bottom in a.bottoms)


def _ordered(
    turning: list[int], before: dict[int, set[int]], cost: dict[tuple[int, int], int]
) -> tuple[list[int], set[int]]:
    """The values in the order of their tracks, and those that stand in a circle of `before`."""
    left = list(turning)
    waiting = {i: set(before[i]) for i in turning}
    burden = {i: sum(cost.get((i, j), 0) - cost.get((j, i), 0) for j in turning if j != i) for i in turning}
    order: list[int] = []
    slanted: set[int] = set()
    while left:
        free = [i for i in left if not waiting[i]]
        chosen = min(free or left, key=lambda i: (len(waiting[i]), burden[i], i))
        if waiting[chosen]:
            slanted.add(chosen)
        order.append(chosen)
        left.remove(chosen)
        for i in left:
            waiting[i].discard(chosen)
            burden[i] -= cost.get((i, chosen), 0) - cost.get((chosen, i), 0)
    return order, slanted
