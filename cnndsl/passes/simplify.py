"""Graph to graph: what inference does not need goes, batch norms fold, concats share memory, flattens become free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cnndsl.ir import Graph, Node, verify
from cnndsl.ops.base import Op
from cnndsl.ops.dense import Dense
from cnndsl.ops.global_pool import AdaptiveAvgPool, GlobalAvgPool, GlobalMaxPool
from cnndsl.ops.pool import AvgPool
from cnndsl.ops.reshape import Flatten
from cnndsl.passes.folding import fold_batchnorm, fold_batchnorm_forward
from cnndsl.passes.joining import activate_arms, nest_concats
from cnndsl.passes.rewriting import bypass


def simplify(graph: Graph) -> Graph:
    """Apply every rewrite of `PASSES` in order. The result computes the same function."""
    for rewrite in PASSES:
        graph = verify(rewrite(graph))
    return graph


def drop_transparent(graph: Graph) -> Graph:
    """Remove layers that are the identity at inference: dropout, identity, pooling to the size that is there."""

    def is_identity(node: Node) -> bool:
        match node.op:
            case AdaptiveAvgPool() | GlobalAvgPool() | GlobalMaxPool() | Flatten():
                return node.type == graph.types_of(node)[0]
            case Op():
                return node.op.transparent
        return False

    return bypass(graph, {node.name: node.inputs[0] for node in graph.nodes if is_identity(node)})


def name_global_averages(graph: Graph) -> Graph:
    """Make every average over a whole map a `globalavgpool`, whichever way the file says it."""

    def is_global(node: Node) -> bool:
        match node.op:
            case AdaptiveAvgPool():
                return node.op.size == (1, 1)
            case AvgPool(pad=(0, 0, 0, 0)):
                (x,) = graph.types_of(node)
                return node.op.kernel == (x.height, x.width)
        return False

    nodes = tuple(replace(node, op=GlobalAvgPool()) if is_global(node) else node for node in graph.nodes)
    return replace(graph, nodes=nodes)


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

    return bypass(graph, {node.name: node.inputs[0] for node in graph.nodes if is_free(node)})


def drop_unused(graph: Graph) -> Graph:
    """Remove layers from which no output can be reached. Inputs stay: the caller passes them."""
    return replace(graph, nodes=tuple(n for n in graph.nodes if n.op is None or n.name in graph.needed))


PASSES: tuple[Callable[[Graph], Graph], ...] = (
    drop_unused,
    name_global_averages,
    drop_transparent,
    nest_concats,
    fold_batchnorm,
    fold_batchnorm_forward,
    activate_arms,
    free_flatten,
)
