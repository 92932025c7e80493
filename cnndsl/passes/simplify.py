"""Graph to graph: what inference does not need goes, batch norms fold, flattens become free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cnndsl.ir import Graph, Node, verify
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.global_pool import AdaptiveAvgPool
from cnndsl.ops.normalize import BatchNorm
from cnndsl.ops.reshape import Flatten


def simplify(graph: Graph) -> Graph:
    """Apply every rewrite of `PASSES` in order. The result computes the same function."""
    for rewrite in PASSES:
        graph = verify(rewrite(graph))
    return graph


def drop_transparent(graph: Graph) -> Graph:
    """Remove layers that are the identity at inference: dropout, identity, pooling to the size that is there."""

    def is_identity(node: Node) -> bool:
        match node.op:
            case AdaptiveAvgPool() | Flatten():
                return node.type == graph.types_of(node)[0]
            case Op():
                return node.op.transparent
        return False

    return _bypass(graph, {node.name: node.inputs[0] for node in graph.nodes if is_identity(node)})


def fold_batchnorm(graph: Graph) -> Graph:
    """Merge a batch norm into the convolution or dense layer whose only reader it is.

    W' = W * scale, b' = b * scale + shift, with scale = weight / sqrt(variance + eps); computed in fp64 when the
    weights are packed. The graph only records which batch norms a layer has taken up.
    """
    outputs = {name for _, name in graph.outputs}
    bypass: dict[str, str] = {}
    folded: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        if not isinstance(node.op, BatchNorm):
            continue
        source = node.inputs[0]
        owner = bypass.get(source, source)
        alone = len(graph.users[source]) == 1 and source not in outputs
        if alone and isinstance(graph.by_name[owner].op, (Conv, Dense)):
            bypass[node.name] = owner
            folded[owner] = (*folded.get(owner, ()), node)
    nodes = tuple(replace(n, folded=folded[n.name]) if n.name in folded else n for n in graph.nodes)
    return _bypass(replace(graph, nodes=nodes), bypass)


def free_flatten(graph: Graph) -> Graph:
    """Remove a flatten that only dense layers read: they order their columns by height, width, channel instead."""
    outputs = {name for _, name in graph.outputs}

    def is_free(node: Node) -> bool:
        users = graph.users[node.name]
        return (
            isinstance(node.op, Flatten)
            and node.name not in outputs
            and bool(users)
            and all(isinstance(user.op, Dense) for user in users)
        )

    return _bypass(graph, {node.name: node.inputs[0] for node in graph.nodes if is_free(node)})


def drop_unused(graph: Graph) -> Graph:
    """Remove layers from which no output can be reached. Inputs stay: the caller passes them."""
    return replace(graph, nodes=tuple(n for n in graph.nodes if n.op is None or n.name in graph.needed))


PASSES: tuple[Callable[[Graph], Graph], ...] = (drop_transparent, fold_batchnorm, free_flatten, drop_unused)


def _bypass(graph: Graph, replacement: dict[str, str]) -> Graph:
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
