"""Convolutions that share a launch, scales before them and averages around them, against torch in fp64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from alike import branches
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_inputs, random_weights
from poisoned import poison
from test_plan import rows_turned_round

import cnndsl
from cnndsl.passes import plan as planning
from cnndsl.runtime import packing
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import TOLERANCES, relative_error
from cnndsl.runtime.verify import _layers as layer_checks

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="Triton compiles for the GPU in this process")

Patch = Callable[[pytest.MonkeyPatch], None]


def compiled(body: str, *, batch: int, dtype: str = "fp32") -> tuple[Network, list[torch.Tensor]]:
    """A network with random weights, and what it is given."""
    net = cnndsl.compile(f"network T {{ {body} }}", device="cpu", dtype=dtype)
    net.load_weights(random_weights({key: t.shape for key, t in net.state_dict().items()}))
    shapes = tuple(node.type.shape for node in net.graph.inputs)
    return net, [x.to(net.dtype) for x in random_inputs(shapes, batch=batch)]


def named(outputs: Any) -> dict[str, torch.Tensor]:
    return outputs if isinstance(outputs, dict) else {"main": outputs}


def largest_error(net: Network, xs: list[torch.Tensor]) -> float:
    """Of all outputs, against torch in fp64; memory holds NaN until it is written."""
    poison(net, xs[0].shape[0])
    outputs, expected = named(net(*xs)), named(net.reference(*(x.double() for x in xs)))
    return max(relative_error(outputs[name], r) for name, r in expected.items())


def check(net: Network, xs: list[torch.Tensor]) -> None:
    """Outputs in fp32; in every type each launch from its own inputs, so that roundings do not add up."""
    if net.compute == "fp32":
        assert largest_error(net, xs) < TOLERANCES["fp32"]
    poison(net, xs[0].shape[0])
    outputs = named(net(*xs))
    kept, values = net.trace(*xs)
    assert all(torch.equal(outputs[name], y) for name, y in kept.items())
    assert [c for c in layer_checks(net, xs, values, TOLERANCES[net.compute]) if not c.ok] == []


def test_any_branches() -> None:
    seen = Counter[int]()

    @settings(max_examples=settings.default.max_examples // 3)
    @given(branches(), st.sampled_from((1, 3)), st.sampled_from(("fp32", "fp32", "fp16", "bf16")))
    def each(body: str, batch: int, dtype: str) -> None:
        net, xs = compiled(body, batch=batch, dtype=dtype)
        check(net, xs)
        seen.update(len(group.siblings) for group in net.groups_for(batch).groups)

    each()
    assert seen[1] + seen[2] > 4, seen


@st.composite
def scaled(draw: st.DrawFn) -> str:
    """Squeeze and excitation before a convolution, which may add, activate and end in an average; then dense layers."""
    channels = draw(st.sampled_from((8, 16, 24, 5)))
    side = draw(st.sampled_from(("4x5", "7x7", "8x8", "1x1")))
    squeeze = draw(st.sampled_from(("globalavgpool", "globalmaxpool")))
    middle = draw(st.sampled_from(("", "conv(4, 1) -> relu -> ", "conv(6, 1) -> silu -> ")))
    gate = f"{{ {squeeze} -> {middle}conv({channels}, 1) -> {draw(st.sampled_from(('sigmoid', 'hardsigmoid')))} }}"
    arms = ["{ }", gate][:: draw(st.sampled_from((1, -1)))]
    groups = draw(st.sampled_from((1, 1, channels if channels % 2 else 2)))
    filters = channels if draw(st.booleans()) else 3 * groups
    text = f"input x [{side}x{channels}] i: relu mul {{ {' '.join(arms)} }} "
    text += f"c: conv({filters}, 1, groups={groups}) {draw(st.sampled_from(('', '-> batchnorm ')))}"
    if filters == channels and draw(st.booleans()):
        text += "add(@i) "
    text += draw(st.sampled_from(("relu ", "silu ", "")))
    text += draw(st.sampled_from(("", "globalavgpool ", "globalavgpool -> dense(5) ", "globalavgpool -> conv(9, 1) ")))
    return text + draw(st.sampled_from(("", "relu")))


def test_any_scale() -> None:
    seen = Counter[str]()

    @settings(max_examples=settings.default.max_examples * 3 // 5)
    @given(scaled(), st.sampled_from((1, 3)), st.sampled_from(("fp32", "fp32", "fp16", "bf16")))
    def each(body: str, batch: int, dtype: str) -> None:
        net, xs = compiled(body, batch=batch, dtype=dtype)
        check(net, xs)
        for group in net.groups_for(batch).groups:
            seen["scale"] += group.scale is not None
            seen["average behind"] += group.last is not None
            seen["average before"] += group.first is not None and group.scale is None

    each()
    assert min(seen.values()) > 2, seen


@pytest.mark.parametrize("batch", [1, 128])
@pytest.mark.parametrize("average", ["avgpool(1)", "avgpool(1, stride=2)", "adaptiveavgpool(1)", "globalavgpool"])
def test_an_average_over_one_pixel(average: str, batch: int) -> None:
    """Which a convolution on one pixel, a product of vectors, cannot end in."""
    net, xs = compiled(f"input x [1x1x8] conv(16, 1) -> relu -> {average} conv(8, 1) -> {average} -> relu", batch=batch)
    check(net, xs)
    assert len(net.groups_for(batch).groups) == 2


# --- what would be wrong -------------------------------------------------------------------------

ROW = "input x [5x6x8] i: relu concat { { @i a: conv(8, 1) -> relu } { @i b: conv(16, 1) -> relu } } c: conv(4, 3)"
APART = """input x [5x6x8] i: relu
    add { { @i a: conv(8, 1) -> relu -> conv(4, 1) } { @i b: conv(16, 1) -> relu -> conv(4, 3, pad=1) } }"""


def other_order(patch: pytest.MonkeyPatch) -> None:
    """Filters of one launch packed in the reverse order."""
    right = packing.side_by_side
    patch.setattr(packing, "side_by_side", lambda parts: right(parts[::-1]))


def places_turned_round(patch: pytest.MonkeyPatch) -> None:
    """Results of one launch looked for in the reverse order."""
    patch.setattr(planning, "verify", lambda plan: plan)
    rows_turned_round(patch)


@pytest.mark.parametrize(("body", "wrong"), [(ROW, other_order), (APART, other_order), (APART, places_turned_round)])
def test_rows_that_are_wrong_are_seen(body: str, wrong: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    net, xs = compiled(body, batch=2)
    check(net, xs)
    assert any(group.siblings for group in net.groups_for(2).groups)
    wrong(monkeypatch)
    net, xs = compiled(body, batch=2)
    assert not largest_error(net, xs) < 0.1
