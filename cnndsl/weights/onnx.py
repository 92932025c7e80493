"""The initializers of an ONNX file: its stored tensors by name, without its network.

The `onnx` package is not needed for them, and the file is not taken into memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from cnndsl.errors import CnnError, reason_of
from cnndsl.weights.files import WEIGHTS, Kind, regular_file
from cnndsl.weights.shapes import Shape, brackets
from cnndsl.weights.stored import MAX_TENSORS, Contents, Stored
from cnndsl.weights.wire import Field, Wire, WireError

GRAPH, OPSETS = 7, 8
"""Fields of a model: its network, and the versions of its operators."""

INITIALIZER, SPARSE = 5, 15
"""Fields of a network: its stored tensors."""

_DAMAGED = "it is damaged, or not an ONNX file"


@dataclass(frozen=True)
class _Type:
    """An element type: torch's, that of its bytes, and the field that holds it where it is not raw bytes."""

    torch: torch.dtype
    bytes: str
    field: int


_FLOAT, _INT32, _INT64, _RAW, _DOUBLE, _UINT64 = 4, 5, 7, 9, 10, 11

_TYPES: Mapping[int, _Type] = {
    1: _Type(torch.float32, "<f4", _FLOAT),
    2: _Type(torch.uint8, "u1", _INT32),
    3: _Type(torch.int8, "i1", _INT32),
    4: _Type(torch.uint16, "<u2", _INT32),
    5: _Type(torch.int16, "<i2", _INT32),
    6: _Type(torch.int32, "<i4", _INT32),
    7: _Type(torch.int64, "<i8", _INT64),
    9: _Type(torch.bool, "?", _INT32),
    10: _Type(torch.float16, "<u2", _INT32),
    11: _Type(torch.float64, "<f8", _DOUBLE),
    12: _Type(torch.uint32, "<u4", _UINT64),
    13: _Type(torch.uint64, "<u8", _UINT64),
    16: _Type(torch.bfloat16, "<u2", _INT32),
}
"""By ONNX's numbers. The halves' bytes are read as integers, which both numpy and torch know."""


class _TensorError(Exception):
    """A stored tensor that contradicts itself, in words."""


@dataclass
class _Tensor:
    """A stored tensor as its message tells it."""

    name: str = ""
    type: int = 0
    shape: list[int] = field(default_factory=list)
    values: dict[int, list[Field]] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    external: bool = False


def read_initializers(path: str | Path) -> dict[str, torch.Tensor]:
    """The stored tensors of an ONNX file by name, in its order. Raises CnnError (E0401).

    Tensors whose bytes lie in other files are read from below the model's folder alone.
    """
    return open_initializers(path).load()


def open_initializers(path: str | Path, *, kind: Kind = WEIGHTS) -> Contents:
    """The same, with the values not yet read. Raises CnnError (E0401)."""
    path = regular_file(path, kind)
    tensors: dict[str, Stored] = {}
    try:
        wire = Wire(path)
        graphs = [f for f in wire.fields(wire.whole) if f.number == GRAPH]
        if not graphs:
            raise WireError
        for part in wire.fields(graphs[-1]):
            if part.number == SPARSE:
                raise _TensorError("it has a sparse tensor")
            if part.number != INITIALIZER:
                continue
            tensor = _tensor(wire, part)
            if tensor.name in tensors:
                raise _TensorError(f"two of its tensors are called `{tensor.name}`")
            if len(tensors) == MAX_TENSORS:
                raise _TensorError(f"it holds more than {MAX_TENSORS:,} tensors")
            tensors[tensor.name] = _stored(tensor, wire, path, kind=kind)
    except (WireError, _TensorError) as error:
        raise kind.mistake(path, str(error) or _DAMAGED) from error
    except (OSError, ValueError) as error:
        raise kind.mistake(path, reason_of(error)) from error
    return Contents("the initializers of an ONNX model", tensors)


def _tensor(wire: Wire, message: Field) -> _Tensor:
    """A stored tensor, its values left where they are. Raises WireError, _TensorError."""
    found = _Tensor()
    for part in wire.fields(message):
        match part.number:
            case 1:
                found.shape += wire.integers(part)
            case 2:
                found.type = part.integer
            case 8:
                found.name = wire.text(part)
            case 4 | 5 | 7 | 9 | 10 | 11:
                found.values.setdefault(part.number, []).append(part)
            case 13:
                pair = {f.number: wire.text(f) for f in wire.fields(part) if f.number in {1, 2}}
                found.elsewhere[pair.get(1, "")] = pair.get(2, "")
            case 14:
                found.external = part.integer == 1
            case 3:
                raise _TensorError("it has a tensor in segments")
    return found


