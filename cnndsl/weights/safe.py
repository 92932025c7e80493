"""safetensors files: a table of names, types and shapes, then the values."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import safetensors
import torch

from cnndsl.errors import CnnError, reason_of
from cnndsl.weights.files import Kind
from cnndsl.weights.stored import MAX_TENSORS, Contents, Stored

MAX_TABLE = 4 << 20
"""Bytes of the table; ten thousand tensors take one million. Each byte of nonsense can become 25 in memory."""

_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U64": torch.uint64, "U32": torch.uint32,
    "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64,
}  # fmt: skip


def open_safetensors(path: Path, kind: Kind) -> Contents:
    """The tensors of a ``.safetensors`` file, mapped when they are loaded. Raises `CnnError`.

    They come in the order of their bytes; where that is the order by name within each element type, as the
    usual writer leaves it, all are sorted by name, so that the order claims nothing it does not know.
    """
    try:
        length = _length(path)
        file: Any = safetensors.safe_open(path, framework="pt")  # holds every claim of the table against the file
        names = list(file.keys())
        if len(names) > MAX_TENSORS:
            raise kind.mistake(path, f"it holds more than {MAX_TENSORS:,} tensors")
        table = _table(path, length)
        tensors = {}
        for name in names:
            if table[name]["dtype"] not in _TYPES:
                raise kind.mistake(path, f"`{name}` has elements of type {table[name]['dtype']}")
            tensors[name] = Stored(
                tuple(table[name]["shape"]), _TYPES[table[name]["dtype"]], _Tensor(file, name, path, kind)
            )
    except CnnError:
        raise
    except Exception as error:  # SafetensorError, and Python's for a table that is none
        raise kind.mistake(path, f"it is damaged, or not a safetensors file ({reason_of(error)})") from error
    order = sorted(tensors, key=lambda name: table[name]["data_offsets"])
    types = list(dict.fromkeys(table[name]["dtype"] for name in order))
    if order == sorted(order, key=lambda name: (types.index(table[name]["dtype"]), name)):
        order.sort()
    return Contents("a safetensors file", {name: tensors[name] for name in order})


class _Tensor:
    """Maps one tensor."""

    def __init__(self, file: Any, name: str, path: Path, kind: Kind) -> None:
        self.file, self.name, self.path, self.kind = file, name, path, kind

    def __call__(self) -> torch.Tensor:
        try:
            tensor: torch.Tensor = self.file.get_tensor(self.name)
        except Exception as error:  # as above
            reason = f"`{self.name}` cannot be read ({reason_of(error)})"
            raise self.kind.mistake(self.path, reason) from error
        return tensor


def _length(path: Path) -> int:
    """The bytes of the table at the start of the file. Raises ValueError where they are too many."""
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8:
        raise ValueError("it is too short")
    (length,) = struct.unpack("<Q", head)
    if length > min(MAX_TABLE, path.stat().st_size - 8):
        raise ValueError(f"its table claims {length:,} bytes")
    return int(length)


def _table(path: Path, length: int) -> dict[str, Any]:
    """Element type, shape and place of every tensor."""
    with path.open("rb") as file:
        file.seek(8)
        table: dict[str, Any] = json.loads(file.read(length))
    return table
