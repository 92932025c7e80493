"""Write tensors by name, as a whole or not at all."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch

from cnndsl.errors import problem
from cnndsl.writing import replaced

SUFFIXES = (".safetensors", ".pt", ".pth", ".npz")
"""Endings of the files that are written."""


def check_suffix(path: str | Path) -> None:
    """Raise CnnError (E0421) for a name that ends in no format that is written."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        way = "weights are written as .safetensors, .pt, .pth or .npz"
        what = f"unknown format `{suffix}`" if suffix else "its name says no format"
        raise problem("E0421", f"cannot write {path}: {what}", help=(way,))


def save_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes tensors by name to a ``.safetensors``, ``.pt``, ``.pth`` or ``.npz`` file, as its name ends.

    The file is replaced at once or not at all. ``.npz`` has no bfloat16 and takes it as float32. Raises
    `CnnError` E0421.
    """
    check_suffix(path)
    match Path(path).suffix.lower():
        case ".safetensors":
            write_safetensors(path, tensors)
        case ".npz":
            write_npz(path, tensors)
        case _:
            write_torch(path, tensors)


def _replaced(path: str | Path) -> AbstractContextManager[Path]:
    """See `cnndsl.writing.replaced`. A full disk has other words for each writer."""
    return replaced(path, failures=(OSError, RuntimeError, safetensors.SafetensorError))


def write_npz(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes tensors by name; bfloat16, which numpy lacks, as float32. Raises `CnnError` E0421.

    `numpy.savez` takes names as keywords and so could not write an output called ``file``.
    """
    with _replaced(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, tensor in tensors.items():
            known = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, known.detach().cpu().numpy(), allow_pickle=False)


def _own_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without more bytes than its values: a slice would take its whole storage to the file."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def write_torch(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes a state dict that `torch.load(weights_only=True)` reads. Raises `CnnError` E0421."""
    with _replaced(path) as temporary:
        torch.save({name: _own_bytes(tensor) for name, tensor in tensors.items()}, temporary)


def write_safetensors(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes a safetensors file. Raises `CnnError` E0421."""
    owned: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        alone = _own_bytes(tensor)
        # The format has no shared tensors: tied weights are written twice.
        owned[name] = alone.clone() if alone.data_ptr() in seen else alone
        seen.add(owned[name].data_ptr())
    with _replaced(path) as temporary:
        safetensors.torch.save_file(owned, temporary)
