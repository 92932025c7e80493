"""2-d convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING, Self

from cnndsl import tiles
from cnndsl.ir import TensorType
from cnndsl.ops import linear, pool_linear
from cnndsl.ops.base import Op, ShapeError, Weight, need_map
from cnndsl.ops.fields import Pads, arg, count, flag, pads, pair, short_pair, show_pair
from cnndsl.ops.fusion import Edge, Obstacle
from cnndsl.ops.global_pool import GlobalAvgPool
from cnndsl.ops.joins import Mul
from cnndsl.ops.packing import fold
from cnndsl.ops.window import explain_pixels, output_pixels, same_pads

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.binding import Constant, Launch, Site
    from cnndsl.ops.packing import Folded


@dataclass(frozen=True)
class Conv(Op):
    """2-d convolution (cross-correlation, as everywhere in deep learning) with an optional bias.

    Output size: floor((in + pads - dilation * (kernel - 1) - 1) / stride) + 1. `groups` splits the channels into
    independent convolutions; `groups=in.channels` is a depthwise convolution. `pad=same` keeps
    ceil(in / stride) rows and columns, the odd pixel of padding going below and right.
    """

    name = "conv"
    family = "Convolution and dense"
    example = "conv(96, 11x11, stride=4)"
    takes_activation = True
    takes_residual = True

    filters: int = arg(count(), "output channels")
    kernel: tuple[int, int] = arg(pair(), "window, height x width")
    stride: tuple[int, int] = arg(short_pair(), "step of the window", default=(1, 1))
    pad: Pads | str = arg(pads(), "zeros around the input", default=(0, 0, 0, 0))
    dilation: tuple[int, int] = arg(short_pair(), "distance between the window's taps", default=(1, 1))
    groups: int = arg(count(), "independent groups of channels", default=1)
    bias: bool = arg(flag(), "whether a bias per filter is added", default=True)

    def apart(self, edge: Edge) -> Obstacle:
        windows = 1
        for size, k, s, d in zip((edge.y.height, edge.y.width), self.kernel, self.stride, self.dilation, strict=True):
            # A window's taps over one row are d apart and windows s apart: of the taps, every s / gcd(s, d)-th
            # meets a given row.
            windows *= min(size, -(-k // (s // gcd(s, d))))
        if windows > 1:
            return Obstacle(
                "windows",
                f"{edge.reader} reads each value of {edge.source} in {windows} windows: "
                "fusing would compute it again for each",
            )
        channels = edge.x.channels // self.groups
        if channels > 1:
            return Obstacle(
                "all channels",
                f"{edge.reader} needs all {channels} channels of a pixel, which a tile of {edge.source} need not hold",
            )
        return Obstacle("own loop", f"{edge.reader} multiplies in a loop of its own, not in an epilogue")

    def obstacle(self, source: Op, edge: Edge) -> Obstacle | None:
        match source:
            case Mul():
                return self._scaling(edge)
            case GlobalAvgPool() if self._is_dense(edge.x):
                return pool_linear.obstacle(self.filters, edge)
        return self.apart(edge)

    def _scaling(self, edge: Edge) -> Obstacle | None:
        """Why its kernel does not multiply what it loads by one value for each channel."""
        if self.kernel != (1, 1):
            window = show_pair(self.kernel)
            return Obstacle("window", f"{edge.reader} would scale each value of {edge.source} for all taps of {window}")
        if self.pad != (0, 0, 0, 0):
            return Obstacle("border", f"{edge.reader} pads {edge.source}, and its kernel scales only what is there")
        if self._is_depthwise(edge.x):
            return Obstacle("own loop", f"{edge.reader} is depthwise, and its kernel does not scale what it loads")
        if len(edge.before) != 2:
            return Obstacle("arms", f"{edge.source} has {len(edge.before)} arms, and a convolution takes two of them")
        if edge.x.height * edge.x.width == 1 or edge.before[0] == edge.before[1]:
            return Obstacle("values", f"{edge.source} multiplies value by value, and convolutions scale whole channels")
        return None

    def ends_in_means(self, x: TensorType) -> bool:
        return not self._is_depthwise(x)

    def _is_depthwise(self, x: TensorType) -> bool:
        return x.channels == self.groups > 1

    def _is_dense(self, x: TensorType) -> bool:
        """Whether it is a dense layer: on one pixel, which it sees as a whole."""
        one = x.height * x.width == 1
        return one and self.kernel == (1, 1) and self.pad == (0, 0, 0, 0) and self.groups == 1

    @property
    def alike(self) -> Self | None:
        return replace(self, filters=1, bias=True) if self.groups == 1 else None

    def beside(self, others: Sequence[Self]) -> Self:
        assert all(other.alike == self.alike is not None for other in others)
        filters, bias = sum(other.filters for other in others), any(other.bias for other in others)
        return replace(self, filters=self.filters + filters, bias=self.bias or bias)

    def resolve(self, *xs: TensorType) -> Self:
        if self.pad != "same" or not xs[0].is_map:
            return self
        return replace(self, pad=same_pads(xs[0], self.kernel, self.stride, dilation=self.dilation))

    def infer(self, *xs: TensorType) -> TensorType:
        (x,) = xs
        need_map("conv", x, help="dense works on vectors; a convolution must come before the first dense layer")
        if x.channels % self.groups:
            raise ShapeError(
                "E0302",
                f"{self.groups} groups do not divide {x.channels} input channels",
                f"{x.channels} / {self.groups} leaves {x.channels % self.groups}",
                help=(f"groups must divide {x.channels}: {_divisors(x.channels)}",),
            )
        if self.filters % self.groups:
            raise ShapeError(
                "E0302",
                f"{self.groups} groups do not divide {self.filters} filters",
                f"{self.filters} / {self.groups} leaves {self.filters % self.groups}",
                help=(f"make the filters a multiple of {self.groups}",),
            )
        assert not isinstance(self.pad, str), "resolve comes before infer"
        p, q = output_pixels(
            "conv", x, self.kernel, stride=self.stride, pad=self.pad, dilation=self.dilation
        )
        return TensorType((p, q, self.filters))

    def explain(self, *xs: TensorType) -> tuple[str, ...]:
        assert not isinstance(self.pad, str)
        return explain_pixels(xs[0], self.kernel, stride=self.stride, pad=self.pad, dilation=self.dilation)

    def weights(self, *xs: TensorType) -> tuple[Weight, ...]:
        (x,) = xs
        per_group = x.channels // self.groups
        fan_in = per_group * self.kernel[0] * self.kernel[1]
        weight = Weight("weight", (self.filters, per_group, *self.kernel), "weight", fan_in)
        return (weight, Weight("bias", (self.filters,), "bias", fan_in)) if self.bias else (weight,)

    def macs(self, xs: Sequence[TensorType], y: TensorType) -> int:
        return y.size * (xs[0].channels // self.groups) * self.kernel[0] * self.kernel[1]

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        assert not isinstance(self.pad, str)
        top, bottom, left, right = self.pad
        x, pad = xs[0], (top, left)
        if (top, left) != (bottom, right):
            x, pad = f.pad(x, (left, right, top, bottom)), (0, 0)
        return f.conv2d(
            x, weights["weight"], weights.get("bias"),
            stride=self.stride, padding=pad, dilation=self.dilation, groups=self.groups,
        )

    def pack(
        self, xs: Sequence[TensorType], weights: Mapping[str, torch.Tensor], folded: Sequence[Folded]
    ) -> dict[str, torch.Tensor]:
        def spread(x: torch.Tensor) -> torch.Tensor:
            return x.reshape(self.groups, -1).repeat_interleave(self.filters // self.groups, 0)[:, :, None, None]

        weight, bias = fold(weights["weight"], weights.get("bias"), folded, spread=spread)
        packed = weight.permute(*((2, 3, 0, 1) if self._is_depthwise(xs[0]) else (0, 2, 3, 1))).contiguous()
        return {"weight": packed} if bias is None else {"weight": packed, "bias": bias}

    def packed_shapes(self, xs: Sequence[TensorType], *, folded: bool) -> dict[str, tuple[int, ...]]:
        weight = self._packed(xs[0])
        return {"weight": weight, "bias": (self.filters,)} if self.bias or folded else {"weight": weight}

    def _packed(self, x: TensorType) -> tuple[int, ...]:
        """The shape that the kernel wants: [K, R, S, C], but [R, S, K, 1] where no channels are summed."""
        if self._is_depthwise(x):
            return (*self.kernel, self.filters, 1)
        return (self.filters, *self.kernel, x.channels // self.groups)

    def lower(self, site: Site) -> tuple[Launch, ...]:
        assert not isinstance(self.pad, str)
        x, y = site.xs[0].type, site.node.type
        per_group = x.channels // self.groups
        depthwise = self._is_depthwise(x)
        has_bias = self.bias or bool(site.node.folded)
        if isinstance(site.first, GlobalAvgPool):
            return (pool_linear.lower(site, units=self.filters, has_bias=has_bias),)
        if self._is_dense(x) and site.xs[0].dense and not site.passed:
            return (linear.lower(site, units=self.filters, has_bias=has_bias),)
        output = (y.height, y.width)
        constants: dict[str, Constant] = {
            "C": x.channels if depthwise else per_group,
            "H": x.height,
            "W": x.width,
            "K": self.filters,
            "P": y.height,
            "Q": y.width,
            "R": self.kernel[0],
            "S": self.kernel[1],
            "STRIDE_H": self.stride[0],
            "STRIDE_W": self.stride[1],
            "PAD_TOP": self.pad[0],
            "PAD_LEFT": self.pad[2],
            "DILATION_H": self.dilation[0],
            "DILATION_W": self.dilation[1],
        }
        constants |= {"HAS_BIAS": has_bias, "HAS_RESIDUAL": site.residual is not None, **site.epilogue()}
        pointers = site.weighted_pointers(has_bias=has_bias)
        strided = {"x": site.xs[0], "y:3": site.y, "r:3": site.residual or site.y}
        if depthwise:
            module, kernel = "depthwise", "depthwise_kernel"
            tiling = tiles.depthwise(site.target, site.dtype, filters=self.filters, output=output, batch=site.batch)
        else:
            module, kernel = "conv2d", "conv2d_kernel"
            tiling = tiles.conv2d(
                site.target, site.dtype, channels=per_group, filters=self.filters, kernel=self.kernel,
                output=output, groups=self.groups, batch=site.batch, residual=site.residual is not None,
                scaled=site.scale is not None, pooled=site.last is not None,
            )
            constants |= {
                "GROUPS": self.groups, "HAS_SCALE": site.scale is not None, "POOL": site.last is not None,
                "ACT_K": site.activated, "PRECISION": site.precision,
            }
            result = pointers.pop("y_ptr")
            pointers |= {"s_ptr": site.scale.pointer if site.scale is not None else "None", "y_ptr": result}
            strided["s:1"] = site.scale or site.y
        return (
            site.launch(
                module, kernel, pointers=pointers, tiling=tiling, constants=constants, strided=strided,
                weight_sizes=(self.weights(x)[0].size,),
            ),
        )


def _divisors(n: int) -> str:
    found = [d for d in range(1, min(n, 4096) + 1) if n % d == 0]
    return ", ".join(map(str, found if len(found) <= 12 else [*found[:11], "..."]))
