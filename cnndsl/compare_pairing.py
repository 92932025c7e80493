"""Which layers of two networks correspond.

Layers are paired by a weighted longest common subsequence over both computing orders (the dynamic programme of
Needleman and Wunsch, 1970, with gaps that cost nothing): equal layers weigh most, then the same operation on the same
shape, then the same operation on another, and names break ties. Arms of a sum may stand in any order: where that pairs
more, they are taken in an order that depends on their layers alone. Heads may stand in any order too: layers that one
output alone depends on are paired with those of the other network's output of that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

from cnndsl.ir import Graph, Node
from cnndsl.ops.reshape import Flatten

MAX_CELLS = 6_000_000
"""Pairs of layers that are weighed; about four seconds. Larger networks pair layers of equal text in order alone."""


_SEVERAL = ""
"""Stands where the name of an output would, for layers that several outputs depend on; no output has it for a name."""


def aligned(left: Graph, right: Graph) -> dict[str, str]:
    """The right one's layer for each of the left one's that has a counterpart."""
    common = [name for name in dict(left.outputs) if name in dict(right.outputs)]
    heads, others = (_heads(graph, frozenset(common)) for graph in (left, right))
    orders = (left.nodes, right.nodes), (arranged(left), arranged(right))
    parts = [(_parts(a, heads), _parts(b, others)) for a, b in orders]
    pairing = _Pairing(left, right)
    for head in (*common, _SEVERAL, None):
        pairing.add((a.get(head, []), b.get(head, [])) for a, b in parts)
    # Where a head leaves the trunk earlier in one network, what is trunk in the other belongs to a head there.
    for trunk in (True, False):
        pairing.add((_moved(a, heads, trunk=trunk), _moved(b, others, trunk=not trunk)) for a, b in orders)
    return pairing.found


class _Pairing:
    """Pairs of two networks' layers, found for one part of them after the other."""

    def __init__(self, left: Graph, right: Graph) -> None:
        self.left, self.right = left, right
        self.found: dict[str, str] = {}
        self.taken: set[str] = set()
        self.room = MAX_CELLS

    def add(self, orders: Iterable[tuple[Sequence[Node], Sequence[Node]]]) -> None:
        """Pair what has no counterpart yet of some layers, given in several orders: in the one that pairs most."""
        best: dict[str, str] = {}
        room = self.room
        tried: list[tuple[list[Node], list[Node]]] = []
        for nodes, others in orders:
            a = [x for x in nodes if x.name not in self.found]
            b = [y for y in others if y.name not in self.taken]
            if (a, b) not in tried:
                tried.append((a, b))
                best = max(best, _matched(a, b, room), key=self.total)  # of equal ones the first
                self.room = room - len(a) * len(b)
        self.found |= best
        self.taken.update(best.values())

    def total(self, found: Mapping[str, str]) -> int:
        pairs = ((self.left.by_name[x], self.right.by_name[y]) for x, y in found.items())
        return sum(_weight(x, y) + (x.name == y.name) for x, y in pairs)


def _heads(graph: Graph, names: frozenset[str]) -> dict[str, str]:
    """The one output of `names` that depends on a node, or `_SEVERAL`; nothing for a node that none depends on."""
    found: dict[str, str] = {}
    for output, name in graph.outputs:
        if output in names:
            found[name] = _SEVERAL if name in found else output
    for node in reversed(graph.nodes):
        head = found.get(node.name)
        if head is not None:
            for name in node.inputs:
                found[name] = head if found.get(name, head) == head else _SEVERAL
    return found


def _parts(nodes: Sequence[Node], heads: Mapping[str, str]) -> dict[str | None, list[Node]]:
    """The layers of each head, of the trunk that several share, and, under None, those that lead to none."""
    parts: dict[str | None, list[Node]] = {}
    for node in nodes:
        parts.setdefault(heads.get(node.name), []).append(node)
    return parts


def _moved(nodes: Sequence[Node], heads: Mapping[str, str], *, trunk: bool) -> list[Node]:
    """The layers of the trunk or of the heads, but those without effect, which may stand anywhere."""
    effective = (n for n in nodes if n.op is None or not (n.op.transparent or isinstance(n.op, Flatten)))
    return [node for node in effective if node.name in heads and (heads[node.name] == _SEVERAL) == trunk]


def commutes(node: Node) -> bool:
    """Whether the order of its arms does not matter."""
    return node.op is not None and node.op.name in {"add", "mul"}


def arranged(graph: Graph) -> tuple[Node, ...]:
    """The nodes in a computing order that is the same however outputs and the arms of sums and products are ordered."""
    keys = _arms(graph)
    found: dict[str, Node] = {}
    for root in (*(name for _, name in sorted(graph.outputs)), *graph.by_name):
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


def _matched(a: Sequence[Node], b: Sequence[Node], room: int) -> dict[str, str]:
    """The pairs of two sequences: what is alike at both ends, and between that the heaviest within `room` cells."""
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
    found |= _heaviest(*middle) if cells <= room else _in_order(*middle)
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
