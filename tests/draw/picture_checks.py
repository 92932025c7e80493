"""What must hold of every picture, whatever the network; and networks at random."""

from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path

from hypothesis import strategies as st
from PIL import ImageFont

from cnndsl.draw.diagram import Diagram, Frame, diagram
from cnndsl.draw.scene import Group, Line, Rect, Scene, Text, scene
from cnndsl.errors import Source, Span
from cnndsl.files import choose_network, load_path, load_text
from cnndsl.ir import Graph, Node, TensorType, verify
from cnndsl.ops import operations
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import fuse
from cnndsl.passes.simplify import simplify

EXAMPLES = Path(__file__).parents[2] / "examples"

WAYS = [
    {"view": view, "direction": direction, "wrap": wrap}
    for view in ("layers", "kernels")
    for direction in ("down", "right")
    for wrap in (True, False)
]
"""Every way to draw a network."""


def graph_of(text: str | Path) -> Graph:
    program = load_path(text) if isinstance(text, Path) else load_text(text)
    return elaborate(program, choose_network(program, None), {})


def drawn(graph: Graph, *, view="layers", **options) -> tuple[Diagram, Scene]:
    made = diagram(graph, fuse(simplify(graph)), view=view)
    return made, scene(made, **options)


# --- networks at random ------------------------------------------------------------------------------


_KINDS = ["conv", "conv", "conv", "relu", "batchnorm", "dropout", "identity", "maxpool", "lrn", "add", "add", "concat"]


@st.composite
def graphs(draw: st.DrawFn, largest: int = 24) -> Graph:
    """Networks whose layers read any earlier ones, in blocks that begin and end anywhere."""
    ops = operations()
    span = Span(Source("random.cnn", "random"), 0, 6)
    nodes: list[Node] = []
    path: list[str] = []

    def add(kind: str, op, inputs: tuple[Node, ...]) -> None:
        types = [node.type for node in inputs]
        resolved = op.resolve(*types)
        name = ".".join((*path, f"{kind}{len(nodes)}"))
        nodes.append(Node(name, resolved, tuple(n.name for n in inputs), resolved.infer(*types), span))

    nodes += [Node(f"in{i}", None, (), TensorType((4, 4, 8)), span) for i in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(1, largest))):
        match draw(st.integers(0, 5)):
            case 0:
                path.append(draw(st.sampled_from(["a", "b", "stage", "0", "1"])))
            case 1 if path:
                path.pop()
        # Mostly the layer before, now and then any other.
        first = nodes[-1] if draw(st.integers(0, 3)) else draw(st.sampled_from(nodes))
        kind = draw(st.sampled_from(_KINDS))
        match kind:
            case "conv":
                add(kind, ops[kind](8, (1, 1)), (first,))
            case "maxpool":
                add(kind, ops[kind]((1, 1)), (first,))
            case "add":
                alike = [node for node in nodes if node.type == first.type]
                add(kind, ops[kind](), (first, *draw(st.lists(st.sampled_from(alike), min_size=1, max_size=2))))
            case "concat":
                add(kind, ops[kind](), (first, *draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=3))))
            case _:
                add(kind, ops[kind](), (first,))
    ends = [nodes[-1], *draw(st.lists(st.sampled_from(nodes), max_size=2))]
    outputs = tuple((f"out{i}" if i else "main", node.name) for i, node in enumerate(ends))
    return verify(Graph("Random", tuple(nodes), outputs))


# --- reading a scene -----------------------------------------------------------------------------------


def walk(groups: tuple[Group, ...]) -> Iterator[Group]:
    for group in groups:
        yield group
        yield from walk(tuple(item for item in group.items if isinstance(item, Group)))


def of_kind(picture: Scene, kind: str) -> list[Group]:
    return [group for group in walk(picture.groups) if group.kind == kind]


def rect_of(group: Group) -> Rect:
    """The border of a box or frame: its own rectangle, or that of the input or output within it."""
    found = [item for each in walk((group,)) for item in each.items if isinstance(item, Rect)]
    return found[0]


def texts_of(groups: tuple[Group, ...]) -> list[Text]:
    return [item for group in walk(groups) for item in group.items if isinstance(item, Text)]


def lines_of(picture: Scene) -> list[tuple[Group, Line]]:
    return [(group, item) for group in of_kind(picture, "edge") for item in group.items if isinstance(item, Line)]


def span_of(text: Text, width: float) -> tuple[float, float]:
    left = text.x - {"start": 0.0, "middle": width / 2, "end": width}[text.anchor]
    return left, left + width


def within(inner: Rect, outer: Rect, margin: float = 0.0) -> bool:
    return (
        inner.x >= outer.x + margin
        and inner.y >= outer.y + margin
        and inner.x + inner.width <= outer.x + outer.width - margin
        and inner.y + inner.height <= outer.y + outer.height - margin
    )


def apart(a: Rect, b: Rect, margin: float) -> bool:
    return (
        a.x + a.width + margin <= b.x
        or b.x + b.width + margin <= a.x
        or a.y + a.height + margin <= b.y
        or b.y + b.height + margin <= a.y
    )


