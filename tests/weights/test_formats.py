"""The door: a file's format is known by its content; checkpoints are unwrapped; what is none is named."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import caffe_files
import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from mistakes import mistake
from onnx import helper, numpy_helper

from cnndsl.errors import CnnError
from cnndsl.files import load_text
from cnndsl.passes.elaborate import elaborate
from cnndsl.weights.reading import open_weights, read_tensors
from cnndsl.weights.saving import save_tensors

TENSORS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.tensor([0.5, -1.0])}

TEXT = "network Net { input x [3] fc: dense(2) }"


def as_torch(path: Path) -> None:
    torch.save(TENSORS, path)


def as_old_torch(path: Path) -> None:
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)


def as_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **{name: tensor.numpy() for name, tensor in TENSORS.items()})


def as_packed_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **{name: tensor.numpy() for name, tensor in TENSORS.items()})


def as_safetensors(path: Path) -> None:
    safetensors.torch.save_file(TENSORS, path)


def as_caffe(path: Path) -> None:
    blobs = (tensor.numpy() for tensor in TENSORS.values())
    path.write_bytes(caffe_files.model(caffe_files.layer("fc", "InnerProduct", "x", "fc", *blobs)))


def as_onnx(path: Path) -> None:
    tensors = [numpy_helper.from_array(tensor.numpy(), name) for name, tensor in TENSORS.items()]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2])
    node = helper.make_node("Gemm", ["x", *TENSORS], ["y"], transB=1)
    onnx.save(helper.make_model(helper.make_graph([node], "g", [x], [y], tensors)), path)


def as_darknet(path: Path) -> None:
    values = [*TENSORS["fc.bias"].tolist(), *TENSORS["fc.weight"].flatten().tolist()]
    path.write_bytes(np.array([0, 2, 0, 7, 0], "<i4").tobytes() + np.array(values, "<f4").tobytes())


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.pt": as_torch, "b.pth": as_old_torch, "c.npz": as_npz, "d.npz": as_packed_npz, "e.safetensors": as_safetensors,
    "f.caffemodel": as_caffe, "g.onnx": as_onnx, "h.weights": as_darknet,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("suffix", [None, "", ".bin", ".23"])
def test_every_format_under_every_name(tmp_path: Path, name: str, suffix: str | None) -> None:
    path = tmp_path / (name if suffix is None else f"w{suffix}")
    WRITERS[name](path)
    program = load_text(TEXT)
    read = read_tensors(path, elaborate(program, program.networks["Net"]))
    assert set(read) == set(TENSORS)
    assert all(torch.equal(read[key], tensor) for key, tensor in TENSORS.items())


@pytest.mark.parametrize(("writer", "suffix"), [(as_torch, ".npz"), (as_npz, ".pt"), (as_safetensors, ".pth")])
def test_a_wrong_name_does_not_matter(tmp_path: Path, writer: Callable[[Path], None], suffix: str) -> None:
    writer(tmp_path / f"w{suffix}")
    assert set(read_tensors(tmp_path / f"w{suffix}")) == set(TENSORS)


def test_bgr_is_for_caffe(tmp_path: Path) -> None:
    as_torch(tmp_path / "w.pt")
    found = mistake(lambda: open_weights(tmp_path / "w.pt", bgr=True))
    assert (found.code, found.message) == (
        "E0407", f"--bgr is for .caffemodel files, which {tmp_path / 'w.pt'} is not"
    )  # fmt: skip


def test_a_darknet_file_needs_a_network(tmp_path: Path) -> None:
    as_darknet(tmp_path / "w.weights")
    found = mistake(lambda: read_tensors(tmp_path / "w.weights"))
    assert found.code == "E0407"
    assert "has 8 values without names or shapes" in found.message
    assert found.help == ("`cnndsl weights check NET FILE` tells whose they are",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "it is an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it stands for a file that Git LFS keeps elsewhere"),
        (b"<!DOCTYPE html><html>", "it is a web page or another text"),
        (b"\x1f\x8b\x08" + bytes(50), "it is packed with gzip"),
        (b"\x93NUMPY\x01\x00", "it is one array without a name"),
        (b"GGUF\x03\x00\x00\x00", "it is a GGUF file"),
    ],
)
@pytest.mark.parametrize("name", ["w.pt", "w.caffemodel", "w.weights", "w.h5", "w.safetensors"])
def test_what_people_take_for_weights(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    found = mistake(lambda: read_tensors(tmp_path / name))
    assert (found.code, found.message) == ("E0401", f"cannot read the weights {tmp_path / name}: {reason}")
    assert len(found.help) == 1


def test_an_unknown_format_is_told_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "w.xyz").write_bytes(b"hello")
    found = mistake(lambda: read_tensors(tmp_path / "w.xyz"))
    assert found.message.endswith("unknown format `.xyz`")
    assert ".caffemodel" in found.help[0]


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (TENSORS, None),
        ({"state_dict": TENSORS}, "the weights stand under `state_dict`"),
        (
            {"epoch": 3, "model": {"state_dict": TENSORS, "name": "net"}, "optimizer": {"state": {}}},
            "the weights stand under `model.state_dict`; left out: `epoch`, `optimizer` and `name`",
        ),
        ({"run": {"best": {"net": TENSORS}}}, "the weights stand under `run.best.net`"),
        ({**TENSORS, "epoch": 3}, "left out, since they are no tensors: `epoch`"),
    ],
)
def test_where_weights_stand(tmp_path: Path, content: object, note: str | None) -> None:
    torch.save(content, tmp_path / "w.pt")
    contents = open_weights(tmp_path / "w.pt")
    assert list(contents.tensors) == list(TENSORS)
    assert contents.notes == ((note,) if note is not None else ())


def test_the_same_dictionary_at_two_depths(tmp_path: Path) -> None:
    shared = {"inner": TENSORS}
    torch.save({"a": {"b": {"c": shared}}, "net": shared}, tmp_path / "w.pt")
    contents = open_weights(tmp_path / "w.pt")
    assert contents.notes[0].startswith("the weights stand under `net.inner`")


def test_checkpoints_that_are_mazes(tmp_path: Path) -> None:
    """Deeper than anyone puts weights; itself within itself; the same thing a million times."""
    deep: object = TENSORS
    for _ in range(5):
        deep = {"net": deep}
    torch.save(deep, tmp_path / "w.pt")
    assert mistake(lambda: read_tensors(tmp_path / "w.pt")).message.endswith("it holds no tensors")
    circle: dict[str, object] = {}
    circle["net"] = circle
    torch.save(circle, tmp_path / "w.pt")
    assert mistake(lambda: read_tensors(tmp_path / "w.pt")).message.endswith("it holds no tensors")
    wide: object = {"no": 1}
    for _ in range(4):
        wide = {f"k{i}": wide for i in range(300)}  # 300 ** 4 ways through it
    torch.save(wide, tmp_path / "w.pt")
    assert mistake(lambda: read_tensors(tmp_path / "w.pt")).message.endswith("it holds no tensors")


# --- damage --------------------------------------------------------------------------------------


def correct(path: Path, content: bytes) -> bool:
    """Whether a changed file reads as some of the tensors, whole. Raises what is not a CnnError."""
    path.write_bytes(content)
    program = load_text(TEXT)
    try:
        read = read_tensors(path, elaborate(program, program.networks["Net"]))
    except CnnError:
        return True
    return all(name in TENSORS and torch.equal(tensor, TENSORS[name]) for name, tensor in read.items())


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_cut_anywhere(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert correct(tmp_path / name, content)
    step = max(1, len(content) // 70)
    for end in [*range(1, len(content), step), len(content) - 1]:
        assert correct(tmp_path / name, content[:end]), end


@pytest.mark.parametrize("name", WRITERS)
def test_any_byte_changed(tmp_path: Path, name: str) -> None:
    """Values may be others then; names, shapes and memory must not run wild."""
    path = tmp_path / name
    WRITERS[name](path)
    content = path.read_bytes()
    program = load_text(TEXT)
    graph = elaborate(program, program.networks["Net"])
    codes = []
    places = range(0, len(content), max(1, len(content) // 60))
    for place in places:
        for bits in (0xFF, 0x80, 0x01):
            changed = bytearray(content)
            changed[place] ^= bits
            path.write_bytes(changed)
            read: dict[str, torch.Tensor] = {}
            try:
                read = read_tensors(path, graph)
            except CnnError as error:
                codes += [found.code for found in error.diagnostics]
            assert sum(tensor.nbytes for tensor in read.values()) <= len(content)
    assert {"E0401"} <= set(codes) <= {"E0401", "E0408"}  # something was noticed


def test_what_is_saved_is_what_is_read(tmp_path: Path) -> None:
    """Every format to every other that is written."""
    program = load_text(TEXT)
    graph = elaborate(program, program.networks["Net"])
    for name, write in WRITERS.items():
        write(tmp_path / name)
        for suffix in (".safetensors", ".pt", ".pth", ".npz"):
            save_tensors(tmp_path / f"out{suffix}", read_tensors(tmp_path / name, graph))
            again = read_tensors(tmp_path / f"out{suffix}")
            assert all(torch.equal(again[key], tensor) for key, tensor in TENSORS.items())
    assert not [entry for entry in os.listdir(tmp_path) if entry.startswith(".")]


def test_a_pickle_that_is_no_checkpoint(tmp_path: Path) -> None:
    import pickle

    stream = io.BytesIO()
    pickle.dump({"w": np.zeros(3)}, stream)
    (tmp_path / "w.pkl").write_bytes(stream.getvalue())
    found = mistake(lambda: read_tensors(tmp_path / "w.pkl"))
    assert (found.code, found.severity) == ("E0401", "error")
