"""What the layers are called elsewhere, and how much of it a text should keep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cnndsl.ir import Graph, Node
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense

MAX_PARTS = 8
"""Parts of a layer's path; what goes deeper is joined by lines. The language nests bodies 60 deep."""

FEW = 20
"""Up to so many layers, people number them: conv1 to conv5. Beyond, it was a program that counted."""

LOST = 0.2
"""Where more than this part of the layers has no name, the names of the others are no reason to write them apart."""

_COUNTED = re.compile(r"(?:[A-Za-z]?|[a-z0-9]+|[A-Z][A-Za-z]+)_\d+|\d+|n\d+")

Path = tuple[str, ...]


@dataclass(frozen=True)
class Names:
    """The paths that layers with weights should have, and the places of the others.

    `paths` lacks the layers whose names only count. `places` are the paths around layers without weights, as far as
    their names tell.
    """

    paths: dict[str, Path]
    places: dict[str, Path]
    spare: dict[str, str]
    """Names without parts in a network of many layers: they give way to blocks, and are labels of what is in none."""


def has_weights(node: Node, graph: Graph) -> bool:
    """Whether a node is a layer with weights."""
    return node.op is not None and bool(node.op.weights(*graph.types_of(node)))


def names_of(graph: Graph) -> Names:
    """What a text should keep of a graph's names."""
    weighted = [node for node in graph.nodes if has_weights(node, graph)]
    numbered = [node for node in weighted if _is_numbered(node)]
    counted = len(numbered) == len(weighted) > FEW
    paths = {
        node.name: parts_of(node.name)
        for node in weighted
        if not _only_counts(node) and not (counted and _is_numbered(node))
    }
    main = [node for node in weighted if is_main(node)]
    if sum(node.name not in paths for node in main) > LOST * len(main):
        paths = {}
    spare = {}
    if len(main) > FEW and all(len(path) == 1 for path in paths.values()):
        spare = {name: path[0] for name, path in paths.items()}
        paths = {}
    return Names(paths, _places(graph, paths), spare)


def parts_of(name: str) -> Path:
    """A name between its points, no more than the language takes."""
    parts = tuple(name.split("."))
    return (*parts[: MAX_PARTS - 1], "_".join(parts[MAX_PARTS - 1 :])) if len(parts) > MAX_PARTS else parts


def _is_numbered(node: Node) -> bool:
    """conv1, dense2: an operation and a number."""
    assert node.op is not None
    return re.fullmatch(rf"{node.op.name}\d+", node.name) is not None


def _only_counts(node: Node) -> bool:
    """conv, conv_12, Conv_12, conv2d_4, n12, 517: names that a program gave."""
    assert node.op is not None
    if "." in node.name:
        return False
    if node.name == node.op.name:
        return True
    if not _COUNTED.fullmatch(node.name):
        return False
    stem = re.sub(r"_?\d*$", "", node.name).lower()
    return stem in _STEMS.get(node.op.name, {node.op.name}) or len(stem) <= 1


_STEMS = {
    "conv": {"conv", "conv2d", "convolution", "node_conv2d"},
    "dense": {"dense", "gemm", "matmul", "linear", "fullyconnected", "addmm"},
    "batchnorm": {"batchnorm", "batch_norm", "batchnormalization", "bn", "batchnorm2d"},
}


def _places(graph: Graph, paths: dict[str, Path]) -> dict[str, Path]:
    """The paths around the layers without weights, of those kinds whose names have paths at all.

    An addition called layer1.0, or layer1.0_2, stands within layer1.0 if other layers do.
    """
    others = [node for node in graph.nodes if node.op is not None and node.name not in paths]
    telling = {type(node.op) for node in others if "." in node.name}
    scopes = {path[:length] for path in paths.values() for length in range(1, len(path))}
    places = {}
    for node in others:
        if type(node.op) in telling:
            own = parts_of(node.name)
            first = (*own[:-1], re.sub(r"_\d+$", "", own[-1]))
            places[node.name] = own if own in scopes else first if first in scopes else own[:-1]
    return places


def commonprefix(paths: Sequence[Path]) -> Path:
    """What all paths begin with."""
    if not paths:
        return ()
    least, most = min(paths), max(paths)
    same = (number for number, (a, b) in enumerate(zip(least, most, strict=False)) if a != b)
    return least[: next(same, min(len(least), len(most)))]


def is_main(node: Node) -> bool:
    """Whether it is what people name first: a convolution or a dense layer."""
    return isinstance(node.op, (Conv, Dense))
