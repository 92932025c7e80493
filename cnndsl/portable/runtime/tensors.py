"""Tensors in files: .safetensors, .npy and .pt, read and written with torch alone.

A file is data: nothing in it is ever executed, and what it claims is held against its size before memory is taken.
"""

from __future__ import annotations

import ast
import ctypes
import json
import math
import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .mistakes import Unfit, Unreadable, reason_of

SUFFIXES = (".safetensors", ".npy", ".pt", ".pth")
"""Endings of the files that `load_tensor` reads; any other input is taken for a picture."""

_SAFETENSORS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_NUMPY = {
    "<f8": torch.float64, "<f4": torch.float32, "<f2": torch.float16, "<i8": torch.int64, "<i4": torch.int32,
    "<i2": torch.int16, "|i1": torch.int8, "|u1": torch.uint8, "|b1": torch.bool,
}  # fmt: skip

_MAX_HEADER = 64 << 20
"""Bytes of the table at the start of a file. Ten thousand tensors take one million."""


def regular_file(path: Path, noun: str) -> Path:
    """`path`, once it is known to be a file that is not empty. Raises Unreadable, which calls it `noun`."""
    try:
        reasons = (
            (path.is_dir(), "it is a folder"),
            (not path.exists(), "there is no such file"),
            (not path.is_file(), "it is not a regular file"),
            (path.is_file() and path.stat().st_size == 0, "it is empty"),
        )
    except (OSError, ValueError) as error:  # a name that is too long or holds a NUL
        raise Unreadable(f"cannot read the {noun} {path}: {reason_of(error)}") from None
    for holds, reason in reasons:
        if holds:
            raise Unreadable(f"cannot read the {noun} {path}: {reason}")
    return path


# --- reading ---------------------------------------------------------------------------------------


def load_tensor(path: Path, *, key: str) -> torch.Tensor:
    """The tensor of a file, in its shape and element type; of several, the one named `key`. Raises Unreadable."""
    regular_file(path, "tensor")
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return read_npy(path)
        found: object = read_safetensors(path)[0] if suffix == ".safetensors" else _read_torch(path)
        if isinstance(found, Mapping):
            found = _choose({str(name): value for name, value in found.items()}, key)
        if not isinstance(found, torch.Tensor):
            raise Unreadable(f"it holds a {type(found).__name__}, not a tensor")
        if found.is_nested or found.layout != torch.strided or found.is_meta or found.is_quantized:
            raise ValueError("it does not hold a plain dense tensor")
    except (ValueError, OSError) as error:
        raise Unreadable(f"cannot read the tensor {path}: {reason_of(error)}") from None
    return found.detach()


def _choose(found: Mapping[str, object], key: str) -> object:
    if key in found:
        return found[key]
    if len(found) == 1:
        return next(iter(found.values()))
    raise ValueError(f"it holds {len(found)} tensors, and none is named `{key}`, as the input is")


def _read_torch(path: Path) -> object:
    try:
        # weights_only: pickle can run code; the restricted reader knows tensors and plain containers.
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything, from KeyError to RuntimeError, on garbage
        raise ValueError("it is damaged, or holds more than tensors") from error


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a .safetensors file by name, and its metadata. Raises ValueError and OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
        if length > min(size - 8, _MAX_HEADER):
            raise ValueError("it is not a safetensors file, or cut short")
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise ValueError("it is not a safetensors file: its table cannot be read") from None
        if not isinstance(header, dict):
            raise Unreadable("it is not a safetensors file: its table is none")
        metadata = header.pop("__metadata__", {})
        data = bytearray(size - 8 - length)
        if file.readinto(data) != len(data):
            raise ValueError("it became shorter while it was read")
    return {name: _entry(name, entry, data) for name, entry in header.items()}, metadata


