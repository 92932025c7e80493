"""A network's tensors as a torch state dict under the names of its ``.cnn`` file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from cnndsl.ir import Graph, Node
from cnndsl.ops.base import Weight
from cnndsl.runtime.shapes import Role, TensorSpec


def weights_of(graph: Graph) -> dict[str, tuple[Node, Weight]]:
    """Every tensor of the state dict by its key, in the order of the layers."""
    return {
        f"{node.name}.{weight.name}": (node, weight)
        for node in graph.nodes
        if node.op is not None
        for weight in node.op.weights(*graph.types_of(node))
    }


def specs_of(graph: Graph) -> dict[str, TensorSpec]:
    """What `cnndsl.runtime.weights` needs to know of each tensor."""
    return {
        key: TensorSpec(shape=weight.shape, role=cast(Role, weight.role), fan_in=weight.fan_in)
        for key, (_, weight) in weights_of(graph).items()
    }


class Path(nn.Module):
    """One part of a layer's path. Holds parts and tensors under names that torch itself would refuse."""


def register(root: nn.Module, tensors: Mapping[str, torch.Tensor], graph: Graph) -> None:
    """Put tensors into a module tree so that `state_dict` gives them under their keys.

    The tree is built by hand because `add_module` refuses names that a module has already: a layer may well be
    called `type` or `half`.
    """
    for key, (_, weight) in weights_of(graph).items():
        *path, name = key.split(".")
        module = root
        for part in path:
            module = module._modules.setdefault(part, Path()) or module
        if weight.learned:
            module._parameters[name] = nn.Parameter(tensors[key], requires_grad=False)
        else:
            module._buffers[name] = tensors[key]


def tensors_of(root: nn.Module, graph: Graph) -> dict[str, torch.Tensor]:
    """The tensors that `register` put there, by key."""
    found: dict[str, torch.Tensor] = {}
    for key, (_, weight) in weights_of(graph).items():
        *path, name = key.split(".")
        module = root
        for part in path:
            inner = module._modules[part]
            assert inner is not None
            module = inner
        tensor = (module._parameters if weight.learned else module._buffers)[name]
        assert tensor is not None
        found[key] = tensor
    return found
