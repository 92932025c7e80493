"""Classifiers: the last layer's number of outputs as the network's parameter `classes`."""

from __future__ import annotations

from collections.abc import Iterator

from cnndsl.exchange.write.tree import Body, Group, Layer, Output
from cnndsl.ir import Graph, Node
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense


def put_classes(body: Body, graph: Graph) -> int:
    """Write `classes` into the layers that make the classes of the outputs; how many there are, or 0."""
    heads = {node.name: channels for _, name in graph.outputs if (node := _head(name, graph)) is not None
             and (channels := node.type.channels) > 1}  # fmt: skip
    main = _head(graph.outputs[0][1], graph)
    layers = {item.node: item for item in _open_layers(body)}
    if main is None or main.name not in heads or main.name not in layers:
        return 0
    classes = heads[main.name]
    for name, channels in heads.items():
        if channels == classes and name in layers:
            layers[name].written["units" if isinstance(graph.by_name[name].op, Dense) else "filters"] = "classes"
    return classes


def behind_classes(node: str, graph: Graph, classes: int) -> bool:
    """Whether a node has its channels from a layer that makes the classes."""
    head = _head(node, graph, any_shape=True)
    outputs = {found.name for _, name in graph.outputs if (found := _head(name, graph)) is not None}
    return head is not None and head.name in outputs and head.type.channels == classes


def _head(name: str, graph: Graph, *, any_shape: bool = False) -> Node | None:
    """The convolution or dense layer that made the channels of a node, if that is one value for each of them."""
    node = graph.by_name[name]
    channels = node.type.channels
    if not any_shape and node.type.size != channels:
        return None
    while node.op is not None and len(node.inputs) == 1 and node.type.channels == channels:
        if isinstance(node.op, Conv | Dense):
            return node
        node = graph.by_name[node.inputs[0]]
    return None


def _open_layers(body: Body) -> Iterator[Layer]:
    """The layers that are written in the network's own body, once each."""
    for item in body:
        match item:
            case Layer():
                yield item
            case Group() if item.block is None:
                yield from _open_layers(item.body)
            case Output():
                yield from _open_layers(item.body)
