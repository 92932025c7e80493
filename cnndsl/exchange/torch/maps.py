"""Vectors that become feature maps again, as in squeeze and excitation written with dense layers.

There a map is pooled, flattened, put through dense layers, and given back its height and width of 1 to scale the map.
The language has no layer from a vector to a map, and needs none: a dense layer on [1x1xC] is a 1x1 convolution. So the
calls between stay maps. Which these are is known at the end of the way, and the graph is then read once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import fx

if TYPE_CHECKING:
    from cnndsl.exchange.torch.graphs import Reader

RESHAPES = frozenset({"view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze"})
"""Operators that give a tensor another shape and change nothing else."""

DENSE = frozenset({"linear", "addmm", "mm", "matmul"})

EACH = frozenset({
    "relu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid", "hardtanh", "clamp", "clamp_min", "gelu",
    "elu", "leaky_relu", "dropout", "add", "mul", "div", "sub", "batch_norm", "clone", "alias", "detach", "contiguous",
})  # fmt: skip
"""Operators that compute every feature by itself, as they do every channel of a map."""


def read_again(read: Callable[[frozenset[fx.Node]], Reader]) -> Reader:
    """Read a graph until all calls that must stay maps are known; `read` gets those that are."""
    maps: frozenset[fx.Node] = frozenset()
    while True:
        reader = read(maps)
        if reader.wanted <= maps:
            return reader
        maps |= reader.wanted


def behind(node: fx.Node, name_of: Callable[[fx.Node], str | None]) -> set[fx.Node] | None:
    """The calls that must stay maps for the vector that `node` is, or is a view of; None where one of them cannot."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        name, rank = name_of(at), _rank(at)
        tensors = [source for source in at.all_input_nodes if _rank(source) is not None]
        if name is None or not tensors or rank is None:
            return None
        first = tensors[0] if name != "addmm" else next(n for n in at.args[1:2] if isinstance(n, fx.Node))
        match rank, name:
            case _, name if name in RESHAPES and _rank(first) == 4:
                if tuple(first.meta["val"].shape[2:]) != (1, 1):
                    return None
            case _, name if name in RESHAPES:
                waiting.append(first)
            case 2, "mean" | "amax" if _rank(first) == 4:
                pass
            case 2, name if name in DENSE:
                flat = name_of(first) in RESHAPES and _rank(first.all_input_nodes[0]) == 4
                # A whole map is read by a convolution with a window of its size.
                found.add(first) if flat else waiting.append(first)
            case 2, name if name in EACH:
                waiting.extend(source for source in tensors if _rank(source) == 2)
            case _:
                return None
        if rank == 2:
            found.add(at)
    return found


def _rank(node: fx.Node) -> int | None:
    value = node.meta.get("val")
    return value.dim() if isinstance(value, torch.Tensor) else None
