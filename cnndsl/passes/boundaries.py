"""What travels between kernels, and why: the values that fusion left in memory, and the layers that cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from cnndsl.errors import listed
from cnndsl.ir import Graph, Node, TensorType
from cnndsl.ops import joins
from cnndsl.ops.fusion import Obstacle
from cnndsl.ops.joins import Concat
from cnndsl.ops.reshape import Flatten
from cnndsl.passes import folding, joining, merge, simplify
from cnndsl.passes.fuse import Group, Groups, obstacle
from cnndsl.passes.places import place, views
from cnndsl.tiles import ITEM_BYTES, DType

FreeFate = Literal["folded", "in place", "free", "unused"]


@dataclass(frozen=True)
class Boundary:
    """A tensor on its way through memory, from the kernel that stores it to one that loads it.

    producer  the group that makes it; None for an input of the network.
    consumer  the group that reads it; None where it is returned, as the output `output`.
    tensor    its node, and `type` its shape.
    kind      one or two words that stay the same, of `reason`.
    reason    a sentence: why these two are two kernels, or why nothing has to move here.
    read      values of one picture that the consumer loads.
    written   values of one picture that are stored for it. A tensor is stored once however many read it: its first
              boundary counts that, and the others count 0.
    """

    producer: Group | None
    consumer: Group | None
    tensor: str
    type: TensorType
    kind: str
    reason: str
    read: int
    written: int
    output: str | None = None

    @property
    def values(self) -> int:
        """Values of the tensor in one picture."""
        return self.type.size

    @property
    def cost(self) -> int:
        """Values of one picture that are stored and loaded here."""
        return self.read + self.written

    def bytes(self, dtype: DType, batch: int = 1) -> int:
        """What `cost` is in bytes for `batch` pictures. Some of it may stay in a GPU's cache."""
        return self.cost * ITEM_BYTES[dtype] * batch


@dataclass(frozen=True)
class FreeLayer:
    """A layer for which nothing is launched, and why, in a sentence without its subject.

    fate  "folded" into another layer's weights; "in place": written by its inputs' kernels where it lies; "free":
          nothing to compute; "unused": no output depends on it.
    """

    node: Node
    fate: FreeFate
    reason: str


def boundaries(groups: Groups) -> tuple[Boundary, ...]:
    """Every tensor between two groups of a fused network, from its inputs and to its outputs, in computing order.

    A kernel that reads one tensor twice has one boundary for it.
    """
    return tuple(_Finder(groups).all())


def launches_of(groups: Groups) -> tuple[int, ...]:
    """How many kernels each group launches: none for a view, one for each arm of a concat that is copied."""
    return tuple(map(_Finder(groups).launches, groups.groups))


