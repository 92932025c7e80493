"""Darknet's cfg and weights files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cnndsl.exchange.model import Model


def read_cfg(path: str | Path) -> Model:
    """The network of a ``.cfg`` file; see `cnndsl.exchange.darknet.cfg.read_cfg`."""
    from cnndsl.exchange.darknet import cfg

    return cfg.read_cfg(path)
