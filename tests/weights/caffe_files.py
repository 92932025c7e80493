"""Caffe's files as Caffe writes them: through the `protobuf` package, and by hand."""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cnndsl.exchange.caffe.schema import net_parameter


def model(*layers: dict[str, Any], old: bool = False) -> bytes:
    """A file of layers; `old` writes them as Caffe did before 2014."""
    net = net_parameter()(name="net")
    for layer in layers:
        kept = dict(layer)
        blobs = kept.pop("blobs", ())
        if old:
            kept["type"] = {"Convolution": 4, "InnerProduct": 14, "ReLU": 18, "Pooling": 17}[kept["type"]]
        added = (net.layers if old else net.layer).add(**kept)
        for array in blobs:
            blob = added.blobs.add()
            if old:
                four = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = four
            else:
                blob.shape.dim.extend(array.shape)
            (blob.double_data if array.dtype == np.float64 else blob.data).extend(array.ravel().tolist())
    data: bytes = net.SerializeToString()
    return data


def layer(name: str, type_: str, reads: str, makes: str, *blobs: np.ndarray, **parameters: Any) -> dict[str, Any]:
    """A layer of one input and output."""
    return {"name": name, "type": type_, "bottom": [reads], "top": [makes], "blobs": blobs, **parameters}


# --- by hand -------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A number of variable length; negative ones as 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def piece(field: int, content: bytes | str) -> bytes:
    """A string, a message, or packed numbers."""
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def floats(values: Iterable[float]) -> bytes:
    return b"".join(struct.pack("<f", value) for value in values)


def blob(shape: Sequence[int], values: Iterable[float]) -> bytes:
    """A BlobProto: its shape, its values packed."""
    return piece(7, piece(1, b"".join(map(varint, shape)))) + piece(5, floats(values))


def by_hand(name: str, type_: str, *blobs: bytes, bottom: str = "data", top: str = "x") -> bytes:
    """A NetParameter of one layer."""
    parts = [piece(1, name), piece(2, type_), piece(3, bottom), piece(4, top), *(piece(7, b) for b in blobs)]
    return piece(100, b"".join(parts))