class _Finder:
    """Finds the boundaries of a network."""

    def __init__(self, groups: Groups) -> None:
        self.groups, self.graph, self.aim = groups.groups, groups.graph, groups.aim
        self.views = views(groups.graph)
        self.copies = place(groups, self.views, keep=False).copies
        self.apart = merge.reasons(groups)
        self.outputs: dict[str, list[str]] = {}
        for output, name in groups.graph.outputs:
            self.outputs.setdefault(name, []).append(output)
        self.consumers: dict[str, list[Group]] = {}
        for group in groups.groups:
            for name in dict.fromkeys(group.reads):
                self.consumers.setdefault(name, []).append(group)

    def all(self) -> Iterator[Boundary]:
        """All boundaries."""
        for node in self.graph.inputs:
            yield from self.of(None, node)
        for group in self.groups:
            for node in group.outputs:
                yield from self.of(group, node)

    def of(self, producer: Group | None, node: Node) -> Iterator[Boundary]:
        """The boundaries at which the result of one group, or an input, is read."""
        stored = self.stored(producer, node)
        for consumer in self.consumers.get(node.name, ()):
            found = self.between(producer, consumer, node)
            read = self.read(consumer, node)
            yield Boundary(producer, consumer, node.name, node.type, found.kind, found.reason, read, stored)
            stored = 0
        for output in self.outputs.get(node.name, ()):
            yield self.returned(producer, node, output=output, stored=stored)
            stored = 0
        if producer is not None and (partial := self.partial(producer)):
            arms = len(producer.inputs)
            most = joins.MOST_OPERANDS
            reason = f"{node.name} has {arms} arms and joins {most} at a time: partial results go through memory"
            yield Boundary(producer, producer, node.name, node.type, "partial results", reason, partial, partial)

    def stored(self, group: Group | None, node: Node) -> int:
        """Values of a group's result that it stores: none for an input or a view, the copied arms of a concat."""
        if group is None or node.name in self.views:
            return 0
        if isinstance(group.anchor.op, Concat):
            return sum(
                self.graph.by_name[name].type.size
                for number, name in enumerate(group.inputs)
                if (group.anchor.name, number) in self.copies
            )
        return node.type.size

    def read(self, consumer: Group, node: Node) -> int:
        """Values of a tensor that a group loads."""
        if consumer.anchor.name in self.views:
            return 0
        if isinstance(consumer.anchor.op, Concat):
            numbers = [i for i, name in enumerate(consumer.inputs) if name == node.name]
            return node.type.size * sum((consumer.anchor.name, i) in self.copies for i in numbers)
        return node.type.size * consumer.reads.count(node.name)

    def launches(self, group: Group) -> int:
        """How many kernels a group launches."""
        if group.anchor.name in self.views:
            return 0
        if isinstance(group.anchor.op, Concat):
            return sum((group.anchor.name, i) in self.copies for i in range(len(group.inputs)))
        return joins.launch_count(len(group.inputs))

    def partial(self, group: Group) -> int:
        """Values of partial results that a join of many arms stores, and loads again."""
        if isinstance(group.anchor.op, Concat):
            return 0
        return max(0, self.launches(group) - 1) * group.output.type.size

    def between(self, producer: Group | None, consumer: Group, node: Node) -> Obstacle:
        """Why two groups are two."""
        reader = consumer.anchor
        if reader.name in self.views:
            return Obstacle("view", f"{reader.name} is {node.name} as it lies: nothing moves")
        if isinstance(reader.op, Concat):
            return self.into_concat(consumer, node)
        reader = next(n for n in consumer.computed if node.name in n.inputs)
        if producer is None:
            found: Obstacle | None = Obstacle("input", f"{node.name} is an input of the network")
        else:
            (member,) = (one for one in producer.members if one.output.name == node.name)
            found = obstacle(self.graph, self.aim, member, reader)
        assert found is not None, f"{producer and producer.title} and {consumer.title} should be one"
        apart = self.apart.get(reader.name)
        return found if apart is None else replace(found, reason=f"{found.reason}; {apart.reason}")

    def into_concat(self, concat: Group, node: Node) -> Obstacle:
        """Whether an arm is written where it belongs, or why it is copied there."""
        name = concat.anchor.name
        reasons = [self.copies.get((name, i)) for i, arm in enumerate(concat.inputs) if arm == node.name]
        copied = [reason for reason in reasons if reason is not None]
        if copied:
            return Obstacle("copied", f"{copied[0]}: {name} copies it")
        return Obstacle("in place", f"{node.name} is written where it lies in {name}: nothing is copied")

    def returned(self, producer: Group | None, node: Node, *, output: str, stored: int) -> Boundary:
        """A value that the caller gets."""
        if self.from_caller(node.name):
            size, reason = node.type.size, f"{node.name} is the caller's own tensor: a copy is returned"
            return Boundary(producer, None, node.name, node.type, "copied", reason, size, size, output)
        reason = f"{node.name} is an output of the network"
        return Boundary(producer, None, node.name, node.type, "output", reason, 0, stored, output)

    def from_caller(self, name: str) -> bool:
        """Whether a value is an input, or a view of one."""
        while name in self.views:
            name = self.views[name]
        return self.graph.by_name[name].op is None


