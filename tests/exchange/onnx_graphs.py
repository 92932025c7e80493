"""What the tests of ONNX share: small models built by hand, onnxruntime's word on them, and ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from cnndsl.exchange.model import Model
from cnndsl.exchange.onnx import read_onnx
from cnndsl.runtime.reference import evaluate

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 18, 19, 22)
TOLERANCE = 1e-5
"""Relative error in the Euclidean norm; fp32 sums in another order differ by a tenth of it."""

Shape = tuple[int, ...]


def weight(name: str, *shape: int, seed: int = 0, low: float | None = None) -> onnx.TensorProto:
    """A stored tensor of random numbers; from `low` up where that is given."""
    rng = np.random.default_rng([seed, len(name), *name.encode(), *shape])
    values = rng.standard_normal(shape) if low is None else low + rng.random(shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


def const(name: str, values: Any, kind: type = np.int64) -> onnx.TensorProto:
    """A stored tensor of given numbers."""
    return numpy_helper.from_array(np.asarray(values, kind), name)


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """A node; inputs and outputs are names with spaces between, `_` for one that is left out."""
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Shape | Mapping[str, Shape],
    *stored: onnx.TensorProto,
    opset: int = 13,
    outputs: str = "y",
    batch: int | str = "N",
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model of one input `x` [batch, *shape], or of several by name."""
    shapes = shape if isinstance(shape, Mapping) else {"x": shape}
    graph = helper.make_graph(
        list(nodes), "small",
        [helper.make_tensor_value_info(name, kind, [batch, *dims]) for name, dims in shapes.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs.split()],
        list(stored),
    )  # fmt: skip
    # Before IR version 4 stored tensors must be inputs too.
    ir = 4 if opset < 9 else 8
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def saved(made: onnx.ModelProto, folder: Path) -> Path:
    """The model in a file."""
    path = folder / "small.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def read(made: onnx.ModelProto, folder: Path, **options: Any) -> Model:
    """The model, imported."""
    return read_onnx(saved(made, folder), **options)


def run_theirs(made: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What onnxruntime computes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))


def run_ours(imported: Model, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What the imported network computes, with torch's operators."""
    xs = [torch.from_numpy(inputs[node.name]) for node in imported.graph.inputs]
    return [y.numpy() for y in evaluate(imported.graph, xs, imported.weights).values()]


def random_inputs(made: onnx.ModelProto, *, batch: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """A random array for each input of a model that is no weight."""
    stored = {t.name for t in made.graph.initializer}
    rng = np.random.default_rng(seed)
    inputs = {}
    for value in made.graph.input:
        if value.name not in stored:
            dims = [d.dim_value or batch for d in value.type.tensor_type.shape.dim]
            inputs[value.name] = rng.standard_normal(dims).astype(np.float32)
    return inputs


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The relative error in the Euclidean norm."""
    assert ours.shape == theirs.shape, f"{ours.shape} is not {theirs.shape}"
    scale = float(np.linalg.norm(theirs.astype(np.float64))) or 1.0
    return float(np.linalg.norm(ours.astype(np.float64) - theirs)) / scale


def worst_error(made: onnx.ModelProto, folder: Path, **options: Any) -> float:
    """The largest relative error of the imported network's outputs."""
    inputs = random_inputs(made)
    ours = run_ours(read(made, folder, **options), inputs)
    theirs = run_theirs(made, inputs)
    return max(error(a, b) for a, b in zip(ours, theirs, strict=True))


def check(made: onnx.ModelProto, folder: Path, **options: Any) -> Model:
    """Import a model and hold it against onnxruntime; returns what was imported."""
    assert worst_error(made, folder, **options) < TOLERANCE
    return read(made, folder, **options)


def layers(imported: Model) -> list[str]:
    """The layers of an imported network, as a file writes them."""
    return [n.text for n in imported.graph.nodes if n.op is not None]
