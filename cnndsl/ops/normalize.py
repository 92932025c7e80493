"""Batch normalisation and local response normalisation, as at inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnndsl import tiles_simple as tiles
from cnndsl.ir import TensorType
from cnndsl.ops import lrn_pool
from cnndsl.ops.base import Op, Weight, need_map
from cnndsl.ops.fields import arg, count, flag, real
from cnndsl.ops.fusion import Edge, Obstacle

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.binding import Launch, Site
    from cnndsl.ops.packing import Folded


@dataclass(frozen=True)
class BatchNorm(Op):
    """Batch normalisation with its running statistics: weight * (x - mean) / sqrt(variance + eps) + bias.

    Folded into the convolution or dense layer before it, else into those after it where they pad no zeros, in fp32
    and before any cast, so that it costs nothing; elsewhere a scale and a shift per channel. `momentum` matters in
    training only.
    """

    name = "batchnorm"
    family = "Normalisation"
    example = "batchnorm"
    takes_activation = True

    eps: float = arg(real(0.0), "added to the variance", default=1e-5)
    affine: bool = arg(flag(), "whether there is a learned weight and bias", default=True)
    momentum: float = arg(real(0.0, 1.0), "of the running statistics, in training", default=0.1)

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle("not folded", f"{edge.reader} folds into no weights: neither before it nor after it")

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def weights(self, *xs: TensorType) -> tuple[Weight, ...]:
        shape = (xs[0].channels,)
        learned = (Weight("weight", shape, "scale"), Weight("bias", shape, "shift")) if self.affine else ()
        return (*learned, Weight("running_mean", shape, "mean"), Weight("running_var", shape, "variance"))

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        return f.batch_norm(
            xs[0], weights["running_mean"], weights["running_var"],
            weights.get("weight"), weights.get("bias"), training=False, eps=self.eps,
        )

    def pack(
        self, xs: Sequence[TensorType], weights: Mapping[str, torch.Tensor], folded: Sequence[Folded]
    ) -> dict[str, torch.Tensor]:
        scale, shift = self.scale_shift(weights)
        for one in folded:
            assert not one.before
            more, constant = one.scale_shift()
            scale, shift = scale * more, shift * more + constant
        return {"scale": scale, "shift": shift}

    def packed_shapes(self, xs: Sequence[TensorType], *, folded: bool) -> dict[str, tuple[int, ...]]:
        return {"scale": (xs[0].channels,), "shift": (xs[0].channels,)}

    def lower(self, site: Site) -> tuple[Launch, ...]:
        return (site.launch_unary(scale=site.packed("scale"), shift=site.packed("shift")),)

    def scale_shift(self, weights: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The two vectors with which it is scale * x + shift, in fp64."""
        mean, variance = weights["running_mean"].double(), weights["running_var"].double()
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * weights["weight"].double()
            return scale, weights["bias"].double() - mean * scale
        return scale, -mean * scale


@dataclass(frozen=True)
class LocalResponseNorm(Op):
    """Local response normalisation over neighbouring channels: x / (k + alpha / size * sum of squares) ^ beta.

    `alpha` is divided by `size`, as in Caffe, torch and ONNX. AlexNet's paper does not divide: its alpha of 1e-4
    over 5 channels is `alpha=5e-4` here. An even window has its extra channel below, as in torch.
    """

    name = "lrn"
    family = "Normalisation"
    example = "lrn(5, alpha=5e-4, beta=0.75, k=2)"
    takes_activation = True

    size: int = arg(count(), "channels in the window", default=5)
    alpha: float = arg(real(), "weight of the squares, divided by size", default=1e-4)
    beta: float = arg(real(), "exponent", default=0.75)
    k: float = arg(real(), "added to the weighted squares", default=1.0)

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle(
            "channels", f"{edge.reader} needs channels on either side, which a tile of {edge.source} need not hold"
        )

    def obstacle(self, source: Op, edge: Edge) -> Obstacle | None:
        return lrn_pool.obstacle(source, self, edge)

    def infer(self, *xs: TensorType) -> TensorType:
        (x,) = xs
        need_map("lrn", x)
        return x

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        return f.local_response_norm(xs[0], self.size, self.alpha, self.beta, self.k)

    def lower(self, site: Site) -> tuple[Launch, ...]:
        if site.second is not None:
            return lrn_pool.lower(site, self)
        x = site.xs[0].type
        tiling = tiles.lrn(
            site.target, site.dtype, channels=x.channels, size=self.size, image=(x.height, x.width), batch=site.batch
        )
        constants = {
            "C": x.channels, "H": x.height, "W": x.width, "SIZE": self.size, "ALPHA": self.alpha,
            "BETA": self.beta, "K": self.k, **site.epilogue(),
        }
        return (site.launch_map("lrn", "lrn_kernel", tiling=tiling, constants=constants),)
