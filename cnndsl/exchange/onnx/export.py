"""A network as an ONNX model that computes the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cnndsl.errors import problem
from cnndsl.exchange.onnx.load import need_onnx
from cnndsl.exchange.onnx.operators import Emitter, emit
from cnndsl.ir import Graph, TensorType
from cnndsl.writing import replaced

if TYPE_CHECKING:
    import onnx
    import torch

OPSETS = range(13, 23)
"""Versions of ONNX's operators that can be written. Before 13, softmax and reductions meant something else."""

DEFAULT_OPSET = 17
"""Known to onnxruntime since 1.12, of 2022."""

MAX_FILE = 2**31 - 2**20
"""Bytes of one file: protobuf reads no more. Larger weights go into a file beside it."""


def to_onnx(graph: Graph, weights: Mapping[str, torch.Tensor], *, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
    """The model of an elaborated network. Inputs are [n, C, H, W] or [n, features] in fp32, of any n.

    `weights` are by the keys of the network's state dict, in torch's layout, and keep these names as initialisers.
    Raises CnnError: E0816 without the `onnx` package, E0817 for an opset that is not written.
    """
    need_onnx("exporting to ONNX")
    import onnx
    from onnx import helper

    if opset not in OPSETS:
        raise problem("E0817", f"opset {opset} is not written", help=(f"write one of {OPSETS[0]} to {OPSETS[-1]}",))
    emitter = Emitter(weights, opset)
    inputs = [_value(node.name, node.type) for node in graph.inputs]
    for node in graph.nodes:
        if node.op is not None:
            emit(emitter, node, graph.types_of(node))
    outputs = []
    for name, source in graph.outputs:
        # The output has a name of its own: a node may be two outputs, or the input itself.
        emitter.node("Identity", source, output=f"{name}_output" if name in graph.by_name else name)
        outputs.append(_value(emitter.last, graph.by_name[source].type))
    made = helper.make_graph(emitter.nodes, graph.name, inputs, outputs, initializer=emitter.initializers)
    ir_version = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version, producer_name="cnndsl"
    )
    onnx.checker.check_model(model) if model.ByteSize() < MAX_FILE else None
    return model


def export_onnx(
    graph: Graph, weights: Mapping[str, torch.Tensor], path: str | Path, *, opset: int = DEFAULT_OPSET
) -> tuple[Path, ...]:
    """Write the model of a network; returns the files, two where the weights are too large for one.

    Raises CnnError: E0421 where a file cannot be written, and as `to_onnx` does.
    """
    model = to_onnx(graph, weights, opset=opset)
    import onnx

    path = Path(path)
    if model.ByteSize() < MAX_FILE:
        with replaced(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
        return (path,)
    beside = path.with_name(f"{path.name}.data")
    with replaced(path) as temporary:
        beside.unlink(missing_ok=True)
        onnx.save_model(model, str(temporary), save_as_external_data=True, location=beside.name)
    return path, beside


def _value(name: str, type_: TensorType) -> onnx.ValueInfoProto:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *type_.torch_shape])
