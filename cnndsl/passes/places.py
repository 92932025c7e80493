"""Where values lie: in which buffer, from which channel on.

A value lies in a buffer at a channel offset with a pixel stride: an arm of a `concat` is a slice of the concat's buffer
and costs no copy. What one launch computes for several convolutions lies side by side: in a buffer of its own or, where
some of it is an arm of a concat, at an end of that concat's buffer, which then has more channels than the concat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cnndsl.ir import Graph, TensorType
from cnndsl.ops.joins import Concat
from cnndsl.ops.reshape import Flatten

if TYPE_CHECKING:
    from cnndsl.passes.fuse import Group, Groups

VECTOR = 8
"""Channels that are loaded and stored together, 16 bytes in fp16: slices begin at multiples of it where they can."""


@dataclass(frozen=True)
class Storage:
    """Where a value lies: a buffer, the first channel in it, and the values between two pixels."""

    buffer: str
    offset: int
    stride: int

    @property
    def pointer(self) -> str:
        """The expression that a launch takes for it: ``buf0[96:]``."""
        return f"{self.buffer}[{self.offset}:]" if self.offset else self.buffer

    def beside(self, channels: int) -> Storage:
        """The place behind so many channels."""
        return replace(self, offset=self.offset + channels)


@dataclass(frozen=True)
class Buffer:
    """Memory of `size` values for each picture; `offset` is its place in the arena, None for an output's own."""

    name: str
    size: int
    offset: int | None
    type: TensorType


@dataclass(frozen=True)
class Places:
    """The places of a network's values, before the buffers have theirs in the arena.

    storage  by node name; inputs have none, nor has a node that is a view: see `views`.
    buffers  those of outputs are called ``out0``, all others ``buf1``.
    copies   inputs of concats (the concat's name, the input's number) that are copied, and why.
    homes    by the name of a value that is written where it lies in a concat, the concat's.
    """

    storage: Mapping[str, Storage]
    buffers: tuple[Buffer, ...]
    copies: Mapping[tuple[str, int], str]
    homes: Mapping[str, str]


def place(groups: Groups, aliases: Mapping[str, str], *, keep: bool) -> Places:
    """A place for every value that a kernel makes. With `keep`, no value is a slice of a concat."""
    return _Placer(groups, aliases, keep=keep).places()


def views(graph: Graph) -> dict[str, str]:
    """Nodes whose values lie where their input's do: a flatten of one pixel."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if isinstance(node.op, Flatten):
            x = graph.by_name[node.inputs[0]].type
            if x.height * x.width == 1:
                found[node.name] = node.inputs[0]
    return found


def root_of(name: str, aliases: Mapping[str, str]) -> str:
    """The value that a view shows, or the value itself."""
    while name in aliases:
        name = aliases[name]
    return name


class _Placer:
    def __init__(self, groups: Groups, aliases: Mapping[str, str], *, keep: bool) -> None:
        self.groups, self.graph, self.aliases, self.keep = groups.groups, groups.graph, aliases, keep
        self.outputs = {root_of(name, aliases) for _, name in self.graph.outputs}
        self.made = {
            node.name: node.type for g in self.groups if g.anchor.name not in aliases for node in g.outputs
        }
        self.storage: dict[str, Storage] = {}
        self.buffers: dict[str, Buffer] = {}
        self.copies: dict[tuple[str, int], str] = {}
        self.homes: dict[str, str] = {}

    def places(self) -> Places:
        # From the last concat to the first, so that one inside another finds its own place given.
        for group in reversed(self.groups):
            if isinstance(group.anchor.op, Concat):
                self.concat(group)
        for group in self.groups:
            if group.siblings:
                self.row(group)
        for name in self.made:
            if name not in self.storage:
                self.own(name)
        return Places(self.storage, tuple(self.buffers.values()), self.copies, self.homes)

    def own(self, name: str) -> None:
        """A buffer for a value alone."""
        self.storage[name] = self.buffer(self.made[name], "out" if name in self.outputs else "buf")

    def buffer(self, type_: TensorType, prefix: str) -> Storage:
        """The beginning of a new buffer."""
        name = f"{prefix}{len(self.buffers)}"
        self.buffers[name] = Buffer(name, type_.size, None, type_)
        return Storage(name, 0, type_.channels)

    def concat(self, group: Group) -> None:
        """Give the arms of a concat their slices of its buffer, or say why they need copies."""
        name = group.output.name
        if name not in self.storage:
            self.own(name)
        home = self.storage[name]
        offset = home.offset
        for number, source in enumerate(group.inputs):
            root = root_of(source, self.aliases)
            if root not in self.made:
                self.copies[name, number] = f"{source} is an input, which lies where the caller put it"
            elif root in self.outputs:
                self.copies[name, number] = f"{source} is an output, which has memory of its own"
            elif root in self.storage:
                self.copies[name, number] = f"{source} lies in the memory of {self.homes[root]} already"
            elif self.keep:
                self.copies[name, number] = "every value is kept in memory of its own"
            else:
                self.storage[root] = Storage(home.buffer, offset, home.stride)
                self.homes[root] = name
            offset += self.graph.by_name[source].type.channels

    def row(self, group: Group) -> None:
        """Give the results of one launch their places side by side: those that are no arms join the arms' buffer."""
        names = [node.name for node in group.outputs]
        inside = [i for i, name in enumerate(names) if name in self.storage]
        widths = [self.made[name].channels for name in names]
        if inside:
            first, last = inside[0], inside[-1]
            home = self.storage[names[first]].buffer
            before, after = sum(widths[:first]), sum(widths[last + 1 :])
            if before or after:
                self.widen(home, before, after)
            offset = self.storage[names[first]].offset - before
        else:
            shape = self.made[names[0]].shape
            home, offset = self.buffer(TensorType((*shape[:-1], _vectors(sum(widths)))), "buf").buffer, 0
        stride = self.buffers[home].type.channels
        for name, width in zip(names, widths, strict=True):
            at = Storage(home, offset, stride)
            assert self.storage.setdefault(name, at) == at, f"{name} does not lie beside what its launch computes"
            offset += width
        assert offset <= stride

    def widen(self, buffer: str, before: int, after: int) -> None:
        """Give a buffer more channels before and behind those that it has."""
        old = self.buffers[buffer]
        assert old.name.startswith("buf"), f"{old.name} is an output's, which has nothing beside it"
        shape = (*old.type.shape[:-1], _vectors(before + old.type.channels + after))
        type_ = TensorType(shape)
        self.buffers[buffer] = replace(old, size=type_.size, type=type_)
        for name, at in self.storage.items():
            if at.buffer == buffer:
                self.storage[name] = Storage(buffer, at.offset + before, type_.channels)


def _vectors(channels: int) -> int:
    """Channels rounded up such that every pixel begins where the first one's vectors do."""
    return -(-channels // VECTOR) * VECTOR
