"""Labels of layers, and names of inputs and outputs: words of the language, each once."""

from __future__ import annotations

from cnndsl.exchange.model import identifier
from cnndsl.exchange.write.tree import Body, Goto, Group, Layer, Output, items_within
from cnndsl.ir import Graph
from cnndsl.tokens import KEYWORDS


def free_word(name: str, taken: set[str]) -> str:
    """A name that is no keyword and not taken yet; it is taken then."""
    word = f"{name}_" if name in KEYWORDS else name
    number = 1
    while word in taken:
        number += 1
        word = f"{name}_{number}"
    taken.add(word)
    return word


def output_names(graph: Graph) -> dict[str, str]:
    """The names that a text gives the outputs."""
    taken = {"main"}
    return {name: name if name == "main" else free_word(name, taken) for name, _ in graph.outputs}


def put_labels(body: Body, graph: Graph, outputs: dict[str, str]) -> None:
    """Give a label to every layer that has weights or is referred to."""
    items = list(items_within(body))
    wanted = {item.node for item in items if isinstance(item, Goto)}
    wanted.update(name for item in items if isinstance(item, Layer) for name in item.refs)
    taken = set(outputs.values())
    inputs = {node.name for node in graph.inputs}
    for item in items:
        if isinstance(item, Layer) and item.node in inputs:
            item.label = free_word(identifier(item.node, otherwise="image"), taken)
    for item in items:
        match item:
            case Layer() if item.node not in inputs:
                node = graph.by_name[item.node]
                assert node.op is not None
                if item.node in wanted or node.op.weights(*graph.types_of(node)):
                    item.label = free_word(item.node.replace(".", "_"), taken)
            case Output():
                item.name = outputs[item.name]
            case Group():
                raise AssertionError
