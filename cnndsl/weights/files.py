"""Open the files a run reads and writes: named tensors and single arrays.

A file is data: nothing in it is ever executed, and a broken one ends in a `CnnError`, never in a traceback
or without bound in memory. What the tensors mean is for `weights` and `tensors` to say.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from cnndsl.errors import CnnError, problem, reason_of
from cnndsl.writing import replaced

MAX_UNPACKED = 8 << 30
"""Bytes that the arrays of one archive may take. VGG-19, the largest example, has 0.6 GB of fp32 weights; a
compressed archive of 8 MB can claim to hold this much."""

MAX_HEADER = 64 << 10
"""Bytes read at the start of an array to know its type and shape."""


@dataclass(frozen=True)
class Kind:
    """What a file is to the user: the `code` of a mistake, and the `noun` of "cannot read the weights"."""

    code: str
    noun: str

    def mistake(self, path: Path, reason: str, *, help: tuple[str, ...] = ()) -> CnnError:  # noqa: A002
        """The error that `path` cannot be read, because of `reason`."""
        return problem(self.code, f"cannot read the {self.noun} {path}: {reason}", help=help)


def regular_file(path: str | Path, kind: Kind) -> Path:
    """`path`, once it is known to be a readable file that is not empty. Raises `CnnError`."""
    path = Path(path)
    try:
        if path.is_dir():
            raise kind.mistake(path, "it is a folder")
        if not path.exists():
            raise kind.mistake(path, "there is no such file", help=_neighbours(path))
        if not path.is_file():
            raise kind.mistake(path, "it is not a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise kind.mistake(path, "it is empty")
    except PermissionError as error:
        raise kind.mistake(path, "permission denied") from error
    except (OSError, ValueError) as error:  # a name that is too long or holds a NUL, a dead mount
        raise kind.mistake(path, reason_of(error)) from error
    return path


def _neighbours(path: Path) -> tuple[str, ...]:
    """Names the files of the same type that lie where a missing file was looked for."""
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() == path.suffix.lower())
    except OSError:
        return ()
    names = [name for name in names if name.isprintable()]
    if not path.suffix or not 1 <= len(names) <= 5:
        return ()
    return (f"{path.parent} has {', '.join(f'`{name}`' for name in names)}",)


# --- reading ---------------------------------------------------------------------------------------


_TRUSTED = (
    'of a whole model that is trusted, keep the tensors: `torch.save(model.state_dict(), "weights.pt")`',
    'of a checkpoint, keep the weights alone: `torch.save(checkpoint["state_dict"], "weights.pt")`',
)


def read_torch(path: Path, kind: Kind, *, mapped: bool) -> Any:
    """The object in a ``.pt`` or ``.pth`` file: tensors, numbers, strings and containers, nothing else.

    `mapped`: tensors of today's format are not read but mapped. Their bytes come from the disk when first
    used, so that weights cost no second copy in memory; the file must not be cut short meanwhile. Raises
    `CnnError`.
    """
    zipped = _is_zip(path)
    if zipped:
        _check_archive(path, kind)
    try:
        # weights_only: pickle can run code; the restricted reader knows tensors and plain containers.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and mapped)
    except Exception as error:  # torch raises anything, from KeyError to RuntimeError, on garbage
        refused = _refused_globals(path, error, zipped=zipped)
        if not refused:
            raise kind.mistake(path, "it is damaged, or not a file of torch.save") from error
        raise kind.mistake(
            path,
            f"{_OBJECTS}: {', '.join(refused)}",
            help=_TRUSTED,
        ) from error


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _check_archive(path: Path, kind: Kind) -> None:
    """Refuses what `torch.load` would map wrongly: TorchScript programs and packed records."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except Exception as error:  # zipfile raises more than BadZipFile on garbage
        raise kind.mistake(path, "it is damaged: the list of records at its end is wrong") from error
    if any(record.filename.endswith("/constants.pkl") for record in records):
        raise kind.mistake(
            path,
            "it is a TorchScript program",
            help=(
                f'keep its weights: `torch.save(torch.jit.load("{path.name}").state_dict(), "weights.pt")`',
            ),
        )
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise kind.mistake(path, "its records are compressed, which torch.save never does")


