"""How an operation binds to a kernel: where its operands lie, and the launches that compute it.

Everything here is data about code to be emitted: pointers, strides and grids are Python expressions over the batch
`n` and the names that `cnndsl.codegen.emit` defines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnndsl import tiles_simple as tiles
from cnndsl.ir import Node, TensorType
from cnndsl.targets import Target
from cnndsl.tiles import DType, Tiling

if TYPE_CHECKING:
    from cnndsl.ops.base import Op

Constant = int | float | bool | str
Constants = tuple[tuple[str, Constant], ...]

MAX_OFFSET = 2**31 - 2**20
"""The largest offset in 32 bits, less what a tile may reach beyond the last pixel before its mask says no."""


@dataclass(frozen=True)
class Operand:
    """A tensor where it lies in memory.

    `strides` are of batch, row, column and channel, in values: numbers, but names for a network input, whose strides
    are the caller's. `reach` is the number of values of one picture in the buffer that it lies in.
    """

    type: TensorType
    pointer: str
    strides: tuple[str, str, str, str]
    reach: int
    dense: bool
    """Whether one picture's values lie side by side in height, width, channel order."""


@dataclass(frozen=True)
class Launch:
    """One kernel launch: ``kernel[grid](*arguments, **constants)``."""

    module: str
    kernel: str
    arguments: tuple[tuple[str, str], ...]
    """Parameter and the expression passed for it, in the kernel's order."""
    constants: Constants
    grid: tuple[str, ...]
    num_warps: int
    num_stages: int


def weight_of(expression: str) -> str | None:
    """The key of the packed weight that an argument of a launch is: "conv1.weight"; None for any other argument."""
    found = re.fullmatch(r'weights\["(.*)"\]', expression)
    return found[1] if found is not None else None


@dataclass(frozen=True)
class Site:
    """A place of the plan at which an operation is lowered."""

    node: Node
    xs: tuple[Operand, ...]
    y: Operand
    target: Target
    dtype: DType
    batch: int = 1
    """The batch size that tiles are chosen for; every batch size runs correctly."""
    residual: Operand | None = None
    activation: tuple[str, float] = ("none", 0.0)
    second: Op | None = None
    """An operation that follows `node`'s within its kernel, before the activation."""
    passed: int = 0
    """Channels that the activation passes over, the last ones: of layers that share the launch and have none."""
    first: Op | None = None
    """An operation that comes before `node`'s within its kernel: `xs` are its operands then, without the scale."""
    scale: Operand | None = None
    """What `first`, a product, multiplies every pixel of the input by."""
    last: Op | None = None
    """An operation that ends its kernel, behind the activation: `y` is its result."""

    @property
    def activated(self) -> int:
        """Channels that are activated, the first ones."""
        return self.node.type.channels - self.passed

    @property
    def precision(self) -> str:
        """How fp32 products are computed."""
        return "tf32" if self.dtype == "tf32" else "ieee"

    @property
    def emulate_bf16(self) -> bool:
        """NumPy, on which Triton's interpreter computes, has no bf16."""
        return self.target.kind == "interpreter" and self.dtype == "bf16"

    def packed(self, name: str) -> str:
        """Expression for a packed weight of this layer."""
        return f'weights["{self.node.name}.{name}"]'

    def epilogue(self) -> dict[str, Constant]:
        """The constants of the activation."""
        return {"ACT": self.activation[0], "ACT_ARG": self.activation[1]}

    def weighted_pointers(self, *, has_bias: bool) -> dict[str, str]:
        """The pointers of a convolution or dense kernel, in its order."""
        return {
            "x_ptr": self.xs[0].pointer,
            "w_ptr": self.packed("weight"),
            "b_ptr": self.packed("bias") if has_bias else "None",
            "r_ptr": self.residual.pointer if self.residual is not None else "None",
            "y_ptr": self.y.pointer,
        }

    def launch(
        self,
        module: str,
        kernel: str,
        *,
        pointers: Mapping[str, str],
        tiling: Tiling,
        constants: Mapping[str, Constant],
        strided: Mapping[str, Operand],
        weight_sizes: tuple[int, ...] = (),
    ) -> Launch:
        """A launch whose arguments are the pointers, `n`, and the strides of the `strided` operands.

        `strided` maps a prefix to an operand: "x" gives x_sn, x_sh, x_sw and x_sc; "y:3" leaves the channel's out
        and "x:1" gives the batch's alone.
        """
        arguments = [*pointers.items(), ("n", "n")]
        for key, operand in strided.items():
            prefix, _, count = key.partition(":")
            names = ("sn", "sh", "sw", "sc")[: int(count or 4)]
            arguments.extend((f"{prefix}_{s}", operand.strides[i]) for i, s in enumerate(names))
        used = [*self.xs, self.y, *(each for each in (self.residual, self.scale) if each is not None)]
        # Offsets are in 32 bits where those of one picture fit: larger batches run in parts, see `Plan.max_batch`.
        # The interpreter checks every sum of 32-bit integers for overflow; in 64 bits it does not, and is up to twice
        # as fast.
        sizes = (*(operand.reach for operand in used), *weight_sizes)
        wide = self.target.kind == "interpreter" or max(sizes) > MAX_OFFSET
        return Launch(
            module,
            kernel,
            tuple(arguments),
            (*constants.items(), ("INDEX64", wide), ("EMULATE_BF16", self.emulate_bf16), *tiling.constants),
            tiling.grid,
            tiling.num_warps,
            tiling.num_stages,
        )

    def launch_map(
        self, module: str, kernel: str, *, tiling: Tiling, constants: Mapping[str, Constant]
    ) -> Launch:
        """A kernel of one input and one output: (x_ptr, y_ptr, n, four strides of x, three of y)."""
        return self.launch(
            module,
            kernel,
            pointers={"x_ptr": self.xs[0].pointer, "y_ptr": self.y.pointer},
            tiling=tiling,
            constants=constants,
            strided={"x": self.xs[0], "y:3": self.y},
        )

    def launch_unary(self, *, scale: str | None = None, shift: str | None = None) -> Launch:
        """y = act(scale * x + shift), or y = act(x)."""
        x = self.xs[0].type
        return self.launch(
            "pointwise",
            "unary_kernel",
            pointers={
                "x_ptr": self.xs[0].pointer,
                "scale_ptr": scale or "None",
                "shift_ptr": shift or "None",
                "y_ptr": self.y.pointer,
            },
            tiling=tiles.pointwise(
                self.target, self.dtype, channels=x.channels, image=(x.height, x.width), batch=self.batch
            ),
            constants={
                "C": x.channels, "H": x.height, "W": x.width, "HAS_AFFINE": scale is not None, **self.epilogue(),
            },
            strided={"x": self.xs[0], "y:3": self.y},
        )

    def launch_copy(self, *, pad: tuple[int, int] = (0, 0), value: float = 0.0, groups: int = 1) -> Launch:
        """Copies x into y, inside a border and with the channels of `groups` groups interleaved."""
        x, y = self.xs[0].type, self.y.type
        return self.launch_map(
            "move",
            "copy_kernel",
            tiling=tiles.copy(
                self.target, self.dtype, channels=x.channels, output=(y.height, y.width), batch=self.batch
            ),
            constants={
                "C": x.channels, "H": x.height, "W": x.width, "P": y.height, "Q": y.width,
                "PAD_TOP": pad[0], "PAD_LEFT": pad[1], "VALUE": value, "GROUPS": groups,
            },
        )
