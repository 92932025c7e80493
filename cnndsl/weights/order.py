"""Pair a file's tensors with a network's parameters by their order, where only the names differ."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cnndsl.errors import Diagnostic, diagnostic
from cnndsl.figures import counted
from cnndsl.weights.shapes import Shape, TensorSpec, brackets, fits, folded, misfit

Specs = Mapping[str, TensorSpec]
Shapes = Mapping[str, Shape]
Pairs = dict[str, str]
"""The file's name for each of the network's."""

_LEAVES = ("weight", "bias", "running_mean", "running_var")
"""The usual last parts of names, in the order in which torch keeps them."""


@dataclass(frozen=True)
class NoPairing:
    """Why two lists of tensors do not pair."""

    notes: tuple[str, ...]
    help: tuple[str, ...] = ()

    def explain(self, source: str) -> Diagnostic:
        message = f"the tensors of {source} do not pair with the network's by order"
        return diagnostic("E0405", message, notes=self.notes, help=self.help)


def pair_by_order(expected: Specs, found: Shapes) -> Pairs | NoPairing:
    """The file's name for each of ours: by position in the file, or else by the numbers in its names."""
    by_position = _pair_by_position(expected, found)
    # Names in alphabetical order tell of a writer that sorts. Their position then means nothing, and could
    # pair layers of one shape wrongly without anybody noticing: features.10 comes before features.2.
    order_lost = is_sorted(found)
    if isinstance(by_position, dict) and not order_lost:
        return by_position
    by_number = _pair_by_number(expected, found)
    return by_number if order_lost or isinstance(by_number, dict) else by_position


def is_sorted(found: Shapes) -> bool:
    """Whether names stand in alphabetical order, so that their order tells nothing of the layers'."""
    return list(found) == sorted(found)


def _pair_by_position(expected: Specs, found: Shapes) -> Pairs | NoPairing:
    def shape_of(name: str) -> str:
        return brackets(expected[name].shape)

    ours, theirs = layer_order(expected), layer_order(found)
    agreed = 0
    for mine, other in zip(ours, theirs, strict=False):
        if not (same_leaf(mine, other) and fits(expected[mine], found[other])):
            break
        agreed += 1
    if agreed == len(ours) == len(theirs):
        return dict(zip(ours, theirs, strict=True))
    notes = []
    if agreed:
        mine, other = ours[agreed - 1], theirs[agreed - 1]
        notes.append(f"number {agreed} agrees: `{mine}` {shape_of(mine)} is `{other}` there")
    if agreed == len(theirs):
        mine = ours[agreed]
        left = counted(len(ours) - agreed, "tensor")
        notes.append(
            f"that is the last one there; the network goes on with {left}, first `{mine}` {shape_of(mine)}"
        )
    elif agreed == len(ours):
        other = theirs[agreed]
        left = counted(len(theirs) - agreed, "tensor")
        shape = brackets(found[other])
        notes.append(f"that is the network's last one; there it goes on with {left}, first `{other}` {shape}")
    else:
        mine, other = ours[agreed], theirs[agreed]
        text = f"number {agreed + 1} does not: the network has `{mine}`, there it is `{other}`"
        if same_leaf(mine, other) and not fits(expected[mine], found[other]):
            text += f"; {misfit(mine, expected[mine], found[other])}"
        notes.append(text)
        after = agreed + 1
        if after < min(len(ours), len(theirs)):
            mine, other = ours[after], theirs[after]
            sides = f"`{mine}` {shape_of(mine)} and `{other}` {brackets(found[other])}"
            notes.append(f"number {after + 1} would be {sides}")
    return NoPairing(tuple(notes))


def _pair_by_number(expected: Specs, found: Shapes) -> Pairs | NoPairing:
    """Pairs layers of equal shapes in the order of the numbers in their names.

    Layers that only words tell apart (``head`` and ``tail`` of one shape) are not guessed.
    """
    flat = any(leaf_of(name) not in _LEAVES for name in (*expected, *found))
    ours = _layers({name: spec.shape for name, spec in expected.items()}, flat=flat)
    theirs = _layers(found, flat=flat)
    pairs: Pairs = {}
    for kind in (*ours, *(kind for kind in theirs if kind not in ours)):
        mine, others = ours.get(kind, []), sorted(theirs.get(kind, []), key=_natural)
        if len(mine) != len(others):
            what = " and ".join(f"{leaf} {brackets(shape)}".strip() for leaf, shape in kind)
            counts = f"the network has {_listed(mine)} with {what}, there are {_listed(others)}"
            return NoPairing((counts,))
        for a, b in itertools.pairwise(others):
            if not _numbered(a, b):
                why = "the names are sorted, and no number in them says it"
                note = f"which of `{a}` and `{b}`, of the same shapes, comes first is unknown: {why}"
                way = "save the weights as .pt, which keeps their order, or name the layers as they are there"
                return NoPairing((note,), (way,))
        for a, b in zip(mine, others, strict=True):
            pairs |= {_join(a, leaf): _join(b, leaf) for leaf, _ in kind}
    for a, b in pairs.items():
        if not fits(expected[a], found[b]):
            return NoPairing((f"the nearest to `{a}` is `{b}`; {misfit(a, expected[a], found[b])}",))
    return pairs


def _layers(shapes: Shapes, *, flat: bool) -> dict[tuple[tuple[str, Shape], ...], list[str]]:
    """Names of layers by the last parts and shapes of their tensors; `flat`: each tensor is a layer."""
    layers: dict[str, list[tuple[str, Shape]]] = {}
    for name, shape in shapes.items():
        layer, leaf = (name, "") if flat else (name.rpartition(".")[0], leaf_of(name))
        layers.setdefault(layer, []).append((leaf, folded(shape)))
    kinds: dict[tuple[tuple[str, Shape], ...], list[str]] = {}
    for layer, tensors in layers.items():
        kinds.setdefault(tuple(sorted(tensors, key=lambda t: _rank(t[0]))), []).append(layer)
    return kinds


def layer_order(names: Iterable[str]) -> list[str]:
    """Names layer by layer, layers as they first come, in each weight, bias, running_mean, running_var."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0] if leaf_of(name) in _LEAVES else name, []).append(name)
    return [name for layer in layers.values() for name in sorted(layer, key=lambda n: _rank(leaf_of(n)))]


def same_leaf(ours: str, theirs: str) -> bool:
    """False where both names have usual ends and these differ: a mean is no weight of the same shape."""
    a, b = leaf_of(ours), leaf_of(theirs)
    return a == b or a not in _LEAVES or b not in _LEAVES


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts ``features.9`` before ``features.10``: a number by length, then digits."""
    parts = re.split(r"([0-9]+)", name)
    numbers = (part.lstrip("0") for part in parts[1::2])
    keys = [(0, part) for part in parts]
    keys[1::2] = [(1 + len(number), number) for number in numbers]
    return keys


def _numbered(a: str, b: str) -> bool:
    """Whether the first difference between two names is a number."""
    different = ((x, y) for x, y in zip(_natural(a), _natural(b), strict=False) if x != y)
    return all(length > 0 for length, _ in next(different, ((0, ""),)))


# --- words -------------------------------------------------------------------------------------------


def leaf_of(name: str) -> str:
    return name.rpartition(".")[2]


def _join(layer: str, leaf: str) -> str:
    return ".".join(part for part in (layer, leaf) if part)


def _rank(leaf: str) -> int:
    return _LEAVES.index(leaf) if leaf in _LEAVES else len(_LEAVES)


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{len(names)} ({shown})"
