"""A graph as a text, and back: the text as a person would have written it, or failing that a plain one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnndsl.errors import CnnError
from cnndsl.exchange.write.blocks import find_blocks
from cnndsl.exchange.write.check import matched, read_back
from cnndsl.exchange.write.labels import label_flat, label_referred, leave_out, put_spare
from cnndsl.exchange.write.names import names_of
from cnndsl.exchange.write.regions import body_of
from cnndsl.exchange.write.repeats import Repeats, dissolve, fold_calls
from cnndsl.exchange.write.scopes import grouped
from cnndsl.exchange.write.text import text_of
from cnndsl.exchange.write.tree import Item, Layer, computed, items_within
from cnndsl.exchange.write.units import Units
from cnndsl.ir import Graph


@dataclass(frozen=True)
class Composed:
    """A text, the graph that it is read as, and the name there of each node of the graph that it was written for."""

    text: str
    graph: Graph
    names: dict[str, str]


def composed(graph: Graph, notes: Sequence[str] = ()) -> Composed:
    """The text of a normalised graph, with `notes` as comments at its head.

    Raises AssertionError where no text is that graph: our mistake.
    """
    try:
        return idiomatic(graph, notes)
    except (AssertionError, CnnError):
        # What a name hides, or a limit of the language forbids, one long body can still say.
        return plain(graph, notes)


def idiomatic(graph: Graph, notes: Sequence[str] = ()) -> Composed:
    """The text with groups, blocks and repeats. Raises AssertionError or CnnError where it is not that graph."""
    names = names_of(graph)
    body = grouped(body_of(graph), graph, names)
    leave_out(body, graph)
    order = list(computed(body))
    label_referred(body, graph)
    repeats = Repeats(body, graph)
    repeats.find(body)
    repeats.put_single_passes(body)
    if all(getattr(item, "label", None) is None for item in items_within(body) if not is_input(item, graph)):
        Units(graph, repeats.kept).find(body)
    blocks = find_blocks(body, graph)
    for one in (body, *(block.body for block in blocks)):
        dissolve(one)
        fold_calls(one, repeats.kept)
    put_spare(body, names.spare)
    return _checked(text_of(body, graph, blocks, notes=notes), graph, order)


def is_input(item: Item, graph: Graph) -> bool:
    """Whether an item is an input of the network."""
    return isinstance(item, Layer) and graph.by_name[item.node].op is None


def plain(graph: Graph, notes: Sequence[str] = ()) -> Composed:
    """The text without groups: every layer with weights has a label of its own."""
    body = body_of(graph, outputs_apart=True)
    label_flat(body, graph)
    return _checked(text_of(body, graph, [], notes=notes), graph, list(computed(body)))


def _checked(text: str, graph: Graph, order: list[str]) -> Composed:
    written = read_back(text)
    return Composed(text, written, matched(graph, written, order=order))
