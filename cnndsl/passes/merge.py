"""Convolutions that read the same tensor through the same window, as one launch with the filters of all.

So an inception block loads its input once for three of its arms, and a residual block once for its first layer and its
projection. The results lie side by side in memory, as one convolution writes them: see `places`.

`Merger.obstacle` is the only judge of what a launch can compute side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from cnndsl.errors import listed
from cnndsl.ir import Graph, verify
from cnndsl.ops.base import Op
from cnndsl.ops.dense import Dense
from cnndsl.ops.fusion import Obstacle
from cnndsl.passes import fuse
from cnndsl.passes.fuse import Group, Groups
from cnndsl.passes.places import VECTOR, Storage, place, root_of, views

Row = tuple[Group, ...]
"""Convolutions, each with its activation, in the order in which their results lie."""

NONE = ("none", 0.0)


def merged(groups: Groups) -> Groups:
    """The groups of a network with those merged that one launch can compute."""
    rows = Merger(groups).rows()
    if not rows:
        return groups
    order = groups.graph.position
    named = {}
    for row in rows:
        names = tuple(one.anchor.name for one in row)
        named[min(names, key=order.__getitem__)] = names
    made = fuse.formed(verify(_together(groups.graph, named.values())), groups.aim, named)
    launched = {group.anchor.name: group for group in made.groups}
    for row in rows:
        found = launched[row[0].anchor.name]
        assert [one.nodes for one in found.members] == [one.nodes for one in row], found.title
    # The graph keeps its order, so that the same rows are found in it again.
    return replace(groups, groups=made.groups)


def reasons(groups: Groups) -> dict[str, Obstacle]:
    """Why convolutions that read one tensor alike have launches of their own, by the names of the later ones."""
    return dict(Merger(fuse.formed(groups.graph, groups.aim)).left_out())


def _together(graph: Graph, rows: Iterable[Sequence[str]]) -> Graph:
    """The graph with the layers of each row behind its first one. They read what that one reads."""
    order = graph.position
    behind = {first: rest for first, *rest in (sorted(names, key=order.__getitem__) for names in rows)}
    moved = {name for rest in behind.values() for name in rest}
    names = (
        name for node in graph.nodes if node.name not in moved for name in (node.name, *behind.get(node.name, ()))
    )
    return replace(graph, nodes=tuple(graph.by_name[name] for name in names))


class Merger:
    """Finds the rows of a network, given as the groups that it has without them."""

    def __init__(self, groups: Groups) -> None:
        self.graph, self.aim = groups.graph, groups.aim
        aliases = views(groups.graph)
        self.places = place(groups, aliases, keep=False)
        self.outputs = {root_of(name, aliases) for name in groups.graph.returned}
        self.group_of = {group.anchor.name: group for group in groups.groups}
        self.whole: dict[str, str] = {}
        """Buffers whose pixels must lie side by side, and the dense layer that reads them so."""
        for group in groups.groups:
            if isinstance(group.anchor.op, Dense) and group.first is None:
                root = root_of(group.inputs[0], aliases)
                type_, at = self.graph.by_name[root].type, self.places.storage.get(root)
                if at is not None and type_.height * type_.width > 1 and at.stride == type_.channels:
                    self.whole.setdefault(at.buffer, group.anchor.name)
        self.ends: dict[tuple[str, bool], Row] = {}
        """Ends of concats' buffers, the front ones True, beside which rows lie."""
        self.adding: dict[str, str] = {}
        """Layers that add in the place of a merged one, and the sum."""
        self.found: list[Row] = []

    # --- finding -----------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """All rows of two and more."""
        for alike in self.alike():
            waiting = list(alike)
            while len(row := self.longest(waiting)) > 1:
                self.take(row)
                waiting = [one for one in waiting if one.anchor.name not in _names(row)]
        return self.found

    def left_out(self) -> Iterator[tuple[str, Obstacle]]:
        """The convolutions that an alike one comes before, in another launch, and why they are not in that one."""
        rows = {one.anchor.name: row for row in self.rows() for one in row}
        for alike in self.alike():
            first = max((rows.get(one.anchor.name, (one,)) for one in alike), key=len)
            for one in alike:
                if one not in first:
                    yield one.anchor.name, self.between(one, first)

    def between(self, one: Group, row: Row) -> Obstacle:
        """Why a convolution is not in the launch of a row: of the reasons against each place, one that says most."""
        tried = [self.obstacle((*row[:i], one, *row[i:])) for i in reversed(range(len(row) + 1))]
        found = [obstacle for obstacle in tried if obstacle is not None]
        assert len(found) == len(tried), f"{one.anchor.name} and {row[0].anchor.name} could share a launch"
        return next((obstacle for obstacle in found if obstacle.kind != "place"), found[0])

    def alike(self) -> list[Row]:
        """The convolutions that read one tensor alike, two and more."""
        found: dict[tuple[tuple[str, ...], Op], list[Group]] = {}
        for group in self.group_of.values():
            one = self.bare(group)
            if one is not None and one.anchor.op is not None and one.anchor.op.alike is not None:
                found.setdefault((one.inputs, one.anchor.op.alike), []).append(one)
        return [tuple(groups) for groups in found.values() if len(groups) > 1]

    def bare(self, group: Group) -> Group | None:
        """A group as it would be in a row, without the sum that it ends in; None where it does more."""
        plain = Group(group.nodes, group.inputs, activation=group.activation)
        if group.residual is not None and group == replace(plain, residual=group.residual):
            return fuse.begun(self.graph, group.anchor.name)
        return group if group == plain else None

    def longest(self, waiting: Sequence[Group]) -> Row:
        """The longest row of some alike convolutions: arms that lie together in a concat, if any, and others."""
        fit = [one for one in waiting if self.obstacle((one,)) is None]
        best: Row = ()
        for kind in dict.fromkeys(one.activation for one in fit if one.activation != NONE) or (NONE,):
            chosen = [one for one in fit if one.activation in {kind, NONE}]
            # Those first behind which vectors may begin; of them, the activated ones.
            free = [one for one in chosen if self.home(one) is None]
            free.sort(key=lambda one: (one.output.type.channels % VECTOR > 0, one.activation == NONE))
            arms = [one for one in chosen if self.home(one) is not None]
            for start, core in enumerate(self.cores(arms)):
                for front in (True, False):
                    row = self.with_others(core, free, front=front)
                    best = row if len(row) > len(best) else best
                # The next one begins with arms[start]: of 500 arms in one row, all others would be tried for seconds.
                if len(arms) - start + len(free) <= len(best):
                    break
        return best

    def with_others(self, core: Row, free: Sequence[Group], *, front: bool) -> Row:
        """Arms of a concat with as many other convolutions as can lie before or behind them."""
        others: Row = ()
        for one in free:
            longer = (*others, one)
            if self.obstacle((*longer, *core) if front else (*core, *longer)) is None:
                others = longer
        return (*others, *core) if front else (*core, *others)

    def cores(self, arms: list[Group]) -> Iterator[Row]:
        """No arms of a concat, and the longest rows that begin with each of some."""
        yield ()
        arms.sort(key=lambda one: (at.buffer, at.offset) if (at := self.home(one)) is not None else ("", 0))
        for i in range(len(arms)):
            end = i + 1
            while end < len(arms) and self.obstacle(tuple(arms[i : end + 1])) is None:
                end += 1
            yield tuple(arms[i:end])

    def home(self, one: Group) -> Storage | None:
        """The place of a result that is written where it lies in a concat; None where it has its own."""
        name = one.output.name
        return self.places.storage[name] if name in self.places.homes else None

    def take(self, row: Row) -> None:
        """Note that a row is one launch."""
        self.found.append(row)
        homes = [self.home(one) for one in row]
        for i, front in ((0, False), (-1, True)):
            at = homes[i]
            if at is not None and homes[-1 - i] is None:
                self.ends[at.buffer, front] = row
        for one in row:
            base = self.group_of[one.anchor.name]
            if base.residual is not None:
                self.adding[base.residual] = base.nodes[1].name

    # --- judging -----------------------------------------------------------------------------------

    def obstacle(self, row: Row) -> Obstacle | None:
        """Why one launch cannot compute alike convolutions side by side, in this order; None where it can."""
        for one in row:
            if (found := self.alone(one)) is not None:
                return found
        for one in row if len(row) > 1 else ():
            base = self.group_of[one.anchor.name]
            if base.residual is not None and not self.added_elsewhere(base, row):
                return Obstacle("adds", f"the kernel of {one.anchor.name} adds {base.residual}, and no other could")
        for one, other in pairwise(row):
            if other.activation not in {one.activation, NONE}:
                reason = f"{one.anchor.name} ends in {_activation(one)} and {other.anchor.name} in {_activation(other)}"
                return Obstacle("activation", reason)
            channels = one.output.type.channels
            if channels % VECTOR and self.home(one) is self.home(other) is None:
                return _unaligned(f"the {channels} channels of {one.output.name}", other.output.name)
        return self.apart(row)

    def alone(self, one: Group) -> Obstacle | None:
        """Why a convolution has a launch of its own, whatever reads the tensor alike."""
        name, anchor = one.output.name, one.anchor.name
        if name in self.outputs:
            return Obstacle("output", f"{name} is an output, which has memory of its own")
        if anchor in self.adding:
            return Obstacle("adds", f"{anchor} computes {self.adding[anchor]}")
        at = self.places.storage.get(name)
        if at is not None and at.buffer in self.whole and self.home(one) is None:
            return Obstacle("whole", f"{self.whole[at.buffer]} reads the pixels of {name} side by side")
        return None

    def added_elsewhere(self, base: Group, row: Row) -> bool:
        """Whether the kernel of the other summand adds, once a row is computed before it."""
        other, total = base.residual, base.nodes[1]
        taken = _names(one for found in (*self.found, row) for one in found)
        group = self.group_of.get(other) if other is not None else None
        if group is None or group.nodes != (group.anchor,) or group.anchor.name in taken:
            return False
        graph = _together(self.graph, [[one.anchor.name for one in row]])
        return fuse.obstacle(graph, self.aim, group, total) is None

    def apart(self, row: Row) -> Obstacle | None:
        """Why results cannot lie side by side."""
        homes = [self.home(one) for one in row]
        inside = [i for i, at in enumerate(homes) if at is not None]
        if not inside:
            return None
        first, last = inside[0], inside[-1]
        start = homes[first]
        assert start is not None
        end = start.offset
        for one, at in zip(row[first : last + 1], homes[first : last + 1], strict=True):
            if at is None or (at.buffer, at.offset) != (start.buffer, end):
                return self.elsewhere(row, first)
            end += one.output.type.channels
        if last - first + 1 == len(row):
            return None
        name = self.places.homes[row[first].output.name]
        (buffer,) = (b for b in self.places.buffers if b.name == start.buffer)
        channels, front = buffer.type.channels, first > 0
        if (front and last < len(row) - 1) or (start.offset if front else end != channels):
            return self.elsewhere(row, first)
        if buffer.name.startswith("out"):
            return Obstacle("memory", f"nothing may lie beside {name}, an output")
        if buffer.name in self.whole:
            return Obstacle("whole", f"{self.whole[buffer.name]} reads the pixels of {name} side by side")
        if not _names(self.ends.get((buffer.name, front), ())) <= _names(row):
            return Obstacle("memory", f"what lies beside {name} is the result of another launch")
        before = sum(one.output.type.channels for one in row[:first])
        if before % VECTOR:
            return _unaligned(f"{before} channels", name)
        if not front and channels % VECTOR:
            return _unaligned(f"the {channels} channels of {name}", row[last + 1].output.name)
        return None

    def elsewhere(self, row: Row, first: int) -> Obstacle:
        """That a result of the row lies in a concat, away from the others."""
        one = row[first]
        others = listed([each.output.name for each in row if each is not one], most=3)
        home = self.places.homes[one.output.name]
        return Obstacle("place", f"{one.output.name} lies within {home}, where {others} cannot lie beside it")


def _names(row: Iterable[Group]) -> set[str]:
    return {one.anchor.name for one in row}


def _activation(one: Group) -> str:
    return "no activation" if one.activation == NONE else str(one.nodes[-1].op)


def _unaligned(what: str, behind: str) -> Obstacle:
    return Obstacle("alignment", f"behind {what}, no pixel of {behind} would begin with a vector of {VECTOR}")
