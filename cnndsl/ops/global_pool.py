"""Pooling over the whole map, and to a given size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cnndsl import tiles_pooled
from cnndsl import tiles_simple as tiles
from cnndsl.ir import TensorType
from cnndsl.ops.base import Op, need_map
from cnndsl.ops.fields import arg, pair
from cnndsl.ops.fusion import Edge, Obstacle
from cnndsl.tiles import MOST_POOLED

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.binding import Launch, Site


@dataclass(frozen=True)
class _GlobalPool(Op):
    family = "Pooling"
    takes_activation = True
    mode: ClassVar[str]

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle(
            "all pixels", f"{edge.reader} needs all pixels of a channel, which a tile of {edge.source} need not hold"
        )

    def infer(self, *xs: TensorType) -> TensorType:
        (x,) = xs
        need_map(self.name, x)
        return TensorType((1, 1, x.channels))

    def lower(self, site: Site) -> tuple[Launch, ...]:
        x = site.xs[0].type
        tiling = tiles.global_pool(site.target, site.dtype, channels=x.channels, image=(x.height, x.width))
        constants = {"C": x.channels, "H": x.height, "W": x.width, "MODE": self.mode, **site.epilogue()}
        return (site.launch_map("pool2d", "global_pool_kernel", tiling=tiling, constants=constants),)


@dataclass(frozen=True)
class GlobalAvgPool(_GlobalPool):
    """The mean of each channel over all pixels; makes [1x1xC]."""

    name = "globalavgpool"
    example = "globalavgpool"
    mode = "avg"
    leads = True

    def obstacle(self, source: Op, edge: Edge) -> Obstacle | None:
        pixels = edge.x.height * edge.x.width
        if not source.ends_in_means(edge.before[0]) or pixels > MOST_POOLED:
            return self.apart(edge)
        macs = source.macs(edge.before, edge.x)
        more = tiles_pooled.idle_ns(edge.aim.dtype, pixels=pixels, macs=macs, batch=edge.aim.batch)
        less = tiles_pooled.pooling_ns(edge.aim.dtype, size=edge.x.size, batch=edge.aim.batch)
        if more < less:
            return None
        return Obstacle(
            "idle rows",
            f"for {edge.reader} each of {edge.source}'s tiles of {MOST_POOLED} pixels would hold {pixels}: "
            f"{more / 1000:.1f} us more of products, {less / 1000:.1f} us less of pooling",
        )

    def averaged(self, x: TensorType) -> Sequence[int] | None:
        return range(x.channels)

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

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle(
            "pixels",
            f"{edge.reader} changes which pixels a program owns: a tile of {edge.source} need not hold whole windows",
        )

    def infer(self, *xs: TensorType) -> TensorType:
        (x,) = xs
        need_map("adaptiveavgpool", x)
        return TensorType((*self.size, x.channels))

    def averaged(self, x: TensorType) -> Sequence[int] | None:
        return range(x.channels)

    def lower(self, site: Site) -> tuple[Launch, ...]:
        x, (p, q) = site.xs[0].type, self.size
        tiling = tiles.adaptive_avg_pool2d(
            site.target, site.dtype, channels=x.channels, output=self.size, batch=site.batch
        )
        constants = {"C": x.channels, "H": x.height, "W": x.width, "P": p, "Q": q, **site.epilogue()}
        return (site.launch_map("pool2d", "adaptive_avg_pool2d_kernel", tiling=tiling, constants=constants),)

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        return f.adaptive_avg_pool2d(xs[0], self.size)
