"""The graph that a text is written for: a model's, without what no text would hold."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import fields, replace

from cnndsl.ir import Graph, Node, verify
from cnndsl.ops.base import Op
from cnndsl.ops.joins import Concat
from cnndsl.tokens import KEYWORDS


def normalised(graph: Graph) -> Graph:
    """The same network as people write it.

    What no output needs is left out, and so are joins of one tensor; numbers that were stored in fp32
    become the shortest decimals that are stored so; a concat that begins with all that another one joins reads that
    other one, as each layer of DenseNet does. Outputs whose names are keywords get others.
    """
    nodes, outputs = _without_single_joins(graph)
    nodes = [_shorter(node) for node in nodes]
    nodes = list(_nested_concats(nodes))
    kept = replace(graph, nodes=tuple(nodes), outputs=tuple(_named(outputs)), settings=())
    kept = replace(kept, nodes=tuple(n for n in kept.nodes if n.op is None or n.name in kept.needed))
    return verify(kept)


def _named(outputs: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    taken = {name for name, _ in outputs}
    for name, node in outputs:
        own = name
        while own in KEYWORDS or (own != name and own in taken):
            own += "_"
        taken.add(own)
        yield own, node


def _without_single_joins(graph: Graph) -> tuple[list[Node], list[tuple[str, str]]]:
    """What the outputs need, and the outputs, with what a join of one tensor joins in its place."""
    stands_for: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        inputs = tuple(stands_for.get(name, name) for name in node.inputs)
        if node.op is not None and node.op.joins and len(inputs) == 1:
            stands_for[node.name] = inputs[0]
        elif node.op is None or node.name in graph.needed:
            nodes.append(replace(node, inputs=inputs) if inputs != node.inputs else node)
    return nodes, [(name, stands_for.get(node, node)) for name, node in graph.outputs]


def _shorter(node: Node) -> Node:
    """The node with 9.999999747378752e-06, which is 1e-5 in fp32, as 1e-5."""
    if node.op is None:
        return node
    changed = {}
    for f in fields(node.op):
        value = getattr(node.op, f.name)
        if isinstance(value, float) and _in_fp32(value) == value:
            short = next(v for v in (float(f"{value:.{digits}g}") for digits in range(1, 18)) if _in_fp32(v) == value)
            if short != value:
                changed[f.name] = short
    return replace(node, op=replace(node.op, **changed)) if changed else node


def _in_fp32(value: float) -> float | None:
    try:
        (single,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return None
    return float(single)


def _nested_concats(nodes: list[Node]) -> Iterator[Node]:
    """The nodes with concat(a, b, c) as concat(d, c) where d is concat(a, b)."""
    known: dict[tuple[str, ...], str] = {}
    for node in nodes:
        if not isinstance(node.op, Concat):
            yield node
            continue
        whole = known.setdefault(node.inputs, node.name)
        start = node.inputs[:-1]
        if whole == node.name and start in known:
            yield replace(node, inputs=(known[start], node.inputs[-1]))
        else:
            yield node


def commutes(op: Op, inputs: int) -> bool:
    """Whether the order of a join's inputs does not matter to the last bit: a sum or product of two."""
    return op.joins and not isinstance(op, Concat) and inputs == 2
