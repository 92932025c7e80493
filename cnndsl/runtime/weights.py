"""Weights of a network: drawn at random here, read from files by `cnndsl.weights`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import torch

from cnndsl.weights.matching import match
from cnndsl.weights.reading import read_tensors
from cnndsl.weights.saving import save_tensors
from cnndsl.weights.shapes import Role, TensorSpec

__all__ = ["Role", "TensorSpec", "initial_tensors", "match", "read_tensors", "save_tensors"]


def initial_tensors(expected: Mapping[str, TensorSpec], *, seed: int) -> dict[str, torch.Tensor]:
    """Random fp32 tensors for every parameter, each from a generator of its own.

    A parameter's values depend on `seed`, its name and its spec alone, so they stay when other layers change.
    Weights are normal with deviation sqrt(2 / fan_in) (He et al., 2015), which keeps the size of activations
    through rectified layers. The rest is drawn close to, never at, the values that would hide a mistake:
    biases within 1 / sqrt(fan_in), scales 0.9 to 1.1, shifts and means within 0.1, variances 0.8 to 1.2.
    """
    return {name: _draw(spec, _generator(name, seed)) for name, spec in expected.items()}


def _generator(name: str, seed: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def _draw(spec: TensorSpec, generator: torch.Generator) -> torch.Tensor:
    values = torch.empty(spec.shape, dtype=torch.float32)
    match spec.role:
        case "weight":
            return values.normal_(0.0, math.sqrt(2.0 / spec.fan_in), generator=generator)
        case "bias":
            bound = 1.0 / math.sqrt(spec.fan_in)
            return values.uniform_(-bound, bound, generator=generator)
        case "scale":
            return values.uniform_(0.9, 1.1, generator=generator)
        case "shift" | "mean":
            return values.uniform_(-0.1, 0.1, generator=generator)
        case "variance":
            return values.uniform_(0.8, 1.2, generator=generator)
