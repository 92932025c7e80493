"""Layers that move values or leave them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnndsl import tiles_simple as tiles
from cnndsl.ir import TensorType
from cnndsl.ops.base import Op, ShapeError, need_map
from cnndsl.ops.fields import Pads, arg, count, pads, real
from cnndsl.ops.fusion import Edge, Obstacle

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.binding import Launch, Site


@dataclass(frozen=True)
class Flatten(Op):
    """A feature map as a vector, in C, H, W order as torch does. Free where no value has to move."""

    name = "flatten"
    family = "Shape"
    example = "flatten"

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle("moves", f"{edge.reader} puts the values of a picture in another order: channel, row, column")

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType((xs[0].size,))

    def averaged(self, x: TensorType) -> Sequence[int] | None:
        return range(x.channels) if x.height * x.width == 1 else None

    def lower(self, site: Site) -> tuple[Launch, ...]:
        x = site.xs[0].type
        tiling = tiles.flatten(site.target, channels=x.channels, image=(x.height, x.width))
        constants = {"C": x.channels, "H": x.height, "W": x.width}
        return (site.launch_map("move", "flatten_kernel", tiling=tiling, constants=constants),)

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return xs[0].flatten(1)


@dataclass(frozen=True)
class Pad(Op):
    """A border around a feature map, of zeros or another value."""

    name = "pad"
    family = "Shape"
    example = "pad((0, 1, 0, 1))"

    size: Pads = arg(pads(), "rows and columns to add: 1, (1, 2) or (top, bottom, left, right)")
    value: float = arg(real(), "what the border holds", default=0.0)

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle("pixels", f"{edge.reader} changes which pixels a program owns: the border is new")

    def infer(self, *xs: TensorType) -> TensorType:
        (x,) = xs
        need_map("pad", x)
        if isinstance(self.size, str):
            raise ShapeError("E0205", "pad must be given in numbers: there is no window for `same` to follow")
        top, bottom, left, right = self.size
        return TensorType((x.height + top + bottom, x.width + left + right, x.channels))

    def lower(self, site: Site) -> tuple[Launch, ...]:
        return (site.launch_copy(pad=(self.size[0], self.size[2]), value=self.value),)

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        top, bottom, left, right = self.size
        return f.pad(xs[0], (left, right, top, bottom), value=self.value)


@dataclass(frozen=True)
class ChannelShuffle(Op):
    """Interleaves the channels of `groups` groups (ShuffleNet): channel g * n + i goes to i * groups + g."""

    name = "channel_shuffle"
    family = "Shape"
    example = "channel_shuffle(2)"

    groups: int = arg(count(), "groups of channels to interleave")

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle("moves", f"{edge.reader} moves channels from tile to tile")

    def infer(self, *xs: TensorType) -> TensorType:
        (x,) = xs
        need_map("channel_shuffle", x)
        if x.channels % self.groups:
            raise ShapeError(
                "E0302",
                f"{self.groups} groups do not divide {x.channels} channels",
                f"{x.channels} / {self.groups} leaves {x.channels % self.groups}",
            )
        return x

    def averaged(self, x: TensorType) -> Sequence[int] | None:
        each = x.channels // self.groups
        return [group * each + i for i in range(each) for group in range(self.groups)]

    def lower(self, site: Site) -> tuple[Launch, ...]:
        return (site.launch_copy(groups=self.groups),)

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        return f.channel_shuffle(xs[0], self.groups)


@dataclass(frozen=True)
class Identity(Op):
    """The input as it is. Costs nothing."""

    name = "identity"
    family = "Shape"
    example = "identity"
    transparent = True

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return xs[0]


@dataclass(frozen=True)
class Dropout(Op):
    """Drops values at random in training; the identity at inference, where it costs nothing."""

    name = "dropout"
    family = "Shape"
    example = "dropout(0.5)"
    transparent = True

    p: float = arg(real(0.0, 1.0), "probability of dropping a value, in training", default=0.5)

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return xs[0]


@dataclass(frozen=True)
class Softmax(Op):
    """exp(x) / sum of exp, over the features of a vector or the channels of each pixel."""

    name = "softmax"
    family = "Normalisation"
    example = "softmax"

    def apart(self, edge: Edge) -> Obstacle:
        of = "channels of a pixel" if edge.x.is_map else "values of a picture"
        return Obstacle(
            "all channels",
            f"{edge.reader} needs all {edge.x.channels:,} {of}, which a tile of {edge.source} need not hold",
        )

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return xs[0].softmax(1)

    def lower(self, site: Site) -> tuple[Launch, ...]:
        x = site.xs[0].type
        tiling = tiles.softmax(
            site.target, channels=x.channels, image=(x.height, x.width), batch=site.batch
        )
        constants = {"C": x.channels, "H": x.height, "W": x.width}
        return (site.launch_map("softmax", "softmax_kernel", tiling=tiling, constants=constants),)
