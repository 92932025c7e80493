"""Caffe's ``.caffemodel``: the blobs of every layer, under torch's names.

A blob is a tensor with its shape; what it means follows from its place and the layer's type. Caffe computes batch norm
in two layers: BatchNorm has the statistics, summed up and not yet divided by the third blob, and a Scale behind it the
learned scale and shift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import torch

from cnndsl.errors import problem, reason_of
from cnndsl.figures import counted
from cnndsl.weights.files import WEIGHTS, Kind, regular_file
from cnndsl.weights.shapes import Shape, brackets
from cnndsl.weights.stored import MAX_TENSORS, Contents, Stored
from cnndsl.weights.wire import Field, Wire, WireError

LAYERS, OLD_LAYERS = 100, 2
"""The two lists of layers of a network; the second is that of files from before 2014."""

_OLD_TYPES = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}
"""The old numbers of the layers that have blobs."""

_DAMAGED = "it is damaged, or not a .caffemodel file"


class _BlobError(Exception):
    """A blob that contradicts itself, in words."""


@dataclass(frozen=True)
class _Blob:
    """Numbers in the file: their shape, their type there, and where they lie."""

    shape: Shape
    type: np.dtype
    places: list[Field]

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.type.itemsize == 4 else torch.float64

    def read(self, wire: Wire) -> torch.Tensor:
        return torch.from_numpy(wire.numbers(self.places, self.type).reshape(self.shape))

    def stored(self, wire: Wire, change: Callable[[torch.Tensor], torch.Tensor] = lambda t: t) -> Stored:
        """The tensor for a network; `change` keeps shape and type."""
        return Stored(self.shape, self.dtype, lambda: change(self.read(wire)))

    def vector(self) -> _Blob:
        """A bias that an old file writes as [1, 1, 1, n]."""
        size = prod(self.shape)
        return replace(self, shape=(size,)) if size == max(self.shape, default=1) else self


@dataclass(frozen=True)
class _Layer:
    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    blobs: tuple[_Blob, ...]
    transposed: bool


def read_caffemodel(path: str | Path, *, bgr_to_rgb: bool = False) -> dict[str, torch.Tensor]:
    """The learned tensors of a ``.caffemodel`` by layer and torch's last name: ``conv1/7x7.weight``, in torch's layout.

    BatchNorm's statistics are divided by their factor; a Scale that alone reads a BatchNorm gives that layer its weight
    and bias. `bgr_to_rgb` turns the input channels of the first convolution, for pictures whose channels are red,
    green, blue. Other values are those of the file. Raises CnnError (E0401; E0407 where there is nothing to turn).
    """
    return open_caffemodel(path, bgr_to_rgb=bgr_to_rgb).load()


def open_caffemodel(path: str | Path, *, bgr_to_rgb: bool = False, kind: Kind = WEIGHTS) -> Contents:
    """The same, with the values not yet read. Raises CnnError (E0401, E0407)."""
    path = regular_file(path, kind)
    try:
        wire = Wire(path)
        layers = list(_layers(wire))
    except (WireError, _BlobError) as error:
        raise kind.mistake(path, str(error) or _DAMAGED) from error
    except (OSError, ValueError) as error:
        raise kind.mistake(path, reason_of(error)) from error
    notes: list[str] = []
    tensors: dict[str, Stored] = {}
    scales = _scales(layers)
    taken = {scale.name for scale in scales.values()}
    first = _first_convolutions(layers, path) if bgr_to_rgb else ()
    try:
        for layer in layers:
            if not layer.blobs or layer.name in taken:
                continue
            if layer.type == "BatchNorm":
                made = _statistics(layer, scales.get(layer.name), wire)
            else:
                made = _plain(layer, wire, flipped=layer.name in first)
            for leaf, stored in made.items():
                name = f"{layer.name}.{leaf}"
                if name in tensors:
                    raise _BlobError(f"two of its layers are called `{layer.name}`")
                tensors[name] = stored
    except _BlobError as error:
        raise kind.mistake(path, str(error)) from error
    if len(tensors) > MAX_TENSORS:
        raise kind.mistake(path, f"it holds more than {MAX_TENSORS:,} tensors")
    if any(layer.type == "BatchNorm" and layer.blobs for layer in layers):
        notes.append("statistics of batch norms are divided by the factor that Caffe keeps beside them")
    if taken:
        notes.append(f"{counted(len(taken), 'Scale layer')} behind a BatchNorm gave it weight and bias")
    if first:
        notes.append(f"the input channels of {', '.join(first)} are turned from blue, green, red to red, green, blue")
    return Contents("a Caffe model", tensors, tuple(notes))


# --- the file ----------------------------------------------------------------------------------------------------


def _layers(wire: Wire) -> Iterator[_Layer]:
    """The layers of the file. Raises WireError, _BlobError."""
    found = 0
    for field in wire.fields(wire.whole):
        if field.number == LAYERS:
            found += 1
            yield _layer(wire, field, name=1, type_=2, bottom=3, top=4, blobs=7, inner_product=117)
        elif field.number == OLD_LAYERS:
            found += 1
            yield _layer(wire, field, name=4, type_=5, bottom=2, top=3, blobs=6, inner_product=17, old=True)
        if found > MAX_TENSORS:
            raise _BlobError(f"it has more than {MAX_TENSORS:,} layers")
    if not found:
        raise _BlobError("no layers are in it: " + _DAMAGED)


def _layer(wire: Wire, message: Field, *, old: bool = False, **numbers: int) -> _Layer:
    """One layer; `numbers` are those of its fields."""
    name = type_ = ""
    bottoms, tops, blobs = [], [], []
    transposed = False
    for field in wire.fields(message):
        if field.number == numbers["name"]:
            name = wire.text(field)
        elif field.number == numbers["type_"]:
            type_ = _OLD_TYPES.get(field.integer, "other") if old else wire.text(field)
        elif field.number == numbers["bottom"]:
            bottoms.append(wire.text(field))
        elif field.number == numbers["top"]:
            tops.append(wire.text(field))
        elif field.number == numbers["blobs"]:
            blobs.append(field)
        elif field.number == numbers["inner_product"]:
            transposed = any(f.number == 6 and f.integer != 0 for f in wire.fields(field))
        elif old and field.number == 1:
            raise _BlobError("it is of a Caffe before 2014; Caffe's `upgrade_net_proto_binary` makes it readable")
    read = [_blob(wire, field, f"blob {i} of its layer `{name}`") for i, field in enumerate(blobs)]
    return _Layer(name, type_, tuple(bottoms), tuple(tops), tuple(read), transposed)


def _blob(wire: Wire, message: Field, what: str) -> _Blob:
    """The shape of a blob, held against the numbers that are there."""
    dims: list[int] | None = None
    legacy: dict[int, int] = {}
    floats: list[Field] = []
    doubles: list[Field] = []
    for field in wire.fields(message):
        match field.number:
            case 7:
                dims = dims or []
                dims += [n for f in wire.fields(field) if f.number == 1 for n in wire.integers(f)]
            case 1 | 2 | 3 | 4:
                legacy[field.number] = field.integer
            case 5:
                floats.append(field)
            case 8:
                doubles.append(field)
    places, type_ = (floats, np.dtype("<f4")) if floats or not doubles else (doubles, np.dtype("<f8"))
    if any(field.size % type_.itemsize for field in places):
        raise _BlobError(f"{what} ends within a number")
    count = sum(field.size for field in places) // type_.itemsize
    shape = tuple(legacy.get(i, 0) for i in (1, 2, 3, 4)) if dims is None and legacy else tuple(dims or ())
    if len(shape) > 8 or any(not 0 <= n < 1 << 48 for n in shape) or prod(shape) != count:
        raise _BlobError(f"{what} claims the shape {brackets(shape)} and has {counted(count, 'value')}")
    return _Blob(shape, type_, places)


# --- what the blobs mean -----------------------------------------------------------------------------------------


def _plain(layer: _Layer, wire: Wire, *, flipped: bool) -> dict[str, Stored]:
    """Weight and bias, and what else there is under a number."""
    leaves = ("bias",) if layer.type == "Bias" else ("weight", "bias")
    made: dict[str, Stored] = {}
    for number, blob in enumerate(layer.blobs):
        leaf = leaves[number] if number < len(leaves) else f"blob{number}"
        if leaf == "weight" and layer.type == "InnerProduct":
            made[leaf] = _dense(blob, wire, transposed=layer.transposed)
        elif leaf == "weight" and flipped:
            made[leaf] = blob.stored(wire, lambda t: t.flip(1))
        else:
            made[leaf] = (blob.vector() if leaf == "bias" or layer.type == "Scale" else blob).stored(wire)
    return made


def _dense(blob: _Blob, wire: Wire, *, transposed: bool) -> Stored:
    """The weight of an InnerProduct as [out, in]; old files write [1, 1, out, in]."""
    if len(blob.shape) == 4 and blob.shape[:2] == (1, 1):
        blob = replace(blob, shape=blob.shape[2:])
    if not transposed or len(blob.shape) != 2:
        return blob.stored(wire)
    return Stored(blob.shape[::-1], blob.dtype, partial(_transposed, blob, wire))


def _transposed(blob: _Blob, wire: Wire) -> torch.Tensor:
    return blob.read(wire).T.contiguous()


def _statistics(layer: _Layer, scale: _Layer | None, wire: Wire) -> dict[str, Stored]:
    """What a BatchNorm and the Scale behind it have together, in torch's order."""
    made: dict[str, Stored] = {}
    if len(layer.blobs) != 3 or prod(layer.blobs[2].shape) != 1:
        raise _BlobError(f"its BatchNorm `{layer.name}` has not mean, variance and their factor")
    mean, variance, factor = (blob.vector() for blob in layer.blobs)
    if scale is not None:
        weight = scale.blobs[0].vector()
        # A Scale without bias_term shifts nothing; torch's batch norm has both or none.
        bias = scale.blobs[1].vector().stored(wire) if len(scale.blobs) > 1 else weight.stored(wire, torch.zeros_like)
        made |= {"weight": weight.stored(wire), "bias": bias}
    divisor = float(factor.read(wire).double())
    return made | {
        "running_mean": mean.stored(wire, lambda t: _divided(t, divisor)),
        "running_var": variance.stored(wire, lambda t: _divided(t, divisor)),
    }


