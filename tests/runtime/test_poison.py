"""Memory that is free holds NaN: nobody reads what was never written, or what another value has taken the place of."""

from __future__ import annotations

import math
from typing import Any

import poison
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Example, networks, random_inputs, random_weights

import cnndsl
from cnndsl.passes import plan as planning
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import relative_error

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="Triton compiles for the GPU in this process")


NETWORKS = {
    "residual": """input x [5x5x3] conv(8, 3, pad=1) -> relu
        repeat 2 { add { { conv(4, 1) -> relu -> conv(8, 3, pad=1) -> batchnorm } {} } relu } avgpool(5) -> dense(5)""",
    "inception": """input x [5x5x3] conv(8, 3, pad=1) -> relu
        repeat 2 { concat { { conv(3, 1) -> relu } { conv(4, 1) -> relu -> conv(5, 3, pad=1) } { conv(2, 1) -> tanh }
        { maxpool(3, stride=1, pad=1) -> conv(3, 1) } } } output side { dense(3) } avgpool(2) dense(4)""",
    "dense block": """input x [5x5x3] conv(4, 3, pad=1) repeat 4 { concat { {} { batchnorm -> relu -> conv(3, 1)
        batchnorm -> relu -> conv(2, 3, pad=1) } } } batchnorm -> relu -> conv(5, 1) -> avgpool(2) -> dense(3)""",
    "squeeze and excite": """input x [5x5x3] conv(6, 3, pad=1) -> silu repeat 2 { add { { conv(9, 1) -> silu
        mul { {} { globalavgpool -> conv(3, 1) -> silu -> conv(9, 1) -> sigmoid } } conv(6, 1) } {} } } dense(3)""",
}


def compiled(text: str) -> tuple[Network, dict[str, torch.Tensor]]:
    net = cnndsl.compile(text, device="cpu")
    weights = random_weights({key: t.shape for key, t in net.state_dict().items()})
    net.load_weights(weights)
    return net, weights


def largest(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """How far the outputs are from what they should be: infinitely, where one holds a NaN."""
    assert set(found) == set(expected)
    return max(relative_error(found[name], y) for name, y in expected.items())


@settings(max_examples=settings.default.max_examples * 8 // 5)
@given(networks(), st.integers(1, 3))
def test_random_networks(example: Example, batch: int) -> None:
    net, weights = compiled(example.text)
    xs = random_inputs(example.inputs, batch=batch)
    expected = example.run([x.double() for x in xs], {key: t.double() for key, t in weights.items()})
    assert largest(poison.run(net, xs), expected) < 1e-5


def error_of(name: str, *, early: int = 0) -> float:
    """How far a network's outputs are from torch's."""
    net, _ = compiled(f"network T {{ {NETWORKS[name]} }}")
    xs = random_inputs(tuple(node.type.shape for node in net.graph.inputs), batch=2)
    expected = net.reference(*(x.double() for x in xs))
    return largest(poison.run(net, xs, early=early), expected if isinstance(expected, dict) else {"main": expected})


@pytest.mark.parametrize("name", NETWORKS)
def test_wrong_plans_are_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_of(name) < 2e-6
    # Poison that comes a step early is read.
    assert error_of(name, early=1) == math.inf
    monkeypatch.setattr(planning, "verify", lambda plan: plan)
    right = planning._lifetimes

    def dying(*arguments: Any) -> dict[str, tuple[int, int]]:
        return {buffer: (first, max(first, last - 1)) for buffer, (first, last) in right(*arguments).items()}

    def unborn(*arguments: Any) -> dict[str, tuple[int, int]]:
        return {buffer: (min(first + 1, last), last) for buffer, (first, last) in right(*arguments).items()}

    # Lives that are a step too short, at either end.
    for wrong in (dying, unborn):
        with monkeypatch.context() as patch:
            patch.setattr(planning, "_lifetimes", wrong)
            assert error_of(name) == math.inf
