"""Weights as the kernels want them: batch norms folded in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.normalize import BatchNorm

    Folded = tuple[BatchNorm, Mapping[str, torch.Tensor]]
    """A batch norm and its tensors."""


def fold(
    weight: torch.Tensor, bias: torch.Tensor | None, folded: Sequence[Folded]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight (output channels first) and bias with the batch norms that follow multiplied in.

    W' = W * scale and b' = b * scale + shift, where the batch norm is scale * x + shift per channel. Scale, shift and
    bias are computed in fp64; the weight keeps at least fp32.
    """
    for norm, weights in folded:
        scale, shift = norm.scale_shift(weights)
        weight = weight.float() * scale.float().reshape(-1, *(1 for _ in weight.shape[1:]))
        bias = shift if bias is None else bias.double() * scale + shift
    return weight, bias
