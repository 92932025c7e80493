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
from cnndsl.exchange.caffe.unknown import unknown_options
from cnndsl.exchange.model import Model
from cnndsl.exchange.write import write

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
    y = np.empty((n, c, *(max(0, size) for size in out)))
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
@example(mode="AVE", kernel=(4, 4), stride=(2, 2), pad=(0, 0), up=True, shape=(3, 3))
@example(mode="MAX", kernel=(4, 4), stride=(5, 5), pad=(0, 0), up=True, shape=(3, 9))
@example(mode="AVE", kernel=(3, 3), stride=(2, 2), pad=(1, 1), up=True, shape=(8, 7))
@example(mode="MAX", kernel=(1, 1), stride=(3, 3), pad=(0, 0), up=True, shape=(5, 5))
@example(mode="MAX", kernel=(2, 2), stride=(3, 3), pad=(0, 0), up=True, shape=(6, 6))
@example(mode="MAX", kernel=(2, 3), stride=(3, 2), pad=(1, 0), up=True, shape=(6, 6))
def test_pooling(tmp_path_factory, mode, kernel, stride, pad, up, shape) -> None:
    assume(all(p < k for p, k in zip(pad, kernel, strict=True)))  # Caffe checks that itself
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
            assert min(expected.shape) < 1 or any(p > k // 2 for p, k in zip(pad, kernel, strict=True))
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


def test_weights_that_are_not_where_the_wiring_says(tmp_path: Path) -> None:
    """A file of weights with a wiring of its own, or without one: nothing is made up, and nothing lost in silence."""
    layers = """
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }
layer { name: "sc" type: "Scale" bottom: "bn" top: "sc" scale_param { bias_term: true } }
layer { name: "two" type: "Scale" bottom: "sc" top: "two" }
layer { name: "one" type: "Bias" bottom: "two" top: "one" }
"""
    text = INPUT.format(4, 4, 3) + layers
    three = [np.arange(1, 4, dtype=np.float32) * i for i in range(1, 8)]
    one = np.ones(1, np.float32)
    blobs = {"bn": ("", [three[0], three[1], one]), "sc": ("", three[2:4]), "two": ("", three[4:5]),
             "one": ("", three[5:6])}  # fmt: skip
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, b, c, d, e, f_ = (torch.from_numpy(t).double()[:, None, None] for t in three[:6])
    y = ((x - a) / (b + 1e-5).sqrt() * c + d) * e + f_
    plain = caffemodel(tmp_path, blobs, text)
    torch.testing.assert_close(run(model(tmp_path, text, plain), x), y, rtol=1e-6, atol=1e-6)
    # Without a wiring, as some converters write it.
    bare = caffemodel(tmp_path, blobs, text.replace('bottom: "bn"', "").replace('bottom: "sc"', ""))
    found = model(tmp_path, text, bare)
    torch.testing.assert_close(run(found, x), y, rtol=1e-6, atol=1e-6)
    assert not any("left out" in note for note in found.notes)
    # A Scale, and a Bias, without values.
    for name in ("sc", "two", "one"):
        lacking = caffemodel(tmp_path, {k: v for k, v in blobs.items() if k != name}, text)
        with pytest.raises(CnnError) as caught:
            model(tmp_path, text, lacking)
        assert f"lacks its {'bias' if name == 'one' else 'weight'}" in caught.value.diagnostics[0].message
    # Values of a layer that the network has not.
    more = text + 'layer { name: "fc" type: "InnerProduct" bottom: "one" top: "fc" }'
    extra = caffemodel(tmp_path, {**blobs, "fc": ("", [np.ones((2, 48), np.float32)])}, more)
    assert "no layer has the weights of `fc`: left out" in model(tmp_path, text, extra).notes


def test_layers_of_one_name(tmp_path: Path) -> None:
    """Of two Scales without a name, the one behind a BatchNorm is a part of it, and the other is not."""
    text = net("BatchNorm", "Scale", "ReLU", "Scale")
    found = model(tmp_path, text.replace('name: "l1"', "").replace('name: "l3"', ""))
    assert [n.op.name for n in found.graph.nodes[1:]] == ["batchnorm", "relu", "batchnorm"]
    assert found.graph.nodes[1].op.affine


def test_large_sizes_take_no_memory(tmp_path: Path) -> None:
    """MUTATION: vectors of 4e9 ones would take 16 GB each."""
    wide = "InnerProduct inner_product_param { num_output: 2000000000 }"
    found = model(tmp_path, net(wide, "Power power_param { scale: 2 }", shape=(2, 2, 1)))
    assert found.graph.nodes[-1].type.size == 2_000_000_000
    with pytest.raises(CnnError, match="at most 68,719,476,736"):
        model(tmp_path, net(wide, shape=(80, 80, 3)))


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


def test_what_is_silenced_and_compared(tmp_path: Path) -> None:
    """What a loss compares are outputs, both of them; what is silenced is none."""
    found = model(tmp_path, INPUT.format(8, 7, 3) + """
layer { name: "a" type: "ReLU" bottom: "data" top: "a" }
layer { name: "b" type: "TanH" bottom: "data" top: "b" }
layer { name: "c" type: "Sigmoid" bottom: "data" top: "c" }
layer { name: "quiet" type: "Silence" bottom: "c" }
layer { name: "loss" type: "ContrastiveLoss" bottom: "a" bottom: "b" bottom: "label" top: "loss" }
""")
    assert dict(found.graph.outputs) == {"main": "b", "a": "a"}


def test_squeeze_and_excitation(tmp_path: Path) -> None:
    found = model(tmp_path, INPUT.format(8, 7, 3) + """
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "gate" type: "Sigmoid" bottom: "pool" top: "gate" }
layer { name: "axpy" type: "Axpy" bottom: "gate" bottom: "data" bottom: "data" top: "out" }
""")
    x = torch.randn(2, 3, 8, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(run(found, x), torch.sigmoid(x.mean((2, 3), keepdim=True)) * x + x)


def test_stages(tmp_path: Path) -> None:
    """A file with several networks says which by its state."""
    layers = net("ReLU", 'TanH include { stage: "deploy" }', 'Sigmoid include { not_stage: "deploy" }')
    layers = layers.replace("t1", "t0")
    assert [n.op.name for n in model(tmp_path, layers).graph.nodes[1:]] == ["relu", "sigmoid"]
    deploy = 'state { stage: "deploy" level: 2 } ' + layers
    assert [n.op.name for n in model(tmp_path, deploy).graph.nodes[1:]] == ["relu", "tanh"]


def test_options_that_are_not_known(tmp_path: Path) -> None:
    """Those that change what a layer computes are told, those of training are not."""
    found = model(tmp_path, net(
        'Convolution param { lr_mult: 1 } convolution_param { num_output: 4 kernel_size: [1] strid: 2 # stride: 2\n'
        'weight_filler { type: "xavier" "\'s" std: 0.1 } engine: CAFFE bias_filler: < type: "constant" > }',
        "Pooling pooling_param { kernel_size: 2 ceil_mode: false }",
    ))  # fmt: skip
    assert [note for note in found.notes if "option" in note] == [
        "option `strid` of convolution_param is not known and was left out",
        "option `ceil_mode` of pooling_param is not known and was left out",
    ]


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


def test_inputs_of_other_kinds(tmp_path: Path) -> None:
    """Several of one layer; labels that nothing here reads; pictures without colours."""
    found = model(tmp_path, """
layer { name: "in" type: "Input" top: "a" top: "b" top: "label" input_param {
        shape { dim: 1 dim: 3 dim: 5 dim: 6 } shape { dim: 1 dim: 4 } shape { dim: 1 } } }
layer { name: "fa" type: "InnerProduct" bottom: "a" top: "fa" inner_product_param { num_output: 4 } }
layer { name: "sum" type: "Eltwise" bottom: "fa" bottom: "b" top: "sum" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "sum" bottom: "label" top: "loss" }
""")
    assert [(n.name, str(n.type)) for n in found.graph.inputs] == [("a", "[5x6x3]"), ("b", "[4]")]
    gray = model(tmp_path, """
layer { name: "data" type: "Data" top: "data" top: "label"
        transform_param { crop_size: 28 force_gray: true mean_value: 33 scale: 0.00390625 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 4 } }
""")
    spec = gray.graph.nodes[0].spec
    assert (str(gray.graph.nodes[0].type), spec.range, spec.mean, spec.std) == ("[28x28x1]", 255, (33,), (256,))
    assert "range=255" in write(gray).text


@pytest.mark.parametrize(("mean", "scale"), [(0.0004, 255.0), (103.939, 0.017), (127.5, 0.0078431372), (1e-05, 3e4)])
def test_means_and_scales_keep_their_digits(tmp_path: Path, mean: float, scale: float) -> None:
    """Caffe computes (x - mean) * scale, in fp32; `input` says (x - mean) / std."""
    found = model(tmp_path, f"""
layer {{ name: "data" type: "Data" top: "data"
        transform_param {{ crop_size: 28 force_gray: true mean_value: {mean} scale: {scale} }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param {{ num_output: 4 }} }}
""").graph.nodes[0].spec
    x = np.linspace(0, 255, 7)
    ours, theirs = (x - found.mean[0]) / found.std[0], (x - np.float32(mean)) * np.float32(scale)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=abs(theirs).max() * 1e-7)


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
        (net("Convolution convolution_param { num_ouput: 4 kernel_size: 3 }"), "E0801", "did you mean `num_output`?"),
        ('net: "train_val.prototxt"\nbase_lr: 0.01\nsolver_mode: GPU', "E0821", '`net: "train_val.prototxt"` names'),
        (net("Convolution convolution_param { num_output: 4 kernel_size: 9 }"), "E0801", "window does not fit"),
        (net("LRN lrn_param { local_size: 4 }"), "E0801", "4 channels"),
        ("layers { layer { name: 'conv1' type: 'conv' } }", "E0821", "upgrade_net_proto_text"),
        (net("LRN lrn_param { k: inf }"), "E0801", "lrn's k must be finite"),
        (net("Scale scale_param { bias_term: true } bottom: 'data'"), "E0822", "a learned bias"),
        (net("Axpy"), "E0801", "not three"),
        (net("Deconvolution"), "E0822", "no layer of the language computes it"),
        (net("Poolin"), "E0822", "did you mean `Pooling`?"),
        (net("LRN lrn_param { norm_region: WITHIN_CHANNEL }"), "E0822", "within a channel"),
        (net("Pooling pooling_param { pool: STOCHASTIC kernel_size: 2 }"), "E0822", "at random"),
        (net("Pooling pooling_param { kernel_size: 1 stride: 3 }", shape=(5, 5, 3)), "E0822", "beyond the picture"),
        (net("Eltwise eltwise_param { operation: MAX }"), "E0822", "the larger"),
        (net("Eltwise eltwise_param { coeff: -1 }"), "E0822", "factors"),
        (net("Power power_param { power: 2 }"), "E0822", "power 2"),
        (net("Softmax softmax_param { axis: 2 }"), "E0822", "not over the channels"),
        (net("BatchNorm batch_norm_param { use_global_stats: false }"), "E0822", "statistics of the batch"),
    ],
    ids=range(25),
)
def test_mistakes(tmp_path: Path, text: str, code: str, words: str) -> None:
    with pytest.raises(CnnError) as caught:
        model(tmp_path, text)
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert words in " ".join([found.message, *found.notes, *found.help])


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        ('name: "x"\nlayer { top: "conv convolution_param { } }\n', "this string is not closed", (2, 14)),
        ("name: 3", "a string in quotes is expected, found `3`", (1, 7)),
        ('name: "\\xff" ', "no text in UTF-8", (1, 14)),
        ('layer {\n  convolution_param { num_output: "4" } }', 'a whole number is expected, found `"4"`', (2, 35)),
        ("input_dim: 99999999999 ", "the number 99999999999 is out of range", (1, 12)),
        ("layer { lrn_param { alpha: x } }", "a number is expected, found `x`", (1, 28)),
        ("layer { batch_norm_param { use_global_stats: 3 } }", "true or false is expected", (1, 46)),
        ("layer { pooling_param { pool: MEAN } }", "`MEAN` is none of the values", (1, 31)),
        ('layer { name: "a" name: "b" }', "`name` is given twice", (1, 25)),
        ("layer {", "`}` is expected", (1, 7)),
        ('{"layers": []}', "a name is expected, found `{`", (1, 1)),
        ("layer { unknown: } }", "a value is expected, found `}`", None),
        ("layer { unknown { " * 200, "nested too deeply", None),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_text_of_a_network(tmp_path: Path, text: str, words: str, place: tuple[int, int] | None) -> None:
    """In words about the file, at its place; none of protobuf's own."""
    with pytest.raises(CnnError) as caught:
        model(tmp_path, text)
    (found,) = caught.value.diagnostics
    assert found.code == "E0821"
    assert words in found.message
    assert (None if found.span is None else (found.span.line, found.span.column)) == place
    assert not any(word in str(caught.value) for word in ("Parameter", "cnndsl.caffe", "Message", "Expected", "parse"))


