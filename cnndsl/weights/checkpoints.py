"""Files of ``torch.save``: weights alone, or a checkpoint with the weights somewhere within."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cnndsl.errors import listed
from cnndsl.weights.arrays import OBJECTS
from cnndsl.weights.files import Kind
from cnndsl.weights.stored import MAX_TENSORS, Contents, Stored

MAX_PICKLE = 16 << 20
"""Bytes of what stands beside the values: names, shapes, the optimizer's settings. Each can become 70 in memory.
ResNet-152 with its optimizer has 0.3 MB."""

MAX_REPEATED = 1 << 30
"""Bytes that a tensor of repeated values may claim, which the file need not have."""

_NESTED = ("state_dict", "model_state_dict", "model", "network", "net", "weights", "params")
"""Where training programs keep the weights beside the optimizer's state, the likeliest first."""

_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""The number that the old format's first pickle holds."""

_MAX_NESTING = 3
"""Dictionaries within dictionaries that are looked into."""

_TRUSTED = (
    'of a whole model that is trusted, keep the tensors: `torch.save(model.state_dict(), "weights.pt")`',
    'of a checkpoint, keep the weights alone: `torch.save(checkpoint["state_dict"], "weights.pt")`',
)

_SAVE = 'keep the weights alone: `torch.save(model.state_dict(), "weights.pt")`'


def open_checkpoint(path: Path, kind: Kind) -> Contents:
    """The named tensors of a file, mapped where its format allows. Raises `CnnError`.

    A checkpoint with the weights further down (``{"state_dict": {...}, "epoch": 3}``) is unwrapped, as the notes say.
    """
    content = read_torch(path, kind, mapped=True)
    within: list[str] = []
    beside: list[str] = []
    while True:
        if not isinstance(content, Mapping):
            reason = f"it holds a {type(content).__name__}, not tensors by name"
            raise kind.mistake(path, reason, help=(_SAVE,))
        key = _next(content, path, kind=kind, depth=_MAX_NESTING - len(within))
        if key is None:
            break
        beside += [str(other) for other in content if other != key]
        content = content[key]
        within.append(key)
    tensors = _named_tensors(content)
    notes = []
    if within:
        left = f"; left out: {listed([f'`{name}`' for name in beside], most=6)}" if beside else ""
        notes.append(f"the weights stand under `{'.'.join(within)}`{left}")
    others = [str(name) for name in content if name not in tensors]
    if others and tensors:
        notes.append(f"left out, since they are no tensors: {listed([f'`{name}`' for name in others], most=6)}")
    if len(tensors) > MAX_TENSORS:
        raise kind.mistake(path, f"it holds more than {MAX_TENSORS:,} tensors")
    stored = {name: Stored.of(_plain(name, tensor, path, kind=kind)) for name, tensor in tensors.items()}
    return Contents("a file of torch.save", stored, tuple(notes))


def _next(content: Mapping[Any, Any], path: Path, *, kind: Kind, depth: int) -> str | None:
    """The key under which the weights stand, or None where they stand here."""
    if depth == 0:
        return None
    known: dict[tuple[int, int], bool] = {}
    nested = [k for k, v in content.items() if isinstance(k, str) and _has_tensors(v, depth - 1, known)]
    for key in _NESTED:
        if key in nested:
            return key
    if _named_tensors(content) or not nested:
        return None
    if len(nested) > 1:
        keys = ", ".join(f"`{key}`" for key in nested)
        raise kind.mistake(path, f"it holds several sets of tensors: {keys}", help=(_SAVE,))
    return nested[0]


def _has_tensors(value: Any, depth: int, known: dict[tuple[int, int], bool]) -> bool:
    """Whether a dictionary holds named tensors, perhaps `depth` further down; each is looked into once."""
    if not isinstance(value, Mapping):
        return False
    key = (id(value), depth)
    if key not in known:
        known[key] = bool(_named_tensors(value)) or (
            depth > 0 and any(_has_tensors(v, depth - 1, known) for k, v in value.items() if isinstance(k, str))
        )
    return known[key]


def _named_tensors(value: object) -> dict[str, torch.Tensor]:
    """The tensors with names in a dictionary; none for anything else."""
    if not isinstance(value, Mapping):
        return {}
    return {k: t for k, t in value.items() if isinstance(k, str) and isinstance(t, torch.Tensor)}


def _plain(name: str, tensor: torch.Tensor, path: Path, *, kind: Kind) -> torch.Tensor:
    if tensor.is_nested or tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        raise kind.mistake(path, f"`{name}` is not a plain dense tensor")
    if tensor.nbytes > max(MAX_REPEATED, tensor.untyped_storage().nbytes()):
        raise kind.mistake(path, f"`{name}` claims {tensor.numel():,} values, far more than the file has")
    return tensor.detach()


# --- the file ----------------------------------------------------------------------------------------------------


def read_torch(path: Path, kind: Kind, *, mapped: bool) -> Any:
    """The object in a ``.pt`` or ``.pth`` file: tensors, numbers, strings and containers, nothing else.

    `mapped`: tensors of today's format are not read but mapped. Their bytes come from the disk when first
    used, so that weights cost no second copy in memory; the file must not be cut short meanwhile. Raises
    `CnnError`.
    """
    zipped = is_zip(path)
    if zipped:
        _check_archive(path, kind)
    else:
        _check_pickles(path, kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of protocols of pickle that it reads or refuses all the same
            # weights_only: pickle can run code; the restricted reader knows tensors and plain containers.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and mapped)
    except Exception as error:  # torch raises anything, from KeyError to RuntimeError, on garbage
        refused = _refused_globals(path, error, zipped=zipped)
        if not refused:
            raise kind.mistake(path, "it is damaged, or not a file of torch.save") from error
        raise kind.mistake(path, f"{OBJECTS}: {', '.join(refused)}", help=_TRUSTED) from error


def is_zip(path: Path) -> bool:
    """Whether a file begins as zip archives do."""
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
        way = f'keep its weights: `torch.save(torch.jit.load("{path.name}").state_dict(), "weights.pt")`'
        raise kind.mistake(path, "it is a TorchScript program", help=(way,))
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise kind.mistake(path, "its records are compressed, which torch.save never does")
    if any(record.file_size > MAX_PICKLE for record in records if record.filename.endswith("/data.pkl")):
        raise kind.mistake(path, f"it has more than {MAX_PICKLE >> 20} MiB beside its tensors")


def _check_pickles(path: Path, kind: Kind) -> None:
    """Refuses a file of the old format with more than `MAX_PICKLE` bytes before the values.

    The format is five pickles, then the values. They are walked without being run, so nothing is made of them; torch
    refuses what is none.
    """
    with path.open("rb") as file:
        start = file.read(MAX_PICKLE)
    if start.startswith(b"\x80") and _MAGIC not in start[:64]:
        way = "what is trusted, load with pickle, and write its arrays with `numpy.savez`"
        raise kind.mistake(path, "it is a pickle, and not one of torch.save", help=(way,))
    stream = io.BytesIO(start)
    try:
        for _ in range(5):
            for _ in pickletools.genops(stream):
                pass
    except Exception as error:  # pickletools raises anything on garbage
        if stream.tell() == MAX_PICKLE:
            raise kind.mistake(path, f"it has more than {MAX_PICKLE >> 20} MiB beside its tensors") from error


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
