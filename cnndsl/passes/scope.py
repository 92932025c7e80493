"""Names of layers: paths, automatic names, and what a label refers to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cnndsl import syntax as ast
from cnndsl.errors import Span
from cnndsl.ir import TensorType


@dataclass(frozen=True)
class Value:
    """A tensor while the network is being expanded.

    `type` is None when an earlier error left it unknown, and `node` when no node computes it for that reason.
    """

    node: str | None
    type: TensorType | None
    span: Span


@dataclass
class Entry:
    """What a name stands for: the tensor at its end, and the names inside it."""

    value: Value
    span: Span
    inside: Scope | None = None


@dataclass
class Scope:
    """A path under which names are unique: a network, a block's call, a labelled group, arm or pass of a repeat.

    Labels are looked up here and then in `outer`, which stops at a block: a block sees its own labels only.
    """

    prefix: str
    outer: Scope | None
    planned: dict[str, Span]
    """Labels that the text declares in this scope, wherever they stand."""
    entries: dict[str, Entry] = field(default_factory=dict)
    taken: dict[str, Span] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    passes: tuple[int, ...] = ()
    """Numbers of the unlabelled repeats' passes that are being expanded; they follow labels as indices."""

    def automatic(self, base: str) -> str:
        """The next free automatic name: conv1, conv2, ..."""
        number = self.counts.get(base, 0) + 1
        while f"{base}{number}" in self.planned or f"{base}{number}" in self.taken:
            number += 1
        self.counts[base] = number
        return f"{base}{number}"

    def indexed(self, label: str) -> str:
        """A label with the indices of the repeats around it."""
        return ".".join([label, *map(str, self.passes)])

    def visible(self) -> list[str]:
        """Every label that can be referred to from here."""
        names: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            names.extend(scope.entries)
            scope = scope.outer
        return names

    def find(self, path: str) -> Entry | None:
        """The entry of ``label`` or ``group.label``."""
        first, *rest = path.split(".")
        scope: Scope | None = self
        entry: Entry | None = None
        while scope is not None and entry is None:
            entry = scope.entries.get(first)
            scope = scope.outer
        for name in rest:
            if entry is None or entry.inside is None:
                return None
            entry = entry.inside.entries.get(name)
        return entry

    def later(self, path: str) -> Span | None:
        """Where a label that has not been reached yet stands."""
        scope: Scope | None = self
        while scope is not None:
            if path in scope.planned and path not in scope.entries:
                return scope.planned[path]
            scope = scope.outer
        return None


def planned_labels(body: ast.Body) -> dict[str, Span]:
    """The labels that a body declares in its own scope, looking through what opens no scope."""
    return {label.name: label.span for label in _labels(body.items)}


def _labels(items: Sequence[ast.Item]) -> Iterator[ast.Label]:
    for item in items:
        match item:
            case ast.Layer():
                if item.label is not None:
                    yield item.label
                for arm in item.arms or ():
                    if arm.label is None:
                        yield from _labels(arm.body.items)
                    else:
                        yield arm.label
            case ast.Group():
                yield item.label
            case ast.Repeat():
                if item.label is None:
                    yield from _labels(item.body.items)
                else:
                    yield item.label
            case ast.If():
                yield from _labels(item.then.items)
                if item.otherwise is not None:
                    yield from _labels(item.otherwise.items)
            case ast.Output():
                yield ast.Label(item.name, item.name_span)
            case ast.Input():
                yield ast.Label(item.name, item.name_span)
