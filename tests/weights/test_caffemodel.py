"""Caffe's ``.caffemodel``: what its blobs become, held against files written by the `protobuf` package and by hand."""

from pathlib import Path
from typing import Any

import caffe_files
import numpy as np
import pytest
import torch
from caffe_files import by_hand, floats, layer, number, piece, varint
from mistakes import mistake
from torch.nn import functional as f

import cnndsl
from cnndsl.exchange.caffe import read_caffemodel
from cnndsl.runtime.verify import relative_error
from cnndsl.weights.caffe import open_caffemodel

RNG = np.random.default_rng(5)


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def write(path: Path, *layers: dict[str, Any], old: bool = False) -> Path:
    path.write_bytes(caffe_files.model(*layers, old=old))
    return path


def reason(path: Path) -> str:
    found = mistake(lambda: read_caffemodel(path))
    assert found.code == "E0401"
    start = f"cannot read the weights {path}: "
    assert found.message.startswith(start)
    return found.message.removeprefix(start)


def test_layers_of_today(tmp_path: Path) -> None:
    weight, bias, dense, last = drawn(6, 2, 3, 3), drawn(6), drawn(4, 24), drawn(4)
    path = write(
        tmp_path / "w.caffemodel",
        layer("conv1/7x7_s2", "Convolution", "data", "conv1", weight, bias),
        layer("relu1", "ReLU", "conv1", "conv1"),
        layer("fc", "InnerProduct", "conv1", "fc", dense, last),
    )
    read = read_caffemodel(path)
    assert list(read) == ["conv1/7x7_s2.weight", "conv1/7x7_s2.bias", "fc.weight", "fc.bias"]
    for tensor, array in zip(read.values(), (weight, bias, dense, last), strict=True):
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, torch.from_numpy(array))


def test_a_file_by_hand(tmp_path: Path) -> None:
    """The bytes as the format's definition has them, without any library."""
    values = [0.5, -1.25, 3.0, 4.0, 5.0, 1e-30]
    shape = [1, 3, 1, 2]
    (tmp_path / "w.caffemodel").write_bytes(by_hand("c", "Convolution", caffe_files.blob(shape, values)))
    read = read_caffemodel(tmp_path / "w.caffemodel")
    assert list(read) == ["c.weight"]
    assert torch.equal(read["c.weight"], torch.tensor(values).reshape(shape))
    # Numbers one by one or in several packed pieces are the same numbers.
    shape_one_by_one = piece(7, b"".join(number(1, n) for n in shape))
    single = b"".join(varint(5 << 3 | 5) + floats([value]) for value in values)
    pieces = piece(5, floats(values[:2])) + piece(5, floats(values[2:]))
    for content in (single, pieces):
        (tmp_path / "v.caffemodel").write_bytes(by_hand("c", "Convolution", content + shape_one_by_one))
        assert torch.equal(read_caffemodel(tmp_path / "v.caffemodel")["c.weight"], read["c.weight"])


def test_unknown_fields_are_passed_over(tmp_path: Path) -> None:
    plain = by_hand("c", "Convolution", caffe_files.blob([2], [1, 2]))
    strange = number(500, 7) + piece(501, b"\xff\xff")
    strange += varint(502 << 3 | 1) + bytes(8) + varint(503 << 3 | 5) + bytes(4)
    (tmp_path / "w.caffemodel").write_bytes(strange + plain + strange)
    assert read_caffemodel(tmp_path / "w.caffemodel")["c.weight"].tolist() == [1, 2]


def test_double_values_stay_double(tmp_path: Path) -> None:
    weight = RNG.standard_normal((3, 2, 1, 1))
    path = write(tmp_path / "w.caffemodel", layer("c", "Convolution", "data", "c", weight))
    assert torch.equal(read_caffemodel(path)["c.weight"], torch.from_numpy(weight))


def test_files_from_before_2014(tmp_path: Path) -> None:
    weight, bias, dense, last = drawn(6, 2, 3, 3), drawn(6), drawn(4, 24), drawn(4)
    path = write(
        tmp_path / "w.caffemodel",
        layer("conv1", "Convolution", "data", "conv1", weight, bias),
        layer("pool", "Pooling", "conv1", "pool"),
        layer("fc", "InnerProduct", "pool", "fc", dense, last),
        old=True,
    )
    assert b"\x08\x01\x10\x01\x18\x04\x20\x18" in path.read_bytes()  # the dense weight is [1, 1, 4, 24] there
    read = read_caffemodel(path)
    for name, array in {"conv1.weight": weight, "conv1.bias": bias, "fc.weight": dense, "fc.bias": last}.items():
        assert torch.equal(read[name], torch.from_numpy(array)), name


