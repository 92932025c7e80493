"""Bodies as lines: what belongs together in one line, and what stands in lines of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cnndsl.exchange.write.labels import reference
from cnndsl.exchange.write.lines import WIDTH, Line, deeper, in_columns, joined
from cnndsl.exchange.write.names import Path
from cnndsl.exchange.write.tree import Body, Goto, Group, If, Item, Layer, Output, Repeat, end_of
from cnndsl.exchange.write.words import input_text, op_text
from cnndsl.ir import Graph
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.joins import Concat
from cnndsl.ops.normalize import BatchNorm
from cnndsl.ops.reshape import Flatten, Softmax
from cnndsl.tokens import written_label

MOST_IN_ARM = 3
"""Lines of an arm whose braces do not stand in lines of their own."""


@dataclass
class Layout:
    """Writes the bodies of one network; `targets` are the labels that lead to the nodes it refers to."""

    graph: Graph
    targets: Mapping[str, Path]

    def body(self, body: Body, scope: Path, depth: int, *, shapes: bool = False) -> list[Line]:
        """The lines of a body that stands `depth` steps in, under the path `scope`.

        With `shapes` the lines know what they end in, for their shapes to be told.
        """
        lines: list[Line] = []
        state = ""
        before: tuple[Line, Line] | None = None
        """The last line without the batch norm at its end, and that norm: where the line is broken if it must be."""
        for item in body:
            made = self._item(item, scope, depth, shapes=shapes)
            after = goes_on(state, self._op(item)) if lines and len(made) == 1 else ""
            if after:
                text = f"{lines[-1].text} -> {made[0].whole}"
                if len(text) + len(lines[-1].label or "") + 2 + 4 * depth <= WIDTH:
                    norm = isinstance(self._op(item), BatchNorm)
                    broken = Line(lines[-1].text, lines[-1].depth, lines[-1].label, lines[-1].end) if norm else None
                    before = (broken, made[0]) if broken is not None else before
                    lines[-1].text, lines[-1].end, state = text, made[0].end, after
                    continue
                if before is not None and lines[-1].text.endswith(f" -> {before[1].whole}"):
                    # The norm comes with its activation.
                    lines[-1:] = before
                    lines[-1].text += f" -> {made[0].whole}"
                    lines[-1].end, before, state = made[0].end, None, after
                    continue
            lines.extend(made)
            # A line that became too long goes on in the next one as if nothing had happened.
            state = after or (begins(item, self._op(item)) if len(made) == 1 else "")
        return lines

    def _op(self, item: Item) -> Op | None:
        """The operation of an item that is a layer without arms."""
        return self.graph.by_name[item.node].op if isinstance(item, Layer) and not item.arms else None

    def _item(self, item: Item, scope: Path, depth: int, *, shapes: bool) -> list[Line]:
        match item:
            case Goto():
                return [Line(reference(self.targets[item.node], scope))]
            case Layer():
                return self._layer(item, scope, depth, end=item.node if shapes else "")
            case Output():
                lines = self.body(item.body, (*scope, item.name), depth + 1, shapes=shapes)
                return self._braces(f"output {item.name} ", lines) if lines else [Line(f"output {item.name} {{ }}")]
            case Group():
                return self._group(item, scope, depth, shapes=shapes)
            case Repeat():
                count = item.count or str(len(item.passes))
                inside = (*scope, item.label, "0") if item.label is not None else scope
                lines = self.body(item.passes[0], inside, depth + 1)
                return self._short_or_braces(f"repeat {count} ", lines, item, depth, shapes=shapes)
            case If():
                lines = self._braces(f"if {item.condition} ", self.body(item.body, scope, depth + 1))
                if item.otherwise:
                    last = self._braces("} else ", self.body(item.otherwise, scope, depth + 1))
                    lines = [*lines[:-1], *last]
                return lines

    def _layer(self, item: Layer, scope: Path, depth: int, *, end: str) -> list[Line]:
        node = self.graph.by_name[item.node]
        if node.op is None:
            return [Line(input_text(node, item.label or ""))]
        refs = f"({', '.join(reference(self.targets[name], scope) for name in item.refs)})" if item.refs else ""
        text = f"{op_text(node.op, item.written)}{refs}"
        if not item.arms:
            return [Line(text, label=item.label, end=end)]
        head = Line(f"{text} {{", label=item.label, opens=True)
        arms = [line for arm in item.arms for line in self._arm(arm, scope, depth + 1)]
        return [head, *deeper(arms), Line("}", end=end, is_part=True)]

    def _arm(self, arm: Body, scope: Path, depth: int) -> list[Line]:
        """``{ }``, ``{ conv(64, 1x1) -> relu }``, or braces around lines."""
        label: str | None = None
        match arm:
            case []:
                return [Line("{ }")]
            case [Group(block=None) as group] if group.label is not None:
                label = group.label
                scope, arm = (*scope, label), group.body
        lines = self.body(arm, scope, depth + 1)
        head = f"{written_label(label)}: " if label is not None else ""
        text = joined(lines, width=WIDTH - 4 * depth - len(head) - 4)
        if text is not None and len(lines) <= MOST_IN_ARM:
            return [Line(f"{head}{{ {text} }}")]
        lines = in_columns(lines)
        if len(lines) <= MOST_IN_ARM and not any(line.depth or line.opens for line in lines) and not head:
            first, *rest = (line.text for line in lines)
            return [Line(f"{{ {first}"), *(Line(f"  {text}") for text in rest[:-1]), Line(f"  {rest[-1]} }}")]
        return [Line(f"{head}{{", opens=True), *deeper(lines), Line("}")]

    def _group(self, item: Group, scope: Path, depth: int, *, shapes: bool) -> list[Line]:
        end = end_of(item.body, "") if shapes else ""
        if item.block is not None:
            return [Line(item.block.call(item.written), label=item.label, end=end, is_part=True)]
        assert item.label is not None
        lines = self.body(item.body, (*scope, item.label), depth + 1, shapes=shapes)
        calls = all(isinstance(inner, Repeat) or (isinstance(inner, Group) and inner.block) for inner in item.body)
        if calls or len(lines) == 1:
            return self._short_or_braces("", lines, item, depth, shapes=shapes)
        return self._braces("", lines, label=item.label)

    def _short_or_braces(
        self, head: str, lines: list[Line], item: Group | Repeat, depth: int, *, shapes: bool
    ) -> list[Line]:
        """In one line where it fits."""
        width = WIDTH - 4 * depth - len(head) - len(item.label or "") - 6
        text = joined(lines, width=width)
        if text is None:
            return self._braces(head, lines, label=item.label)
        return [Line(f"{head}{{ {text} }}", label=item.label, end=end_of([item], "") if shapes else "", is_part=True)]

    def _braces(self, head: str, lines: list[Line], *, label: str | None = None) -> list[Line]:
        return [Line(f"{head}{{", label=label, opens=True), *deeper(in_columns(lines)), Line("}")]


def lines_of(body: Body, graph: Graph) -> Iterator[Body]:
    """The items that stand in one line each, with an activation behind a join beside it."""
    line: Body = []
    state = ""
    for item in body:
        op = graph.by_name[item.node].op if isinstance(item, Layer) else None
        after = goes_on(state, op if isinstance(item, Layer) and not item.arms else None)
        if line and not after:
            yield line
            line = []
        line = [*line, item]
        state = after or begins(item, op)
    if line:
        yield line


def begins(item: Item, op: Op | None) -> str:
    """What may stand behind an item in its line: see `goes_on`."""
    match item, op:
        case Goto(), _:
            return "reference"
        case _, BatchNorm():
            return "norm"
        case _, Conv() | Dense():
            return "main"
        case Group(), _:
            return "other"
        case Layer(), Op():
            return "other"
    return ""


def goes_on(state: str, op: Op | None) -> str:
    """What a line becomes with a layer at its end; empty where that begins a line of its own.

    People write conv -> batchnorm -> relu, and in networks that normalise first, batchnorm -> relu -> conv.
    """
    match state, op:
        case ("", _) | (_, None):
            return ""
        case "reference", _:
            return "norm" if isinstance(op, BatchNorm) else "main"
        case "main", BatchNorm():
            return "main"
        case "norm", Conv():
            return "full"
        case _, Softmax() | Flatten():
            return state
    assert op is not None
    if op.activation is not None or op.transparent or (op.joins and not isinstance(op, Concat)):
        return state
    return ""
