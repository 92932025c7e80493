"""The example networks as graphs, and what tests count in them."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cnndsl.files import choose_network, load_path
from cnndsl.ir import Graph, Node
from cnndsl.ops.base import Weight
from cnndsl.passes.elaborate import elaborate

EXAMPLES = Path(__file__).parent.parent / "examples"


@cache
def graph_of(name: str, **settings: object) -> Graph:
    """The graph of examples/<name>.cnn."""
    program = load_path(EXAMPLES / f"{name}.cnn")
    return elaborate(program, choose_network(program, None), settings)


def weights_of(graph: Graph) -> Iterator[tuple[Node, Weight]]:
    for node in graph.nodes:
        if node.op is not None:
            for weight in node.op.weights(*graph.types_of(node)):
                yield node, weight


def keys_of(graph: Graph) -> dict[str, tuple[int, ...]]:
    """The state dict's keys in its order, and their shapes."""
    return {f"{node.name}.{weight.name}": weight.shape for node, weight in weights_of(graph)}


def parameters(graph: Graph, *, biases: bool = True) -> int:
    return sum(w.size for _, w in weights_of(graph) if w.learned and (biases or w.name != "bias"))


def macs(graph: Graph) -> int:
    return sum(node_macs(graph, node) for node in graph.nodes)


def node_macs(graph: Graph, node: Node) -> int:
    return node.op.macs(graph.types_of(node), node.type) if node.op is not None else 0


def leading_to(graph: Graph, output: str) -> set[str]:
    """The names of all layers that an output depends on."""
    found: set[str] = set()
    waiting = [dict(graph.outputs)[output]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(graph.by_name[name].inputs)
    return found


def of_main(graph: Graph) -> tuple[int, int]:
    """Parameters and multiply-accumulates of the layers that the output `main` depends on."""
    names = leading_to(graph, "main")
    learned = sum(w.size for node, w in weights_of(graph) if w.learned and node.name in names)
    return learned, sum(node_macs(graph, node) for node in graph.nodes if node.name in names)
