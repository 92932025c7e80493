"""A call of an operator of torch, as the functions that read it see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cnndsl.exchange.model import Builder
from cnndsl.exchange.torch.values import Fixed, Outside, Ref
from cnndsl.ops.base import Op


@dataclass(frozen=True)
class Call:
    """One call of an operator: its arguments by name, and the shape of its result, batch included."""

    builder: Builder
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    name: str
    """The module that it belongs to, for the layer's name."""

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument that not every form of the operator has."""
        return self.arguments.get(name, default)

    def ref(self, name: str) -> str:
        """The layer whose result an argument is. Raises Outside."""
        value = self.arguments[name]
        if not isinstance(value, Ref):
            raise Outside("it computes with something other than a layer's result")
        return value.name

    def fixed(self, name: str) -> torch.Tensor | None:
        """An argument that is a parameter, or None. Raises Outside where it is computed."""
        value = self.arguments.get(name)
        if value is None:
            return None
        if not isinstance(value, Fixed):
            raise Outside(f"its {name} is computed, not a parameter")
        return value.tensor

    def add(self, op: Op, *inputs: str, **weights: torch.Tensor) -> Ref:
        """Add a layer; weights by torch's last names."""
        return Ref(self.builder.add(op, *inputs, name=self.name, weights=weights or None, where=self.name))


def pair(value: Sequence[int] | int) -> tuple[int, int]:
    """An argument that torch gives as one or two numbers."""
    match value:
        case [one]:
            return one, one
        case [one, two]:
            return one, two
    assert isinstance(value, int)
    return value, value


def pads(value: Sequence[int] | int) -> tuple[int, int, int, int]:
    """Padding of height and width on either side."""
    height, width = pair(value)
    return height, height, width, width
