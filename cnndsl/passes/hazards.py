"""What must hold of every plan: each step finds in memory what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnndsl.ops.joins import Concat

if TYPE_CHECKING:
    from cnndsl.passes.places import Buffer, Storage
    from cnndsl.passes.plan import Plan, Step

_Part = tuple[str, int]
"""What one launch writes: a value (and 0), or the copy of a concat's arm, by the concat's name and the arm's number."""


@dataclass(frozen=True)
class _Region:
    """A slice of channels of a buffer."""

    buffer: Buffer
    first: int
    channels: int

    def overlaps(self, other: _Region) -> bool:
        """Whether two share memory."""
        a, b = self.buffer, other.buffer
        if a.name == b.name:
            return self.first < other.first + other.channels and other.first < self.first + self.channels
        if a.offset is None or b.offset is None:
            return False
        return a.offset < b.offset + b.size and b.offset < a.offset + a.size


def verify(plan: Plan) -> Plan:
    """Check that a plan's memory is right, and return it unchanged.

    Every value lies within its buffer and every buffer within the arena; what a step reads was written and nobody has
    written over it; what a step writes lies apart from all that it reads, for its programs run in any order.

    Raises AssertionError: a wrong plan is our mistake, never the user's.
    """
    _Checker(plan).check()
    return plan


class _Checker:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.graph = plan, plan.graph
        self.buffers = {b.name: b for b in plan.buffers}
        self.intact: dict[_Part, _Region] = {}
        """What was written, and by no other step since."""

    def check(self) -> None:
        for b in self.plan.buffers:
            assert b.offset is None or b.offset + b.size <= self.plan.arena, f"{b.name} reaches beyond the arena"
        for step in self.plan.steps:
            title = step.group.title
            read = {part: self.found(part, title) for name in step.reads for part in self.parts(name)}
            for part, region in self.written(step):
                for (name, _), other in read.items():
                    assert not region.overlaps(other), f"{title} writes over {name} while it reads that"
                self.intact = {p: r for p, r in self.intact.items() if not region.overlaps(r)}
                self.intact[part] = region
        for output, name in self.plan.outputs:
            for part in self.parts(name):
                self.found(part, f"output {output}")

    def found(self, part: _Part, reader: str) -> _Region:
        """Where a part lies. Raises AssertionError where it is not there."""
        assert part in self.intact, f"{reader} reads {part[0]}, which is not there"
        return self.intact[part]

    def parts(self, name: str) -> Iterator[_Part]:
        """What a value is made of; nothing for the caller's own."""
        waiting = [name]
        while waiting:
            root = self.root(waiting.pop())
            node = self.graph.by_name[root]
            if isinstance(node.op, Concat):
                for number, (arm, place) in enumerate(self.arms(root)):
                    if self.plan.storage.get(self.root(arm)) == place:
                        waiting.append(arm)
                    else:
                        yield root, number
            elif node.op is not None:
                yield root, 0

    def arms(self, concat: str) -> Iterator[tuple[str, Storage]]:
        """The arms of a concat, and where they belong."""
        place = self.plan.storage[concat]
        for arm in self.graph.by_name[concat].inputs:
            yield arm, place
            place = place.beside(self.graph.by_name[arm].type.channels)

    def root(self, name: str) -> str:
        """The value that a view shows, or the value itself."""
        while name not in self.plan.storage and self.graph.by_name[name].op is not None:
            name = self.graph.by_name[name].inputs[0]
        return name

    def written(self, step: Step) -> Iterator[tuple[_Part, _Region]]:
        """What a step writes, and where."""
        if not isinstance(step.group.anchor.op, Concat):
            yield from (((name, 0), self.region(self.plan.storage[name], name)) for name in step.writes)
            return
        (concat,) = step.writes
        # An arm that is there twice is copied twice, one after the other.
        number, arm, place = next(
            (number, arm, place)
            for number, (arm, place) in enumerate(self.arms(concat))
            if (arm,) == step.reads and (concat, number) not in self.intact
            and self.plan.storage.get(self.root(arm)) != place
        )
        yield (concat, number), self.region(place, arm)

    def region(self, place: Storage, name: str) -> _Region:
        """Where a value of this type lies. Raises AssertionError where that is not within its buffer."""
        type_, buffer = self.graph.by_name[name].type, self.buffers[place.buffer]
        assert place.offset + type_.channels <= place.stride, f"{name} reaches into the next pixel"
        assert buffer.size == type_.height * type_.width * place.stride, f"{name} is as many pixels as {buffer.name}"
        return _Region(buffer, place.offset, type_.channels)
