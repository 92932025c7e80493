"""``torch.compile(module, backend="cnndsl")``: what the language has layers for runs here, the rest in torch.

torch finds the backend by the entry point ``torch_dynamo_backends`` of this package. It receives a graph of ATen
operators without effects (AOTAutograd's inference graph). The operators that are layers are gathered into parts with
torch's own partitioner, so that no part waits for itself; every part becomes a ``.cnn`` text, and that a network.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch._dynamo.backends.common import aot_autograd
from torch._guards import TracingContext
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupport

from cnndsl.exchange.imported import imported
from cnndsl.exchange.model import Builder
from cnndsl.exchange.torch.graphs import Reader, module_of, operator_name, tensor_type
from cnndsl.exchange.torch.values import Fixed, Ref, Value

if TYPE_CHECKING:
    from cnndsl.runtime.executor import Network

log = logging.getLogger("cnndsl")

ANCHORS = frozenset({"convolution", "conv2d", "addmm", "mm", "linear"})
"""Operators of which a part must hold one: others alone are not worth leaving torch for."""

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def cnndsl(graph: fx.GraphModule, example_inputs: Sequence[Any], **_: Any) -> Callable[..., Any]:
    """The backend: a function that computes what `graph` does, for inputs of these shapes.

    Gradients are torch's affair: a graph that records them is left to torch as a whole.
    """
    compiler = aot_autograd(fw_compiler=_left_to_torch, inference_compiler=_Compiled)
    made: Callable[..., Any] = compiler(graph, example_inputs)
    return made


def _left_to_torch(graph: fx.GraphModule, _: Sequence[Any]) -> Callable[..., Any]:
    log.warning("gradients are recorded, so torch computes everything: use torch.no_grad() or torch.inference_mode()")
    return _boxed(graph.forward)


def _boxed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes its arguments as one list, which it empties: what AOTAutograd calls."""

    def boxed(arguments: list[Any]) -> Any:
        given = list(arguments)
        arguments.clear()
        return function(*given)

    boxed._boxed_call = True  # type: ignore[attr-defined] # noqa: SLF001 - the mark that AOTAutograd looks for
    return boxed


class _Compiled:
    """An inference graph, made into parts at its first call, when the parameters' values are there."""

    def __init__(self, graph: fx.GraphModule, _: Sequence[Any]) -> None:
        context = TracingContext.try_get()
        metadata = context.fw_metadata if context is not None else None
        static = metadata.static_input_indices if metadata is not None else ()
        self.graph = graph
        self.fixed = tuple(static)
        """The numbers of the arguments that are parameters and buffers."""
        self.split: fx.GraphModule | None = None
        self.known: tuple[tuple[torch.Tensor, int], ...] = ()
        self._boxed_call = True

    def __call__(self, arguments: list[Any]) -> Any:
        given = list(arguments)
        arguments.clear()
        if self.split is None or not self._unchanged(given):
            self.known = tuple((given[i], given[i]._version) for i in self.fixed)  # noqa: SLF001 - the public counter
            self.split = _split(self.graph, {i: given[i] for i in self.fixed})
        return self.split.forward(*given)

    def _unchanged(self, given: list[Any]) -> bool:
        pairs = zip(self.fixed, self.known, strict=True)
        return all(given[i] is old and old._version == version for i, (old, version) in pairs)  # noqa: SLF001


