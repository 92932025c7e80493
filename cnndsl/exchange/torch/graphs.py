"""From a graph of ATen operators to a `Model`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import getitem
from typing import Any

import torch
from torch import fx

from cnndsl.errors import CnnError, Diagnostic, diagnostic, did_you_mean
from cnndsl.exchange.model import Builder
from cnndsl.exchange.torch.call import Call
from cnndsl.exchange.torch.operators import OPERATORS
from cnndsl.exchange.torch.values import Outside, Ref, Value
from cnndsl.ir import TensorType

VIEWS = frozenset({
    "view", "reshape", "_unsafe_view", "flatten", "unsqueeze", "squeeze", "transpose", "permute", "t", "alias",
    "detach", "contiguous",
})  # fmt: skip
"""Operators whose result may lie where their argument does, so that changing one in place changes the other."""

COPIES = frozenset({"clone", "lift_fresh_copy"})
"""Operators that change nothing but where a tensor lies."""


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

    def __init__(self, builder: Builder, *, name_of: Callable[[fx.Node, Sequence[Value]], str]) -> None:
        """`name_of` gives the layer's name for a call and the values of its tensors."""
        self.builder, self.name_of = builder, name_of
        self.values: dict[fx.Node, Value] = {}
        self.roots: dict[fx.Node, fx.Node] = {}
        self.mistakes: list[Diagnostic] = []
        self.broken: set[fx.Node] = set()

    def placeholder(self, node: fx.Node, value: Value) -> None:
        """Give an input of the graph its value."""
        self.values[node] = value

    def call(self, node: fx.Node) -> None:
        """Read a call; what cannot be read is kept as a mistake, and what depends on it is passed over."""
        if any(source in self.broken for source in node.all_input_nodes):
            self.broken.add(node)
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
        if not self.mistakes:
            for name, node in found:
                value = self.values.get(node) if isinstance(node, fx.Node) else None
                if not isinstance(value, Ref):
                    raise self.builder.mistake(f"its output {name} is no layer's result")
                self.builder.output(name, value.name)
        if self.mistakes:
            raise CnnError(self.mistakes)

    def _value(self, node: fx.Node) -> Value:
        if node.target is getitem:
            source, index = node.args
            assert isinstance(source, fx.Node)
            assert isinstance(index, int)
            whole = self.values[source]
            assert isinstance(whole, tuple)
            part: Value | None = whole[index]
            if part is None and not node.users:
                return ()
            if part is None:
                raise Outside("its result is used, which a network at inference does not make")
            return part
        name = operator_name(node.target)
        read = OPERATORS.get(name or "")
        if read is None:
            near = did_you_mean(name, OPERATORS) if name else None
            raise Outside("no layer of the language computes it", nearest=near)
        target: Any = node.target
        schema = target._schema  # noqa: SLF001 - the schema has no other door
        given = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | dict(node.kwargs)
        arguments = {a.name: self._argument(given.get(a.name, a.default_value)) for a in schema.arguments}
        arguments = {name: v for name, v in arguments.items() if name != "memory_format"}
        value = node.meta.get("val")
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
        tensors = [self.values[source] for source in node.all_input_nodes]
        result = read(Call(self.builder, arguments, shape, self.name_of(node, tensors)))
        self._alias(node, name or "", schema, result)
        return result

    def _argument(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return self.values[value]
        if isinstance(value, (list, tuple)):
            return [self._argument(v) for v in value]
        return value

    def _alias(self, node: fx.Node, name: str, schema: Any, result: Value) -> None:
        """Follow what is changed in place: from here on, the argument's name means the result."""
        source = node.all_input_nodes[0] if node.all_input_nodes else None
        if source is None:
            return
        root = self.roots.get(source, source)
        written = schema.arguments[0].alias_info
        in_place = written is not None and written.is_write
        unchanged = self.values[source] == result
        if name in VIEWS or (unchanged and not in_place and name not in COPIES):
            self.roots[node] = root
        if not in_place or unchanged:
            return
        family = [other for other in (root, *self.roots) if self.roots.get(other, other) is root]
        others = [other for other in family if other is not source]
        later = {user for other in others for user in other.users if user > node}
        if later:
            raise Outside(f"it changes {source} in place, of which another view is read later")
        self.values[source] = result
        self.roots[node] = root

    def _mistake(self, node: fx.Node, reason: Outside) -> Diagnostic:
        operator = str(node.target).removesuffix(".default")
        module = module_of(node)
        where = f"`{node.name}`" + (f" in `{module}`" if module else "")
        helps = (f"the nearest layer is `{reason.nearest}`",) if reason.nearest else ()
        return diagnostic("E0832", f"cannot take {self.builder.origin}: {operator} ({where}): {reason}", help=helps)


def module_of(node: fx.Node) -> str:
    """The path of the innermost module that a call came from; empty where that is not known."""
    stack: Mapping[str, Any] = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return str(path).removeprefix("L['self'].").removeprefix("L['self']")


