"""What the numbers of an output are."""

from __future__ import annotations

from cnndsl.ir import Graph

_ENDS = {"softmax": "probability", "sigmoid": "sigmoid", "hardsigmoid": "hardsigmoid"}
"""What the values of an output are when this layer is its last; else they are plain scores."""


def meaning(graph: Graph, name: str) -> str:
    """What the values of a node that is an output are: "score", "probability", "sigmoid" or "hardsigmoid".

    The layer that made them is seen through what inference leaves out and what only reshapes.
    """
    node = graph.by_name[name]
    while node.op is not None and (node.op.transparent or node.op.name == "flatten"):
        node = graph.by_name[node.inputs[0]]
    return _ENDS.get(node.op.name if node.op is not None else "input", "score")
