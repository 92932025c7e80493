"""Activations: functions of one value, computed by the kernel of the layer before them where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnndsl.ir import TensorType
from cnndsl.ops.base import Op
from cnndsl.ops.fields import arg, real

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.binding import Launch, Site


@dataclass(frozen=True)
class _Activation(Op):
    family = "Activations"

    @property
    def activation(self) -> tuple[str, float] | None:
        return self.name, 0.0

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        function = getattr(f, self.name)
        result: torch.Tensor = function(xs[0])
        return result

    def lower(self, site: Site) -> tuple[Launch, ...]:
        return (site.launch_unary(),)


@dataclass(frozen=True)
class Relu(_Activation):
    """max(x, 0)."""

    name = "relu"
    example = "relu"


@dataclass(frozen=True)
class LeakyRelu(_Activation):
    """x where x >= 0, slope * x elsewhere."""

    name = "leaky_relu"
    example = "leaky_relu(slope=0.1)"

    slope: float = arg(real(), "slope for negative x", default=0.01)

    @property
    def activation(self) -> tuple[str, float] | None:
        return self.name, self.slope

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        return f.leaky_relu(xs[0], self.slope)


@dataclass(frozen=True)
class Relu6(_Activation):
    """min(max(x, 0), 6)."""

    name = "relu6"
    example = "relu6"


@dataclass(frozen=True)
class Elu(_Activation):
    """x where x > 0, alpha * (exp(x) - 1) elsewhere (Clevert et al. 2015)."""

    name = "elu"
    example = "elu"

    alpha: float = arg(real(), "the limit for very negative x, negated", default=1.0)

    @property
    def activation(self) -> tuple[str, float] | None:
        return self.name, self.alpha

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        return f.elu(xs[0], self.alpha)


@dataclass(frozen=True)
class Gelu(_Activation):
    """x * Phi(x) with the normal distribution's Phi, by the error function (Hendrycks and Gimpel 2016)."""

    name = "gelu"
    example = "gelu"


@dataclass(frozen=True)
class Silu(_Activation):
    """x * sigmoid(x), also called swish."""

    name = "silu"
    example = "silu"


@dataclass(frozen=True)
class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    name = "sigmoid"
    example = "sigmoid"

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return xs[0].sigmoid()


@dataclass(frozen=True)
class Tanh(_Activation):
    """Hyperbolic tangent."""

    name = "tanh"
    example = "tanh"

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return xs[0].tanh()


@dataclass(frozen=True)
class HardSwish(_Activation):
    """x * relu6(x + 3) / 6 (MobileNetV3)."""

    name = "hardswish"
    example = "hardswish"


@dataclass(frozen=True)
class HardSigmoid(_Activation):
    """relu6(x + 3) / 6."""

    name = "hardsigmoid"
    example = "hardsigmoid"
