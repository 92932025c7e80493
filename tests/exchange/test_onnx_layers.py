"""Single operators with all of their arguments, in all opsets, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from cnndsl.errors import CnnError
from cnndsl.exchange.onnx import nodes_dense, nodes_norms, nodes_windows
from tests.exchange.onnx_graphs import (
    OPSETS,
    TOLERANCE,
    check,
    const,
    layers,
    model,
    node,
    read,
    weight,
    worst_error,
)

some = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
opsets = st.sampled_from(OPSETS)
small = st.integers(1, 4)
pairs = st.tuples(small, small)


@st.composite
def convolutions(draw: st.DrawFn) -> onnx.ModelProto:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 3))
    kernel, dilation = draw(pairs), (1, 1)
    attributes = {"strides": draw(pairs), "group": groups}
    match draw(st.sampled_from(["none", "pads", "auto"])):
        case "pads":
            attributes["pads"] = draw(st.lists(st.integers(0, 3), min_size=4, max_size=4))
            dilation = draw(st.sampled_from([(1, 1), (2, 1), (1, 2)]))
        case "auto":
            # With dilations onnxruntime has no SAME, and with steps far beyond the window nobody agrees on it.
            attributes["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"]))
            attributes["strides"] = tuple(draw(st.integers(1, k + 1)) for k in kernel)
        case _:
            dilation = draw(st.sampled_from([(1, 1), (2, 2)]))
    if dilation != (1, 1):
        attributes["dilations"] = dilation
    if draw(st.booleans()):
        attributes["kernel_shape"] = kernel
    stored = [weight("w", filters, channels // groups, *kernel), weight("b", filters)]
    biased = draw(st.booleans())
    nodes = [node("Conv", "x w b" if biased else "x w", **attributes)]
    size = draw(st.integers(7, 9)), draw(st.integers(7, 9))
    return model(nodes, (channels, *size), *stored[: 1 + biased], opset=draw(opsets))


@given(convolutions())
@some
def test_convolutions(tmp_path: Path, made: onnx.ModelProto) -> None:
    check(made, tmp_path)


@st.composite
def pools(draw: st.DrawFn) -> onnx.ModelProto:
    op, opset, kernel = draw(st.sampled_from(["MaxPool", "AveragePool"])), draw(opsets), draw(pairs)
    attributes: dict[str, object] = {"kernel_shape": kernel, "strides": draw(pairs)}
    match draw(st.sampled_from(["none", "pads", "auto"])):
        case "pads":
            attributes["pads"] = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
        case "auto":
            attributes["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
            attributes["strides"] = tuple(draw(st.integers(1, k)) for k in kernel)
    if opset >= 10:
        attributes["ceil_mode"] = draw(st.integers(0, 1))
    if op == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    size = draw(st.integers(4, 9)), draw(st.integers(4, 9))
    return model([node(op, "x", **attributes)], (2, *size), opset=opset)


def pool(op: str, size: tuple[int, int], **attributes: object) -> onnx.ModelProto:
    return model([node(op, "x", **attributes)], (2, *size), opset=12)


@example(pool("MaxPool", (5, 5), kernel_shape=[2, 3], strides=[2, 2], pads=[0, 0, 0, 2]))
@example(pool("MaxPool", (5, 6), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 2, 2]))
@example(pool("MaxPool", (5, 6), kernel_shape=[4, 3], strides=[3, 2], pads=[3, 0, 3, 2], ceil_mode=1))
@example(pool("AveragePool", (6, 6), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 2, 2], count_include_pad=0))
@example(pool("AveragePool", (6, 6), kernel_shape=[3, 3], strides=[2, 2], pads=[2, 0, 2, 2], count_include_pad=1))
@given(pools())
@settings(some, max_examples=120)
def test_pools(tmp_path: Path, made: onnx.ModelProto) -> None:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in made.graph.node[0].attribute}
    kernel, pads = attributes["kernel_shape"], attributes.get("pads", [0])
    half = all(pad <= k // 2 for pad, k in zip(pads, [*kernel, *kernel], strict=False))
    if made.graph.node[0].op_type == "AveragePool" and not half:
        try:
            read(made, tmp_path)
        except CnnError:
            # A mean that leaves out more padding than half a window, or counts it and is rounded up, may have no layer.
            assert not attributes["count_include_pad"] or attributes.get("ceil_mode")
            return
    check(made, tmp_path)


@st.composite
def dense_layers(draw: st.DrawFn) -> onnx.ModelProto:
    features, units, opset = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(opsets)
    if draw(st.booleans()):
        return model([node("MatMul", "x w")], (features,), weight("w", features, units), opset=opset)
    turned = draw(st.integers(0, 1))
    bias = draw(st.sampled_from([(units,), (1, units), (1,), ()]))
    alpha, beta = draw(st.sampled_from([1.0, 0.5])), draw(st.sampled_from([1.0, -2.0]))
    attributes = {"transB": turned, "alpha": alpha, "beta": beta}
    stored = [weight("w", *((units, features) if turned else (features, units)))]
    inputs = "x w"
    if opset < 11 or draw(st.booleans()):
        inputs, stored = "x w c", [*stored, weight("c", *bias)]
    return model([node("Gemm", inputs, **attributes)], (features,), *stored, opset=opset)


@given(dense_layers())
@some
def test_dense_layers(tmp_path: Path, made: onnx.ModelProto) -> None:
    assert layers(check(made, tmp_path))[0].startswith("dense(")


@given(opset=opsets, features=st.integers(2, 5), bias=st.sampled_from([(1,), (3,), (1, 3), ()]), first=st.booleans())
@some
def test_a_product_and_a_sum_are_one_dense_layer(
    tmp_path: Path, opset: int, features: int, bias: tuple[int, ...], first: bool
) -> None:
    nodes = [node("MatMul", "x w", "h"), node("Add", "b h" if first else "h b")]
    made = model(nodes, (features,), weight("w", features, 3), weight("b", *bias), opset=opset)
    assert layers(check(made, tmp_path)) == ["dense(3)"]


@given(opset=opsets, epsilon=st.sampled_from([1e-5, 1e-3]), map_=st.booleans(), momentum=st.sampled_from([0.9, 0.99]))
@some
def test_batch_norm(tmp_path: Path, opset: int, epsilon: float, map_: bool, momentum: float) -> None:
    stored = [weight(name, 5, seed=n, low=0.5) for n, name in enumerate("sbmv")]
    shape = (5, 4, 3) if map_ else (5,)
    nodes = [node("BatchNormalization", "x s b m v", epsilon=epsilon, momentum=momentum)]
    found = layers(check(model(nodes, shape, *stored, opset=opset), tmp_path))
    assert found == [
        "batchnorm" + {(1e-5, 0.9): "", (1e-3, 0.9): "(eps=0.001)", (1e-5, 0.99): "(momentum=0.01)",
                       (1e-3, 0.99): "(eps=0.001, momentum=0.01)"}[epsilon, momentum]
    ]  # fmt: skip


@given(opset=opsets, size=st.sampled_from([1, 3, 5]), alpha=st.sampled_from([1e-4, 2.0]), k=st.sampled_from([1.0, 2.0]))
@some
def test_lrn(tmp_path: Path, opset: int, size: int, alpha: float, k: float) -> None:
    nodes = [node("LRN", "x", size=size, alpha=alpha, beta=0.6, bias=k)]
    check(model(nodes, (6, 3, 2), opset=opset), tmp_path)


def test_lrn_keeps_its_defaults(tmp_path: Path) -> None:
    assert layers(check(model([node("LRN", "x", size=5)], (7, 2, 2)), tmp_path)) == ["lrn"]


ACTIVATIONS: list[tuple[str, dict[str, object], str, int]] = [
    ("Relu", {}, "relu", 7),
    ("LeakyRelu", {}, "leaky_relu", 7),
    ("LeakyRelu", {"alpha": 0.1}, "leaky_relu(slope=0.1)", 7),
    ("Elu", {}, "elu", 7),
    ("Elu", {"alpha": 0.7}, "elu(alpha=0.7)", 7),
    ("Celu", {}, "elu", 12),
    ("Sigmoid", {}, "sigmoid", 7),
    ("Tanh", {}, "tanh", 7),
    ("HardSigmoid", {"alpha": 1 / 6}, "hardsigmoid", 7),
    ("HardSwish", {}, "hardswish", 14),
    ("Gelu", {}, "gelu", 20),
]


@pytest.mark.parametrize(("op", "attributes", "layer", "since"), ACTIVATIONS, ids=[a[2] for a in ACTIVATIONS])
@pytest.mark.parametrize("shape", [(3, 4, 5), (6,), (2, 3)], ids=str)
def test_activations(
    tmp_path: Path, op: str, attributes: dict[str, object], layer: str, since: int, shape: tuple[int, ...]
) -> None:
    for opset in sorted({max(since, 7), max(since, 13), 22}):
        # A tensor of three axes is a feature map that was reshaped.
        inner = (2, 3, 1) if len(shape) == 2 else shape
        nodes = [node("Reshape", "x s", "h"), node(op, "h", "i", **attributes), node("Flatten", "i")]
        made = model(nodes, inner, const("s", [0, *shape]), opset=opset)
        assert layers(check(made, tmp_path)) == [layer, "flatten"][: len(inner)]


@given(opset=opsets, bounds=st.sampled_from([(0.0, 6.0), (0.0, None), (0.0, 3.4028234663852886e38)]))
@some
def test_clip(tmp_path: Path, opset: int, bounds: tuple[float, float | None]) -> None:
    low, high = bounds
    if opset < 11:
        made = model([node("Clip", "x", min=low, **({} if high is None else {"max": high}))], (3, 4, 5), opset=opset)
    else:
        stored = [const("low", low, np.float32), const("high", high or 0, np.float32)]
        made = model([node("Clip", "x low" if high is None else "x low high")], (3, 4, 5), *stored, opset=opset)
    assert layers(check(made, tmp_path)) == ["relu6" if high == 6 else "relu"]


@pytest.mark.parametrize("opset", [8, 13])
def test_bounds_by_max_and_min(tmp_path: Path, opset: int) -> None:
    stored = [const("zero", 0, np.float32), const("six", [6], np.float32)]
    nodes = [node("Max", "zero x", "h"), node("Min", "h six")]
    assert layers(check(model(nodes, (4,), *stored, opset=opset), tmp_path)) == ["relu6"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("shape", "axis", "first"),
    [((6,), 1, 7), ((6,), -1, 7), ((6,), None, 7), ((5, 1, 1), 1, 7), ((5, 3, 2), 1, 13), ((5, 3, 2), -3, 13)],
)  # fmt: skip
def test_softmax(tmp_path: Path, opset: int, shape: tuple[int, ...], axis: int | None, first: int) -> None:
    """Before opset 13 the axes from `axis` on are one."""
    if opset < max(first, 11 if (axis or 0) < 0 else 0):
        pytest.skip("another meaning")
    nodes = [node("Softmax", "x", **({} if axis is None else {"axis": axis}))]
    assert layers(check(model(nodes, shape, opset=opset), tmp_path)) == ["softmax"]


@pytest.mark.parametrize("opset", [7, 11])
def test_softmax_over_a_whole_map(tmp_path: Path, opset: int) -> None:
    nodes = [node("Softmax", "x", "h", axis=1), node("Flatten", "h")]
    assert layers(check(model(nodes, (3, 4, 2), opset=opset), tmp_path)) == ["flatten", "softmax"]


@pytest.mark.parametrize("opset", OPSETS)
def test_dropout_and_identity(tmp_path: Path, opset: int) -> None:
    if opset >= 12:
        dropout, stored = node("Dropout", "h r"), [const("r", 0.25, np.float32)]
    else:
        dropout, stored = node("Dropout", "h", ratio=0.25), []
    made = model([node("Identity", "x", "i"), node("Relu", "i", "h"), dropout], (3, 4, 5), *stored, opset=opset)
    assert layers(check(made, tmp_path)) == ["relu", "dropout(p=0.25)"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax"])
def test_reductions_over_all_pixels(tmp_path: Path, opset: int, keep: int, op: str) -> None:
    axes = [2, 3] if opset < 11 else [-1, -2]
    if opset >= 18:
        made = model([node(op, "x a", "h", keepdims=keep), node("Relu", "h")], (3, 4, 5), const("a", axes), opset=opset)
    else:
        made = model([node(op, "x", "h", axes=axes, keepdims=keep), node("Relu", "h")], (3, 4, 5), opset=opset)
    pool = "globalavgpool" if op == "ReduceMean" else "globalmaxpool"
    assert layers(check(made, tmp_path)) == ([pool, "relu"] if keep else [pool, "relu", "flatten"])


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools(tmp_path: Path, op: str) -> None:
    check(model([node(op, "x")], (3, 4, 5), opset=7), tmp_path)


@given(opset=opsets, pads=st.lists(st.integers(0, 2), min_size=4, max_size=4), value=st.sampled_from([0.0, -1.5]))
@some
def test_pads(tmp_path: Path, opset: int, pads: list[int], value: float) -> None:
    assume(any(pads))
    top, left, bottom, right = pads
    every = [0, 0, top, left, 0, 0, bottom, right]
    if opset < 11:
        made = model([node("Pad", "x", pads=every, value=value)], (3, 4, 5), opset=opset)
    elif opset < 18:
        stored = [const("p", every), const("v", value, np.float32)]
        made = model([node("Pad", "x p v")], (3, 4, 5), *stored, opset=opset)
    else:
        stored = [const("p", [left, top, right, bottom]), const("v", value, np.float32), const("a", [3, -2])]
        made = model([node("Pad", "x p v a")], (3, 4, 5), *stored, opset=opset)
    assert layers(check(made, tmp_path))[0].startswith("pad(")


# --- mistakes that these tests must see --------------------------------------------------------------

_WINDOW = [node("Conv", "x w", kernel_shape=[2, 3], auto_pad="SAME_LOWER")]
_MEAN = [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 0, 1])]


@pytest.mark.parametrize(
    ("nodes", "shape", "module", "name", "wrong"),
    [
        (_WINDOW, (2, 5, 6), nodes_windows, "pads_of", lambda *_, **__: (0, 1, 1, 1)),
        (_MEAN, (2, 5, 6), nodes_windows, "pads_of", lambda *_, **__: (0, 1, 1, 1)),
        (_MEAN, (2, 5, 6), nodes_windows, "AvgPool", lambda k, s, p, ceil, count_pad: _other_mean(k, s, p)),
        ([node("Gemm", "x w c", beta=-2.0, transB=1)], (6,), nodes_dense, "scaled", lambda array, _: array),
        ([node("LRN", "x", size=3, alpha=2.0)], (4, 3, 2), nodes_norms, "LocalResponseNorm",
         lambda size, alpha, **rest: _other_lrn(size, alpha * size, **rest)),
    ],
    ids=["odd pixel below", "border below", "padding counted", "beta", "alpha divided"],
)  # fmt: skip
def test_a_wrong_reading_is_seen(monkeypatch, tmp_path: Path, nodes, shape, module, name, wrong) -> None:
    stored = [weight("w", 3, 2, 2, 3) if "Conv" in nodes[0].op_type else weight("w", 3, 6), weight("c", 3)]
    needed = [t for t in stored if t.name in nodes[0].input]
    made = model(nodes, shape, *needed)
    check(made, tmp_path)
    monkeypatch.setattr(module, name, wrong)
    assert worst_error(made, tmp_path) > 100 * TOLERANCE


def _other_mean(kernel, stride, pad):
    from cnndsl.ops.pool import AvgPool

    return AvgPool(kernel, stride, pad, count_pad=True)


def _other_lrn(size, alpha, **rest):
    from cnndsl.ops.normalize import LocalResponseNorm

    return LocalResponseNorm(size, alpha, **rest)
