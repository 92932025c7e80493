"""Operators that together are one layer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto

from cnndsl.errors import CnnError
from cnndsl.exchange.onnx import patterns
from tests.exchange.onnx_graphs import TOLERANCE, check, const, layers, model, node, read, weight, worst_error


def number(name: str, value: float, *shape: int) -> TensorProto:
    return const(name, np.full(shape, value), np.float32)


NUMBERS = [
    number("half", 0.5), number("one", 1.0), number("two", 2.0, 1), number("three", 3.0), number("six", 6.0),
    number("sixth", 1 / 6), number("root", math.sqrt(2)), number("unroot", math.sqrt(0.5), 1, 1), number("zero", 0.0),
    number("cubic", 0.044715), number("cube", 3.0), number("scale", math.sqrt(2 / math.pi)),
]  # fmt: skip


def needed(nodes: list[NodeProto]) -> list[TensorProto]:
    names = {name for n in nodes for name in n.input}
    return [t for t in NUMBERS if t.name in names]


RELU6 = [node("Add", "x three", "a"), node("Clip", "a zero six", "b")]
ERF = [node("Div", "x root", "a"), node("Erf", "a", "b"), node("Add", "b one", "c")]

ACTIVATIONS: dict[str, tuple[list[NodeProto], str]] = {
    "x * sigmoid(x)": ([node("Sigmoid", "x", "a"), node("Mul", "x a")], "silu"),
    "sigmoid(x) * x": ([node("Sigmoid", "x", "a"), node("Mul", "a x")], "silu"),
    "relu6(x + 3) / 6": ([*RELU6, node("Div", "b six")], "hardsigmoid"),
    "relu6(x + 3) * 1/6": ([*RELU6, node("Mul", "sixth b")], "hardsigmoid"),
    "x * (relu6(x + 3) / 6)": ([*RELU6, node("Div", "b six", "c"), node("Mul", "x c")], "hardswish"),
    "x * relu6(x + 3) / 6": ([*RELU6, node("Mul", "x b", "c"), node("Div", "c six")], "hardswish"),
    "x * hardsigmoid(x)": ([node("HardSigmoid", "x", "a", alpha=1 / 6), node("Mul", "a x")], "hardswish"),
    "x * (1 + erf(x / sqrt 2)) * 0.5": ([*ERF, node("Mul", "x c", "d"), node("Mul", "d half")], "gelu"),
    "0.5 * x * (1 + erf)": ([*ERF, node("Mul", "x half", "d"), node("Mul", "d c")], "gelu"),
    "x * (0.5 * (1 + erf))": ([*ERF, node("Mul", "half c", "d"), node("Mul", "x d")], "gelu"),
    "x * (1 + erf(x * sqrt 0.5)) / 2": (
        [node("Mul", "x unroot", "a"), node("Erf", "a", "b"), node("Add", "one b", "c"), node("Mul", "c x", "d"),
         node("Div", "d two")], "gelu",
    ),
    "min(max(x, 0), 6)": ([node("Relu", "x", "a"), node("Min", "a six")], "relu6"),
    "clip twice": ([node("Clip", "x zero", "a"), node("Clip", "a _ six")], "relu6"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_written_in_arithmetic(tmp_path: Path, name: str) -> None:
    nodes, layer = ACTIVATIONS[name]
    assert layers(check(model(nodes, (2, 3, 4), *needed(nodes)), tmp_path)) == [layer]


@pytest.mark.parametrize("name", ["x * relu6(x + 3) / 6", "x * (1 + erf(x / sqrt 2)) * 0.5", "relu6(x + 3) / 6"])
def test_activations_behind_a_layer_and_its_constants(tmp_path: Path, name: str) -> None:
    """The shift of a layer before goes into that layer, not into the activation."""
    inner, layer = ACTIVATIONS[name]
    nodes = [node("Conv", "i w", "j"), node("Add", "j shift", "x"), *inner]
    made = model(nodes, {"i": (3, 4, 5)}, weight("w", 4, 3, 1, 1), weight("shift", 4, 1, 1), *needed(inner))
    assert layers(check(made, tmp_path)) == ["conv(4, 1x1)", layer]


BEFORE = ["Mul i half", "Mul i unroot", "Div i two", "Div i root", "Add i one", "Add i three", "Sub three i"]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_a_scaled_or_shifted_value(tmp_path: Path, name: str, before: str) -> None:
    """What one number has done to the value before is no part of the activation: gelu(x / 2) is not gelu(x)."""
    inner, layer = ACTIVATIONS[name]
    op, _, operands = before.partition(" ")
    nodes = [node(op, operands, "x"), *inner]
    assert layers(check(model(nodes, {"i": (3, 4, 5)}, *needed(nodes)), tmp_path))[-1] == layer


ALIKE: dict[str, list[NodeProto]] = {
    "another's sigmoid": [node("Tanh", "x", "t"), node("Sigmoid", "t", "a"), node("Mul", "x a")],
    "relu6(x + 3) * 0.5": [*RELU6, node("Mul", "b half")],
    "relu6(x + 2) / 6": [node("Add", "x two", "a"), node("Clip", "a zero six", "b"), node("Div", "b six")],
    "another's relu6(x + 3) / 6": [node("Tanh", "x", "t"), *RELU6, node("Mul", "t b", "c"), node("Div", "c six")],
    "x * relu6(x + 3) / 2": [*RELU6, node("Mul", "x b", "c"), node("Div", "c two")],
    "gelu by tanh": [
        node("Pow", "x cube", "a"), node("Mul", "a cubic", "b"), node("Add", "x b", "c"), node("Mul", "c scale", "d"),
        node("Tanh", "d", "e"), node("Add", "e one", "f"), node("Mul", "x half", "g"), node("Mul", "g f"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_what_is_only_alike_stays_what_it_is(tmp_path: Path, name: str) -> None:
    nodes = ALIKE[name]
    found = layers(check(model(nodes, (2, 3, 4), *needed(nodes)), tmp_path))
    assert not {"silu", "hardswish", "hardsigmoid", "gelu"} & set(found)


def test_a_value_read_elsewhere_stays(tmp_path: Path) -> None:
    nodes = [node("Sigmoid", "x", "a"), node("Mul", "x a", "y"), node("Tanh", "a", "z")]
    assert layers(check(model(nodes, (2, 3, 4), outputs="y z"), tmp_path)) == ["sigmoid", "silu", "tanh"]


def banded(size: int, channels: int, *, below: int) -> list[TensorProto]:
    """A 1x1 convolution over windows of channels."""
    distance = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    band = ((distance >= -below) & (distance < size - below)) * 0.5 / size
    kernel = const("w", band[:, :, None, None], np.float32)
    return [kernel, number("k", 2.0, channels), number("beta", 0.6)]


@pytest.mark.parametrize(("size", "channels"), [(4, 7), (2, 5), (4, 3), (5, 6)])
def test_an_lrn_of_even_size_by_a_convolution(tmp_path: Path, size: int, channels: int) -> None:
    nodes = [node("Mul", "x x", "a"), node("Conv", "a w k", "b"), node("Pow", "b beta", "c"), node("Div", "x c")]
    made = model(nodes, (channels, 3, 4), *banded(size, channels, below=size // 2))
    assert layers(check(made, tmp_path)) == [
        "lrn" + ("" if size == 5 else f"(size={size}, ") + ("(" if size == 5 else "") + "alpha=0.5, beta=0.6, k=2)"
    ]


def test_an_lrn_with_its_extra_channel_above_is_none(tmp_path: Path) -> None:
    nodes = [node("Mul", "x x", "a"), node("Conv", "a w k", "b"), node("Pow", "b beta", "c"), node("Div", "x c")]
    with pytest.raises(CnnError, match="divides by a tensor"):
        read(model(nodes, (7, 3, 4), *banded(4, 7, below=1)), tmp_path)


# --- constants per channel ---------------------------------------------------------------------------

C = st.sampled_from([(), (1,), (4, 1, 1), (1, 4, 1, 1)])
some = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.lists(st.tuples(st.sampled_from(["Add", "Mul", "Sub", "Div", "from"]), C), min_size=1, max_size=4),
       st.sampled_from(["Conv", "biased", "BatchNormalization", "Relu"]))  # fmt: skip
@some
def test_chains_of_constants(tmp_path: Path, chain: list[tuple[str, tuple[int, ...]]], before: str) -> None:
    """They go into a convolution or a batch norm before them, and are a batch norm elsewhere."""
    first = {
        "Conv": node("Conv", "x w", "h0"), "biased": node("Conv", "x w b", "h0"), "Relu": node("Relu", "x", "h0"),
        "BatchNormalization": node("BatchNormalization", "x s b m v", "h0"),
    }[before]  # fmt: skip
    stored = [weight("w", 4, 4, 2, 2), *(weight(n, 4, low=0.5, seed=i) for i, n in enumerate("sbmv"))]
    nodes = [first]
    for i, (op, shape) in enumerate(chain):
        stored.append(weight(f"c{i}", *shape, low=0.5, seed=i))
        inputs = f"c{i} h{i}" if op == "from" else f"h{i} c{i}"
        nodes.append(node("Sub" if op == "from" else op, inputs, f"h{i + 1}"))
    nodes.append(node("Tanh", f"h{len(chain)}"))
    names = {name for n in nodes for name in n.input}
    found = layers(check(model(nodes, (4, 3, 5), *(t for t in stored if t.name in names)), tmp_path))
    assert found == {
        "Conv": ["conv(4, 2x2)", "tanh"], "biased": ["conv(4, 2x2)", "tanh"],
        "BatchNormalization": ["batchnorm", "tanh"], "Relu": ["relu", "batchnorm(eps=0)", "tanh"],
    }[before] or found == ["conv(4, 2x2, bias=false)", "tanh"]  # fmt: skip


def test_a_scale_alone_needs_no_bias(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "h"), node("Mul", "h c")]
    made = model(nodes, (4, 3, 5), weight("w", 4, 4, 2, 2), weight("c", 4, 1, 1))
    assert layers(check(made, tmp_path)) == ["conv(4, 2x2, bias=false)"]


def test_a_wrong_order_of_folding_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("Conv", "x w b", "h"), node("Mul", "h c")]
    made = model(nodes, (4, 3, 5), weight("w", 4, 4, 2, 2), weight("b", 4), weight("c", 4, 1, 1))
    check(made, tmp_path)
    like = patterns._like
    monkeypatch.setattr(patterns, "_like", lambda before, array: like(before, array if array.ndim > 1 else 0 * array))
    assert worst_error(made, tmp_path) > 100 * TOLERANCE


def test_constants_between_a_layer_and_two_readers(tmp_path: Path) -> None:
    """A convolution that others read too keeps its weights."""
    nodes = [node("Conv", "x w", "h"), node("Add", "h c", "a"), node("Tanh", "h", "b"), node("Mul", "a b")]
    made = model(nodes, (4, 3, 5), weight("w", 4, 4, 2, 2), weight("c", 4, 1, 1))
    assert layers(check(made, tmp_path)) == ["conv(4, 2x2, bias=false)", "batchnorm(eps=0)", "tanh", "mul"]


def test_the_input_is_normalised_within(tmp_path: Path) -> None:
    nodes = [node("Sub", "x mean", "a"), node("Div", "a std", "b"), node("Conv", "b w")]
    mean, std = ([[[a]], [[b]], [[c]]] for a, b, c in ((0.4, 0.5, 0.6), (0.2, 0.25, 0.5)))
    stored = [const("mean", mean, np.float32), const("std", std, np.float32)]
    imported = check(model(nodes, (3, 4, 5), *stored, weight("w", 2, 3, 1, 1)), tmp_path)
    assert layers(imported) == ["batchnorm(eps=0, affine=false)", "conv(2, 1x1, bias=false)"]
    assert imported.notes == (
        "the network normalises its input itself: mean (0.4, 0.5, 0.6), std (0.2, 0.25, 0.5); "
        "leave both out of the input's options",
    )


def test_channels_taken_apart_and_put_together(tmp_path: Path) -> None:
    """torchvision's transform_input: each channel gathered, scaled and shifted, and all joined again."""
    nodes = []
    stored = [const("axis", [1])]
    for i in range(3):
        stored += [const(f"i{i}", i), number(f"m{i}", 0.5 + i), number(f"a{i}", 0.1 * i - 0.2)]
        nodes += [
            node("Gather", f"x i{i}", f"g{i}", axis=1), node("Unsqueeze", f"g{i} axis", f"u{i}"),
            node("Mul", f"u{i} m{i}", f"p{i}"), node("Add", f"p{i} a{i}", f"q{i}"),
        ]  # fmt: skip
    nodes += [node("Concat", "q0 q1 q2", "r", axis=1), node("Tanh", "r")]
    imported = check(model(nodes, (3, 4, 5), *stored), tmp_path)
    assert layers(imported) == ["batchnorm(eps=0, affine=false)", "tanh"]


