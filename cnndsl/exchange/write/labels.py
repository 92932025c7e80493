"""Labels: which layers need none, and how a text refers to a layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cnndsl.exchange.model import identifier
from cnndsl.exchange.write.names import Path, commonprefix, has_weights, is_main
from cnndsl.exchange.write.scopes import free
from cnndsl.exchange.write.tree import (
    Body,
    Goto,
    Group,
    If,
    Item,
    Layer,
    Output,
    Repeat,
    bodies_of,
    end_of,
    items_within,
    layers_within,
)
from cnndsl.ir import Graph
from cnndsl.ops.normalize import BatchNorm
from cnndsl.passes.scope import Scope
from cnndsl.tokens import KEYWORDS


def referred(body: Body) -> set[str]:
    """The nodes that a body refers to."""
    found = set()
    for item in items_within(body):
        match item:
            case Goto():
                found.add(item.node)
            case Layer():
                found.update(item.refs)
    return found


# --- leaving labels out ----------------------------------------------------------------------------------


def leave_out(body: Body, graph: Graph) -> None:
    """Drop the labels that only say what a layer is called without one, in scopes where all labels do.

    Convolutions and dense layers are taken together, for among conv1, conv2 and fc3 each is labelled or none.
    """
    mine = list(_of_scope(body))
    layers = [item for item in mine if isinstance(item, Layer) and graph.by_name[item.node].op is not None]
    main = [item for item in layers if is_main(graph.by_name[item.node])]
    norms = [item for item in layers if isinstance(graph.by_name[item.node].op, BatchNorm)]
    for kind in (norms, main):
        if kind is main and any(item.label is not None for item in norms):
            break  # conv1 and bn1 stand side by side
        others = {label for item in mine if (label := _label(item)) is not None}
        others -= {item.label for item in kind if item.label is not None}
        scope = Scope("", None, {})
        automatic = []
        for item in kind:
            op = graph.by_name[item.node].op
            assert op is not None
            name = scope.automatic(op.name)
            automatic.append(name not in others and name == item.label)
        if all(automatic):
            for item in kind:
                item.label = None
    for inner in mine:
        if isinstance(inner, Group | Output):
            leave_out(inner.body, graph)


def _of_scope(body: Body, *, repeats: bool = True) -> Iterator[Item]:
    """The items of a body and of what adds nothing to its path, in computing order."""
    for item in body:
        if not _is_scope(item) and (repeats or not isinstance(item, Repeat)):
            for inner in bodies_of(item):
                yield from _of_scope(inner, repeats=repeats)
        yield item


def _is_scope(item: Item) -> bool:
    """Whether an item adds a part to the path of what it holds."""
    return isinstance(item, Group | Output) or (isinstance(item, Repeat) and item.label is not None)


def _label(item: Item) -> str | None:
    match item:
        case Layer() | Group() | Repeat():
            return item.label
        case Output():
            return item.name
        case Goto() | If():
            return None


def put_spare(body: Body, spare: Mapping[str, str]) -> None:
    """Give the layers that are in no block and no repeat the labels that are left for them."""
    layers = [item for item in _of_scope(body, repeats=False) if isinstance(item, Layer)]
    taken = {label for item in _of_scope(body) if (label := _label(item)) is not None}
    for item in layers:
        if item.label is None and item.node in spare:
            item.label = free(spare[item.node], taken)


# --- references ------------------------------------------------------------------------------------------


def label_referred(body: Body, graph: Graph) -> None:
    """Give a label to every layer that is referred to and is not the end of a group that has one."""
    wanted = referred(body)
    if wanted:
        # A label of an inner scope would hide one of an outer scope, so these are unlike all others.
        taken = {label for item in items_within(body) if (label := _label(item)) is not None}
        _label_in(body, wanted, graph, taken, start="")


def _label_in(body: Body, wanted: set[str], graph: Graph, taken: set[str], *, start: str) -> None:
    for item in _of_scope(body):
        match item:
            case Layer() if item.node in wanted and item.label is None:
                node = graph.by_name[item.node]
                item.label = free(_short(node.name, node.op.name if node.op is not None else "x"), taken)
            case Group() | Output():
                inner = wanted - {end_of(item.body, start)} if isinstance(item, Group) else wanted
                _label_in(item.body, inner, graph, taken, start=start)


def _short(name: str, otherwise: str) -> str:
    """The last part of a path as a label, unless that is a number only."""
    last = name.rpartition(".")[2]
    return last if not last.isdigit() else f"{otherwise}_{last}"


def label_flat(body: Body, graph: Graph) -> None:
    """Labels for a body without groups: for all layers with weights and all that are referred to."""
    wanted = referred(body)
    taken = {name for name, _ in graph.outputs}
    for item in layers_within(body):
        node = graph.by_name[item.node]
        if node.op is None or item.node in wanted or has_weights(node, graph):
            item.label = free(_word(item.node), taken)


def _word(name: str) -> str:
    word = identifier(name, otherwise="x")
    return f"{word}_" if word in KEYWORDS else word


def references(body: Body) -> dict[str, Path]:
    """The labels that lead to each node that a text refers to, from the network's body on."""
    wanted = referred(body)
    found: dict[str, Path] = {}
    if wanted:
        _refer(body, (), wanted, found)
    assert wanted == set(found), f"no label for {wanted - set(found)}"
    return found


def _refer(body: Body, prefix: Path, wanted: set[str], found: dict[str, Path]) -> None:
    for item in _of_scope(body):
        label = _label(item)
        match item:
            case Layer() if item.node in wanted and item.node not in found:
                assert label is not None
                found[item.node] = (*prefix, label)
            case Group() | Output() if label is not None:
                if isinstance(item, Group) and (end := end_of(item.body, "")) in wanted:
                    found.setdefault(end, (*prefix, label))
                _refer(item.body, (*prefix, label), wanted, found)
            case Repeat() if label is not None:
                found |= {end: (*prefix, label) for end in wanted - set(found) if end == end_of([item], "")}
                for number, one in enumerate(item.passes):
                    lone = one[0].body if len(one) == 1 and isinstance(one[0], Group) else one
                    _refer([Group(str(number), lone)], (*prefix, label), wanted, found)


def reference(target: Path, scope: Path) -> str:
    """A reference to what the labels `target` lead to, from under the path `scope`."""
    both = len(commonprefix([target, scope]))
    return "@" + ".".join(target[both:])
