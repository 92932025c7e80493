"""What the tests of single layers share: samples of every layer, and torch's word on them.

Each ``test_<family>.py`` of this folder declares, for the layers of ``cnndsl/ops/<family>.py``,

* ``SAMPLES``: layers as a file would write them, on inputs chosen for their corners;
* ``ORACLES``: by layer name, the torch module of the same meaning, built from the arguments alone;
* ``RANDOM``: by layer name, a hypothesis strategy of `Sample`;
* ``BAD``: wrong uses, with the error code and the underlined text;
* ``VECTORS``: the names of the layers that also take a vector.

``test_every_op.py`` walks them. A layer without samples fails there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from cnndsl.files import choose_network, load_text
from cnndsl.ir import Graph, Node, TensorType
from cnndsl.ops.base import Op
from cnndsl.passes.elaborate import elaborate

Dims = tuple[int, ...]
Mutant = Callable[[Sequence[torch.Tensor]], torch.Tensor]
Oracle = Callable[..., nn.Module]


@dataclass(frozen=True)
class Sample:
    """A layer on inputs of given shapes, (H, W, C) or (N,); further inputs of a join are @x1, @x2.

    `mutant` is a wrong version of it, as a layer or as a function of the inputs: its values must differ.
    """

    layer: str
    inputs: tuple[Dims, ...]
    mutant: str | Mutant | None = None

    def __str__(self) -> str:
        return f"{self.layer} on {' and '.join('x'.join(map(str, dims)) for dims in self.inputs)}"


@dataclass(frozen=True)
class Bad:
    """A layer that must be refused with one error, of `code`, that underlines `where`."""

    layer: str
    inputs: tuple[Dims, ...]
    code: str
    where: str


def network_text(layer: str, inputs: Sequence[Dims]) -> str:
    """A network of one layer, whose first input is the current tensor."""
    lines = [f"input x{i} [{'x'.join(map(str, dims))}]" for i, dims in enumerate(inputs)]
    return f"network T {{ {' '.join(lines)} @x0 {layer} }}"


def graph_of(text: str) -> Graph:
    """The elaborated graph of a text. Raises CnnError."""
    program = load_text(text)
    return elaborate(program, choose_network(program, None))


def node_of(layer: str, inputs: Sequence[Dims]) -> Node:
    """The elaborated node of a layer. Raises CnnError."""
    return graph_of(network_text(layer, inputs)).nodes[-1]


def op_of(node: Node) -> Op:
    """A node's operation."""
    assert node.op is not None
    return node.op


def types_of(inputs: Sequence[Dims]) -> tuple[TensorType, ...]:
    """Types of inputs given as shapes."""
    return tuple(TensorType(dims) for dims in inputs)


def random_inputs(inputs: Sequence[Dims], *, batch: int = 2, seed: int = 0) -> list[torch.Tensor]:
    """Tensors in torch's layout, fp64, wide enough to reach the bends of every activation."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, *t.torch_shape) for t in types_of(inputs)]
    return [4 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def random_weights(op: Op, types: Sequence[TensorType], *, seed: int = 1) -> dict[str, torch.Tensor]:
    """Tensors for every weight of an operation, fp64; variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for weight in op.weights(*types):
        values = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        found[weight.name] = values.abs() + 0.5 if weight.role == "variance" else values
    return found


def torch_module(op: Op, types: Sequence[TensorType], weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """The oracle's module in evaluation mode, holding these weights."""
    module = oracles()[op.name](op, *types).double().eval()
    counters = {name: value for name, value in module.state_dict().items() if name == "num_batches_tracked"}
    module.load_state_dict({**weights, **counters})
    return module


def differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two results are unlike, beyond the rounding of fp64."""
    return a.shape != b.shape or not torch.allclose(a, b, rtol=1e-11, atol=1e-11, equal_nan=True)


# --- the families --------------------------------------------------------------------------------


@cache
def families() -> tuple[ModuleType, ...]:
    """The test modules of this folder that describe layers."""
    paths = sorted(Path(__file__).parent.glob("test_*.py"))
    return tuple(_module(path) for path in paths if path.stem != "test_every_op")


def _module(path: Path) -> ModuleType:
    """A test module by its path: other folders of tests hold files of the same name."""
    spec = importlib.util.spec_from_file_location(f"layers_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def samples() -> list[Sample]:
    """Every sample of every layer."""
    return [sample for family in families() for sample in family.SAMPLES]


def bad_layers() -> list[Bad]:
    """Every wrong use."""
    return [bad for family in families() for bad in family.BAD]


def oracles() -> dict[str, Oracle]:
    """The torch module of each layer, by its name."""
    return {name: oracle for family in families() for name, oracle in family.ORACLES.items()}


def strategies() -> dict[str, st.SearchStrategy[Sample]]:
    """The random samples of each layer, by its name."""
    return {name: strategy for family in families() for name, strategy in family.RANDOM.items()}


def vector_layers() -> set[str]:
    """The layers that take a vector as well as a map."""
    return {name for family in families() for name in family.VECTORS}


# --- pieces of strategies ------------------------------------------------------------------------


def maps(*, side: int = 9, channels: int = 6) -> st.SearchStrategy[Dims]:
    """Shapes of small feature maps."""
    return st.tuples(st.integers(1, side), st.integers(1, side), st.integers(1, channels))


def vectors() -> st.SearchStrategy[Dims]:
    """Shapes of small vectors."""
    return st.tuples(st.integers(1, 12))


def numbers(least: float, most: float) -> st.SearchStrategy[str]:
    """Numbers as a file writes them: whole, with a point, or with an exponent."""
    floats = st.floats(least, most, allow_subnormal=False).map(repr)
    return floats | st.integers(int(-(-least // 1)), int(most // 1)).map(str)


def pairs(least: int, most: int) -> st.SearchStrategy[str]:
    """``3``, ``3x2`` or ``(3, 2)``."""
    two = st.tuples(st.integers(least, most), st.integers(least, most))
    return st.integers(least, most).map(str) | two.map(lambda p: f"{p[0]}x{p[1]}") | two.map(str)


def written(draw: st.DrawFn, name: str, required: Sequence[Any], **optional: st.SearchStrategy[Any]) -> str:
    """A layer with these required arguments and any choice of the optional ones, by name."""
    words = [str(r) for r in required]
    words += [f"{key}={draw(value)}" for key, value in optional.items() if draw(st.booleans())]
    return f"{name}({', '.join(words)})" if words else name
