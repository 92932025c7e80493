"""Whether a text says what a model is: every node of the one against its node of the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnndsl.exchange.write.normal import commutes
from cnndsl.files import choose_network, load_text
from cnndsl.ir import Graph, InputSpec, Node
from cnndsl.passes.elaborate import elaborate


def read_back(text: str) -> Graph:
    """The graph of a text with one network."""
    program = load_text(text, name="written.cnn")
    return elaborate(program, choose_network(program, None))


def matched(meant: Graph, written: Graph, *, order: Sequence[str]) -> dict[str, str]:
    """The name in `written` of each node of `meant`.

    `order` are the nodes of `meant` in the order of the text. Raises AssertionError where the two are not the same
    network.
    """
    assert len(order) == len(written.nodes) == len(meant.nodes), "another number of layers"
    names = dict(zip(order, (node.name for node in written.nodes), strict=True))
    assert set(names) == set(meant.by_name), "another set of layers"
    for name, node in zip(order, written.nodes, strict=True):
        _compare(meant.by_name[name], node, names)
    assert [names[n.name] for n in meant.inputs] == [n.name for n in written.inputs], "the inputs' order"
    wanted = {output: names[node] for output, node in meant.outputs}
    assert wanted == dict(written.outputs), "the outputs"
    assert written.outputs[0][0] == "main"
    return names


def _compare(meant: Node, written: Node, names: Mapping[str, str]) -> None:
    where = f"{meant.name}, written as {written.name},"
    assert meant.op == written.op, f"{where} is {meant.text}, not {written.text}"
    assert meant.type == written.type, f"{where} makes {meant.type}, not {written.type}"
    reads = [names[name] for name in meant.inputs]
    found = list(written.inputs)
    if meant.op is not None and commutes(meant.op, len(reads)):
        reads.sort()
        found.sort()
    assert reads == found, f"{where} reads {reads}, not {found}"
    assert (meant.spec or InputSpec()) == (written.spec or InputSpec()), f"{where} is fed in another way"
