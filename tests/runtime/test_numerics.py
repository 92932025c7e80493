"""Every layer, compiled and run, against torch in fp64: sharp tolerances, and wrong versions that must not pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
import torch_layers
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import LAYERS, SAMPLES, Dims, Sample, random_tensor, torch_shape

import cnndsl
from cnndsl.ops import operations
from cnndsl.runtime.executor import Network

CUDA = torch.cuda.is_available()
GPU = [pytest.mark.gpu, pytest.mark.skipif(not CUDA, reason="needs a CUDA device")]
DTYPES = tuple(torch_layers.TORCH_TYPES)
ON_GPU = [pytest.param("cuda", d, id=f"cuda-{d}", marks=GPU) for d in (DTYPES if CUDA else DTYPES[:1])]
CPU = pytest.mark.skipif(CUDA, reason="Triton compiles for the GPU in this process")
IN_FP32 = [pytest.param("cpu", "fp32", id="cpu-fp32", marks=CPU), *ON_GPU]
IN_ALL = [*IN_FP32, *(pytest.param("cpu", d, id=f"cpu-{d}", marks=CPU) for d in ("fp16", "bf16"))]

# Where the layer's input lies: in the caller's tensor, in a buffer of its own, in some channels of a wider one.
# leaky_relu(1) copies without rounding.
BEFORE = {
    "caller": "@x0",
    "buffer": "@x0 leaky_relu(1)",
    "slice": "@x0 before: leaky_relu(1) after: leaky_relu(1) output joined {{ concat(@x0, @before, @after) }} @{which}",
}
LAYOUTS = ("contiguous", "channels_last", "strided", "expanded")


@dataclass(frozen=True)
class Case:
    """A compiled layer with weights and inputs, and what torch makes of the same numbers in fp64."""

    net: Network
    xs: tuple[torch.Tensor, ...]
    weights: dict[str, torch.Tensor]
    expected: torch.Tensor
    scale: torch.Tensor
    exact: bool


def text_of(layer: str, inputs: Sequence[Dims], place: str = "caller", which: str = "after") -> str:
    declared = " ".join(f"input x{i} [{'x'.join(map(str, dims))}]" for i, dims in enumerate(inputs))
    return f"network T {{ {declared} {BEFORE[place].format(which=which)} it: {layer} }}"


def arranged(x: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values in another memory layout; `expanded` repeats the first picture with a stride of 0."""
    match layout:
        case "channels_last" if x.dim() == 4:
            return x.contiguous(memory_format=torch.channels_last)
        case "strided":
            wide = torch.full([2 * size + 1 for size in x.shape], math.nan, dtype=x.dtype, device=x.device)
            view = wide[tuple(slice(1, None, 2) for _ in x.shape)]
            return view.copy_(x)
        case "expanded":
            return x[:1].expand(x.shape)
    return x


def draw_weights(net: Network) -> dict[str, torch.Tensor]:
    """Weights of every size and sign; variances are positive. Those of `it`, by last name."""
    found = {}
    for number, (key, t) in enumerate(net.state_dict().items()):
        values = random_tensor(*t.shape, seed=1000 + number) / 3
        values = values.abs() + 0.1 if key.endswith("running_var") else values
        # Rounded to the network's type, so that rounding weights is no part of the error.
        found[key] = values.to(net.dtype).float() if key.endswith("it.weight") else values
    return found


def case_of(
    layer: str, inputs: Sequence[Dims], device: str, dtype: str, *,
    batch: int = 2, place: str = "caller", which: str = "after", layout: str = "contiguous",
    xs: Sequence[torch.Tensor] | None = None,
) -> Case:
    net = cnndsl.compile(text_of(layer, inputs, place, which), device=device, dtype=dtype)
    weights = draw_weights(net)
    net.load_weights(weights)
    if xs is None:
        xs = [random_tensor(batch, *torch_shape(dims), seed=i) for i, dims in enumerate(inputs)]
    xs = [arranged(x.to(net.dtype).to(device), layout) for x in xs]
    op = net.graph.by_name["it"].op
    assert op is not None
    wide, own = [x.double().cpu() for x in xs], {k.removeprefix("it."): t.double() for k, t in weights.items()}
    expected = torch_layers.ORACLES[op.name](op, wide, own)
    scale = torch_layers.scale(op, wide, own, expected)
    if op.joins and len(xs) > 2:
        scale = scale * (len(xs) - 1)  # two operands at a time, each result rounded
    return Case(net, tuple(xs), weights, expected, scale, op.name in torch_layers.EXACT)


