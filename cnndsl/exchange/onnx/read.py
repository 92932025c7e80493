"""An ONNX model as a `Model`: the graph walked once, each node by its handler, all refusals collected."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnndsl.errors import MAX_ERRORS, CnnError, Diagnostic, diagnostic, listed, reason_of
from cnndsl.exchange.model import Builder, Model
from cnndsl.exchange.onnx import (
    emit,
    names,
    nodes_activations,
    nodes_arithmetic,
    nodes_dense,
    nodes_norms,
    nodes_shapes,
    nodes_windows,
    patterns,
    pictures,
)
from cnndsl.exchange.onnx.arrays import array_of, stored_array
from cnndsl.exchange.onnx.constants import FOLDED, Call, Folder, UnknownError
from cnndsl.exchange.onnx.draft import Draft
from cnndsl.exchange.onnx.inputs import (
    Input,
    Shapes,
    dims_of,
    given_shapes,
    input_of,
    reads_of,
    to_channels_first,
)
from cnndsl.exchange.onnx.load import NETWORK, Loaded, load_model
from cnndsl.exchange.onnx.nearest import nearest
from cnndsl.exchange.onnx.refused import Refused
from cnndsl.exchange.onnx.values import FLOATS, Constant, Node, Tensor, Value, shown
from cnndsl.exchange.spelling import in_latin
from cnndsl.ir import InputSpec
from cnndsl.ops.reshape import Identity

if TYPE_CHECKING:
    import onnx

OLDEST, NEWEST = 7, 28
"""Opsets that are read. From 23 to 28 the operators of the tables have got new element types and nothing else."""

BATCH = 1_000_003
"""Stands for the batch where the file leaves it open: a prime that no layer has as a size."""

Handler = Callable[[Node], "Value | Sequence[Value]"]

HANDLERS: Mapping[str, Handler] = {
    **nodes_activations.TABLE,
    **nodes_arithmetic.TABLE,
    **nodes_dense.TABLE,
    **nodes_norms.TABLE,
    **nodes_shapes.TABLE,
    **nodes_windows.TABLE,
}

KNOWN = {*HANDLERS, *FOLDED, "Constant", "If"}
"""Operators that are read, in one form at least."""

OWN_DOMAINS = {"", "ai.onnx"}
CONTRIBUTED = {("com.microsoft", "Gelu")}
"""Operators of onnxruntime that are read as ONNX's of the same name."""

_PLAIN_NAMES = {"", "graph", "main_graph", "torch_jit", "torch-jit-export", "torch-jit-export_1"}


def read_onnx(path: str | Path, *, name: str = "", input_shapes: Shapes | None = None) -> Model:
    """The network in an ONNX file, with its weights.

    `name` is what it is to be called; else it has the graph's or the file's name. `input_shapes` are shapes that the
    file leaves open, (height, width, channels) by the name of the input. Raises CnnError (E0801, E0811 to E0816).
    """
    return _Reader(load_model(path)).read(name, input_shapes or {})


