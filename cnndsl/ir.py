"""The graph: tensor types, nodes, and the checks that hold between passes.

A `Graph` is a tuple of nodes in an order in which they can be computed. A node is named by its path
(``stage1.conv2``), which is also the prefix of its weight keys, and it refers to its inputs by their names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from cnndsl.errors import Span, lines_of

if TYPE_CHECKING:
    from cnndsl.ops.base import Op


@dataclass(frozen=True)
class TensorType:
    """Shape of a tensor without its batch: (height, width, channels) or (features,)."""

    shape: tuple[int, ...]

    @property
    def is_map(self) -> bool:
        """Whether this is a feature map (height x width x channels) rather than a vector."""
        return len(self.shape) == 3

    @property
    def height(self) -> int:
        """Rows; 1 for a vector."""
        return self.shape[0] if self.is_map else 1

    @property
    def width(self) -> int:
        """Columns; 1 for a vector."""
        return self.shape[1] if self.is_map else 1

    @property
    def channels(self) -> int:
        """Channels of a map, features of a vector."""
        return self.shape[-1]

    @property
    def size(self) -> int:
        """Number of values in one picture."""
        return prod(self.shape)

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """The shape that torch gives it, batch left out: (C, H, W) or (features,)."""
        return (self.shape[2], self.shape[0], self.shape[1]) if self.is_map else self.shape

    def __str__(self) -> str:
        return "[" + "x".join(map(str, self.shape)) + "]"


@dataclass(frozen=True)
class InputSpec:
    """How a picture becomes the input tensor; see `cnndsl.runtime.pictures`."""

    resize: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    range: int = 1
    order: str = "rgb"


@dataclass(frozen=True)
class Node:
    """One layer. `op` is None for an input of the network.

    `folded` holds the batch norms that `simplify` has merged into this node's weights, in computing order, and
    `spans` the places of every line of the ``.cnn`` file that this node stands for, its own first. `origin` is the
    layer of the file that a node of another name does the work of.
    """

    name: str
    op: Op | None
    inputs: tuple[str, ...]
    type: TensorType
    span: Span
    calls: tuple[Span, ...] = ()
    folded: tuple[Folded, ...] = ()
    spec: InputSpec | None = None
    origin: str | None = None

    @property
    def layer(self) -> str:
        """The path of the layer in the file that this node computes."""
        return self.name if self.origin is None else self.origin

    @property
    def layers(self) -> tuple[str, ...]:
        """The paths of all layers that it stands for, folded ones too, in computing order."""
        before = (n.layer for n in self.folded if n.before)
        return (*before, self.layer, *(n.layer for n in self.folded if not n.before))

    @property
    def text(self) -> str:
        """The layer as a file would write it; ``input`` for an input."""
        return "input" if self.op is None else str(self.op)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Every place this node came from."""
        return (self.span, *(s for n in self.folded for s in n.spans))


@dataclass(frozen=True)
class Folded(Node):
    """A batch norm as the node that has taken it up holds it.

    before    whether it acts on what that node reads; else on what it computes.
    channels  for each channel there, the number of the batch norm's channel; None where they are the same.
    across    the layers between the two that it was moved across.
    """

    before: bool = False
    channels: tuple[int, ...] | None = None
    across: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A network: nodes in computing order, and the named outputs (name, node name)."""

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, Any], ...] = field(default=())

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Nodes by their path."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def position(self) -> dict[str, int]:
        """The number of each node in computing order."""
        return {node.name: number for number, node in enumerate(self.nodes)}

    @cached_property
    def returned(self) -> frozenset[str]:
        """The nodes that are outputs."""
        return frozenset(name for _, name in self.outputs)

    @cached_property
    def needed(self) -> frozenset[str]:
        """The nodes that an output depends on."""
        found = set(self.returned)
        for node in reversed(self.nodes):
            if node.name in found:
                found.update(node.inputs)
        return frozenset(found)

    @cached_property
    def users(self) -> dict[str, tuple[Node, ...]]:
        """For each node, the nodes that read it."""
        users: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                users[name].append(node)
        return {name: tuple(found) for name, found in users.items()}

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The network's inputs, in the order of their declaration."""
        return tuple(node for node in self.nodes if node.op is None)

    def types_of(self, node: Node) -> tuple[TensorType, ...]:
        """The types of a node's inputs."""
        return tuple(self.by_name[name].type for name in node.inputs)


def verify(graph: Graph) -> Graph:
    """Check what every pass must keep, and return the graph unchanged.

    Raises AssertionError: a broken graph is our mistake, never the user's.
    """
    seen: dict[str, Node] = {}
    for node in graph.nodes:
        assert node.name not in seen, f"two nodes are called {node.name}"
        for name in node.inputs:
            assert name in seen, f"{node.name} reads {name}, which is not computed before it"
        if node.op is None:
            assert not node.inputs, f"the input {node.name} has inputs"
        else:
            types = tuple(seen[name].type for name in node.inputs)
            inferred = node.op.infer(*types)
            assert inferred == node.type, f"{node.name} is {node.type}, but its shape rule gives {inferred}"
        seen[node.name] = node
    assert graph.outputs, "a graph without an output"
    for output, name in graph.outputs:
        assert name in seen, f"output {output} is {name}, which does not exist"
    return graph


def show(graph: Graph) -> str:
    """The graph as text, one node a line: ``name = op(arguments)(inputs) : type``."""
    width = max(len(node.name) for node in graph.nodes)
    lines = [f"graph {graph.name}"]
    for node in graph.nodes:
        before = "".join(f"{n.name} + " for n in node.folded if n.before)
        after = "".join(f" + {n.name}" for n in node.folded if not n.before)
        inputs = f" <- {', '.join(node.inputs)}" if node.inputs else ""
        text = f"{before}{node.text}{after}{inputs}"
        where = lines_of([node.span], home=graph.nodes[0].span)
        lines.append(f"  {node.name:<{width}} = {text}  {node.type}  # {where}")
    lines.extend(f"  output {name} = {value}" for name, value in graph.outputs)
    return "\n".join(lines)
