"""Networks in which an LRN and a max pool share a kernel, against torch in fp64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small import PLACES, error_of, random

import cnndsl
from cnndsl import CnnError
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import TOLERANCES, verify

# Where the kernel's input lies: in the caller's tensor, or in some channels of a wider buffer.
BEFORE = {
    "caller": "",
    "buffer": "leaky_relu(1)",
    "slice": "a: leaky_relu(1) output both { concat(@a, @x) } @a",
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, tuple[int, int, int], int]:
    """A network's body, its input's shape, and how many kernels it takes when the two layers share one."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    pad = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    pool = f"maxpool({kernel[0]}x{kernel[1]}, stride={stride}, pad=({pad[0]}, {pad[1]}), ceil="
    pool += draw(st.sampled_from(("true)", "false)")))
    norm = f"lrn({draw(st.integers(1, 17))}, alpha=2, beta={draw(st.sampled_from((0.75, 0.6)))}, k=2)"
    layers = draw(st.permutations((norm, pool)))
    place = draw(st.sampled_from(tuple(BEFORE)))
    activation = draw(st.sampled_from(("", "-> silu")))
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20)))
    return f"{BEFORE[place]} {layers[0]} {layers[1]} {activation}", shape, {"caller": 1, "buffer": 2, "slice": 4}[place]


def network(body: str, shape: tuple[int, int, int], **options: object) -> Network:
    return cnndsl.compile(f"network T {{ input x [{shape[0]}x{shape[1]}x{shape[2]}] {body} }}", **options)


@pytest.mark.parametrize("device", PLACES)
@settings(max_examples=settings.default.max_examples // 2 + 3)
@given(bodies(), st.sampled_from(("fp32", "fp16", "bf16")), st.integers(1, 3))
def test_shared_kernels_are_right(
    device: str, drawn: tuple[str, tuple[int, int, int], int], dtype: str, batch: int
) -> None:
    body, shape, kernels = drawn
    try:
        net = network(body, shape, device=device, dtype=dtype)
    except CnnError as error:
        assume(error.diagnostics[0].code != "E0304")  # a window that does not fit
        raise
    assume(sum(len(step.launches) for step in net.plan.steps) == kernels)
    x = random(batch, shape[2], *shape[:2], device=device).to(net.dtype)
    assert error_of(net, x) < TOLERANCES[dtype]
    # And with every kernel's result kept.
    assert all(check.ok for check in verify(net, (x,), layers=True))


@pytest.mark.parametrize("device", PLACES)
@pytest.mark.parametrize("wrong", ["lrn(4, alpha=2) maxpool(3, stride=2)", "maxpool(3, stride=2) lrn(5, alpha=2)"])
def test_wrong_layers_are_noticed(device: str, wrong: str) -> None:
    x = random(2, 12, 7, 7, device=device).bfloat16()
    right = network("lrn(5, alpha=2) maxpool(3, stride=2)", (7, 7, 12), device=device, dtype="bf16")
    other = network(wrong, (7, 7, 12), device=device, dtype="bf16")
    y, r = other(x), right.reference(x.double())
    assert isinstance(y, torch.Tensor)
    assert isinstance(r, torch.Tensor)
    assert (y - r).norm() / r.norm() > 2 * TOLERANCES["bf16"]
    assert error_of(right, x) < TOLERANCES["bf16"]


@pytest.mark.parametrize("device", PLACES)
def test_kept_values_name_the_shared_kernel(device: str) -> None:
    net = network("norm: lrn pool: maxpool(3, stride=2) conv(2, 1)", (7, 7, 12), device=device)
    _, values = net.trace(random(1, 12, 7, 7, device=device))
    assert list(values) == ["pool", "conv1"]
    names = [check.name for check in verify(net, (random(1, 12, 7, 7, device=device),), layers=True)]
    assert names == ["norm + pool", "conv1", "main"]
