"""Darknet's ``.weights``: a head of three or four numbers, then all values in a row, without names or shapes.

Which value is whose follows from the network alone. For every convolution, in order: a bias for each filter; where it
is batch-normalised that norm's scale, mean and variance; then the filters. For a dense layer: bias, weight, then scale,
mean and variance. For a batch norm that stands alone: bias, scale, mean, variance.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cnndsl.errors import CnnError, problem, reason_of
from cnndsl.figures import counted
from cnndsl.ir import Graph, Node
from cnndsl.ops.base import Weight
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.normalize import BatchNorm
from cnndsl.weights.files import WEIGHTS, Kind, regular_file
from cnndsl.weights.shapes import brackets
from cnndsl.weights.stored import Contents, Stored

LATEST = 1000
"""A version that is larger says that dense layers are written as [in, out]."""


@dataclass(frozen=True)
class Head:
    """The numbers before the values: the version, pictures seen in training, and the bytes of all these."""

    version: tuple[int, int, int]
    seen: int
    size: int
    values: int

    @property
    def transposed(self) -> bool:
        """Whether dense layers' weights are [in, out]."""
        return max(self.version[:2]) > LATEST


def read_head(path: Path, *, values: int | None = None, kind: Kind = WEIGHTS) -> Head:
    """What stands at the start of a file, and how many values follow. Raises CnnError (E0401).

    `values` is how many a network needs; it decides where programs differ in the head that they write.
    """
    path = regular_file(path, kind)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            data = file.read(20)
    except OSError as error:
        raise kind.mistake(path, reason_of(error)) from error
    if len(data) < 16 or size % 4:
        raise kind.mistake(path, "it is damaged, or not a Darknet file: it ends within a value")
    version = struct.unpack_from("<3i", data)
    if min(version) < 0:
        raise kind.mistake(path, f"it is damaged, or not a Darknet file: its version is {_dotted(version)}")
    # Version 0.2 made room for more pictures than 32 bits can count. With transposed layers one program writes 32 bits
    # of them, and another 64.
    wide = version[0] * 10 + version[1] >= 2
    if max(version[:2]) > LATEST:
        wide = values is not None and size == 20 + 4 * values
    if wide and len(data) < 20:
        raise kind.mistake(path, "it is damaged, or not a Darknet file: it ends within its head")
    seen = struct.unpack_from("<Q" if wide else "<I", data, 12)[0]
    return Head(version, seen, 20 if wide else 16, size // 4 - (5 if wide else 4))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


@dataclass(frozen=True)
class _Part:
    """A tensor in the row of values."""

    key: str
    shape: tuple[int, ...]
    size: int
    dense: bool = False
    first: bool = False
    """Whether a layer of Darknet's begins with it."""


def read_weights(path: str | Path, graph: Graph) -> dict[str, torch.Tensor]:
    """The tensors of a ``.weights`` file under the keys of `graph`'s state dict, in fp32.

    Raises CnnError: E0401 for a file that cannot be read, E0408 for one with more or fewer values than the network has
    parameters, or a network that Darknet cannot have.
    """
    return open_weights(path, graph).load()


def open_weights(path: str | Path, graph: Graph, *, kind: Kind = WEIGHTS) -> Contents:
    """The same, with the values not yet read. Raises CnnError (E0401, E0408)."""
    path = Path(path)
    parts = list(_parts(graph, path))
    need = sum(part.size for part in parts)
    head = read_head(path, values=need, kind=kind)
    if need != head.values:
        raise _misfit(path, graph, parts, has=head.values, need=need)
    tensors: dict[str, Stored] = {}
    place = head.size
    for part in parts:
        load = _loader(path, part, place, transposed=head.transposed and part.dense, kind=kind)
        tensors[part.key] = Stored(part.shape, torch.float32, load)
        place += 4 * part.size
    return Contents(described(head), tensors)


def described(head: Head) -> str:
    """A file in words."""
    return f"a Darknet file, version {_dotted(head.version)}, trained on {counted(head.seen, 'picture')}"


def _loader(path: Path, part: _Part, place: int, *, transposed: bool, kind: Kind) -> Callable[[], torch.Tensor]:
    def load() -> torch.Tensor:
        try:
            row = np.fromfile(path, "<f4", part.size, offset=place)
        except OSError as error:
            raise kind.mistake(path, reason_of(error)) from error
        if row.size != part.size:
            raise kind.mistake(path, "it was cut short while it was read")
        values = torch.from_numpy(row)
        return values.reshape(part.shape[::-1]).T.contiguous() if transposed else values.reshape(part.shape)

    return load


# --- the order of the values -------------------------------------------------------------------------------------


def _parts(graph: Graph, path: Path) -> Iterator[_Part]:
    """The tensors of a network in Darknet's order. Raises CnnError (E0408) where Darknet has no such layer."""
    norms = _norms(graph)
    within = {norm.name for norm in norms.values()}
    for node in graph.nodes:
        if node.name not in within:
            for number, part in enumerate(_layer(graph, node, norms.get(node.name), path)):
                yield replace(part, first=number == 0)


def _layer(graph: Graph, node: Node, norm: Node | None, path: Path) -> list[_Part]:
    """The tensors of one layer, with those of its batch norm. Raises CnnError (E0408)."""
    own = {w.name: w for w in node.op.weights(*graph.types_of(node))} if node.op is not None else {}
    match node.op:
        case Conv() | Dense() as op:
            if norm is None and not op.bias:
                raise _foreign(path, node, "has no bias, and each of Darknet's has one: write `bias=true`")
            weight = [_part(node, own["weight"], dense=isinstance(op, Dense))]
            if norm is None:
                return [_part(node, own["bias"]), *weight]
            bias, *statistics = _norm_parts(graph, norm, path)
            return [bias, *statistics, *weight] if isinstance(op, Conv) else [bias, *weight, *statistics]
        case BatchNorm():
            return _norm_parts(graph, node, path)
        case _ if own:
            raise _foreign(path, node, "has weights, and is none of Darknet's layers")
    return []


def _norms(graph: Graph) -> dict[str, Node]:
    """For each layer without a bias the batch norm that alone reads it."""
    found: dict[str, Node] = {}
    for node in graph.nodes:
        readers = graph.users[node.name]
        if isinstance(node.op, Conv | Dense) and not node.op.bias and len(readers) == 1:
            (reader,) = readers
            if isinstance(reader.op, BatchNorm) and node.name not in graph.returned:
                found[node.name] = reader
    return found


def _norm_parts(graph: Graph, node: Node, path: Path) -> list[_Part]:
    """Bias, scale, mean and variance."""
    assert isinstance(node.op, BatchNorm)
    if not node.op.affine:
        raise _foreign(path, node, "has no scale and shift, and each of Darknet's has them: write `affine=true`")
    own = {weight.name: weight for weight in node.op.weights(*graph.types_of(node))}
    return [_part(node, own[name]) for name in ("bias", "weight", "running_mean", "running_var")]


def _part(node: Node, weight: Weight, *, dense: bool = False) -> _Part:
    return _Part(f"{node.name}.{weight.name}", weight.shape, weight.size, dense)


# --- what does not fit -------------------------------------------------------------------------------------------


def _foreign(path: Path, node: Node, why: str) -> CnnError:
    return problem("E0408", f"the values of {path} cannot be those of this network: {node.name} {why}")


def _misfit(path: Path, graph: Graph, parts: list[_Part], *, has: int, need: int) -> CnnError:
    """The error of a file with other than `need` values, and the place where it ends."""
    message = f"{path} has {counted(has, 'value')}, and {graph.name} needs {need:,}: {_difference(has, need)}"
    if has > need:
        last = parts[-1].key if parts else "nothing"
        note = f"the network's values end behind `{last}`, and the file goes on"
        return problem("E0408", message, notes=(note,), help=(_CAUSES,))
    left = has
    for part in parts:
        if left < part.size:
            break
        left -= part.size
    if left == 0 and part.first:
        note = f"it ends exactly before `{part.key}`: perhaps it has the first layers alone, as files to train from do"
    else:
        note = f"it ends within `{part.key}` {brackets(part.shape)}, with {left:,} of its {part.size:,} values"
    return problem("E0408", message, notes=(note,), help=(_CAUSES,))


_CAUSES = (
    "the values have no names: compare the layers with the .cfg file, their filters, windows, groups and batch norms"
)


def _difference(has: int, need: int) -> str:
    return f"{has - need:,} too many" if has > need else f"{need - has:,} too few"
