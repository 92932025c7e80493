"""Caffe's prototxt files against a small Caffe: its rules, written down once more with loops and without our shapes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch.nn import functional as f

from cnndsl.errors import CnnError
from cnndsl.exchange.caffe import read_prototxt
from cnndsl.exchange.caffe.schema import net_parameter
from cnndsl.exchange.model import Model

INPUT = 'name: "Net"\ninput: "data"\ninput_dim: 1\ninput_dim: {2}\ninput_dim: {0}\ninput_dim: {1}\n'


def net(*layers: str, shape: tuple[int, int, int] = (8, 7, 3)) -> str:
    """A network of layers in a row, each `name type {parameters}`."""
    text, bottom = INPUT.format(*shape), "data"
    for number, layer in enumerate(layers):
        kind, _, parameters = layer.partition(" ")
        text += f'layer {{ name: "l{number}" type: "{kind}" bottom: "{bottom}" top: "t{number}" {parameters} }}\n'
        bottom = f"t{number}"
    return text


def model(folder: Path, text: str, weights: Path | None = None) -> Model:
    path = folder / "net.prototxt"
    path.write_text(text)
    return read_prototxt(path, weights=weights)


def run(found: Model, x: torch.Tensor) -> torch.Tensor:
    values = {}
    for node in found.graph.nodes:
        if node.op is None:
            values[node.name] = x
            continue
        own = {w.name: found.weights[f"{node.name}.{w.name}"].to(x.dtype)
               for w in node.op.weights(*found.graph.types_of(node))}  # fmt: skip
        values[node.name] = node.op.reference([values[i] for i in node.inputs], own)
    return values[found.graph.outputs[0][1]]


def caffe_pooling(
    x: np.ndarray, *, mode: str, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int], up: bool
) -> np.ndarray:
    """What Caffe's forward pass of a pooling computes, window by window: [n, C, H, W]."""
    n, c, height, width = x.shape
    out = []
    for size, k, s, p in zip((height, width), kernel, stride, pad, strict=True):
        exact = (size + 2 * p - k) / s
        out.append(int(np.ceil(exact) if up else np.floor(exact)) + 1)
    if any(pad):
        for axis, (size, s, p) in enumerate(zip((height, width), stride, pad, strict=True)):
            out[axis] -= (out[axis] - 1) * s >= size + p
    y = np.empty((n, c, *out))
    for i in range(out[0]):
        for j in range(out[1]):
            top, left = i * stride[0] - pad[0], j * stride[1] - pad[1]
            bottom, right = min(top + kernel[0], height + pad[0]), min(left + kernel[1], width + pad[1])
            area = (bottom - top) * (right - left)
            bottom, right = min(bottom, height), min(right, width)
            window = x[:, :, max(top, 0) : bottom, max(left, 0) : right]
            if mode == "MAX":
                y[:, :, i, j] = window.max((2, 3), initial=-np.inf)
            else:
                y[:, :, i, j] = window.sum((2, 3)) / area
    return y


