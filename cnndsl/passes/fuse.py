"""Graph to groups: which layers one kernel computes together.

A group is an anchor and its epilogue: an optional residual addition, then an optional activation, both applied to
the anchor's fp32 tile before it is rounded and stored. Which operations can be what, they declare themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnndsl.ir import Graph, Node
from cnndsl.ops.joins import Add
from cnndsl.ops.reshape import Flatten


@dataclass(frozen=True)
class Group:
    """Layers that become one kernel, in order. `inputs` are the anchor's; `residual` is added to its result."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    residual: str | None = None
    activation: tuple[str, float] = ("none", 0.0)

    @property
    def anchor(self) -> Node:
        """The layer that owns the kernel's loop."""
        return self.nodes[0]

    @property
    def output(self) -> Node:
        """The layer whose result the kernel stores."""
        return self.nodes[-1]

    @property
    def title(self) -> str:
        """The names of all its layers: ``conv1 + relu1``."""
        return " + ".join(name for node in self.nodes for name in (node.name, *(f.name for f in node.folded)))


@dataclass(frozen=True)
class Groups:
    """A whole network as groups, in computing order."""

    graph: Graph
    groups: tuple[Group, ...]


def fuse(graph: Graph) -> Groups:
    """Form the groups of a simplified graph."""
    outputs = {name for _, name in graph.outputs}
    position = {node.name: i for i, node in enumerate(graph.nodes)}
    absorbed: set[str] = set()
    groups: list[Group] = []

    def only_reader(node: Node) -> Node | None:
        users = graph.users[node.name]
        return users[0] if len(users) == 1 and node.name not in outputs else None

    for node in graph.nodes:
        if node.op is None or node.name in absorbed:
            continue
        nodes: list[Node] = [node]
        residual: str | None = None
        activation = node.op.activation or ("none", 0.0)
        reader = only_reader(node)
        if node.op.takes_residual and reader is not None and isinstance(reader.op, Add) and len(reader.inputs) == 2:
            other = next(i for i in reader.inputs if i != node.name)
            # The other summand must be there when this kernel starts: of two arms, the later one adds. And its
            # channels must lie side by side, which a caller's tensor does not promise.
            if position[other] < position[node.name] and not _lies_in_input(graph, other):
                nodes.append(reader)
                residual = other
                reader = only_reader(reader)
        if node.op.takes_activation and reader is not None and reader.op is not None:
            follows = reader.op.activation
            if follows is not None:
                nodes.append(reader)
                activation = follows
        absorbed.update(n.name for n in nodes)
        groups.append(Group(tuple(nodes), node.inputs, residual, activation))
    return Groups(graph, tuple(groups))


def _lies_in_input(graph: Graph, name: str) -> bool:
    """Whether a value is an input of the network, or may be a view of one."""
    node = graph.by_name[name]
    while isinstance(node.op, Flatten):
        node = graph.by_name[node.inputs[0]]
    return node.op is None


def show(groups: Groups) -> str:
    """The groups as text, one a line."""
    lines = [f"groups {groups.graph.name}: {len(groups.groups)} kernels for {len(groups.graph.nodes)} layers"]
    width = max((len(g.title) for g in groups.groups), default=0)
    for g in groups.groups:
        ops = " -> ".join(str(n.op) for n in g.nodes)
        reads = ", ".join((*g.inputs, *((f"+{g.residual}",) if g.residual is not None else ())))
        lines.append(f"  {g.title:<{width}} = {ops} <- {reads}  {g.output.type}")
    return "\n".join(lines)