def main(y: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
    return y if isinstance(y, torch.Tensor) else y["main"]


def wrong(case: Case, net: Network | None = None) -> str | None:
    """What is wrong with the result of a network, the case's own or another, or None."""
    y = main((net or case.net)(*case.xs))
    return torch_layers.difference(y, case.expected, case.scale, case.net.compute, exact=case.exact)


def same_in_torch(case: Case) -> None:
    """The network's own reference says in fp64 what the oracle says."""
    y = main(case.net.reference(*(x.double() for x in case.xs)))
    torch.testing.assert_close(y.cpu(), case.expected, rtol=1e-12, atol=1e-12, equal_nan=True)


def share(of: float) -> settings:
    """Part of the examples that the profile asks for."""
    return settings(max_examples=max(2, int(settings.default.max_examples * of)))


# --- all layers ----------------------------------------------------------------------------------


def test_no_layer_is_forgotten() -> None:
    names = set(operations())
    sampled = {s.layer.split("(")[0] for s in SAMPLES}
    assert (set(LAYERS), set(torch_layers.ORACLES), sampled) == (names, names, names)
    unguarded = names - {s.layer.split("(")[0] for s in SAMPLES if s.mutants} - {"dense"}
    assert not unguarded, "these have no wrong version; dense has some below"


@pytest.mark.parametrize(("device", "dtype"), IN_ALL)
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_sample(sample: Sample, device: str, dtype: str) -> None:
    case = case_of(sample.layer, sample.inputs, device, dtype)
    assert wrong(case) is None
    same_in_torch(case)


@pytest.mark.parametrize(("device", "dtype"), IN_FP32)
@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.mutants], ids=str)
def test_wrong_layer_is_seen(sample: Sample, device: str, dtype: str) -> None:
    case = case_of(sample.layer, sample.inputs, device, dtype)
    for mutant in sample.mutants:
        net = cnndsl.compile(text_of(mutant, sample.inputs), device=device, dtype=dtype)
        net.load_weights(case.weights)
        assert wrong(case, net) is not None, mutant


SHARES = {"conv": 0.8, "maxpool": 0.4, "avgpool": 0.6, "lrn": 0.4, "dense": 0.4}


@pytest.mark.parametrize(("device", "dtype"), IN_FP32)
@pytest.mark.parametrize("name", list(LAYERS))
def test_random_layer(name: str, device: str, dtype: str) -> None:
    @share(SHARES.get(name, 0.16))
    @given(
        sample=LAYERS[name],
        batch=st.sampled_from((1, 3, 2)),
        place=st.sampled_from(list(BEFORE)),
        which=st.sampled_from(("before", "after")),
        layout=st.sampled_from(LAYOUTS),
    )
    def check(sample: Sample, batch: int, place: str, which: str, layout: str) -> None:
        case = case_of(
            sample.layer, sample.inputs, device, dtype, batch=batch, place=place, which=which, layout=layout
        )
        assert wrong(case) is None
        same_in_torch(case)

    check()


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "tf32"])
@pytest.mark.parametrize("name", ["conv", "dense", "avgpool", "lrn", "softmax", "add"])
@pytest.mark.skipif(CUDA, reason="Triton compiles for the GPU in this process")
def test_random_layer_in_other_types(name: str, dtype: str) -> None:
    if dtype == "tf32" and name not in {"conv", "dense"}:
        pytest.skip("only products know tf32")

    @share(0.12)
    @given(sample=LAYERS[name], place=st.sampled_from(list(BEFORE)))
    def check(sample: Sample, place: str) -> None:
        assert wrong(case_of(sample.layer, sample.inputs, "cpu", dtype, place=place)) is None

    check()


# --- weights -------------------------------------------------------------------------------------


WEIGHT_MUTANTS = {
    "filters flipped": lambda key, t: t.flip(2, 3) if key == "it.weight" else t,
    "rows and columns swapped": lambda key, t: t.transpose(2, 3).contiguous() if key == "it.weight" else t,
    "channels rolled": lambda key, t: t.roll(1, 1) if key == "it.weight" else t,
    "filters rolled": lambda key, t: t.roll(1, 0) if key == "it.weight" else t,
    "no bias": lambda key, t: torch.zeros_like(t) if key == "it.bias" else t,
    "biases rolled": lambda key, t: t.roll(1, 0) if key == "it.bias" else t,
}


