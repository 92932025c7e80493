"""What must hold for the boundaries of every network."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from cnndsl.ops.joins import Concat
from cnndsl.passes.boundaries import boundaries, launches_of, values_moved
from cnndsl.passes.fuse import Groups
from cnndsl.passes.plan import Plan, plan
from cnndsl.targets import get


def check_edges(groups: Groups) -> None:
    """One boundary, with a reason, for each group and each tensor that it reads, and for each output."""
    made = {node.name: group for group in groups.groups for node in group.outputs}
    edges = Counter[tuple[str, str]]()
    for group in groups.groups:
        for name in {*group.reads}:
            edges[name, group.output.name] += 1
    edges.update((name, f"output {output}") for output, name in groups.graph.outputs)
    found = boundaries(groups)
    apart = [b for b in found if b.kind != "partial results"]
    assert Counter((b.tensor, b.consumer.output.name if b.consumer else f"output {b.output}") for b in apart) == edges
    # A tensor is stored once, for its first boundary; partial results and copies for the caller are others.
    stored = [b for b in apart if not (b.consumer is None and b.kind == "copied")]
    for name, readers in groupby(stored, key=lambda b: b.tensor):
        assert all(b.written == 0 for b in list(readers)[1:]), name
    for b in found:
        assert b.producer is made.get(b.tensor)
        assert b.type == groups.graph.by_name[b.tensor].type
        assert b.kind
        assert b.reason.strip(" .") == b.reason != ""
        assert b.kind != "own kernel", b.reason  # every operation says more than that
        assert b.read >= 0
        assert b.bytes("fp16", 3) == 6 * (b.read + b.written) == b.bytes("tf32") * 6 // 4


def traffic(planned: Plan) -> int:
    """Values that all launches load and store, counted from the plan's steps."""
    moved = 0
    for step in planned.steps:
        sizes = [planned.graph.by_name[name].type.size for name in step.reads]
        made = sum(planned.graph.by_name[name].type.size for name in step.writes)
        if isinstance(step.group.anchor.op, Concat):
            moved += 2 * sum(sizes)  # copies one arm
        else:
            between = len(step.launches) - 1
            moved += sum(sizes) + made + 2 * between * made
    return moved


def check_costs(groups: Groups) -> None:
    """The boundaries' values are the plan's; so are the launches."""
    planned = plan(groups, target=get("sm_90"), dtype="fp16")
    cost = sum(b.cost for b in boundaries(groups))
    assert cost == values_moved(groups) == traffic(planned)
    copied = sum(b.consumer is None and b.kind == "copied" for b in boundaries(groups))
    assert sum(launches_of(groups)) + copied == sum(len(step.launches) for step in planned.steps)
