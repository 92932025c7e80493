"""What the rewrites of a graph share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cnndsl.ir import Graph


def alone(graph: Graph, name: str) -> bool:
    """Whether one layer reads a value, once, and nobody else gets it."""
    return len(graph.users[name]) == 1 and name not in graph.returned


def bypass(graph: Graph, replacement: Mapping[str, str]) -> Graph:
    """The graph without the nodes of `replacement`, whose readers read the named nodes instead."""

    def resolve(name: str) -> str:
        while name in replacement:
            name = replacement[name]
        return name

    nodes = tuple(
        replace(node, inputs=tuple(resolve(i) for i in node.inputs))
        for node in graph.nodes
        if node.name not in replacement
    )
    outputs = tuple((output, resolve(name)) for output, name in graph.outputs)
    return replace(graph, nodes=nodes, outputs=outputs)
