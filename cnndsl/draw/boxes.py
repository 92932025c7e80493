"""How large boxes are, and what is written where in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Literal

from cnndsl.draw.diagram import Box, Diagram, Frame, Row, View
from cnndsl.draw.layout import Padding
from cnndsl.draw.metrics import elided, width
from cnndsl.draw.pieces import MARGIN, PORT, Piece
from cnndsl.figures import compact

Direction = Literal["down", "right"]

TEXT, SMALL, LABEL = 12.0, 10.0, 10.5
"""Sizes of a layer's text, of names and costs, and of shapes and frames' titles."""
ROW = 20.0
"""Height of a layer's line."""
LINE = 16.0
"""Height of a further line of a kernel's text."""
FOOT = 15.0
"""Height of the line of costs."""
INSET = 4.0
"""Between a box's border and its rows."""
BETWEEN = 2.0
"""Between two rows."""
INDENT = 7.0
"""Between a row's border and its text."""
TITLE = 20.0
"""Height of the band with a frame's title."""

_LONGEST_TEXT, _LONGEST_NAME = 60, 28
"""Characters of a layer's text and of a name that are shown."""


@dataclass(frozen=True)
class Line:
    """A row as it is written: its lines of text, its name, and its place in the box."""

    texts: tuple[str, ...]
    name: str
    top: float
    height: float


@dataclass(frozen=True)
class Shape:
    """A box as it is written: its size, rows, costs and the shape of its value."""

    width: float
    height: float
    lines: tuple[Line, ...]
    costs: str
    label: str


def shapes(diagram: Diagram, direction: Direction) -> list[Shape]:
    """Every box's shape. Boxes of layers have one width, but for joins and the few that need more."""
    found = [_shape(box, diagram) for box in diagram.boxes]
    for i, box in enumerate(diagram.boxes):
        # Room for the arrows into it, and for all but one of a few to stand on one side.
        others = max(0, sum(link.row == 0 for link in box.links) - 1)
        room = 2 * MARGIN + PORT * (others + min(others, 2))
        found[i] = _enlarged(found[i], *((room, 0.0) if direction == "down" else (0.0, room)))
    regular = [i for i, box in enumerate(diagram.boxes) if box.kind == "layers" and not box.is_join]
    if regular:
        widths = [found[i].width for i in regular]
        common = min(max(widths), 1.5 * median(widths))
        for i in regular:
            found[i] = _enlarged(found[i], common, 0.0)
    return found


def _shape(box: Box, diagram: Diagram) -> Shape:
    label = "x".join(map(str, box.type.shape))
    if box.kind != "layers":
        alone = box.kind == "output" and len(diagram.graph.outputs) == 1 and box.name == "main"
        line = Line(("output" if alone else elided(box.name, _LONGEST_NAME),), "", 0.0, ROW)
        needed = max(width(line.texts[0], TEXT) + 4 * INDENT, 2 * width(label, LABEL) + 4 * INDENT)
        return Shape(round(needed), ROW + BETWEEN, (line,), "", label)
    lines: list[Line] = []
    top = INSET
    for rows in lanes_of(box, diagram.view):
        row = rows[0]
        texts = (str(row.node.op),) if diagram.view == "layers" else _texts(rows)
        name = ".".join(row.node.layer.split(".")[len(box.path) :])
        if row.state == "unused":
            name += ", unused"
        height = ROW + LINE * (len(texts) - 1)
        lines.append(Line(tuple(elided(t, _LONGEST_TEXT) for t in texts), elided(name, _LONGEST_NAME), top, height))
        top += height + BETWEEN
    costs = ", ".join(
        f"{compact(number)} {noun}"
        for number, noun in ((box.parameters, "parameters"), (box.macs, "MACs"))
        if number > 0
    )
    needed = max(
        max(width(t, TEXT) for line in lines for t in line.texts[:1])
        + (max(width(line.name, SMALL) for line in lines) + 2 * INDENT),
        max((width(t, TEXT) for line in lines for t in line.texts[1:]), default=0.0),
        width(costs, SMALL),
        2 * width(label, LABEL),
    )
    foot = FOOT if costs else INSET - BETWEEN
    return Shape(round(needed + 2 * INSET + 2 * INDENT), top + foot, tuple(lines), costs, label)


