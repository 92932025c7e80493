"""The parts of a ``.cnn`` text while it is being written: bodies of items over the nodes of a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Layer:
    """A layer, an input or a join. `arms` are those of a join, in the order of its inputs; `refs` the nodes behind."""

    node: str
    arms: list[Arm] = field(default_factory=list)
    refs: list[str] = field(default_factory=list)
    label: str | None = None


@dataclass
class Arm:
    """One arm of a join."""

    body: Body
    label: str | None = None


@dataclass
class Goto:
    """``@label``: go on from the output of a node."""

    node: str


@dataclass
class Output:
    """``output name { ... }``."""

    name: str
    body: Body


@dataclass
class Group:
    """``label: { ... }``."""

    label: str
    body: Body


Item = Layer | Goto | Output | Group
Body = list[Item]


def bodies_of(item: Item) -> list[Body]:
    """The bodies within an item, in the order in which they are computed."""
    match item:
        case Layer():
            return [arm.body for arm in item.arms]
        case Output() | Group():
            return [item.body]
    return []


def items_within(body: Body) -> Iterator[Item]:
    """Every item of a body at any depth, in the order of the text; a join before what its arms hold."""
    for item in body:
        yield item
        for inner in bodies_of(item):
            yield from items_within(inner)


def computed(body: Body) -> Iterator[str]:
    """The nodes of a body in the order in which they are computed: a join behind its arms."""
    for item in body:
        for inner in bodies_of(item):
            yield from computed(inner)
        if isinstance(item, Layer):
            yield item.node
