"""What a step of a plan gives its kernel: tensors with their places in memory, and weights."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cnndsl.codegen.package import Package, host_name
from cnndsl.errors import problem
from cnndsl.ir import Node, TensorType
from cnndsl.ops.base import Weight
from cnndsl.ops.binding import weight_of
from cnndsl.ops.joins import Concat
from cnndsl.passes.plan import Plan, Step


@dataclass(frozen=True)
class Tensor:
    """A feature map or a vector that a kernel reads or writes.

    name     of the parameter of `launch` that it is passed for.
    node     the layer whose result it is.
    shape    of one picture, as torch has it: (C, H, W) or (features,).
    strides  of the batch and of the axes of `shape`, in values; None where the network's caller chooses them.
    picture  values of memory for each picture.
    offset   the first value's place.
    """

    name: str
    node: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    picture: int
    offset: int


@dataclass(frozen=True)
class Facts:
    """A step with all that its kernel is given.

    step         the step, and the layers that it computes.
    parameters   of `launch`, in order.
    passed       for each of them what is passed: the name of a tensor of `reads`, of `writes`, "weights.<name>" for a
                 packed weight, "n", or the caller's stride "x.sn".
    reads        the tensors that it reads, each once.
    weights      of the anchor, or of each of several, in torch's layout, without the batch norms that it has taken up.
    """

    plan: Plan
    step: Step
    kernel: str
    parameters: tuple[str, ...]
    passed: tuple[str, ...]
    reads: tuple[Tensor, ...]
    writes: Tensor
    weights: tuple[tuple[Weight, ...], ...]

    @property
    def is_copy(self) -> bool:
        """Whether it only copies: an input of a concat to its place."""
        return isinstance(self.step.group.anchor.op, Concat)

    @property
    def operations(self) -> tuple[str, ...]:
        """Its layers as a file writes them."""
        if self.is_copy:
            return ("copy",)
        return tuple(str(each.op) for node in self.step.group.computed for each in (node, *node.folded))

    @property
    def layout(self) -> dict[str, object]:
        """What a kernel must agree in to take this one's place: nothing here depends on names or the batch."""
        tensors = {
            t.name: {"shape": t.shape, "strides": t.strides, "picture": t.picture, "offset": t.offset}
            for t in (*self.reads, self.writes)
        }
        return {
            "operations": self.operations,
            "dtype": self.plan.dtype,
            "launch": self.parameters,
            "tensors": tensors,
        }


def facts_of(package: Package, number: int) -> Facts:
    """The facts of a step of a package's plan. Raises CnnError (E0623) where several kernels compute it in turn."""
    plan = package.plan
    step = plan.steps[number]
    if len(step.launches) != 1:
        raise problem(
            "E0623",
            f"{step.group.title} has no kernel of its own: {len(step.launches)} launches compute it, "
            "each on the result of the one before",
            help=("eject a layer that one kernel computes: `cnndsl inspect FILE --stage source` shows all launches",),
        )
    (launch,) = step.launches
    ((kernel, passed),) = package.launches[number]
    expressions = dict(launch.arguments)
    names = {plan.pointer(name): name for name in step.reads}
    reads: dict[str, Tensor] = {}
    writes: Tensor | None = None
    for parameter, expression in launch.arguments:
        if not parameter.endswith("_ptr") or expression == "None" or weight_of(expression) is not None:
            continue
        name = host_name(parameter)
        if expression in names:
            node = names[expression]
            reads.setdefault(expression, _tensor(plan, name, node, expressions, plan.graph.by_name[node].type))
        else:
            assert writes is None, f"{step.group.title} writes two tensors"
            is_copy = isinstance(step.group.anchor.op, Concat)
            type_ = plan.graph.by_name[step.reads[0]].type if is_copy else plan.written(step)
            writes = _tensor(plan, name, step.writes[0], expressions, type_)
    assert writes is not None, f"{step.group.title} writes nothing"
    called = tuple(_called(expression, reads, writes) for _, expression in passed)
    return Facts(
        plan, step, kernel, tuple(host_name(name) for name, _ in passed), called, tuple(reads.values()), writes,
        tuple(_weights(plan, one.anchor) for one in step.group.members),
    )


def _called(expression: str, reads: dict[str, Tensor], writes: Tensor) -> str:
    """What `Facts.passed` says of an expression of the plan."""
    if expression == "n":
        return "n"
    weight = weight_of(expression)
    if weight is not None:
        return f"weights.{weight.rpartition('.')[2]}"
    if expression in reads:
        return reads[expression].name
    stride = re.fullmatch(r"(s[nhwc])_(\w+)", expression)
    if stride is not None:
        return f"{reads[stride[2]].name}.{stride[1]}"
    return writes.name


def _tensor(plan: Plan, name: str, node: str, expressions: dict[str, str], type_: TensorType) -> Tensor:
    """A tensor of a launch by its parameter, the strides as they are passed to the generic kernel."""
    match = re.fullmatch(r"(\w+?)(?:\[(\d+):\])?", expressions[f"{name}_ptr"])
    assert match is not None
    given = [expressions.get(f"{name}_{axis}") for axis in ("sn", "sh", "sw", "sc")]
    if given[0] is not None and not given[0].isdigit():
        return Tensor(name, node, type_.torch_shape, None, type_.size, 0)
    buffer = next(b for b in plan.buffers if b.name == match[1])
    batch, row, pixel, channel = (int(s) if s is not None else None for s in given)
    pixel = pixel if pixel is not None else type_.channels
    row = row if row is not None else type_.width * pixel
    assert batch is not None
    one = channel if channel is not None else 1
    strides = (batch, one, row, pixel) if type_.is_map else (batch, one)
    return Tensor(name, node, type_.torch_shape, strides, buffer.size, int(match[2] or 0))


def _weights(plan: Plan, anchor: Node) -> tuple[Weight, ...]:
    """The tensors of a layer. Batch norms that it has taken up are in them, which takes a bias."""
    assert anchor.op is not None
    if isinstance(anchor.op, Concat):
        return ()
    found = anchor.op.weights(*plan.graph.types_of(anchor))
    if anchor.folded and all(weight.role != "bias" for weight in found):
        found += (Weight("bias", (found[0].shape[0],), "bias", found[0].fan_in),)
    return found
