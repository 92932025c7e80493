"""The network computed with torch's own operators: the oracle for the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from cnndsl.ir import Folded, Graph, Node
from cnndsl.runtime.parameters import by_layer


def evaluate(
    graph: Graph, inputs: Sequence[torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The outputs by name, in the inputs' type and on their device. Values are dropped after their last use."""
    layers = by_layer(tensors)
    values = {node.name: x.detach() for node, x in zip(graph.inputs, inputs, strict=True)}
    kept = {name for _, name in graph.outputs}
    waiting = {name: len(users) for name, users in graph.users.items()}
    for node in graph.nodes:
        if node.op is None:
            continue
        values[node.name] = evaluate_node(node, [values[name] for name in node.inputs], layers)
        for name in node.inputs:
            waiting[name] -= 1
            if not waiting[name] and name not in kept:
                values.pop(name, None)
    return {output: values[name] for output, name in graph.outputs}


def evaluate_node(
    node: Node, xs: Sequence[torch.Tensor], layers: Mapping[str, Mapping[str, torch.Tensor]]
) -> torch.Tensor:
    """One layer and the batch norms that it has taken up, each computed on its own.

    `layers` holds the tensors of the state dict by layer, as `parameters.by_layer` gives them.
    """
    assert node.op is not None
    like = xs[0]

    def of(name: str) -> dict[str, torch.Tensor]:
        return {key: tensor.to(like.device, like.dtype) for key, tensor in layers.get(name, {}).items()}

    def folded(norm: Folded, x: torch.Tensor) -> torch.Tensor:
        """A batch norm where its layer has it."""
        assert norm.op is not None
        if norm.before and not norm.type.is_map:
            x = x.flatten(1)  # the flatten between the two is gone
        weights = of(norm.name)
        if norm.channels is not None:
            weights = {key: tensor[list(norm.channels)] for key, tensor in weights.items()}
        return norm.op.reference([x], weights)

    with torch.no_grad():
        for norm in node.folded:
            if norm.before:
                xs = [folded(norm, xs[0])]
        y = node.op.reference(xs, of(node.name))
        for norm in node.folded:
            if not norm.before:
                y = folded(norm, y)
    return y