# --- what costs nothing ------------------------------------------------------------------------------------


def free_layers(graph: Graph, groups: Groups) -> tuple[FreeLayer, ...]:
    """The layers of a network, as it was written, for which nothing is launched, in its order."""
    computed = {node.origin for group in groups.groups for node in group.computed}
    found = {name: layer for name, layer in removed_layers(graph).items() if name not in computed}
    for group, launches in zip(groups.groups, launches_of(groups), strict=True):
        if not launches:
            found[group.anchor.name] = without_launch(group.anchor)
    return tuple(found[node.name] for node in graph.nodes if node.name in found)


def removed_layers(graph: Graph) -> dict[str, FreeLayer]:
    """The layers that `simplify` removes from a network as it was written, by name, and why.

    Every rewrite is made again, to see which layers it removes.
    """
    found = {
        node.name: FreeLayer(node, "unused", "no output depends on it")
        for node in graph.nodes
        if node.op is not None and node.name not in graph.needed
    }
    before = graph
    for rewrite in simplify.PASSES:
        after = rewrite(before)
        for node in before.nodes:
            if node.name not in after.by_name and node.name not in found:
                found[node.name] = _removed(rewrite, node, before=before, after=after)
        before = after
    return found


def _removed(rewrite: Callable[[Graph], Graph], node: Node, *, before: Graph, after: Graph) -> FreeLayer:
    """Why a rewrite has removed a layer that is needed, from the graphs before and after it."""
    assert node.op is not None
    if rewrite in {folding.fold_batchnorm, folding.fold_batchnorm_forward}:
        owners = [n.name for n in after.nodes for folded in n.folded if folded.name == node.name]
        return FreeLayer(node, "folded", f"folded into the weights of {listed(owners, most=4)}")
    if rewrite is joining.nest_concats:
        return FreeLayer(node, "in place", f"{joining.shared_arms(before)[1][node.name]} holds the same")
    if rewrite is joining.activate_arms:
        makers = [n.inputs[0] for n in after.nodes if n.origin == node.name]
        return FreeLayer(node, "in place", f"computed by the kernels that make its values: {listed(makers, most=4)}")
    if rewrite is simplify.free_flatten:
        return FreeLayer(node, "free", "the dense layers after it order their weights as the map lies")
    assert rewrite is simplify.drop_transparent, f"nobody says why {node.name} is gone"
    if node.op.transparent:
        return FreeLayer(node, "free", "does nothing at inference")
    return FreeLayer(node, "free", f"its input is {node.type} already")


def without_launch(node: Node) -> FreeLayer:
    """Why nothing is launched for a layer that `simplify` has left."""
    if isinstance(node.op, Concat):
        return FreeLayer(node, "in place", "its inputs are written side by side into one buffer, where it lies")
    assert isinstance(node.op, Flatten), f"{node.name} has no kernel"
    return FreeLayer(node, "free", f"{node.inputs[0]} is one pixel: its values are a vector as they lie")


def values_moved(groups: Groups) -> int:
    """Values of one picture that all kernels load and store: the cost of all boundaries."""
    finder = _Finder(groups)
    loaded = sum(
        finder.read(group, groups.graph.by_name[name]) for group in groups.groups for name in dict.fromkeys(group.reads)
    )
    stored = sum(finder.stored(group, node) for group in groups.groups for node in group.outputs)
    stored += sum(2 * finder.partial(group) for group in groups.groups)
    returned = [groups.graph.by_name[name] for _, name in groups.graph.outputs]
    return loaded + stored + sum(2 * node.type.size for node in returned if finder.from_caller(node.name))


def unfused(graph: Graph) -> Groups:
    """Every layer of a simplified graph as a group of its own, to compare with."""
    return Groups(graph, tuple(Group((node,), node.inputs) for node in graph.nodes if node.op is not None))
