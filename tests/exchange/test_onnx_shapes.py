"""Operators that move values or see them in another shape, and the arithmetic of shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto

from cnndsl.errors import CnnError
from cnndsl.exchange.onnx import nodes_shapes
from cnndsl.ops.reshape import ChannelShuffle
from tests.exchange.onnx_graphs import (
    OPSETS,
    TOLERANCE,
    check,
    const,
    error,
    layers,
    model,
    node,
    random_inputs,
    read,
    run_ours,
    run_theirs,
    weight,
    worst_error,
)

some = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _axes(op: str, inputs: str, outputs: str, axes: list[int], *, opset: int) -> tuple[NodeProto, list[TensorProto]]:
    """Squeeze or Unsqueeze, whose axes are an input from opset 13 on."""
    if opset < 13:
        return node(op, inputs, outputs, axes=axes), []
    return node(op, f"{inputs} {outputs}_axes", outputs), [const(f"{outputs}_axes", axes)]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("flat", "target"),
    [
        (node("Flatten", "h", "v"), None), (node("Flatten", "h", "v", axis=1), None),
        (node("Reshape", "h s", "v"), (0, -1)), (node("Reshape", "h s", "v"), (-1, 24)),
    ],
    ids=["default", "axis", "to the batch", "to the features"],
)  # fmt: skip
def test_flattened_for_a_dense_layer(tmp_path: Path, opset: int, flat: NodeProto, target) -> None:
    nodes = [node("Relu", "x", "h"), flat, node("Gemm", "v w c", transB=1)]
    stored = [weight("w", 5, 24), weight("c", 5), *([const("s", target)] if target is not None else [])]
    assert layers(check(model(nodes, (2, 3, 4), *stored, opset=opset), tmp_path)) == ["relu", "dense(5)"]


@pytest.mark.parametrize("opset", [7, 11, 13, 22])
def test_flattened_by_squeeze(tmp_path: Path, opset: int) -> None:
    squeeze, axes = _axes("Squeeze", "h", "v", [2, 3], opset=opset)
    nodes = [node("GlobalAveragePool", "x", "h"), squeeze, node("MatMul", "v w")]
    made = model(nodes, (6, 3, 4), weight("w", 6, 5), *axes, opset=opset)
    assert layers(check(made, tmp_path)) == ["globalavgpool", "dense(5, bias=false)"]


@pytest.mark.parametrize("opset", [9, 12, 13, 22])
def test_flattened_by_the_arithmetic_of_shapes(tmp_path: Path, opset: int) -> None:
    """What torch's exporter wrote for ``x.view(x.size(0), -1)``: the batch gathered from the shape."""
    first, a = _axes("Unsqueeze", "n", "n1", [0], opset=opset)
    second, b = _axes("Unsqueeze", "m", "m1", [0], opset=opset)
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0), first, second,
        node("Concat", "n1 m1", "t", axis=0), node("Reshape", "x t", "v"), node("Gemm", "v w c"),
    ]  # fmt: skip
    stored = [const("zero", 0), const("m", -1), weight("w", 24, 5), weight("c", 5), *a, *b]
    assert layers(check(model(nodes, (2, 3, 4), *stored, opset=opset), tmp_path)) == ["dense(5)"]


def test_flattened_by_a_slice_of_the_shape(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"), node("Slice", "s a b", "n"), node("Slice", "s b e", "rest"),
        node("ReduceProd", "rest", "p"),
        node("Cast", "p", "q", to=TensorProto.INT64), node("Concat", "n q", "t", axis=0), node("Reshape", "x t", "v"),
        node("Gemm", "v w c"),
    ]  # fmt: skip
    stored = [const("a", [0]), const("b", [1]), const("e", [2**31 - 1]), weight("w", 24, 5), weight("c", 5)]
    assert layers(check(model(nodes, (2, 3, 4), *stored), tmp_path)) == ["dense(5)"]


def test_a_shape_asserted_by_arithmetic(tmp_path: Path) -> None:
    """A border computed from the shape, as exporters write TensorFlow's SAME: all of it is known."""
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s two", "h"), node("Add", "h one", "h1"), node("Mul", "h1 two", "m"),
        node("Sub", "m h", "d"), node("Div", "d three", "e"), node("Mod", "e three", "q"),
        node("Unsqueeze", "q zero", "p"),
        node("Concat", "n n n p n n p n", "pads", axis=0), node("Pad", "x pads"),
    ]  # fmt: skip
    stored = [const(n, v) for n, v in (("one", 1), ("two", 2), ("three", 3), ("zero", [0]), ("n", [0]))]
    assert layers(check(model(nodes, (2, 4, 5), *stored), tmp_path)) == ["pad((0, 2, 2, 0))"]


# --- groups of channels, and the order of axes -------------------------------------------------------


@given(groups=st.sampled_from([2, 3]), each=st.integers(1, 4), size=st.sampled_from([(3, 4), (1, 1), (1, 5)]),
       opset=st.sampled_from(OPSETS))  # fmt: skip
