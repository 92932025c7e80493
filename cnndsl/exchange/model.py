"""A network that came from elsewhere, in this language's operations but not yet a ``.cnn`` file.

Every reader of a foreign format makes a `Model` with a `Builder`; what comes after, the recovery of blocks and the
``.cnn`` text, is the same for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnndsl.errors import CnnError, Source, Span, problem
from cnndsl.exchange.spelling import in_latin
from cnndsl.ir import Graph, InputSpec, Node, TensorType, verify
from cnndsl.ops.base import Op, ShapeError
from cnndsl.ops.fields import BadValueError
from cnndsl.passes.elaborate import MAX_LAYERS
from cnndsl.passes.shapes import MAX_VALUES

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Model:
    """A network and its weights.

    `weights` are by node and torch's last name (``conv1.weight``), in torch's layout; a node may lack its own where a
    format keeps them in another file. `notes` say what could not be kept as it was, and what was assumed.
    """

    graph: Graph
    weights: Mapping[str, torch.Tensor]
    notes: tuple[str, ...] = ()


MAX_NAME = 1000
"""Characters of a name. What is longer says nothing to a reader, and each of its dots would be a module."""


class Builder:
    """Collects the nodes of a `Model` in computing order, and infers their types."""

    def __init__(self, name: str, *, origin: str) -> None:
        """`name` is the network's, made an identifier; `origin` is the file or module, for messages."""
        self.name = identifier(name, otherwise="Net")
        self.origin = origin
        self._span = Span(Source(origin, ""), 0, 0)
        self._nodes: dict[str, Node] = {}
        self._outputs: list[tuple[str, str]] = []
        self._weights: dict[str, torch.Tensor] = {}
        self._notes: dict[str, None] = {}
        self._numbers: dict[str, int] = {}

    def input(self, name: str, type_: TensorType, *, spec: InputSpec | None = None) -> str:
        """Declare an input of the network; returns its name in the graph. Raises CnnError (E0801)."""
        if type_.size > MAX_VALUES:
            raise self.mistake(f"input `{name}` has {type_.size:,} values; at most {MAX_VALUES:,}")
        own = _unique(path_of(name, otherwise="image"), self._nodes, self._numbers)
        self._nodes[own] = Node(own, None, (), type_, self._span, spec=spec)
        return own

    def type(self, name: str) -> TensorType:
        """The type of a node that was added."""
        return self._nodes[name].type

    def op(self, name: str) -> Op | None:
        """The operation of a node that was added; None for an input."""
        return self._nodes[name].op

    def inputs(self, name: str) -> tuple[str, ...]:
        """What a node that was added reads."""
        return self._nodes[name].inputs

    def add(
        self,
        op: Op,
        *inputs: str,
        name: str = "",
        weights: Mapping[str, torch.Tensor] | None = None,
        where: str = "",
    ) -> str:
        """Add a layer that reads nodes of the graph; returns its name there.

        `name` is the layer's elsewhere, of any characters; without one it is named after its operation. `weights` are
        by torch's last names (weight, bias, running_mean, running_var). `where` says in messages which layer of the
        foreign file it is. Raises CnnError E0801 where an argument is none of the language's, its shape rule or the
        shapes of its weights do not hold, or it is too large.
        """
        where = where or name or op.name
        types = tuple(self.type(i) for i in inputs)
        try:
            for argument in op.arguments():
                value = getattr(op, argument.name)
                if value != argument.default:
                    argument.kind.convert(value)
            op = op.resolve(*types)
            type_ = op.infer(*types)
            sizes = (type_.size, *(weight.size for weight in op.weights(*types)))
        except BadValueError as error:
            raise self.mistake(f"{where} does not fit: {op.name}'s {argument.name} {error.message}") from error
        except ShapeError as error:
            raise self.mistake(f"{where} does not fit: {error.message}", error.arithmetic) from error
        if max(sizes) > MAX_VALUES:
            raise self.mistake(f"{where} has a tensor of {max(sizes):,} values; at most {MAX_VALUES:,}")
        if len(self._nodes) >= MAX_LAYERS:
            raise self.mistake(f"it has more than {MAX_LAYERS:,} layers")
        own = _unique(path_of(name, otherwise=op.name), self._nodes, self._numbers)
        if weights is not None:
            for weight in op.weights(*types):
                if weight.name not in weights:
                    raise self.mistake(f"{where} lacks its {weight.name}")
                shape = tuple(weights[weight.name].shape)
                if shape != weight.shape:
                    raise self.mistake(f"the {weight.name} of {where} is {shape}, but {op} needs {weight.shape}")
                self._weights[f"{own}.{weight.name}"] = weights[weight.name]
        self._nodes[own] = Node(own, op, inputs, type_, self._span)
        return own

    def output(self, name: str, node: str) -> None:
        """Declare an output; the first one is called main in the language."""
        self._outputs.append((name, node))

    def note(self, text: str) -> None:
        """Record, once, what a user must know of the result."""
        self._notes[text] = None

    def mistake(self, message: str, *notes: str) -> CnnError:
        """The error that the foreign network cannot be taken."""
        return problem("E0801", f"cannot import {self.origin}: {message}", notes=tuple(n for n in notes if n))

    def finish(self) -> Model:
        """The model. The first output becomes ``main``."""
        if not self._outputs:
            raise self.mistake("it has no output")
        (_, first), *rest = self._outputs
        outputs = {"main": first}
        numbers = {"main": 1}
        for name, node in rest:
            outputs[_unique(identifier(name, otherwise="output"), outputs, numbers)] = node
        graph = verify(Graph(self.name, tuple(self._nodes.values()), tuple(outputs.items())))
        return Model(graph, self._weights, tuple(self._notes))



def _unique(name: str, taken: Container[str], numbers: dict[str, int]) -> str:
    """`name`, or with the next number behind it that none of `taken` has; `numbers` are the last ones by name.

    Without these, ten thousand layers of one name would be counted from the first one each.
    """
    number, own = numbers.get(name, 1), name
    while own in taken:
        number += 1
        own = f"{name}_{number}"
    numbers[name] = number
    return own


def identifier(name: str, *, otherwise: str) -> str:
    """A name of any characters as an identifier of the language; `otherwise` where nothing is left of it.

    Different names may become the same.
    """
    text = re.sub(r"[^0-9A-Za-z_]+", "_", in_latin(name[:MAX_NAME])).strip("_")
    if not text:
        return otherwise
    return text if not text[0].isdigit() else f"_{text}"


def path_of(name: str, *, otherwise: str) -> str:
    """A foreign name as a path: parts between dots and slashes, of letters, digits, underscores and hyphens.

    `otherwise` where there is nothing left of it, or too much.
    """
    if len(name) > MAX_NAME:
        return otherwise
    parts = (re.sub(r"[^0-9A-Za-z_-]+", "_", part).strip("_-") for part in re.split(r"[./]", in_latin(name)))
    return ".".join(part for part in parts if part) or otherwise
