"""A call of an operator of torch, as the functions that read it see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cnndsl.exchange.model import Builder
from cnndsl.exchange.torch.values import Fixed, Outside, Partial, Ref
from cnndsl.ops.base import Op


@dataclass(frozen=True)
class Call:
    """One call of an operator: its arguments by name, and its result's shape (batch included) and type."""

    builder: Builder
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    name: str
    """The module that it belongs to, for the layer's name."""
    as_map: bool = False
    """Whether its result [n, F] is to stay a feature map; see `cnndsl.exchange.torch.maps`."""

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument that not every form of the operator has."""
        return self.arguments.get(name, default)

    def ref(self, name: str) -> str:
        """The layer whose result an argument is. Raises Outside."""
        match self.arguments[name]:
            case Ref(found):
                return found
            case Partial(kind="view", data=shape):
                raise Outside(
                    f"it computes with a tensor of the shape {['n', *shape]}, which no layer makes".replace("'", "")
                )
        raise Outside("it computes with something other than a layer's result")

    def fixed(self, name: str) -> torch.Tensor | None:
        """An argument that is a parameter, or None. Raises Outside where it is computed."""
        value = self.arguments.get(name)
        if value is None:
            return None
        if not isinstance(value, Fixed):
            raise Outside(f"its {name} is computed, not a parameter")
        return value.tensor

    def weight(self, name: str) -> torch.Tensor:
        """An argument that is a parameter. Raises Outside where it is computed."""
        tensor = self.fixed(name)
        assert tensor is not None, "the schema has no default for a weight"
        return tensor

    def add(self, op: Op, *inputs: str, **weights: torch.Tensor) -> Ref:
        """Add a layer; weights by torch's last names."""
        return Ref(self.builder.add(op, *inputs, name=self.name, weights=weights or None, where=self.name))


def pair(value: Sequence[int] | int) -> tuple[int, int]:
    """An argument that torch gives as one or two numbers. Raises Outside where there are more."""
    match value:
        case int():
            return value, value
        case [one]:
            return one, one
        case [one, two]:
            return one, two
    raise Outside("it has more than two axes")


def pads(value: Sequence[int] | int) -> tuple[int, int, int, int]:
    """Padding of height and width on either side."""
    height, width = pair(value)
    return height, height, width, width
