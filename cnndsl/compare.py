"""Two networks side by side: which layers correspond, and whether they compute the same numbers.

Layers are paired by a weighted longest common subsequence over both computing orders (the dynamic programme of
Needleman and Wunsch, 1970, with gaps that cost nothing): equal layers weigh most, then the same operation on the same
shape, then the same operation on another, and names break ties.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Literal

from cnndsl.figures import counted
from cnndsl.ir import Graph, InputSpec, Node, TensorType
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.fields import show_value
from cnndsl.ops.global_pool import AdaptiveAvgPool, GlobalAvgPool, GlobalMaxPool
from cnndsl.ops.normalize import BatchNorm
from cnndsl.ops.pool import AvgPool, MaxPool

Verdict = Literal["same", "numbers", "shapes", "left", "right"]
"""``same`` numbers; the same shapes but other ``numbers``; other ``shapes``; only in the ``left`` or ``right`` one."""

MAX_CELLS = 6_000_000
"""Pairs of layers that are weighed; about four seconds. Larger networks pair layers of equal text in order alone."""


@dataclass(frozen=True)
class Pair:
    """A layer of each network, or of one of them; `reasons` are sentences on what differs.

    `idle` is whether a layer that only one network has is the identity at inference.
    """

    left: Node | None
    right: Node | None
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    idle: bool = False


@dataclass(frozen=True)
class Comparison:
    """All layers of both networks, in an order that keeps both computing orders."""

    left: Graph
    right: Graph
    pairs: tuple[Pair, ...]
    outputs: tuple[str, ...]
    """Sentences on outputs that do not correspond."""

    @cached_property
    def same(self) -> bool:
        """Whether both compute the same numbers from the same weights."""
        return not self.outputs and all(pair.verdict == "same" or pair.idle for pair in self.pairs)

    @cached_property
    def keys(self) -> tuple[bool, bool]:
        """Whether both have the same weights by name and shape, and whether by order and shape."""
        left, right = (list(_weights(graph)) for graph in (self.left, self.right))
        return dict(left) == dict(right), [shape for _, shape in left] == [shape for _, shape in right]


def compare(left: Graph, right: Graph) -> Comparison:
    """Pair the layers of two elaborated networks and judge every pair."""
    partners = _aligned(left, right)
    judge = _Judge(left, right, partners)
    pairs: list[Pair] = []
    following = iter(right.nodes)
    for node in left.nodes:
        name = partners.get(node.name)
        if name is None:
            pairs.append(_single(node, left, "left"))
            continue
        for other in following:
            if other.name == name:
                pairs.append(judge.pair(node, other))
                break
            pairs.append(_single(other, right, "right"))
    pairs.extend(_single(other, right, "right") for other in following)
    return Comparison(left, right, tuple(pairs), tuple(_output_differences(left, right, partners)))


def _single(node: Node, graph: Graph, side: Literal["left", "right"]) -> Pair:
    """A layer that only one network has."""
    idle = node.op is not None and (node.op.transparent or _is_identity(node, graph))
    reasons = ("without effect at inference",) if idle else ()
    return Pair(node if side == "left" else None, node if side == "right" else None, side, reasons, idle)


def _is_identity(node: Node, graph: Graph) -> bool:
    return isinstance(node.op, AdaptiveAvgPool) and graph.types_of(node) == (node.type,)


# --- pairing -----------------------------------------------------------------------------------------------


def _aligned(left: Graph, right: Graph) -> dict[str, str]:
    """The right one's layer for each of the left one's that has a counterpart."""
    a, b = left.nodes, right.nodes
    start = 0
    while start < min(len(a), len(b)) and _alike(a[start], b[start]):
        start += 1
    stop = 0
    while stop < min(len(a), len(b)) - start and _alike(a[-1 - stop], b[-1 - stop]):
        stop += 1
    found = {x.name: y.name for x, y in zip(a[:start], b[:start], strict=True)}
    found |= {a[-1 - i].name: b[-1 - i].name for i in range(stop)}
    middle = a[start : len(a) - stop], b[start : len(b) - stop]
    cells = len(middle[0]) * len(middle[1])
    found |= _heaviest(*middle) if cells <= MAX_CELLS else _in_order(*middle)
    return found


def _alike(x: Node, y: Node) -> bool:
    # The name too: of a run of equal layers, that with the same name corresponds.
    return x.text == y.text and x.type == y.type and x.name == y.name


def _heaviest(a: tuple[Node, ...], b: tuple[Node, ...]) -> dict[str, str]:
    """The common subsequence of the greatest weight."""
    weights: dict[tuple[str, str], int] = {}
    keys_a, keys_b = ([f"{node.text}{node.type}" for node in nodes] for nodes in (a, b))
    rows = [[0] * (len(b) + 1)]
    for i, x in enumerate(a):
        above, row = rows[-1], [0]
        for j, y in enumerate(b):
            kinds = keys_a[i], keys_b[j]
            weight = weights.get(kinds)
            if weight is None:
                weight = weights[kinds] = _weight(x, y)
            best = max(above[j + 1], row[j])
            if weight and (joined := above[j] + weight + (x.name == y.name)) > best:
                best = joined
            row.append(best)
        rows.append(row)
    found: dict[str, str] = {}
    i, j = len(a), len(b)
    while i and j:
        if rows[i][j] == rows[i - 1][j]:
            i -= 1
        elif rows[i][j] == rows[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            found[a[i].name] = b[j].name
    return found


def _in_order(a: tuple[Node, ...], b: tuple[Node, ...]) -> dict[str, str]:
    """Layers of equal text and type, each with the next such layer that comes in order."""
    places: dict[tuple[str, str], list[int]] = {}
    for number in reversed(range(len(b))):
        places.setdefault((b[number].text, str(b[number].type)), []).append(number)
    found, last = {}, -1
    for node in a:
        waiting = places.get((node.text, str(node.type)), [])
        while waiting and waiting[-1] <= last:
            waiting.pop()
        if waiting:
            last = waiting.pop()
            found[node.name] = b[last].name
    return found


def _weight(x: Node, y: Node) -> int:
    """How much two layers correspond, 0 where they do not; tenfold, so that equal names break ties alone."""
    if x.op is None or y.op is None:
        return 40 if x.op is y.op else 0
    if type(x.op) is type(y.op):
        return 20 + 20 * (x.type == y.type) + 20 * (x.op == y.op)
    related = x.op.family == y.op.family and not x.op.joins and not y.op.joins
    return 10 if related and x.type == y.type else 0


# --- judging -----------------------------------------------------------------------------------------------


class _Judge:
    """Says of two layers that correspond whether they compute the same."""

    def __init__(self, left: Graph, right: Graph, partners: dict[str, str]) -> None:
        self.left, self.right, self.partners = left, right, partners
        self.paired = set(partners.values())

    def pair(self, x: Node, y: Node) -> Pair:
        reasons = [*self.argument_reasons(x, y), *self.wiring_reasons(x, y)]
        if x.type != y.type:
            return Pair(x, y, "shapes", tuple(reasons))
        return Pair(x, y, "numbers" if reasons else "same", tuple(reasons))

    def argument_reasons(self, x: Node, y: Node) -> Iterator[str]:
        if x.op is None or y.op is None:
            yield from _input_reasons(x.spec or InputSpec(), y.spec or InputSpec(), same_type=x.type == y.type)
        elif type(x.op) is not type(y.op):
            if not (x.op.transparent and y.op.transparent) and not _same_function(x, y, self.left):
                yield f"{x.op.name} against {y.op.name}: another function"
        else:
            yield from _reasons(x, y, same_input=self.input_types(x, self.left) == self.input_types(y, self.right))

    def input_types(self, node: Node, graph: Graph) -> tuple[object, ...]:
        return graph.types_of(node)

    def wiring_reasons(self, x: Node, y: Node) -> Iterator[str]:
        """Inputs that do not correspond; layers that only one network has are passed over."""
        if len(x.inputs) != len(y.inputs):
            yield f"{counted(len(x.inputs), 'arm')} against {len(y.inputs)}"
            return
        sources = [_source(name, self.left, self.partners) for name in x.inputs]
        others = [_source(name, self.right, self.paired) for name in y.inputs]
        wanted = [self.partners.get(name) for name in sources]
        if wanted != others and not (_commutes(x) and sorted(map(str, wanted)) == sorted(others)):
            swapped = sorted(map(str, wanted)) == sorted(others)
            yield (
                f"reads {', '.join(sources)} against {', '.join(others)}"
                + (": the order of its arms differs" if swapped else ": another tensor")
            )


def _source(name: str, graph: Graph, paired: dict[str, str] | set[str]) -> str:
    """The nearest layer at or before `name`, in line, that has a counterpart."""
    while name not in paired and len(graph.by_name[name].inputs) == 1:
        name = graph.by_name[name].inputs[0]
    return name


def _commutes(node: Node) -> bool:
    return node.op is not None and node.op.name in {"add", "mul"}


def _reasons(x: Node, y: Node, *, same_input: bool) -> Iterator[str]:
    """What two layers of one operation compute differently."""
    a, b = x.op, y.op
    assert a is not None
    assert b is not None
    for field in fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if one == other or _is_idle(a, b, field.name, output=x.type if x.type == y.type and same_input else None):
            continue
        kind = next(argument.kind for argument in type(a).arguments() if argument.name == field.name)
        text = f"{field.name} {kind.show(one)} against {kind.show(other)}"
        yield text + _effect(a, b, field.name)


def _is_idle(a: Op, b: Op, argument: str, *, output: TensorType | None) -> bool:
    """Whether an argument in which two operations differ cannot change what they compute at inference.

    `output` is the shape that both make from inputs of one shape; None where the shapes differ.
    """
    if a.transparent or (isinstance(a, BatchNorm) and argument == "momentum"):
        return True
    if output is None:
        return False
    one, other = getattr(a, argument), getattr(b, argument)
    sizes = output.height, output.width
    match argument, a:
        case "ceil", MaxPool() | AvgPool():
            # It decides how many windows there are; of equally many, each is the same.
            return True
        case "count_pad", AvgPool():
            # Without padding there is none to count; a window that `ceil` adds never counts its overhang.
            return not any((*a.pad, *getattr(b, "pad", ())))
        case "pad", _ if not isinstance(one, str) and not isinstance(other, str):
            # Below and to the right it decides how many windows there are, unless a mean counts it.
            counts = isinstance(a, AvgPool) and (a.ceil or getattr(b, "ceil", False))
            return not counts and (one[0], one[2]) == (other[0], other[2])
        case "stride", _:
            return all(x == y or size == 1 for x, y, size in zip(one, other, sizes, strict=True))
        case "dilation", _:
            kernel = a.kernel if isinstance(a, Conv) else (0, 0)
            return all(x == y or size == 1 for x, y, size in zip(one, other, kernel, strict=True))
    return False


def _effect(a: Op, b: Op, argument: str) -> str:
    """What follows from an argument that differs, where a reader may not expect it."""
    if argument == "pad":
        top, left = (getattr(a, "pad")[i] - getattr(b, "pad")[i] for i in (0, 2))  # noqa: B009 - not every Op has it
        moved = max(abs(top), abs(left))
        return f": windows begin {counted(moved, 'pixel')} apart" if moved else ": other borders"
    return {
        "ceil": ": a last, partial window counts or does not",
        "count_pad": ": windows at the border divide by another number",
        "eps": ": another number is added to the variance",
        "stride": ": other pixels are looked at",
        "bias": ": one adds a bias, the other does not",
        "affine": ": one has a learned scale and shift, the other does not",
        "groups": ": filters see other channels",
    }.get(argument, "")


def _same_function(x: Node, y: Node, graph: Graph) -> bool:
    """Whether two different operations are one function on the shape that they have here."""
    if graph.by_name[x.name] is not x:
        return False
    (before,) = graph.types_of(x) if len(x.inputs) == 1 else (None,)
    if before is None:
        return False
    whole = {_whole(node.op, before.height, before.width) for node in (x, y)}
    return len(whole) == 1 and None not in whole


def _whole(op: Op | None, height: int, width: int) -> str | None:
    """avg or max for a pooling that takes the whole map in one window, else None."""
    match op:
        case GlobalAvgPool():
            return "avg"
        case GlobalMaxPool():
            return "max"
        case AdaptiveAvgPool(size=(1, 1)):
            return "avg"
        case AvgPool() | MaxPool():
            if op.kernel == (height, width) and not any(op.pad):
                return "avg" if isinstance(op, AvgPool) else "max"
    return None


def _input_reasons(a: InputSpec, b: InputSpec, *, same_type: bool) -> Iterator[str]:
    """One sentence on the preparation of pictures. A crop that follows from the input's size is not told again."""
    different = []
    for field in fields(InputSpec):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if one != other and not (field.name == "crop" and not same_type):
            shown = " against ".join("none" if v is None else show_value(v) for v in (one, other))
            different.append(f"{field.name} {shown}")
    if different:
        yield f"pictures are prepared in another way: {'; '.join(different)}"


