"""Which layers of two networks correspond.

Layers are paired by a weighted longest common subsequence over both computing orders (the dynamic programme of
Needleman and Wunsch, 1970, with gaps that cost nothing): equal layers weigh most, then the same operation on the same
shape, then the same operation on another, and names break ties. Arms of a sum may stand in any order: where that pairs
more, they are taken in an order that depends on their layers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

from cnndsl.ir import Graph, Node
from cnndsl.ops.reshape import Flatten

MAX_CELLS = 6_000_000
"""Pairs of layers that are weighed; about four seconds. Larger networks pair layers of equal text in order alone."""


def aligned(left: Graph, right: Graph) -> dict[str, str]:
    """The right one's layer for each of the left one's that has a counterpart."""
    found = _matched(left.nodes, right.nodes)
    a, b = arranged(left), arranged(right)
    if (a, b) != (left.nodes, right.nodes):
        other = _matched(a, b)
        if _total(other, left, right) > _total(found, left, right):
            return other
    return found


def commutes(node: Node) -> bool:
    """Whether the order of its arms does not matter."""
    return node.op is not None and node.op.name in {"add", "mul"}


def arranged(graph: Graph) -> tuple[Node, ...]:
    """The nodes in a computing order that is the same however the arms of sums and products are ordered."""
    keys = _arms(graph)
    found: dict[str, Node] = {}
    for root in (*(name for _, name in graph.outputs), *graph.by_name):
        waiting = [root]
        while waiting:
            node = graph.by_name[waiting[-1]]
            inputs = sorted(node.inputs, key=keys.__getitem__) if commutes(node) else node.inputs
            missing = [name for name in inputs if name not in found]
            if missing and node.name not in found:
                waiting += reversed(missing)
            else:
                found.setdefault(waiting.pop(), node)
    return tuple(found.values())


def _arms(graph: Graph) -> dict[str, int]:
    """A number for the layers that lead to each node, back to the tensor that other layers read too."""
    keys: dict[str, int] = {}
    for node in graph.nodes:
        if len(graph.users[node.name]) > 1 or node.op is None:
            keys[node.name] = 0
            continue
        before = [keys[name] for name in node.inputs]
        keys[node.name] = crc32(f"{sorted(before) if commutes(node) else before} {node.text}".encode())
    return keys


def _total(found: Mapping[str, str], left: Graph, right: Graph) -> int:
    pairs = ((left.by_name[x], right.by_name[y]) for x, y in found.items())
    return sum(_weight(x, y) + (x.name == y.name) for x, y in pairs)


def _matched(a: Sequence[Node], b: Sequence[Node]) -> dict[str, str]:
    """The pairs of two sequences: what is alike at both ends, and between that the heaviest."""
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


def _heaviest(a: Sequence[Node], b: Sequence[Node]) -> dict[str, str]:
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


def _in_order(a: Sequence[Node], b: Sequence[Node]) -> dict[str, str]:
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
    if type(x.op) is type(y.op) and (x.op.transparent or isinstance(x.op, Flatten)):
        # Without effect, or nearly: what stands before one of them and behind the other shall be paired first.
        return 10 + 2 * (x.type == y.type) + 2 * (x.op == y.op)
    if type(x.op) is type(y.op):
        return 20 + 20 * (x.type == y.type) + 20 * (x.op == y.op)
    related = x.op.family == y.op.family and not x.op.joins and not y.op.joins
    return 10 if related and x.type == y.type else 0
