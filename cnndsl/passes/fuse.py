"""Graph to groups: which layers one kernel computes together.

A group is an anchor and what its kernel computes around it: before it a product with one value for each channel, or a
global average; behind it a second layer (the pool of an LRN, or the LRN of a pool), or a residual addition; then an
activation; then a global average. All of it stays in registers, in fp32. Which operations can be what, they declare
themselves. Alike convolutions that read one tensor share a launch: see `merge`.

`obstacle` is the only judge: `fuse` asks it what to fuse, and `boundaries` asks it again to say why the rest was not.
What pays only for some batches or types is decided for one of each, the groups' `Aim`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnndsl.errors import listed
from cnndsl.ir import Graph, Node, TensorType
from cnndsl.ops.fusion import Edge, Obstacle
from cnndsl.ops.global_pool import GlobalAvgPool
from cnndsl.ops.joins import Add, Mul
from cnndsl.ops.reshape import Flatten
from cnndsl.tiles import Aim, DType


@dataclass(frozen=True)
class Group:
    """Layers that become one kernel, in order.

    `inputs` are the anchor's, or those of the layer before it; `residual` is added to the anchor's result.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    residual: str | None = None
    activation: tuple[str, float] = ("none", 0.0)
    second: Node | None = None
    """The layer that shares the anchor's loop, where there is one: the one behind it."""
    first: Node | None = None
    """The layer that is computed on what the anchor's loop loads, where there is one; `nodes[0]`."""
    scale: str | None = None
    """What `first` multiplies by, a value for each channel, where it is a product; `inputs` is the other operand."""
    last: Node | None = None
    """The average of each picture that is stored in place of all else, where there is one; `nodes[-1]`."""
    siblings: tuple[Group, ...] = ()
    """Groups that the same launch computes, as more filters of one convolution: its result, then theirs, lie side by
    side. Those that end in an activation stand before those that do not."""

    @property
    def anchor(self) -> Node:
        """The layer that owns the kernel's loop."""
        return self.nodes[0] if self.first is None else self.nodes[1]

    @property
    def output(self) -> Node:
        """The layer whose result the kernel stores; of several convolutions, the first one's."""
        return self.nodes[-1]

    @property
    def members(self) -> tuple[Group, ...]:
        """The group as it is seen from each convolution of its launch: itself, then each sibling with its siblings."""
        alone = (replace(self, siblings=()), *self.siblings)
        return tuple(replace(one, siblings=alone[:i] + alone[i + 1 :]) for i, one in enumerate(alone))

    @property
    def outputs(self) -> tuple[Node, ...]:
        """The layers whose results the kernel stores, in the order in which they lie side by side."""
        return (self.output, *(one.output for one in self.siblings))

    @property
    def computed(self) -> tuple[Node, ...]:
        """All layers that the kernel computes."""
        return (*self.nodes, *(node for one in self.siblings for node in one.nodes))

    @property
    def whole(self) -> Node:
        """The anchor; of several convolutions, all of them as one layer with all of their filters."""
        anchors = [one.anchor for one in (self, *self.siblings)]
        if len(anchors) == 1:
            return self.anchor
        op, *others = (node.op for node in anchors if node.op is not None)
        op = op.beside(others)
        shape = (*self.anchor.type.shape[:-1], sum(node.type.channels for node in anchors))
        return Node(
            "+".join(node.name for node in anchors), op, self.inputs, TensorType(shape), self.anchor.span,
            folded=tuple(norm for node in anchors for norm in node.folded),
        )

    @property
    def packed(self) -> tuple[Node, ...]:
        """Its layers as their weights are packed: `whole`, then all others."""
        anchors = {one.anchor.name for one in (self, *self.siblings)}
        return (self.whole, *(node for node in self.computed if node.name not in anchors))

    @property
    def title(self) -> str:
        """The names of all its layers: ``conv1 + relu1``; ``a + relu1 | b + relu2`` of a launch for two."""
        return " | ".join(
            " + ".join(name for node in one.nodes for name in node.layers) for one in (self, *self.siblings)
        )

    @property
    def text(self) -> str:
        """Its layers as a file would write them: ``conv(64, 3x3) -> relu``."""
        return " | ".join(" -> ".join(str(node.op) for node in one.nodes) for one in (self, *self.siblings))

    @property
    def reads(self) -> tuple[str, ...]:
        """What the kernel reads, once for each time that it does."""
        return (*self.inputs, *(name for name in (self.scale, self.residual) if name is not None))


