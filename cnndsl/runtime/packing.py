"""The tensors that kernels read, made of those of the state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch

from cnndsl.ir import Node
from cnndsl.ops.packing import Folded, side_by_side
from cnndsl.passes.fuse import Groups
from cnndsl.runtime import parameters


def pack(
    groups: Groups,
    tensors: Mapping[str, torch.Tensor],
    dtype: torch.dtype,
    *,
    device: torch.device,
    packed: dict[str, torch.Tensor],
) -> None:
    """Add every layer's packed tensors, by node name and last name, to those that are there."""
    graph, layers = groups.graph, parameters.by_layer(tensors)

    def of(node: Node) -> Mapping[str, torch.Tensor]:
        assert node.op is not None
        folded = [Folded(cast(Any, n.op), layers[n.name], n.before, n.channels) for n in node.folded]
        return node.op.pack(graph.types_of(node), layers.get(node.name, {}), folded)

    for group in groups.groups:
        whole, *others = group.packed
        anchors = [one.anchor for one in group.members]
        for node, parts in ((whole, anchors), *((node, [node]) for node in others)):
            assert node.op is not None
            expected = node.op.packed_shapes(graph.types_of(node), folded=bool(node.folded))
            if all(f"{node.name}.{name}" in packed for name in expected):
                continue
            made = side_by_side([of(part) for part in parts])
            assert {name: tuple(tensor.shape) for name, tensor in made.items()} == expected
            for name, tensor in made.items():
                packed[f"{node.name}.{name}"] = tensor.to(device, dtype if name == "weight" else torch.float32)
