"""A network between the file's operators and the language's layers.

Its items are layers of the language and a few that no file can name (`Affine`, `Clip` and others of `PSEUDO`), which
`cnndsl.exchange.onnx.patterns` puts together to layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cnndsl.exchange.onnx.refused import Refused
from cnndsl.ir import InputSpec, TensorType
from cnndsl.ops.base import Op, ShapeError
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.fields import BadValueError
from cnndsl.ops.reshape import Flatten
from cnndsl.passes.elaborate import MAX_LAYERS
from cnndsl.passes.shapes import MAX_VALUES

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Affine(Op):
    """scale * x + shift, of its weights `scale` and `shift`: one number for each channel, or one for all."""

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]


@dataclass(frozen=True)
class Clip(Op):
    """min(max(x, low), high)."""

    low: float
    high: float

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]


@dataclass(frozen=True)
class Erf(Op):
    """The error function."""

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]


@dataclass(frozen=True)
class Part(Op):
    """The channels from `start` up to `stop`."""

    start: int
    stop: int

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType((*xs[0].shape[:-1], self.stop - self.start))


@dataclass(frozen=True)
class ChannelPad(Op):
    """Channels of zeros, `before` below and `after` above."""

    before: int
    after: int

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType((*xs[0].shape[:-1], xs[0].channels + self.before + self.after))


@dataclass(frozen=True)
class ChannelMean(Op):
    """The mean of every `size` channels next to each other."""

    size: int

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType((*xs[0].shape[:-1], xs[0].channels - self.size + 1))


@dataclass(frozen=True)
class Power(Op):
    """x to the power of `exponent`."""

    exponent: float

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]


@dataclass(frozen=True)
class Quotient(Op):
    """One tensor divided by another."""

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]


PSEUDO = (Affine, ChannelMean, ChannelPad, Clip, Erf, Part, Power, Quotient)


@dataclass(frozen=True, eq=False)
class Item:
    """One layer: its inputs by number, its weights in torch's layout by torch's last names.

    `name` is the layer's in the file, of any characters, empty for none; `where` names it in messages.
    """

    op: Op | None
    inputs: tuple[int, ...]
    type: TensorType
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    name: str = ""
    where: str = ""
    spec: InputSpec | None = None


class Draft:
    """Items in computing order."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.outputs: list[tuple[str, int]] = []
        self._flat: dict[int, int] = {}
        self._maps: dict[int, int] = {}

    def type(self, item: int) -> TensorType:
        """The type of an item."""
        return self.items[item].type

    def op(self, item: int) -> Op | None:
        """The operation of an item; None for an input."""
        return self.items[item].op

    def input(self, name: str, type_: TensorType, *, spec: InputSpec | None = None) -> int:
        """Add an input of the network. Raises Refused (E0801)."""
        if type_.size > MAX_VALUES:
            raise Refused("E0801", f"input `{name}` has {type_.size:,} values; at most {MAX_VALUES:,}")
        return self._append(Item(None, (), type_, name=name, spec=spec))

    def add(
        self, op: Op, *inputs: int, weights: Mapping[str, np.ndarray] | None = None, name: str = "", where: str = ""
    ) -> int:
        """Add a layer; raises Refused (E0801) where its arguments, inputs and weights do not go together."""
        return self._append(self.item(op, *inputs, weights=weights, name=name, where=where))

    def item(
        self, op: Op, *inputs: int, weights: Mapping[str, np.ndarray] | None = None, name: str = "", where: str = ""
    ) -> Item:
        """As `add`, without adding it."""
        types = tuple(self.type(i) for i in inputs)
        where = where or op.name
        try:
            if not isinstance(op, PSEUDO):
                for argument in op.arguments():
                    value = getattr(op, argument.name)
                    if value != argument.default:
                        argument.kind.convert(value)
            op = op.resolve(*types)
            type_ = op.infer(*types)
        except BadValueError as error:
            raise Refused("E0801", f"{where} does not fit: {op.name}'s {argument.name} {error.message}") from error
        except ShapeError as error:
            notes = (error.arithmetic,) if error.arithmetic else ()
            raise Refused("E0801", f"{where} does not fit: {error.message}", notes=notes) from error
        if type_.size > MAX_VALUES:
            raise Refused("E0801", f"{where} makes a tensor of {type_.size:,} values; at most {MAX_VALUES:,}")
        weights = dict(weights or {})
        _check_weights(op, types, weights, where)
        return Item(op, inputs, type_, weights, name, where)

    def flat(self, item: int) -> int:
        """The item as a vector: itself, or flattened behind."""
        if not self.type(item).is_map:
            return item
        if item not in self._flat:
            self._flat[item] = self.add(Flatten(), item)
        return self._flat[item]

    def as_map(self, item: int) -> int | None:
        """A vector [F] computed again as a map [1x1xF]; None where that cannot be done.

        Dense layers become convolutions over the whole map, and the layers between them stay as they are. What is
        not read any more is dropped in the end.
        """
        wanted = self._vectors_behind(item)
        if wanted is None:
            return None
        for number in wanted:
            if number not in self._maps:
                self._maps[number] = self._made_map(self.items[number])
        return self._maps[item]

    def _vectors_behind(self, item: int) -> list[int] | None:
        """All vectors that must become maps for `item` to be one, in computing order; None where one cannot."""
        found: set[int] = set()
        waiting = [item]
        while waiting:
            number = waiting.pop()
            if number in found or number in self._maps:
                continue
            found.add(number)
            at = self.items[number]
            match at.op:
                case None:
                    return None
                case Flatten():
                    source = self.type(at.inputs[0])
                    if source.is_map and source.height * source.width > 1:
                        return None
                case Dense() if self.type(at.inputs[0]).is_map:
                    pass
                case _:
                    waiting.extend(at.inputs)
        return sorted(found)

    def _made_map(self, at: Item) -> int:
        assert at.op is not None
        inputs = tuple(self._maps.get(i, i) for i in at.inputs)
        match at.op:
            case Flatten():
                return inputs[0]
            case Dense(units, bias):
                x = self.type(inputs[0])
                kernel = (x.height, x.width)
                weights = dict(at.weights)
                weights["weight"] = weights["weight"].reshape(units, x.channels, *kernel)
                op: Op = Conv(units, kernel, bias=bias)
                return self.add(op, *inputs, weights=weights, name=at.name, where=at.where)
        return self.add(at.op, *inputs, weights=at.weights, name=at.name, where=at.where)

    def put(self, number: int, item: Item) -> None:
        """Have another item stand where one was; what is computed must have the same type."""
        assert item.type == self.items[number].type
        assert all(i < number for i in item.inputs)
        self.items[number] = item

    def live(self) -> list[int]:
        """The items that an output depends on, in computing order."""
        found: set[int] = set()
        waiting = [item for _, item in self.outputs]
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                waiting.extend(self.items[number].inputs)
        return sorted(found)

    def uses(self) -> dict[int, int]:
        """How often each live item is read, as an input or as an output."""
        counts: dict[int, int] = {}
        readers: Iterator[int] = (i for number in self.live() for i in self.items[number].inputs)
        for number in (*readers, *(item for _, item in self.outputs)):
            counts[number] = counts.get(number, 0) + 1
        return counts

    def redirect(self, targets: Mapping[int, int]) -> None:
        """Have all that reads an item of `targets` read what it stands for."""
        def end(number: int) -> int:
            while number in targets:
                number = targets[number]
            return number

        for number, item in enumerate(self.items):
            if any(i in targets for i in item.inputs):
                self.items[number] = replace(item, inputs=tuple(end(i) for i in item.inputs))
        self.outputs = [(name, end(item)) for name, item in self.outputs]

    def _append(self, item: Item) -> int:
        if len(self.items) >= 4 * MAX_LAYERS:
            raise Refused("E0801", f"it has more than {MAX_LAYERS:,} layers")
        self.items.append(item)
        return len(self.items) - 1


def _check_weights(op: Op, types: Sequence[TensorType], given: Mapping[str, np.ndarray], where: str) -> None:
    for weight in op.weights(*types):
        shape = tuple(given[weight.name].shape)
        if shape != weight.shape:
            raise Refused("E0801", f"{where} does not fit: its {weight.name} is {shape}, but {op} needs {weight.shape}")


def is_infinite(value: float) -> bool:
    """Whether a bound is none: exporters write the largest float32 for it too."""
    return math.isinf(value) or abs(value) >= 3.4028234e38


