"""Which groups are alike: the same layers under the same labels, but for the numbers among their arguments."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import fields

from cnndsl.exchange.write.tree import Body, Goto, Group, If, Item, Layer, Output, Repeat, computed
from cnndsl.ir import Graph
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.joins import Add
from cnndsl.ops.normalize import BatchNorm


def kind_of_group(group: Group, graph: Graph) -> Hashable | None:
    """What all groups that could be calls of one block have in common; None where a group could be no call.

    A block sees its own labels only, and an output has one name. The shorter way of an addition counts as none, since a
    block can ask whether it needs a projection there.
    """
    inside = {node: number for number, node in enumerate(computed(group.body))}
    try:
        return _body(group.body, graph, inside)
    except _Alone:
        return None


class _Alone(Exception):
    """A group that no other is like."""


def _body(body: Body, graph: Graph, inside: Mapping[str, int]) -> Hashable:
    return tuple(_item(item, graph, inside) for item in body)


def _item(item: Item, graph: Graph, inside: Mapping[str, int]) -> Hashable:
    match item:
        case Layer():
            op = graph.by_name[item.node].op
            if op is None:
                raise _Alone
            arms = [_body(arm, graph, inside) for arm in item.arms]
            short = shortcut(item, graph)
            if short is not None:
                arms[short] = "shortcut"
            refs = tuple(_number(name, inside) for name in item.refs)
            return op.name, fixed(op), item.label, tuple(arms), refs
        case Goto():
            return _number(item.node, inside)
        case Group():
            return "group", item.label, _body(item.body, graph, inside)
        case Repeat():
            return "repeat", item.label, _body(item.passes[0], graph, inside)
        case Output() | If():
            raise _Alone


def _number(name: str, inside: Mapping[str, int]) -> int:
    if name not in inside:
        raise _Alone
    return inside[name]


def fixed(op: Op) -> Hashable:
    """The arguments that are the same wherever a block stands: switches."""
    return tuple(value for f in fields(op) if isinstance(value := getattr(op, f.name), bool))


def shortcut(item: Layer, graph: Graph) -> int | None:
    """Which arm of an addition of two leads past the other: an empty one or a lone convolution, normalised or not."""
    if not isinstance(graph.by_name[item.node].op, Add) or len(item.arms) != 2 or item.refs:
        return None
    sizes = [_simple(arm, graph) for arm in item.arms]
    for number in (0, 1):
        if sizes[number] and not sizes[1 - number]:
            return number
    return None


def _simple(body: Body, graph: Graph) -> bool:
    """Whether a body is nothing, or a convolution and perhaps a batch norm, in a group or not."""
    match body:
        case [Group() as group]:
            return _simple(group.body, graph)
        case []:
            return True
        case [Layer() as first, *rest]:
            ops = [graph.by_name[item.node].op for item in rest if isinstance(item, Layer)]
            is_conv = isinstance(graph.by_name[first.node].op, Conv)
            return is_conv and len(ops) == len(rest) <= 1 and all(isinstance(op, BatchNorm) for op in ops)
    return False


def variant(group: Group, graph: Graph) -> Hashable:
    """Which of the groups of one kind are alike in their shortcuts too: those without any are like all."""
    found = []
    inside: dict[str, int] = {}
    for item in _layers(group.body):
        short = shortcut(item, graph)
        if short is not None:
            found.append(_body(item.arms[short], graph, inside) or None)
    return tuple(found)


def _layers(body: Body) -> list[Layer]:
    """The joins of a body, those in groups and arms too, of a repeat's first pass."""
    found: list[Layer] = []
    for item in body:
        match item:
            case Layer():
                for arm in item.arms:
                    found.extend(_layers(arm))
                found.append(item)
            case Group():
                found.extend(_layers(item.body))
            case Repeat():
                found.extend(_layers(item.passes[0]))
            case Goto() | Output() | If():
                pass
    return found
