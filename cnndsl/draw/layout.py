"""From a diagram to places: frames within frames, arms beside each other, and a spine that is straight.

The layout takes a network apart as people read it. Wherever a single value flows from all that is above to all that is
below, a body is cut, and its parts stand in a column, each right below the one that it reads. A part that holds
several boxes is a fork with its join: what is left without the join falls into arms, and every arm is laid out in the
same way. Only what cannot be taken apart so becomes a general layered drawing (`layered`). A frame is a part with a
border. Columns that grow too long go on beside themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cnndsl.draw.diagram import Frame
from cnndsl.draw.layered import layered
from cnndsl.draw.pieces import OUT, Piece
from cnndsl.draw.series import series

Item = int | Frame

_DEEPEST = 40
"""Forks within forks that are taken apart; what is deeper is drawn as a whole, so that recursion ends."""
_SLACK = 1.4
"""How much longer than the network's columns a block may be."""


@dataclass(frozen=True)
class Padding:
    """The room between a frame's border and what it holds: at its head and tail, and on both sides."""

    head: float
    tail: float
    left: float
    right: float


class Layout:
    """The layout of boxes that read each other's values.

    `reads[i]` are the numbers of the boxes that box i reads, all less than i. `leaf` makes a box's piece, `padding`
    says what room a frame needs. Columns longer than `limit` are wrapped.
    """

    def __init__(
        self,
        reads: Sequence[Sequence[int]],
        *,
        leaf: Callable[[int], Piece],
        padding: Callable[[Frame, Piece], Padding],
        limit: float | None = None,
    ) -> None:
        self.reads, self.leaf, self.padding, self.limit = reads, leaf, padding, limit
        self.readers: list[list[int]] = [[] for _ in reads]
        for i, sources in enumerate(reads):
            for source in dict.fromkeys(sources):
                self.readers[source].append(i)

    def arrange(self, items: Sequence[Item], depth: int = 0) -> Piece:
        """One piece of the items, given in an order in which they can be computed."""
        parts = _Parts(self, items)
        cuts = parts.cuts()
        pieces = [
            self.part(items[a:b], entries=entries, exits=exits, depth=depth)
            for (a, b), (entries, exits) in zip(cuts, parts.flows(cuts), strict=True)
        ]
        # A block that is but a little too long stays in one piece.
        limit = self.limit * _SLACK if self.limit is not None and depth > 0 else self.limit
        return series(pieces, limit=limit)

    def part(self, items: Sequence[Item], *, entries: list[int], exits: list[int], depth: int) -> Piece:
        """A part of a body: an item, or a fork with all up to its join."""
        # What others read too comes from the side where values pass by; there the last made is nearest.
        entries = sorted(entries, key=lambda v: (1, -v) if len(self.readers[v]) > 1 else (0, v))
        if len(items) == 1:
            piece = self.item(items[0], depth)
            if piece.is_plain and set(exits) <= set(piece.tails):
                return piece
            return layered([piece], entries, exits)
        if depth > _DEEPEST:
            return layered([self.item(item, depth) for item in items], entries, exits)
        groups = self.arms(items)
        return layered(
            [self.item(g[0], depth) if len(g) == 1 else self.arrange(g, depth + 1) for g in groups], entries, exits
        )

    def item(self, item: Item, depth: int) -> Piece:
        """A box, or a frame around what it holds."""
        if isinstance(item, int):
            return self.leaf(item)
        inner = self.arrange(item.members, depth + 1)
        pad = self.padding(item, inner)
        end, main = pad.head + inner.main, pad.head + inner.main + pad.tail
        heads = {v: at + pad.left for v, at in inner.heads.items()}
        tails = {v: at + pad.left for v, at in inner.tails.items()}
        return Piece(
            main, pad.left + inner.cross + pad.right, heads, tails, frame=item,
            children=[(pad.head, pad.left, inner)],
            wires={(v, (0, 0)): [(0.0, at), (pad.head, at)] for v, at in heads.items()}
            | {(v, OUT): [(end, at), (main, at)] for v, at in tails.items()},
        )  # fmt: skip

    def arms(self, items: Sequence[Item]) -> list[list[Item]]:
        """The items in groups that can each be laid out on its own: arms of a fork, then plain chains."""
        before, join = items[:-1], items[-1]
        groups = self.connected(before)
        if len(groups) > 1:
            return [*groups, [join]]
        cuts = _Parts(self, before).cuts()
        if len(cuts) > 1 and not self.is_joined_alike(before[: cuts[0][1]], join):
            return [list(before), [join]]
        return self.chains(items)

    def is_joined_alike(self, items: Sequence[Item], join: Item) -> bool:
        """Whether a fork ends with a join that reads what a later join reads too.

        Such a value goes past all that lies between on one line, with an arrow to each, not on one line for each.
        """
        if len(items) < 2 or len(self.connected(items[:-1])) > 1:
            return False
        held = {box for item in (*items, join) for box in boxes_of(item)}
        first, later = ({v for box in boxes_of(item) for v in self.reads[box]} - held for item in (items[-1], join))
        return bool(first & later)

    def connected(self, items: Sequence[Item]) -> list[list[Item]]:
        """The items in groups, each of those that read each other."""
        sources = self.sources(items)
        joined = list(range(len(items)))

        def find(i: int) -> int:
            while joined[i] != i:
                joined[i] = joined[joined[i]]
                i = joined[i]
            return i

        for i, found in enumerate(sources):
            for source in found:
                joined[find(i)] = find(source)
        groups: dict[int, list[Item]] = {}
        for i, item in enumerate(items):
            groups.setdefault(find(i), []).append(item)
        return list(groups.values())

    def sources(self, items: Sequence[Item]) -> list[set[int]]:
        """For each item, the numbers of those that it reads."""
        owner = {box: i for i, item in enumerate(items) for box in boxes_of(item)}
        return [
            {owner[v] for box in boxes_of(item) for v in self.reads[box] if v in owner} - {i}
            for i, item in enumerate(items)
        ]

    def chains(self, items: Sequence[Item]) -> list[list[Item]]:
        """The items of a fork that has no arms, those in a row together: each the only reader of the one before it."""
        sources = self.sources(items)
        held = {box for item in items for box in boxes_of(item)}
        users: list[set[int]] = [set() for _ in items]
        leaves = [False] * len(items)
        reads_outside = [False] * len(items)
        for i, item in enumerate(items):
            for source in sources[i]:
                users[source].add(i)
            boxes = boxes_of(item)
            leaves[i] = any(reader not in held for box in boxes for reader in self.readers[box])
            reads_outside[i] = any(v not in held for box in boxes for v in self.reads[box])
        chains: list[list[Item]] = []
        chain_of: dict[int, list[Item]] = {}
        for i, item in enumerate(items):
            only = next(iter(sources[i])) if len(sources[i]) == 1 and not reads_outside[i] else None
            if only is not None and users[only] == {i} and not leaves[only]:
                chain_of[i] = chain_of[only]
                chain_of[i].append(item)
            else:
                chain_of[i] = [item]
                chains.append(chain_of[i])
        # In the order of their last items, each chain comes after those that it reads.
        order = {id(chain): i for i, chain in sorted(chain_of.items())}
        return sorted(chains, key=lambda chain: order[id(chain)])