class Part(torch.nn.Module):
    """A part of a graph that runs as a network. `text` is its ``.cnn`` file."""

    def __init__(self, network: Network, text: str, *, moving: tuple[int, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.text, self.moving, self.outputs = network, text, moving, outputs

    def forward(self, *arguments: torch.Tensor) -> Any:
        """The part's results, from all of its arguments; parameters among them are in the network already."""
        result = self.network(*(arguments[i].contiguous() for i in self.moving))
        if isinstance(result, torch.Tensor):
            return result
        return tuple(result[name] for name in self.outputs)


# --- which operators -------------------------------------------------------------------------------


def _split(graph: fx.GraphModule, constants: dict[int, torch.Tensor]) -> fx.GraphModule:
    """The graph with its parts in place of what they compute."""
    copied = fx.GraphModule(graph, fx.Graph())
    copied.graph = fx.Graph()
    result = copied.graph.graph_copy(graph.graph, {}, return_output_node=False)
    copied.graph.output(result)
    copied.recompile()
    placeholders = [node for node in copied.graph.nodes if node.op == "placeholder"]
    fixed = {node: Fixed(constants[i].detach()) for i, node in enumerate(placeholders) if i in constants}
    _fold(copied, fixed)
    partitioner, partitions = _partitions(copied, fixed)
    left = Counter(
        str(n.target)
        for n in copied.graph.nodes
        if n.op == "call_function" and not any(n in p.nodes for p in partitions)
    )
    log.info("%d part(s) run as networks; left to torch: %s", len(partitions),
             ", ".join(f"{name} x{count}" for name, count in left.items()) or "nothing")  # fmt: skip
    fused = partitioner.fuse_partitions(partitions)
    named = {node.name: value for node, value in fixed.items()}  # fusing makes new nodes of the same names
    for node in list(fused.graph.nodes):
        if node.op == "call_module":
            body = fused.get_submodule(node.target)
            assert isinstance(body, fx.GraphModule)
            fused.add_submodule(node.target, _part(body, node, named))
    fused.recompile()
    return fused


class _Support(OperatorSupport):
    """Tells the partitioner which calls are known."""

    def __init__(self, known: set[fx.Node]) -> None:
        super().__init__()
        self.known = known

    def is_node_supported(self, submodules: Any, node: fx.Node) -> bool:  # noqa: ARG002 - torch's interface
        """Whether a call can be in a part."""
        return node in self.known


def _partitions(module: fx.GraphModule, fixed: dict[fx.Node, Fixed]) -> tuple[CapabilityBasedPartitioner, list[Any]]:
    """The parts, each with all the steps of a layer or none, and the partitioner that makes them."""
    refused: set[fx.Node] = set()
    while True:
        values, known = _tried(module.graph, fixed, refused)
        partitioner = CapabilityBasedPartitioner(module, _Support(known), allows_single_node_partition=True)
        proposed = partitioner.propose_partitions()
        place = {node: number for number, partition in enumerate(proposed) for node in partition.nodes}
        # What is half a layer, or a tuple, cannot leave a part: then its step is not taken either.
        torn = {
            node
            for node in known
            if not isinstance(values[node], Ref) and any(place.get(user) != place.get(node) for user in node.users)
        }
        if not torn:
            anchored = [p for p in proposed if any(operator_name(node.target) in ANCHORS for node in p.nodes)]
            return partitioner, anchored
        refused |= torn


def _fold(module: fx.GraphModule, fixed: dict[fx.Node, Fixed]) -> None:
    """Make constants of what is computed from parameters alone, such as a transposed matrix."""
    values, known = _tried(module.graph, fixed, set())
    for node in list(module.graph.nodes):
        value = values.get(node)
        if node in known and isinstance(value, Fixed):
            name = f"fixed_{len(fixed)}"
            module.register_buffer(name, value.tensor, persistent=False)
            with module.graph.inserting_before(node):
                constant = module.graph.get_attr(name)
            constant.meta = dict(node.meta)
            node.replace_all_uses_with(constant)
            module.graph.erase_node(node)
            fixed[constant] = value
    module.recompile()


def _tried(
    graph: fx.Graph, fixed: dict[fx.Node, Fixed], refused: set[fx.Node]
) -> tuple[dict[fx.Node, Value], set[fx.Node]]:
    """The values of all calls that can be read, with a fresh input in place of each that cannot."""
    builder = Builder("Part", origin="the graph")
    reader = Reader(builder, name_of=lambda *_: "")
    known: set[fx.Node] = set()
    for node in graph.nodes:
        if node in fixed:
            reader.placeholder(node, fixed[node])
            continue
        value = node.meta.get("val")
        if node.op == "call_function" and node not in refused and _is_float(value):
            reader.call(node)
            if node in reader.values:
                known.add(node)
                continue
        reader.broken.add(node)
        if isinstance(value, torch.Tensor) and _is_float(value) and (type_ := tensor_type(value.shape)) is not None:
            reader.broken.discard(node)
            reader.placeholder(node, Ref(builder.input("x", type_)))
    return reader.values, known


def _is_float(value: Any) -> bool:
    tensors = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(t, torch.Tensor) and t.dtype in DTYPES for t in tensors)


# --- a part ------------------------------------------------------------------------------------------


def _part(body: fx.GraphModule, call: fx.Node, fixed: dict[str, Fixed]) -> Part:
    builder = Builder("Part", origin="a part of the graph")
    reader = Reader(builder, name_of=lambda node, _: module_of(node))
    moving: list[int] = []
    example: torch.Tensor | None = None
    outputs: list[tuple[str, Any]] = []
    placeholders = iter(enumerate(call.args))
    for node in body.graph.nodes:
        match node.op:
            case "placeholder":
                number, source = next(placeholders)
                assert isinstance(source, fx.Node)
                if source.name in fixed:
                    reader.placeholder(node, fixed[source.name])
                    continue
                example = source.meta["val"]
                assert example is not None
                type_ = tensor_type(example.shape)
                assert type_ is not None
                moving.append(number)
                reader.placeholder(node, Ref(builder.input(f"x{len(moving)}", type_)))
            case "call_function":
                reader.call(node)
            case "output":
                found = node.args[0]
                nodes = list(found) if isinstance(found, (list, tuple)) else [found]
                outputs = [("main" if i == 0 else f"output{i}", made) for i, made in enumerate(nodes)]
    reader.outputs(outputs)
    made = imported(builder.finish())
    assert example is not None
    network = made.compile(device=example.device, dtype=example.dtype)
    return Part(network, made.text, moving=tuple(moving), outputs=tuple(name for name, _ in outputs))
