"""The text of a file from its items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cnndsl.exchange.write.tree import Body, Goto, Group, Item, Layer, Output, items_within
from cnndsl.ir import Graph, InputSpec, Node
from cnndsl.ops.fields import show_value
from cnndsl.passes.inputs import INPUT_ARGUMENTS
from cnndsl.tokens import KEYWORDS, written_label

_INDENT = "    "


def text_of(body: Body, graph: Graph) -> str:
    """The network's text."""
    labels = {item.node: item.label for item in items_within(body) if isinstance(item, Layer) and item.label}
    name = f"{graph.name}_" if graph.name in KEYWORDS else graph.name
    lines = [f"network {name} {{", *_body(body, graph, labels), "}"]
    return "\n".join(lines) + "\n"


def _body(body: Body, graph: Graph, labels: Mapping[str, str]) -> Iterator[str]:
    for item in body:
        for line in _item(item, graph, labels):
            yield _INDENT + line


def _item(item: Item, graph: Graph, labels: Mapping[str, str]) -> Iterator[str]:
    match item:
        case Goto():
            yield f"@{labels[item.node]}"
        case Output():
            yield f"output {item.name} {{"
            yield from _body(item.body, graph, labels)
            yield "}"
        case Group():
            yield f"{written_label(item.label)}: {{"
            yield from _body(item.body, graph, labels)
            yield "}"
        case Layer():
            node = graph.by_name[item.node]
            if node.op is None:
                yield input_line(node, labels[item.node])
                return
            label = f"{written_label(item.label)}: " if item.label is not None else ""
            refs = f"({', '.join(f'@{labels[name]}' for name in item.refs)})" if item.refs else ""
            if not item.arms:
                yield f"{label}{node.op}{refs}"
                return
            yield f"{label}{node.op}{refs} {{"
            for arm in item.arms:
                if not arm.body:
                    yield f"{_INDENT}{{ }}"
                    continue
                yield f"{_INDENT}{{"
                for line in _body(arm.body, graph, labels):
                    yield _INDENT + line
                yield f"{_INDENT}}}"
            yield "}"


def input_line(node: Node, name: str) -> str:
    """``input image [224x224x3] (crop=224)``."""
    spec = node.spec or InputSpec()
    shown = []
    for a in INPUT_ARGUMENTS:
        value = getattr(spec, a.name)
        if value != a.default:
            shown.append(f"{a.name}={show_value(value) if a.name in {'mean', 'std'} else a.kind.show(value)}")
    return f"input {name} {node.type}" + (f" ({', '.join(shown)})" if shown else "")
