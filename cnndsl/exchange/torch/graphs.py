"""From a graph of ATen operators to a `Model`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from operator import getitem
from typing import Any

import torch
from torch import fx

from cnndsl.errors import CnnError, Diagnostic, diagnostic
from cnndsl.exchange.model import Builder
from cnndsl.exchange.torch.call import Call
from cnndsl.exchange.torch.maps import DENSE, RESHAPES, behind
from cnndsl.exchange.torch.operators import NEAREST, OPERATORS
from cnndsl.exchange.torch.shapes import NeedsMap
from cnndsl.exchange.torch.values import Fixed, Outside, Partial, Ref, Value
from cnndsl.ir import TensorType
from cnndsl.ops.reshape import Flatten


def operator_name(target: Any) -> str | None:
    """The name of an ATen operator without its overload, and without the underscore of one that works in place."""
    if not isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - the public name of the class
        return None
    namespace, _, name = target._schema.name.partition("::")  # noqa: SLF001 - the schema has no other door
    return name.removesuffix("_") if namespace == "aten" else None


def tensor_type(shape: Sequence[int]) -> TensorType | None:
    """The type of a tensor of a network by its shape in torch; None where it is no such tensor."""
    match tuple(shape):
        case (_, int(c), int(h), int(w)) if min(c, h, w) > 0:
            return TensorType((h, w, c))
        case (_, int(features)) if features > 0:
            return TensorType((features,))
    return None


class Reader:
    """Reads the calls of a graph, in order, into a builder."""

    def __init__(
        self, builder: Builder, *, name_of: Callable[[fx.Node, Sequence[Value]], str],
        maps: frozenset[fx.Node] = frozenset(),
    ) -> None:  # fmt: skip
        """`name_of` gives the layer's name for a call and the values of its tensors; `maps` see `torch.maps`."""
        self.builder, self.name_of, self.maps = builder, name_of, maps
        self.values: dict[fx.Node, Value] = {}
        self.mistakes: list[Diagnostic] = []
        self.broken: set[fx.Node] = set()
        self.wanted: set[fx.Node] = set()
        """Calls that must be among `maps` for more of the graph to be read."""
        self._vectors: dict[str, Ref] = {}
        self._lies_in: dict[int, int] = {}
        """Memory that is another one in truth: torch's traces give what `dropout` returns, its input, a place apart."""

    def placeholder(self, node: fx.Node, value: Value) -> None:
        """Give an input of the graph its value."""
        self.values[node] = value

    def call(self, node: fx.Node) -> None:
        """Read a call; what cannot be read is kept as a mistake, and what depends on it is passed over."""
        if any(source in self.broken for source in node.all_input_nodes):
            self.broken.add(node)
            return
        if not node.users and not _is_mutable(node.target):
            self.values[node] = ()  # nobody reads it: an assertion of torch's, or a step that came to nothing
            return
        try:
            self.values[node] = self._value(node)
        except Outside as reason:
            self.broken.add(node)
            self.mistakes.append(self._mistake(node, reason))
        except CnnError as error:
            self.broken.add(node)
            self.mistakes.extend(error.diagnostics)

    def outputs(self, found: Sequence[tuple[str, Any]]) -> None:
        """Declare the outputs by name. Raises CnnError with all mistakes of the graph."""
        if self.mistakes:
            raise CnnError(self.mistakes)
        for name, node in found:
            value = self.values.get(node) if isinstance(node, fx.Node) else None
            if not isinstance(value, Ref):
                shape = list(node.meta["val"].shape) if isinstance(value, Partial) else None
                what = f"has the shape {shape}, which no layer makes" if shape else "is no layer's result"
                raise self.builder.mistake(f"its output {name} {what}")
            self.builder.output(name, self._vector(value).name if node in self.maps else value.name)

    # --- a call ---

    def _value(self, node: fx.Node) -> Value:
        if node.target is getitem:
            return self._item(node)
        tensors = [self.values[source] for source in node.all_input_nodes]
        if all(isinstance(value, Fixed) for value in tensors) and _is_constant(node.target):
            return _computed(node, self.values)
        name = operator_name(node.target)
        read = OPERATORS.get(name or "")
        if _is_mutable(node.target) and isinstance(tensors[0], Fixed):
            raise Outside(f"it changes `{tensors[0].path}`, and a network keeps no state")
        if name is None or read is None:
            raise Outside("no layer of the language computes it", nearest=NEAREST.get(name or ""))
        takes_maps = node in self.maps or name in RESHAPES or name in DENSE
        schema = _schema(node.target)
        given = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | dict(node.kwargs)
        arguments = {
            a.name: self._argument(given.get(a.name, a.default_value), maps=takes_maps)
            for a in schema.arguments
            if a.name != "memory_format"
        }
        value = node.meta.get("val")
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
        if not all(isinstance(size, int) for size in shape[1:]):
            raise Outside("its size is not known before it runs")
        dtype = value.dtype if isinstance(value, torch.Tensor) else None
        call = Call(self.builder, arguments, shape, dtype, self.name_of(node, tensors), node in self.maps)
        try:
            result = read(call)
        except NeedsMap:
            more = behind(node.all_input_nodes[0], lambda n: operator_name(n.target))
            self.wanted |= more or set()
            raise
        self._hold(node, result, shape)
        if name == "dropout" and (memory := _memory(node)) is not None:
            self._lies_in[memory] = self._memory(node.all_input_nodes[0])
        if _is_mutable(node.target):
            self._change(node, result)
        return result

    def _item(self, node: fx.Node) -> Value:
        source, index = node.args
        assert isinstance(source, fx.Node)
        assert isinstance(index, int)
        whole = self.values[source]
        assert isinstance(whole, tuple)
        part: Value | None = whole[index]
        if part is None:
            raise Outside("its result is used, which a network at inference does not make")
        return part

    def _argument(self, value: Any, *, maps: bool) -> Any:
        if isinstance(value, fx.Node):
            found = self.values[value]
            return self._vector(found) if value in self.maps and isinstance(found, Ref) and not maps else found
        if isinstance(value, (list, tuple)):
            return [self._argument(v, maps=maps) for v in value]
        return value

    def _vector(self, value: Ref) -> Ref:
        """What stayed a map, for who needs the vector."""
        if value.name not in self._vectors:
            self._vectors[value.name] = Ref(self.builder.add(Flatten(), value.name))
        return self._vectors[value.name]

    def _hold(self, node: fx.Node, result: Value, shape: tuple[int, ...]) -> None:
        """Hold a layer's shape against torch's, which may have broadcast something. Raises Outside."""
        if not isinstance(result, Ref):
            return
        made = self.builder.type(result.name)
        fits = made.size == prod(shape[1:]) if node in self.maps else made.torch_shape == shape[1:]
        batches = {
            str(source.meta["val"].shape[0]) for source in node.all_input_nodes if isinstance(self.values[source], Ref)
        }
        if not fits or batches - {str(shape[0])}:
            raise Outside(f"it makes {list(shape)}, and a layer makes {['n', *made.torch_shape]}".replace("'", ""))

    # --- what is changed in place ---

    def _change(self, node: fx.Node, result: Value) -> None:
        """Follow a change in place: from here on, all that is the same tensor means the result. Raises Outside."""
        source = node.all_input_nodes[0]
        memory = self._memory(source)
        later = []
        for other in self.values:
            if _memory(other) is not None and self._memory(other) == memory:
                if _place(other) == _place(source):
                    self.values[other] = result
                else:
                    later += [user for user in other.users if user > node]
        if later:
            raise Outside(f"it changes {source} in place, of which another view is read later")

    def _memory(self, node: fx.Node) -> int:
        memory = _memory(node)
        assert memory is not None, "only tensors lie in memory"
        return self._lies_in.get(memory, memory)

    def _mistake(self, node: fx.Node, reason: Outside) -> Diagnostic:
        operator = str(node.target).removesuffix(".default")
        module = module_of(node)
        where = f"`{node.name}`" + (f" in `{module}`" if module else "")
        helps = (f"the nearest layer is `{reason.nearest}`",) if reason.nearest else ()
        return diagnostic("E0832", f"cannot take {self.builder.origin}: {operator} ({where}): {reason}", help=helps)


