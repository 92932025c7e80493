"""Checking what the caller passes to a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cnndsl.errors import CnnError, Diagnostic, diagnostic, problem
from cnndsl.figures import counted
from cnndsl.ir import Graph, Node

_COMPUTED = (torch.float32, torch.float16, torch.bfloat16)
"""What a network can be compiled for."""


def check_inputs(
    graph: Graph,
    inputs: Sequence[object],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> int:
    """The batch size of inputs that suit a network.

    Raises CnnError with all that is wrong: E0501 shape, E0502 type, E0503 device, E0505 number.
    """
    nodes = graph.inputs
    if len(inputs) != len(nodes):
        names = ", ".join(f"{node.name} {_shown(node)}" for node in nodes)
        raise problem("E0505", f"{graph.name} takes {counted(len(nodes), 'input')} ({names}), got {len(inputs)}")
    found: list[Diagnostic] = []
    for node, x in zip(nodes, inputs, strict=True):
        if not isinstance(x, torch.Tensor):
            message = f"input `{node.name}` must be a torch tensor, got {type(x).__name__}"
            found.append(diagnostic("E0502", message, help=("torch.from_numpy(x) makes one of an array",)))
            continue
        if x.is_nested:
            found.append(diagnostic("E0502", f"input `{node.name}` is a nested tensor; it must be dense"))
            continue
        found.extend(_shape(node, x))
        if dtype is not None and x.dtype != dtype:
            message = f"input `{node.name}` is {x.dtype}, but this network was compiled for {dtype}"
            other = f", or compile with dtype={x.dtype}" if x.dtype in _COMPUTED else ""
            found.append(diagnostic("E0502", message, help=(f"pass x.to({dtype}){other}",)))
        elif not x.is_floating_point():
            found.append(diagnostic("E0502", f"input `{node.name}` is {x.dtype}; it must be floating point"))
        if device is not None and x.device != device:
            message = f"input `{node.name}` is on {x.device}, but this network was compiled for {device}"
            other = f', or compile with device="{x.device}"' if x.device.type in {"cpu", "cuda"} else ""
            found.append(diagnostic("E0503", message, help=(f'pass x.to("{device}"){other}',)))
        elif x.layout != torch.strided:
            found.append(diagnostic("E0502", f"input `{node.name}` is {x.layout}; it must be dense"))
    if not found:
        batches = {x.shape[0] for x in inputs if isinstance(x, torch.Tensor)}
        if len(batches) == 1:
            return batches.pop()
        found.append(diagnostic("E0501", f"the inputs have different batch sizes: {sorted(batches)}"))
    raise CnnError(found)


def _shown(node: Node) -> str:
    return "[n, " + ", ".join(map(str, node.type.torch_shape)) + "]"


def _shape(node: Node, x: torch.Tensor) -> list[Diagnostic]:
    expected, shape = node.type.torch_shape, tuple(x.shape)
    if x.ndim == len(expected) + 1 and shape[1:] == expected:
        return []
    message = f"input `{node.name}` must be {_shown(node)}, got {list(shape)}"
    notes = ("torch's order: batch, channels, height, width",) if node.type.is_map else ()
    hint: tuple[str, ...] = ()
    if shape == expected:
        hint = ("the batch is missing: pass x[None]",)
    elif node.type.is_map and shape[1:] == node.type.shape and len(shape) == 4:
        hint = ("this is height, width, channels: pass x.permute(0, 3, 1, 2)",)
    elif node.type.is_map and shape == node.type.shape:
        hint = ("this is height, width, channels: pass x.permute(2, 0, 1)[None]",)
    return [diagnostic("E0501", message, notes=notes, help=hint)]
