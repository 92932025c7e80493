"""Memory that holds NaN until it is written."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch

from cnndsl.runtime.executor import Network


def poison(net: Network, batch: int, *, keep: bool = False) -> None:
    """Let all memory that the emitted code takes hold NaN, so that reading what was never written shows."""
    module = net._package(batch, keep=keep)[2]

    def empty(*size: int, **options: Any) -> torch.Tensor:
        return torch.empty(*size, **options).fill_(math.nan)

    module.torch = SimpleNamespace(empty=empty)