_ONE = Aim()


@dataclass(frozen=True)
class Groups:
    """A whole network as groups in computing order, which may be another one than the graph's."""

    graph: Graph
    groups: tuple[Group, ...]
    aim: Aim = _ONE


def fuse(graph: Graph, aim: Aim = _ONE) -> Groups:
    """Form the groups of a simplified graph, those that pay for the batch and type of `aim`."""
    from cnndsl.passes import merge  # which asks `formed` and `obstacle`

    return merge.merged(formed(graph, aim))


def formed(graph: Graph, aim: Aim = _ONE, rows: Mapping[str, tuple[str, ...]] | None = None) -> Groups:
    """The groups of a graph. `rows` are the convolutions that share a launch, by the one that the graph has first."""
    rows = rows or {}
    done: set[str] = set()
    groups: list[Group] = []
    for node in graph.nodes:
        if node.op is None or node.name in done:
            continue
        members = [begun(graph, name) for name in rows.get(node.name, (node.name,))]
        for i, one in enumerate(members):
            members[i] = _grown(graph, aim, replace(one, siblings=(*members[:i], *members[i + 1 :])))
        groups.append(replace(members[0], siblings=tuple(members[1:])))
        done.update(layer.name for layer in groups[-1].computed)
    return Groups(graph, tuple(groups), aim)


def begun(graph: Graph, name: str) -> Group:
    """A layer as a group of its own."""
    node = graph.by_name[name]
    assert node.op is not None
    return Group((node,), node.inputs, activation=node.op.activation or ("none", 0.0))


def _grown(graph: Graph, aim: Aim, group: Group) -> Group:
    """The group with all layers behind it to which there is no obstacle, seen without its siblings."""
    while (readers := graph.users[group.output.name]) and obstacle(graph, aim, group, readers[0]) is None:
        group = _extended(graph, group, readers[0])
    return replace(group, siblings=())


def _extended(graph: Graph, group: Group, reader: Node) -> Group:
    """The group with a layer more, to which there is no obstacle."""
    assert reader.op is not None
    nodes = (*group.nodes, reader)
    if reader.op.activation is not None:
        return replace(group, nodes=nodes, activation=reader.op.activation)
    if isinstance(reader.op, Add):
        (residual,) = (name for name in reader.inputs if name != group.output.name)
        return replace(group, nodes=nodes, residual=residual)
    if isinstance(reader.op, GlobalAvgPool):
        return replace(group, nodes=nodes, last=reader)
    first = group.anchor
    if first.op is None or not first.op.leads:
        return replace(group, nodes=nodes, second=reader)
    if not isinstance(first.op, Mul):
        return replace(group, nodes=nodes, first=first)
    x, scale = sorted(first.inputs, key=lambda name: -graph.by_name[name].type.size)
    return replace(group, nodes=nodes, inputs=(x,), scale=scale, first=first)


def obstacle(graph: Graph, aim: Aim, group: Group, reader: Node) -> Obstacle | None:
    """Why a layer that reads a group's result is not computed by the group's kernel; None where it is to be.

    Of a launch for several convolutions, `group` is the member whose result it reads.
    """
    name = group.output.name
    if name in graph.returned:
        return Obstacle("output", f"{name} is an output of the network")
    readers = [node.name for node in graph.users[name]]
    match list(dict.fromkeys(readers)):
        case [_] if len(readers) > 1:
            return Obstacle("readers", f"{reader.name} reads {name} {len(readers)} times")
        case [_, _, *_] as several:
            return Obstacle("readers", f"{name} has {len(several)} readers: {listed(several, most=4)}")
    assert reader.op is not None
    if reader.op.activation is not None:
        return _activation(group)
    found = _sum(graph, group, reader) if isinstance(reader.op, Add) else _second(graph, aim, group, reader)
    if found is None and group.siblings:
        others = listed([one.anchor.name for one in group.siblings], most=4)
        shared = f"{group.anchor.name} shares its launch with {others}"
        return Obstacle("merged", f"{shared}: it ends in activations and does not compute {reader.name}")
    return found


