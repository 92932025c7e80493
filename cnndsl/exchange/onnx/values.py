"""What the reader holds for each name of an ONNX graph, and a node with its arguments read safely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from cnndsl.exchange.onnx.draft import Draft
from cnndsl.exchange.onnx.refused import Refused
from cnndsl.ir import TensorType
from cnndsl.ops.base import Op

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Constant:
    """Values that are known without running the network.

    `other` are those that they were with another batch, None where that makes no difference. `name` is the
    initialiser's, for naming layers.
    """

    array: np.ndarray
    other: np.ndarray | None = None
    name: str = ""


@dataclass(frozen=True)
class Tensor:
    """A tensor that the network computes: a layer of the draft, and the shape that the file sees it in.

    The batch comes first in `shape`. Reshapes move no value, so they change `shape` alone; `last` says that the
    file has the values of each picture in the order height, width, channel and not, as the draft, channel first.
    """

    item: int
    shape: tuple[int, ...]
    last: bool = False


Value = Constant | Tensor

MAX_INPUTS = 20_000
"""Whole numbers in an argument: axes, sizes, pads."""

FLOATS = "layers compute with floating-point numbers"


@dataclass(frozen=True)
class Node:
    """A node of the graph as its handler sees it; all methods raise Refused where the node is not as they need it."""

    op: str
    where: str
    name: str
    """The name that its layer is to have, of any characters; empty for none."""
    opset: int
    attributes: Mapping[str, Any]
    inputs: Sequence[Value | None]
    wanted: Sequence[bool]
    """Which of its outputs anybody reads."""
    draft: Draft
    batch: int
    """The number that stands for the batch."""
    notes: list[str] = field(default_factory=list)

    def refuse(self, why: str, *notes: str, nearest: str = "") -> Refused:
        """The error that this form of the operator is outside the language."""
        help_ = (f"the nearest layer is `{nearest}`",) if nearest else ()
        return Refused("E0812", f"{self.where} {why}", notes=notes, help=help_)

    # --- inputs --------------------------------------------------------------------------------------

    def has(self, number: int) -> bool:
        """Whether an optional input is given."""
        return number < len(self.inputs) and self.inputs[number] is not None

    def value(self, number: int) -> Value:
        """An input that must be there."""
        found = self.inputs[number] if number < len(self.inputs) else None
        if found is None:
            raise self.refuse(f"lacks its input {number + 1}")
        return found

    def tensor(self, number: int = 0) -> Tensor:
        """An input that the network computes."""
        value = self.value(number)
        if isinstance(value, Constant):
            raise self.refuse(f"computes with a constant as its input {number + 1}")
        return value

    def constant(self, number: int, what: str) -> Constant:
        """An input that is known; `what` it is, for messages."""
        value = self.value(number)
        if isinstance(value, Tensor):
            raise self.refuse(f"computes its {what} while the network runs", "layers have fixed weights and arguments")
        if value.other is not None:
            raise self.refuse(f"has a {what} that depends on the size of the batch")
        return value

    def floats(self, number: int, what: str) -> np.ndarray:
        """A known input of floating-point numbers."""
        array = self.constant(number, what).array
        if array.dtype.kind != "f":
            raise self.refuse(f"has a {what} of type {array.dtype}")
        return array

    def scalar(self, number: int, what: str) -> float:
        """A known input of one number, None where it is not given."""
        array = self.constant(number, what).array
        if array.size != 1 or array.dtype.kind not in "fiub":
            raise self.refuse(f"has a {what} of shape {array.shape}, not one number")
        return short(array.reshape(()))

    def whole(self, number: int, what: str) -> tuple[int, ...]:
        """A known input of whole numbers, one or a list."""
        array = self.constant(number, what).array
        if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > MAX_INPUTS:
            raise self.refuse(f"has a {what} that is no list of whole numbers")
        return tuple(int(v) for v in array.reshape(-1))

    # --- attributes ----------------------------------------------------------------------------------

    def number(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.refuse(f"has an attribute {name} that is no whole number")
        return value

    def real(self, name: str, default: float) -> float:
        """An attribute that is a number: stored as float32, given as the shortest number that is rounded to it."""
        value = self.attributes.get(name, default)
        if not isinstance(value, (int, float)):
            raise self.refuse(f"has an attribute {name} that is no number")
        return plain(value)

    def text(self, name: str, default: str) -> str:
        """An attribute that is a word."""
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            value = value.decode("ascii", "replace")
        if not isinstance(value, str):
            raise self.refuse(f"has an attribute {name} that is no word")
        return value

    def ints(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of whole numbers, None where it is not given."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, int) for v in value):
            raise self.refuse(f"has an attribute {name} that is no list of whole numbers")
        return tuple(value)

    def pair(self, name: str, default: int) -> tuple[int, int]:
        """An attribute of one number each for height and width."""
        value = self.ints(name) or (default, default)
        if len(value) != 2:
            raise self.refuse(f"works along {len(value)} axes: {name} {value}", "layers work on height and width")
        return value[0], value[1]

    # --- tensors as the layers need them -------------------------------------------------------------

    def map(self, tensor: Tensor) -> int:
        """The layer that makes a tensor as a feature map, which the file must see as [N, C, H, W]."""
        draft = self.draft
        type_ = draft.type(tensor.item)
        if tensor.last:
            raise self.refuse(
                f"reads a tensor in the order height, width, channel {tensor.shape[1:]}",
                "layers read the channels first, and transpose nothing",
            )
        if type_.is_map and tensor.shape[1:] == type_.torch_shape:
            return tensor.item
        if len(tensor.shape) == 4 and tensor.shape[2:] == (1, 1) and not type_.is_map:
            found = draft.as_map(tensor.item)
            if found is not None:
                return found
        if len(tensor.shape) != 4:
            raise self.refuse(f"reads a tensor of shape {shown(tensor.shape)}, where layers read [N, C, H, W]")
        raise self.refuse(f"reads {type_} reshaped to {shown(tensor.shape)}", "no layer makes other maps of the values")

    def vector(self, tensor: Tensor) -> int:
        """The layer that makes a tensor as a vector, which the file must see as [N, F]."""
        if len(tensor.shape) != 2:
            raise self.refuse(f"reads a tensor of shape {shown(tensor.shape)}, where layers read [N, F]")
        if tensor.last:
            raise self.refuse("reads a feature map flattened in the order height, width, channel")
        return self.draft.flat(tensor.item)

    def channelled(self, tensor: Tensor) -> tuple[int, int]:
        """The layer that makes a tensor so that its channels are the file's, and the axis that the file has them on."""
        rank = len(tensor.shape)
        if tensor.last and rank == 4:
            return tensor.item, 3
        if rank == 2:
            return self.vector(tensor), 1
        type_ = self.draft.type(tensor.item)
        if rank == 3 and type_.is_map and tensor.shape[1] == type_.channels and not tensor.last:
            return tensor.item, 1
        return self.map(tensor), 1

    def need_rank(self, tensor: Tensor, *arrays: np.ndarray) -> None:
        """Refuse constants with more axes than a tensor: what comes of both has axes before the batch."""
        for array in arrays:
            if array.ndim > len(tensor.shape):
                raise self.refuse(f"computes with a constant of shape {list(array.shape)} beside {shown(tensor.shape)}",
                                  "the batch must stay the first axis")  # fmt: skip

    def add(self, op: Op, *inputs: int, weights: Mapping[str, np.ndarray] | None = None) -> int:
        """Add a layer to the draft."""
        return self.draft.add(op, *inputs, weights=weights, name=self.name, where=self.where)

    def made(self, op: Op, *inputs: int, weights: Mapping[str, np.ndarray] | None = None) -> Tensor:
        """Add a layer to the draft: its result, seen as it is."""
        item = self.add(op, *inputs, weights=weights)
        return Tensor(item, (self.batch, *self.draft.type(item).torch_shape))