def _entry(name: str, entry: Any, data: bytearray) -> torch.Tensor:
    """One tensor of a safetensors file, over the bytes of the file."""
    try:
        dtype, shape, (start, end) = _SAFETENSORS[entry["dtype"]], entry["shape"], entry["data_offsets"]
        whole = all(type(i) is int and i >= 0 for i in (*shape, start, end))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"its table says of `{name}` what cannot be read") from None
    count = math.prod(shape) if whole else -1
    if not whole or end > len(data) or end - start != count * dtype.itemsize:
        raise ValueError(f"`{name}` has another size than its shape, or lies beyond the end")
    return _over(data, dtype, count=count, start=start).reshape(shape)


def _over(data: bytearray, dtype: torch.dtype, *, count: int, start: int = 0) -> torch.Tensor:
    """`count` values from a byte on, [count]."""
    if not count:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype, count=count, offset=start)


def read_npy(path: Path) -> torch.Tensor:
    """The array of a .npy file. Raises ValueError and OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if start[:6] != b"\x93NUMPY" or len(start) < 8 or start[6] not in (1, 2, 3):
            raise ValueError("it is not a file of numpy.save")
        wide = "<H" if start[6] == 1 else "<I"
        try:
            (length,) = struct.unpack(wide, file.read(struct.calcsize(wide)))
            header = ast.literal_eval(file.read(min(length, _MAX_HEADER)).decode("latin-1"))
            kind, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
            whole = isinstance(shape, tuple) and all(type(i) is int and i >= 0 for i in shape)
        except (struct.error, ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
            raise ValueError("it is not a file of numpy.save: its header cannot be read") from None
        if kind not in _NUMPY:
            raise ValueError(f"its elements are of type {kind!r}; float32 is read (array.astype('<f4'))")
        dtype, count = _NUMPY[kind], math.prod(shape) if whole else -1
        if not whole or count * dtype.itemsize != size - file.tell():
            raise ValueError("its size is another than its header says")
        data = bytearray(count * dtype.itemsize)
        if file.readinto(data) != len(data):
            raise ValueError("it became shorter while it was read")
    values = _over(data, dtype, count=count)
    if fortran and len(shape) > 1:
        return values.reshape(shape[::-1]).permute(*reversed(range(len(shape)))).contiguous()
    return values.reshape(shape)


# --- writing ---------------------------------------------------------------------------------------


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors by name to a .safetensors or .pt file, or a single one to a .npy file. Raises Unfit.

    The file is replaced at once, or not at all.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise Unfit(f"cannot write {path}: tensors are written as {', '.join(SUFFIXES)}")
    if suffix == ".npy" and len(tensors) != 1:
        raise Unfit(f"cannot write {path}: a .npy file holds one array", help=("write a .safetensors file",))
    if path.is_dir():
        raise Unfit(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise Unfit(f"cannot write {path}: there is no folder {path.parent}")
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}")
    try:
        if suffix == ".safetensors":
            temporary.write_bytes(safetensors_bytes(tensors))
        elif suffix == ".npy":
            temporary.write_bytes(_npy_bytes(*tensors.values()))
        else:
            torch.save({name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}, temporary)
        temporary.replace(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise Unfit(f"cannot write {path}: {reason_of(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


def safetensors_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """A .safetensors file. The same tensors and metadata give the same bytes."""
    kinds = {dtype: name for name, dtype in _SAFETENSORS.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    # The widest elements first, so that all lie at multiples of their size.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    end, parts = 0, []
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        parts.append(_bytes_of(tensor))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def _npy_bytes(tensor: torch.Tensor) -> bytes:
    """A .npy file; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    kind = {dtype: name for name, dtype in _NUMPY.items()}[tensor.dtype]
    text = str({"descr": kind, "fortran_order": False, "shape": tuple(tensor.shape)})
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + _bytes_of(tensor)


def _bytes_of(tensor: torch.Tensor) -> bytes:
    values = tensor.detach().cpu().contiguous()
    return ctypes.string_at(values.data_ptr(), values.nbytes) if values.nbytes else b""