def _activation(group: Group) -> Obstacle | None:
    op = (group.second or group.anchor).op
    assert op is not None
    name = group.output.name
    if group.last is not None:
        return Obstacle("no epilogue", f"{name} ends its kernel, which activates before it averages")
    if group.activation[0] != "none":
        return Obstacle("activation", f"{name} is the activation of its kernel, which has one and no more")
    if not op.takes_activation:
        return Obstacle("no epilogue", f"{name} is a {op.name}, which has no epilogue")
    return None


def _sum(graph: Graph, group: Group, reader: Node) -> Obstacle | None:
    anchor, name = group.anchor, group.output.name
    assert anchor.op is not None
    if group.activation[0] != "none":
        return Obstacle("order", f"{name} is an activation, and kernels add before they activate")
    if group.residual is not None:
        return Obstacle("no residual", f"the kernel of {name} adds {group.residual} already, and no more")
    if not anchor.op.takes_residual or group.second is not None or group.last is not None:
        reason = f"{reader.name} needs all of its arms; only convolutions, dense layers and products add one"
        return Obstacle("no residual", reason)
    if len(reader.inputs) != 2:
        return Obstacle("arms", f"{reader.name} has {len(reader.inputs)} arms, and a kernel adds one tensor")
    other = next(i for i in reader.inputs if i != name)
    # The other summand must be there when this kernel starts: of two arms, the later one adds. And its channels must
    # lie side by side, which a caller's tensor does not promise.
    if graph.position[other] >= graph.position[group.nodes[0].name]:
        return Obstacle("arms", f"{reader.name} needs both of its arms, and {other} comes later")
    if _lies_in_input(graph, other):
        return Obstacle("input", f"{reader.name} adds {other}, which lies in memory as the caller likes")
    return None


def _second(graph: Graph, aim: Aim, group: Group, reader: Node) -> Obstacle | None:
    """A layer that may share the anchor's loop: its second, the anchor of a first one, or the average that ends it."""
    assert reader.op is not None
    source = group.last or group.second or group.anchor
    assert source.op is not None
    name, before = group.output.name, graph.types_of(source)
    edge = Edge(name, reader.name, before, group.output.type, reader.type, aim)
    found = reader.op.apart(edge) if group.last is not None else reader.op.obstacle(source.op, edge)
    if found is not None or isinstance(reader.op, GlobalAvgPool):
        return found
    if len(group.nodes) == 1:
        return _scale_from_caller(graph, group, reader)
    if group.second is not None:
        return Obstacle("taken", f"{group.anchor.name} and {source.name} share a kernel already, which takes no third")
    return Obstacle("between", f"{name} comes between {source.name} and {reader.name}, whose kernel activates last")


def _scale_from_caller(graph: Graph, group: Group, reader: Node) -> Obstacle | None:
    """Whether what a product scales by has channels that need not lie side by side."""
    found = [name for name in group.inputs if isinstance(group.anchor.op, Mul) and _lies_in_input(graph, name)]
    name = min(found, key=lambda name: graph.by_name[name].type.size, default=None)
    if name is None or graph.by_name[name].type == group.anchor.type:
        return None
    return Obstacle("input", f"{reader.name} would scale by {name}, which lies in memory as the caller likes")


def _lies_in_input(graph: Graph, name: str) -> bool:
    """Whether a value is an input of the network, or may be a view of one."""
    node = graph.by_name[name]
    while isinstance(node.op, Flatten):
        node = graph.by_name[node.inputs[0]]
    return node.op is None


def show(groups: Groups, *, graph: Graph | None = None, dtype: DType = "fp32", batch: int = 1) -> str:
    """The groups as text: every kernel, where its result goes and why it goes through memory, and what is free.

    `graph` is the network as it was written; with it, layers that need nothing are listed too. `groups` may be some
    of a network's groups: then only they are shown. Bytes are those of `batch` pictures in `dtype`.
    """
    from cnndsl.passes import group_text

    return group_text.show(groups, graph=graph, dtype=dtype, batch=batch)
