"""Two networks side by side: which layers correspond, and whether they compute the same numbers.

`compare_pairing` says which layers correspond; here each pair is judged, and each layer that only one network has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Literal

from cnndsl.compare_pairing import aligned, commutes
from cnndsl.figures import counted
from cnndsl.ir import Graph, InputSpec, Node, TensorType
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.fields import show_value
from cnndsl.ops.global_pool import AdaptiveAvgPool, GlobalAvgPool, GlobalMaxPool
from cnndsl.ops.normalize import BatchNorm
from cnndsl.ops.pool import AvgPool, MaxPool
from cnndsl.ops.reshape import Flatten

Verdict = Literal["same", "numbers", "shapes", "left", "right"]
"""``same`` numbers; the same shapes but other ``numbers``; other ``shapes``; only in the ``left`` or ``right`` one."""


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
    """All layers of both networks, in the left one's order; the right one's come in theirs but in swapped arms."""

    left: Graph
    right: Graph
    pairs: tuple[Pair, ...]
    outputs: tuple[str, ...]
    """Sentences on outputs that do not correspond, the left network being A and the right one B."""
    unsaid: tuple[str, ...] = ()
    """Sentences on how pictures are prepared where only one network's file can say that."""
    notes: tuple[str, ...] = ()
    """Sentences on what may lie behind the differences; the verdict does not follow them."""

    @cached_property
    def same(self) -> bool:
        """Whether both compute the same numbers from the same weights."""
        return not self.outputs and all(pair.verdict == "same" or pair.idle for pair in self.pairs)

    @cached_property
    def keys(self) -> tuple[bool, bool]:
        """Whether both have the same weights by name and shape, and whether by order and shape."""
        left, right = (list(_weights(graph)) for graph in (self.left, self.right))
        return dict(left) == dict(right), [shape for _, shape in left] == [shape for _, shape in right]


def compare(left: Graph, right: Graph, *, silent: tuple[bool, bool] = (False, False)) -> Comparison:
    """Pair the layers of two elaborated networks and judge every pair.

    `silent` is for each of them whether its format does not say how pictures are prepared: what such a network has by
    default is then no difference.
    """
    partners = aligned(left, right)
    judge = _Judge(left, right, partners, silent)
    # Behind which of the left one's layers those stand that only the right one has.
    owners = {name: own for own, name in partners.items()}
    behind: dict[str | None, list[Pair]] = {}
    place: str | None = None
    for other in right.nodes:
        place = owners.get(other.name, place)
        if other.name not in owners:
            behind.setdefault(place, []).append(_single(other, right, "right", judge.flat[1]))
    pairs: list[Pair] = []
    waiting = behind.get(None, [])
    for node in left.nodes:
        if node.name not in partners:
            pairs.append(_single(node, left, "left", judge.flat[0]))
            continue
        pairs += (*waiting, judge.pair(node, right.by_name[partners[node.name]]))
        waiting = behind.get(node.name, [])
    outputs = tuple(_output_differences(left, right, partners))
    notes = tuple(_folding_notes(left, right, partners))
    return Comparison(left, right, (*pairs, *waiting), outputs, tuple(judge.unsaid), notes)


def _single(node: Node, graph: Graph, side: Literal["left", "right"], flat: frozenset[str]) -> Pair:
    """A layer that only one network has."""
    idle = _is_idle_layer(node, graph, flat)
    reason = "without effect at inference"
    if isinstance(node.op, Flatten):
        dense = any(isinstance(user.op, Dense) for user in graph.users[node.name])
        reason = "without effect: a dense layer flattens by itself" if dense else "without effect: another one flattens"
    reasons = (reason,) if idle else ()
    return Pair(node if side == "left" else None, node if side == "right" else None, side, reasons, idle)


def _is_idle_layer(node: Node, graph: Graph, flat: frozenset[str]) -> bool:
    """Whether the network computes the same without it."""
    match node.op:
        case Flatten() | AdaptiveAvgPool():
            return graph.types_of(node) == (node.type,) or (isinstance(node.op, Flatten) and node.name in flat)
    return node.op is not None and node.op.transparent