class _Parts:
    """Where a body can be cut: behind items whose values, but for one, are all used up."""

    def __init__(self, layout: Layout, items: Sequence[Item]) -> None:
        self.count = len(items)
        owner = {box: i for i, item in enumerate(items) for box in boxes_of(item)}
        self.begin: dict[int, int] = {}
        """For each value that goes from item to item or comes from outside: the item that makes it, or -1."""
        self.end: dict[int, int] = {}
        """The last item that reads it; `count` when it is read outside."""
        self.is_source = [True] * len(items)
        for box, i in owner.items():
            for v in layout.reads[box]:
                if owner.get(v, -1) != i:
                    self.is_source[i] = False
                    self.begin[v] = owner.get(v, -1)
                    self.end[v] = max(self.end.get(v, i), i)
        for box, i in owner.items():
            if any(reader not in owner for reader in layout.readers[box]):
                self.begin[box], self.end[box] = i, self.count

    def cuts(self) -> list[tuple[int, int]]:
        """The parts, as half-open ranges of items."""
        crossing = [0] * (self.count + 1)
        for v, begin in self.begin.items():
            # Counted in front of the items begin + 1 to end.
            crossing[begin + 1] += 1
            if self.end[v] < self.count:
                crossing[self.end[v] + 1] -= 1
        flowing = 0
        cuts = [0]
        for i in range(self.count):
            flowing += crossing[i]
            # Inputs that follow each other stand side by side.
            if i > 0 and flowing <= 1 and not (self.is_source[i] and self.is_source[i - 1]):
                cuts.append(i)
        return [*zip(cuts, [*cuts[1:], self.count], strict=True)]

    def flows(self, cuts: Sequence[tuple[int, int]]) -> list[tuple[list[int], list[int]]]:
        """For each part the values that flow into it and out of it, past it included."""
        starts = [start for start, _ in cuts]
        into: list[list[int]] = [[] for _ in cuts]
        out: list[list[int]] = [[] for _ in cuts]
        for v in sorted(self.begin):
            first = bisect_right(starts, self.begin[v]) - 1
            last = bisect_right(starts, self.end[v]) - 1 if self.end[v] < self.count else len(cuts)
            for part in range(first + 1, min(last + 1, len(cuts))):
                into[part].append(v)
            for part in range(max(first, 0), last):
                out[part].append(v)
        return [*zip(into, out, strict=True)]


def boxes_of(item: Item) -> Iterable[int]:
    """The numbers of the boxes that an item holds."""
    return (item,) if isinstance(item, int) else range(item.first, item.last + 1)
