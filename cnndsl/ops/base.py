"""What an operation is: arguments, shape rule, weights, cost, reference and kernel binding.

An operation is a frozen dataclass whose fields are the arguments that a ``.cnn`` file gives, in order. Everything
else that the compiler knows of it (the manual, the checks, the fusion, the kernel) is asked of its methods, so a
new layer is one new file in this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cnndsl.ir import TensorType
from cnndsl.ops.fusion import Edge, Obstacle

if TYPE_CHECKING:
    import torch

    from cnndsl.ops.binding import Launch, Site
    from cnndsl.ops.fields import Kind
    from cnndsl.ops.packing import Folded


class ShapeError(Exception):
    """The inputs' shapes do not suit an operation.

    `code` is one of E03xx; `arithmetic` stands beside the underlined layer; `input` is the number of the input
    that is to blame, when one is.
    """

    def __init__(
        self, code: str, message: str, arithmetic: str = "", *, help: Sequence[str] = ()  # noqa: A002 - the printed word
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.arithmetic, self.help = code, message, arithmetic, tuple(help)


@dataclass(frozen=True)
class Weight:
    """A tensor of the state dict: its last name, its shape in torch's layout, and what it is.

    `role` is weight, bias, scale, shift, mean or variance (`cnndsl.runtime.weights` draws each its own way);
    `fan_in` is the number of products that one output value sums.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    fan_in: int = 1

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def learned(self) -> bool:
        """Whether it counts as a parameter; running statistics do not."""
        return self.role not in {"mean", "variance"}


@dataclass(frozen=True)
class Argument:
    """One argument of an operation, as the binder and the manual see it."""

    name: str
    kind: Kind
    doc: str
    default: Any
    default_text: str | None

    @property
    def required(self) -> bool:
        """Whether a file must give it."""
        return self.default is MISSING


@dataclass(frozen=True)
class Op:
    """An operation. Its docstring is the manual page: summary line, then details."""

    name: ClassVar[str] = ""
    """The layer's name in the language; empty for operations that no file can name."""
    family: ClassVar[str] = ""
    """The heading of `docs/layers.md` that it stands under."""
    example: ClassVar[str] = ""
    """One layer as a file would write it."""
    joins: ClassVar[bool] = False
    """Whether it takes arms or references and so several inputs."""
    takes_activation: ClassVar[bool] = False
    """Whether its kernel has an activation epilogue."""
    takes_residual: ClassVar[bool] = False
    """Whether its kernel can add a tensor of the output's shape before the activation."""
    leads: ClassVar[bool] = False
    """Whether kernels of layers behind it may compute it on what they load."""
    transparent: ClassVar[bool] = False
    """Whether inference leaves it out."""

    @classmethod
    def arguments(cls) -> tuple[Argument, ...]:
        """The arguments in order."""
        return tuple(
            Argument(f.name, f.metadata["kind"], f.metadata["doc"], f.default, f.metadata["default_text"])
            for f in fields(cls)
        )

    @property
    def activation(self) -> tuple[str, float] | None:
        """Name and argument of the epilogue function that this operation is, if it is one."""
        return None

    def resolve(self, *xs: TensorType) -> Self:
        """This operation with arguments that depend on the input (``pad=same``) made numbers."""
        return self

    def apart(self, edge: Edge) -> Obstacle:
        """Why it begins a kernel of its own and does not end that of the layer that it reads."""
        return Obstacle("own kernel", f"{edge.reader} has a kernel of its own")

    def obstacle(self, source: Op, edge: Edge) -> Obstacle | None:
        """Why the kernel of `source`, whose result it reads, cannot compute it too; None where it can.

        Activations and residual additions, which end other kernels, are not asked.
        """
        return self.apart(edge)

    def ends_in_means(self, x: TensorType) -> bool:
        """Whether its kernel can store the mean over all pixels of what it computes of `x`, in place of that."""
        return False

    @property
    def alike(self) -> Self | None:
        """What it has in common with operations on the same tensor that its launch could compute too.

        Those have an equal one; None where no launch computes several.
        """
        return None

    def beside(self, others: Sequence[Self]) -> Self:
        """The operation whose result is this one's and those of `others`, its `alike`, side by side along channels."""
        raise NotImplementedError

    def infer(self, *xs: TensorType) -> TensorType:
        """The type of the output. Raises ShapeError."""
        raise NotImplementedError

    def averaged(self, x: TensorType) -> Sequence[int] | None:
        """For each channel of the result, the channel of `x` that it holds averages or copies of, and nothing else.

        None where there is none: then a scale and a shift of each channel may not be moved across this operation.
        """
        return None

    def explain(self, *xs: TensorType) -> tuple[str, ...]:
        """The arithmetic behind the output's shape, for messages."""
        return ()

    def weights(self, *xs: TensorType) -> tuple[Weight, ...]:
        """The tensors that it needs, in torch's order."""
        return ()

    def macs(self, xs: Sequence[TensorType], y: TensorType) -> int:
        """Multiply-accumulates for one picture; only convolution and dense count, as in the literature."""
        return 0

    def reference(self, xs: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The same computation with torch's own operators, on NCHW tensors."""
        raise NotImplementedError

    def pack(
        self, xs: Sequence[TensorType], weights: Mapping[str, torch.Tensor], folded: Sequence[Folded]
    ) -> dict[str, torch.Tensor]:
        """The tensors that the kernel reads, made from those of the state dict (torch's layout).

        `weight` is cast to the network's type afterwards; every other tensor stays fp32. `folded` are the batch
        norms that this layer has taken up, in order.
        """
        return {}

    def packed_shapes(self, xs: Sequence[TensorType], *, folded: bool) -> dict[str, tuple[int, ...]]:
        """The shapes of what `pack` makes; `folded` is whether any batch norm was taken up."""
        return {}

    def lower(self, site: Site) -> tuple[Launch, ...]:
        """The kernel launches that compute it at a place of the plan."""
        raise NotImplementedError

    def __str__(self) -> str:
        """As a file would write it: required arguments by position, others that differ from the default by name."""
        shown = []
        for a in self.arguments():
            value = getattr(self, a.name)
            if a.required:
                shown.append(a.kind.show(value))
            elif value != a.default and value is not None and not self.is_implied(a.name):
                shown.append(f"{a.name}={a.kind.show(value)}")
        return f"{self.name}({', '.join(shown)})" if shown else self.name

    def is_implied(self, argument: str) -> bool:
        """Whether an argument follows from the others, so that it need not be printed."""
        return False


def need_map(op: str, x: TensorType, *, help: str = "") -> None:  # noqa: A002 - the printed word
    """Raise ShapeError (E0305) unless `x` is a feature map."""
    if not x.is_map:
        raise ShapeError(
            "E0305",
            f"{op} needs a feature map [HxWxC], but its input is a vector {x}",
            f"the input has {x.size} features and no height or width",
            help=(help,) if help else (),
        )
