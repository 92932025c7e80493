"""What blocks and their parameters are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnndsl.exchange.write.slots import Slot
from cnndsl.exchange.write.tree import Body, Group, Layer, bodies_of, layers_within
from cnndsl.ir import Graph
from cnndsl.ops import operations
from cnndsl.ops.conv import Conv
from cnndsl.ops.joins import Add, Concat, Mul
from cnndsl.ops.pool import AvgPool, MaxPool
from cnndsl.tokens import KEYWORDS

if TYPE_CHECKING:
    from cnndsl.exchange.write.parameters import Parameter


def block_name(members: Sequence[Group], graph: Graph, parameters: set[str], taken: set[str]) -> str:
    """The name of a block: what its groups are called, if that is a word of their own, or what it looks like."""
    used = {*taken, *parameters, *operations(), *KEYWORDS}
    stems = {_stem(group.label or "") for group in members}
    stem = stems.pop() if len(stems) == 1 else ""
    name = stem if len(stem) > 2 and stem not in used else _look(members[0].body, graph)
    number, free = 1, name
    while free in used:
        number += 1
        free = f"{name}_{number}" if name[-1].isdigit() else f"{name}{number}"
    return free


def _stem(label: str) -> str:
    """A label without what counts: stage of stage1, inception of inception_4a."""
    return re.sub(r"_?\d+[a-z]?(?:_\d+)?$", "", label).strip("_-")


def _look(body: Body, graph: Graph) -> str:
    """What a block is called in papers, by its layers."""
    joins = [graph.by_name[item.node].op for item in _outermost_joins(body)]
    convs = [op for item in layers_within(body) if isinstance(op := graph.by_name[item.node].op, Conv)]
    depthwise = any(op.groups > 1 and op.groups == op.filters for op in convs)
    if any(isinstance(op, Mul) for op in joins) and len(convs) < 3:
        return "excite"
    if any(isinstance(op, Add) for op in joins):
        if depthwise:
            return "inverted"
        return "bottleneck" if len(convs) > 2 else "basic"
    if any(isinstance(op, Concat) for op in joins):
        if _has_empty_arm(body):
            return "dense_layer"
        return "fire" if isinstance(body[0], Layer) and not body[0].arms else "inception"
    if depthwise and len(convs) > 1:
        return "separable" if len(convs) == 2 else "bottleneck"
    return "convolution" if len(convs) == 1 else "stage" if convs else "part"


def _outermost_joins(body: Body) -> list[Layer]:
    found = []
    for item in body:
        if isinstance(item, Layer) and item.arms:
            found.append(item)
        elif not isinstance(item, Layer):
            for inner in bodies_of(item):
                found.extend(_outermost_joins(inner))
    return found


def _has_empty_arm(body: Body) -> bool:
    return any(not arm for item in _outermost_joins(body) for arm in item.arms)


# --- parameters ------------------------------------------------------------------------------------------


def parameter_names(found: Sequence[Parameter], graph: Graph) -> list[str]:
    """The names of a block's parameters, by the places where they stand first."""
    filters = [p.slot for p in found if p.slot.root in {"filters", "units"}]
    names: list[str] = []
    for p in found:
        name = _filters_name(p.slot, filters, graph) if p.slot in filters else _NAMES.get(p.slot.root, p.slot.root)
        names.append(_other(name, {*names, *KEYWORDS}))
    return names


_NAMES = {"p": "rate", "size": "size", "ceil": "ceil"}


def _other(name: str, taken: set[str]) -> str:
    """A name that is not taken: kernel2 for kernel, c3b for c3."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}{'abcdefghij'[min(number - 1, 9)] if name[-1].isdigit() else number}"
    return free


def _filters_name(slot: Slot, all_: Sequence[Slot], graph: Graph) -> str:
    """c3 for the 3x3 convolution of an arm, r3 for the 1x1 in front of it, and for few words that say more."""
    if slot.root == "units":
        return "units"
    plain = [other for other in all_ if not other.squeezes]
    if slot.squeezes and plain != all_[1:]:
        return "squeeze"
    if slot in plain and len(plain) == 1:
        return "channels"
    if slot.arm is not None and sum(other.arm is not None for other in all_) > 2:
        return _arm_name(slot, graph)
    if isinstance(slot.owner, Group) and slot.name not in {"channels", "units", "hidden"}:
        return slot.name
    word = re.sub(r"[\d_x]+$", "", slot.label)
    if word.isidentifier() and len(word) > 3 and not word.startswith(("conv", "branch", "block", "layer")):
        return word
    if len(all_) == 2:
        first = "squeeze" if slot.squeezes else "hidden"
        return first if slot is all_[0] else "channels"
    return "channels"


def _arm_name(slot: Slot, graph: Graph) -> str:
    assert slot.arm is not None
    nodes = [item.node for item in layers_within(slot.arm)]
    convs = [node for node in nodes if isinstance(graph.by_name[node].op, Conv)]
    mine = next((item.node for item in layers_within([slot.owner]) if item.node in convs), None)
    if mine is None:
        return "channels"
    before = [graph.by_name[node].op for node in nodes[: nodes.index(mine)]]
    after = convs[convs.index(mine) + 1 :]
    if any(isinstance(op, MaxPool | AvgPool) for op in before):
        return "proj"
    return f"r{_kernel(after[0], graph)}" if after else f"c{_kernel(mine, graph)}"


def _kernel(node: str, graph: Graph) -> str:
    op = graph.by_name[node].op
    assert isinstance(op, Conv)
    height, width = op.kernel
    return str(height) if height == width else f"{height}x{width}"
