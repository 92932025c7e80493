"""What blocks and their parameters are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnndsl.exchange.write.slots import Slot
from cnndsl.exchange.write.tree import Body, Group, Layer, Repeat, bodies_of, layers_within
from cnndsl.ir import Graph
from cnndsl.ops import operations
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
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
    stem = stem[0].lower() + stem[1:] if stem else ""
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
    if len(body) > 1 and any(isinstance(item, Repeat) for item in body):
        return "stage"
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
        if any(_only_pool(arm, graph) for item in _outermost_joins(body) for arm in item.arms):
            return "down"
        return "fire" if isinstance(body[0], Layer) and not body[0].arms else "inception"
    if depthwise and len(convs) > 1:
        return "separable" if len(convs) == 2 else "bottleneck"
    if any(isinstance(graph.by_name[item.node].op, Dense) for item in layers_within(body)):
        return "head"
    ends = graph.by_name[last.node].op if isinstance(last := body[-1], Layer) else None
    if len(convs) == 1:
        return "transition" if isinstance(ends, AvgPool) else "stage" if isinstance(ends, MaxPool) else "convolution"
    return "stage" if convs else "part"


def _only_pool(body: Body, graph: Graph) -> bool:
    return len(body) == 1 and all(
        isinstance(graph.by_name[item.node].op, AvgPool | MaxPool) for item in layers_within(body)
    )


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
    slots = [p.slot for p in found]
    filters = _filters_names([slot for slot in slots if slot.root == "filters"], graph)
    names: list[str] = []
    for slot in slots:
        name = filters.get(id(slot)) or {"p": "rate"}.get(slot.root, slot.root)
        names.append(_other(name, {*names, *KEYWORDS}))
    return names


def _other(name: str, taken: set[str]) -> str:
    """A name that is not taken: kernel2 for kernel, c3b for c3."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}{'abcdefghij'[min(number - 1, 9)] if name[-1].isdigit() else number}"
    return free


def _filters_names(slots: Sequence[Slot], graph: Graph) -> dict[int, str]:
    """What the numbers of filters in a block are called, by identity of their places.

    The last one on the way through is `channels`; in arms there is c3 for the 3x3 convolution and r3 for the 1x1 in
    front of it. A word in a layer's label says more, and so does an inner block's parameter.
    """
    told = {
        id(slot): slot.name for slot in slots
        if isinstance(slot.owner, Group) and slot.name not in {"channels", "hidden", "filters"} and len(slot.name) > 3
    }
    rest = [slot for slot in slots if id(slot) not in told]
    plain = [slot for slot in rest if not slot.squeezes]
    squeezing = [slot for slot in rest if slot.squeezes]
    names = {id(slot): "squeeze" for slot in (squeezing if plain else squeezing[:1])}
    names |= {id(slot): "channels" for slot in ([] if plain else squeezing[1:])}
    words = [_word(slot.label) for slot in plain]
    if sum(slot.arm is not None for slot in plain) > 2:
        names |= {id(slot): _arm_name(slot, graph) if slot.arm is not None else "channels" for slot in plain}
    elif len(plain) > 1 and all(words) and len(set(words)) == len(words):
        names |= {id(slot): word for slot, word in zip(plain, words, strict=True)}
    else:
        names |= {id(slot): "channels" if slot is plain[-1] else "hidden" for slot in plain}
    return told | names


def _word(label: str) -> str:
    """The word in a label that says what a layer is for; empty where it only says what it is."""
    word = re.sub(r"[\d_x]+$", "", label)
    common = ("conv", "branch", "block", "layer", "downsample")
    return word if word.isidentifier() and len(word) > 3 and not word.startswith(common) else ""


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
