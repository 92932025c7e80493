"""Weights: read and write them, fit them to a network, or draw them at random."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import torch

from cnndsl.errors import problem
from cnndsl.weights import files
from cnndsl.weights.matching import match
from cnndsl.weights.shapes import Role, TensorSpec

__all__ = ["Role", "TensorSpec", "initial_tensors", "match", "read_tensors", "save_tensors"]

_WEIGHTS = files.Kind("E0401", "weights")

_FORMATS = "weights are read from .safetensors, .pt or .pth (torch.save) and .npz (numpy.savez) files"

_ADVICE = {
    ".bin": "if it is a PyTorch checkpoint, rename it to .pt",
    ".ckpt": "if it is a PyTorch checkpoint, rename it to .pt",
    ".npy": "a .npy file holds one array without a name; write all with numpy.savez",
}

_NESTED = ("state_dict", "model_state_dict", "model", "network", "net", "weights", "params")
"""Where training programs keep the weights beside the optimizer's state, the likeliest first."""


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of a weights file by name, in the file's order.

    A checkpoint with the weights one level down (``{"state_dict": {...}, "epoch": 3}``) is unwrapped. Tensors
    of ``.pt`` and ``.safetensors`` files are mapped: their bytes are read when used. ``.safetensors`` files
    do not keep an order; theirs is by name. Raises `CnnError` E0401.
    """
    path = files.regular_file(path, _WEIGHTS)
    suffix = path.suffix.lower()
    if suffix not in (".safetensors", ".pt", ".pth", ".npz"):
        advice = (_ADVICE[suffix],) if suffix in _ADVICE else ()
        raise _WEIGHTS.mistake(path, f"unknown format `{suffix or path.name}`", help=(_FORMATS, *advice))
    if suffix == ".safetensors":
        tensors = files.read_safetensors(path, _WEIGHTS)
    elif suffix == ".npz":
        tensors = files.read_npz(path, _WEIGHTS)
    else:
        tensors = _state_dict(files.read_torch(path, _WEIGHTS, mapped=True), path)
    if not tensors:
        raise _WEIGHTS.mistake(path, "it holds no tensors")
    return tensors


def _state_dict(content: object, path: Path) -> dict[str, torch.Tensor]:
    """The named tensors in what `torch.load` gave: at the top, or one level down."""
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise _WEIGHTS.mistake(path, f"it holds a {kind}, not tensors by name", help=(_SAVE,))
    nested = {key: tensors for key, value in content.items() if (tensors := _named_tensors(value))}
    for key in _NESTED:
        if key in nested:
            return _plain(nested[key], path)
    own = _named_tensors(content)
    if own or not nested:
        return _plain(own, path)
    if len(nested) > 1:
        keys = ", ".join(f"`{key}`" for key in nested)
        raise _WEIGHTS.mistake(path, f"it holds several sets of tensors: {keys}", help=(_SAVE,))
    return _plain(next(iter(nested.values())), path)


_SAVE = 'keep the weights alone: `torch.save(model.state_dict(), "weights.pt")`'


def _named_tensors(value: object) -> dict[str, torch.Tensor]:
    """The tensors with names in a dictionary; none for anything else."""
    if not isinstance(value, Mapping):
        return {}
    return {k: t for k, t in value.items() if isinstance(k, str) and isinstance(t, torch.Tensor)}


def _plain(tensors: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    for name, tensor in tensors.items():
        if tensor.is_nested or tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise _WEIGHTS.mistake(path, f"`{name}` is not a plain dense tensor")
    return {name: tensor.detach() for name, tensor in tensors.items()}


def save_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes tensors by name to a ``.safetensors``, ``.pt``, ``.pth`` or ``.npz`` file, as its name ends.

    The file is replaced at once or not at all. ``.npz`` has no bfloat16 and takes it as float32. Raises
    `CnnError` E0421.
    """
    match Path(path).suffix.lower():
        case ".safetensors":
            files.write_safetensors(path, tensors)
        case ".pt" | ".pth":
            files.write_torch(path, tensors)
        case ".npz":
            files.write_npz(path, tensors)
        case other:
            way = "weights are written as .safetensors, .pt, .pth or .npz"
            raise problem("E0421", f"cannot write {path}: unknown format `{other}`", help=(way,))


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
