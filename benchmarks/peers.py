"""The same network in plain torch: what ours is compared with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from cnndsl.ir import Graph, Node
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.normalize import BatchNorm, LocalResponseNorm
from cnndsl.ops.pool import MaxPool
from cnndsl.ops.reshape import Flatten
from cnndsl.runtime.executor import Network


class _Other(nn.Module):
    """A layer without weights, by the function of torch that has its meaning."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.op = op

    def forward(self, *xs: torch.Tensor) -> torch.Tensor:
        return self.op.reference(xs, {})


def _dense(op: Dense, node: Node, graph: Graph) -> nn.Module:
    (x,) = graph.types_of(node)
    linear = nn.Linear(x.size, op.units, bias=op.bias)
    return nn.Sequential(nn.Flatten(), linear) if x.is_map else linear


def _module(node: Node, graph: Graph) -> nn.Module:
    """The layer as its author would write it with torch.nn, weights still to be set."""
    channels = graph.types_of(node)[0].channels
    match node.op:
        case Conv(pad=(top, bottom, left, right)) as op if (top, left) == (bottom, right):
            return nn.Conv2d(
                channels, op.filters, op.kernel, stride=op.stride, padding=(top, left), dilation=op.dilation,
                groups=op.groups, bias=op.bias,
            )  # fmt: skip
        case Conv(pad=(top, bottom, left, right)) as op:
            conv = nn.Conv2d(
                channels, op.filters, op.kernel, stride=op.stride, dilation=op.dilation, groups=op.groups,
                bias=op.bias,
            )  # fmt: skip
            return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), conv)
        case Dense() as op:
            return _dense(op, node, graph)
        case BatchNorm() as op:
            kind = nn.BatchNorm2d if graph.types_of(node)[0].is_map else nn.BatchNorm1d
            return kind(channels, op.eps, affine=op.affine)
        case LocalResponseNorm() as op:
            return nn.LocalResponseNorm(op.size, op.alpha, op.beta, op.k)
        case MaxPool(pad=(top, bottom, left, right)) as op if (top, left) == (bottom, right):
            assert op.stride is not None
            return nn.MaxPool2d(op.kernel, op.stride, (top, left), ceil_mode=op.ceil)
        case Flatten():
            return nn.Flatten()
        case Op(name="relu"):
            # In place, as published networks have it, where nobody else reads the input.
            source = graph.by_name[node.inputs[0]]
            alone = len(graph.users[source.name]) == 1 and source.op is not None
            return nn.ReLU(inplace=alone and source.name not in {name for _, name in graph.outputs})
        case Op(transparent=True):
            return nn.Identity()
        case Op() as op:
            return _Other(op)
    raise AssertionError(node)


def _fill(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Set the weights of the one layer in `module` that has any."""
    own = {key.rpartition(".")[2]: tensor for key, tensor in module.state_dict().items() if tensor.ndim}
    assert set(own) == set(tensors)
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


class TorchNetwork(nn.Module):
    """A compiled network's layers as modules of torch.nn, with its weights, wired as its graph says."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        graph, weights = net.graph, net.state_dict()
        self.layers = nn.ModuleList()
        self.reads: list[tuple[int, ...]] = []
        places = {node.name: place for place, node in enumerate(graph.inputs)}
        self.inputs = len(places)
        for node in graph.nodes:
            if node.op is None:
                continue
            module = _module(node, graph)
            mine = {k.rpartition(".")[2]: t for k, t in weights.items() if k.rpartition(".")[0] == node.name}
            _fill(module, mine)
            self.layers.append(module)
            self.reads.append(tuple(places[name] for name in node.inputs))
            places[node.name] = len(places)
        self.outputs = {output: places[name] for output, name in graph.outputs}
        last = {place: step for step, reads in enumerate(self.reads) for place in reads}
        kept = set(self.outputs.values())
        self.drops = [
            tuple(p for p in set(reads) if last[p] == step and p not in kept)
            for step, reads in enumerate(self.reads)
        ]

    def forward(self, *xs: torch.Tensor) -> dict[str, torch.Tensor]:
        values: list[Any] = list(xs)
        for layer, reads, drops in zip(self.layers, self.reads, self.drops, strict=True):
            values.append(layer(*(values[place] for place in reads)))
            for place in drops:
                values[place] = None
        return {output: values[place] for output, place in self.outputs.items()}


def torch_network(net: Network, inputs: Sequence[torch.Tensor]) -> nn.Module:
    """The peer of a compiled network: same weights, device and type, channels_last, ready for inference."""
    with torch.no_grad():
        peer = TorchNetwork(net).to(device=inputs[0].device, dtype=inputs[0].dtype)
    return peer.to(memory_format=torch.channels_last).eval().requires_grad_(requires_grad=False)
