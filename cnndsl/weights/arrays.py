"""NumPy's files: ``.npz`` archives of arrays by name, and single ``.npy`` arrays."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import torch

from cnndsl.errors import CnnError
from cnndsl.weights.files import Kind
from cnndsl.weights.stored import MAX_TENSORS, Contents, Stored

MAX_UNPACKED = 1 << 30
"""Bytes that the arrays of an archive may take where that is over a hundred times its own size: a compressed archive of
8 MB can claim to hold eight times as much. VGG-19, the largest example, has 0.6 GB of weights in fp32."""

MAX_RATIO = 100
"""How far an archive may be packed whatever it holds. Weights of which 99 in 100 are zero come to 30."""

MAX_HEADER = 16 << 10
"""Bytes read at the start of an array to know its type and shape; NumPy takes 10,000 at most."""

OBJECTS = "it holds Python objects, and reading those can run any code in the file"

_DAMAGED = "it is damaged, or not a file of numpy.savez"


class _ObjectArrayError(Exception):
    """An array of Python objects."""


def open_npz(path: Path, kind: Kind) -> Contents:
    """The arrays of a ``.npz`` file by name, in the file's order, not yet read. Raises `CnnError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            total, limit = sum(record.file_size for record in records), MAX_UNPACKED
            if total > max(limit, MAX_RATIO * path.stat().st_size):
                raise kind.mistake(path, f"its arrays take {total >> 20} MiB, the limit is {limit >> 20} MiB")
            if len(records) > MAX_TENSORS:
                raise kind.mistake(path, f"it holds more than {MAX_TENSORS:,} arrays")
            tensors: dict[str, Stored] = {}
            for record in records:
                if not record.filename.endswith(".npy"):
                    raise kind.mistake(path, f"its member `{record.filename}` is not an array")
                with archive.open(record) as head:
                    shape, type_ = _read_header(head.read(MAX_HEADER), size=record.file_size)
                name = record.filename.removesuffix(".npy")
                if name in tensors:
                    raise kind.mistake(path, f"two of its arrays are called `{name}`")
                empty = as_tensor(np.empty(0, type_), f"`{name}`", path=path, kind=kind)
                tensors[name] = Stored(shape, empty.dtype, _Member(path, record.filename, shape, type_, kind))
    except CnnError:
        raise
    except _ObjectArrayError as error:
        raise kind.mistake(path, OBJECTS) from error
    except Exception as error:  # zipfile, zlib and numpy raise anything on garbage
        raise kind.mistake(path, _DAMAGED) from error
    return Contents("an archive of NumPy's", tensors)


class _Member:
    """Reads one array of an archive."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], type_: np.dtype, kind: Kind) -> None:
        self.path, self.name, self.shape, self.type, self.kind = path, name, shape, type_, kind

    def __call__(self) -> torch.Tensor:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.name) as member:
                # Claims were held against the archive when it was opened; one that has changed since fails below.
                size = archive.getinfo(self.name).file_size
                shape, type_ = _read_header(member.read(MAX_HEADER), size=size)
                if (shape, type_) != (self.shape, self.type):
                    raise ValueError("it changed while it was read")
            with zipfile.ZipFile(self.path) as archive, archive.open(self.name) as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
        except Exception as error:  # as above
            raise self.kind.mistake(self.path, _DAMAGED) from error
        return as_tensor(array, f"`{self.name.removesuffix('.npy')}`", path=self.path, kind=self.kind)


def read_npz(path: Path, kind: Kind) -> dict[str, torch.Tensor]:
    """The arrays of a ``.npz`` file by name, in the file's order. Raises `CnnError`."""
    return open_npz(path, kind).load()


def _read_header(head: bytes, *, size: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, held against its bytes: numpy would make room for whatever shape is claimed."""
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
    if stream.tell() + count * dtype.itemsize != size or min(shape, default=0) < 0:
        raise ValueError("the header's shape and the number of bytes differ")
    return tuple(shape), dtype


def read_npy(path: Path, kind: Kind) -> torch.Tensor:
    """The array of a ``.npy`` file, as a copy of its own. Raises `CnnError`."""
    try:
        with path.open("rb") as file:
            _read_header(file.read(MAX_HEADER), size=path.stat().st_size)
            file.seek(0)
            array = np.lib.format.read_array(file, allow_pickle=False)
    except _ObjectArrayError as error:
        raise kind.mistake(path, OBJECTS) from error
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
