"""The text of a file from its items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from cnndsl.exchange.write.blocks import Block
from cnndsl.exchange.write.heads import behind_classes, put_classes
from cnndsl.exchange.write.labels import references
from cnndsl.exchange.write.layout import Layout
from cnndsl.exchange.write.lines import INDENT, Line, deeper, in_columns, with_shapes
from cnndsl.exchange.write.tree import Body, Layer
from cnndsl.ir import Graph, TensorType
from cnndsl.tokens import KEYWORDS


def text_of(body: Body, graph: Graph, blocks: Sequence[Block], *, notes: Sequence[str] = ()) -> str:
    """The text of a network and its blocks, with `notes` as comments at its head."""
    layout = Layout(graph, references(body))
    classes = put_classes(body, graph)
    comments = [line for note in notes for line in wrap(note, 118, initial_indent="# ", subsequent_indent="# ")]
    parts = [*(_block(block, layout) for block in blocks), _network(body, graph, layout, classes)]
    head = "\n".join([*comments, ""]) if comments else ""
    return head + ("\n" if len(parts) > 1 and head else "") + "\n".join(parts)


def _block(block: Block, layout: Layout) -> str:
    parameters = ", ".join(f"{p.name} = {p.default}" if p.default else p.name for p in block.parameters)
    lines = deeper(in_columns(layout.body(block.body, block.scope, 1)))
    head = f"block {block.name}({parameters}) {{" if parameters else f"block {block.name} {{"
    return "\n".join([head, *with_shapes(lines, [""] * len(lines)), "}", ""])


def _network(body: Body, graph: Graph, layout: Layout, classes: int) -> str:
    name = f"{graph.name}_" if graph.name in KEYWORDS else graph.name
    inputs = sum(isinstance(item, Layer) and graph.by_name[item.node].op is None for item in body)
    head = layout.body(body[:inputs], (), 1)
    code = deeper(in_columns(layout.body(body[inputs:], (), 1, shapes=True)))
    if code and not code[-1].text.startswith("}"):
        code[-1].end = graph.outputs[0][1]
    shapes = _Shapes(graph, classes).of(code)
    first = f"network {name}(classes = {classes}) {{" if classes else f"network {name} {{"
    lines = [f"{INDENT}{part}" for line in head for part in line.text.split("\n")]
    return "\n".join([first, *lines, *([""] if len(code) > SHORT else []), *with_shapes(code, shapes), "}", ""])


SHORT = 4
"""Lines of a network that needs no empty line behind its input."""


@dataclass
class _Shapes:
    """Which lines tell their shape: those that change height and width, blocks that change channels, and ends."""

    graph: Graph
    classes: int

    def of(self, lines: Sequence[Line]) -> list[str]:
        """The shape behind each line, empty for none."""
        shapes = [""] * len(lines)
        before = self.graph.inputs[-1].type
        told: TensorType | None = None
        for number, line in enumerate(lines):
            if not line.end:
                continue
            type_ = self.graph.by_name[line.end].type
            follows = number + 1 < len(lines) and lines[number + 1].depth == line.depth and line.text == "}"
            if follows and self._same(lines[number + 1], type_):
                continue  # the shape stands behind the activation of a join
            changes = type_.shape[:-1] != before.shape[:-1] or (line.is_part and type_ != before)
            last = number + 1 == len(lines) or lines[number + 1].depth < line.depth
            if changes or (last and type_ != told):
                shapes[number] = self._text(line.end, type_)
                told = type_
            before = type_
        return shapes

    def _same(self, line: Line, type_: TensorType) -> bool:
        return bool(line.end) and self.graph.by_name[line.end].type == type_ and not line.is_part

    def _text(self, node: str, type_: TensorType) -> str:
        if not self.classes or type_.channels != self.classes or not behind_classes(node, self.graph, self.classes):
            return str(type_)
        return "[" + ", ".join([*map(str, type_.shape[:-1]), "classes"]) + "]"