class _Reader:
    """One reading of a model."""

    def __init__(self, loaded: Loaded) -> None:
        self.model, self.graph = loaded.model, loaded.model.graph
        self.stored, self.path = loaded.stored, loaded.path
        self.opset, self.ir_version = loaded.opset, loaded.model.ir_version
        self.draft, self.folder = Draft(), Folder(sum(s.nbytes for s in self.stored.values()))
        self.batch = BATCH
        self.errors: list[Diagnostic] = []
        self.notes: list[str] = []
        self.env: dict[str, Value] = {}
        self.broken: set[str] = set()
        """Values that a refused node would have made."""
        self.read_names: set[str] = set()
        """Values that a node or an output reads."""

    def read(self, name: str, shapes: Shapes) -> Model:
        """The model. Raises CnnError."""
        if not OLDEST <= self.opset <= NEWEST:
            help_ = ("onnx.version_converter brings old models up to date",) if self.opset < OLDEST else ()
            self._refuse(Refused(
                "E0815", f"it is written in opset {self.opset}", help=help_,
                notes=(f"operators are read as in the opsets {OLDEST} to {NEWEST}",),
            ))  # fmt: skip
            raise CnnError(self.errors)
        nodes = self._live_nodes()
        self._inputs(nodes, shapes)
        declared = {} if shapes else {v.name: v for v in (*self.graph.value_info, *self.graph.output)}
        for node in nodes:
            self._visit(node, declared)
            if len(self.errors) >= MAX_ERRORS:
                break
        if not self.errors:
            self._outputs()
            self._collect(lambda: patterns.find(self.draft))
            for left in emit.leftovers(self.draft) if not self.errors else ():
                self._refuse(left)
        if self.errors:
            raise CnnError(self.errors)
        builder = Builder(name or self._name(), origin=str(self.path))
        for note in self.notes:
            builder.note(note)
        return emit.emit(self.draft, builder)

    def _name(self) -> str:
        """The network's name: BvlcAlexnet of bvlc_alexnet."""
        name = self.path.stem if self.graph.name in _PLAIN_NAMES else self.graph.name
        return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^0-9A-Za-z]+", in_latin(name)))

    # --- the graph ---------------------------------------------------------------------------------

    def _live_nodes(self) -> list[onnx.NodeProto]:
        """The nodes that an output depends on, in the file's order. Raises CnnError (E0813)."""
        makers: dict[str, int] = {}
        given = {value.name for value in self.graph.input} | set(self.stored)
        for number, node in enumerate(self.graph.node):
            for output in node.output:
                if output and (output in makers or output in given):
                    raise NETWORK.mistake(self.path, f"it makes `{output}` twice")
                makers[output] = number
        if not self.graph.output:
            raise NETWORK.mistake(self.path, "it has no output")
        wanted = [output.name for output in self.graph.output]
        live: set[int] = set()
        while wanted:
            name = wanted.pop()
            if not name or name in self.read_names:
                continue
            self.read_names.add(name)
            if name in makers:
                live.add(makers[name])
                wanted.extend(reads_of(self.graph.node[makers[name]]))
            elif name not in given:
                raise NETWORK.mistake(self.path, f"it reads `{name}`, which nothing makes")
        return [self.graph.node[number] for number in sorted(live)]

    def _inputs(self, nodes: Sequence[onnx.NodeProto], shapes: Shapes) -> None:
        """Declare the inputs that are read and no weights."""
        values = [v for v in self.graph.input if v.name in self.read_names and v.name not in self.stored]
        unread = [v.name for v in self.graph.input if v.name not in self.read_names and v.name not in self.stored]
        if unread:
            self.notes.append(f"no layer reads {listed([f'`{n}`' for n in unread])}: left out")
        given = given_shapes(shapes, tuple(v.name for v in values), str(self.path))
        batches: set[int | None] = set()
        found = []
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in nodes:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        for value in values:
            own = readers.get(value.name, [])
            try:
                last = all(map(to_channels_first, own)) and bool(own)
                found.append(input_of(value, given.get(value.name), last=last))
                self._need_floats(found[-1], own)
                batches.add(found[-1].batch)
            except Refused as refused:
                self._refuse(refused)
        if self.errors:
            raise CnnError(self.errors)
        fixed = batches - {None}
        if len(fixed) > 1:
            self._refuse(Refused("E0812", f"its inputs have batches of {sorted(b for b in fixed if b)}"))
            raise CnnError(self.errors)
        self.batch = fixed.pop() or BATCH if fixed else BATCH
        if self.batch not in {1, BATCH}:
            self.notes.append(f"the file fixes the batch to {self.batch}: the network takes any")
        specs = pictures.specs_of(self.model, {one.name: one.type for one in found}, self.notes)
        for one in found:
            self._collect(partial(self._declare, one, specs.get(one.name)))

    def _need_floats(self, one: Input, readers: Sequence[onnx.NodeProto]) -> None:
        """Raise Refused unless an input is floating-point, or of whole numbers that are cast before all else."""
        from onnx import TensorProto

        kinds = TensorProto.DataType
        if one.kind in {kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16}:
            return
        whole = one.kind in {kinds.UINT8, kinds.INT8, kinds.UINT16, kinds.INT16, kinds.INT32, kinds.INT64}
        if not whole or any(node.op_type != "Cast" for node in readers):
            known = kinds.Name(one.kind) if one.kind in kinds.values() else str(one.kind)
            raise Refused("E0812", f"input `{one.name}` holds {known}", notes=(FLOATS,))
        self.notes.append(f"input `{one.name}` is {kinds.Name(one.kind)} in the file, and floating-point here")

    def _declare(self, one: Input, spec: InputSpec | None) -> None:
        if one.last:
            self.notes.append(f"input `{one.name}` is [N, H, W, C] in the file, and [N, C, H, W] here")
        item = self.draft.input(names.without_device(one.name), one.type, spec=spec)
        sizes = one.type.shape if one.last else one.type.torch_shape
        self.env[one.name] = Tensor(item, (self.batch, *sizes), one.last)

    def _outputs(self) -> None:
        """Declare the outputs."""
        for output in self.graph.output:
            self._collect(lambda name=output.name: self._output(name))  # type: ignore[misc]

    def _output(self, name: str) -> None:
        value = self._value(name)
        if not isinstance(value, Tensor):
            raise Refused("E0812", f"output `{name}` is a constant")
        item = self._shaped(name, value)
        if self.draft.op(item) is None or item in {i for _, i in self.draft.outputs}:
            # An output is a layer, and each a layer of its own.
            item = self.draft.add(Identity(), item)
        self.draft.outputs.append((name, item))

    def _shaped(self, name: str, value: Tensor) -> int:
        """The layer that makes an output, in the file's shape where the language has that."""
        type_ = self.draft.type(value.item)
        if value.shape[1:] == type_.torch_shape and not value.last:
            return value.item
        if len(value.shape) == 2 and not value.last:
            return self.draft.flat(value.item)
        if len(value.shape) == 4 and value.shape[2:] == (1, 1):
            found = self.draft.as_map(value.item)
            if found is not None:
                return found
        if value.last and len(value.shape) != 4:
            raise Refused("E0812", f"output `{name}` has its values in the order height, width, channel")
        own = shown((self.batch, *type_.torch_shape))
        self.notes.append(f"output `{name}` is {shown(value.shape)} in the file, and {own} here")
        return value.item

    # --- nodes -------------------------------------------------------------------------------------

    def _visit(self, node: onnx.NodeProto, declared: Mapping[str, onnx.ValueInfoProto]) -> None:
        """Read one node; what is wrong with it is collected."""
        known = _is_own(node) and node.op_type in KNOWN
        where = f"{node.op_type} `{node.name or next(iter(node.output), '')}`"
        if not known:
            self._refuse(self._unknown(node))
        if not known or any(name in self.broken for name in node.input):
            self.broken.update(node.output)
            return
        if node.op_type == "If":
            self._collect(lambda: self._branch(node, declared, where))
            self.broken.update(name for name in node.output if name not in self.env)
            return
        try:
            self._check(node)
            inputs = [self._value(name) if name else None for name in node.input]
            made = self._made(node, inputs, where)
            for output, value in zip(node.output, made, strict=False):
                self.env[output] = value
                self._agree(value, declared.get(output), where)
        except Refused as refused:
            self._refuse(refused)
            self.broken.update(node.output)

    def _branch(self, node: onnx.NodeProto, declared: Mapping[str, onnx.ValueInfoProto], where: str) -> None:
        """Read the branch of an If that is taken always: torch's exporter asks whether an axis is one."""
        condition = self._value(node.input[0])
        if not isinstance(condition, Constant) or condition.other is not None or condition.array.size != 1:
            raise Refused("E0811", f"{where} decides while the network runs",
                          notes=("a network computes the same for every picture",))  # fmt: skip
        name = "then_branch" if condition.array.reshape(()) else "else_branch"
        graph = next((a.g for a in node.attribute if a.name == name and a.HasField("g")), None)
        if graph is None or len(graph.output) != len(node.output):
            raise Refused("E0813", f"{where} has no {name} of {len(node.output)} outputs")
        inner: set[str] = set()
        for tensor in graph.initializer:
            self._claim(inner, [tensor.name], where)
            self.env[tensor.name] = Constant(array_of(tensor, self.path), name=tensor.name)
        for part in graph.node:
            self._claim(inner, part.output, where)
            self._visit(part, declared)
        ends = zip(node.output, (own.name for own in graph.output), strict=True)
        made = {output: self._value(own) for output, own in ends if own not in self.broken}
        for name in inner & self.env.keys():
            del self.env[name]
        self.env |= made

    def _claim(self, inner: set[str], names: Sequence[str], where: str) -> None:
        """Take names for one branch, of which another may have them too. Raises Refused (E0813) if they mean others."""
        for name in names:
            if name and (name in self.env or name in self.stored):
                raise Refused("E0813", f"{where} makes `{name}` twice")
        inner.update(names)

    def _made(self, node: onnx.NodeProto, inputs: Sequence[Value | None], where: str) -> Sequence[Value]:
        attributes = self._attributes(node)
        if node.op_type == "Constant":
            return [self._constant(attributes, where, node.output[0])]
        constants = [value for value in inputs if not isinstance(value, Tensor)]
        if len(constants) == len(inputs):
            arrays = [None if c is None else c.array for c in constants]
            call = Call(node.op_type, self.opset, attributes, arrays, len(node.output))
            try:
                return self.folder.fold_values(call, where, constants)
            except UnknownError:
                pass
        handler = HANDLERS.get(node.op_type)
        if handler is None:
            raise self._unknown(node)
        named = names.of_layer(node, [v.name for v in inputs if isinstance(v, Constant) and v.name])
        wanted = [output in self.read_names for output in node.output]
        made = handler(Node(
            node.op_type, where, named, self.opset, attributes, inputs, wanted, self.draft, self.batch, self.notes
        ))  # fmt: skip
        return [made] if isinstance(made, Constant | Tensor) else made

    def _attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        from onnx import helper

        if node.op_type in {"Constant", "ConstantOfShape"}:
            return {
                a.name: array_of(a.t, self.path) if a.HasField("t") else helper.get_attribute_value(a)
                for a in node.attribute
            }
        return {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def _constant(self, attributes: Mapping[str, Any], where: str, name: str) -> Constant:
        import numpy as np

        kinds = {"value": None, "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64,
                 "value_ints": np.int64}  # fmt: skip
        for key, kind in kinds.items():
            if key in attributes:
                return Constant(np.asarray(attributes[key], kind), name=name)
        raise Refused("E0812", f"{where} holds {listed(sorted(attributes)) or 'nothing'}, no tensor of numbers")

    def _check(self, node: onnx.NodeProto) -> None:
        """Hold a node against the definition of its operator. Raises Refused (E0813)."""
        from onnx import checker

        if not _is_own(node) or node.domain not in OWN_DOMAINS or node.op_type == "Constant":
            return
        context = checker.C.CheckerContext()
        context.ir_version, context.opset_imports = self.ir_version, {"": self.opset}
        try:
            checker.check_node(node, context)
        except Exception as error:  # the checker is native code, with an error of its own
            raise Refused("E0813", f"{node.op_type} `{node.name}` is wrong: {reason_of(error)}") from error

    def _value(self, name: str) -> Value:
        """The value of a name, a stored tensor read when it is first used."""
        if name in self.env:
            return self.env[name]
        if name in self.stored:
            self.env[name] = Constant(stored_array(self.stored[name]), name=name)
            return self.env[name]
        raise Refused("E0813", f"`{name}` is read before it is made")

    def _agree(self, value: Value, declared: onnx.ValueInfoProto | None, where: str) -> None:
        """Hold a shape against the one that the file declares: a difference is one of meaning. Raises Refused."""
        dims = dims_of(declared) if declared is not None else None
        if dims is None or not isinstance(value, Tensor):
            return
        own = (None, *value.shape[1:])
        if len(dims) != len(own) or any(a not in {None, b} for a, b in zip(dims[1:], own[1:], strict=True)):
            said = ", ".join("?" if d is None else str(d) for d in dims)
            raise Refused("E0801", f"{where} makes {shown(value.shape)}, and the file says [{said}]")

    def _unknown(self, node: onnx.NodeProto) -> Refused:
        notes, help_ = nearest(node.op_type, tuple(HANDLERS) if node.domain in OWN_DOMAINS else ())
        domain = f" of the domain `{node.domain}`" if node.domain not in OWN_DOMAINS else ""
        where = f"operator {node.op_type}{domain}, node `{node.name or next(iter(node.output), '')}`"
        return Refused("E0811", f"{where}, is not in the language", notes=notes, help=help_)

    # --- mistakes ----------------------------------------------------------------------------------

    def _refuse(self, refused: Refused) -> None:
        message = f"cannot import {self.path}: {refused.message}"
        self.errors.append(diagnostic(refused.code, message, notes=refused.notes, help=refused.help))

    def _collect(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Refused as refused:
            self._refuse(refused)


def _is_own(node: onnx.NodeProto) -> bool:
    return node.domain in OWN_DOMAINS or (node.domain, node.op_type) in CONTRIBUTED