def lanes_of(box: Box, view: View) -> list[tuple[Row, ...]]:
    """The rows of a box by the lines in which they are written: each its own, or one line for what a kernel computes.

    Of a launch for several convolutions, each has a line.
    """
    if view == "layers":
        return [(row,) for row in box.rows]
    return [box.rows[start:end] for start, end in pairwise((*box.heads, len(box.rows)))]


def _texts(rows: Sequence[Row]) -> tuple[str, ...]:
    """What a kernel computes, as the file would write it: the layer that it is about, then what follows."""
    before = [f"{n.op} ->" for row in rows for n in row.node.folded if n.before]
    after = [str(n.op) for row in rows for n in row.node.folded if not n.before]
    rest = [*after, *(str(row.node.op) for row in rows[1:])]
    return (*before, str(rows[0].node.op), *(["-> " + " -> ".join(rest)] if rest else []))


def _enlarged(shape: Shape, least_width: float, least_height: float) -> Shape:
    """The shape with a least width and height; what is added goes to its first line."""
    more = max(0.0, least_height - shape.height)
    first, *rest = shape.lines
    lines = (replace(first, height=first.height + more), *(replace(line, top=line.top + more) for line in rest))
    return replace(shape, width=max(shape.width, round(least_width)), height=shape.height + more, lines=lines)


def leaf_maker(
    diagram: Diagram, found: list[Shape], direction: Direction
) -> Callable[[int], Piece]:
    """How the layout gets a box's piece: its size along both axes, with room for its value's shape behind it."""
    read = {link.source for box in diagram.boxes for link in box.links}

    def leaf(number: int) -> Piece:
        box, shape = diagram.boxes[number], found[number]
        body, cross = (shape.height, shape.width) if direction == "down" else (shape.width, shape.height)
        behind = 0.0
        if number in read:
            behind = LABEL + 5.0 if direction == "down" else width(shape.label, LABEL) + 8.0
        heads = tuple((link.source, slot) for slot, link in enumerate(box.links) if link.row == 0)
        aside = [(slot, link) for slot, link in enumerate(box.links) if link.row > 0]
        sides = tuple(
            (link.source, slot, _entry(shape, link.row) if direction == "down" else body * (k + 1) / (len(aside) + 1))
            for k, (slot, link) in enumerate(aside)
        )
        return Piece(
            body + behind, cross, {source: cross / 2 for source, _ in heads}, {number: cross / 2},
            box=number, body=body, slots=heads, sides=sides,
        )  # fmt: skip

    return leaf


def _entry(shape: Shape, row: int) -> float:
    """Where a value enters a box's side to be read by a row: beside it, or beside the end of a kernel's text."""
    line = shape.lines[min(row, len(shape.lines) - 1)]
    return line.top + line.height - ROW / 2


def padding(direction: Direction) -> Callable[[Frame, Piece], Padding]:
    """How the layout gets the room between a frame's border and what it holds, with a band for its title."""

    def room(frame: Frame, inner: Piece) -> Padding:
        title = width(title_of(frame), LABEL) + 2 * INDENT
        if direction == "right":
            end = max(MARGIN, title - inner.main - MARGIN)
            return Padding(max(MARGIN, PORT - inner.lead), end, TITLE, MARGIN)
        # Values come in from above, to the right of the title.
        left = max(MARGIN, title - min(inner.heads.values(), default=title))
        right = max(MARGIN, title - left - inner.cross)
        return Padding(TITLE, MARGIN, left, right)

    return room


def title_of(frame: Frame) -> str:
    """What is written at a frame: its whole path."""
    return elided(".".join(frame.path), _LONGEST_NAME)
