"""What a network costs: one row for each layer that does work, exact numbers, totals.

Pure data, computed in one walk over the graph, but for the memory, which is planned when it is asked for;
`cnndsl.cli.summary` prints it. A *row* is a layer together
with the activations and dropouts that follow it in line (``conv(96, 11x11, stride=4) -> relu``), which is how
the literature's tables count layers: together they make one tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cnndsl.errors import Span
from cnndsl.ir import Graph, Node, TensorType
from cnndsl.ops.fields import show_value
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import Memory, memory
from cnndsl.passes.simplify import simplify

BYTES_PER_VALUE = 4
"""Sizes are given for fp32, the type that published tables assume."""

_BIASES = frozenset({"bias", "shift"})


@dataclass(frozen=True)
class Layer:
    """One node of the graph, in exact integers.

    `values` and `macs` are for one picture; `weights` are learned values that are no biases, `buffers` the
    running statistics of batch norms, which no optimiser learns. `row` names the row that it is shown in.
    """

    name: str
    kind: str
    text: str
    inputs: tuple[str, ...]
    type: TensorType
    weights: int
    biases: int
    buffers: int
    macs: int
    row: str
    span: Span
    calls: tuple[Span, ...]

    @property
    def values(self) -> int:
        """Values of the output, for one picture."""
        return self.type.size

    @property
    def parameters(self) -> int:
        """Learned values: weights and biases."""
        return self.weights + self.biases


@dataclass(frozen=True)
class Row:
    """A layer and what follows it in line: they make one tensor of `type`."""

    name: str
    text: str
    type: TensorType
    layers: tuple[Layer, ...]

    @property
    def values(self) -> int:
        """Values of the output, for one picture."""
        return self.type.size

    @property
    def weights(self) -> int:
        """Learned values that are no biases."""
        return sum(layer.weights for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Learned values: weights and biases."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and dense layers, for one picture."""
        return sum(layer.macs for layer in self.layers)


@dataclass(frozen=True)
class Summary:
    """A network's rows and totals for a batch of `batch` pictures; `title` is its name with its settings."""

    network: str
    title: str
    settings: tuple[tuple[str, Any], ...]
    batch: int
    rows: tuple[Row, ...]
    outputs: tuple[tuple[str, str], ...]
    graph: Graph = field(repr=False)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every node, row by row."""
        return tuple(layer for row in self.rows for layer in row.layers)

    @cached_property
    def weights(self) -> int:
        """Learned values that are no biases: the count that many tables print."""
        return sum(row.weights for row in self.rows)

    @cached_property
    def parameters(self) -> int:
        """Learned values: weights and biases."""
        return sum(row.parameters for row in self.rows)

    @cached_property
    def buffers(self) -> int:
        """Running statistics of batch norms."""
        return sum(layer.buffers for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates for one picture."""
        return sum(row.macs for row in self.rows)

    @property
    def flops(self) -> int:
        """Floating-point operations for one picture, two for each multiply-accumulate."""
        return 2 * self.macs

    @cached_property
    def values(self) -> int:
        """Values of all rows for one picture, inputs included."""
        return sum(row.values for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Bytes of all rows' outputs for the whole batch in fp32, as if all were kept."""
        return self.bytes_of(self.values)

    @cached_property
    def memory(self) -> Memory:
        """Where the values lie between kernels: `arena` of one picture, and the `least` that any arena has."""
        return memory(fuse(simplify(self.graph)))

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters and buffers in fp32."""
        return BYTES_PER_VALUE * (self.parameters + self.buffers)

    def bytes_of(self, values: int) -> int:
        """Bytes in fp32 that a batch needs for so many values a picture."""
        return BYTES_PER_VALUE * self.batch * values


def summarize(graph: Graph, batch: int = 1) -> Summary:
    """The summary of an elaborated network, in time linear in its size."""
    assert batch >= 1
    ends = {name for _, name in graph.outputs}
    groups: dict[str, list[Node]] = {}
    row_of: dict[str, str] = {}
    for node in graph.nodes:
        joined = _continues(node, graph) and node.inputs[0] not in ends
        row_of[node.name] = row = row_of[node.inputs[0]] if joined else node.name
        groups.setdefault(row, []).append(node)
    rows = (
        Row(
            name,
            " -> ".join(node.text for node in nodes),
            nodes[-1].type,
            tuple(_layer(node, graph, row=name) for node in nodes),
        )
        for name, nodes in groups.items()
    )
    return Summary(graph.name, title_of(graph), graph.settings, batch, tuple(rows), graph.outputs, graph)


def title_of(graph: Graph) -> str:
    """A network's name with its settings: ``AlexNet(classes=1000)``."""
    settings = ", ".join(f"{name}={show_value(value)}" for name, value in graph.settings)
    return f"{graph.name}({settings})" if settings else graph.name


def _continues(node: Node, graph: Graph) -> bool:
    """Whether a node is shown in its producer's row: an activation or dropout, and the only reader."""
    if node.op is None or not (node.op.transparent or node.op.activation is not None):
        return False
    producer = graph.by_name[node.inputs[0]]
    return producer.op is not None and graph.users[producer.name] == (node,)


def _layer(node: Node, graph: Graph, *, row: str) -> Layer:
    weights = biases = buffers = macs = 0
    if node.op is not None:
        types = graph.types_of(node)
        macs = node.op.macs(types, node.type)
        for weight in node.op.weights(*types):
            if not weight.learned:
                buffers += weight.size
            elif weight.role in _BIASES:
                biases += weight.size
            else:
                weights += weight.size
    kind = "input" if node.op is None else node.op.name
    return Layer(
        node.name, kind, node.text, node.inputs, node.type, weights, biases, buffers, macs, row,
        node.span, node.calls,
    )
