"""Darknet's cfg files against a small Darknet: its rules, written down once more with loops and without our shapes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as f

from cnndsl.errors import CnnError
from cnndsl.exchange.darknet import read_cfg, read_weights
from cnndsl.exchange.model import Model

ALEXNET = """
[net]
batch=128
height=227
width=227
channels=3
momentum=0.9

[convolutional]
filters=96
size=11
stride=4
pad=0
activation=relu

[maxpool]
size=3
stride=2
padding=0

[convolutional]
filters=256
size=5
stride=1
pad=1
activation=relu

[maxpool]
size=3
stride=2
padding=0

[convolutional]
filters=384
size=3
stride=1
pad=1
activation=relu

[convolutional]
filters=384
size=3
stride=1
pad=1
activation=relu

[convolutional]
filters=256
size=3
stride=1
pad=1
activation=relu

[maxpool]
size=3
stride=2
padding=0

[connected]
output=4096
activation=relu

[dropout]
probability=.5

[connected]
output=4096
activation=relu

[dropout]
probability=.5

[connected]
output=1000
activation=linear

[softmax]
groups=1

[cost]
type=sse
"""


def net(body: str, *, shape: tuple[int, int, int] = (8, 8, 3)) -> str:
    return "[net]\nheight={}\nwidth={}\nchannels={}\n".format(*shape) + body


def model(tmp_path: Path, text: str) -> Model:
    path = tmp_path / "net.cfg"
    path.write_text(text)
    return read_cfg(path)


def run(model: Model, x: torch.Tensor, weights: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    values = {}
    for node in model.graph.nodes:
        if node.op is None:
            values[node.name] = x
            continue
        own = {w.name: (weights or {})[f"{node.name}.{w.name}"] for w in node.op.weights(*model.graph.types_of(node))}
        values[node.name] = node.op.reference([values[i] for i in node.inputs], own)
    return values[model.graph.outputs[0][1]]


def darknet_maxpool(x: np.ndarray, *, size: int, stride: int, padding: int) -> np.ndarray:
    """What Darknet's forward pass of a max pooling computes, pixel by pixel: [n, C, H, W]."""
    n, c, h, w = x.shape
    out_h, out_w = (h + padding - size) // stride + 1, (w + padding - size) // stride + 1
    y = np.full((n, c, out_h, out_w), -np.inf)
    for i in range(out_h):
        for j in range(out_w):
            for a in range(size):
                for b in range(size):
                    row, column = -(padding // 2) + i * stride + a, -(padding // 2) + j * stride + b
                    if 0 <= row < h and 0 <= column < w:
                        y[:, :, i, j] = np.maximum(y[:, :, i, j], x[:, :, row, column])
    return y


@settings(max_examples=60)
@given(
    size=st.integers(1, 4), stride=st.integers(1, 3), padding=st.none() | st.integers(0, 4),
    height=st.integers(3, 9), width=st.integers(3, 9),
)  # fmt: skip
@example(size=2, stride=2, padding=None, height=7, width=8)
@example(size=2, stride=1, padding=None, height=7, width=8)
@example(size=3, stride=2, padding=None, height=8, width=8)
def test_max_pooling(tmp_path_factory, size: int, stride: int, padding: int | None, height: int, width: int) -> None:
    text = f"[maxpool]\nsize={size}\nstride={stride}\n" + ("" if padding is None else f"padding={padding}\n")
    total = size - 1 if padding is None else padding
    x = np.random.default_rng(0).standard_normal((2, 3, height, width))
    expected = darknet_maxpool(x, size=size, stride=stride, padding=total)
    try:
        found = model(tmp_path_factory.mktemp("cfg"), net(text, shape=(height, width, 3)))
    except CnnError as error:
        assert {d.code for d in error.diagnostics} == {"E0801"}  # noqa: PT017 - one of two right outcomes
        assert -(-total // 2) > size // 2 or min(expected.shape) < 1
        assume(False)
    assert torch.equal(run(found, torch.from_numpy(x)), torch.from_numpy(expected))


def test_the_oracle_tells_sides_apart() -> None:
    """MUTATION: the larger half of the padding before the picture gives another result."""
    x = torch.randn(1, 1, 7, 7, generator=torch.Generator().manual_seed(1)).double()
    right = darknet_maxpool(x.numpy(), size=2, stride=2, padding=1)
    wrong = f.max_pool2d(f.pad(x, (1, 0, 1, 0), value=-torch.inf), 2, 2)
    assert right.shape == tuple(wrong.shape)
    assert not np.array_equal(right, wrong.numpy())


def test_padding_that_no_window_reaches_is_left_out(tmp_path: Path) -> None:
    found = model(tmp_path, net("[maxpool]\nsize=2\nstride=2\n"))
    assert [str(node.op) for node in found.graph.nodes[1:]] == ["maxpool(2x2)"]


@given(
    size=st.integers(1, 4), stride=st.integers(1, 2), pad=st.sampled_from(["", "pad=1\n", "padding=2\n"]),
    dilation=st.integers(1, 2), normalized=st.booleans(),
    activation=st.sampled_from(["leaky", "linear", "relu", "logistic", None]),
)  # fmt: skip
@example(size=3, stride=2, pad="pad=1\n", dilation=2, normalized=False, activation="linear")
def test_convolutions(
    tmp_path_factory, size: int, stride: int, pad: str, dilation: int, normalized: bool, activation: str | None
) -> None:
    amount = {"": 0, "pad=1\n": size // 2, "padding=2\n": 2}[pad]
    assume(dilation == 1 or 2 * amount == size - 1)  # else windows and their number disagree, which is refused
    text = f"[convolutional]\nfilters=4\nsize={size}\nstride={stride}\n{pad}"
    text += f"dilation={dilation}\n" * (dilation > 1) + "batch_normalize=1\n" * normalized
    text += (f"activation={activation}\n" if activation else "")
    found = model(tmp_path_factory.mktemp("cfg"), net(text))
    generator = torch.Generator().manual_seed(3)
    weights = {}
    for node in found.graph.nodes[1:]:
        for w in node.op.weights(*found.graph.types_of(node)):
            drawn = torch.rand(w.shape, generator=generator).double()
            weights[f"{node.name}.{w.name}"] = drawn - 0.3 * (w.role == "weight")
    x = torch.randn(2, 3, 8, 8, generator=generator).double()
    # Padding is so many times the distance between taps, too.
    sizes = {"stride": stride, "padding": amount * dilation, "dilation": dilation}
    y = f.conv2d(x, weights["conv1.weight"], weights.get("conv1.bias"), **sizes)
    assert y.shape[2] == (8 + 2 * amount - size) // stride + 1
    if normalized:
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, scale, bias = (weights[f"batchnorm1.{n}"][:, None, None] for n in names)
        y = (y - mean) / torch.sqrt(variance + 0.00001) * scale + bias
    match activation:
        case "leaky":
            y = torch.where(y > 0, y, 0.1 * y)
        case "relu":
            y = y * (y > 0)
        case "logistic" | None:  # Darknet's default
            y = 1 / (1 + torch.exp(-y))
    torch.testing.assert_close(run(found, x, weights), y, rtol=1e-11, atol=1e-11)


def test_alexnet(tmp_path: Path) -> None:
    found = model(tmp_path, ALEXNET)
    types = [str(n.type) for n in found.graph.nodes if n.op is not None and n.op.name in {"conv", "maxpool", "dense"}]
    assert types == [
        "[55x55x96]", "[27x27x96]", "[27x27x256]", "[13x13x256]", "[13x13x384]", "[13x13x384]", "[13x13x256]",
        "[6x6x256]", "[4096]", "[4096]", "[1000]",
    ]  # fmt: skip
    assert found.graph.nodes[-1].text == "softmax"
    assert [note for note in found.notes if "option" in note] == []


def test_routes_and_shortcuts(tmp_path: Path) -> None:
    found = model(tmp_path, net("""
[convolutional]
filters=3
activation=linear
[convolutional]
filters=3
activation=linear
[shortcut]
from=-2
activation=leaky
[route]
layers=-1,0
[route]
layers=1
"""))
    wiring = {node.name: node.inputs for node in found.graph.nodes}
    assert wiring["add1"] == ("conv2", "conv1")
    assert wiring["leaky_relu1"] == ("add1",)
    assert wiring["concat1"] == ("leaky_relu1", "conv1")
    assert found.graph.outputs == (("main", "conv2"),)


def test_values_of_a_file_of_weights(tmp_path: Path) -> None:
    """Convolutional and connected layers with batch norm and without, in Darknet's order of values."""
    found = model(tmp_path, net("""
[convolutional]
filters=4
size=3
batch_normalize=1
activation=leaky
[convolutional]
filters=2
size=1
activation=linear
[route]
layers=-1,0
[connected]
output=5
batch_normalize=1
activation=relu
[connected]
output=3
activation=linear
""", shape=(5, 4, 3)))
    draw = np.random.default_rng(0)
    rows: list[np.ndarray] = []

    def drawn(*shape: int) -> torch.Tensor:
        rows.append((draw.random(shape) + 0.2).astype("<f4"))
        return torch.from_numpy(rows[-1]).double()

    def norm(y: torch.Tensor, values: list[torch.Tensor]) -> torch.Tensor:
        bias, scale, mean, variance = (v.reshape(1, -1, *[1] * (y.dim() - 2)) for v in values)
        return (y - mean) / torch.sqrt(variance + 0.00001) * scale + bias

    norm1, conv1 = [drawn(4) for _ in range(4)], drawn(4, 3, 3, 3)
    bias2, conv2 = drawn(2), drawn(2, 4, 1, 1)
    bias3, dense3 = drawn(5), drawn(5, 6 * 3 * 2)
    norm3 = [bias3, *(drawn(5) for _ in range(3))]
    bias4, dense4 = drawn(3), drawn(3, 5)
    path = tmp_path / "net.weights"
    head = np.array([0, 2, 0, 7, 0], "<i4")
    path.write_bytes(head.tobytes() + b"".join(row.tobytes() for row in rows))
    x = torch.from_numpy(draw.standard_normal((2, 3, 5, 4)))
    y = f.leaky_relu(norm(f.conv2d(x, conv1), norm1), 0.1)
    y = torch.cat([f.conv2d(y, conv2, bias2), y], 1).flatten(1)
    y = torch.relu(norm(y @ dense3.T, norm3)) @ dense4.T + bias4
    weights = {key: tensor.double() for key, tensor in read_weights(path, found.graph).items()}
    torch.testing.assert_close(run(found, x, weights), y, rtol=1e-11, atol=1e-11)
    # MUTATION: statistics in another order are other numbers.
    weights["batchnorm2.weight"], weights["batchnorm2.running_mean"] = (
        weights["batchnorm2.running_mean"], weights["batchnorm2.weight"],
    )  # fmt: skip
    assert not torch.allclose(run(found, x, weights), y)


def test_scale_channels(tmp_path: Path) -> None:
    found = model(tmp_path, net("""
[convolutional]
filters=4
activation=linear
[avgpool]
[convolutional]
filters=4
activation=logistic
[scale_channels]
from=0
scale_wh=0
activation=relu
"""))
    wiring = {node.name: (node.text, node.inputs) for node in found.graph.nodes}
    assert wiring["mul1"] == ("mul", ("conv1", "sigmoid1"))
    assert wiring["relu1"] == ("relu", ("mul1",))
    assert not any("option" in note for note in found.notes)


def test_options(tmp_path: Path) -> None:
    """Of an option that stands twice the first counts; what is not known, or is about the weights, is told."""
    options = "filters=4\nfilters=5\nsizee=3\ndontload=1\nlearning_rate=2\nxnor=0\n"
    found = model(tmp_path, net(f"[convolutional]\n{options}"))
    assert found.graph.nodes[1].text == "conv(4, 1x1)"
    assert [note.partition("option ")[2] for note in found.notes if "option" in note] == [
        "dontload is about its file of weights and was left out", "sizee is not known and was left out",
    ]  # fmt: skip


def test_crop(tmp_path: Path) -> None:
    found = model(tmp_path, net("[crop]\ncrop_height=6\ncrop_width=5\nflip=1\n[avgpool]\n[softmax]\n"))
    image = found.graph.nodes[0]
    assert str(image.type) == "[6x5x3]"
    assert image.spec.mean == image.spec.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "E0821", "it must begin with [net], found nothing"),
        ("[conv]\n", "E0821", "found [conv]"),
        ("filters=3\n[net]\n", "E0821", "line 1 stands before the first section"),
        ("[net\n", "E0821", "line 1 begins a section"),
        ("[net]\nheight\n", "E0821", "line 2 is neither"),
        ("[net]\nheight=8\n[avgpool]\n", "E0821", "height, width and channels"),
        ("[net]\nheight=8.5\n[avgpool]\n", "E0821", "height=8.5 on line 2 is not a whole number"),
        (net(""), "E0821", "no layer behind [net]"),
        (net("[convolutional]\nsize=9\n"), "E0801", "window does not fit"),
        (net("[convolutional]\nstride=0\n"), "E0821", "at least 1"),
        (net("[convolutional]\nfilters=99999999999\n"), "E0821", "too large"),
        (net("[route]\nlayers=3\n"), "E0821", "there is no layer 3"),
        (net("[route]\nlayers=-1\n"), "E0821", "there is no layer -1"),
        (net("[route]\nlayers=a\n"), "E0821", "not a list"),
        (net("[yolo]\n"), "E0822", "[yolo] on line 5 cannot be kept"),
        (net("[convolutionl]\n"), "E0822", "the nearest section is [convolutional]"),
        (net("[convolutional]\nactivation=mish\n"), "E0822", "activation=mish"),
        (net("[convolutional]\nactivation=gelu\n"), "E0822", "activation=gelu"),
        (net("[convolutional]\nsize=3\nxnor=1\n"), "E0822", "xnor=1 on line 7 makes another layer"),
        (net("[maxpool]\nsize=2\nmaxpool_depth=1\n"), "E0822", "maxpool_depth=1"),
        (net("[convolutional]\nsize=3\ndilation=2\n"), "E0822", "half of an odd size"),
        (net("[avgpool]\n[scale_channels]\nfrom=-1\n[scale_channels]\nfrom=5\n"), "E0821", "no layer 5"),
        (net("[convolutional]\n[scale_channels]\nfrom=-1\n"), "E0821", "not one value for each channel"),
        (net("[convolutional]\nfilters=2000000000\n", shape=(80, 80, 3)), "E0801", "at most 68,719,476,736"),
        (net("[maxpool]\n[maxpool]\nsize=2\nstride=2\n[shortcut]\nfrom=-2\n"), "E0822", "[4x4x3] and [8x8x3]"),
        (net("[normalization]\nsize=4\n"), "E0822", "extra one above"),
        (net("[softmax]\ntemperature=2\n"), "E0822", "temperature 1"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, code: str, words: str) -> None:
    with pytest.raises(CnnError) as caught:
        model(tmp_path, text)
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert words in " ".join([found.message, *found.notes, *found.help])


def test_all_that_cannot_be_kept_is_told_at_once(tmp_path: Path) -> None:
    """Once each: what does not fit behind a layer that was passed over is not told."""
    text = "[convolutional]\n[upsample]\n[route]\nlayers=-1,0\n[maxpool]\nsize=2\nstride=2\n[shortcut]\nfrom=0\n"
    with pytest.raises(CnnError) as caught:
        model(tmp_path, net(text + "[yolo]\n[convolutional]\nactivation=mish\n[convolutional]\nsize=99\n"))
    assert [d.code for d in caught.value.diagnostics] == ["E0822"] * 3


@settings(max_examples=100)
@given(st.text(alphabet="[]=net\nheigtwdcal123-,.#;", max_size=80) | st.binary(max_size=60))
def test_garbage(tmp_path_factory, text: str | bytes) -> None:
    path = tmp_path_factory.mktemp("cfg") / "net.cfg"
    path.write_bytes(text if isinstance(text, bytes) else ("[net]\nheight=3\nwidth=3\nchannels=3\n" + text).encode())
    try:
        read_cfg(path)
    except CnnError as error:
        assert error.diagnostics  # noqa: PT017 - any other exception fails
