"""A torch module, as `torch.export` sees it, as a `Model`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from cnndsl.errors import CnnError, problem, reason_of
from cnndsl.exchange.model import Builder, Model
from cnndsl.exchange.torch.graphs import Reader, module_of, tensor_type
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
    inputs = (example_input,) if isinstance(example_input, torch.Tensor) else tuple(example_input)
    for x in inputs:
        if not isinstance(x, torch.Tensor) or tensor_type(x.shape) is None:
            found = list(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            raise _mistake(title, f"an input must be a tensor [n, C, H, W] or [n, features], not {found}")
    if module.training:
        raise _mistake(title, "it is in training mode", "call `module.eval()` first")
    program = _exported(module, inputs, title)
    builder = Builder(title, origin=title)
    constants = _constants(program)
    reader = Reader(builder, name_of=_name)
    images = iter(_input_names(program, len(inputs)))
    outputs: list[tuple[str, Any]] = []
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
            case "output":
                outputs = _named_outputs(program, list(node.args[0]))
    reader.outputs(outputs)
    return builder.finish()


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
    """The outputs with the names that a dict or named tuple gives them."""
    names = [f"output{number}" for number in range(len(nodes))]
    context = getattr(program.call_spec.out_spec, "context", None)
    if isinstance(context, list) and len(context) == len(nodes):
        names = [str(key) for key in context]
    elif isinstance(context, type) and hasattr(context, "_fields") and len(context._fields) == len(nodes):
        names = list(context._fields)
    return list(zip(names, nodes, strict=True))


def _name(node: fx.Node, values: Sequence[Value]) -> str:
    """The path of the module whose parameters a call reads, else of the module that it stands in."""
    for value in values:
        if isinstance(value, Fixed) and "." in value.path:
            return value.path.rpartition(".")[0]
    return module_of(node)