@given(
    mode=st.sampled_from(["MAX", "AVE"]), kernel=st.tuples(*[st.integers(1, 4)] * 2),
    stride=st.tuples(*[st.integers(1, 5)] * 2), pad=st.tuples(*[st.integers(0, 2)] * 2), up=st.booleans(),
    shape=st.tuples(*[st.integers(3, 9)] * 2),
)  # fmt: skip
@example(mode="MAX", kernel=(3, 3), stride=(2, 2), pad=(0, 0), up=True, shape=(8, 8))
@example(mode="AVE", kernel=(3, 3), stride=(2, 2), pad=(1, 1), up=True, shape=(8, 7))
@example(mode="MAX", kernel=(1, 1), stride=(3, 3), pad=(0, 0), up=True, shape=(5, 5))
@example(mode="MAX", kernel=(2, 2), stride=(3, 3), pad=(0, 0), up=True, shape=(6, 6))
@example(mode="MAX", kernel=(2, 3), stride=(3, 2), pad=(1, 0), up=True, shape=(6, 6))
def test_pooling(tmp_path_factory, mode, kernel, stride, pad, up, shape) -> None:
    assume(all(p < k for p, k in zip(pad, kernel, strict=True)))  # Caffe checks that itself
    assume(all(k <= size + 2 * p for k, size, p in zip(kernel, shape, pad, strict=True)))
    text = net(
        f"Pooling pooling_param {{ pool: {mode} kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} "
        f"stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]} round_mode: {'CEIL' if up else 'FLOOR'} }}",
        shape=(*shape, 3),
    )
    x = np.random.default_rng(0).standard_normal((2, 3, *shape))
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = caffe_pooling(x, mode=mode, kernel=kernel, stride=stride, pad=pad, up=up)
    try:
        found = model(tmp_path_factory.mktemp("caffe"), text)
    except CnnError as error:
        (diagnostic,) = error.diagnostics
        if diagnostic.code == "E0822":  # a window without a pixel
            assert not np.isfinite(expected).all()
        else:
            assert any(p > k // 2 for p, k in zip(pad, kernel, strict=True))
        return
    torch.testing.assert_close(run(found, torch.from_numpy(x)), torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


def test_the_oracle_tells_roundings_apart() -> None:
    """MUTATION: rounding down, or clipping where nothing is padded, gives another shape."""
    x = np.zeros((1, 1, 8, 8))
    sizes = {"kernel": (3, 3), "stride": (2, 2), "pad": (0, 0)}
    assert caffe_pooling(x, mode="MAX", up=True, **sizes).shape != caffe_pooling(x, mode="MAX", up=False, **sizes).shape
    sizes = {"kernel": (1, 1), "stride": (3, 3), "pad": (0, 0)}
    assert caffe_pooling(x[:, :, :5, :5], mode="MAX", up=True, **sizes).shape[2] == 3


def test_the_first_pool_of_resnet(tmp_path: Path) -> None:
    found = model(tmp_path, net("Pooling pooling_param { pool: MAX kernel_size: 3 stride: 2 }", shape=(112, 112, 64)))
    assert [str(n.op) for n in found.graph.nodes[1:]] == ["maxpool(3x3, stride=2, ceil=true)"]
    assert str(found.graph.nodes[1].type) == "[56x56x64]"


# --- layers with weights ---------------------------------------------------------------------------


def caffemodel(folder: Path, blobs: dict[str, tuple[str, list[np.ndarray]]], text: str) -> Path:
    """A file of weights with the wiring of `text`."""
    from google.protobuf import text_format

    message = net_parameter()()
    text_format.Parse(text, message)
    for layer in message.layer:
        for array in blobs.get(layer.name, ("", []))[1]:
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(array.ravel().tolist())
    path = folder / "net.caffemodel"
    path.write_bytes(message.SerializeToString())
    return path


def test_numbers_of_a_network_with_weights(tmp_path: Path) -> None:
    """Convolution, BatchNorm and Scale in place, ReLU, LRN, Power and InnerProduct, by Caffe's formulas in fp64."""
    text = INPUT.format(8, 7, 3) + """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 bias_term: false } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { eps: 0.001 } }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
layer { name: "lrn" type: "LRN" bottom: "conv" top: "lrn" lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 k: 2 } }
layer { name: "power" type: "Power" bottom: "lrn" top: "power" power_param { scale: 2 shift: -0.25 } }
layer { name: "alone" type: "Scale" bottom: "power" top: "alone" scale_param { bias_term: true } }
layer { name: "fc" type: "InnerProduct" bottom: "alone" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
    draw = np.random.default_rng(1)
    w = draw.standard_normal((4, 3, 3, 3)).astype(np.float32)
    mean, variance = draw.standard_normal(4).astype(np.float32), draw.random(4).astype(np.float32) + 0.5
    factor = np.array([2.5], np.float32)
    scale, shift = draw.standard_normal(4).astype(np.float32), draw.standard_normal(4).astype(np.float32)
    own, own_shift = draw.standard_normal(4).astype(np.float32), draw.standard_normal(4).astype(np.float32)
    fc, fc_bias = draw.standard_normal((5, 64)).astype(np.float32), draw.standard_normal(5).astype(np.float32)
    weights = caffemodel(tmp_path, {
        "conv": ("", [w]), "bn": ("", [mean, variance, factor]), "scale": ("", [scale, shift]),
        "alone": ("", [own, own_shift]), "fc": ("", [fc, fc_bias]),
    }, text)  # fmt: skip
    found = model(tmp_path, text, weights)
    x = torch.from_numpy(draw.standard_normal((2, 3, 8, 7)))

    def t(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).double()

    def channels(array: np.ndarray) -> torch.Tensor:
        return t(array)[:, None, None]

    y = f.conv2d(x, t(w), stride=2, padding=1)
    y = (y - channels(mean / factor)) / (channels(variance / factor) + 0.001).sqrt()
    y = y * channels(scale) + channels(shift)
    y = torch.where(y > 0, y, 0.1 * y)
    padded = f.pad(y**2, (0, 0, 0, 0, 1, 1))
    y = y / (2 + 0.5 / 3 * sum(padded[:, i : i + 4] for i in range(3))) ** 0.75
    y = (2 * y - 0.25) * channels(own) + channels(own_shift)
    y = torch.softmax(y.flatten(1) @ t(fc).T + t(fc_bias), 1)
    torch.testing.assert_close(run(found, x), y, rtol=1e-6, atol=1e-7)
    assert [n.op.name for n in found.graph.nodes[1:]] == [
        "conv", "batchnorm", "leaky_relu", "lrn", "batchnorm", "batchnorm", "dense", "softmax",
    ]  # fmt: skip
    assert found.graph.by_name["lrn"].text == "lrn(size=3, alpha=0.5, k=2)"


# --- wiring ----------------------------------------------------------------------------------------


def test_in_place_layers_and_branches(tmp_path: Path) -> None:
    found = model(tmp_path, INPUT.format(8, 7, 3) + """
layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "split" type: "Split" bottom: "a" top: "a1" top: "a2" }
layer { name: "ra" type: "ReLU" bottom: "a1" top: "a1" }
layer { name: "sum" type: "Eltwise" bottom: "a1" bottom: "a2" top: "sum" }
layer { name: "cat" type: "Concat" bottom: "sum" bottom: "a1" top: "cat" }
layer { name: "aux" type: "Sigmoid" bottom: "a2" top: "aux" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "cat" bottom: "label" top: "loss" include { phase: TRAIN } }
layer { name: "accuracy" type: "Accuracy" bottom: "cat" bottom: "label" top: "accuracy" }
layer { name: "prob" type: "Softmax" bottom: "cat" top: "prob" }
""")
    wiring = {node.name: node.inputs for node in found.graph.nodes}
    assert wiring == {"data": (), "a": ("data",), "ra": ("a",), "sum": ("ra", "a"), "cat": ("sum", "ra"), "aux": ("a",),
                      "prob": ("cat",)}  # fmt: skip
    assert dict(found.graph.outputs) == {"main": "prob", "aux": "aux"}
    assert any("`accuracy`" in note for note in found.notes)
    assert not any("`loss`" in note for note in found.notes)


@pytest.mark.parametrize(
    "head",
    [
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 5 input_dim: 6',
        'input: "data" input_shape { dim: 1 dim: 3 dim: 5 dim: 6 }',
        'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 6 } } }',
        'layers { name: "in" type: MEMORY_DATA top: "data" memory_data_param { batch_size: 1 channels: 3 height: 5 '
        "width: 6 } }",
    ],
)
def test_inputs(tmp_path: Path, head: str) -> None:
    found = model(tmp_path, head + ' layers { name: "r" type: RELU bottom: "data" top: "r" }')
    image = found.graph.nodes[0]
    assert (image.name, str(image.type), image.spec.order, image.spec.range) == ("data", "[5x6x3]", "bgr", 255)


def test_train_val_files(tmp_path: Path) -> None:
    found = model(tmp_path, """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
        transform_param { mirror: true crop_size: 100 } data_param { source: "x" batch_size: 256 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
        transform_param { crop_size: 20 mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" param { lr_mult: 1 }
        inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
""")
    image = found.graph.nodes[0]
    assert (str(image.type), image.spec.mean, image.spec.std) == ("[20x20x3]", (104, 117, 123), (2, 2, 2))
    assert found.graph.outputs == (("main", "fc"),)


# --- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "E0821", "it has no layers"),
        ("layer {", "E0821", "is not a network of Caffe"),
        ("\x00\x01", "E0821", "is not a network of Caffe"),
        ('layer { type: "ReLU" bottom: "data" }', "E0821", "it has no input"),
        ('input: "data" layer { type: "ReLU" bottom: "data" }', "E0821", "input `data` has no shape"),
        (net("ReLU").replace('bottom: "data"', 'bottom: "dat"'), "E0821", "reads `dat`"),
        (net("Convolution convolution_param { num_output: 4 }"), "E0801", "at least 1"),
        (net("Convolution convolution_param { num_output: 4 kernel_size: 9 }"), "E0801", "window does not fit"),
        (net("LRN lrn_param { local_size: 4 }"), "E0801", "4 channels"),
        (net("Deconvolution"), "E0822", "no layer of the language computes it"),
        (net("Poolin"), "E0822", "Caffe's Pooling"),
        (net("LRN lrn_param { norm_region: WITHIN_CHANNEL }"), "E0822", "within a channel"),
        (net("Pooling pooling_param { pool: STOCHASTIC kernel_size: 2 }"), "E0822", "at random"),
        (net("Pooling pooling_param { kernel_size: 1 stride: 3 }", shape=(5, 5, 3)), "E0822", "beyond the picture"),
        (net("Eltwise eltwise_param { operation: MAX }"), "E0822", "the larger"),
        (net("Eltwise eltwise_param { coeff: -1 }"), "E0822", "factors"),
        (net("Power power_param { power: 2 }"), "E0822", "power 2"),
        (net("Softmax softmax_param { axis: 2 }"), "E0822", "not over the channels"),
        (net("BatchNorm batch_norm_param { use_global_stats: false }"), "E0822", "statistics of the batch"),
    ],
    ids=range(19),
)
def test_mistakes(tmp_path: Path, text: str, code: str, words: str) -> None:
    with pytest.raises(CnnError) as caught:
        model(tmp_path, text)
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert words in " ".join([found.message, *found.notes, *found.help])


def test_all_that_cannot_be_kept_is_told_at_once(tmp_path: Path) -> None:
    text = net("Deconvolution") + net("Slice", "MVN").replace(INPUT.format(8, 7, 3), "")
    with pytest.raises(CnnError) as caught:
        model(tmp_path, text)
    assert [d.code for d in caught.value.diagnostics] == ["E0822"] * 2  # MVN reads what is unknown


def test_deep_nesting(tmp_path: Path) -> None:
    with pytest.raises(CnnError) as caught:
        model(tmp_path, "layer { x " * 20_000)
    assert caught.value.diagnostics[0].code == "E0821"


@given(st.text(alphabet='{}:" layer input_dim123\n', max_size=80) | st.binary(max_size=60))
def test_garbage(tmp_path_factory, text: str | bytes) -> None:
    path = tmp_path_factory.mktemp("caffe") / "net.prototxt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        read_prototxt(path)
    except CnnError as error:
        assert error.diagnostics  # noqa: PT017 - any other exception fails