def seen(tensor: Tensor, item: int) -> Tensor:
    """Another layer's result, seen in the same shape."""
    return Tensor(item, tensor.shape, tensor.last)


def viewed(tensor: Tensor, shape: tuple[int, ...], type_: TensorType) -> Tensor:
    """A tensor in another shape; the order of the values is forgotten where it makes no difference."""
    assert prod(shape) == prod(tensor.shape)
    matters = tensor.last and type_.is_map and type_.height * type_.width > 1 and type_.channels > 1
    return Tensor(tensor.item, shape, matters)


def short(value: Any) -> float:
    """A number that was stored as float32: the shortest one that is rounded to it (1e-05, not 9.99999974e-06)."""
    import numpy as np

    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))


def plain(value: Any) -> float:
    """As `short`, of an argument: the plainest of the number and its two neighbours in float32.

    Exporters compute them (1 - 0.99999 for 1e-05), and a neighbour is nearer than what fp32 makes of the result.
    """
    import numpy as np

    stored = np.float32(value)
    if not np.isfinite(stored):
        return float(stored)
    with np.errstate(all="ignore"):
        near = (stored, *(np.nextafter(stored, np.float32(end)) for end in (-np.inf, np.inf)))
    best = min(near, key=lambda v: len(str(v)))
    return short(best if len(str(best)) + 3 < len(str(stored)) else stored)


def shown(shape: tuple[int, ...]) -> str:
    """``[N, 3, 224, 224]``."""
    return "[" + ", ".join(["N", *map(str, shape[1:])]) + "]"