@pytest.mark.parametrize("opset", [7, 11, 13, 18, 22])
def test_a_split_convolution_is_one_of_groups(tmp_path: Path, opset: int) -> None:
    """AlexNet's halves, each with a convolution of its own."""
    if opset < 13:
        split, sizes = node("Split", "x", "a b", axis=1, split=[2, 2]), []
    else:
        split, sizes = node("Split", "x s", "a b", axis=1), [const("s", [2, 2])]
    nodes = [split, node("Conv", "a w b0", "c"), node("Conv", "b v b1", "d"), node("Concat", "c d", axis=1)]
    stored = [weight("w", 3, 2, 2, 2), weight("v", 3, 2, 2, 2), weight("b0", 3), weight("b1", 3), *sizes]
    assert layers(check(model(nodes, (4, 3, 5), *stored, opset=opset), tmp_path)) == ["conv(6, 2x2, groups=2)"]


# --- borders -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2), min_size=4, max_size=4), st.sampled_from([(0, 0, 0, 0), (1, 0, 2, 1)]))
@some
def test_a_border_of_zeros_goes_into_a_convolution(tmp_path: Path, border: list[int], pads: tuple[int, ...]) -> None:
    nodes = [node("Pad", "x p", "a"), node("Conv", "a w", pads=pads)]
    made = model(nodes, (2, 4, 5), const("p", [0, 0, *border[:2], 0, 0, *border[2:]]), weight("w", 3, 2, 3, 2))
    (layer,) = layers(check(made, tmp_path))
    assert layer.startswith("conv(")


POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}


@pytest.mark.parametrize(
    ("before", "op", "attributes", "value", "found"),
    [
        ("Relu", "MaxPool", {}, 0.0, ["relu", "maxpool(3x3, stride=2, pad=1)"]),
        ("Tanh", "MaxPool", {}, 0.0, ["tanh", "pad(1)", "maxpool(3x3, stride=2)"]),
        ("Relu", "MaxPool", {}, 0.5, ["relu", "pad(1, value=0.5)", "maxpool(3x3, stride=2)"]),
        ("Relu", "MaxPool", {"ceil_mode": 1}, 0.0, ["relu", "pad(1)", "maxpool(3x3, stride=2, ceil=true)"]),
        ("Tanh", "AveragePool", {}, 0.0, ["tanh", "avgpool(3x3, stride=2, pad=1)"]),
        ("Tanh", "AveragePool", {"count_include_pad": 1}, 0.0, ["tanh", "avgpool(3x3, stride=2, pad=1)"]),
        ("Tanh", "AveragePool", {}, 0.5, ["tanh", "pad(1, value=0.5)", "avgpool(3x3, stride=2)"]),
    ],
)  # fmt: skip
def test_a_border_before_a_pool(tmp_path: Path, before, op, attributes, value, found) -> None:
    nodes = [node(before, "x", "a"), node("Pad", "a p v", "b"), node(op, "b", **POOL, **attributes)]
    made = model(nodes, (2, 6, 7), const("p", [0, 0, 1, 1, 0, 0, 1, 1]), const("v", value, np.float32))
    assert layers(check(made, tmp_path)) == found


