"""An ONNX file as a graph, and its weights where they lie; whoever wrote it.

A file is data: nothing in it is run, no name in it leads out of the file's folder, and what it claims to hold is
counted before room is made for it. Weights are read one by one, when they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnndsl.errors import problem, reason_of
from cnndsl.weights.files import Kind, regular_file
from cnndsl.weights.onnx import GRAPH, INITIALIZER, open_initializers
from cnndsl.weights.stored import Stored
from cnndsl.weights.wire import BYTES, Field, Wire, WireError

if TYPE_CHECKING:
    import onnx

NETWORK = Kind("E0813", "network")
"""How a mistake of the file is told."""

MAX_GRAPH = 2**31 - 1
"""Bytes of a graph without its weights: protobuf's own limit, for constants may lie among the nodes."""

MAX_INLINED = 100_000
"""Nodes of a network once its functions stand where they are called."""

MAX_CALLS = 50
"""Functions that call functions, one within another."""

_DAMAGED = "it is damaged, or not an ONNX file"


@dataclass(frozen=True)
class Loaded:
    """A model without its initialisers, its functions inlined, and the initialisers by name."""

    model: onnx.ModelProto
    stored: Mapping[str, Stored]
    path: Path

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators that the model is written in; 0 where it names none."""
        return max((e.version for e in self.model.opset_import if e.domain in {"", "ai.onnx"}), default=0)


def need_onnx(doing: str) -> None:
    """Raise CnnError (E0816) where the `onnx` package is not installed; `doing` says what for."""
    if find_spec("onnx") is None:
        raise problem(
            "E0816", f"{doing} needs the `onnx` package, which is not installed", help=("pip install onnx",)
        )


def load_model(path: str | Path) -> Loaded:
    """The model in an ONNX file. Raises CnnError (E0813, E0816)."""
    path = regular_file(path, NETWORK)
    need_onnx("importing an ONNX file")
    from google.protobuf.message import DecodeError
    from onnx import GraphProto, ModelProto

    stored = open_initializers(path, kind=NETWORK).tensors
    try:
        wire = Wire(path)
        outer = list(wire.fields(wire.whole))
        inner = [part for field in outer if field.number == GRAPH for part in wire.fields(field)]
        graph = [part for part in inner if part.number != INITIALIZER]
        rest = [field for field in outer if field.number != GRAPH]
        _count(wire, graph, GraphProto.DESCRIPTOR)
        _count(wire, rest, ModelProto.DESCRIPTOR)
        model = ModelProto.FromString(_bytes(wire, rest))
        model.graph.MergeFromString(_bytes(wire, graph))
    except OSError as error:
        raise NETWORK.mistake(path, reason_of(error)) from error
    except (WireError, DecodeError, UnicodeDecodeError) as error:
        raise NETWORK.mistake(path, str(error) if isinstance(error, _TooMuchError) else _DAMAGED) from error
    if not model.opset_import:
        raise NETWORK.mistake(path, "it does not say in which opset it is written")
    return Loaded(_inlined(model, path), stored, path)


class _TooMuchError(WireError):
    """More than is read, in words."""


def _count(wire: Wire, fields: list[Field], descriptor: Any) -> None:
    """Walk all fields of a message, which are limited in number. Raises WireError, UnicodeDecodeError.

    Two bytes on the disk become an object of 160 bytes in memory (an empty node): a small file could fill it.
    """
    waiting = [(fields, descriptor)]
    while waiting:
        parts, kind = waiting.pop()
        for part in parts:
            known = kind.fields_by_number.get(part.number)
            if known is None or part.kind != BYTES:
                continue
            if known.message_type is not None:
                waiting.append((list(wire.fields(part)), known.message_type))
            elif known.type == known.TYPE_STRING:
                # Of a string that is none, protobuf would make bytes.
                wire.data[part.start : part.end].decode("utf-8")


def _bytes(wire: Wire, fields: list[Field]) -> bytes:
    """The bytes of some fields of a message, which are a message again."""
    if sum(field.size for field in fields) > MAX_GRAPH:
        raise _TooMuchError(f"its graph takes more than {MAX_GRAPH:,} bytes without the weights")
    return b"".join(_tag(field) + wire.data[field.start : field.end] for field in fields)


def _tag(field: Field) -> bytes:
    """What stands before the content of a field: its number and kind, and the length where it has one."""
    tag = _varint(field.number << 3 | field.kind)
    return tag + _varint(field.size) if field.kind == BYTES else tag


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


def _inlined(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model with the nodes of its own functions in the place of their calls."""
    if not model.functions:
        return model
    from onnx import inliner

    functions = {(f.domain, f.name): f for f in model.functions}
    if _expanded(model.graph.node, functions, {}, ()) > MAX_INLINED:
        raise NETWORK.mistake(path, f"its functions make more than {MAX_INLINED:,} nodes, or call themselves")
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # the inliner is native code and raises anything on nonsense
        raise NETWORK.mistake(path, f"its functions cannot be put in place ({reason_of(error)})") from error


def _expanded(nodes: Any, functions: dict[Any, Any], known: dict[Any, int], within: tuple[Any, ...]) -> int:
    """How many nodes a list of nodes becomes; more than `MAX_INLINED` where functions call themselves."""
    total = 0
    for node in nodes:
        key = (node.domain, node.op_type)
        if key not in functions:
            total += 1
            continue
        if key in within or len(within) > MAX_CALLS:
            return MAX_INLINED + 1
        if key not in known:
            known[key] = _expanded(functions[key].node, functions, known, (*within, key))
        total += known[key]
    return total