def meets(a: tuple[float, float], b: tuple[float, float], rect: Rect) -> bool:
    """Whether a stretch of line goes through the inside of a rectangle: clipped to it, something is left."""
    low, high = 0.0, 1.0
    for start, end, least, most in (
        (a[0], b[0], rect.x + 0.1, rect.x + rect.width - 0.1),
        (a[1], b[1], rect.y + 0.1, rect.y + rect.height - 0.1),
    ):
        if start == end:
            if not least < start < most:
                return False
            continue
        enters, leaves = sorted(((least - start) / (end - start), (most - start) / (end - start)))
        low, high = max(low, enters), min(high, leaves)
    return low < high


def on_border(point: tuple[float, float], rect: Rect) -> bool:
    x, y = point
    beside = min(abs(x - rect.x), abs(x - rect.x - rect.width)) < 0.1 and rect.y <= y <= rect.y + rect.height
    above = min(abs(y - rect.y), abs(y - rect.y - rect.height)) < 0.1 and rect.x <= x <= rect.x + rect.width
    return beside or above


# --- what must hold --------------------------------------------------------------------------------------


def check(made: Diagram, picture: Scene) -> None:
    """Everything at once. Raises AssertionError."""
    check_boxes(made, picture)
    check_frames(made, picture)
    check_edges(made, picture)
    check_texts(picture)


def check_boxes(made: Diagram, picture: Scene) -> None:
    """A box for each, none over another, all on the page."""
    boxes = [rect_of(group) for group in of_kind(picture, "box")]
    assert len(boxes) == len(made.boxes)
    page = Rect(0, 0, picture.width, picture.height, 0, "page")
    assert all(within(box, page, 10) for box in boxes)
    assert all(apart(a, b, 8) for a, b in combinations(boxes, 2))


def check_frames(made: Diagram, picture: Scene) -> None:
    """Frames hold their boxes and no other, and lie in each other or beside each other."""
    boxes = [rect_of(group) for group in of_kind(picture, "box")]
    found = {dict(group.data)["path"]: rect_of(group) for group in of_kind(picture, "frame")}
    frames: list[Frame] = []

    def collect(members) -> None:
        for member in members:
            if isinstance(member, Frame):
                frames.append(member)
                collect(member.members)

    collect(made.members)
    assert len(frames) == len(of_kind(picture, "frame")) == len(found)
    for frame in frames:
        rect = found[".".join(frame.path)]
        for i, box in enumerate(boxes):
            inside = frame.first <= i <= frame.last
            assert within(box, rect, 8) if inside else apart(box, rect, 4)
    for a, b in combinations(found.values(), 2):
        assert within(a, b, 4) or within(b, a, 4) or apart(a, b, 4)


def check_edges(made: Diagram, picture: Scene) -> None:
    """Every value gets from its box to each reader, past all other boxes, and shares no stretch with another."""
    boxes = [rect_of(group) for group in of_kind(picture, "box")]
    links = [(i, link) for i, box in enumerate(made.boxes) for link in box.links]
    edges = lines_of(picture)
    assert len(edges) == len(links)
    stretches: dict[tuple[str, float], list[tuple[float, float, int]]] = {}
    for (target, link), (group, line) in zip(links, edges, strict=True):
        assert dict(group.data) == {"from": link.made, "to": link.read}
        way = line.way
        assert on_border(way[0], boxes[link.source])
        assert on_border(way[-1], boxes[target])
        assert line.points[-1] == way[-1]
        for a, b in pairwise(way):
            assert not any(meets(a, b, box) for box in boxes)
            if a[0] == b[0] or a[1] == b[1]:
                key, ends = ("x", a[0]), (a[1], b[1])
                if a[0] != b[0]:
                    key, ends = ("y", a[1]), (a[0], b[0])
                stretches.setdefault(key, []).append((min(ends), max(ends), link.source))
    for found in stretches.values():
        for (a, b, one), (c, d, other) in combinations(found, 2):
            assert one == other or min(b, d) - max(a, c) < 0.5, "two values share a line"


def check_texts(picture: Scene) -> None:
    """Texts are as wide as they may be at most, stand in their rectangles, and neither on lines nor on each other."""
    fonts = {size: ImageFont.load_default(size * 4) for size in {t.size for t in texts_of(picture.groups)}}
    page = Rect(0, 0, picture.width, picture.height, 0, "page")
    covered: list[Rect] = []
    for group in walk(picture.groups):
        rects = [item for item in group.items if isinstance(item, Rect)]
        for text in (item for item in group.items if isinstance(item, Text)):
            needed = fonts[text.size].getlength(text.text) / 4
            assert needed <= text.most + 0.01, text
            left, right = span_of(text, text.most)
            place = Rect(left, text.y - 0.75 * text.size, right - left, text.size, 0, "text")
            assert within(place, page)
            if group.kind in {"node", "output", "frame"}:
                assert within(place, rects[0]), text
            shown = span_of(text, needed)
            covered.append(Rect(shown[0], place.y, shown[1] - shown[0], place.height, 0, "text"))
    for a, b in combinations(covered, 2):
        assert apart(a, b, 0)
    for _, line in lines_of(picture):
        for a, b in pairwise(line.way):
            assert not any(meets(a, b, place) for place in covered)
