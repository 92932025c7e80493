"""ONNX models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cnndsl.exchange.model import Model


def read_onnx(
    path: str | Path, *, name: str = "", input_shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Model:
    """The network in an ONNX file, with its weights. See `cnndsl.exchange.onnx.read.read_onnx`."""
    from cnndsl.exchange.onnx.read import read_onnx as read

    return read(path, name=name, input_shapes=input_shapes)


def read_initializers(path: str | Path) -> dict[str, torch.Tensor]:
    """The stored tensors of an ONNX file by name, in its order; see `cnndsl.weights.onnx`."""
    from cnndsl.weights import onnx

    return onnx.read_initializers(path)
