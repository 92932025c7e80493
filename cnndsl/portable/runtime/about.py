"""What `about.json` says of the network in this folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Input:
    """One input: `shape` is (height, width, channels) or (features,), `picture` how a picture becomes it."""

    name: str
    shape: tuple[int, ...]
    picture: dict[str, Any]

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """The shape of one input in torch's order."""
        return torch_order(self.shape)

    @property
    def shown(self) -> str:
        """The shape of a batch, as text."""
        return f"[{', '.join(map(str, ('n', *self.torch_shape)))}]"


@dataclass(frozen=True)
class Output:
    """One output. `values` names what its numbers are: "score", "probability", "sigmoid"."""

    name: str
    shape: tuple[int, ...]
    values: str

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """The shape of one output in torch's order."""
        return torch_order(self.shape)

    @property
    def is_vector(self) -> bool:
        """Whether it is a list of classes: a vector, or [1x1xC]."""
        return self.shape[:-1] in {(), (1, 1)}


@dataclass(frozen=True)
class Target:
    """A machine that this folder has kernels for, in the folder called as it is.

    kind                  "interpreter", "cuda" or "hip".
    arch                  90 for CUDA compute capability 9.0, "gfx942" for HIP, None for the interpreter.
    shared_memory_bytes   what the greediest of its kernels takes.
    """

    name: str
    kind: str
    arch: int | str | None
    shared_memory_bytes: int


@dataclass(frozen=True)
class About:
    """The network: its types, and the targets that it was built for."""

    network: str
    dtype: str
    batch: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    targets: tuple[Target, ...]


def torch_order(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(height, width, channels) as torch has it, channels first."""
    return (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape


def read_about(folder: Path) -> About:
    """What the `about.json` of a folder says."""
    data = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return About(
        data["network"],
        data["dtype"],
        data["batch"],
        tuple(Input(i["name"], tuple(i["shape"]), _tuples(i["picture"])) for i in data["inputs"]),
        tuple(Output(o["name"], tuple(o["shape"]), o["values"]) for o in data["outputs"]),
        tuple(Target(**target) for target in data["targets"]),
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists alone."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
