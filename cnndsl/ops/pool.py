"""Max and average pooling over windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from cnndsl import tiles_simple as tiles
from cnndsl.ir import TensorType
from cnndsl.ops import lrn_pool
from cnndsl.ops.base import Op, ShapeError, need_map
from cnndsl.ops.fields import Pads, arg, flag, pads, pair, short_pair, show_pair
from cnndsl.ops.fusion import Edge, Obstacle
from cnndsl.ops.window import explain_pixels, output_pixels, same_pads

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.binding import Constant, Launch, Site


@dataclass(frozen=True)
class _Pool(Op):
    family = "Pooling"
    takes_activation = True
    mode: ClassVar[str]

    kernel: tuple[int, int] = arg(pair(), "window, height x width")
    stride: tuple[int, int] | None = arg(
        short_pair(), "step of the window", default=None, default_text="kernel"
    )
    pad: Pads | str = arg(pads(), "padding, at most half the window", default=(0, 0, 0, 0))
    ceil: bool = arg(flag(), "round the output size up instead of down", default=False)

    def resolve(self, *xs: TensorType) -> Self:
        stride = self.stride if self.stride is not None else self.kernel
        pad = self.pad
        if pad == "same" and xs[0].is_map:
            pad = same_pads(xs[0], self.kernel, stride, dilation=(1, 1))
        return replace(self, stride=stride, pad=pad)

    def is_implied(self, argument: str) -> bool:
        # A window that steps by its own size is what `maxpool(2x2)` says already.
        return argument == "stride" and self.stride == self.kernel

    def infer(self, *xs: TensorType) -> TensorType:
        (x,) = xs
        need_map(self.name, x)
        assert self.stride is not None, "resolve comes before infer"
        assert not isinstance(self.pad, str), "resolve comes before infer"
        for axis, word in enumerate(("height", "width")):
            widest = max(self.pad[2 * axis : 2 * axis + 2])
            if widest > self.kernel[axis] // 2:
                raise ShapeError(
                    "E0306",
                    f"padding of {widest} is more than half of a {show_pair(self.kernel)} pooling window",
                    f"{word}: {widest} > {self.kernel[axis]} // 2 = {self.kernel[axis] // 2}",
                    help=("a larger padding would make windows that see no pixel at all",),
                )
        p, q = output_pixels(self.name, x, self.kernel, stride=self.stride, pad=self.pad, ceil=self.ceil)
        return TensorType((p, q, x.channels))

    def explain(self, *xs: TensorType) -> tuple[str, ...]:
        assert self.stride is not None
        assert not isinstance(self.pad, str)
        return explain_pixels(xs[0], self.kernel, stride=self.stride, pad=self.pad, ceil=self.ceil)

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle(
            "pixels",
            f"{edge.reader} changes which pixels a program owns: a tile of {edge.source} need not hold whole windows",
        )

    def obstacle(self, source: Op, edge: Edge) -> Obstacle | None:
        return lrn_pool.obstacle(source, self, edge)

    def constants(self, x: TensorType, y: TensorType) -> dict[str, Constant]:
        """What a kernel must know of the windows."""
        assert self.stride is not None
        assert not isinstance(self.pad, str)
        return {
            "C": x.channels,
            "H": x.height,
            "W": x.width,
            "P": y.height,
            "Q": y.width,
            "R": self.kernel[0],
            "S": self.kernel[1],
            "STRIDE_H": self.stride[0],
            "STRIDE_W": self.stride[1],
            "PAD_TOP": self.pad[0],
            "PAD_LEFT": self.pad[2],
        }

    def lower(self, site: Site) -> tuple[Launch, ...]:
        if site.second is not None:
            return lrn_pool.lower(site, self)
        assert not isinstance(self.pad, str)
        x, y = site.xs[0].type, site.y.type
        constants: dict[str, Constant] = {
            **self.constants(x, y),
            "PAD_BOTTOM": self.pad[1],
            "PAD_RIGHT": self.pad[3],
            "MODE": self.mode,
            "COUNT_PAD": getattr(self, "count_pad", False),
            **site.epilogue(),
        }
        tiling = tiles.pool2d(
            site.target, site.dtype, channels=x.channels, kernel=self.kernel, output=(y.height, y.width),
            batch=site.batch,
        )
        return (site.launch_map("pool2d", "pool2d_kernel", tiling=tiling, constants=constants),)

    def _padding(self, x: torch.Tensor, y: TensorType) -> tuple[int, int, int, int]:
        """Left, right, top, bottom so that exactly the output's windows fit (negative crops)."""
        assert self.stride is not None
        assert not isinstance(self.pad, str)
        right = (y.width - 1) * self.stride[1] + self.kernel[1] - x.shape[3] - self.pad[2]
        bottom = (y.height - 1) * self.stride[0] + self.kernel[0] - x.shape[2] - self.pad[0]
        return self.pad[2], right, self.pad[0], bottom

    @property
    def _even(self) -> bool:
        return not isinstance(self.pad, str) and self.pad[0] == self.pad[1] and self.pad[2] == self.pad[3]

    def _output(self, x: torch.Tensor) -> TensorType:
        return self.infer(TensorType((x.shape[2], x.shape[3], x.shape[1])))


@dataclass(frozen=True)
class MaxPool(_Pool):
    """The largest value in each window, per channel.

    Padding counts as -inf, so it never wins; NaN wins always. With `ceil=true` a last window that would start
    beyond the input and its left padding is dropped, as torch does.
    """

    name = "maxpool"
    example = "maxpool(3x3, stride=2)"
    mode = "max"

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        (x,) = xs
        assert not isinstance(self.pad, str)
        if self._even:
            pad = (self.pad[0], self.pad[2])
            return f.max_pool2d(x, self.kernel, self.stride, pad, ceil_mode=self.ceil)
        x = f.pad(x, self._padding(x, self._output(x)), value=float("-inf"))
        return f.max_pool2d(x, self.kernel, self.stride)


@dataclass(frozen=True)
class AvgPool(_Pool):
    """The mean of each window, per channel.

    `count_pad=true`, torch's default, divides by the window inside the padded input; `count_pad=false` divides by
    the pixels of the input alone (ONNX's default).
    """

    name = "avgpool"
    example = "avgpool(2x2)"
    mode = "avg"

    count_pad: bool = arg(flag(), "whether padding counts in the divisor", default=True)

    def averaged(self, x: TensorType) -> Sequence[int] | None:
        # Zeros that are counted are no values of the map.
        return None if self.count_pad and self.pad != (0, 0, 0, 0) else range(x.channels)

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from torch.nn import functional as f

        (x,) = xs
        assert not isinstance(self.pad, str)
        if self._even:
            pad = (self.pad[0], self.pad[2])
            return f.avg_pool2d(
                x, self.kernel, self.stride, pad, ceil_mode=self.ceil, count_include_pad=self.count_pad
            )
        top, bottom, left, right = self.pad
        y = self._output(x)
        sums = f.avg_pool2d(f.pad(x, self._padding(x, y)), self.kernel, self.stride, divisor_override=1)
        ones = x.new_ones((1, 1, *x.shape[2:]))
        if self.count_pad:
            ones = f.pad(ones, (left, right, top, bottom), value=1.0)
            own = self._padding(x, y)
            around = (0, own[1] - right, 0, own[3] - bottom)
        else:
            around = self._padding(x, y)
        return sums / f.avg_pool2d(f.pad(ones, around), self.kernel, self.stride, divisor_override=1)