def test_all_that_cannot_be_kept_is_told_at_once(tmp_path: Path) -> None:
    text = net("Deconvolution") + net("Slice", "MVN").replace(INPUT.format(8, 7, 3), "")
    with pytest.raises(CnnError) as caught:
        model(tmp_path, text)
    assert [d.code for d in caught.value.diagnostics] == ["E0822"] * 2  # MVN reads what is unknown


def test_deep_nesting(tmp_path: Path) -> None:
    with pytest.raises(CnnError) as caught:
        model(tmp_path, "layer { x " * 20_000)
    assert caught.value.diagnostics[0].code == "E0821"


@given(st.text(alphabet='{}<>:;,[]" layer input_dim123\n', max_size=80))
@example("[a.b/c] { x: 1 } [d] : <y: [1, {z: 2}]>")
def test_options_of_garbage(text: str) -> None:
    """Whatever protobuf may accept, looking for options comes to an end."""
    assert len(list(unknown_options(text, net_parameter().DESCRIPTOR))) <= len(text)


@given(st.text(alphabet='{}:" layer input_dim123\n', max_size=80) | st.binary(max_size=60))
def test_garbage(tmp_path_factory, text: str | bytes) -> None:
    path = tmp_path_factory.mktemp("caffe") / "net.prototxt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        read_prototxt(path)
    except CnnError as error:
        assert error.diagnostics  # noqa: PT017 - any other exception fails
