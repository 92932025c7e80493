"""The fully connected layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnndsl.ir import TensorType
from cnndsl.ops import linear, pool_linear
from cnndsl.ops.base import Op, Weight
from cnndsl.ops.conv import Conv
from cnndsl.ops.fields import arg, count, flag
from cnndsl.ops.fusion import Edge, Obstacle
from cnndsl.ops.global_pool import GlobalAvgPool
from cnndsl.ops.packing import fold

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.binding import Launch, Site
    from cnndsl.ops.packing import Folded


@dataclass(frozen=True)
class Dense(Op):
    """Fully connected layer: every unit sees every input value.

    A feature map is flattened by itself, in C, H, W order as torch does, so weights of published networks fit
    without a `flatten` before.
    """

    name = "dense"
    family = "Convolution and dense"
    example = "dense(4096)"
    takes_activation = True
    takes_residual = True

    units: int = arg(count(), "output features")
    bias: bool = arg(flag(), "whether a bias per unit is added", default=True)

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle(
            "whole picture", f"each unit of {edge.reader} needs all {edge.x.size:,} values of a picture"
        )

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType((self.units,))

    def weights(self, *xs: TensorType) -> tuple[Weight, ...]:
        fan_in = xs[0].size
        weight = Weight("weight", (self.units, fan_in), "weight", fan_in)
        return (weight, Weight("bias", (self.units,), "bias", fan_in)) if self.bias else (weight,)

    def macs(self, xs: Sequence[TensorType], y: TensorType) -> int:
        return xs[0].size * self.units

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        return f.linear(xs[0].flatten(1), weights["weight"], weights.get("bias"))

    def pack(
        self, xs: Sequence[TensorType], weights: Mapping[str, torch.Tensor], folded: Sequence[Folded]
    ) -> dict[str, torch.Tensor]:
        (x,) = xs

        def spread(values: torch.Tensor) -> torch.Tensor:
            # One for each channel of a map, whose columns are in C, H, W order, or for each column.
            return values.repeat_interleave(x.size // len(values))[None]

        weight, bias = fold(weights["weight"], weights.get("bias"), folded, spread=spread)
        if x.height * x.width > 1:
            # Columns in the order in which the input lies in memory: height, width, channel.
            weight = weight.unflatten(1, (x.channels, x.height, x.width)).permute(0, 2, 3, 1).flatten(1)
        weight = weight.contiguous()
        return {"weight": weight} if bias is None else {"weight": weight, "bias": bias}

    def packed_shapes(self, xs: Sequence[TensorType], *, folded: bool) -> dict[str, tuple[int, ...]]:
        rows = (self.units, xs[0].size)
        return {"weight": rows, "bias": (self.units,)} if self.bias or folded else {"weight": rows}

    def obstacle(self, source: Op, edge: Edge) -> Obstacle | None:
        if isinstance(source, GlobalAvgPool):
            return pool_linear.obstacle(self.units, edge)
        return self.apart(edge)

    def lower(self, site: Site) -> tuple[Launch, ...]:
        x, has_bias = site.xs[0], self.bias or bool(site.node.folded)
        if isinstance(site.first, GlobalAvgPool):
            return (pool_linear.lower(site, units=self.units, has_bias=has_bias),)
        if x.dense:
            return (linear.lower(site, units=self.units, has_bias=has_bias),)
        # A caller's tensor or a slice of a wider buffer: as the convolution whose window is the whole map, which reads
        # any strides.
        return Conv(self.units, (x.type.height, x.type.width), bias=self.bias).lower(site)
