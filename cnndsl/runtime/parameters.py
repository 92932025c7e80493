"""A network's tensors as a torch state dict under the names of its ``.cnn`` file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from cnndsl.ir import Graph, Node
from cnndsl.ops.base import Weight
from cnndsl.weights.shapes import Role, TensorSpec


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

    def __setattr__(self, name: str, value: Any) -> None:
        # torch refuses to set an attribute that a part is called after, and sets `training` in eval() itself.
        if name in self.__dict__:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,  # noqa: FBT001 - torch's own signature
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # torch's batch norms count the batches of their training, which nothing here has a use for.
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        counter = f"{prefix}num_batches_tracked"
        if "running_mean" in self._buffers and counter in unexpected_keys:
            unexpected_keys.remove(counter)


def register(
    root: nn.Module, tensors: dict[str, torch.Tensor], graph: Graph, *, device: torch.device
) -> None:
    """Put the values of tensors into a module tree so that `state_dict` gives them under their keys.

    All values are copied, in fp32: a caller's tensor may change later, and a file's is mapped memory that is gone
    when the file is overwritten. `tensors` is emptied on the way, so that what nobody else holds is freed. Where the
    tree is there already its tensors stay and take the new values.

    The tree is built by hand because `add_module` refuses names that a module has already: a layer may well be
    called `type` or `half`.
    """
    present = {t.untyped_storage().data_ptr() for t in (*root.parameters(), *root.buffers())}
    # Changes of tensors made in inference mode could not be noticed.
    with torch.inference_mode(mode=False), torch.no_grad():
        for key, tensor in tensors.items():
            if tensor.untyped_storage().data_ptr() in present:
                tensors[key] = tensor.clone()  # one of the tree's own, which may be overwritten before it is read
        for key, (_, weight) in weights_of(graph).items():
            *path, name = key.split(".")
            module = root
            for part in path:
                module = module._modules.setdefault(part, Path()) or module
            own = (module._parameters if weight.learned else module._buffers).get(name)
            if own is None or own.is_inference():
                own = torch.empty(weight.shape, dtype=torch.float32, device=device)
                if weight.learned:
                    module._parameters[name] = nn.Parameter(own, requires_grad=False)
                else:
                    module._buffers[name] = own
            own.copy_(tensors.pop(key))


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


class Watch:
    """Notices when a tensor in a module tree was replaced or written to.

    That takes less than a microsecond for each tensor, so it can be asked before every call. torch counts what is
    written, but not through ``.data`` and not to tensors of inference mode: a tree with one of those counts as
    changed always.
    """

    def __init__(self, root: nn.Module) -> None:
        modules = list(root.modules())
        self._parts = [(m._modules, name, part) for m in modules for name, part in m._modules.items()]
        tensors = [(d, name, t) for m in modules for d in (m._parameters, m._buffers) for name, t in d.items()]
        self._blind = any(t is not None and t.is_inference() for _, _, t in tensors)
        self._tensors = [
            (holder, name, t, t._version, t.data_ptr(), t.stride())
            for holder, name, t in tensors
            if t is not None and not self._blind
        ]
        # Held, so that a tensor that comes later cannot take the same address.
        self._memory = [t.untyped_storage() for _, _, t in tensors if t is not None]

    def unchanged(self) -> bool:
        """Whether all tensors are those of the beginning, with the values that they had."""
        return (
            not self._blind
            and all(parts.get(name) is part for parts, name, part in self._parts)
            and all(
                holder.get(name) is t and t._version == version and t.data_ptr() == address and t.stride() == strides
                for holder, name, t, version, address, strides in self._tensors
            )
        )


def by_layer(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of a state dict by their layer's name, then by their own last name."""
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        layer, _, name = key.rpartition(".")
        layers.setdefault(layer, {})[name] = tensor.detach()
    return layers