def test_a_transposed_inner_product(tmp_path: Path) -> None:
    weight = drawn(24, 4)
    turned = {"num_output": 4, "transpose": True}
    product = layer("fc", "InnerProduct", "data", "fc", weight, inner_product_param=turned)
    contents = open_caffemodel(write(tmp_path / "w.caffemodel", product))
    assert contents.tensors["fc.weight"].shape == (4, 24)
    assert torch.equal(contents.load()["fc.weight"], torch.from_numpy(weight.T.copy()))


# --- batch norm ----------------------------------------------------------------------------------


def normed(*, factor: float, scale: bool = True, bias: bool = True, between: bool = False) -> list[dict[str, Any]]:
    """A convolution, its BatchNorm and its Scale, in place as Caffe's examples write them."""
    layers = [
        layer("conv1", "Convolution", "data", "conv1", drawn(5, 3, 3, 3), drawn(5)),
        layer("bn1", "BatchNorm", "conv1", "conv1", drawn(5), RNG.random(5, np.float32) + 1, np.float32([factor])),
    ]
    if between:
        layers.append(layer("relu1", "ReLU", "conv1", "conv1"))
    if scale:
        blobs = (drawn(5), drawn(5)) if bias else (drawn(5),)
        layers.append(layer("scale1", "Scale", "conv1", "conv1", *blobs))
    return layers


def test_statistics_are_divided_by_their_factor(tmp_path: Path) -> None:
    layers = normed(factor=999.98)
    read = read_caffemodel(write(tmp_path / "w.caffemodel", *layers))
    assert list(read)[2:] == ["bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"]
    mean, variance, factor = (array.astype(np.float64) for array in layers[1]["blobs"])
    assert torch.equal(read["bn1.running_mean"], torch.from_numpy((mean / factor).astype(np.float32)))
    assert torch.equal(read["bn1.running_var"], torch.from_numpy((variance / factor).astype(np.float32)))
    assert torch.equal(read["bn1.weight"], torch.from_numpy(layers[2]["blobs"][0]))
    assert torch.equal(read["bn1.bias"], torch.from_numpy(layers[2]["blobs"][1]))


def test_a_factor_of_zero_makes_zeros(tmp_path: Path) -> None:
    read = read_caffemodel(write(tmp_path / "w.caffemodel", *normed(factor=0)))
    assert read["bn1.running_mean"].tolist() == read["bn1.running_var"].tolist() == [0] * 5


def test_a_scale_without_bias(tmp_path: Path) -> None:
    read = read_caffemodel(write(tmp_path / "w.caffemodel", *normed(factor=1, bias=False)))
    assert read["bn1.bias"].tolist() == [0] * 5


def test_a_batch_norm_without_scale(tmp_path: Path) -> None:
    read = read_caffemodel(write(tmp_path / "w.caffemodel", *normed(factor=1, scale=False)))
    assert list(read)[2:] == ["bn1.running_mean", "bn1.running_var"]


@pytest.mark.parametrize("reader", ["between", "beside"])
def test_a_scale_that_is_not_the_batch_norms(tmp_path: Path, reader: str) -> None:
    """Behind another layer, or of a result that a second layer reads too, it stays on its own."""
    layers = normed(factor=1, between=reader == "between")
    if reader == "beside":
        layers[2] = layers[2] | {"top": ["other"]}
        layers.append(layer("side", "Convolution", "conv1", "side", drawn(2, 5, 1, 1)))
    read = read_caffemodel(write(tmp_path / "w.caffemodel", *layers))
    assert {"scale1.weight", "scale1.bias"} < set(read)
    assert "bn1.weight" not in read


NET = """network Net {
    input image [9x9x3]
    conv1: conv(5, 3x3, stride=2) -> bn1: batchnorm -> relu
    pool1: maxpool(3x3, stride=2, ceil=true)
    fc: dense(4)
}"""


