"""Groups to plan: where every tensor lies, and the kernel launches in order.

Activations lie in one arena whose size is a number of values for each picture, so that the plan holds for every batch
size. Which buffer a value lies in, `places` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from cnndsl.errors import lines_of
from cnndsl.ir import Graph, Node, TensorType
from cnndsl.ops.binding import MAX_OFFSET, Launch, Operand, Site
from cnndsl.ops.joins import Concat
from cnndsl.passes import arena
from cnndsl.passes.fuse import Group, Groups
from cnndsl.passes.hazards import verify
from cnndsl.passes.places import Buffer, Places, Storage, place, root_of, views
from cnndsl.targets import Target
from cnndsl.tiles import ITEM_BYTES, DType


@dataclass(frozen=True)
class Memory:
    """Where a network's values lie.

    storage  by node name; inputs have none, nor has a node that is a view: see `views`.
    copies   inputs of concats (the concat's name, the input's number) that are copied, and why.
    arena    values of one picture in the arena, which outputs do not lie in.
    least    values of one picture that are needed at once: no arena is smaller, with the kernels in this order.
    """

    storage: Mapping[str, Storage]
    buffers: tuple[Buffer, ...]
    copies: Mapping[tuple[str, int], str]
    arena: int
    least: int


@dataclass(frozen=True)
class Step:
    """One group at its place: its launches, and what to say of it."""

    group: Group
    launches: tuple[Launch, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    """One value, or several side by side: those of convolutions that share the launch."""
    macs: int


@dataclass(frozen=True)
class Plan:
    """A network ready to be written out as code."""

    graph: Graph
    target: Target
    dtype: DType
    batch: int
    """The batch size that tiles were chosen for."""
    keep: bool
    """Whether every value has memory of its own and is returned, for comparing layer by layer."""
    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...]
    storage: Mapping[str, Storage]
    """By node name. Inputs have none, nor has a node that is a view: see `views`."""
    arena: int
    """Values of one picture in the arena."""
    least: int
    """Values of one picture that are needed at once: see `Memory`."""
    outputs: tuple[tuple[str, str], ...]

    @property
    def max_batch(self) -> int | None:
        """The most pictures that one pass may take: offsets are in 32 bits. None where they are in 64.

        A multiple of 16 where there are as many, so that the inputs of every pass begin at a multiple of 16 bytes.
        """
        if self.target.kind == "interpreter":
            return None
        largest = max(*(b.size for b in self.buffers), *(node.type.size for node in self.graph.inputs))
        most = max(1, MAX_OFFSET // largest)
        return most // 16 * 16 or most

    def pointer(self, name: str) -> str:
        """The expression that launches take for a value: of a buffer, of a part of one, or of an input."""
        while name not in self.storage:
            node = self.graph.by_name[name]
            if node.op is None:
                return variable_of(name)
            name = node.inputs[0]  # which it is a view of
        return self.storage[name].pointer

    def written(self, step: Step) -> TensorType:
        """The type of what a step writes: of several values, of all as one."""
        types = [self.graph.by_name[name].type for name in step.writes]
        return TensorType((*types[0].shape[:-1], sum(t.channels for t in types)))


def plan(groups: Groups, *, target: Target, dtype: DType, batch: int = 1, keep: bool = False) -> Plan:
    """Lay the values of a fused network out in memory and lower every group to launches."""
    groups = _with_copies(groups)
    graph = groups.graph
    aliases = views(graph)
    held = memory(groups, keep=keep)
    steps: list[Step] = []
    operand = _Operands(graph, held.storage, held.buffers, aliases)
    for group in groups.groups:
        node = group.anchor
        if node.name in aliases:
            continue
        if isinstance(node.op, Concat):
            steps.extend(_concat_copies(group, operand, held.copies, target=target, dtype=dtype, batch=batch))
            continue
        steps.append(_step(group, operand, target=target, dtype=dtype, batch=batch))
    made = Plan(
        graph, target, dtype, batch, keep, tuple(steps), held.buffers, held.storage, held.arena, held.least,
        graph.outputs,
    )
    return verify(made)


def _step(group: Group, operand: _Operands, *, target: Target, dtype: DType, batch: int) -> Step:
    """A group whose operation has kernels, at its place."""
    node = group.whole
    assert node.op is not None
    xs = tuple(operand(name) for name in group.inputs)
    residual, scale = (operand(name) if name is not None else None for name in (group.residual, group.scale))
    written = tuple(each.name for each in group.outputs)
    y = operand.at(operand.storage[written[0]], node.type) if group.siblings else operand(written[0])
    first, second, last = (each.op if each is not None else None for each in (group.first, group.second, group.last))
    passed = sum(one.output.type.channels for one in group.siblings if one.activation != group.activation)
    site = Site(
        node, xs, y, target, dtype, batch, residual, group.activation, second, passed, first, scale, last
    )
    macs = sum(n.op.macs(operand.graph.types_of(n), n.type) for n in group.computed if n.op is not None)
    return Step(group, node.op.lower(site), group.reads, written, macs)


def memory(groups: Groups, *, keep: bool = False) -> Memory:
    """Lay the values of a fused network out. With `keep`, each has memory of its own."""
    aliases = views(groups.graph)
    places = place(groups, aliases, keep=keep)
    buffers, size = _pack(places.buffers, _lifetimes(groups, aliases, places.storage), keep=keep)
    return Memory(places.storage, buffers, places.copies, size, _needed(groups, aliases, places))


class _Operands:
    """Makes operands of node names."""

    def __init__(
        self, graph: Graph, storage: Mapping[str, Storage], buffers: tuple[Buffer, ...], aliases: Mapping[str, str]
    ) -> None:
        self.graph, self.storage, self.aliases = graph, storage, aliases
        self.buffers = {b.name: b for b in buffers}

    def __call__(self, name: str) -> Operand:
        type_ = self.graph.by_name[name].type
        root = root_of(name, self.aliases)
        if root not in self.storage:
            n, h, w, c = (f"s{axis}_{variable_of(root)}" for axis in "nhwc")
            return Operand(type_, variable_of(root), (n, h, w, c), type_.size, dense=False)
        return self.at(self.storage[root], type_)

    def at(self, place: Storage, type_: TensorType) -> Operand:
        """An operand of a type at a place."""
        buffer = self.buffers[place.buffer]
        row = type_.width * place.stride
        strides = (str(type_.height * row), str(row), str(place.stride), "1")
        dense = place.stride == type_.channels or type_.height * type_.width == 1
        return Operand(type_, place.pointer, strides, buffer.size, dense)


def variable_of(name: str) -> str:
    """A node's name as a Python variable of the emitted code."""
    return "v_" + name.replace(".", "_")


