"""What stands for the value of a torch operator while its graph is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Ref:
    """A value that a layer computes: the layer's name in the graph."""

    name: str


@dataclass(frozen=True, eq=False)
class Fixed:
    """A tensor that is known: a parameter or buffer, with its name in the module where it has one.

    Equal to itself alone: tensors compare value by value.
    """

    tensor: torch.Tensor
    path: str = ""


@dataclass(frozen=True)
class Size:
    """A number that a graph computes from the sizes of its inputs, such as the batch."""


@dataclass(frozen=True)
class Partial:
    """Operators that together are one layer, of which some were read: ``kind`` is how far that is.

    `source` is the layer that they began with, `data` what was learned on the way. ``view`` is that layer's result in
    another shape (`data`, batch left out), its values in the same order; ``spread`` is one [1x1xC] repeated for every
    pixel.
    """

    kind: str
    source: str
    data: tuple[Any, ...] = ()


Value = Ref | Fixed | Size | Partial | tuple[Any, ...]


class Outside(Exception):
    """An operator that no layer of the language computes; `nearest` names the one that comes closest."""

    def __init__(self, reason: str, *, nearest: str | None = None) -> None:
        super().__init__(reason)
        self.nearest = nearest