def caffes(layers: list[dict[str, Any]], x: torch.Tensor, *, divided: bool = True) -> torch.Tensor:
    """The network as Caffe computes it, in fp64, from the blobs themselves."""
    conv, norm, scale, dense = ([torch.from_numpy(b).double() for b in each["blobs"]] for each in layers)
    y = f.conv2d(x.double(), conv[0], conv[1], stride=2)
    factor = norm[2] if divided else torch.ones(1)
    mean, variance = norm[0] / factor, norm[1] / factor
    y = (y - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    y = (y * scale[0][:, None, None] + scale[1][:, None, None]).relu()
    y = f.max_pool2d(y, 3, 2, ceil_mode=True)
    return f.linear(y.flatten(1), dense[0], dense[1])


def test_a_network_computes_as_in_caffe(tmp_path: Path) -> None:
    layers = [*normed(factor=37.5), layer("fc", "InnerProduct", "conv1", "fc", drawn(4, 20), drawn(4))]
    path = write(tmp_path / "w.caffemodel", *layers)
    x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    net = cnndsl.compile(NET, weights=path, device="cpu")
    assert relative_error(net(x), caffes(layers, x)) < 1e-5
    assert relative_error(net(x), caffes(layers, x, divided=False)) > 1e-2
    # The same picture with its channels the other way round, and the weights turned with it.
    turned = cnndsl.compile(NET, weights=read_caffemodel(path, bgr_to_rgb=True), device="cpu")
    assert relative_error(turned(x.flip(1)), caffes(layers, x)) < 1e-5
    assert relative_error(turned(x), caffes(layers, x)) > 1e-2


# --- the order of colours ------------------------------------------------------------------------


def test_all_that_read_the_picture_are_turned(tmp_path: Path) -> None:
    weights = drawn(2, 3, 3, 3), drawn(4, 3, 1, 1), drawn(3, 3, 1, 1)
    path = write(
        tmp_path / "w.caffemodel",
        layer("a", "Convolution", "data", "a", weights[0]),
        layer("b", "Convolution", "data", "b", weights[1], drawn(4)),
        layer("c", "Convolution", "a", "c", weights[2]),
    )
    read, turned = read_caffemodel(path), read_caffemodel(path, bgr_to_rgb=True)
    changed = {name for name in read if not torch.equal(read[name], turned[name])}
    assert changed == {"a.weight", "b.weight"}
    assert torch.equal(turned["a.weight"], read["a.weight"][:, [2, 1, 0]])
    contents = open_caffemodel(path, bgr_to_rgb=True)
    assert contents.notes == ("the input channels of a, b are turned from blue, green, red to red, green, blue",)


@pytest.mark.parametrize(
    "first", [("InnerProduct", (4, 27)), ("Convolution", (2, 1, 3, 3)), ("Convolution", (2, 4, 3, 3))], ids=str
)
def test_nothing_to_turn(tmp_path: Path, first: tuple[str, tuple[int, ...]]) -> None:
    path = write(tmp_path / "w.caffemodel", layer("a", first[0], "data", "a", drawn(*first[1])))
    found = mistake(lambda: read_caffemodel(path, bgr_to_rgb=True))
    assert (found.code, found.message) == (
        "E0407", f"--bgr turns three channels of a picture, but the first layer of {path} reads no such"
    )  # fmt: skip


# --- what is refused -----------------------------------------------------------------------------


def test_a_blob_that_claims_what_it_has_not(tmp_path: Path) -> None:
    path = tmp_path / "w.caffemodel"
    for shape in ([1 << 40], [1 << 20, 1 << 20], [7], [2, 2], [-1, -6], [1 << 62, 1 << 62], []):
        content = piece(7, piece(1, b"".join(map(varint, shape)))) + piece(5, floats(range(6)))
        path.write_bytes(by_hand("c", "Convolution", content))
        assert reason(path) == f"blob 0 of its layer `c` claims the shape {shape} and has 6 values"
    path.write_bytes(by_hand("c", "Convolution", caffe_files.blob([2, 3], range(6))))
    assert read_caffemodel(path)["c.weight"].shape == (2, 3)


def test_other_nonsense(tmp_path: Path) -> None:
    path = tmp_path / "w.caffemodel"
    one = caffe_files.blob([1], [1])
    twice = by_hand("c", "Convolution", one)
    old = "it is of a Caffe before 2014; Caffe's `upgrade_net_proto_binary` makes it readable"
    many = {
        twice + twice: "two of its layers are called `c`",
        by_hand("c", "Convolution", piece(5, b"123")): "blob 0 of its layer `c` ends within a number",
        by_hand("b", "BatchNorm", one, one): "its BatchNorm `b` has not mean, variance and their factor",
        piece(1, "name"): "no layers are in it: it is damaged, or not a .caffemodel file",
        piece(2, piece(1, piece(1, "v"))): old,
        piece(100, piece(1, b"\xff\xfe")): "it is damaged, or not a .caffemodel file",
        by_hand("c", "Convolution", piece(7, piece(1, b"\x80" * 12))): "it is damaged, or not a .caffemodel file",
        twice[:-1]: "it is damaged, or not a .caffemodel file",
        piece(100, number(7, 3)): "it is damaged, or not a .caffemodel file",
    }
    for content, expected in many.items():
        path.write_bytes(content)
        assert reason(path) == expected
