"""Weights as the kernels want them: batch norms folded in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.normalize import BatchNorm

_ROWS = 256
"""Rows of a weight that are in fp64 at a time: of a large dense layer's, 50 MB."""


@dataclass(frozen=True)
class Folded:
    """A batch norm that a layer takes up, and its tensors; see `cnndsl.ir.Folded`."""

    norm: BatchNorm
    weights: Mapping[str, torch.Tensor]
    before: bool = False
    channels: tuple[int, ...] | None = None

    def scale_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and shift in fp64, for each channel of what it acts on."""
        scale, shift = self.norm.scale_shift(self.weights)
        if self.channels is None:
            return scale, shift
        chosen = list(self.channels)
        return scale[chosen], shift[chosen]


def side_by_side(parts: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The packed tensors of several layers, output channels first, as those of one; a bias that one lacks is 0."""
    import torch

    if len(parts) == 1:
        return dict(parts[0])
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: torch.cat([
            part[name] if name in part else part["weight"].new_zeros(len(part["weight"]), dtype=torch.float32)
            for part in parts
        ])
        for name in names
    }


def fold(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    folded: Sequence[Folded],
    *,
    spread: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight (output channels first) and bias with batch norms multiplied in; each is scale * x + shift per channel.

    Of one that follows, W' = W * scale and b' = b * scale + shift, along the output channels; of one that comes
    before, W' = W * scale and b' = b + W @ shift, along the input channels. `spread` makes of a vector of input
    channels a tensor that the weight can be multiplied by. Scale, shift and bias are computed in fp64; the weight
    keeps at least fp32.
    """
    for one in reversed([one for one in folded if one.before]):
        scale, shift = map(spread, one.scale_shift())
        moved = _product(weight, shift)
        bias = moved if bias is None else bias.double() + moved
        weight = weight.float() * scale.float()
    for one in folded:
        if not one.before:
            scale, shift = one.scale_shift()
            weight = weight.float() * scale.float().reshape(-1, *(1 for _ in weight.shape[1:]))
            bias = shift if bias is None else bias.double() * scale + shift
    return weight, bias


def _product(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """What each row of a weight gives for one x at all of its taps, in fp64."""
    import torch

    parts = zip(weight.split(_ROWS), x.expand(len(weight), *x.shape[1:]).split(_ROWS), strict=True)
    return torch.cat([(rows.double() * values).flatten(1).sum(1) for rows, values in parts])