def _refused_globals(path: Path, error: Exception, *, zipped: bool) -> list[str]:
    """Names of the Python objects for which a pickle was refused; empty where that was not the reason."""
    if not isinstance(error, pickle.UnpicklingError):
        return []
    if zipped:
        try:
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
        except Exception:  # noqa: BLE001 - a pickle so broken that it cannot even be listed
            names = []
        if names:
            return names[:4] + (["..."] if len(names) > 4 else [])
    # Two of torch's sentences; the second is for modules such as `os`.
    match = re.search(r"(?:Unsupported global:|unsupported) GLOBAL (\S+) ", str(error))
    return [match[1]] if match else []


def read_npz(path: Path, kind: Kind) -> dict[str, torch.Tensor]:
    """The arrays of a ``.npz`` file by name, in the file's order. Raises `CnnError`."""
    try:
        arrays: dict[str, np.ndarray] = {}
        with zipfile.ZipFile(path) as archive:
            total = sum(record.file_size for record in archive.infolist())
            if total > MAX_UNPACKED:
                limit = MAX_UNPACKED >> 20
                raise kind.mistake(path, f"its arrays take {total >> 20} MiB, the limit is {limit} MiB")
            for record in archive.infolist():
                if not record.filename.endswith(".npy"):
                    raise kind.mistake(path, f"its member `{record.filename}` is not an array")
                with archive.open(record) as head:
                    _check_array_header(head.read(MAX_HEADER), size=record.file_size)
                with archive.open(record) as member:
                    array = np.lib.format.read_array(member, allow_pickle=False)
                arrays[record.filename.removesuffix(".npy")] = array
    except CnnError:
        raise
    except _ObjectArrayError as error:
        raise kind.mistake(path, _OBJECTS) from error
    except Exception as error:  # zipfile, zlib and numpy raise anything on garbage
        raise kind.mistake(path, "it is damaged, or not a file of numpy.savez") from error
    return {name: as_tensor(array, f"`{name}`", path=path, kind=kind) for name, array in arrays.items()}


_OBJECTS = "it holds Python objects, and reading those can run any code in the file"


class _ObjectArrayError(Exception):
    """An array of Python objects."""


def _check_array_header(head: bytes, *, size: int) -> None:
    """Holds an array's header against its bytes: numpy would make room for whatever shape is claimed."""
    stream = io.BytesIO(head)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(stream)]
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        raise _ObjectArrayError
    count = 1
    for extent in shape:
        count *= extent
    if stream.tell() + count * dtype.itemsize != size:
        raise ValueError("the header's shape and the number of bytes differ")


def read_npy(path: Path, kind: Kind) -> torch.Tensor:
    """The array of a ``.npy`` file, as a copy of its own. Raises `CnnError`."""
    try:
        with path.open("rb") as file:
            _check_array_header(file.read(MAX_HEADER), size=path.stat().st_size)
            file.seek(0)
            array = np.lib.format.read_array(file, allow_pickle=False)
    except _ObjectArrayError as error:
        raise kind.mistake(path, _OBJECTS) from error
    except Exception as error:  # numpy raises anything on garbage
        raise kind.mistake(path, "it is damaged, or not a file of numpy.save") from error
    return as_tensor(array, "it", path=path, kind=kind)


def as_tensor(array: np.ndarray, name: str, *, path: Path, kind: Kind) -> torch.Tensor:
    """A numpy array as a tensor over the same bytes. Raises `CnnError` for types that torch does not have."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise kind.mistake(path, f"{name} has elements of type {array.dtype}, not numbers") from error


def read_safetensors(path: Path, kind: Kind) -> dict[str, torch.Tensor]:
    """The tensors of a ``.safetensors`` file, mapped. Raises `CnnError`.

    They come in the order of their bytes; where that is the order by name within each element type, as the
    usual writer leaves it, all are sorted by name, so that the order claims nothing it does not know.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        header = _safetensors_header(path)
    except Exception as error:  # SafetensorError, and torch's for element types it lacks
        raise kind.mistake(path, f"it is damaged, or not a safetensors file ({reason_of(error)})") from error
    order = sorted(tensors, key=lambda name: header[name]["data_offsets"])
    types = list(dict.fromkeys(header[name]["dtype"] for name in order))
    if order == sorted(order, key=lambda name: (types.index(header[name]["dtype"]), name)):
        order.sort()
    return {name: tensors[name] for name in order}


def _safetensors_header(path: Path) -> dict[str, Any]:
    """The table at the start of a safetensors file: element type, shape and place of every tensor."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    return header


# --- writing ---------------------------------------------------------------------------------------


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