def _output_differences(left: Graph, right: Graph, partners: dict[str, str]) -> Iterator[str]:
    ours, others = dict(left.outputs), dict(right.outputs)
    for name in ours.keys() - others.keys():
        yield f"output {name} is only in the left one"
    for name in others.keys() - ours.keys():
        yield f"output {name} is only in the right one"
    paired = set(partners.values())
    for name in sorted(ours.keys() & others.keys()):
        # A last layer that one of them lacks is told of in its own line.
        if partners.get(_source(ours[name], left, partners)) != _source(others[name], right, paired):
            yield f"output {name} is {ours[name]} in the left one and {others[name]} in the right one"


def _weights(graph: Graph) -> Iterator[tuple[str, tuple[int, ...]]]:
    for node in graph.nodes:
        if node.op is not None:
            for weight in node.op.weights(*graph.types_of(node)):
                yield f"{node.name}.{weight.name}", weight.shape


def runs(pairs: tuple[Pair, ...]) -> Iterator[tuple[Pair, ...]]:
    """The pairs, those that are the same and follow one another together."""
    cuts = [0, *(i for i, (a, b) in enumerate(pairwise(pairs), 1) if a.verdict != "same" or b.verdict != "same")]
    for start, stop in pairwise([*cuts, len(pairs)]):
        yield pairs[start:stop]