def _divided(values: torch.Tensor, divisor: float) -> torch.Tensor:
    """Sums as means; with a factor of 0, of a network that was never trained, Caffe takes 0."""
    return torch.zeros_like(values) if divisor == 0 else (values.double() / divisor).to(values.dtype)


def _scales(layers: Iterable[_Layer]) -> dict[str, _Layer]:
    """For each BatchNorm the Scale that reads its result, where no other layer does."""
    producer: dict[str, _Layer] = {}
    readers: dict[int, list[_Layer]] = {}
    listed = list(layers)
    for layer in listed:
        for bottom in layer.bottoms:
            if bottom in producer:
                readers.setdefault(id(producer[bottom]), []).append(layer)
        producer |= dict.fromkeys(layer.tops, layer)
    found: dict[str, _Layer] = {}
    for layer in listed:
        match readers.get(id(layer), []):
            case [_Layer(type="Scale", bottoms=[_], blobs=blobs) as scale] if layer.type == "BatchNorm" and blobs:
                if layer.blobs and prod(blobs[0].shape) == prod(layer.blobs[0].shape):
                    found[layer.name] = scale
    return found


def _first_convolutions(layers: Iterable[_Layer], path: Path) -> tuple[str, ...]:
    """The convolutions that read the picture. Raises CnnError (E0407) where they do not read three channels."""
    weighted = [layer for layer in layers if layer.blobs]
    readers = [layer for layer in weighted if layer.bottoms == weighted[0].bottoms]
    found = [layer for layer in readers if layer.type == "Convolution" and layer.blobs[0].shape[1:2] == (3,)]
    if not found or found != readers:
        raise problem("E0407", f"--bgr turns three channels of a picture, but the first layer of {path} reads no such")
    return tuple(layer.name for layer in found)


def is_caffemodel(numbers: Mapping[int, int]) -> bool:
    """Whether a message with fields of these numbers and kinds can be a network of Caffe."""
    return LAYERS in numbers or (OLD_LAYERS in numbers and 7 not in numbers)
