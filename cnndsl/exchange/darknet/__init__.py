"""Darknet's cfg and weights files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from cnndsl.exchange.model import Model
    from cnndsl.ir import Graph


def read_cfg(path: str | Path) -> Model:
    """The network of a ``.cfg`` file; see `cnndsl.exchange.darknet.cfg.read_cfg`."""
    from cnndsl.exchange.darknet import cfg

    return cfg.read_cfg(path)


def read_weights(path: str | Path, graph: Graph) -> dict[str, torch.Tensor]:
    """The tensors of a ``.weights`` file by the keys of `graph`'s state dict; see `cnndsl.weights.darknet`."""
    from cnndsl.weights import darknet

    return darknet.read_weights(path, graph)
