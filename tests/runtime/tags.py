"""A plan's emitted code, run on tags instead of numbers.

Every value's elements have tags of their own. In place of the kernels stands a double that reads the operands where the
launch says they lie, asserts that the tags of the right values are there, and writes those of its result. So a buffer
that is overwritten too early, a slice at the wrong channel or a wrong stride is seen, without a kernel being run.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cnndsl.codegen.package import Package, package
from cnndsl.files import choose_network, load_text
from cnndsl.ir import Graph
from cnndsl.ops.joins import Concat
from cnndsl.ops.reshape import Flatten
from cnndsl.passes import plan as planning
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import Plan, Step
from cnndsl.passes.simplify import simplify
from cnndsl.targets import get

BATCH = 2
EMPTY = -1


def plan_of(text: str, *, keep: bool = False, target: str = "sm_90") -> Plan:
    program = load_text(text)
    graph = elaborate(program, choose_network(program, None))
    # Through the module, so that a test can put something wrong into it.
    return planning.plan(fuse(simplify(graph)), target=get(target), dtype="fp16", keep=keep)


class Tags:
    """A tag for every element of every value, as tensors [n, H, W, C]."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.known: dict[str, torch.Tensor] = {}
        self.next = 0

    def fresh(self, name: str) -> torch.Tensor:
        type_ = self.graph.by_name[name].type
        self.next += 1
        first = self.next * 2**40
        shape = BATCH, type_.height, type_.width, type_.channels
        return torch.arange(first, first + BATCH * type_.size).reshape(shape)

    def of(self, name: str) -> torch.Tensor:
        """A concat's tags are those of its arms: who wrote them does not matter."""
        if name not in self.known:
            node = self.graph.by_name[name]
            if isinstance(node.op, Concat):
                self.known[name] = torch.cat([self.of(i) for i in node.inputs], 3)
            elif isinstance(node.op, Flatten) and self.of(node.inputs[0]).shape[1:3] == (1, 1):
                self.known[name] = self.of(node.inputs[0])
            else:
                self.known[name] = self.fresh(name)
        return self.known[name]


class Double:
    """Stands for all kernels of a plan, launch after launch in its order."""

    def __init__(self, made: Package) -> None:
        plan = made.plan
        self.plan = plan
        self.tags = Tags(plan.graph)
        passed = [(kernel, dict(arguments)) for of_step in made.launches for kernel, arguments in of_step]
        launches = [(step, launch) for step in plan.steps for launch in step.launches]
        self.launches = iter([(*both, *what) for both, what in zip(launches, passed, strict=True)])
        self.waiting: list[str] = []
        self.partial: torch.Tensor | None = None

    def kernel(self, name: str) -> SimpleNamespace:
        """What stands for a module of the package."""
        return SimpleNamespace(launch=lambda *values: self.launch(name, values))

    def launch(self, kernel: str, values: tuple[Any, ...]) -> None:
        step, launch, expected, passed = next(self.launches)
        assert kernel == expected
        assert not dict(launch.constants)["INDEX64"]
        # What the kernel does not take, it has folded in.
        folded = {name: literal_eval(text) for name, text in launch.arguments if name not in passed}
        arguments = {**folded, **dict(zip(passed, values, strict=True))}
        assert arguments["n"] == BATCH
        if launch is step.launches[0]:
            self.waiting, self.partial = list(step.reads), None
        is_copy = isinstance(step.group.anchor.op, Concat)
        # What one launch computes for several layers lies side by side.
        written = torch.cat([self.tags.of(name) for name in (step.reads if is_copy else step.writes)], 3)
        y = place(arguments, "y", written)
        for prefix in ("x", "x0", "x1", "x2", "x3", "r", "s"):
            if arguments.get(f"{prefix}_ptr") is not None:
                self.read(step, prefix, arguments, y)
        if launch is step.launches[-1]:
            assert not self.waiting, f"{step.group.title} never reads {self.waiting}"
            y.copy_(written)
        else:
            (name,) = step.writes
            self.partial = self.tags.fresh(name)
            y.copy_(self.partial)

    def read(self, step: Step, prefix: str, arguments: dict[str, Any], y: torch.Tensor) -> None:
        """Find the value that an operand holds among those that the step has still to read."""
        if self.partial is not None and prefix == "x0":
            x = place(arguments, "x0", self.partial)
            assert torch.equal(x, self.partial), f"{step.group.title}: the partial result is gone"
            assert x.data_ptr() == y.data_ptr()
            assert x.stride() == y.stride()
            return
        only = {"r": step.group.residual, "s": step.group.scale}
        for name in self.waiting if prefix not in only else [only[prefix]]:
            expected = self.tags.of(name)
            x = place(arguments, prefix, expected)
            if torch.equal(x.reshape(expected.shape), expected):
                self.waiting.remove(name)
                assert not overlap(x, y), f"{step.group.title} writes over {name} while reading it"
                return
        pytest.fail(f"{step.group.title}: {prefix} holds none of {self.waiting}")


