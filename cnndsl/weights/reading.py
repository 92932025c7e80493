"""One door for files of weights: the format is known by a file's content, and by its name where that does not tell."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from cnndsl.errors import problem, reason_of
from cnndsl.figures import counted
from cnndsl.ir import Graph
from cnndsl.weights import arrays, caffe, checkpoints, darknet, onnx, safe
from cnndsl.weights.files import WEIGHTS, regular_file
from cnndsl.weights.stored import Contents
from cnndsl.weights.wire import Wire, WireError

_FORMATS = (
    "weights are read from .safetensors, .pt or .pth (torch.save), .npz (numpy.savez), .caffemodel, .onnx and .weights "
    "(Darknet) files"
)

_SUFFIXES = {
    ".safetensors": "safetensors", ".pt": "torch", ".pth": "torch", ".npz": "npz", ".caffemodel": "caffe",
    ".onnx": "onnx", ".weights": "darknet",
}  # fmt: skip

_FOREIGN = (
    (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file", "with h5py and numpy.savez it becomes an .npz file"),
    (b"\x93NUMPY", "it is one array without a name", "write all with numpy.savez"),
    (b"version https://git-lfs", "it stands for a file that Git LFS keeps elsewhere", "fetch it with `git lfs pull`"),
    (b"<", "it is a web page or another text", "download the file itself"),
    (b"\x1f\x8b", "it is packed with gzip", "unpack it first"),
    (b"GGUF", "it is a GGUF file", _FORMATS),
)
"""What people take for weights: how it begins, what it is, and what to do."""


def read_tensors(path: str | Path, graph: Graph | None = None) -> dict[str, torch.Tensor]:
    """All tensors of a weights file by name, in the file's order; see `open_weights`."""
    return open_weights(path, graph).load()


def open_weights(path: str | Path, graph: Graph | None = None, *, bgr: bool = False) -> Contents:
    """What a weights file holds, its values not yet read. They are, tensor by tensor, when they are loaded.

    Tensors of ``.pt`` and ``.safetensors`` files are mapped then: their bytes are read when used. A Darknet file has no
    names; `graph`, the network that it is for, gives them. `bgr` turns the input channels of a ``.caffemodel``'s first
    convolution from blue, green, red to red, green, blue. Raises CnnError: E0401 for a file that cannot be read, E0407
    where `graph` is missing or there is nothing to turn, E0408 where a Darknet file is another network's.
    """
    path = regular_file(path, WEIGHTS)
    try:
        format_ = format_of(path)
    except OSError as error:
        raise WEIGHTS.mistake(path, reason_of(error)) from error
    if bgr and format_ != "caffe":
        raise problem("E0407", f"--bgr is for .caffemodel files, which {path} is not")
    match format_:
        case "caffe":
            contents = caffe.open_caffemodel(path, bgr_to_rgb=bgr)
        case "darknet" if graph is None:
            head = darknet.read_head(path)
            what = f"{path} has {head.values:,} values without names or shapes, in the order of a network's layers"
            help_ = "`cnndsl weights check NET FILE` tells whose they are"
            raise problem("E0407", what, notes=("it is a Darknet file",), help=(help_,))
        case "darknet":
            assert graph is not None
            contents = darknet.open_weights(path, graph)
        case _:
            readers: dict[str, Callable[..., Contents]] = {
                "safetensors": safe.open_safetensors, "torch": checkpoints.open_checkpoint, "npz": arrays.open_npz,
            }  # fmt: skip
            contents = _numbers(onnx.open_initializers(path)) if format_ == "onnx" else readers[format_](path, WEIGHTS)
    if not contents.tensors and format_ != "darknet":
        raise WEIGHTS.mistake(path, "it holds no tensors")
    return contents


def _numbers(contents: Contents) -> Contents:
    """An ONNX file's tensors without the whole numbers among them, which are shapes and axes."""
    tensors = {name: t for name, t in contents.tensors.items() if t.dtype.is_floating_point}
    left = len(contents.tensors) - len(tensors)
    notes = (f"{counted(left, 'tensor')} of whole numbers left out",) if left else ()
    return replace(contents, tensors=tensors, notes=(*contents.notes, *notes))


def format_of(path: Path) -> str:
    """One of the formats' names in `_SUFFIXES`. Raises CnnError (E0401), OSError."""
    with path.open("rb") as file:
        start = file.read(32)
    named = _SUFFIXES.get(path.suffix.lower())
    if start.startswith(b"PK\x03\x04"):
        named = _zip_format(path) or named
    elif start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        named = "safetensors"
    elif start.startswith(b"\x80"):
        named = "torch"  # a pickle
    else:
        for begins, what, way in _FOREIGN:
            if start.startswith(begins):
                raise WEIGHTS.mistake(path, what, help=(way,))
        named = named or _message_format(path) or _darknet_format(start, path)
    if named is None:
        raise WEIGHTS.mistake(path, f"unknown format `{path.suffix or path.name}`", help=(_FORMATS,))
    return named


def _zip_format(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # noqa: BLE001 - zipfile raises anything on garbage; the reader of its suffix says what is wrong
        return None
    if any(name.endswith(("/data.pkl", "/constants.pkl")) for name in names):
        return "torch"
    return "npz" if names and all(name.endswith(".npy") for name in names) else None


def _message_format(path: Path) -> str | None:
    """Of two formats that are both messages of Protocol Buffers, the one whose fields they are."""
    kinds: dict[int, int] = {}
    try:
        wire = Wire(path)
        for field in wire.fields(wire.whole):
            kinds[field.number] = field.kind
    except (WireError, ValueError):
        return None
    if onnx.is_onnx(kinds):
        return "onnx"
    return "caffe" if caffe.is_caffemodel(kinds) else None


def _darknet_format(start: bytes, path: Path) -> str | None:
    """A head of version 0.1 or 0.2, which is all that there is to know a Darknet file by."""
    major, minor, revision = (int.from_bytes(start[i : i + 4], "little", signed=True) for i in (0, 4, 8))
    plausible = major == 0 and minor in {1, 2} and 0 <= revision < 100 and path.stat().st_size % 4 == 0
    return "darknet" if plausible and len(start) >= 16 else None