def _with_copies(groups: Groups) -> Groups:
    """Give outputs that no kernel makes a kernel: an input that is returned is copied."""
    graph = groups.graph
    inputs = {node.name for node in graph.inputs}
    aliases = views(graph)
    nodes, added, outputs = list(graph.nodes), [], []
    for output, name in graph.outputs:
        if root_of(name, aliases) not in inputs:
            outputs.append((output, name))
            continue
        source = graph.by_name[name]
        copy = Node(f"{name}.copy.{output}", Concat(), (name,), source.type, source.span)
        nodes.append(copy)
        added.append(Group((copy,), (name,)))
        outputs.append((output, copy.name))
    if not added:
        return groups
    graph = replace(graph, nodes=tuple(nodes), outputs=tuple(outputs))
    return replace(groups, graph=graph, groups=(*groups.groups, *added))


def _lifetimes(
    groups: Groups, aliases: Mapping[str, str], storage: Mapping[str, Storage]
) -> dict[str, tuple[int, int]]:
    """For each buffer the first step that writes it and the last that touches it."""
    spans: dict[str, tuple[int, int]] = {}

    def touch(name: str, step: int) -> None:
        root = root_of(name, aliases)
        if root in storage:
            buffer = storage[root].buffer
            first, last = spans.get(buffer, (step, step))
            spans[buffer] = (min(first, step), max(last, step))

    for step, group in enumerate(groups.groups):
        for name in group.reads:
            touch(name, step)
        for node in group.outputs:
            touch(node.name, step)
    return spans


