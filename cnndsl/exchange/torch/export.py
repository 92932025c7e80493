"""A torch module, as `torch.export` sees it, as a `Model`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from cnndsl.errors import CnnError, listed, problem, reason_of
from cnndsl.exchange.model import Builder, Model
from cnndsl.exchange.torch.graphs import Reader, module_of, tensor_type
from cnndsl.exchange.torch.maps import read_again
from cnndsl.exchange.torch.values import Fixed, Ref, Value
from cnndsl.runtime import device


def read_module(
    module: torch.nn.Module, example_input: torch.Tensor | Sequence[torch.Tensor], *, name: str | None = None
) -> Model:
    """The network that a module computes at inference.

    `example_input` is a tensor [n, C, H, W] or [n, features], or several; their values play no part, and another n
    gives the same network. Layers are named by the paths of their parameters, so that the keys of the module's state
    dict can be kept. Raises CnnError: E0831 where `torch.export` cannot follow the module, E0832 for operators that are
    no layers, E0801 for layers that do not fit.
    """
    title = name or type(module).__name__
    inputs = tuple(example_input) if isinstance(example_input, (tuple, list)) else (example_input,)
    _check(module, inputs, title)
    program = _exported(module, inputs, title)
    constants = _constants(program)
    names = _Names(module)
    reader = read_again(lambda maps: _read(program, constants, names, title=title, count=len(inputs), maps=maps))
    for node in program.graph.nodes:
        uses = sum(isinstance(reader.values.get(user), Ref) for user in node.users)
        if node.op == "placeholder" and node.name in constants and uses > 1:
            reader.builder.note(f"`{constants[node.name].path}` is used {uses} times: each use has a copy")
    types = {str(node.meta["val"].dtype).removeprefix("torch.") for node in program.graph.nodes if _is_float(node)}
    if len(types) > 1:
        reader.builder.note(f"the module computes in {listed(sorted(types))}: a network computes in one type")
    outputs = _named_outputs(program, list(program.graph.output_node().args[0]))
    reader.outputs(outputs)
    return reader.builder.finish()


def _check(module: torch.nn.Module, inputs: tuple[Any, ...], title: str) -> None:
    """Raise CnnError (E0831) for what cannot be exported."""
    if not isinstance(module, torch.nn.Module):
        raise _mistake(title, "it is no torch.nn.Module")
    for x in inputs:
        if not isinstance(x, torch.Tensor) or tensor_type(x.shape) is None:
            found = list(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            raise _mistake(title, f"an input must be a tensor [n, C, H, W] or [n, features], not {found}")
    if module.training:
        raise _mistake(title, "it is in training mode", "call `module.eval()` first")
    for name, tensor in module.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.is_meta:
            raise _mistake(title, f"its `{name}` has a shape and no values", "build it on a device other than `meta`")


def _read(
    program: torch.export.ExportedProgram, constants: Mapping[str, Fixed], name_of: _Names, *, title: str, count: int,
    maps: frozenset[fx.Node],
) -> Reader:  # fmt: skip
    """A reader that has read all calls of a program."""
    builder = Builder(title, origin=title)
    reader = Reader(builder, name_of=name_of, maps=maps)
    images = iter(_input_names(program, count))
    for node in program.graph.nodes:
        match node.op:
            case "placeholder" if node.name in constants:
                reader.placeholder(node, constants[node.name])
            case "placeholder":
                type_ = tensor_type(node.meta["val"].shape)
                assert type_ is not None
                reader.placeholder(node, Ref(builder.input(next(images, node.name), type_)))
            case "call_function":
                reader.call(node)
    return reader


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _mistake(title: str, reason: str, *helps: str) -> CnnError:
    return problem("E0831", f"cannot take {title}: {reason}", help=helps)


def _exported(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], title: str) -> torch.export.ExportedProgram:
    # torch.export imports Triton, which is set up once for a process: for the GPU, or for its interpreter without one.
    with contextlib.suppress(CnnError):
        device.choose(None)
    try:
        with torch.no_grad():
            return torch.export.export(module, inputs)
    except Exception as error:  # torch raises anything for what it cannot follow
        raise _mistake(title, f"torch.export cannot follow it: {reason_of(error)}") from error


def _constants(program: torch.export.ExportedProgram) -> dict[str, Fixed]:
    """The parameters, buffers and constants of a program by its placeholders' names."""
    signature = program.graph_signature
    state: Mapping[str, Any] = program.state_dict
    found: dict[str, Fixed] = {}
    paths = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for name, path in paths.items():
        tensor = state[path] if path in state else program.constants[path]
        found[name] = Fixed(tensor.detach(), path)
    for name, path in signature.inputs_to_lifted_tensor_constants.items():
        found[name] = Fixed(program.constants[path])
    return found


def _input_names(program: torch.export.ExportedProgram, count: int) -> list[str]:
    """One input is called image, as in every example; several keep the names of the module's arguments."""
    return ["image"] if count == 1 else list(program.graph_signature.user_inputs)


def _named_outputs(program: torch.export.ExportedProgram, nodes: list[Any]) -> list[tuple[str, Any]]:
    """The outputs with the names that a dict or named tuple gives them; what is None there is none."""
    names = [f"output{number}" for number in range(len(nodes))]
    context = getattr(program.call_spec.out_spec, "context", None)
    if isinstance(context, list) and len(context) == len(nodes):
        names = [str(key) for key in context]
    elif isinstance(context, type) and hasattr(context, "_fields") and len(context._fields) == len(nodes):
        names = list(context._fields)
    return [(name, node) for name, node in zip(names, nodes, strict=True) if node is not None]


class _Names:
    """Names layers by their weights, so that the keys of the module's state dict can be kept."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.keys = frozenset(module.state_dict())

    def __call__(self, node: fx.Node, values: Sequence[Value]) -> str:
        """The module that a call stands in where that has weights of a layer, else the one that its weights are of."""
        own = module_of(node)
        paths = [value.path for value in values if isinstance(value, Fixed) and "." in value.path]
        # A weight that two modules share has the name that it has in the first of them.
        if not paths or self.keys & {f"{own}.weight", f"{own}.running_mean"}:
            return own
        return paths[0].rpartition(".")[0]
