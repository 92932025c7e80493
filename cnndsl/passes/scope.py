"""Names of layers: paths, automatic names, and what a label refers to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cnndsl import syntax as ast
from cnndsl.errors import Diagnostic, Label, Span, did_you_mean, listed
from cnndsl.ir import TensorType


@dataclass(frozen=True)
class Value:
    """A tensor while the network is being expanded.

    `type` is None when an earlier error left it unknown, and `node` when no node computes it for that reason.
    After an assertion that did not hold, `meant` is what the tensor would be if it had: what only follows
    from the first mistake is no second one.
    """

    node: str | None
    type: TensorType | None
    span: Span
    meant: TensorType | None = None


@dataclass
class Entry:
    """What a name stands for: the tensor at its end, and the names inside it."""

    value: Value
    span: Span
    inside: Scope | None = None

    def find(self, parts: Sequence[str]) -> Entry | None:
        """The entry of a path inside this one; itself for the empty path."""
        if not parts:
            return self
        if self.inside is None:
            # After an earlier mistake it is unknown what is inside, and every name is good.
            return self if self.value.node is None else None
        for length in range(len(parts), 0, -1):
            entry = self.inside.entries.get(".".join(parts[:length]))
            if entry is not None:
                return entry.find(parts[length:])
        return None


@dataclass
class Scope:
    """A path under which names are unique: a network, block's call, labelled group, arm or pass of a repeat.

    Labels are looked up here and then in `outer`, which stops at a block: a block sees its own labels only.
    """

    prefix: str
    outer: Scope | None
    planned: dict[str, Span]
    """Labels that the text declares in this scope, wherever they stand."""
    entries: dict[str, Entry] = field(default_factory=dict)
    taken: dict[str, Span] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    caller: Scope | None = None
    """Where the block that this scope belongs to is called; its labels are named in messages only."""
    passes: tuple[int, ...] = ()
    """Numbers of the unlabelled repeats' passes that are being expanded; they follow labels as indices."""

    def automatic(self, base: str) -> str:
        """The next free automatic name: conv1, conv2, ...; relu6_1 behind a name that ends in a digit."""
        if base[-1:].isdigit():
            base += "_"
        number = self.counts.get(base, 0) + 1
        while f"{base}{number}" in self.planned or f"{base}{number}" in self.taken:
            number += 1
        self.counts[base] = number
        return f"{base}{number}"

    def indexed(self, label: str) -> str:
        """A label with the indices of the repeats around it; one that ends in a hyphen with the next free number."""
        if not label.endswith("-"):
            return ".".join([label, *map(str, self.passes)])
        number = self.counts.get(label, 0)
        while f"{label}{number}" in self.planned or f"{label}{number}" in self.taken:
            number += 1
        self.counts[label] = number + 1
        return f"{label}{number}"

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
        parts = path.split(".")
        scope: Scope | None = self
        while scope is not None:
            for length in range(len(parts), 0, -1):  # the longest first: a pass of a repeat is `conv.1`
                entry = scope.entries.get(".".join(parts[:length]))
                if entry is not None:
                    return entry.find(parts[length:])
            scope = scope.outer
        return None

    def enter(self, label: ast.Label | None, name: str, entry: Entry) -> None:
        """Make a layer known by its name, which is what `summary` prints, and by its label, if it has one."""
        self.entries[name.removeprefix(self.prefix)] = entry
        if label is not None:
            self.entries[label.name] = entry

    def forget(self, item: ast.Item) -> None:
        """Enter the labels of what cannot be expanded, so that references to them are no mistakes."""
        for label, span in planned_labels(ast.Body((item,), item.span)).items():
            self.entries.setdefault(label, Entry(Value(None, None, span), span))

    def called_from(self) -> Scope | None:
        """Where the block around this scope is called."""
        scope: Scope | None = self
        while scope is not None and scope.caller is None:
            scope = scope.outer
        return scope.caller if scope is not None else None

    def later(self, path: str) -> Span | None:
        """Where a label that has not been reached yet stands."""
        scope: Scope | None = self
        while scope is not None:
            if path in scope.planned and path not in scope.entries:
                return scope.planned[path]
            scope = scope.outer
        return None


def no_label(reference: ast.Reference, scope: Scope) -> Diagnostic:
    """The error about a reference to a label that is not there (E0209), or not yet (E0210)."""
    path = reference.path
    later = scope.later(path.split(".")[0])
    if later is not None:
        label = Label(later, "computed here")
        hint = "a layer can read what stands above it"
        message = f"`@{path}` is used before it is computed"
        return Diagnostic("E0210", message, reference.span, labels=(label,), help=(hint,))
    hint = _inside_hint(path, scope) or _label_hint(path, scope)
    return Diagnostic("E0209", f"there is no label `{path}` here", reference.span, help=(hint,))


def _inside_hint(path: str, scope: Scope) -> str | None:
    """Help for ``@group.label`` where there is such a group."""
    first, _, rest = path.partition(".")
    group = scope.find(first) if rest else None
    if group is None:
        return None
    if group.inside is None:
        return f"`{first}` is one layer: write @{first}"
    guess = did_you_mean(rest, group.inside.entries)
    if guess is not None:
        return f"did you mean `@{first}.{guess}`?"
    return f"`{first}` holds {listed([f'`{name}`' for name in group.inside.entries])}"


def _label_hint(path: str, scope: Scope) -> str:
    guess = did_you_mean(path, scope.visible())
    if guess is not None:
        return f"did you mean `@{guess}`?"
    caller = scope.called_from()
    if caller is not None and caller.find(path) is not None:
        return "a block sees its own labels only: join where the block is called"
    return "a label is written in front of a layer: conv1: conv(64, 3x3)"


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
            case ast.Output() | ast.Input():
                yield ast.Label(item.name, item.name_span)