@pytest.mark.parametrize(("device", "dtype"), IN_FP32)
@pytest.mark.parametrize("what", list(WEIGHT_MUTANTS))
@pytest.mark.parametrize("layer", ["conv(6, 3, pad=1)", "conv(6, 3, stride=2, groups=2)", "dense(6)"])
def test_wrong_weights_are_seen(layer: str, what: str, device: str, dtype: str) -> None:
    case = case_of(layer, ((5, 5, 4),), device, dtype)
    if layer == "dense(6)":
        # Its weight as the convolution that it is: C, H, W order.
        case.weights["it.weight"] = case.weights["it.weight"].unflatten(1, (4, 5, 5))
    mutated = {key: WEIGHT_MUTANTS[what](key, t) for key, t in case.weights.items()}
    case.net.load_weights({key: t.reshape(case.net.state_dict()[key].shape) for key, t in mutated.items()})
    assert wrong(case) is not None


@pytest.mark.parametrize(("device", "dtype"), IN_FP32)
def test_wrong_statistics_are_seen(device: str, dtype: str) -> None:
    case = case_of("batchnorm", ((3, 4, 5),), device, dtype)
    names = ("weight", "bias", "running_mean", "running_var")
    for one, other in pairwise(names):
        swapped = {**case.weights, f"it.{one}": case.weights[f"it.{other}"], f"it.{other}": case.weights[f"it.{one}"]}
        case.net.load_state_dict(swapped)
        assert wrong(case) is not None, one


# --- activations in the epilogue -----------------------------------------------------------------


ACTIVATIONS = [name for name, op in operations().items() if op.family == "Activations"]
ANCHORS = [s for s in SAMPLES if operations()[s.layer.split("(")[0]].takes_activation]


@pytest.mark.parametrize(("device", "dtype"), IN_FP32)
@pytest.mark.parametrize("sample", ANCHORS, ids=str)
def test_activation_in_the_epilogue(sample: Sample, device: str, dtype: str) -> None:
    plain = case_of(sample.layer, sample.inputs, device, dtype)
    number = ANCHORS.index(sample)
    for activation in (ACTIVATIONS[number % len(ACTIVATIONS)], "tanh"):
        text = text_of(f"{sample.layer} -> {activation}", sample.inputs)
        net = cnndsl.compile(text, device=device, dtype=dtype)
        net.load_weights(plain.weights)
        assert len(net.plan.steps) == len(plain.net.plan.steps)
        op = net.graph.by_name[dict(net.graph.outputs)["main"]].op
        expected = torch_layers.ORACLES[activation](op, [plain.expected], {})
        # No activation is steeper than 1.2.
        case = Case(
            net, plain.xs, plain.weights, expected, 1.2 * plain.scale + 2 * expected.abs() + 1e-3, exact=False
        )
        assert wrong(case) is None
        # Some leave the results of some layers alone: relu those of a maximum.
        assert activation != "tanh" or wrong(case, plain.net) is not None, "the activation left out"


# --- special values ------------------------------------------------------------------------------


SPECIAL = (math.nan, math.inf, -math.inf, -0.0, 0.0)
SIGNED = {"relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "hardswish", "flatten", "identity", "dropout"}
"""Layers whose zeros keep their sign in torch."""


def with_special_values(inputs: Sequence[Dims], seed: int) -> list[torch.Tensor]:
    """Random numbers, a tenth of them special, so that many windows see one and many see none."""
    xs = []
    for number, dims in enumerate(inputs):
        x = random_tensor(3, *torch_shape(dims), seed=seed + number)
        where = torch.randperm(x.numel(), generator=torch.Generator().manual_seed(seed + number))
        for i, value in enumerate(SPECIAL):
            x.view(-1)[where[i :: len(SPECIAL)][: max(1, x.numel() // 50)]] = value
        xs.append(x)
    return xs


@pytest.mark.parametrize(("device", "dtype"), IN_FP32)
@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.layer != "conv(40, 11x11, stride=4)"], ids=str)
def test_special_values(sample: Sample, device: str, dtype: str) -> None:
    case = case_of(sample.layer, sample.inputs, device, dtype, xs=with_special_values(sample.inputs, seed=5))
    assert wrong(case) is None
    if sample.layer.split("(")[0] in SIGNED:
        y = main(case.net(*case.xs)).double().cpu()
        zeros = case.expected == 0
        assert zeros.any()
        assert torch.equal(y.signbit()[zeros], case.expected.signbit()[zeros])


@pytest.mark.parametrize(("device", "dtype"), IN_FP32)
def test_lost_special_value_is_seen(device: str, dtype: str) -> None:
    case = case_of("relu", ((4, 3, 5),), device, dtype, xs=with_special_values(((4, 3, 5),), seed=5))
    for value in SPECIAL[:3]:
        special = case.xs[0].isnan() if math.isnan(value) else case.xs[0] == value
        x = torch.where(special, 1.0, case.xs[0])
        assert wrong(Case(case.net, (x,), {}, case.expected, case.scale, exact=True)) is not None
