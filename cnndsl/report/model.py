"""What a page shows, as plain data: these classes, turned into JSON, are what its script reads.

Sizes are in bytes, times in seconds, both for the batch that the tiles were chosen for. Layers, launches, kernels and
files refer to each other by their places in their lists; lines are counted from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Place = tuple[int, int]
"""A file and a line in it."""

Bound = Literal["memory", "arithmetic"]

Level = Literal["", "good", "bad"]


@dataclass(frozen=True)
class File:
    """A ``.cnn`` file."""

    name: str
    text: str


@dataclass(frozen=True)
class Layer:
    """A layer as it was written. `calls` are the lines of the block calls that it stands in, outermost first."""

    name: str
    op: str
    shape: str
    file: int
    line: int
    calls: tuple[Place, ...]


@dataclass(frozen=True)
class Tensor:
    """An operand of a launch. `kind` is what it is to the launch."""

    name: str
    kind: Literal["input", "weights", "output"]
    shape: str
    bytes: int


@dataclass(frozen=True)
class Boundary:
    """A value that is passed through memory between two launches: why, and what that costs."""

    source: str
    to: str
    why: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One launch of a kernel.

    title     the layers' names, as in ``conv1 + relu1``.
    part      "2 of 3" where the layers take several launches.
    op        the layers as a file would write them.
    family    conv, dense, pool, norm, act, join or other: what it is coloured by, as in the picture.
    layers    that it computes, those folded into their weights too.
    places    the lines that they come from.
    macs      multiply-accumulates of convolutions and dense layers; `flops` are two for each.
    bytes     moved, if every operand is read once and the result written once.
    peak      FLOP/s of the units that do its arithmetic, `unit` their name; None without a data sheet's figure.
    seconds   that it takes at least at the data sheet's peaks.
    bound     what takes that long.
    """

    title: str
    part: str
    op: str
    family: str
    kernel: int
    layers: tuple[int, ...]
    places: tuple[Place, ...]
    reads: tuple[Tensor, ...]
    writes: Tensor
    macs: int
    flops: int
    bytes: int
    peak: float | None
    unit: str
    seconds: float | None
    bound: Bound | None
    boundaries: tuple[Boundary, ...]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a compiled kernel takes, in numbers that the table can be sorted by. `spills` are bytes for each thread."""

    registers: int
    spills: int
    shared: int
    occupancy: float
    matrix: int
    copies: int


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel of the package, launched once or more.

    grid        programs, as in "cdiv(n * 784, 128) x 4".
    facts       (title, value, what it means, level): all that is known of what it takes.
    parameters  (name, type, what is known of its value).
    constants   (name, value).
    resources   None where it was not compiled.
    error       why it could not be compiled, or None.
    texts       the place of its texts in `Report.texts`.
    """

    name: str
    file: str
    grid: str
    warps: int
    stages: int
    facts: tuple[tuple[str, str, str, Level], ...]
    parameters: tuple[tuple[str, str, str], ...]
    constants: tuple[tuple[str, str], ...]
    resources: Resources | None
    error: str | None
    texts: str


@dataclass(frozen=True)
class Peak:
    """What bounds the launches: see `cnndsl.report.peaks`."""

    board: str
    bandwidth: float
    source: str


@dataclass(frozen=True)
class Totals:
    """Sums over all launches. `weights` counts each tensor once, `fused` is the traffic that fusion has saved."""

    flops: int
    weights: int
    activations: int
    fused: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class TargetPage:
    """All about one target.

    note   why there is no machine code, or "".
    fates  of each layer: what became of it, and a sentence on why where it has no kernel of its own.
    free   layers that need no kernel at all, and why.
    """

    name: str
    title: str
    note: str
    peak: Peak | None
    totals: Totals
    launches: tuple[Launch, ...]
    kernels: tuple[Kernel, ...]
    fates: Mapping[str, tuple[str, str]]
    free: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Text:
    """A stage of a kernel. `map` has for each line the line of the kernel's source that it comes from, or 0."""

    text: str
    map: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole page. `texts` has for each kernel its stages by name, "source" first; `picture` is an SVG."""

    title: str
    dtype: str
    batch: int
    versions: Mapping[str, str | None]
    files: tuple[File, ...]
    layers: tuple[Layer, ...]
    targets: tuple[TargetPage, ...]
    texts: Mapping[str, Mapping[str, Text]]
    picture: str