def _pack(
    buffers: Sequence[Buffer], lifetimes: Mapping[str, tuple[int, int]], *, keep: bool
) -> tuple[tuple[Buffer, ...], int]:
    """The buffers with offsets in the arena, but for those of outputs, and its size."""
    blocks = [arena.Block(b.name, b.size, *lifetimes[b.name]) for b in buffers if not b.name.startswith("out")]
    offsets = arena.apart(blocks) if keep else arena.pack(blocks)
    return tuple(replace(b, offset=offsets.get(b.name)) for b in buffers), arena.end(blocks, offsets)


def _needed(
    groups: Groups, aliases: Mapping[str, str], places: Places
) -> int:
    """The most values outside of outputs' buffers that are alive at one step, however they lie.

    A value is alive from the step that writes it to the last that reads it, or reads a concat that it is an arm of.
    """
    steps = [*enumerate(groups.groups)]
    touched = ((i, name) for i, group in steps for name in (*group.reads, *(node.name for node in group.outputs)))
    last = {root_of(name, aliases): step for step, name in touched}
    change = [0] * (len(groups.groups) + 1)

    def alive(size: int, first: int, until: int) -> None:
        change[first] += size
        change[until + 1] -= size

    # From the last to the first, so that a concat inside another is known to live as long as that one.
    for step, group in reversed(steps):
        name = group.output.name
        if name in aliases:
            continue
        inside = not places.storage[name].buffer.startswith("out")
        if not isinstance(group.anchor.op, Concat):
            for node in group.outputs:
                alive(node.type.size if inside else 0, step, last[node.name])
            continue
        for number, arm in enumerate(group.inputs):
            if (name, number) not in places.copies:
                root = root_of(arm, aliases)
                last[root] = max(last[root], last[name])
            elif inside:
                alive(groups.graph.by_name[arm].type.size, step, last[name])
    return arena.aligned(max(accumulate(change)))


def _concat_copies(
    group: Group,
    operand: _Operands,
    copies: Mapping[tuple[str, int], str],
    *,
    target: Target,
    dtype: DType,
    batch: int,
) -> Iterator[Step]:
    """Steps for the inputs of a concat that do not lie in its buffer already."""
    node = group.anchor
    place = operand.storage[node.name]
    offset = place.offset
    for number, source in enumerate(group.inputs):
        x = operand(source)
        if (node.name, number) in copies:
            y = operand.at(Storage(place.buffer, offset, place.stride), x.type)
            site = Site(node, (x,), y, target, dtype, batch)
            yield Step(group, (site.launch_copy(),), (source,), (node.name,), 0)
        offset += x.type.channels


def show(plan: Plan) -> str:
    """The plan as text: memory, then the launches in order."""
    size = plan.arena * ITEM_BYTES[plan.dtype] / 2**20
    lines = [
        f"plan {plan.graph.name} for {plan.target.name} in {plan.dtype}, tiles for a batch of {plan.batch}",
        f"  arena: {plan.arena:,} values ({size:.2f} MiB) for each picture, {plan.least:,} are needed at once",
    ]
    for b in plan.buffers:
        where = "of its own" if b.offset is None else f"at {b.offset:,}"
        lines.append(f"    {b.name:<6} {b.size:>12,} values {where}")
    for number, step in enumerate(plan.steps):
        at = plan.storage[step.writes[0]]
        where = lines_of([step.group.anchor.span], home=plan.graph.nodes[0].span)
        lines.append(f"  {number:>3} {step.group.title}  {where}")
        shapes = " | ".join(str(plan.graph.by_name[name].type) for name in step.writes)
        offset = f" from channel {at.offset}" if at.offset else ""
        lines.append(f"      {', '.join(step.reads)} -> {shapes} in {at.buffer}{offset}")
        for launch in step.launches:
            constants = dict(launch.constants)
            tiles = ", ".join(f"{k}={v}" for k, v in constants.items() if k.startswith(("BLOCK_", "UNROLL", "VECTOR")))
            lines.append(f"      {launch.kernel}[{', '.join(launch.grid)}] {tiles}, {launch.num_warps} warps")
    return "\n".join(lines)
