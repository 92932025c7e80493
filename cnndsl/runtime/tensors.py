"""Tensors as a run's input, its outputs, and the names of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from cnndsl.errors import problem
from cnndsl.figures import counted
from cnndsl.weights.arrays import read_npy, read_npz
from cnndsl.weights.checkpoints import read_torch
from cnndsl.weights.files import Kind, regular_file
from cnndsl.weights.saving import write_npz
from cnndsl.weights.shapes import brackets

SUFFIXES = (".npy", ".npz", ".pt", ".pth")
"""Endings of the files that `load_tensor` reads; any other input is taken for a picture."""

_TENSOR = Kind("E0412", "tensor")
_LABELS = Kind("E0414", "labels")

MAX_LABELS_BYTES = 16 << 20
"""ImageNet-22k's labels with all their synonyms take 1 MB."""


def load_tensor(path: str | Path, *, key: str | None = None) -> torch.Tensor:
    """The tensor of a ``.npy``, ``.npz``, ``.pt`` or ``.pth`` file, in the file's shape and element type.

    Of several, the one named `key` (the input's name) is taken; a single one under any name. Raises
    `CnnError` E0412.
    """
    path = regular_file(path, _TENSOR)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        way = f"tensors are read from {', '.join(SUFFIXES)} files"
        raise _TENSOR.mistake(path, f"unknown format `{suffix or path.name}`", help=(way,))
    if suffix == ".npy":
        return read_npy(path, _TENSOR)
    content = (
        read_npz(path, _TENSOR) if suffix == ".npz" else read_torch(path, _TENSOR, mapped=False)
    )
    if isinstance(content, Mapping):
        content = _choose({str(name): value for name, value in content.items()}, key, path)
    if not isinstance(content, torch.Tensor):
        raise _TENSOR.mistake(path, f"it holds a {type(content).__name__}, not a tensor")
    if content.is_nested or content.layout != torch.strided or content.is_meta or content.is_quantized:
        raise _TENSOR.mistake(path, "it does not hold a plain dense tensor")
    return content.detach()


def _choose(content: dict[str, object], key: str | None, path: Path) -> object:
    """The value named `key`, or the only one."""
    if key is not None and key in content:
        return content[key]
    if len(content) == 1:
        return next(iter(content.values()))
    if not content:
        raise _TENSOR.mistake(path, "it holds no arrays")
    names = ", ".join(f"`{name}`" for name in list(content)[:8]) + (", ..." if len(content) > 8 else "")
    wanted = "one must be named as the input is" if key is None else f"none is named `{key}`, as the input is"
    raise _TENSOR.mistake(path, f"it holds {len(content)} arrays ({names}), and {wanted}")


def as_batch(tensor: torch.Tensor, *, shape: tuple[int, ...], name: str, source: str) -> torch.Tensor:
    """`tensor` as a batch of inputs: [N, C, H, W] for `shape` (H, W, C), [N, F] for (F,).

    A single input without the batch is taken as a batch of one. The element type, a float type, is kept.
    `name` is the input's name and `source` the file's, for messages. Raises `CnnError` E0413.
    """
    want = (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape
    batch = brackets(("N", *want))
    have = tuple(tensor.shape)
    if tensor.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        found = str(tensor.dtype).removeprefix("torch.")
        way = "write the values that the network reads, as float32; only picture files are prepared"
        raise problem("E0413", f"{source} has elements of type {found}, not a float type", help=(way,))
    if have == want:
        tensor = tensor.unsqueeze(0)
    elif have[1:] != want:
        raise problem(
            "E0413",
            f"{source} is {brackets(have)}, but input `{name}` is {batch}",
            help=_layout_help(have, shape),
        )
    if tensor.shape[0] == 0:
        raise problem("E0413", f"{source} is {brackets(have)}, which is an empty batch")
    return tensor


def _layout_help(have: tuple[int, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    if len(shape) != 3 or have[-3:] != shape or len(have) > 4:
        return ()
    axes = "(2, 0, 1)" if len(have) == 3 else "(0, 3, 1, 2)"
    return (f"it is in the order height, width, channels; write `array.transpose{axes}`",)


def save_outputs(path: str | Path, outputs: Mapping[str, torch.Tensor]) -> None:
    """Writes a network's outputs by name to a ``.npz`` file, bfloat16 as float32. Raises `CnnError` E0421."""
    if Path(path).suffix.lower() != ".npz":
        raise problem("E0421", f"cannot write {path}: outputs are written as .npz")
    write_npz(path, outputs)


def load_labels(path: str | Path, *, classes: int) -> list[str]:
    """The names of the classes, one a line, as UTF-8; blank lines at the end do not count.

    Raises `CnnError` E0414 where the file cannot be read or does not name exactly `classes` classes.
    """
    path = regular_file(path, _LABELS)
    with path.open("rb") as file:
        content = file.read(MAX_LABELS_BYTES + 1)
    if len(content) > MAX_LABELS_BYTES:
        raise _LABELS.mistake(path, f"it is larger than {MAX_LABELS_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _LABELS.mistake(path, f"byte {error.start} is not UTF-8 text") from error
    labels = [" ".join(line.split()) for line in text.rstrip().splitlines()]
    for number, label in enumerate(labels, start=1):
        if not label:
            raise _LABELS.mistake(path, f"line {number} is blank; every line names one class")
        if not label.isprintable():
            raise _LABELS.mistake(path, f"line {number} has control characters")
    if len(labels) != classes:
        raise problem(
            "E0414",
            f"{path} names {counted(len(labels), 'label')}, but the network's output has {classes:,}",
            help=("the first line is a background class? Drop it",) if len(labels) == classes + 1 else (),
        )
    return labels
