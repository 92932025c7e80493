"""``torch.compile(module, backend="cnndsl")``: what the language has layers for runs here, the rest in torch.

torch finds the backend by the entry point ``torch_dynamo_backends`` of this package. It receives a graph of ATen
operators without effects (AOTAutograd's inference graph). The operators that are layers are gathered into parts with
torch's own partitioner, so that no part waits for itself; every part becomes a ``.cnn`` text, and that a network.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch._dynamo.backends.common import aot_autograd
from torch._guards import TracingContext
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupport

from cnndsl.errors import CnnError
from cnndsl.exchange.imported import imported
from cnndsl.exchange.model import Builder
from cnndsl.exchange.torch.graphs import Reader, module_of, operator_name, tensor_type
from cnndsl.exchange.torch.maps import read_again
from cnndsl.exchange.torch.values import Fixed, Ref, Size, Value

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
        self.known: tuple[tuple[torch.Tensor, int, int], ...] = ()
        self._boxed_call = True
        if _has_open_sizes(graph):
            log.warning("sizes that change from call to call are left to torch, but for the batch: "
                        "torch.compile(..., dynamic=False) compiles for each size")  # fmt: skip

    def __call__(self, arguments: list[Any]) -> Any:
        given = list(arguments)
        arguments.clear()
        if self.split is None or not self._unchanged(given):
            self._make(given)
        assert self.split is not None
        return self.split.forward(*given)

    def _make(self, given: list[Any]) -> None:
        if any(given[i].is_inference() for i in self.fixed):
            # torch does not count their changes, and a stale weight would go unnoticed.
            log.warning("parameters made in inference mode can change unseen, so torch computes everything: "
                        "build the module outside of torch.inference_mode()")  # fmt: skip
            self.fixed, self.known, self.split = (), (), self.graph
            return
        self.known = tuple((given[i], given[i]._version, given[i].data_ptr()) for i in self.fixed)  # noqa: SLF001
        self.split = _split(self.graph, {i: given[i] for i in self.fixed})

    def _unchanged(self, given: list[Any]) -> bool:
        """Whether all parameters are those of the last time, not written to since (torch's own counter)."""
        pairs = zip(self.fixed, self.known, strict=True)
        return all(
            given[i] is old and old._version == version and old.data_ptr() == address  # noqa: SLF001
            for i, (old, version, address) in pairs
        )


def _has_open_sizes(graph: fx.GraphModule) -> bool:
    """Whether more than the first size of a tensor is left open."""
    values = (node.meta.get("val") for node in graph.graph.nodes if node.op == "placeholder")
    return any(isinstance(size, torch.SymInt) for v in values if isinstance(v, torch.Tensor) for size in v.shape[1:])


class Part(torch.nn.Module):
    """A part of a graph that runs as a network. `text` is its ``.cnn`` file."""

    def __init__(
        self, network: Network, text: str, *, moving: tuple[int, ...], outputs: tuple[str, ...],
        strides: tuple[tuple[int, ...] | None, ...],
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.text, self.moving, self.outputs, self.strides = network, text, moving, outputs, strides

    def forward(self, *arguments: torch.Tensor) -> Any:
        """The part's results, from all of its arguments; parameters among them are in the network already."""
        result = self.network(*(arguments[i] for i in self.moving))
        if isinstance(result, torch.Tensor):
            return _laid(result, self.strides[0])
        return tuple(_laid(result[name], strides) for name, strides in zip(self.outputs, self.strides, strict=True))


def _laid(tensor: torch.Tensor, strides: tuple[int, ...] | None) -> torch.Tensor:
    """The tensor in the memory order that torch would give it: views of it were traced for that."""
    if strides is None:
        return tensor.contiguous()
    if tensor.stride() == strides:
        return tensor
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


# --- which operators -------------------------------------------------------------------------------


def _split(graph: fx.GraphModule, constants: dict[int, torch.Tensor]) -> fx.GraphModule:
    """The graph with its parts in place of what they compute."""
    module = fx.GraphModule(graph, fx.Graph())
    result = module.graph.graph_copy(graph.graph, {}, return_output_node=False)
    module.graph.output(result)
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    # By name: fusing makes new nodes of the same names.
    fixed = {node.name: Fixed(constants[i].detach()) for i, node in enumerate(placeholders) if i in constants}
    _fold(module, fixed)
    count = 0
    # What one network cannot hold together is taken one kind after the other, so that no two parts wait for each other.
    for number, kind in enumerate(_kinds(module.graph, fixed)):
        partitioner, partitions = _partitions(module, fixed, kind)
        before = {node.name for node in module.graph.nodes}
        partitioner.fuse_partitions(partitions, prefix=f"part{number}_")
        for node in module.graph.nodes:
            if node.op == "call_module" and node.name not in before:
                count += _replace(module, node, fixed)
    module.recompile()
    left = Counter(
        str(n.target) for n in module.graph.nodes if n.op == "call_function" and operator_name(n.target) is not None
    )
    log.info("%d part(s) run as networks; left to torch: %s", count,
             ", ".join(f"{name} x{number}" for name, number in left.items()) or "nothing")  # fmt: skip
    return module


class _Support(OperatorSupport):
    """Tells the partitioner which calls are known."""

    def __init__(self, known: set[fx.Node]) -> None:
        super().__init__()
        self.known = known

    def is_node_supported(self, submodules: Any, node: fx.Node) -> bool:  # noqa: ARG002 - torch's interface
        """Whether a call can be in a part."""
        return node in self.known


Kind = tuple[str, torch.dtype, str]
"""Device, type and batch of what one network computes; the batch as text, since it may be open."""


def _kind(node: fx.Node) -> Kind | None:
    """The kind of a call's result; None for what no network computes."""
    value = node.meta.get("val")
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    if not isinstance(first, torch.Tensor) or first.dtype not in DTYPES or not first.dim():
        return None
    return str(first.device), first.dtype, str(first.shape[0])


def _kinds(graph: fx.Graph, fixed: dict[str, Fixed]) -> list[Kind]:
    """The kinds that are worth a part."""
    _, known = _tried(graph, fixed, set())
    anchors = (n for n in graph.nodes if n in known and operator_name(n.target) in ANCHORS)
    return list(dict.fromkeys(kind for n in anchors if (kind := _kind(n)) is not None))


def _partitions(
    module: fx.GraphModule, fixed: dict[str, Fixed], kind: Kind
) -> tuple[CapabilityBasedPartitioner, list[Any]]:
    """The parts of one kind, each with all the steps of a layer or none, and the partitioner that makes them."""
    refused: set[fx.Node] = set()
    while True:
        values, known = _tried(module.graph, fixed, refused)
        known = {node for node in known if _kind(node) == kind}
        partitioner = CapabilityBasedPartitioner(module, _Support(known), allows_single_node_partition=True)
        proposed = partitioner.propose_partitions()
        place = {node: number for number, partition in enumerate(proposed) for node in partition.nodes}
        # What is half a layer, or a tuple, cannot leave a part: then its step is not taken either.
        torn = {
            node
            for node in known
            if not isinstance(values[node], Ref)
            # The partitioner puts every item of a tuple with what makes it, whether it is known or not.
            and any(user not in known or place.get(user) != place.get(node) for user in node.users)
        }
        if not torn:
            return partitioner, [p for p in proposed if any(operator_name(node.target) in ANCHORS for node in p.nodes)]
        refused |= torn


def _fold(module: fx.GraphModule, fixed: dict[str, Fixed]) -> None:
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
            fixed[constant.name] = value
    module.graph.eliminate_dead_code()


def _tried(
    graph: fx.Graph, fixed: dict[str, Fixed], refused: set[fx.Node]
) -> tuple[dict[fx.Node, Value], set[fx.Node]]:
    """The values of all calls that can be read, with a fresh input in place of each that cannot."""
    known: set[fx.Node] = set()

    def read(maps: frozenset[fx.Node]) -> Reader:
        reader = Reader(Builder("Part", origin="the graph"), name_of=lambda *_: "", maps=maps)
        known.clear()
        for node in graph.nodes:
            if node.name in fixed:
                reader.placeholder(node, fixed[node.name])
            elif node.op == "call_function" and node not in refused and _is_plain(node, reader.values):
                reader.call(node)
                if node in reader.values:
                    known.add(node)
                else:
                    _fresh(reader, node)
            else:
                _fresh(reader, node)
        return reader

    return read_again(read).values, known


def _is_plain(node: fx.Node, values: Mapping[fx.Node, Value]) -> bool:
    """Whether all that a call reads and makes, parameters apart, is of one kind."""
    tensors = [n for n in node.all_input_nodes if not isinstance(values.get(n), Fixed) and not _is_size(n)]
    kinds = {_kind(n) for n in (node, *tensors)}
    return not tensors or (len(kinds) == 1 and None not in kinds)


def _is_size(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), (int, torch.SymInt))


def _fresh(reader: Reader, node: fx.Node) -> None:
    """Take a call's result as an input."""
    value = node.meta.get("val")
    type_ = tensor_type(value.shape) if isinstance(value, torch.Tensor) and _kind(node) is not None else None
    if _is_size(node):
        reader.placeholder(node, Size())
    elif type_ is not None:
        reader.placeholder(node, Ref(reader.builder.input("x", type_)))
    else:
        reader.broken.add(node)
        return
    reader.broken.discard(node)


# --- a part ------------------------------------------------------------------------------------------


def _replace(module: fx.GraphModule, call: fx.Node, fixed: dict[str, Fixed]) -> bool:
    """Put a network in the place of a graph's part; whether that can be done."""
    body = module.get_submodule(str(call.target))
    assert isinstance(body, fx.GraphModule)
    sources = [source for source in call.args if isinstance(source, fx.Node)]
    inputs = list(zip((n for n in body.graph.nodes if n.op == "placeholder"), sources, strict=True))
    moving = tuple(i for i, source in enumerate(sources) if source.name not in fixed and not _is_size(source))
    found: Any = body.graph.output_node().args[0]
    results = list(found) if isinstance(found, (list, tuple)) else [found]
    outputs = [("main" if i == 0 else f"output{i}", node) for i, node in enumerate(results)]

    def read(maps: frozenset[fx.Node]) -> Reader:
        reader = Reader(Builder("Part", origin="a part"), name_of=lambda node, _: module_of(node), maps=maps)
        for number, (node, source) in enumerate(inputs):
            if _is_size(source):
                reader.placeholder(node, Size())
            elif number not in moving:
                reader.placeholder(node, fixed[source.name])
            else:
                type_ = tensor_type(source.meta["val"].shape)
                assert type_ is not None, "no part has such an input"
                reader.placeholder(node, Ref(reader.builder.input(f"x{number}", type_)))
        for node in body.graph.nodes:
            if node.op == "call_function":
                reader.call(node)
        return reader

    try:
        reader = read_again(read)
        reader.outputs(outputs)
        made = imported(reader.builder.finish())
    except CnnError as error:
        log.warning("a part is left to torch: %s", error)
        return False
    example = sources[moving[0]].meta["val"]
    network = made.compile(device=example.device, dtype=example.dtype)
    strides = tuple(_strides(node) for node in results)
    part = Part(network, made.text, moving=moving, outputs=tuple(name for name, _ in outputs), strides=strides)
    module.add_submodule(str(call.target), part)
    return True


def _strides(node: fx.Node) -> tuple[int, ...] | None:
    """A result's strides where they are known."""
    strides = node.meta["val"].stride()
    return tuple(strides) if all(isinstance(s, int) for s in strides) else None
