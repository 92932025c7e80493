"""Pooling over the whole map, and to a given size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cnndsl.ir import TensorType
from cnndsl.ops.base import Op, need_map
from cnndsl.ops.fields import arg, pair

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _GlobalPool(Op):
    family = "Pooling"
    takes_activation = True
    mode: ClassVar[str]

    def infer(self, *xs: TensorType) -> TensorType:
        (x,) = xs
        need_map(self.name, x)
        return TensorType((1, 1, x.channels))


@dataclass(frozen=True)
class GlobalAvgPool(_GlobalPool):
    """The mean of each channel over all pixels; makes [1x1xC]."""

    name = "globalavgpool"
    example = "globalavgpool"
    mode = "avg"

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return xs[0].mean((2, 3), keepdim=True)


@dataclass(frozen=True)
class GlobalMaxPool(_GlobalPool):
    """The largest value of each channel over all pixels; makes [1x1xC]. NaN wins always."""

    name = "globalmaxpool"
    example = "globalmaxpool"
    mode = "max"

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return xs[0].amax((2, 3), keepdim=True)


@dataclass(frozen=True)
class AdaptiveAvgPool(Op):
    """The mean over windows chosen so that the output has the given size.

    Window i covers floor(i * in / out) up to ceil((i + 1) * in / out), as in torch. The identity when the sizes
    agree.
    """

    name = "adaptiveavgpool"
    family = "Pooling"
    example = "adaptiveavgpool(6x6)"
    takes_activation = True

    size: tuple[int, int] = arg(pair(), "output height x width")

    def infer(self, *xs: TensorType) -> TensorType:
        (x,) = xs
        need_map("adaptiveavgpool", x)
        return TensorType((*self.size, x.channels))

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        return f.adaptive_avg_pool2d(xs[0], self.size)
