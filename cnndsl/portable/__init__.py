"""A network compiled by cnndsl: see README.md.

``load()`` gives the network, which is called with torch tensors. Importing this imports neither torch nor Triton.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from .runtime.loading import Network


def load(device: str | torch.device | None = None) -> Network:
    """The network on a device: "cpu" (Triton's interpreter), "cuda", "cuda:1"; None takes a GPU where one fits."""
    from .runtime.loading import load as load_network

    return load_network(device)
