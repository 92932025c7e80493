"""What a drawing shows: boxes with lines of layers, the values that flow between them, and frames around blocks.

A *box* is what one kernel computes, an input or an output of the network, or layers that cost nothing at inference.
Boxes stand in an order in which they can be computed, and a box's number is its place in that order. A *frame* is a
run of boxes whose names begin with one path: a block, an arm, a labelled group or one turn of a `repeat`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from cnndsl.ir import Graph, Node, TensorType
from cnndsl.passes.boundaries import free_layers
from cnndsl.passes.fuse import Group, Groups
from cnndsl.summary import Layer, summarize

View = Literal["layers", "kernels"]
State = Literal["computed", "folded", "free", "unused"]

Path = tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One layer of a box.

    `state` says what becomes of it: computed by the box's kernel, folded into another layer's weights, free (the
    identity, or another way to read the same memory), or unused (no output depends on it).
    """

    node: Node
    state: State = "computed"


@dataclass(frozen=True)
class Link:
    """A value that a box reads: the box that makes it, the row that reads it, and the names of both layers."""

    source: int
    row: int
    made: str
    read: str


@dataclass(frozen=True)
class Box:
    """One box. `type` is the type of the value that it makes, `group` the number of its kernel's group.

    `heads` are the rows with which a convolution begins: several where one launch computes several.
    """

    kind: Literal["input", "layers", "output"]
    name: str
    path: Path
    rows: tuple[Row, ...]
    links: tuple[Link, ...]
    type: TensorType
    group: int | None = None
    parameters: int = 0
    macs: int = 0
    heads: tuple[int, ...] = (0,)

    @property
    def is_join(self) -> bool:
        """Whether it is a join that no kernel has taken up: a slim box below its arms."""
        return len(self.rows) == 1 and self.rows[0].node.op is not None and self.rows[0].node.op.joins


@dataclass(frozen=True)
class Frame:
    """A frame by its path, from its first box to its last; `members` are boxes by number, and frames."""

    path: Path
    first: int
    last: int
    members: tuple[int | Frame, ...]


@dataclass(frozen=True)
class Diagram:
    """A network as boxes and frames.

    `layers` has every layer's costs by its name, `free` the reason why nothing is launched for a layer where it stands.
    """

    graph: Graph
    view: View
    boxes: tuple[Box, ...]
    members: tuple[int | Frame, ...]
    layers: dict[str, Layer]
    free: dict[str, str]


def diagram(graph: Graph, groups: Groups, *, view: View = "layers") -> Diagram:
    """The diagram of an elaborated graph and of the groups that its simplified form was fused to.

    The view ``layers`` has every layer as written, those of a group together in one box, but for convolutions that
    share a launch: those are boxes of one group, each in its place. ``kernels`` has the groups alone.
    """
    layers = {layer.name: layer for layer in summarize(graph).layers}
    shown = graph if view == "layers" else groups.graph
    boxes = _with_outputs(_linked(_members(shown, groups, view), layers), shown)
    free = {each.node.name: each.reason for each in free_layers(graph, groups)}
    moved = {node.origin for node in groups.graph.nodes if node.origin is not None}
    free |= {name: f"computed before {graph.by_name[name].inputs[0]}, by the kernels that make it" for name in moved}
    return Diagram(graph, view, boxes, _frames(boxes), layers, free)


# --- boxes -----------------------------------------------------------------------------------------


@dataclass
class _Members:
    """The rows of a box to be, by the graph's order, its group, and the path that it stands in.

    `parts` are the groups, without siblings, that its kernel computes there, and `lanes` number them for each layer.
    """

    rows: list[Row]
    group: int | None
    path: Path
    parts: tuple[Group, ...] = ()
    lanes: dict[str, int] = field(default_factory=dict)


