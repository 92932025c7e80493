"""Caffe's prototxt and caffemodel files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from cnndsl.exchange.model import Model


def read_caffemodel(path: str | Path, *, bgr_to_rgb: bool = False) -> dict[str, torch.Tensor]:
    """The learned tensors of a ``.caffemodel`` by layer and torch's last name; see `cnndsl.weights.caffe`."""
    from cnndsl.weights import caffe

    return caffe.read_caffemodel(path, bgr_to_rgb=bgr_to_rgb)


def read_prototxt(path: str | Path, *, weights: str | Path | None = None) -> Model:
    """The network of a ``.prototxt`` file; see `cnndsl.exchange.caffe.prototxt`."""
    from cnndsl.exchange.caffe import prototxt

    return prototxt.read_prototxt(path, weights=weights)