def place(arguments: dict[str, Any], prefix: str, like: torch.Tensor) -> torch.Tensor:
    """The operand that a launch's pointer and strides describe, shaped as `like` [n, H, W, C]."""
    pointer = arguments[f"{prefix}_ptr"]
    n, h, w, c = like.shape
    if f"{prefix}_sh" not in arguments:
        # A dense kernel: rows of features side by side.
        size, strides = (n, h * w * c), (arguments[f"{prefix}_sn"], 1)
    else:
        names = (f"{prefix}_sn", f"{prefix}_sh", f"{prefix}_sw", f"{prefix}_sc")
        size, strides = (n, h, w, c), tuple(arguments.get(name, 1) for name in names)
    if pointer.dim() == 1:
        last = sum((s - 1) * stride for s, stride in zip(size, strides, strict=True))
        assert last < pointer.numel(), "the operand reaches beyond its buffer"
    view = torch.as_strided(pointer, size, strides, pointer.storage_offset())
    return view if len(size) == 4 else view.unflatten(1, (h, w, c))


def overlap(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether two views share an element."""
    if x.untyped_storage().data_ptr() != y.untyped_storage().data_ptr():
        return False
    mine, other = (
        torch.as_strided(torch.arange(v.untyped_storage().nbytes() // 8), v.shape, v.stride(), v.storage_offset())
        for v in (x, y)
    )
    return bool(torch.isin(mine.reshape(-1), other.reshape(-1)).any())


class Torch:
    """What the emitted code takes from torch: memory, without a value in it."""

    def empty(self, size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.full((size,), EMPTY, dtype=dtype, device=device)


def run(plan: Plan) -> Double:
    """Run the emitted code on tags. Raises when a launch reads anything but what it should."""
    made = package(plan)
    double = Double(made)
    source = re.sub(r"^from .kernels import (\([^)]*\)|.*)$", "", made.network, flags=re.MULTILINE)
    source = re.sub(r"^(import torch|DTYPE = .*)$", "", source, flags=re.MULTILINE)
    kernels = {kernel.name: double.kernel(kernel.name) for kernel in made.kernels}
    space: dict[str, Any] = {**kernels, "torch": Torch(), "DTYPE": torch.int64}
    exec(source, space)  # the very text that would be imported
    inputs = []
    for node in plan.graph.inputs:
        tags = double.tags.of(node.name)
        x = tags.permute(0, 3, 1, 2).contiguous() if node.type.is_map else tags.flatten(1)
        inputs.append(x)
    outputs = space["forward"](tuple(inputs), dict.fromkeys(weights_of(plan)))
    values: dict[str, torch.Tensor] = {}
    if plan.keep:
        outputs, values = outputs
    assert next(double.launches, None) is None
    assert list(outputs) == [name for name, _ in plan.outputs]
    for name, value in (*((outputs[o], v) for o, v in plan.outputs), *((y, v) for v, y in values.items())):
        tags = double.tags.of(value)
        expected = tags.permute(0, 3, 1, 2) if plan.graph.by_name[value].type.is_map else tags.flatten(1)
        assert torch.equal(name, expected)
    return double


def weights_of(plan: Plan) -> Iterator[str]:
    """Keys of the packed weights: the launches' own."""
    for step in plan.steps:
        for launch in step.launches:
            yield from (m for _, text in launch.arguments for m in re.findall(r'weights\["(.*)"\]', text))
