"""A piece of several that depend on each other: layers, order, places, ways.

The framework is that of Sugiyama and others: each child goes to the layer behind all that it reads; a value that
passes a layer gets a node of no width there; nodes are ordered (`order`), placed (`place`), and their values led
through the channels between the layers (`route`). A value that enters a box from its side ends in a node right
beside that box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnndsl.draw.order import order
from cnndsl.draw.pieces import ALONG, ARROW, BESIDE, GAP, LEAD, MARGIN, OUT, PORT, TRACK, Piece, Point, Target
from cnndsl.draw.place import Segment, place
from cnndsl.draw.route import SLANTED, STRAIGHT, Net, assign_tracks

_SLIDE = 24.0
"""An arrow into a box is moved by as much as this along its edge, to be straight."""


def layered(children: Sequence[Piece], entries: Sequence[int], exits: Sequence[int]) -> Piece:
    """One piece of `children`, given in an order in which they can be computed.

    `entries` are the values that come from outside, `exits` those that are needed outside; a value may be both.
    """
    return _Level(children, entries, exits).piece()


class _Level:
    """The nodes: children by their number, then entries, then exits, then the values that pass a layer."""

    def __init__(self, children: Sequence[Piece], entries: Sequence[int], exits: Sequence[int]) -> None:
        self.children, self.entries, self.exits = children, tuple(entries), tuple(exits)
        count = len(children)
        self.entry = {v: count + i for i, v in enumerate(entries)}
        self.exit = {v: count + len(entries) + i for i, v in enumerate(exits)}
        self.maker: dict[int, int] = dict(self.entry)
        self.maker.update((v, i) for i, child in enumerate(children) for v in child.tails)
        self.widths = [child.cross for child in children] + [0.0] * (len(entries) + len(exits))
        self.layer = [0] * len(self.widths)
        self.segments: list[Segment] = []
        self.into: dict[int, Segment] = {}
        """The segment that ends in a node of no width."""
        self.heads: dict[tuple[int, Target], Segment] = {}
        """The segment by which a value ends in a child's slot."""
        self.owner: dict[int, int] = {}
        """The child that a node beside it leads into."""
        self.beside: dict[Target, tuple[int, float]] = {}
        """The node beside a child for a slot on its side, and where it enters."""
        self.carried: dict[int, int] = {}
        """The value of each node that passes a layer."""
        self.assign_layers()
        for value in self.maker:
            self.thread(value)
        self.mark_spines()

    # --- nodes -------------------------------------------------------------------------------------

    def reads(self, child: Piece) -> Iterator[tuple[int, int, float | None, float]]:
        """What a child reads: the value, its slot, its place on the head (-1 while open) or None, and on the side."""
        if child.box is None:
            yield from ((value, 0, at, 0.0) for value, at in child.heads.items())
        else:
            at = child.cross / 2 if len(child.slots) == 1 else -1.0
            yield from ((value, slot, at, 0.0) for value, slot in child.slots)
            yield from ((value, slot, None, main) for value, slot, main in child.sides)

    def assign_layers(self) -> None:
        users: dict[int, list[int]] = {}
        for i, child in enumerate(self.children):
            makers = {self.maker[value] for value, _, _, _ in self.reads(child)}
            self.layer[i] = 1 + max((self.layer[m] for m in makers), default=0)
            for m in makers:
                users.setdefault(m, []).append(i)
        for i, child in enumerate(self.children):
            # An input of the network stands right above what reads it.
            if not child.heads and not child.slots and not child.sides and i in users:
                self.layer[i] = max(1, min(self.layer[u] for u in users[i]) - 1)
        self.depth = max(self.layer, default=0)
        for node in self.exit.values():
            self.layer[node] = self.depth + 1

    def thread(self, value: int) -> None:
        """Make the segments of a value, and its nodes in the layers that it passes."""
        maker = self.maker[value]
        at = self.children[maker].tails[value] if maker < len(self.children) else 0.0
        heads: dict[int, list[tuple[int, int, float]]] = {}
        sides: dict[int, list[tuple[int, int, float]]] = {}
        for i in self.users_of(value):
            for read, slot, head, side in self.reads(self.children[i]):
                if read == value and head is not None:
                    heads.setdefault(self.layer[i], []).append((i, slot, head))
                elif read == value:
                    sides.setdefault(self.layer[i], []).append((i, slot, side))
        last = max((*heads, *sides, self.depth + 1 if value in self.exit else 0), default=0)
        carrier = maker
        for layer in range(self.layer[maker] + 1, last + 1):
            for i, slot, head in heads.get(layer, ()):
                self.heads[value, (i, slot)] = self.join(carrier, i, value, (slot, at, head))
            for i, slot, side in sides.get(layer, ()):
                node = self.node(layer, value)
                self.into[node] = self.join(carrier, node, value, (0, at, 0.0))
                self.owner[node] = i
                self.beside[i, slot] = (node, side)
            if layer < last:
                node = self.node(layer, value)
                self.into[node] = self.join(carrier, node, value, (0, at, 0.0))
                carrier, at = node, 0.0
            elif value in self.exit:
                self.into[self.exit[value]] = self.join(carrier, self.exit[value], value, (0, at, 0.0))

    def users_of(self, value: int) -> Sequence[int]:
        if not hasattr(self, "_users"):
            self._users: dict[int, list[int]] = {}
            for i, child in enumerate(self.children):
                for read in dict.fromkeys(read for read, _, _, _ in self.reads(child)):
                    self._users.setdefault(read, []).append(i)
        return self._users.get(value, ())

    def node(self, layer: int, value: int) -> int:
        self.widths.append(0.0)
        self.layer.append(layer)
        self.carried[len(self.layer) - 1] = value
        return len(self.layer) - 1

    def join(self, upper: int, lower: int, value: int, ends: tuple[int, float, float]) -> Segment:
        slot, upper_at, lower_at = ends
        passing = upper in self.carried and lower in self.carried
        self.segments.append(Segment(upper, lower, value, slot, upper_at, lower_at, rank=int(passing)))
        return self.segments[-1]

    def mark_spines(self) -> None:
        """Give the highest rank to what leads from an entry to an exit, or to the last child.

        Where arms come together the spine ends, and they are placed evenly about it; but an arm that only carries a
        value past the others gives way to the one that does not.
        """
        ends = [self.into[node] for node in self.exit.values()]
        if not ends:
            deepest = [i for i, layer in enumerate(self.layer[: len(self.children)]) if layer == self.depth]
            ends = [s for (_, (i, _)), s in self.heads.items() if deepest == [i]][:1]
        into_child: dict[int, list[Segment]] = {}
        for (_, (i, _)), s in self.heads.items():
            into_child.setdefault(i, []).append(s)
        for end in ends:
            at: Segment | None = end
            while at is not None:
                at.rank = 2
                if at.upper in self.into:
                    at = self.into[at.upper]
                    continue
                arms = into_child.get(at.upper, [])
                if len(arms) > 1:
                    arms = [s for s in arms if s.upper not in self.carried]
                if len(arms) > 1 and all(s.upper >= len(self.children) for s in arms):
                    # Of values from outside, the last one made comes from nearest by.
                    arms = [max(arms, key=lambda s: s.value)]
                at = arms[0] if len(arms) == 1 and arms[0].rank < 2 else None

    # --- places ------------------------------------------------------------------------------------

    def piece(self) -> Piece:
        """Place everything."""
        if not self.children and not self.entries:
            return Piece(0.0, 0.0)
        layers: list[list[int]] = [[] for _ in range(self.depth + 2)]
        for node, layer in enumerate(self.layer):
            layers[layer].append(node)
        for node, child in self.owner.items():
            assert self.layer[node] == self.layer[child]
        layers = order(layers, self.segments, widths=self.widths, owner=self.owner, rank=self.rank)
        self.position = {v: i for layer in layers for i, v in enumerate(layer)}
        self.open_slots()
        filled = [layer for layer in layers if layer]
        self.x = place(filled, self.segments, widths=self.widths, apart=self.apart)
        self.slide()
        return self.routed(layers)

    def rank(self, node: int) -> tuple[int, ...]:
        """Values that pass on to an exit, then children in the order of the text, then values that go round them.

        Of the last, those from near go inside of those from far. Beside a child, those that enter it first are inside.
        """
        if node in self.owner:
            return (3, *(round(side) for n, side in self.beside.values() if n == node))
        if node not in self.carried:
            return (1, node)
        value = self.carried[node]
        if value in self.exit and not self.users_of(value):
            return (0, node)
        return (2, -self.layer[self.maker[value]], node)

    def apart(self, a: int, b: int) -> float:
        """The room between two neighbours of a layer."""
        if self.owner.get(b) == a:
            return ALONG
        narrow = (self.widths[a] == 0) + (self.widths[b] == 0)
        return (BESIDE, ALONG, PORT)[narrow]

    def slots_of(self, i: int) -> list[Segment]:
        """The arrows into a leaf's head, from left to right."""
        found = [self.heads[value, (i, slot)] for value, slot in self.children[i].slots]
        return sorted(found, key=lambda s: (self.position[s.upper], s.upper_at, s.slot))

    def open_slots(self) -> None:
        """Give the arrows into a leaf with several their first places: evenly, about the spine or the middle."""
        for i, child in enumerate(self.children):
            found = self.slots_of(i) if child.box is not None and len(child.slots) > 1 else []
            spine = next((k for k, s in enumerate(found) if s.rank == 2), (len(found) - 1) / 2)
            first = child.cross / 2 - PORT * spine
            first = min(max(first, MARGIN), child.cross - MARGIN - PORT * (len(found) - 1))
            for k, s in enumerate(found):
                s.lower_at = first + PORT * k

    def slide(self) -> None:
        """Move arrows along the edge of their box to where they come from, as far as there is room."""
        for i, child in enumerate(self.children):
            if child.box is None or not child.slots:
                continue
            found = self.slots_of(i)
            wanted = [self.x[s.upper] + s.upper_at - self.x[i] for s in found]
            if len(found) == 1:
                near = abs(wanted[0] - child.cross / 2) <= min(_SLIDE, child.cross / 2 - MARGIN)
                found[0].lower_at = wanted[0] if near else child.cross / 2
                continue
            last = child.cross - MARGIN - PORT * (len(found) - 1)
            weights = [1000.0 if s.rank == 2 else 1.0 for s in found]
            for k, (s, at) in enumerate(zip(found, _spread(wanted, weights, PORT), strict=True)):
                s.lower_at = min(max(at - PORT * k, MARGIN), last) + PORT * k

    # --- ways --------------------------------------------------------------------------------------

    def routed(self, layers: list[list[int]]) -> Piece:
        """Find the channels' heights and all wires."""
        turns: dict[tuple[int, int], int] = {}
        tracks: list[int] = []
        starts = [0.0]
        lead = 0.0
        by_layer: list[dict[tuple[int, int], list[Segment]]] = [{} for _ in layers]
        for s in self.segments:
            by_layer[self.layer[s.upper]].setdefault((s.upper, s.value), []).append(s)
        for number, layer in enumerate(layers):
            size = max((self.children[v].main for v in layer if v < len(self.children)), default=0.0)
            if number == len(layers) - 1:
                break
            found = by_layer[number]
            nets = [Net(self.upper_end(s[0]), tuple(sorted({self.lower_end(t) for t in s}))) for s in found.values()]
            given, count = assign_tracks(nets)
            turns.update(zip(found, given, strict=True))
            tracks.append(count)
            gap = self.channel(layers, number, count, slanted=SLANTED in given)
            if number == 0:
                lead = gap
            starts.append(starts[-1] + size + gap)
        end = starts[-1]
        self.turns, self.starts = turns, starts
        self.ends = [
            start + max((self.children[v].main for v in layer if v < len(self.children)), default=0.0)
            for start, layer in zip(starts, layers, strict=True)
        ]
        return Piece(
            main=end,
            cross=max(x + w for x, w in zip(self.x, self.widths, strict=True)),
            heads={v: self.x[node] for v, node in self.entry.items()},
            tails={v: self.x[node] for v, node in self.exit.items()},
            lead=lead,
            children=[(starts[self.layer[i]], self.x[i], child) for i, child in enumerate(self.children)],
            wires=dict(self.wires()),
        )

    def channel(self, layers: list[list[int]], number: int, count: int, *, slanted: bool) -> float:
        """The room between a layer and the next."""
        if not layers[number + 1] or not layers[number]:
            return 0.0
        outer = number in {0, len(layers) - 2}
        if count == 0 and not slanted:
            return 0.0 if outer else GAP
        slope = 3 * TRACK if slanted else 0.0
        return LEAD + max((count - 1) * TRACK, slope) + (LEAD if number == len(layers) - 2 else ARROW)

    def upper_end(self, s: Segment) -> float:
        return self.x[s.upper] + s.upper_at

    def lower_end(self, s: Segment) -> float:
        return self.x[s.lower] + s.lower_at

    def wires(self) -> Iterator[tuple[tuple[int, Target], list[Point]]]:
        for end, s in self.heads.items():
            yield end, self.way(s)
        for value, node in self.exit.items():
            yield (value, OUT), self.way(self.into[node])
        for (i, slot), (node, side) in self.beside.items():
            into = self.into[node]
            main = self.starts[self.layer[i]] + side
            edge = self.x[i] + self.children[i].cross
            yield (into.value, (i, slot)), [*self.way(into), (main, self.x[node]), (main, edge)]

    def way(self, last: Segment) -> list[Point]:
        """The points of a value's way up to the end of a segment."""
        chain = [last]
        while chain[-1].upper in self.carried:
            chain.append(self.into[chain[-1].upper])
        chain.reverse()
        first = chain[0]
        begin = 0.0
        if first.upper < len(self.children):
            begin = self.starts[self.layer[first.upper]] + self.children[first.upper].main
        points = [(begin, self.upper_end(first))]
        for s in chain:
            layer = self.layer[s.upper]
            track = self.turns[s.upper, s.value]
            if track == SLANTED:
                turns = (self.ends[layer] + LEAD, self.starts[layer + 1] - LEAD)
            elif track != STRAIGHT:
                turns = (self.ends[layer] + LEAD + track * TRACK,) * 2
            else:
                continue
            points += [(turns[0], self.upper_end(s)), (turns[1], self.lower_end(s))]
        return [*points, (self.starts[self.layer[last.lower]], self.lower_end(last))]


def _spread(wanted: Sequence[float], weights: Sequence[float], apart: float) -> list[float]:
    """Places in the given order, `apart` at least, nearest to those wanted: isotonic regression."""
    pools: list[tuple[float, float, int]] = []
    for k, (at, weight) in enumerate(zip(wanted, weights, strict=True)):
        pool = (at - apart * k, weight, 1)
        while pools and pools[-1][0] > pool[0]:
            mean, before, count = pools.pop()
            total = before + pool[1]
            pool = ((mean * before + pool[0] * pool[1]) / total, total, count + pool[2])
        pools.append(pool)
    level = [mean for mean, _, count in pools for _ in range(count)]
    return [at + apart * k for k, at in enumerate(level)]
