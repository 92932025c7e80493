"""The text of a file from its items."""

from __future__ import annotations

from collections.abc import Sequence

from cnndsl.exchange.write.blocks import Block
from cnndsl.exchange.write.labels import references
from cnndsl.exchange.write.layout import Layout
from cnndsl.exchange.write.lines import Line, deeper, in_columns, with_shapes
from cnndsl.exchange.write.tree import Body, Layer
from cnndsl.ir import Graph, TensorType
from cnndsl.tokens import KEYWORDS


def text_of(body: Body, graph: Graph, blocks: Sequence[Block]) -> str:
    """The text of a network and its blocks."""
    layout = Layout(graph, references(body))
    parts = [_block(block, layout) for block in blocks]
    return "\n".join([*parts, _network(body, graph, layout)])


def _block(block: Block, layout: Layout) -> str:
    parameters = ", ".join(f"{p.name} = {p.default}" if p.default else p.name for p in block.parameters)
    lines = deeper(in_columns(layout.body(block.body, block.scope, 1)))
    head = f"block {block.name}({parameters}) {{" if parameters else f"block {block.name} {{"
    return "\n".join([head, *with_shapes(lines, [""] * len(lines)), "}", ""])


def _network(body: Body, graph: Graph, layout: Layout) -> str:
    name = f"{graph.name}_" if graph.name in KEYWORDS else graph.name
    lines = layout.body(body, (), 1, shapes=True)
    inputs = sum(isinstance(item, Layer) and graph.by_name[item.node].op is None for item in body)
    head, rest = lines[:inputs], lines[inputs:]
    code = deeper(in_columns([*(line.plain for line in head), *rest]))
    if code:
        code[-1].end = graph.outputs[0][1]
    texts = [f"network {name} {{", *with_shapes(code, _shapes(code, graph)), "}"]
    return "\n".join(texts) + "\n"


def _shapes(lines: list[Line], graph: Graph) -> list[str]:
    """The shapes to tell: where height and width change or a map becomes a vector, and at the ends."""
    before: TensorType | None = graph.inputs[-1].type
    shapes = []
    for number, line in enumerate(lines):
        if not line.end:
            shapes.append("")
            continue
        type_ = graph.by_name[line.end].type
        changes = before is None or (before.is_map, before.height, before.width) != (
            type_.is_map, type_.height, type_.width,
        )
        last = number + 1 == len(lines) or lines[number + 1].depth < line.depth
        shapes.append(str(type_) if changes or last else "")
        before = type_
    return shapes
