"""Concats: what one shares with another is laid out once, and activations behind one go before it."""

from __future__ import annotations

from dataclasses import replace

from cnndsl.ir import Graph, Node
from cnndsl.ops.joins import Concat
from cnndsl.ops.reshape import ChannelShuffle, Flatten
from cnndsl.passes.rewriting import alone, bypass


def nest_concats(graph: Graph) -> Graph:
    """Let a concat whose arms begin with, or hold, those of an earlier one in a row read that one instead.

    Exporters write a growing tensor as cat(a, b), cat(a, b, c) and so on, each with all its arms; nested, they lie in
    one buffer. A concat of the very arms of another is that one.
    """
    nested, same = shared_arms(graph)
    nodes = tuple(replace(n, inputs=nested.get(n.name, n.inputs)) for n in graph.nodes)
    return bypass(replace(graph, nodes=nodes), same)


def shared_arms(graph: Graph) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The arms of concats by their names, with earlier ones in place of what they hold; and which are another."""
    before: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    """The arms of the concats so far and their names, by their first arms."""
    nested: dict[str, tuple[str, ...]] = {}
    same: dict[str, str] = {}

    def shorter(arms: tuple[str, ...]) -> tuple[str, ...]:
        """The arms with the longest concats in place of what these hold."""
        found: list[str] = []
        at = 0
        while at < len(arms):
            length, name = 1, arms[at]
            for held, concat in before.get(name, ()):
                if len(held) > length and held == arms[at : at + len(held)]:
                    length, name = len(held), concat
            found.append(name)
            at += length
        return tuple(found)

    for node in graph.nodes:
        if not isinstance(node.op, Concat):
            continue
        arms = tuple(same.get(name, name) for name in node.inputs)
        while len(arms) > 1 and (less := shorter(arms)) != arms:
            arms = less
        if len(arms) == 1:
            same[node.name] = arms[0]
        else:
            nested[node.name] = arms
            before.setdefault(arms[0], []).append((arms, node.name))
    return nested, same


def activate_arms(graph: Graph) -> Graph:
    """Put an activation behind a concat, a shuffle or a flatten before it, into the kernels that make its values.

    Only where all of them can end in one, and nobody else reads what they make: then a kernel less is launched. One
    kernel's activation keeps its name; of several, each is called after its number.
    """
    gone: dict[str, str] = {}
    inserted: dict[str, Node] = {}
    """By the name of the layer that it comes after."""
    for node in graph.nodes:
        if node.op is None or node.op.activation is None:
            continue
        (source,) = node.inputs
        makers = _makers(graph, source)
        if makers is None or makers == [source] or inserted.keys() & set(makers):
            continue
        for number, maker in enumerate(makers):
            name, type_ = f"{node.name}.{number}" if len(makers) > 1 else node.name, graph.by_name[maker].type
            inserted[maker] = replace(node, name=name, inputs=(maker,), type=type_, origin=node.layer)
        gone[node.name] = source
    graph = bypass(graph, gone)
    nodes: list[Node] = []
    for node in graph.nodes:
        reads = tuple(inserted[name].name if name in inserted else name for name in node.inputs)
        nodes.append(replace(node, inputs=reads))
        if node.name in inserted:
            nodes.append(inserted[node.name])
    return replace(graph, nodes=tuple(nodes))


def _makers(graph: Graph, name: str) -> list[str] | None:
    """The layers whose kernels make a value between them; None where one cannot take an activation for it."""
    found: list[str] = []
    waiting = [name]
    while waiting:
        name = waiting.pop()
        node = graph.by_name[name]
        if node.op is None or not alone(graph, name):
            return None
        if isinstance(node.op, (Concat, ChannelShuffle, Flatten)):
            waiting.extend(reversed(node.inputs))
        elif node.op.takes_activation:
            found.append(name)
        else:
            return None
    return found