@some
def test_channel_shuffle(tmp_path: Path, groups: int, each: int, size: tuple[int, int], opset: int) -> None:
    channels = groups * each
    nodes = [node("Reshape", "x a", "b"), node("Transpose", "b", "c", perm=[0, 2, 1, 3, 4]), node("Reshape", "c d")]
    stored = [const("a", [0, groups, each, *size]), const("d", [0, channels, *size])]
    found = layers(check(model(nodes, (channels, *size), *stored, opset=opset), tmp_path))
    # One channel in each group, and the values of all lie as before.
    assert found == ([f"channel_shuffle({groups})"] if each > 1 else ["identity"])


def test_channel_shuffle_with_flat_pixels(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x a", "b"), node("Transpose", "b", "c", perm=[0, 2, 1, 3]), node("Reshape", "c d")]
    stored = [const("a", [-1, 2, 3, 20]), const("d", [-1, 6, 4, 5])]
    assert layers(check(model(nodes, (6, 4, 5), *stored), tmp_path)) == ["channel_shuffle(2)"]


def test_a_wrong_shuffle_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("Reshape", "x a", "b"), node("Transpose", "b", "c", perm=[0, 2, 1, 3]), node("Reshape", "c d")]
    made = model(nodes, (6, 4, 5), const("a", [-1, 2, 3, 20]), const("d", [-1, 6, 4, 5]))
    monkeypatch.setattr(nodes_shapes, "ChannelShuffle", lambda groups: ChannelShuffle(6 // groups))
    assert worst_error(made, tmp_path) > 100 * TOLERANCE


def test_channels_last(tmp_path: Path) -> None:
    """A model of TensorFlow: pictures with the channels last, convolutions with them first, dense layers behind."""
    nodes = [
        node("Transpose", "x", "a", perm=[0, 3, 1, 2]), node("Conv", "a w", "b"),
        node("Transpose", "b", "c", perm=[0, 2, 3, 1]),
        node("Add", "c bias", "d"), node("Relu", "d", "e"), node("Reshape", "e s", "f"), node("MatMul", "f v"),
    ]  # fmt: skip
    stored = [weight("w", 6, 3, 2, 2), weight("bias", 6), const("s", [-1, 72]), weight("v", 72, 5)]
    made = model(nodes, (4, 5, 3), *stored, outputs="y")
    imported = read(made, tmp_path)
    assert layers(imported) == ["conv(6, 2x2)", "relu", "dense(5, bias=false)"]
    assert "input `x` is [N, H, W, C] in the file, and [N, C, H, W] here" in imported.notes

    inputs = random_inputs(made)
    (ours,) = run_ours(imported, {"x": np.ascontiguousarray(inputs["x"].transpose(0, 3, 1, 2))})
    assert error(ours, run_theirs(made, inputs)[0]) < TOLERANCE


def test_means_and_scales_with_channels_last(tmp_path: Path) -> None:
    """Squeeze and excitation as TensorFlow writes it: [N, 1, 1, C] beside [N, H, W, C]."""
    nodes = [
        node("Transpose", "x", "a", perm=[0, 2, 3, 1]), node("ReduceMean", "a", "b", axes=[1, 2]),
        node("Sigmoid", "b", "c"),
        node("Mul", "a c", "d"), node("Concat", "d a", "e", axis=3), node("Softmax", "e", "f", axis=3),
        node("Transpose", "f", perm=[0, 3, 1, 2]),
    ]  # fmt: skip
    found = layers(check(model(nodes, (3, 4, 5)), tmp_path))
    assert found == ["globalavgpool", "sigmoid", "mul", "concat", "softmax"]


# --- vectors that must be maps -----------------------------------------------------------------------


def test_an_excitation_of_dense_layers(tmp_path: Path) -> None:
    """Dense layers whose result scales a map are convolutions over the one pixel."""
    nodes = [
        node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"), node("Gemm", "f w c", "g"),
        node("Relu", "g", "h"),
        node("MatMul", "h v", "i"), node("Sigmoid", "i", "j"), node("Unsqueeze", "j axes", "k"), node("Mul", "x k"),
    ]  # fmt: skip
    stored = [weight("w", 6, 2), weight("c", 2), weight("v", 2, 6), const("axes", [2, 3])]
    found = layers(check(model(nodes, (6, 3, 4), *stored), tmp_path))
    assert found == ["globalavgpool", "conv(2, 1x1)", "relu", "conv(6, 1x1, bias=false)", "sigmoid", "mul"]


def test_a_dense_layer_over_a_map_that_scales_it(tmp_path: Path) -> None:
    nodes = [node("Flatten", "x", "f"), node("MatMul", "f w", "g"), node("Reshape", "g s", "h"), node("Mul", "x h")]
    made = model(nodes, (2, 3, 4), weight("w", 24, 2), const("s", [0, 2, 1, 1]))
    assert layers(check(made, tmp_path)) == ["conv(2, 3x4, bias=false)", "mul"]


def test_a_vector_that_is_both(tmp_path: Path) -> None:
    """One result read as a vector and as a map of one pixel."""
    nodes = [
        node("Flatten", "x", "f"), node("MatMul", "f w", "g"), node("Reshape", "g s", "h"), node("Mul", "x h", "y"),
        node("MatMul", "g v", "z"),
    ]  # fmt: skip
    made = model(nodes, (2, 3, 4), weight("w", 24, 2), const("s", [0, 2, 1, 1]), weight("v", 2, 3), outputs="y z")
    check(made, tmp_path)


UNEVEN = [((7, 5), (3, 2)), ((4, 6), (3, 6)), ((6, 5), (6, 3)), ((3, 4), (5, 4))]


@pytest.mark.parametrize(("size", "out"), UNEVEN, ids=str)
def test_adaptive_pooling_by_matrices(tmp_path: Path, size: tuple[int, int], out: tuple[int, int]) -> None:
    """Means along rows and columns as two products: what torch computes of uneven windows."""
    rows, columns = (torch.nn.functional.adaptive_avg_pool2d(torch.eye(n)[None], (o, n))[0].numpy()
                     for n, o in zip(size, out, strict=True))  # fmt: skip
    nodes = [node("MatMul", "r x", "h"), node("MatMul", "h c")]
    made = model(nodes, (3, *size), const("r", rows, np.float32), const("c", columns.T, np.float32))
    assert layers(check(made, tmp_path)) == [f"adaptiveavgpool({out[0]}x{out[1]})"]
    other = model(nodes, (3, *size), const("r", rows[::-1], np.float32), const("c", columns.T, np.float32))
    with pytest.raises(CnnError, match="multiplies a feature map by a matrix"):
        read(other, tmp_path)


# --- joins -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [1, -3])
def test_concat_of_maps(tmp_path: Path, axis: int) -> None:
    nodes = [node("Relu", "x", "a"), node("Tanh", "x", "b"), node("Concat", "a x b", axis=axis)]
    opset = 11 if axis < 0 else 7
    assert layers(check(model(nodes, (2, 3, 4), opset=opset), tmp_path)) == ["relu", "tanh", "concat"]


def test_concat_of_vectors_and_flat_maps(tmp_path: Path) -> None:
    nodes = [node("Flatten", "x", "a"), node("MatMul", "a w", "b"), node("Concat", "a b", axis=-1)]
    check(model(nodes, (2, 3, 4), weight("w", 24, 3)), tmp_path)


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub"])
def test_joins_of_two(tmp_path: Path, op: str) -> None:
    nodes = [node("Tanh", "x", "a"), node("Sigmoid", "x", "b"), node(op, "a b")]
    check(model(nodes, (2, 3, 4), opset=7), tmp_path)


def test_sum_of_many(tmp_path: Path) -> None:
    nodes = [node("Tanh", "x", "a"), node("Relu", "x", "b"), node("Sum", "a b x")]
    assert layers(check(model(nodes, (2, 3, 4), opset=8), tmp_path))[-1] == "add"


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    nodes = [node("Add", "a b", "y"), node("Relu", "y", "z")]
    made = model(nodes, {"a": (2, 3, 4), "b": (2, 3, 4)}, outputs="z y")
    imported = check(made, tmp_path)
    assert [n.name for n in imported.graph.inputs] == ["a", "b"]
    assert [name for name, _ in imported.graph.outputs] == ["main", "y"]


@pytest.mark.parametrize("shape", [(2, 3, 4), (5,)], ids=str)
def test_shapes_of_outputs(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """An output that the file gives in a shape of its own: a vector of one pixel, a map of a vector."""
    nodes = [node("Flatten", "x", "f"), node("MatMul", "f w", "g"), node("Unsqueeze", "g axes")]
    features = int(np.prod(shape))
    made = model(nodes, shape, weight("w", features, 3), const("axes", [2, 3]))
    if len(shape) == 3:
        assert layers(check(made, tmp_path)) == [f"conv(3, {shape[1]}x{shape[2]}, bias=false)"]
    else:
        assert read(made, tmp_path).notes == ("output `y` is [N, 3, 1, 1] in the file, and [N, 3] here",)


def test_the_batch_may_be_fixed(tmp_path: Path) -> None:
    """Reshapes to a batch of one, as Caffe2 writes them: the network takes any batch all the same."""
    nodes = [node("Relu", "x", "h"), node("Reshape", "h s", "f"), node("Gemm", "f w c")]
    stored = [const("s", [1, -1]), weight("w", 24, 5), weight("c", 5)]
    check(model(nodes, (2, 3, 4), *stored, batch=1), tmp_path)
    made = model(nodes, (2, 3, 4), const("s", [10, 24]), *stored[1:], batch=10)
    assert read(made, tmp_path).notes == ("the file fixes the batch to 10: the network takes any",)
