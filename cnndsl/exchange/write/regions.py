"""From a graph to nested bodies: which branches leave one tensor and meet again, and what only references can say.

A strand is a run of items that begins at a value and ends at another, and whose inner values nobody else reads. Each
layer makes a strand longer or begins one. Where all the strands that meet in a join begin at one value, they become its
arms; once no other strand begins there, the join goes on with the strand that ends there. Strands that never meet so
stand one behind the other, and refer to each other by labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from cnndsl.exchange.write.normal import commutes
from cnndsl.exchange.write.tree import Body, Goto, Layer, Output
from cnndsl.ir import Graph, Node

MAX_NESTING = 3
"""Joins within arms of joins; what goes deeper, the long ways around of a U-Net, is written with references."""


@dataclass(eq=False)
class _Strand:
    """Items from the output of `start` (None: from an input) to that of `end`."""

    start: str | None
    end: str
    items: Body = field(default_factory=list)
    depth: int = 0
    reads: int = -1
    """The position of the last value that is referred to within."""


def body_of(graph: Graph, *, outputs_apart: bool = False) -> Body:
    """The whole network as a body, in computing order, with its outputs.

    With `outputs_apart` no side output holds layers, so that all labels stand in one scope.
    """
    return _Regions(graph, outputs_apart=outputs_apart).run()


class _Regions:
    def __init__(self, graph: Graph, *, outputs_apart: bool) -> None:
        self.graph, self.outputs_apart = graph, outputs_apart
        self.main = graph.outputs[0][1]
        self.home: dict[str, _Strand] = {}
        """The strand that each value ends, or has ended."""
        self.begun: dict[str, dict[int, _Strand]] = {node.name: {} for node in graph.nodes}
        """The strands that begin at each value."""
        self.live: dict[int, _Strand] = {}
        """The strands that are in no other one, by identity."""
        self.uses = {name: len(users) for name, users in graph.users.items()}
        """How often each value is read: by strands that begin there, by references, as an output."""
        self.sides: dict[str, list[str]] = {}
        for name, node in graph.outputs:
            self.uses[node] += 1
            if node != self.main or name != "main":
                self.sides.setdefault(node, []).append(name)

    def run(self) -> Body:
        for node in _sides_first(self.graph):
            self._node(node)
            self._outputs(node.name)
        return self._laid_out()

    def _node(self, node: Node) -> None:
        if node.op is None:
            self._set(_Strand(None, node.name, [Layer(node.name)]))
        elif node.op.joins:
            self._join(node)
        else:
            self._extend(node.inputs[0], Layer(node.name))

    def _set(self, strand: _Strand) -> None:
        self.home[strand.end] = self.live[id(strand)] = strand
        if strand.start is not None:
            self.begun[strand.start][id(strand)] = strand

    def _take(self, strand: _Strand) -> None:
        """A strand becomes part of another one."""
        self.live.pop(id(strand), None)
        if strand.start is not None:
            self.begun[strand.start].pop(id(strand), None)

    def _extend(self, value: str, item: Layer) -> None:
        """Go on from a value with an item that takes one of its uses."""
        reads = max((self.graph.position[name] for name in item.refs), default=-1)
        if self.uses[value] > 1:
            self._set(_Strand(value, item.node, [item], reads=reads))
            return
        strand = self.home[value]
        assert strand.end == value
        strand.items.append(item)
        strand.end, strand.reads = item.node, max(strand.reads, reads)
        self.home[item.node] = strand

    def _release(self, value: str, count: int) -> None:
        """Take uses of a value away; the only strand that is left there becomes part of the one that ends there."""
        self.uses[value] -= count
        if self.uses[value] != 1 or len(self.begun[value]) != 1:
            return
        (later,) = self.begun[value].values()
        earlier = self.home[value]
        self._take(earlier)
        self._take(later)
        # The shorter one moves, so that long networks take no time.
        if len(earlier.items) > len(later.items):
            earlier.items.extend(later.items)
            later.items = earlier.items
        else:
            later.items[:0] = earlier.items
        later.start = earlier.start
        later.depth, later.reads = max(earlier.depth, later.depth), max(earlier.reads, later.reads)
        self._set(later)

    def _outputs(self, value: str) -> None:
        """Write the side outputs that a value is: behind it, or as a branch that ends in it."""
        for name in self.sides.get(value, []):
            strand = self.home[value]
            start = strand.start
            if (
                self.uses[value] == 1
                and not self.outputs_apart
                and start is not None
                and strand.reads <= self.graph.position[start]
                and strand.depth < MAX_NESTING
            ):
                self._take(strand)
                before = self.home[start]
                assert before.end == start
                before.items.append(Output(name, strand.items))
                before.depth = max(before.depth, strand.depth + 1)
                before.reads = max(before.reads, strand.reads)
                self._release(start, 1)
            else:
                strand.items.append(Output(name, []))
                self._release(value, 1)

    # --- joins -----------------------------------------------------------------------------------------

    def _piece(self, value: str) -> _Strand:
        """What a join reads: the strand that ends in a value, or an empty one where others read the value too."""
        if self.uses[value] == 1 and self.home[value].start is not None:
            return self.home[value]
        return _Strand(value, value)

    def _join(self, node: Node) -> None:
        pieces = [self._piece(value) for value in node.inputs]
        starts = [piece.start for piece in pieces]
        most = max(starts, key=starts.count)
        assert most is not None
        depth = 1 + max(piece.depth for piece in pieces if piece.start == most)
        # Beside tensors from elsewhere, arms are worth their braces only where there are several.
        arms = sum(bool(piece.items) for piece in pieces if piece.start == most)
        needed = 1 if starts.count(most) == len(starts) else 2
        if starts.count(most) < 2 or arms < needed or depth > MAX_NESTING:
            self._referring(node)
            return
        item = Layer(node.name)
        for value, piece in zip(node.inputs, pieces, strict=True):
            if piece.start != most:
                item.arms.append([Goto(value)])
                continue
            item.arms.append(piece.items)
            self._take(piece)
        while isinstance(last := next(iter(item.arms[-1]), None), Goto) and len(item.arms[-1]) == 1:
            item.refs.insert(0, last.node)
            item.arms.pop()
        # The join takes one use of the value that its arms begin at, where its arms took one each.
        position = self.graph.position
        reads = max((position[v] for v, p in zip(node.inputs, pieces, strict=True) if p.start != most), default=-1)
        reads = max([reads, *(piece.reads for piece in pieces if piece.start == most)])
        self._set(_Strand(most, node.name, [item], depth, reads))
        self._release(most, starts.count(most) - 1)

    def _referring(self, node: Node) -> None:
        """A join that goes on from one of its inputs and refers to the others."""
        assert node.op is not None
        first = 0
        if commutes(node.op, len(node.inputs)):
            position = self.graph.position
            first = max((0, 1), key=lambda i: (self.uses[node.inputs[i]] == 1, position[node.inputs[i]]))
        others = [value for number, value in enumerate(node.inputs) if number != first]
        self._extend(node.inputs[first], Layer(node.name, refs=others))

    # --- the whole -------------------------------------------------------------------------------------

    def _laid_out(self) -> Body:
        """All strands one behind the other, each where all that it reads stands before it."""
        position = self.graph.position
        body: Body = [Layer(node.name) for node in self.graph.inputs]
        current: str | None = self.graph.inputs[-1].name
        for strand in sorted(self.live.values(), key=lambda s: position[s.end]):
            start, items = strand.start, strand.items
            if start is None:
                first, *items = items
                assert isinstance(first, Layer)
                start = first.node
            if items and start != current:
                body.append(Goto(start))
            body.extend(items)
            current = strand.end if items else current
        if current != self.main:
            body.append(Goto(self.main))
        return body


def _sides_first(graph: Graph) -> Iterator[Node]:
    """The nodes in computing order, those that lead to side outputs alone as early as they can stand.

    So a side branch is known as a whole before the rest of the network goes on from where it leaves.
    """
    spine = {graph.outputs[0][1]}
    for node in reversed(graph.nodes):
        if node.name in spine:
            spine.update(node.inputs)
    waiting = {node.name: len(set(node.inputs)) for node in graph.nodes}
    # The inputs first, in their order, which is that of a call.
    ready = [(False, graph.position[node.name]) for node in graph.inputs]
    heapify(ready)
    while ready:
        _, position = heappop(ready)
        node = graph.nodes[position]
        yield node
        for user in dict.fromkeys(user.name for user in graph.users[node.name]):
            waiting[user] -= 1
            if not waiting[user]:
                heappush(ready, (user in spine, graph.position[user]))
