"""The parts of a ``.cnn`` text while it is being written: bodies of items over the nodes of a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnndsl.exchange.write.blocks import Block


@dataclass(eq=False)
class Layer:
    """A layer, an input or a join. `arms` are those of a join, in the order of its inputs; `refs` the nodes behind.

    `written` holds arguments that are not written as numbers but as expressions.
    """

    node: str
    arms: list[Body] = field(default_factory=list)
    refs: list[str] = field(default_factory=list)
    label: str | None = None
    written: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Goto:
    """``@label``: go on from the output of a node."""

    node: str


@dataclass(eq=False)
class Output:
    """``output name { ... }``."""

    name: str
    body: Body


@dataclass(eq=False)
class Group:
    """``label: { ... }``, or the call of a block, whose name counts where there is no label.

    The call gives what is in `written`.
    """

    label: str | None
    body: Body
    block: Block | None = None
    written: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    """What each of the block's parameters is here."""
    spare: set[str] = field(default_factory=set)
    """The parameters whose default it is."""
    name: str = ""
    """What the block must be called for the group to have its name."""


@dataclass(eq=False)
class Repeat:
    """``repeat n { ... }``: the same body several times; only the first one is written."""

    label: str | None
    passes: list[Body]
    count: str = ""
    """The number as an expression, where it is none of its own."""


@dataclass(eq=False)
class If:
    """``if condition { ... } else { ... }`` in the text of a block."""

    condition: str
    body: Body
    otherwise: Body = field(default_factory=list)


Item = Layer | Goto | Output | Group | Repeat | If
Body = list[Item]


def bodies_of(item: Item) -> Sequence[Body]:
    """The bodies within an item, in the order in which they are computed."""
    match item:
        case Layer():
            return item.arms
        case Output() | Group():
            return [item.body]
        case If():
            return [item.body, item.otherwise]
        case Repeat():
            return item.passes
    return []


def items_within(body: Body) -> Iterator[Item]:
    """Every item of a body at any depth, in the order of the text; a join before what its arms hold."""
    for item in body:
        yield item
        for inner in bodies_of(item):
            yield from items_within(inner)


def layers_within(body: Body) -> Iterator[Layer]:
    """Every layer of a body at any depth."""
    return (item for item in items_within(body) if isinstance(item, Layer))


def written_layers(body: Body) -> Iterator[Layer]:
    """The layers of a body as a text holds them: of a repeat, those of one pass."""
    for item in body:
        if isinstance(item, Layer):
            yield item
        for inner in bodies_of(item)[:1] if isinstance(item, Repeat) else bodies_of(item):
            yield from written_layers(inner)


def computed(body: Body) -> Iterator[str]:
    """The nodes of a body in the order in which they are computed: a join behind its arms."""
    for item in body:
        for inner in bodies_of(item):
            yield from computed(inner)
        if isinstance(item, Layer):
            yield item.node


def end_of(body: Body, start: str) -> str:
    """The node that computes the current tensor behind a body; `start` is that before it."""
    for item in reversed(body):
        match item:
            case Layer() | Goto():
                return item.node
            case Group():
                return end_of(item.body, start)
            case Repeat():
                return end_of([i for body in item.passes for i in body], start)
            case If() | Output():
                pass
    return start