def _memory(node: fx.Node) -> int | None:
    """Which memory a tensor lies in: the same for all views of one."""
    value = node.meta.get("val")
    return value.untyped_storage()._cdata if isinstance(value, torch.Tensor) else None  # noqa: SLF001 - its identity


def _place(node: fx.Node) -> tuple[Any, ...]:
    value = node.meta["val"]
    return tuple(value.shape), value.stride(), value.storage_offset(), value.dtype


def _schema(target: Any) -> Any:
    return target._schema  # noqa: SLF001 - the schema has no other door


def _is_mutable(target: Any) -> bool:
    """Whether an operator writes values; `detach_` says that it does."""
    name = operator_name(target)
    return name is not None and name != "detach" and bool(_schema(target).is_mutable)


def _is_constant(target: Any) -> bool:
    """Whether an operator computes the same from the same."""
    name = operator_name(target)
    if name is None or _is_mutable(target):
        return False
    return torch.Tag.nondeterministic_seeded not in target.tags and "empty" not in name


def _computed(node: fx.Node, values: Mapping[fx.Node, Value]) -> Value:
    """What is computed from parameters alone. Raises Outside."""
    sources = [values[source] for source in node.all_input_nodes]
    paths = [value.path for value in sources if isinstance(value, Fixed)]

    def tensor(source: fx.Node) -> torch.Tensor:
        value = values[source]
        assert isinstance(value, Fixed)
        return value.tensor

    target: Any = node.target
    try:
        with torch.no_grad():
            result = target(*fx.map_arg(node.args, tensor), **fx.map_arg(node.kwargs, tensor))
    except (RuntimeError, NotImplementedError, MemoryError) as error:
        raise Outside("it cannot be computed from the module's parameters") from error
    path = paths[0] if len(paths) == 1 else ""
    if isinstance(result, (list, tuple)):
        return tuple(Fixed(r, path) if isinstance(r, torch.Tensor) else None for r in result)
    return Fixed(result, path)


def module_of(node: fx.Node) -> str:
    """The path of the innermost module that a call came from; empty where that is not known."""
    stack: Mapping[str, Any] = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return str(path).removeprefix("L['self'].").removeprefix("L['self']")
