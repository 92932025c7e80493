"""The syntax tree of a ``.cnn`` file: frozen dataclasses, each with the span it came from."""

from __future__ import annotations

from dataclasses import dataclass

from cnndsl.errors import Source, Span

# --- expressions ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Literal:
    """An integer, a float, a string or a boolean."""

    value: int | float | str | bool
    span: Span


@dataclass(frozen=True)
class Dims:
    """``3x3`` or ``227x227x3``; None stands for ``_``."""

    values: tuple[int | None, ...]
    span: Span


@dataclass(frozen=True)
class Name:
    """A parameter, or ``_`` in a shape."""

    name: str
    span: Span


@dataclass(frozen=True)
class Field:
    """``in.channels`` and its kin."""

    owner: str
    name: str
    span: Span


@dataclass(frozen=True)
class Reference:
    """``@label`` or ``@block.label``."""

    path: str
    span: Span


@dataclass(frozen=True)
class Tuple:
    """``(1, 2)``."""

    items: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True)
class Unary:
    """``-x``, ``+x`` or ``not x``."""

    operator: str
    operand: Expr
    span: Span


@dataclass(frozen=True)
class Binary:
    """``first op operand op operand ...``, all operators of one level of precedence, left to right."""

    first: Expr
    rest: tuple[tuple[str, Expr], ...]
    span: Span


Expr = Literal | Dims | Name | Field | Reference | Tuple | Unary | Binary

# --- bodies --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Label:
    """The name in front of a colon."""

    name: str
    span: Span


@dataclass(frozen=True)
class Argument:
    """One argument; `name` is None when it is positional."""

    name: str | None
    value: Expr
    span: Span


@dataclass(frozen=True)
class Body:
    """A pipeline in braces."""

    items: tuple[Item, ...]
    span: Span


@dataclass(frozen=True)
class Arm:
    """One arm of ``add``, ``mul`` or ``concat``."""

    label: Label | None
    body: Body
    span: Span


@dataclass(frozen=True)
class Layer:
    """A layer or the call of a block."""

    label: Label | None
    name: str
    name_span: Span
    arguments: tuple[Argument, ...]
    arms: tuple[Arm, ...] | None
    span: Span
    """Without the label."""


@dataclass(frozen=True)
class Group:
    """``label: { ... }``: layers under a common path."""

    label: Label
    body: Body
    span: Span


@dataclass(frozen=True)
class Goto:
    """``@label`` as a layer: go on from that earlier output."""

    target: Reference
    span: Span


@dataclass(frozen=True)
class Repeat:
    """``repeat n { ... }``."""

    label: Label | None
    count: Expr
    body: Body
    span: Span


@dataclass(frozen=True)
class If:
    """``if c { ... } else { ... }``; an ``else if`` is an If alone in the second body."""

    condition: Expr
    then: Body
    otherwise: Body | None
    span: Span


@dataclass(frozen=True)
class Output:
    """``output name { ... }``."""

    name: str
    name_span: Span
    body: Body
    span: Span


@dataclass(frozen=True)
class Input:
    """``input name [shape] (...)``."""

    name: str
    name_span: Span
    shape: Shape
    options: tuple[Argument, ...]
    span: Span


@dataclass(frozen=True)
class Shape:
    """``[HxWxC]``, ``[N]`` or ``[h, w, c]``."""

    dims: tuple[Expr, ...]
    span: Span


Item = Layer | Group | Goto | Repeat | If | Output | Input | Shape

# --- files ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """A parameter of a block or a network; `default` is None when the caller must give it."""

    name: str
    default: Expr | None
    span: Span


@dataclass(frozen=True)
class Definition:
    """A ``block`` or a ``network``."""

    kind: str
    name: str
    name_span: Span
    parameters: tuple[Parameter, ...]
    body: Body
    span: Span


@dataclass(frozen=True)
class Use:
    """``use "other.cnn"``."""

    path: str
    span: Span


@dataclass(frozen=True)
class File:
    """A whole file."""

    source: Source
    uses: tuple[Use, ...]
    definitions: tuple[Definition, ...]
