"""Parameters of a network, as tests of weights write them."""

import torch

from cnndsl.runtime.weights import TensorSpec


def conv(filters: int, channels: int, size: int = 3) -> TensorSpec:
    return TensorSpec((filters, channels, size, size), "weight", channels * size * size)


def dense(units: int, features: int) -> TensorSpec:
    return TensorSpec((units, features), "weight", features)


def bias(channels: int) -> TensorSpec:
    return TensorSpec((channels,), "bias", 9)


def tensors_of(specs: dict[str, TensorSpec]) -> dict[str, torch.Tensor]:
    """Every tensor filled with its own number, and none larger in memory than that number."""
    return {name: torch.tensor(float(i)).expand(spec.shape) for i, (name, spec) in enumerate(specs.items())}


def numbers(tensors: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: tensor.flatten()[0].item() for name, tensor in tensors.items()}


def layers(**weights: TensorSpec) -> dict[str, TensorSpec]:
    """Weight and bias of each layer, by the layer's name with ``_`` for a dot."""
    specs: dict[str, TensorSpec] = {}
    for name, spec in weights.items():
        specs[f"{name.replace('_', '.')}.weight"] = spec
        specs[f"{name.replace('_', '.')}.bias"] = bias(spec.shape[0])
    return specs
