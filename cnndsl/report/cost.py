"""What a launch moves and computes, and what bounds it: counted from the plan, nothing measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from cnndsl.codegen.emit import packed_shapes
from cnndsl.ir import TensorType
from cnndsl.ops.binding import Launch, weight_of
from cnndsl.passes.plan import Plan, Step
from cnndsl.report.model import Bound, Tensor
from cnndsl.report.peaks import Peak
from cnndsl.tiles import ITEM_BYTES, DType


@dataclass(frozen=True)
class Cost:
    """The operands of a launch, and its multiply-accumulates, for the plan's batch."""

    reads: tuple[Tensor, ...]
    writes: Tensor
    macs: int

    @property
    def flops(self) -> int:
        """Two for each multiply-accumulate."""
        return 2 * self.macs

    @property
    def bytes(self) -> int:
        """Every operand read once, the result written once."""
        return sum(tensor.bytes for tensor in self.reads) + self.writes.bytes


class Costs:
    """The costs of a plan's launches."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._weights = packed_shapes(plan)

    def of(self, step: Step, launch: Launch) -> Cost:
        """The cost of one launch of a step. A step's arithmetic is its launch with weights, or the first."""
        values = {self._plan.pointer(name): name for name in (*step.reads, *step.writes)}
        pointers = {name: text for name, text in launch.arguments if name.endswith("_ptr") and text != "None"}
        written = pointers.pop("y_ptr")
        reads = tuple(self._read(text, values) for text in dict.fromkeys(pointers.values()))
        # A copy into a part of a concat's buffer is as large as what it copies.
        same = written not in values
        type_ = self._plan.graph.by_name[step.reads[0]].type if same else self._plan.written(step)
        writes = Tensor(" | ".join(step.writes), "output", str(type_), self.size(type_))
        owns = launch is next((each for each in step.launches if _has_weights(each)), step.launches[0])
        return Cost(reads, writes, step.macs * self._plan.batch if owns else 0)

    def size(self, type_: TensorType) -> int:
        """Bytes of an activation for the whole batch."""
        return type_.size * self._plan.batch * ITEM_BYTES[self._plan.dtype]

    @property
    def weights(self) -> int:
        """Bytes of all packed weights, each once."""
        return sum(self._weight(key).bytes for key in self._weights)

    def _read(self, text: str, values: Mapping[str, str]) -> Tensor:
        weight = weight_of(text)
        if weight is not None:
            return self._weight(weight)
        name = values[text]
        type_ = self._plan.graph.by_name[name].type
        return Tensor(name, "input", str(type_), self.size(type_))

    def _weight(self, key: str) -> Tensor:
        shape = self._weights[key]
        size = ITEM_BYTES[self._plan.dtype] if key.endswith(".weight") else ITEM_BYTES["fp32"]
        return Tensor(key, "weights", f"[{'x'.join(map(str, shape))}]", prod(shape) * size)


def _has_weights(launch: Launch) -> bool:
    return any(weight_of(text) is not None for _, text in launch.arguments)


@dataclass(frozen=True)
class Limit:
    """What a launch cannot be faster than: see `cnndsl.report.model.Launch`."""

    peak: float | None
    unit: str
    seconds: float | None
    bound: Bound | None


def limit(cost: Cost, peak: Peak | None, *, dtype: DType, tiles: bool) -> Limit:
    """The roofline's bound for a launch; `tiles` as in `Peak.arithmetic`."""
    found = peak.arithmetic(dtype, tiles=tiles) if peak is not None else None
    if peak is None or (found is None and cost.flops):
        return Limit(None, "", None, None)
    rate, unit = found if found is not None else (None, "")
    memory = cost.bytes / peak.bandwidth
    arithmetic = cost.flops / rate if rate is not None else 0.0
    return Limit(rate, unit, max(memory, arithmetic), "arithmetic" if arithmetic > memory else "memory")