def _stored(tensor: _Tensor, wire: Wire, path: Path, *, kind: Kind) -> Stored:
    """What is known of a tensor, its shape held against the bytes that there are. Raises _TensorError, CnnError."""
    shape: Shape = tuple(tensor.shape)
    what = f"its tensor `{tensor.name}`"
    if tensor.type not in _TYPES:
        raise _TensorError(f"{what} is of the unknown type {tensor.type}")
    type_ = _TYPES[tensor.type]
    if len(shape) > 8 or any(not 0 <= n < 1 << 48 for n in shape):
        raise _TensorError(f"{what} claims the shape {brackets(shape[:9])}")
    stored = np.dtype(type_.bytes)
    need = prod(shape) * stored.itemsize
    disagree = _TensorError(f"{what} does not hold what its shape {brackets(shape)} says")
    if tensor.external:
        place, offset = _beside(tensor, need, path, kind=kind)

        def load() -> torch.Tensor:
            try:
                row = np.fromfile(place, stored, prod(shape), offset=offset)
            except OSError as error:
                raise kind.mistake(path, f"{what}: {reason_of(error)}") from error
            if row.size != prod(shape):
                raise kind.mistake(path, f"{what}: {place.name} was cut short")
            return _as_tensor(row, type_, shape)

        return Stored(shape, type_.torch, load)
    raw = tensor.values.get(_RAW, [])
    fields = raw or tensor.values.get(type_.field, [])
    packed = bool(raw) or type_.field in {_FLOAT, _DOUBLE}
    if packed and sum(f.size for f in fields) != need:
        raise disagree
    if packed:
        return Stored(shape, type_.torch, lambda: _as_tensor(wire.numbers(fields, stored), type_, shape))
    if sum(max(f.size, 1) for f in fields) < prod(shape):  # a number takes a byte or more
        raise disagree

    def load_varints() -> torch.Tensor:
        try:
            row = wire.varints(fields) if fields else np.empty(0, np.uint64)
        except WireError as error:
            raise kind.mistake(path, _DAMAGED) from error
        if row.size != prod(shape):
            raise kind.mistake(path, str(disagree))
        return _as_tensor(row.astype(stored), type_, shape)

    return Stored(shape, type_.torch, load_varints)


def _as_tensor(row: np.ndarray, type_: _Type, shape: Shape) -> torch.Tensor:
    tensor = torch.from_numpy(row).reshape(shape)
    return tensor if tensor.dtype == type_.torch else tensor.view(type_.torch)


def _beside(tensor: _Tensor, need: int, path: Path, *, kind: Kind) -> tuple[Path, int]:
    """The file below the model's folder in which a tensor's `need` bytes lie, and where. Raises _TensorError."""
    what = f"its tensor `{tensor.name}`"
    location = tensor.elsewhere.get("location", "")
    folder = path.parent.resolve()
    inside = bool(location) and not PurePosixPath(location).is_absolute() and "\0" not in location
    try:
        place = (folder / location).resolve() if inside else folder
    except RuntimeError as error:  # Python's, on links that lead round in a circle
        raise _TensorError(f"{what} lies in `{location}`, which is a link to itself") from error
    if place == folder or not place.is_relative_to(folder):
        raise _TensorError(f"{what} lies in `{location}`, which is not below the folder of the file")
    try:
        regular_file(place, kind)
        offset, length = (int(tensor.elsewhere.get(key) or value) for key, value in (("offset", 0), ("length", need)))
        size = place.stat().st_size
    except CnnError as error:
        raise _TensorError(f"{what}: {error.diagnostics[0].message}") from error
    except ValueError as error:
        raise _TensorError(f"{what} lies in `{location}` at an offset or with a length that is no number") from error
    if length != need or not 0 <= offset <= size - need:
        raise _TensorError(f"{what} lies at {offset:,} of {location} with {length:,} bytes, which has {size:,}; "
                           f"its shape needs {need:,}")
    return place, offset


def is_onnx(numbers: Mapping[int, int]) -> bool:
    """Whether a message with fields of these numbers and kinds can be an ONNX model."""
    return numbers.get(GRAPH) == 2 and (numbers.get(OPSETS) == 2 or numbers.get(1) == 0)