def _members(graph: Graph, groups: Groups, view: View) -> list[_Members]:
    """Which layers stand together."""
    boxes: list[_Members] = []
    box_of: dict[str, _Members] = {}

    def add(members: _Members) -> None:
        boxes.append(members)
        box_of.update((row.node.name, members) for row in members.rows)

    folded = {norm.name: norm for group in groups.groups for node in group.computed for norm in node.folded}
    for number, parts in _boxed(groups, view):
        nodes = [node for one in parts for node in one.nodes]
        # Layers whose work is done elsewhere than they stand have no place here: activations that were put before a
        # concat, and batch norms that were moved across another layer or folded into several.
        rows = [Row(graph.by_name[n.name]) for n in nodes if view == "kernels" or n.origin is None]
        if view == "layers":
            norms = (norm for node in nodes for norm in node.folded)
            rows += [Row(graph.by_name[n.name], "folded") for n in norms if not n.across and n.name not in box_of]
        names = [row.node.layer for row in rows] if view == "layers" else [node.layer for node in nodes]
        lanes = {node.name: lane for lane, one in enumerate(parts) for node in one.nodes}
        add(_Members(rows, number, _common(map(_prefix, names)), parts, lanes))
    leads_to = _leads_to(graph, {name: box.group for name, box in box_of.items()})
    for node in graph.nodes:
        if node.name in box_of:
            continue
        state: State = "computed" if node.op is None else "free" if node.name in graph.needed else "unused"
        state = "folded" if node.name in folded else state
        owner = box_of.get(node.inputs[0]) if len(node.inputs) == 1 else None
        # What stands between two layers of one kernel must stay with them: a box of its own would be read by the one
        # that it reads.
        between = owner is not None and owner.group is not None and owner.group in leads_to[node.name]
        if owner is not None and (between or (state == "free" and _continues(node, graph, owner))):
            owner.rows.append(Row(node, state))
            owner.lanes[node.name] = owner.lanes.get(node.inputs[0], 0)
            box_of[node.name] = owner
        else:
            add(_Members([Row(node, state)], None, _prefix(node.name)))
    position = {node.name: i for i, node in enumerate(graph.nodes)}
    for box in boxes:
        box.rows.sort(key=lambda row: (box.lanes.get(row.node.name, 0), position[row.node.name]))
    boxes.sort(key=lambda box: max(position[row.node.name] for row in box.rows))
    return boxes


def _boxed(groups: Groups, view: View) -> Iterator[tuple[int, tuple[Group, ...]]]:
    """What stands in each box that a kernel computes, with the number of its group."""
    for number, group in enumerate(groups.groups):
        if view == "kernels":
            yield number, group.members
        else:
            yield from ((number, (one,)) for one in group.members)


def _leads_to(graph: Graph, group_of: dict[str, int | None]) -> dict[str, set[int | None]]:
    """For each layer without a group, the groups that read it, straight or through other such layers."""
    found: dict[str, set[int | None]] = {}
    for node in reversed(graph.nodes):
        if node.name not in group_of:
            groups: set[int | None] = set()
            for user in graph.users[node.name]:
                groups |= found[user.name] if user.name in found else {group_of[user.name]}
            found[node.name] = groups
    return found


def _continues(node: Node, graph: Graph, owner: _Members) -> bool:
    """Whether a free layer is shown in the box of the layer that it reads: as its only reader, in the same body."""
    source = graph.by_name[node.inputs[0]]
    alone = graph.users[source.name] == (node,) and all(name != source.name for _, name in graph.outputs)
    return source.op is not None and alone and _prefix(node.name) == owner.path


def _linked(boxes: list[_Members], layers: dict[str, Layer]) -> list[Box]:
    """The boxes in an order in which they can be computed, with the values that they read."""
    number_of = {row.node.name: i for i, box in enumerate(boxes) for row in box.rows}
    reads = [
        {number_of[name] for row in box.rows for name in row.node.inputs if number_of[name] != i}
        for i, box in enumerate(boxes)
    ]
    order = _order(reads)
    place = {old: new for new, old in enumerate(order)}
    done: list[Box] = []
    shown = {row.node.layer for box in boxes for row in box.rows}
    for old in order:
        box = boxes[old]
        links = tuple(
            Link(place[number_of[name]], i, name, row.node.name)
            for i, row in enumerate(box.rows)
            for name in row.node.inputs
            if number_of[name] != old
        )
        lanes = [box.lanes.get(row.node.name, 0) for row in box.rows]
        heads = tuple(lanes.index(lane) for lane in dict.fromkeys(lanes))
        # What one launch computes side by side, it computes of one tensor: one arrow.
        links = tuple(link for link in links if link.row not in heads[1:])
        last = box.rows[-1].node
        ends = [box.rows[i - 1].node.type for i in (*heads[1:], len(box.rows))]
        type_ = replace(last.type, shape=(*last.type.shape[:-1], sum(t.channels for t in ends)))
        counted = [layers[row.node.layer] for row in box.rows]
        if box.group is not None:
            folded = [norm.name for one in box.parts for node in one.nodes for norm in node.folded]
            counted += [layers[name] for name in folded if name not in shown]
            shown.update(folded)  # once, where several have taken it up
        done.append(Box(
            "input" if last.op is None else "layers", last.name, box.path, tuple(box.rows), links, type_,
            box.group, sum(c.parameters for c in counted), sum(c.macs for c in counted), heads,
        ))  # fmt: skip
    return done


