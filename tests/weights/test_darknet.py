"""Darknet's ``.weights``: values in the order of its layers, written here by the published layout."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mistakes import mistake
from torch.nn import functional as f

import cnndsl
from cnndsl.errors import Diagnostic
from cnndsl.exchange.darknet import read_weights
from cnndsl.files import load_text
from cnndsl.ir import Graph
from cnndsl.passes.elaborate import elaborate
from cnndsl.runtime.parameters import specs_of
from cnndsl.runtime.verify import relative_error
from cnndsl.weights.darknet import read_head

NET = """network Net {
    input image [8x8x3]
    conv1: conv(4, 3x3, pad=1, bias=false) -> bn1: batchnorm -> leaky_relu(0.1)
    maxpool(2x2)
    conv2: conv(6, 1x1)
    fc1: dense(5, bias=false) -> bn2: batchnorm -> relu
    fc2: dense(3)
}"""

ORDER = (
    "bn1.bias", "bn1.weight", "bn1.running_mean", "bn1.running_var", "conv1.weight", "conv2.bias", "conv2.weight",
    "bn2.bias", "fc1.weight", "bn2.weight", "bn2.running_mean", "bn2.running_var", "fc2.bias", "fc2.weight",
)  # fmt: skip
"""Of a convolution bias, scale, mean, variance, filters; of a dense layer bias, weight, scale, mean, variance."""


def graph_of(text: str) -> Graph:
    program = load_text(text)
    return elaborate(program, next(iter(program.networks.values())))


def drawn(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {name: rng.random(spec.shape, np.float32) + 0.1 for name, spec in specs_of(graph).items()}


def head(version: tuple[int, int, int] = (0, 2, 0), seen: int = 64_000) -> bytes:
    return struct.pack("<3i", *version) + struct.pack("<Q" if version[0] * 10 + version[1] >= 2 else "<I", seen)


def write(path: Path, tensors: dict[str, np.ndarray], order: tuple[str, ...] = ORDER, **about: Any) -> Path:
    with path.open("wb") as file:
        file.write(head(**about))
        for name in order:
            tensors[name].astype("<f4").tofile(file)
    return path


def refused(path: Path, graph: Graph, code: str = "E0408") -> Diagnostic:
    found = mistake(lambda: read_weights(path, graph))
    assert found.code == code
    return found


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5), (1, 0, 0)])
def test_every_value_finds_its_place(tmp_path: Path, version: tuple[int, int, int]) -> None:
    graph = graph_of(NET)
    tensors = drawn(graph)
    assert set(ORDER) == set(tensors)
    path = write(tmp_path / "w.weights", tensors, version=version, seen=123)
    read = read_weights(path, graph)
    assert set(read) == set(tensors)
    for name, array in tensors.items():
        assert read[name].dtype == torch.float32
        assert torch.equal(read[name], torch.from_numpy(array)), name
    found = read_head(path)
    assert (found.version, found.seen, found.values) == (version, 123, sum(a.size for a in tensors.values()))


@pytest.mark.parametrize("wide", [False, True])
def test_transposed_dense_layers(tmp_path: Path, wide: bool) -> None:
    """A version beyond 1000 says so. Of two programs one counts pictures in 32 bits there, and one in 64."""
    graph = graph_of(NET)
    tensors = drawn(graph)
    turned = tensors | {name: tensors[name].T.copy() for name in ("fc1.weight", "fc2.weight")}
    path = write(tmp_path / "w.weights", turned, version=(0, 2, 0))
    content = path.read_bytes()[20:]
    path.write_bytes(struct.pack("<3i", 0, 1002, 0) + struct.pack("<Q" if wide else "<I", 5) + content)
    read = read_weights(path, graph)
    for name, array in tensors.items():
        assert torch.equal(read[name], torch.from_numpy(array)), name


def test_a_batch_norm_that_stands_alone(tmp_path: Path) -> None:
    graph = graph_of("network Net { input x [4x4x3] bn: batchnorm -> conv1: conv(2, 1x1) -> after: batchnorm }")
    tensors = drawn(graph)
    parts = ("bias", "weight", "running_mean", "running_var")
    order = (*(f"bn.{p}" for p in parts), "conv1.bias", "conv1.weight", *(f"after.{p}" for p in parts))
    read = read_weights(write(tmp_path / "w.weights", tensors, order), graph)
    assert all(torch.equal(read[name], torch.from_numpy(array)) for name, array in tensors.items())


def test_a_network_computes_as_in_darknet(tmp_path: Path) -> None:
    graph = graph_of(NET)
    w = {name: torch.from_numpy(array).double() for name, array in drawn(graph).items()}
    write(tmp_path / "w.weights", drawn(graph))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))

    def darknets(first: str) -> torch.Tensor:
        """In fp64; `first` is what is taken for the scale of the first norm."""
        y = f.conv2d(x.double(), w["conv1.weight"], padding=1)
        y = (y - w["bn1.running_mean"][:, None, None]) / (w["bn1.running_var"][:, None, None] + 1e-5).sqrt()
        y = f.leaky_relu(y * w[first][:, None, None] + w["bn1.bias"][:, None, None], 0.1)
        y = f.conv2d(f.max_pool2d(y, 2), w["conv2.weight"], w["conv2.bias"]).flatten(1)
        y = (y @ w["fc1.weight"].T - w["bn2.running_mean"]) / (w["bn2.running_var"] + 1e-5).sqrt()
        return f.linear((y * w["bn2.weight"] + w["bn2.bias"]).relu(), w["fc2.weight"], w["fc2.bias"])

    net = cnndsl.compile(NET, weights=tmp_path / "w.weights", device="cpu")
    assert relative_error(net(x), darknets("bn1.weight")) < 1e-5
    assert relative_error(net(x), darknets("bn1.bias")) > 1e-3


# --- what does not fit -----------------------------------------------------------------------------


def test_too_few_values(tmp_path: Path) -> None:
    graph = graph_of(NET)
    path = write(tmp_path / "w.weights", drawn(graph))
    content = path.read_bytes()
    path.write_bytes(content[: 20 + 4 * (16 + 100)])
    found = refused(path, graph)
    assert found.message == f"{path} has 116 values, and Net needs 672: 556 too few"
    assert found.notes == ("it ends within `conv1.weight` [4, 3, 3, 3], with 100 of its 108 values",)
    path.write_bytes(content[: 20 + 4 * (16 + 108)])
    note = "it ends exactly before `conv2.bias`: perhaps it has the first layers alone, as files to train from do"
    assert refused(path, graph).notes == (note,)
    path.write_bytes(content[: 20 + 4 * 16])  # between the norm and the filters no layer begins
    assert refused(path, graph).notes == ("it ends within `conv1.weight` [4, 3, 3, 3], with 0 of its 108 values",)


def test_too_many_values(tmp_path: Path) -> None:
    graph = graph_of(NET)
    path = write(tmp_path / "w.weights", drawn(graph))
    path.write_bytes(path.read_bytes() + bytes(8))
    found = refused(path, graph)
    assert found.message == f"{path} has 674 values, and Net needs 672: 2 too many"
    assert found.notes == ("the network's values end behind `fc2.weight`, and the file goes on",)


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ("c: conv(2, 1x1, bias=false)", "c has no bias, and each of Darknet's has one: write `bias=true`"),
        ("c: conv(2, 1x1, bias=false) -> relu -> batchnorm", "c has no bias"),
        ("d: dense(2, bias=false)", "d has no bias"),
        ("bn: batchnorm(affine=false)", "bn has no scale and shift, and each of Darknet's has them"),
        ("c: conv(2, 1x1, bias=false) -> bn: batchnorm(affine=false)", "bn has no scale and shift"),
    ],
)
def test_networks_that_darknet_has_not(tmp_path: Path, layers: str, why: str) -> None:
    path = tmp_path / "w.weights"
    path.write_bytes(head() + bytes(400))
    found = refused(path, graph_of(f"network Net {{ input x [4x4x3] {layers} }}"))
    assert found.message.startswith(f"the values of {path} cannot be those of this network: {why}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"abc", "it ends within a value"),
        (head()[:16], "it ends within its head"),
        (head() + b"12345", "it ends within a value"),
        (head(version=(-1, 5, 0)) + bytes(8), "its version is -1.5.0"),
    ],
)
def test_what_is_no_darknet_file(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "w.weights").write_bytes(content)
    found = refused(tmp_path / "w.weights", graph_of(NET), "E0401")
    assert found.message.endswith(f"it is damaged, or not a Darknet file: {reason}")
