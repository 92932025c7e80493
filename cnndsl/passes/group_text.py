"""The groups of a network as text: every kernel, what goes through memory between them and why, and the totals."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby

from cnndsl.errors import lines_of
from cnndsl.figures import binary, compact, counted
from cnndsl.ir import Graph
from cnndsl.passes.boundaries import (
    Boundary,
    boundaries,
    free_layers,
    launches_of,
    unfused,
    values_moved,
)
from cnndsl.passes.fuse import Group, Groups, fuse
from cnndsl.tiles import ITEM_BYTES, DType

WIDTH = 100
"""Characters of a line."""


def show(groups: Groups, *, graph: Graph | None, dtype: DType, batch: int) -> str:
    """See `fuse.show`."""
    whole = fuse(groups.graph, groups.aim)
    shown = {group.output.name for group in groups.groups}
    text = _Text(whole, boundaries(whole), dtype=dtype, batch=batch)
    all_shown = len(shown) == len(whole.groups)
    layers = sum(node.op is not None for node in (graph or groups.graph).nodes)
    pictures = "one picture" if batch == 1 else f"{batch} pictures"
    launches = launches_of(whole)
    kernels = sum(launches) + sum(b.kind == "copied" and b.consumer is None for b in text.found)
    made = f"{counted(layers, 'layer')} in {counted(kernels, 'kernel')}"
    lines = [f"{groups.graph.name}: {made}, {dtype}, {pictures}"]
    if all_shown:
        lines += text.inputs()
    for group, before, count in zip(whole.groups, accumulate(launches, initial=0), launches, strict=False):
        if group.output.name in shown:
            numbers = {0: "-", 1: f"{before + 1}"}.get(count, f"{before + 1}-{before + count}")
            lines += text.group(group, numbers)
    if all_shown:
        if graph is not None:
            lines += _free(graph, whole)
        lines += text.totals()
    return "\n".join(line.rstrip() for line in lines)


class _Text:
    """Writes the parts."""

    def __init__(self, groups: Groups, found: tuple[Boundary, ...], *, dtype: DType, batch: int) -> None:
        self.groups, self.graph, self.found, self.dtype, self.batch = groups, groups.graph, found, dtype, batch
        self.leaving: dict[str, list[Boundary]] = {}
        self.loaded: Counter[str] = Counter()
        """Values that each group loads, by the name of its result, or of the first one."""
        for boundary in found:
            self.leaving.setdefault(boundary.tensor, []).append(boundary)
            if boundary.consumer is not None:
                self.loaded[boundary.consumer.output.name] += boundary.read

    def inputs(self) -> Iterator[str]:
        """The inputs and where they go."""
        for node in self.graph.inputs:
            yield from ("", f"    {node.name}  input {node.type}", *self.boundaries(self.leaving.get(node.name, ())))

    def group(self, group: Group, numbers: str) -> Iterator[str]:
        """A kernel, what it costs, and where its result goes."""
        yield ""
        where = lines_of((span for node in group.computed for span in node.spans), home=self.graph.nodes[0].span)
        yield from _sides(f"{numbers:>3} {group.title}", where, hanging=4)
        reads = ", ".join(str(self.graph.by_name[name].type) for name in group.reads)
        makes = " | ".join(str(node.type) for node in group.outputs)
        yield from _wrapped(f"{group.text}: {reads} -> {makes}", indent=4)
        leaving = [b for node in group.outputs for b in self.leaving.get(node.name, ())]
        loaded, stored = self.loaded[group.output.name], sum(b.written for b in leaving)
        macs = sum(n.op.macs(self.graph.types_of(n), n.type) for n in group.computed if n.op is not None)
        parts = [f"{compact(macs * self.batch)} MACs"] if macs else []
        weights = self.weights(group)
        parts += [f"weights {binary(weights)}"] if weights else []
        parts += [f"reads {self.bytes(loaded)}, writes {self.bytes(stored)}"] if numbers != "-" else ["no kernel"]
        yield "    " + ", ".join(parts)
        yield from self.boundaries(leaving)

    def boundaries(self, found: Iterable[Boundary]) -> Iterator[str]:
        """Lines for what leaves a group."""
        for reason, together in groupby(found, key=lambda b: b.reason):
            for b in together:
                to = f"output {b.output}" if b.consumer is None else b.consumer.title
                yield from _sides(f"    -> {to}", self.bytes(b.cost) if b.cost else "free", hanging=7)
            yield from _wrapped(reason, indent=7)

    def totals(self) -> Iterator[str]:
        """What is moved, against the least that could be."""
        passed = {b.tensor for b in self.found if b.producer is None}
        returned = {b.tensor for b in self.found if b.consumer is None}
        least = sum(self.graph.by_name[name].type.size for names in (passed, returned) for name in names)
        moved = sum(b.cost for b in self.found)
        assert moved == values_moved(self.groups)
        inside = sum(b.cost for b in self.found if b.producer is not None and b.consumer is not None)
        weights = sum(self.weights(group) for group in self.groups.groups)
        apart = values_moved(unfused(self.graph))
        once = f"{self.bytes(least, weights)} at the least: inputs, outputs and weights once"
        rows = [
            ("between kernels", self.bytes(inside), "stored once, loaded by every kernel that reads it"),
            ("inputs, outputs", self.bytes(moved - inside), "loaded by every kernel that reads them, stored once"),
            ("weights", binary(weights), "" if self.batch == 1 else "loaded once for all pictures"),
            ("all", self.bytes(moved, weights), once),
            ("unfused", self.bytes(apart, weights), "if each of these layers had a kernel of its own"),
        ]
        yield from ("", "moved")
        yield from (f"    {name:<16}{size:>10}  {note}" for name, size, note in rows)

    def weights(self, group: Group) -> int:
        """Bytes of a group's packed weights: filters in the network's type, the rest in fp32."""
        total = 0
        for node in group.packed:
            assert node.op is not None
            shapes = node.op.packed_shapes(self.graph.types_of(node), folded=bool(node.folded))
            for name, shape in shapes.items():
                size = ITEM_BYTES[self.dtype] if name == "weight" else 4
                for n in shape:
                    size *= n
                total += size
        return total

    def bytes(self, values: int, more: int = 0) -> str:
        """A number of values of each picture in bytes, and `more` bytes."""
        return binary(values * self.batch * ITEM_BYTES[self.dtype] + more)


def _free(graph: Graph, groups: Groups) -> Iterator[str]:
    found = free_layers(graph, groups)
    if found:
        yield from ("", "free")
        width = max(len(free.node.name) for free in found)
        for free in found:
            yield from _wrapped(f"{free.node.name:<{width}}  {free.reason}", indent=4, hanging=6 + width)


def _sides(left: str, right: str, *, hanging: int) -> list[str]:
    """One text at the left, wrapped where it is long, and another at the right end of its last line."""
    lines = textwrap.wrap(left, WIDTH - len(right) - 2, subsequent_indent=" " * hanging, break_on_hyphens=False)
    return [*lines[:-1], f"{lines[-1]:<{WIDTH - len(right)}}{right}"]


def _wrapped(text: str, *, indent: int, hanging: int | None = None) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (hanging or indent),
        break_on_hyphens=False,
    )
