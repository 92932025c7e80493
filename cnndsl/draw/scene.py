"""A picture as data: rectangles, texts, lines, in groups that say what they show.

`scene` makes it of a diagram; `cnndsl.draw.svg` and `cnndsl.draw.png` show it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cnndsl.draw import boxes
from cnndsl.draw.boxes import Direction, Shape
from cnndsl.draw.diagram import Box, Diagram, Frame, Row
from cnndsl.draw.layout import Layout
from cnndsl.draw.metrics import width
from cnndsl.draw.pieces import OUT, Piece, Point
from cnndsl.draw.theme import family_of
from cnndsl.draw.ways import XY, Drawn, straightened
from cnndsl.figures import compact, counted, grouped
from cnndsl.summary import title_of

_MARGIN = 16.0
_HEADER = 46.0
_ASPECT = 1.5
"""Width to height of the page that long networks are wrapped for."""
_LONG = 1500.0
"""The length from which on a network is wrapped."""
_SHORTEST: dict[Direction, float] = {"down": 900.0, "right": 1400.0}
"""The least length of a column, or of a row."""


@dataclass(frozen=True)
class Rect:
    """A rectangle with round corners, filled and edged as `role` says."""

    x: float
    y: float
    width: float
    height: float
    radius: float
    role: str


@dataclass(frozen=True)
class Text:
    """A line of text; `y` is its baseline. `most` is the room that it has."""

    x: float
    y: float
    text: str
    size: float
    role: str
    most: float
    anchor: Literal["start", "middle", "end"] = "start"
    bold: bool = False


@dataclass(frozen=True)
class Line:
    """A line through points (x, y), its corners rounded, with an arrow's tip at its end.

    `way` leads from the box that makes a value to one that reads it. `points` is what is drawn of it: of several ways
    that begin together, one alone draws what they share, since lines drawn twice look bolder.
    """

    points: tuple[XY, ...]
    way: tuple[XY, ...]


Shapes = Rect | Text | Line


@dataclass(frozen=True)
class Group:
    """Things that belong together. `data` become attributes, `title` what is shown when the mouse rests there."""

    kind: str
    items: tuple[Shapes | Group, ...]
    data: tuple[tuple[str, str], ...] = ()
    title: str = ""


@dataclass(frozen=True)
class Scene:
    """A whole picture of `width` x `height` pixels."""

    name: str
    description: str
    width: float
    height: float
    groups: tuple[Group, ...]


def scene(
    diagram: Diagram, *, direction: Direction = "down", wrap: bool = True, header: bool = True
) -> Scene:
    """Lay a diagram out and say what is to be seen.

    With `wrap`, a network too long for a page goes on in further columns; `header` puts its name and totals above it.
    """
    found = boxes.shapes(diagram, direction)
    layout = Layout(
        [[link.source for link in box.links] for box in diagram.boxes],
        leaf=boxes.leaf_maker(diagram, found, direction),
        padding=boxes.padding(direction),
    )
    whole = layout.arrange(diagram.members)
    if wrap and whole.main > _LONG:
        ratio = _ASPECT if direction == "down" else 1 / _ASPECT
        columns = max(1.0, math.sqrt(ratio * whole.main / whole.cross))
        layout.limit = max(whole.main / columns, _SHORTEST[direction])
        whole = layout.arrange(diagram.members)
    return _Painter(diagram, found, direction).paint(whole, header=header)


@dataclass(frozen=True)
class _Home:
    """A piece within one that holds it: that one, its place, and the number of the piece among its children."""

    piece: Piece
    at: Point
    child: int


class _Painter:
    def __init__(self, diagram: Diagram, found: list[Shape], direction: Direction) -> None:
        self.diagram, self.shapes, self.direction = diagram, found, direction
        self.homes: dict[int, tuple[_Home, ...]] = {}
        self.corner: dict[int, Point] = {}
        self.frames: list[tuple[Frame, Point, Piece]] = []
        self.read = {link.source for box in diagram.boxes for link in box.links}

    def paint(self, whole: Piece, *, header: bool) -> Scene:
        top = _MARGIN + (_HEADER if header else 0.0)
        start = (top, _MARGIN) if self.direction == "down" else (_MARGIN, top)
        self.walk(whole, start, ())
        right, bottom = self.xy(start[0] + whole.main, start[1] + whole.cross)
        heading, description, needed = self.heading()
        groups = [
            Group("frames", tuple(map(self.frame, self.frames))),
            Group("edges", tuple(self.edges())),
            Group("boxes", tuple(self.box(i) for i in range(len(self.diagram.boxes)))),
        ]
        if header:
            groups.insert(0, heading)
            right = max(right, needed)
        name = self.diagram.graph.name
        return Scene(name, description, math.ceil(right + _MARGIN), math.ceil(bottom + _MARGIN), tuple(groups))

    def xy(self, main: float, cross: float) -> tuple[float, float]:
        return (cross, main) if self.direction == "down" else (main, cross)

    # --- places --------------------------------------------------------------------------------------

    def walk(self, piece: Piece, at: Point, homes: tuple[_Home, ...]) -> None:
        """Note where every box and frame is, and in what it lies."""
        if piece.box is not None:
            self.corner[piece.box] = at
            self.homes[piece.box] = homes
        if piece.frame is not None:
            self.frames.append((piece.frame, at, piece))
        for i, (main, cross, child) in enumerate(piece.children):
            self.walk(child, (at[0] + main, at[1] + cross), (*homes, _Home(piece, at, i)))

    def way(self, source: int, target: int, slot: int) -> list[Point]:
        """The points of a value's way from the box that makes it to one that reads it."""
        out, into = self.homes[source], self.homes[target]
        common = 0
        while out[common].piece is into[common].piece and out[common].child == into[common].child:
            common += 1
        points: list[Point] = []

        def follow(home: _Home, end: tuple[int, int]) -> None:
            points.extend((home.at[0] + m, home.at[1] + c) for m, c in home.piece.wires[source, end])

        for home in reversed(out[common + 1 :]):
            follow(home, OUT)
        for home in into[common:-1]:
            follow(home, (home.child, 0))
        last = into[-1]
        follow(last, (last.child, self.slot(last, source, slot)))
        # The room for the shape behind a box belongs to its piece: the line begins at its border.
        at, leaf = self.corner[source], out[-1].piece.children[out[-1].child][2]
        return [(at[0] + leaf.body, points[0][1]), *points]

    @staticmethod
    def slot(home: _Home, source: int, slot: int) -> int:
        """The slot under which a piece knows an arrow: series and frames have one for each value."""
        return slot if (source, (home.child, slot)) in home.piece.wires else 0

    # --- what is seen --------------------------------------------------------------------------------

    def heading(self) -> tuple[Group, str, float]:
        """The name and totals of the network, and how far to the right they reach."""
        graph, layers = self.diagram.graph, self.diagram.layers.values()
        parameters, macs = sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers)
        flow = [", ".join(str(node.type) for node in graph.inputs)]
        flow.append(", ".join(str(graph.by_name[name].type) for _, name in graph.outputs))
        totals = (
            f"{counted(sum(node.op is not None for node in graph.nodes), 'layer')}, {compact(parameters)} parameters, "
            f"{compact(macs)} MACs, {' -> '.join(flow)}"
        )
        name = title_of(graph)
        texts = (
            Text(_MARGIN, _MARGIN + 14, name, 15, "ink", width(name, 15, bold=True), bold=True),
            Text(_MARGIN, _MARGIN + 31, totals, 11, "muted", width(totals, 11)),
        )
        return Group("heading", texts), f"{name}: {totals}", _MARGIN + max(t.most for t in texts)

    def frame(self, placed: tuple[Frame, Point, Piece]) -> Group:
        frame, at, piece = placed
        x, y = self.xy(*at)
        w, h = self.xy(piece.main, piece.cross)
        title = boxes.title_of(frame)
        text = Text(x + boxes.INDENT, y + 14, title, boxes.LABEL, "muted", width(title, boxes.LABEL))
        path = ".".join(frame.path)
        return Group("frame", (Rect(x, y, w, h, 8, "frame"), text), (("path", path),), path)

    def edges(self) -> Iterable[Group]:
        drawn: dict[int, Drawn] = {}
        for i, box in enumerate(self.diagram.boxes):
            for slot, link in enumerate(box.links):
                way = straightened(self.xy(*p) for p in self.way(link.source, i, slot))
                line = Line(drawn.setdefault(link.source, Drawn()).rest_of(way), way)
                maker = self.diagram.boxes[link.source]
                made = next((row.node.type for row in maker.rows if row.node.name == link.made), maker.type)
                data = (("from", link.made), ("to", link.read))
                yield Group("edge", (line,), data, f"{link.made} -> {link.read}: {made}")

    def box(self, number: int) -> Group:
        box, shape = self.diagram.boxes[number], self.shapes[number]
        x, y = self.xy(*self.corner[number])
        items: list[Shapes | Group] = []
        if box.kind == "layers":
            plain = all(row.state in {"folded", "free", "unused"} for row in box.rows)
            items.append(Rect(x, y, shape.width, shape.height, 7, "bare" if plain else "box"))
            items.extend(self.row(number, i) for i in range(len(shape.lines)))
            if shape.costs:
                at = y + shape.height - 6
                room = shape.width - 2 * (boxes.INSET + boxes.INDENT)
                left = x + boxes.INSET + boxes.INDENT
                items.append(Text(left, at, shape.costs, boxes.SMALL, "muted", room))
        else:
            items.append(self.terminal(number))
        if number in self.read:
            items.append(self.label(number))
        data: list[tuple[str, str]] = [("kind", box.kind)]
        if box.group is not None:
            data.append(("group", str(box.group)))
        return Group("box", tuple(items), tuple(data))

    def terminal(self, number: int) -> Group:
        """An input or an output."""
        box, shape = self.diagram.boxes[number], self.shapes[number]
        x, y = self.xy(*self.corner[number])
        text = shape.lines[0].texts[0]
        items = (
            Rect(x, y, shape.width, shape.height, shape.height / 2, box.kind),
            Text(
                x + shape.width / 2, y + shape.height / 2 + 4, text, boxes.TEXT, "ink",
                shape.width - 2 * boxes.INDENT, "middle",
            ),
        )
        if box.kind == "output":
            return Group("output", items, (("output", box.name),), f"output {box.name} {box.type}")
        return Group("node", items, _data(box, box.rows[0], "input"), self.tooltip(box.rows[0]))

    def row(self, number: int, i: int) -> Group:
        box, shape = self.diagram.boxes[number], self.shapes[number]
        lane, line = boxes.lanes_of(box, self.diagram.view)[i], shape.lines[i]
        row = lane[0]
        x, y = self.xy(*self.corner[number])
        left, top = x + boxes.INSET, y + line.top
        room = shape.width - 2 * boxes.INSET
        role = family_of(row.node)
        faint = row.state in {"free", "unused"}
        ink = "muted" if faint else "ink"
        base = top + (line.height - boxes.LINE * (len(line.texts) - 1)) / 2 + 4
        name = Text(
            left + room - boxes.INDENT, base, line.name, boxes.SMALL, "muted",
            width(line.name, boxes.SMALL), "end",
        )  # fmt: skip
        first = room - 3 * boxes.INDENT - name.most
        texts = [
            Text(left + boxes.INDENT, base + boxes.LINE * k, text, boxes.TEXT, ink,
                 first if k == 0 else room - 2 * boxes.INDENT)
            for k, text in enumerate(line.texts)
        ]  # fmt: skip
        cell = Rect(left, top, room, line.height, 4, "faint" if faint else role)
        if self.diagram.view == "layers":
            return Group("node", (cell, *texts, name), _data(box, row, role), self.tooltip(row))
        rows = [each for r in lane for each in (r, *(Row(f, "folded") for f in r.node.folded))]
        data = _data(box, row, role, [each.node.name for each in rows])
        return Group("node", (cell, *texts, name), data, "\n".join(map(self.tooltip, rows)))

    def label(self, number: int) -> Text:
        """The shape of a box's value, beside the line that leaves it."""
        shape = self.shapes[number]
        x, y = self.xy(*self.corner[number])
        if self.direction == "down":
            most = shape.width / 2 - 5
            return Text(x + shape.width / 2 + 5, y + shape.height + 12, shape.label, boxes.LABEL, "muted", most)
        most = width(shape.label, boxes.LABEL) + 4
        return Text(x + shape.width + 4, y + shape.height / 2 - 4, shape.label, boxes.LABEL, "muted", most)

    def tooltip(self, row: Row) -> str:
        node, graph = row.node, self.diagram.graph
        layer = self.diagram.layers[node.layer]
        into = ", ".join(str(graph.by_name[name].type) for name in graph.by_name[node.layer].inputs)
        lines = [f"{node.layer}: {layer.text}", f"{into} -> {layer.type}" if into else str(layer.type)]
        costs = [f"{grouped(layer.parameters)} parameters"] if layer.parameters else []
        costs += [f"{grouped(layer.macs)} MACs"] if layer.macs else []
        lines += [", ".join(costs)] if costs else []
        lines += [self.diagram.free[node.layer]] if node.layer in self.diagram.free else []
        lines.append(f"{node.span.source.name}, line {node.span.line}")
        return "\n".join(lines)


def _data(box: Box, row: Row, role: str, names: list[str] | None = None) -> tuple[tuple[str, str], ...]:
    """The attributes of a layer: see `cnndsl.draw.svg`."""
    node = row.node
    data = [("node", node.name)]
    if names is not None:
        data.append(("nodes", " ".join(names)))
    data += [("line", str(node.span.line)), ("file", node.span.source.name)]
    if box.group is not None and row.state in {"computed", "folded"}:
        data.append(("group", str(box.group)))
    data += [("kind", "input" if node.op is None else node.op.name), ("family", role), ("state", row.state)]
    data.append(("shape", "x".join(map(str, node.type.shape))))
    return tuple(data)
