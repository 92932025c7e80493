"""The work of ``cnndsl export``. Imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cnndsl.exchange.onnx.export import export_onnx
from cnndsl.ir import Graph
from cnndsl.runtime.parameters import specs_of
from cnndsl.runtime.weights import initial_tensors
from cnndsl.weights.matching import pair
from cnndsl.weights.reading import open_weights


def export(
    graph: Graph, output: str, *, opset: int, weights: str | None, match: Literal["name", "order"], allow_extra: bool,
    seed: int, force: bool,
) -> tuple[Path, ...]:  # fmt: skip
    """Write the model, and return its files. Raises CnnError."""
    specs = specs_of(graph)
    if weights is None:
        tensors = initial_tensors(specs, seed=seed)
    else:
        contents = open_weights(weights, graph)
        extra: Literal["error", "ignore"] = "ignore" if allow_extra else "error"
        tensors = pair(specs, contents.tensors, mode=match, extra=extra, source=weights).load(weights)
    return export_onnx(graph, tensors, output, opset=opset, force=force)
