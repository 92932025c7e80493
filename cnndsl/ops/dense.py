"""The fully connected layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnndsl.ir import TensorType
from cnndsl.ops.base import Op, Weight
from cnndsl.ops.fields import arg, count, flag

if TYPE_CHECKING:
    import torch


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