def _order(reads: list[set[int]]) -> list[int]:
    """Numbers in an order in which each comes after those that it reads, the given order where that leaves a choice."""
    waiting = [len(r) for r in reads]
    users: list[list[int]] = [[] for _ in reads]
    for i, r in enumerate(reads):
        for source in r:
            users[source].append(i)
    ready = [i for i, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for user in users[i]:
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, user)
    assert len(order) == len(reads), "two boxes read each other"
    return order


def _with_outputs(boxes: list[Box], graph: Graph) -> tuple[Box, ...]:
    """All boxes, each output of the network a box of its own behind the one that makes it."""
    maker = {row.node.name: i for i, box in enumerate(boxes) for row in box.rows}
    behind: dict[int, list[tuple[str, str]]] = {}
    for output, name in graph.outputs:
        behind.setdefault(maker[name], []).append((output, name))
    place: dict[int, int] = {}
    last_of: dict[Path, int] = {}
    for i, box in enumerate(boxes):
        last_of.update((box.path[:depth], i) for depth in range(len(box.path) + 1))
    done: list[Box] = []
    for i, box in enumerate(boxes):
        place[i] = len(done)
        links = tuple(replace(link, source=place[link.source]) for link in box.links)
        done.append(replace(box, links=links))
        # An output stands outside the frames that end with its maker.
        depth = next((d for d in range(len(box.path), 0, -1) if last_of[box.path[:d]] != i), 0)
        done.extend(
            Box("output", output, box.path[:depth], (), (Link(place[i], 0, name, output),), box.type)
            for output, name in behind.get(i, ())
        )
    return tuple(done)


# --- frames ----------------------------------------------------------------------------------------


def _prefix(name: str) -> Path:
    return tuple(name.split(".")[:-1])


def _common(paths: Iterable[Path]) -> Path:
    first, *rest = paths
    for path in rest:
        same = 0
        while same < min(len(first), len(path)) and first[same] == path[same]:
            same += 1
        first = first[:same]
    return first


def _frames(boxes: tuple[Box, ...]) -> tuple[int | Frame, ...]:
    """The frames that hold at least two boxes and no foreign one, one in the other."""
    found: dict[Path, list[int]] = {}
    for i, box in enumerate(boxes):
        for depth in range(1, len(box.path) + 1):
            found.setdefault(box.path[:depth], []).append(i)
    spans: dict[tuple[int, int], Path] = {}
    for path, members in found.items():
        if len(members) > 1 and members[-1] - members[0] + 1 == len(members):
            # Of two paths with the same boxes the longer one says more.
            spans[members[0], members[-1]] = path
    # Outer frames first, so that each finds its parent open.
    todo = sorted(spans, key=lambda span: (span[0], -span[1]))
    at = 0

    def fill(first: int, last: int) -> tuple[int | Frame, ...]:
        nonlocal at
        members: list[int | Frame] = []
        i = first
        while i <= last:
            if at < len(todo) and todo[at][0] == i and todo[at][1] <= last:
                span = todo[at]
                at += 1
                members.append(Frame(spans[span], *span, fill(*span)))
                i = span[1] + 1
            else:
                members.append(i)
                i += 1
        return tuple(members)

    return fill(0, len(boxes) - 1)
