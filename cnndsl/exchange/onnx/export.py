"""A network as an ONNX model that computes the same numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cnndsl.errors import problem
from cnndsl.exchange.onnx import pictures
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

MAX_INSIDE = 2**31 - 2**26
"""Bytes of weights within one file: protobuf reads no more than 2 GiB, and the nodes take some. Larger weights go into
a file beside it."""

ALIGNED = 4096
"""Where a tensor begins beside a model: at a page, so that a runtime can map it."""


def to_onnx(graph: Graph, weights: Mapping[str, torch.Tensor], *, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
    """The model of an elaborated network. Inputs are [n, C, H, W] or [n, features] in fp32, of any n.

    `weights` are by the keys of the network's state dict, in torch's layout, and keep these names as initialisers.
    They must be smaller than `MAX_INSIDE`. How pictures become the inputs is in the metadata: see
    `cnndsl.exchange.onnx.pictures`. Raises CnnError: E0816 without the `onnx` package, E0817 for an opset that is not
    written.
    """
    return _whole(graph, _emitted(graph, weights, opset))


def export_onnx(
    graph: Graph,
    weights: Mapping[str, torch.Tensor],
    path: str | Path,
    *,
    opset: int = DEFAULT_OPSET,
    force: bool = False,
) -> tuple[Path, ...]:
    """Write the model of a network; returns the files, two where the weights are too large for one.

    Raises CnnError: E0421 where a file cannot be written, or is there already and `force` is not given, and as
    `to_onnx` does.
    """
    path = Path(path)
    _free(path, force=force)
    emitter = _emitted(graph, weights, opset)
    if emitter.nbytes < MAX_INSIDE:
        content = _whole(graph, emitter).SerializeToString()
        with replaced(path) as temporary:
            temporary.write_bytes(content)
        return (path,)
    beside = path.with_name(f"{path.name}.data")
    _free(beside, force=force)
    with replaced(path) as temporary, replaced(beside) as data:  # both are whole before either takes its place
        stored = _stored_beside(emitter, data, beside.name)
        temporary.write_bytes(_model(graph, emitter, stored).SerializeToString())
    return path, beside


def _free(path: Path, *, force: bool) -> None:
    """Raise CnnError E0421 where a file is there that may not be written over."""
    if os.path.exists(path) and not force:
        raise problem("E0421", f"cannot write {path}: it is there already", help=("--force writes over it",))


def _emitted(graph: Graph, weights: Mapping[str, torch.Tensor], opset: int) -> Emitter:
    """The nodes of a network and what they read. Raises CnnError (E0816, E0817)."""
    need_onnx("exporting to ONNX")
    if opset not in OPSETS:
        raise problem("E0817", f"opset {opset} is not written", help=(f"write one of {OPSETS[0]} to {OPSETS[-1]}",))
    emitter = Emitter(graph, weights, opset)
    for node in graph.nodes:
        if node.op is not None:
            emit(emitter, node, graph.types_of(node))
    for name, source in graph.outputs:
        emitter.output(name, source)
    return emitter


def _whole(graph: Graph, emitter: Emitter) -> onnx.ModelProto:
    """The model with its weights, checked."""
    import onnx
    from onnx import numpy_helper

    assert emitter.nbytes < MAX_INSIDE, "export_onnx writes weights of this size"
    model = _model(graph, emitter, [numpy_helper.from_array(array, name) for name, array in emitter.arrays.items()])
    onnx.checker.check_model(model)
    return model


def _model(graph: Graph, emitter: Emitter, stored: list[onnx.TensorProto]) -> onnx.ModelProto:
    from onnx import helper

    inputs = [_value(node.name, node.type) for node in graph.inputs]
    outputs = [_value(emitter.outputs[name], graph.by_name[source].type) for name, source in graph.outputs]
    made = helper.make_graph(emitter.nodes, graph.name, inputs, outputs, initializer=stored)
    opset = helper.make_opsetid("", emitter.opset)
    ir_version = helper.find_min_ir_version_for([opset])
    model = helper.make_model(made, opset_imports=[opset], ir_version=ir_version, producer_name="cnndsl")
    said = pictures.written(graph)
    if said:
        helper.set_model_props(model, {pictures.KEY: said})
    return model


def _stored_beside(emitter: Emitter, data: Path, name: str) -> list[onnx.TensorProto]:
    """Write the arrays one by one, and return what a model calls them."""
    from onnx import StringStringEntryProto, TensorProto, helper

    stored = []
    with data.open("wb") as file:
        for key, array in emitter.arrays.items():
            if array.nbytes < ALIGNED:  # shapes of a Reshape must be within the model
                stored.append(helper.make_tensor(key, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape,
                                                 array.tobytes(), raw=True))  # fmt: skip
                continue
            file.seek(-(-file.tell() // ALIGNED) * ALIGNED)
            place = {"location": name, "offset": str(file.tell()), "length": str(array.nbytes)}
            stored.append(TensorProto(
                name=key, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
                data_location=TensorProto.EXTERNAL,
                external_data=[StringStringEntryProto(key=k, value=v) for k, v in place.items()],
            ))  # fmt: skip
            file.write(array.data.cast("B"))
    return stored


def _value(name: str, type_: TensorType) -> onnx.ValueInfoProto:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *type_.torch_shape])