def test_a_border_of_zeros_before_negatives_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("Tanh", "x", "a"), node("Pad", "a p", "b"), node("MaxPool", "b", **POOL)]
    made = model(nodes, (2, 6, 7), const("p", [0, 0, 1, 1, 0, 0, 1, 1]))
    check(made, tmp_path)
    monkeypatch.setattr(patterns, "_positive", lambda *_: True)
    assert worst_error(made, tmp_path) > 100 * TOLERANCE


# --- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "called", "found"),
    [
        ("layer1.0.conv1.weight layer1.0.conv1.bias", "Conv_3", "layer1.0.conv1"),
        ("gpu_0/conv1_w_0 gpu_0/conv1_b_0", "n0", "conv1"),
        ("conv1.weight conv1.weight_bias", "node_Conv_291", "conv1"),
        ("onnx::Conv_193 onnx::Conv_194", "/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("onnx::Conv_193 onnx::Conv_194", "/features/features.3/Conv_1", "features.3"),
        ("193 194", "Conv_12", "conv"),
        ("193 194", "first", "first"),
        ("stem/kernel stem/bias", "", "stem"),
        ("c1.weight c1.bias", "n0", "c1"),
        ("0.weight 0.bias", "n0", "0"),
    ],
)
def test_names_of_layers(tmp_path: Path, weights: str, called: str, found: str) -> None:
    w, b = weights.split()
    nodes = [node("Conv", f"x {w} {b}", name=called)]
    imported = read(model(nodes, (2, 3, 4), weight(w, 3, 2, 1, 1), weight(b, 3)), tmp_path)
    assert list(imported.weights) == [f"{found}.weight", f"{found}.bias"]


def test_a_module_is_no_layer(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x block.conv.weight", "a", name="/block/conv/Conv"), node("Add", "a x", "b", name="/block/Add"),
        node("Relu", "b", name="/block/relu/Relu"),
    ]  # fmt: skip
    imported = read(model(nodes, (2, 3, 4), weight("block.conv.weight", 2, 2, 1, 1)), tmp_path)
    assert [n.name for n in imported.graph.nodes] == ["x", "block.conv", "block.add", "block.relu"]
