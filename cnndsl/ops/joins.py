"""Layers that join several tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from cnndsl.ir import TensorType
from cnndsl.ops.base import Op, ShapeError
from cnndsl.ops.fusion import Edge, Obstacle

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.binding import Launch, Site


class ArmError(ShapeError):
    """Two inputs of a join disagree; `pair` numbers them."""

    def __init__(self, message: str, arithmetic: str, *, pair: tuple[int, int], help: Sequence[str] = ()) -> None:  # noqa: A002
        super().__init__("E0303", message, arithmetic, help=help)
        self.pair = pair


@dataclass(frozen=True)
class Add(Op):
    """The sum of its arms, value by value. All arms must have one shape."""

    name = "add"
    family = "Joins"
    example = "add { { conv(64, 3x3, pad=1) } { } }"
    joins = True
    takes_activation = True

    def infer(self, *xs: TensorType) -> TensorType:
        for number, x in enumerate(xs):
            if x != xs[0]:
                raise ArmError(
                    f"add needs equal shapes, found {xs[0]} and {x}",
                    _difference(xs[0], x),
                    pair=(0, number),
                    help=("a 1x1 convolution (with the same stride) on the shorter arm makes them equal",),
                )
        return xs[0]

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return reduce(lambda a, b: a + b, xs)

    def lower(self, site: Site) -> tuple[Launch, ...]:
        return site.launch_chain("add")


@dataclass(frozen=True)
class Mul(Op):
    """The product of its arms, value by value. An arm of [1x1xC] scales every pixel (squeeze and excitation)."""

    name = "mul"
    family = "Joins"
    example = "mul { { } { globalavgpool -> conv(64, 1x1) -> sigmoid } }"
    joins = True
    takes_activation = True

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle("arms", f"{edge.reader} needs all of its arms; kernels end in sums, not in products")

    def infer(self, *xs: TensorType) -> TensorType:
        widest = max(range(len(xs)), key=lambda i: xs[i].size)
        y = xs[widest]
        for number, x in enumerate(xs):
            spread = x.is_map and y.is_map and (x.height, x.width) == (1, 1) and x.channels == y.channels
            if x != y and not spread:
                raise ArmError(
                    f"mul needs equal shapes, or [1x1x{y.channels}] beside {y}; found {x}",
                    _difference(y, x),
                    pair=(widest, number),
                )
        return y

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return reduce(lambda a, b: a * b, xs)

    def lower(self, site: Site) -> tuple[Launch, ...]:
        return site.launch_chain("mul")


@dataclass(frozen=True)
class Concat(Op):
    """Its arms side by side along the channels. Heights and widths must agree; vectors join end to end.

    Not a kernel of its own: the arms' last layers write into slices of one buffer.
    """

    name = "concat"
    family = "Joins"
    example = "concat { { conv(64, 1x1) } { maxpool(3x3, stride=1, pad=1) } }"
    joins = True

    def apart(self, edge: Edge) -> Obstacle:
        return Obstacle("in place", f"{edge.source} is a slice of {edge.reader}'s memory")

    def infer(self, *xs: TensorType) -> TensorType:
        first = xs[0]
        for number, x in enumerate(xs):
            if x.is_map != first.is_map or (x.is_map and x.shape[:2] != first.shape[:2]):
                raise ArmError(
                    f"concat needs equal heights and widths, found {first} and {x}",
                    _difference(first, x),
                    pair=(0, number),
                )
        channels = sum(x.channels for x in xs)
        return TensorType((*first.shape[:-1], channels))

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        import torch

        return torch.cat(list(xs), 1)


def _difference(a: TensorType, b: TensorType) -> str:
    if a.is_map != b.is_map:
        return "one is a feature map, the other a vector"
    if not a.is_map:
        return f"features: {a.size} against {b.size}"
    words = ("height", "width", "channels")
    return ", ".join(
        f"{word}: {m} against {n}" for word, m, n in zip(words, a.shape, b.shape, strict=True) if m != n
    )
