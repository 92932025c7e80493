"""Comparing the kernels with torch in fp64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from cnndsl.runtime import parameters
from cnndsl.runtime.reference import evaluate_node

if TYPE_CHECKING:
    from cnndsl.runtime.executor import Network, Progress

TOLERANCES = {"fp32": 1e-5, "tf32": 2e-3, "fp16": 2e-3, "bf16": 1.5e-2}
"""Largest relative error ||y - r|| / ||r|| against fp64 that counts as right."""


@dataclass(frozen=True)
class Check:
    """One comparison. `error` is relative, in the Euclidean norm; inf where NaN or inf stand in different places."""

    name: str
    kind: Literal["output", "layer"]
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance


def relative_error(y: torch.Tensor, r: torch.Tensor) -> float:
    """||y - r|| / ||r|| in fp64 over the finite values; inf when other values disagree in kind or place."""
    y, r = y.double(), r.double()
    if y.shape != r.shape:
        return float("inf")
    finite = r.isfinite()
    same = (y == r) | (y.isnan() & r.isnan())
    if not bool((finite | same).all()) or not bool(y[finite].isfinite().all()):
        return float("inf")
    difference = torch.linalg.vector_norm(y[finite] - r[finite])
    norm = torch.linalg.vector_norm(r[finite])
    return float(difference / norm) if norm > 0 else float(difference)


def verify(
    net: Network, inputs: Sequence[torch.Tensor], *, layers: bool = False, progress: Progress | None = None
) -> tuple[Check, ...]:
    """Run a network and compare every output with `net.reference` in fp64.

    With `layers`, compare every kernel's result too, each with the reference computed from the kernel's own inputs,
    so that the error of one layer does not count in the next.
    """
    tolerance = TOLERANCES[net.compute]
    checks: list[Check] = []
    if layers:
        outputs, values = net.trace(*inputs, progress=progress)
        checks.extend(_layers(net, inputs, values, tolerance))
    else:
        result = net.run(*inputs, progress=progress)
        outputs = result if isinstance(result, dict) else {"main": result}
    return (*checks, *compare_outputs(net, inputs, outputs))


def compare_outputs(
    net: Network, inputs: Sequence[torch.Tensor], outputs: dict[str, torch.Tensor]
) -> tuple[Check, ...]:
    """Compare outputs that the network has given for these inputs with the reference in fp64."""
    expected = net.reference(*(x.double() for x in inputs))
    named = expected if isinstance(expected, dict) else {"main": expected}
    tolerance = TOLERANCES[net.compute]
    return tuple(Check(name, "output", relative_error(outputs[name], r), tolerance) for name, r in named.items())


def _layers(
    net: Network, inputs: Sequence[torch.Tensor], values: dict[str, torch.Tensor], tolerance: float
) -> list[Check]:
    groups = net.groups_for(inputs[0].shape[0])
    graph = groups.graph
    weights = parameters.by_layer(parameters.tensors_of(net, net.graph))
    known = {node.name: x for node, x in zip(graph.inputs, inputs, strict=True)} | values
    checks = []
    for group in groups.groups:
        if group.output.name not in values:
            # A view of another value has no kernel; its readers see it as what it is.
            xs = [known[name].double() for name in group.inputs]
            known[group.output.name] = evaluate_node(group.output, xs, weights).to(known[group.inputs[0]].dtype)
            continue
        local = {name: known[name].double() for name in group.reads}
        for node in group.computed:
            local[node.name] = evaluate_node(node, [local[name] for name in node.inputs], weights)
        error = max(relative_error(values[node.name], local[node.name]) for node in group.outputs)
        checks.append(Check(group.title, "layer", error, tolerance))
    return checks
