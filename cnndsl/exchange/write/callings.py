"""What blocks and their parameters are called."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cnndsl.exchange.write.slots import Slot
from cnndsl.exchange.write.tree import Body, Group, Layer, bodies_of, layers_within
from cnndsl.ir import Graph
from cnndsl.ops import operations
from cnndsl.ops.conv import Conv
from cnndsl.ops.joins import Add, Concat, Mul
from cnndsl.tokens import KEYWORDS


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
    if any(isinstance(op, Mul) for op in joins):
        return "excite"
    if any(isinstance(op, Add) for op in joins):
        if depthwise:
            return "inverted"
        return "bottleneck" if len(convs) > 2 else "basic"
    if any(isinstance(op, Concat) for op in joins):
        return "dense_layer" if _has_empty_arm(body) else "inception"
    if depthwise and len(convs) > 1:
        return "separable" if len(convs) == 2 else "inverted"
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


def parameter_name(slot: Slot, found: Sequence[object]) -> str:
    """The name of a parameter by the first place that it has."""
    taken = {getattr(p, "name", "") for p in found}
    name = _meaning(slot)
    number, free = 1, name
    while free in taken or free in KEYWORDS:
        number += 1
        free = f"{name}{number}"
    return free


def _meaning(slot: Slot) -> str:
    if slot.root not in {"filters", "units"}:
        return {"n": "n", "p": "rate"}.get(slot.root, slot.root)
    if isinstance(slot.owner, Group) and slot.name not in {"channels", "units"}:
        return slot.name
    word = re.sub(r"[\d_x]+$", "", slot.label)
    if word.isidentifier() and len(word) > 3 and not word.startswith(("conv", "branch", "block", "layer")):
        return word
    return "units" if slot.root == "units" else "channels"