def _flattened(graph: Graph) -> frozenset[str]:
    """The nodes of which it makes no difference whether they are a map or its values in a row: all ends in `dense`."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        users = graph.users[node.name]
        ends = all(isinstance(u.op, Dense) or (u.name in found and _is_each_value_alone(u)) for u in users)
        if users and ends and node.name not in graph.returned:
            found.add(node.name)
    return frozenset(found)


def _is_each_value_alone(node: Node) -> bool:
    """Whether the layer computes each value from the same one of its input, whatever its shape."""
    op = node.op
    return op is not None and (op.transparent or op.activation is not None or isinstance(op, Flatten))


# --- judging -----------------------------------------------------------------------------------------------


class _Judge:
    """Says of two layers that correspond whether they compute the same."""

    def __init__(self, left: Graph, right: Graph, partners: dict[str, str], silent: tuple[bool, bool]) -> None:
        self.left, self.right, self.partners, self.silent = left, right, partners, silent
        self.paired = set(partners.values())
        ends = [{name: graph.by_name[node].type for name, node in graph.outputs} for graph in (left, right)]
        # Where both come to the same shapes, it makes no difference before which layers they flatten.
        found = (_flattened(g) if ends[0] != ends[1] else frozenset(g.by_name) for g in (left, right))
        self.flat = next(found), next(found)
        self.unsaid: list[str] = []

    def pair(self, x: Node, y: Node) -> Pair:
        reasons = [*self.argument_reasons(x, y), *self.wiring_reasons(x, y)]
        if x.type != y.type and not self.is_flattening(x, y):
            return Pair(x, y, "shapes", tuple(reasons))
        return Pair(x, y, "numbers" if reasons else "same", tuple(reasons))

    def argument_reasons(self, x: Node, y: Node) -> Iterator[str]:
        if x.op is None or y.op is None:
            yield from self.input_reasons(x, y)
        elif type(x.op) is not type(y.op):
            idle = _is_idle_layer(x, self.left, self.flat[0]) and _is_idle_layer(y, self.right, self.flat[1])
            if not idle and not _same_function(x, y, self.left):
                yield f"{x.op.name} against {y.op.name}: another function"
        else:
            yield from _reasons(x, y, same_input=self.left.types_of(x) == self.right.types_of(y))

    def is_flattening(self, x: Node, y: Node) -> bool:
        """Whether two layers differ in shape alone because one stands before a `flatten` and the other behind it."""
        flat = x.name in self.flat[0] and y.name in self.flat[1] and not (x.type.is_map and y.type.is_map)
        return flat and x.type.size == y.type.size and _is_each_value_alone(x) and _is_each_value_alone(y)

    def input_reasons(self, x: Node, y: Node) -> Iterator[str]:
        """One sentence on the preparation of pictures; what only one file can say goes to `unsaid`."""
        different: list[str] = []
        said: tuple[list[str], list[str]] = ([], [])
        specs = x.spec or InputSpec(), y.spec or InputSpec()
        for field in fields(InputSpec):
            values = [getattr(spec, field.name) for spec in specs]
            if values[0] == values[1] or (field.name == "crop" and x.type != y.type):
                continue  # a crop that follows from the input's size is not told again
            shown = ["none" if value is None else show_value(value) for value in values]
            mute = [quiet and value == field.default for quiet, value in zip(self.silent, values, strict=True)]
            if any(mute):
                speaker = mute.index(False)  # of two defaults neither would differ
                said[speaker].append(f"{field.name} {shown[speaker]}")
            else:
                different.append(f"{field.name} {shown[0]} against {shown[1]}")
        for side, node, texts in zip("AB", (x, y), said, strict=True):
            if texts:
                self.unsaid.append(f"only {side} says how pictures become `{node.name}`: {', '.join(texts)}")
        if different:
            yield f"pictures are prepared in another way: {'; '.join(different)}"

    def wiring_reasons(self, x: Node, y: Node) -> Iterator[str]:
        """Inputs that do not correspond; layers that only one network has are passed over."""
        if len(x.inputs) != len(y.inputs):
            yield f"{counted(len(x.inputs), 'arm')} against {len(y.inputs)}"
            return
        for deep in _DEPTHS:
            sources = [_source(name, self.left, self.partners, deep=deep) for name in x.inputs]
            others = [_source(name, self.right, self.paired, deep=deep) for name in y.inputs]
            wanted = [self.partners.get(name) for name in sources]
            swapped = sorted(map(str, wanted)) == sorted(others)
            if wanted == others or (commutes(x) and swapped):
                break
        else:
            # Where none of the layers before it has a counterpart, the nearest of them is the one that is read.
            read = [source if source in self.partners else n for source, n in zip(sources, x.inputs, strict=True)]
            also = [source if source in self.paired else n for source, n in zip(others, y.inputs, strict=True)]
            yield (
                f"reads {', '.join(read)} against {', '.join(also)}"
                + (": the order of its arms differs" if swapped else ": another tensor")
            )


_DEPTHS = True, False
"""Of a dropout in both, one reader may have what stands before it and the other one what stands behind."""


def _source(name: str, graph: Graph, paired: dict[str, str] | set[str], *, deep: bool = False) -> str:
    """The nearest layer at or before `name`, in line, that has a counterpart and, if `deep`, an effect."""
    node = graph.by_name[name]
    while len(node.inputs) == 1 and (node.name not in paired or (deep and node.op is not None and node.op.transparent)):
        node = graph.by_name[node.inputs[0]]
    return node.name


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


def _output_differences(left: Graph, right: Graph, partners: dict[str, str]) -> Iterator[str]:
    ours, others = dict(left.outputs), dict(right.outputs)
    for side, names, rest in (("A", ours, others), ("B", others, ours)):
        yield from (f"output {name} is only in {side}" for name in names if name not in rest)
    paired = set(partners.values())
    for name in (name for name in ours if name in others):
        # A last layer that one of them lacks is told of in its own line.
        if all(
            partners.get(_source(ours[name], left, partners, deep=deep))
            != _source(others[name], right, paired, deep=deep)
            for deep in _DEPTHS
        ):
            yield f"output {name} is {ours[name]} in A and {others[name]} in B"


def _folding_notes(left: Graph, right: Graph, partners: dict[str, str]) -> Iterator[str]:
    """A sentence where one network has biases in place of every batch norm that the other has behind a convolution.

    Every one: where some of these convolutions are others, the network is another one, as GoogLeNet without them is.
    """
    backwards = {other: own for own, other in partners.items()}
    for one, other, pairs, a, b in ((left, right, partners, "A", "B"), (right, left, backwards, "B", "A")):
        places = [n for n in one.nodes if isinstance(n.op, Conv) and not n.op.bias and _is_normalised(n, one)]
        if places and all(_may_hold(other, pairs.get(node.name), node) for node in places):
            yield (
                f"{b} has no batch norms where {a} has them behind {counted(len(places), 'convolution')}: "
                f"they may be folded into {b}'s weights"
            )


def _may_hold(graph: Graph, name: str | None, node: Node) -> bool:
    """Whether a layer may be another network's convolution with the batch norm behind it folded into its weights."""
    assert isinstance(node.op, Conv)
    if name is None or graph.by_name[name].op != replace(node.op, bias=True):
        return False
    return not any(isinstance(user.op, BatchNorm) for user in graph.users[name])


def _is_normalised(node: Node, graph: Graph) -> bool:
    """Whether a batch norm, and nothing else, reads a layer."""
    users = graph.users[node.name]
    return len(users) == 1 and isinstance(users[0].op, BatchNorm) and node.name not in graph.returned


def _weights(graph: Graph) -> Iterator[tuple[str, tuple[int, ...]]]:
    for node in graph.nodes:
        if node.op is not None:
            for weight in node.op.weights(*graph.types_of(node)):
                yield f"{node.name}.{weight.name}", weight.shape
