"""Why two layers do not share a kernel: what operations say of it, and in which words."""

from __future__ import annotations

from dataclasses import dataclass

from cnndsl.ir import TensorType
from cnndsl.tiles import Aim


@dataclass(frozen=True)
class Obstacle:
    """What keeps a layer out of the kernel whose result it reads.

    `kind` is one or two words that stay the same; `reason` is a sentence about these two layers.
    """

    kind: str
    reason: str


@dataclass(frozen=True)
class Edge:
    """A value between the layer that makes it and one that reads it.

    `source` and `reader` are their names, `before` what the source reads, `x` the value, `y` what the reader makes.
    """

    source: str
    reader: str
    before: tuple[TensorType, ...]
    x: TensorType
    y: TensorType
    aim: Aim
