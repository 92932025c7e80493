"""Layers that join several tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from cnndsl import tiles_simple as tiles
from cnndsl.ir import TensorType
from cnndsl.ops.base import Op, ShapeError
from cnndsl.ops.fusion import Edge, Obstacle

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.binding import Launch, Operand, Site


MOST_OPERANDS = 4
"""What one launch joins: with a residual, five tensors whose 16-byte loads are in flight together."""


def launch_count(arms: int) -> int:
    """How many launches join so many arms, of which each but the first takes up the partial result."""
    return max(1, -(-(arms - 1) // (MOST_OPERANDS - 1)))


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
        return _launches(site, "add")


@dataclass(frozen=True)
class Mul(Op):
    """The product of its arms, value by value. An arm of [1x1xC] scales every pixel (squeeze and excitation)."""

    name = "mul"
    family = "Joins"
    example = "mul { { } { globalavgpool -> conv(64, 1x1) -> sigmoid } }"
    joins = True
    takes_activation = True
    takes_residual = True
    leads = True

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
        return _launches(site, "mul")


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


def _launches(site: Site, operator: str) -> tuple[Launch, ...]:
    """y = act(x0 op x1 op ... + residual), MOST_OPERANDS at a time; the partial results lie in y."""
    xs, y = site.xs, site.y.type
    if launch_count(len(xs)) > 1:
        # The widest operand first: it has the output's shape, so every partial result has it too.
        xs = tuple(sorted(xs, key=lambda x: -x.type.size))
    waiting, made = list(xs), []
    for left in range(launch_count(len(xs)), 0, -1):
        taken, waiting = waiting[:MOST_OPERANDS], [site.y, *waiting[MOST_OPERANDS:]]
        made.append(_launch(site, operator, taken, y, last=left == 1))
    return tuple(made)


def _launch(site: Site, operator: str, xs: Sequence[Operand], y: TensorType, *, last: bool) -> Launch:
    """One launch for two to four operands; the last adds the residual and activates."""
    named: dict[str, Operand | None] = {f"x{i}": xs[i] if i < len(xs) else None for i in range(MOST_OPERANDS)}
    residual = site.residual if last else None
    pointers = {**named, "r": residual, "y": site.y}
    return site.launch(
        "pointwise",
        "join_kernel",
        pointers={f"{name}_ptr": x.pointer if x is not None else "None" for name, x in pointers.items()},
        tiling=tiles.pointwise(
            site.target, site.dtype, channels=y.channels, image=(y.height, y.width), batch=site.batch
        ),
        constants={
            "C": y.channels,
            "H": y.height,
            "W": y.width,
            "OP": operator,
            "COUNT": len(xs),
            **{f"SPREAD_{i}": x.type != y for i, x in enumerate([*xs, *[site.y] * (MOST_OPERANDS - len(xs))])},
            "HAS_RESIDUAL": residual is not None,
            **(site.epilogue() if last else {"ACT": "none", "ACT_ARG": 0.0}),
        },
        strided={**{name: x or site.y for name, x in named.items()}, "y:3": site.y, "r:3": residual or site.y},
    )


def _difference(a: TensorType, b: TensorType) -> str:
    if a.is_map != b.is_map:
        return "one is a feature map, the other a vector"
    if not a.is_map:
        return f"features: {a.size} against {b.size}"
    words = ("height", "width", "channels")
    return ", ".join(
        f"{word}: {m} against {n}" for word, m, n in zip(words, a.shape, b.shape, strict=True) if m != n
    )
