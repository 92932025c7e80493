"""Figures of a tensor's values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

CHUNK = 1 << 22
"""Values looked at together, in fp64: 32 MB."""


@dataclass(frozen=True)
class Stats:
    """The least, the largest and the mean of a tensor's finite values, and how many are not finite.

    None where there is no such value.
    """

    least: float | None
    most: float | None
    mean: float | None
    not_finite: int


def stats_of(tensor: torch.Tensor) -> Stats:
    """The figures of a tensor of any type but complex, of which none are told."""
    if tensor.is_complex() or tensor.numel() == 0:
        return Stats(None, None, None, 0)
    least, most, total, count = float("inf"), float("-inf"), 0.0, 0
    row = tensor.detach().flatten()
    for chunk in row.split(CHUNK):
        values = chunk.double()
        finite = values[values.isfinite()]
        count += finite.numel()
        if finite.numel():
            low, high = torch.aminmax(finite)
            least, most, total = min(least, low.item()), max(most, high.item()), total + finite.sum().item()
    if not count:
        return Stats(None, None, None, row.numel())
    mean = total / count if math.isfinite(total) else None  # fp64 values near its end add up to infinity
    return Stats(least, most, mean, row.numel() - count)
