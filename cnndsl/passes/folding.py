"""Batch norms into weights: of the layers before them, or of those after them.

A batch norm is a scale and a shift of each channel. Averages and copies of channels commute with those, so it may also
be moved across pools that average, across shuffles, and into the arms of a concat. What a rewrite records is which
batch norms a layer has taken up (`cnndsl.ir.Folded`); the numbers are computed when the weights are packed.

All of it is exact but for rounding. Only where a value between the layers exceeds the range of its type may an infinity
or a NaN stand where the layers one by one would give another number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from cnndsl.ir import Folded, Graph, Node
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.joins import Concat
from cnndsl.ops.normalize import BatchNorm
from cnndsl.ops.reshape import Flatten
from cnndsl.passes.rewriting import alone, bypass


@dataclass(frozen=True)
class _Place:
    """A layer that can take up a batch norm: the norm's channels where that layer has it, and what lies between."""

    owner: str
    channels: tuple[int, ...]
    across: tuple[str, ...] = ()

    def of(self, norm: Node, *, before: bool) -> Folded:
        """The batch norm at this place."""
        known = {f.name: getattr(norm, f.name) for f in fields(Node)}
        same = self.channels == tuple(range(norm.type.channels))
        return Folded(**known, before=before, channels=None if same else self.channels, across=self.across)


def fold_batchnorm(graph: Graph) -> Graph:
    """Merge batch norms into what makes their inputs, where nobody else reads those.

    W' = W * scale, b' = b * scale + shift, with scale = weight / sqrt(variance + eps). A batch norm that stays takes up
    one that follows it.
    """
    gone: dict[str, str] = {}
    taken: dict[str, tuple[Folded, ...]] = {}

    def makers(name: str, place: _Place) -> list[_Place] | None:
        """The layers that make a value between them; None where one of them can take up no batch norm."""
        found: list[_Place] = []
        waiting = [(name, place)]
        while waiting:
            name, place = waiting.pop()
            if not alone(graph, name):
                return None
            node = graph.by_name[name]
            if name in gone:
                waiting.append((gone[name], place))
            elif isinstance(node.op, (Conv, Dense, BatchNorm)):
                found.append(replace(place, owner=name))
            elif sources := list(_sources(graph, node)):
                # The channels of the source, each for the first channel of the result that it makes.
                waiting += [
                    (source, _Place("", tuple(place.channels[i] for i in chosen), (*place.across, name)))
                    for source, chosen in reversed(sources)
                ]
            else:
                return None
        return found

    for node in graph.nodes:
        if isinstance(node.op, BatchNorm):
            found = makers(node.inputs[0], _Place("", tuple(range(node.type.channels))))
            for place in found or ():
                taken[place.owner] = (*taken.get(place.owner, ()), place.of(node, before=False))
            if found:
                gone[node.name] = node.inputs[0]
    return _taken_up(graph, taken, gone)


def _sources(graph: Graph, node: Node) -> Iterator[tuple[str, Sequence[int]]]:
    """What a node averages or copies channel by channel: for each channel of a source, the channel that it becomes.

    Nothing for an input and for any other layer.
    """
    if node.op is None:
        return
    if isinstance(node.op, Concat):
        first = 0
        for name, type_ in zip(node.inputs, graph.types_of(node), strict=True):
            yield name, range(first, first + type_.channels)
            first += type_.channels
        return
    (x, *_) = graph.types_of(node)
    order = node.op.averaged(x)
    if order is not None:
        made = {channel: i for i, channel in reversed(list(enumerate(order)))}
        yield node.inputs[0], [made[channel] for channel in range(x.channels)]


def fold_batchnorm_forward(graph: Graph) -> Graph:
    """Merge batch norms into all convolutions and dense layers that read them, where these pad no zeros.

    W' = W * scale along the input channels, b' = b + W @ shift.
    """
    gone: dict[str, str] = {}
    taken: dict[str, tuple[Folded, ...]] = {}

    def readers(name: str, place: _Place) -> list[_Place] | None:
        """The layers that take up a batch norm before them; None where another reads it."""
        found: list[_Place] = []
        waiting = [(name, place)]
        while waiting:
            name, place = waiting.pop()
            if name in graph.returned or not graph.users[name]:
                return None
            for node in graph.users[name]:
                match node.op:
                    case Conv(pad=(0, 0, 0, 0)) | Dense():
                        found.append(replace(place, owner=node.name))
                        continue
                    case Flatten():
                        # A dense layer behind it has each for all pixels.
                        order: Sequence[int] | None = range(len(place.channels))
                    case BatchNorm() if node.name in gone:
                        order = range(len(place.channels))
                    case _:
                        assert node.op is not None
                        order = node.op.averaged(graph.by_name[name].type)
                if order is None:
                    return None
                channels = tuple(place.channels[i] for i in order)
                across = place.across if node.name in gone else (*place.across, node.name)
                waiting.append((node.name, _Place("", channels, across)))
        return found

    # From the last to the first: of two in a row, the first goes where the second has gone.
    for node in reversed(graph.nodes):
        if isinstance(node.op, BatchNorm):
            found = readers(node.name, _Place("", tuple(range(node.type.channels))))
            for place in found or ():
                own = place.of(replace(node, folded=()), before=True)
                taken[place.owner] = (own, *(_moved(n, place) for n in node.folded), *taken.get(place.owner, ()))
            if found:
                gone[node.name] = node.inputs[0]
    return _taken_up(graph, taken, gone)


def _moved(norm: Folded, place: _Place) -> Folded:
    """A batch norm that another one had taken up, at the place of that one."""
    channels = place.channels if norm.channels is None else tuple(norm.channels[i] for i in place.channels)
    same = channels == tuple(range(norm.type.channels))
    return replace(norm, before=True, channels=None if same else channels, across=(*norm.across, *place.across))


def _taken_up(graph: Graph, taken: Mapping[str, tuple[Folded, ...]], gone: Mapping[str, str]) -> Graph:
    """The graph without the batch norms in `gone`, which the layers of `taken` hold."""

    # Those before a layer stand first. None has any before it already: it would have been gone.
    def held(node: Node) -> tuple[Folded, ...]:
        norms = (*node.folded, *taken[node.name])
        return tuple(sorted(norms, key=lambda norm: not norm.before))

    nodes = tuple(replace(n, folded=held(n)) if n.name in taken else n for n in graph.nodes)
    return bypass(replace(graph, nodes=nodes), gone)
