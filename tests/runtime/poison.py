"""A compiled network whose memory holds NaN wherever no value is that somebody still reads.

What is needed before a step is worked out backwards from the outputs, value by value: what a step reads is needed
before it, what it writes is not. That takes nothing from the planner but where values lie.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from cnndsl.ops.joins import Concat
from cnndsl.passes.plan import Plan, Step
from cnndsl.runtime.executor import Network

Region = tuple[str, torch.Tensor]
"""A buffer, and numbers of values of one picture in it."""


def run(net: Network, inputs: Sequence[torch.Tensor], *, early: int = 0) -> dict[str, torch.Tensor]:
    """The outputs, computed with all else poisoned before every step; `early` poisons by what a later step needs."""
    n = inputs[0].shape[0]
    made, _, module = net._package(n, keep=False)
    plan = made.plan
    arenas: list[torch.Tensor] = []

    def empty(*size: int, **options: Any) -> torch.Tensor:
        arenas.append(torch.empty(*size, **options).fill_(math.nan))
        return arenas[-1]

    needed = needed_before(plan, n)

    def progress(step: int, steps: int, _: str) -> None:
        assert steps == len(plan.steps)
        if plan.arena:
            arena = arenas[0]
            assert arena.numel() == n * plan.arena
            arena[~needed[min(step + early, steps)]] = math.nan

    kept, module.torch = module.torch, SimpleNamespace(empty=empty)
    try:
        result = net.run(*inputs, progress=progress)
    finally:
        module.torch = kept
    return result if isinstance(result, dict) else {"main": result}


def needed_before(plan: Plan, n: int) -> list[torch.Tensor]:
    """For every step, and for the end, which values of an arena for n pictures are read by it or later.

    What a step writes is not needed before it, even where it reads what lies there: programs run in any order.
    """
    later = torch.zeros(n * plan.arena, dtype=torch.bool)
    found = [later]
    for step in reversed(plan.steps):
        reads, writes = (mask(plan, n, regions) for regions in (read(plan, step), written(plan, step)))
        later = later & ~writes | reads
        found.append(later & ~writes)
    return found[::-1]


def mask(plan: Plan, n: int, regions: list[Region]) -> torch.Tensor:
    """The values of an arena for n pictures that are in some regions."""
    found = torch.zeros(n * plan.arena, dtype=torch.bool)
    buffers = {b.name: b for b in plan.buffers}
    for name, values in regions:
        buffer = buffers[name]
        if buffer.offset is not None:
            found[n * buffer.offset :][: n * buffer.size].unflatten(0, (n, buffer.size))[:, values] = True
    return found


def read(plan: Plan, step: Step) -> list[Region]:
    return [region for name in step.reads for region in lies(plan, name)]


def written(plan: Plan, step: Step) -> list[Region]:
    """What a step writes; of a concat that copies an arm, that arm's place, as the launch has it."""
    names = (step.writes,) if isinstance(step.writes, str) else step.writes
    if not isinstance(step.group.anchor.op, Concat):
        return [region for name in names for region in lies(plan, name)]
    ((arm,), (launch,)) = step.reads, step.launches
    place = re.fullmatch(r"(\w+?)(?:\[(\d+):\])?", dict(launch.arguments)["y_ptr"])
    assert place is not None
    channels = plan.graph.by_name[arm].type.channels
    return [spread(plan, names[0], buffer=place[1], offset=int(place[2] or 0), channels=channels)]


def lies(plan: Plan, name: str) -> list[Region]:
    """Where a value lies; nowhere for an input."""
    while name not in plan.storage:
        node = plan.graph.by_name[name]
        if node.op is None:
            return []
        name = node.inputs[0]
    at = plan.storage[name]
    return [spread(plan, name, buffer=at.buffer, offset=at.offset, channels=plan.graph.by_name[name].type.channels)]


def spread(plan: Plan, name: str, *, buffer: str, offset: int, channels: int) -> Region:
    """A slice of channels at all pixels of a value."""
    type_ = plan.graph.by_name[name].type
    pixels = torch.arange(type_.height * type_.width)
    return buffer, (pixels[:, None] * plan.storage[name].stride + offset + torch.arange(channels)).reshape(-1)
