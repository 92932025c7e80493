"""A tensor of a file, known before its values are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from cnndsl.weights.shapes import Shape

MAX_TENSORS = 20_000
"""Tensors of one file. DenseNet-201, with more of them than any other published network, has 1,006."""


@dataclass(frozen=True)
class Stored:
    """Shape and element type of a tensor, and `load`, which reads its values. `load` raises CnnError E0401."""

    shape: Shape
    dtype: torch.dtype
    load: Callable[[], torch.Tensor]

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Stored:
        """One that is in memory, or mapped."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.size * self.dtype.itemsize

    @property
    def type_name(self) -> str:
        """The element type as torch calls it: ``float32``."""
        return str(self.dtype).removeprefix("torch.")


@dataclass(frozen=True)
class Contents:
    """What a file of weights holds: its format in words, its tensors in order, and what was done to read them so."""

    format: str
    tensors: Mapping[str, Stored]
    notes: tuple[str, ...] = ()

    def load(self) -> dict[str, torch.Tensor]:
        """The values of all tensors. Raises CnnError E0401."""
        return {name: stored.load() for name, stored in self.tensors.items()}
