"""Tensors as inputs, outputs as files, and labels."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mistakes import mistake

from cnndsl.errors import CnnError
from cnndsl.runtime.tensors import SUFFIXES, as_batch, load_labels, load_tensor, save_outputs

VALUES = torch.arange(24.0).reshape(2, 3, 4)

many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, tensor: torch.Tensor) -> Path:
    match path.suffix:
        case ".npy":
            np.save(path, tensor.numpy())
        case ".npz":
            np.savez(path, x=tensor.numpy())
        case _:
            torch.save(tensor, path)
    return path


# --- reading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_what_is_saved_is_loaded(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    path = write(tmp_path / f"x{suffix}", VALUES.to(dtype))
    loaded = load_tensor(path)
    assert loaded.dtype == dtype
    assert torch.equal(loaded, VALUES.to(dtype))
    path.write_bytes(b"")
    assert torch.equal(load_tensor(write(path, loaded)), VALUES.to(dtype))


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_one_of_several_is_chosen_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"

    def put(**tensors: torch.Tensor) -> None:
        if suffix == ".pt":
            torch.save(tensors, path)
        else:
            np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})

    put(image=VALUES, depth=VALUES + 1)
    assert torch.equal(load_tensor(path, key="depth"), VALUES + 1)
    found = mistake(lambda: load_tensor(path, key="sound"))
    reason = "it holds 2 arrays (`image`, `depth`), and none is named `sound`, as the input is"
    assert (found.code, found.message) == ("E0412", f"cannot read the tensor {path}: {reason}")
    found = mistake(lambda: load_tensor(path))
    assert found.message.endswith(
        "it holds 2 arrays (`image`, `depth`), and one must be named as the input is"
    )
    put(any_name=VALUES)
    assert torch.equal(load_tensor(path, key="image"), VALUES)
    put()
    assert mistake(lambda: load_tensor(path)).message.endswith("it holds no arrays")


@pytest.mark.parametrize(
    ("name", "put", "reason"),
    [
        ("x.png", lambda p: p.write_bytes(b"x"), "unknown format `.png`"),
        ("x.npy", lambda p: None, "there is no such file"),
        ("x.npy", lambda p: p.write_bytes(b""), "it is empty"),
        ("x.pt", lambda p: p.mkdir(), "it is a folder"),
        ("x.npy", os.mkfifo, "it is not a regular file"),
        (
            "x.npy",
            lambda p: np.save(p, np.array([object()], dtype=object)),
            "it holds Python objects, and reading those can run any code in the file",
        ),
        ("x.npy", lambda p: np.save(p, np.array(["a"])), "it has elements of type <U1, not numbers"),
        (
            "x.npy",
            lambda p: np.savez(p.with_suffix(".npz"), a=VALUES) or p.with_suffix(".npz").rename(p),
            None,
        ),
        ("x.pt", lambda p: torch.save([VALUES], p), "it holds a list, not a tensor"),
        ("x.pt", lambda p: torch.save({"a": 3}, p), "it holds a int, not a tensor"),
        ("x.pt", lambda p: torch.save(torch.eye(3).to_sparse(), p), "it does not hold a plain dense tensor"),
    ],
)
def test_what_is_not_a_tensor(
    tmp_path: Path, name: str, put: Callable[[Path], object], reason: str | None
) -> None:
    path = tmp_path / name
    put(path)
    found = mistake(lambda: load_tensor(path))
    expected = reason or "it is damaged, or not a file of numpy.save"
    assert (found.code, found.message) == ("E0412", f"cannot read the tensor {path}: {expected}")


@pytest.mark.parametrize("shape", [(5,), (3,), (1 << 60,), (1 << 40, 1 << 40)])
def test_an_array_that_claims_more_than_it_holds(tmp_path: Path, shape: tuple[int, ...]) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    (tmp_path / "x.npy").write_bytes(stream.getvalue() + bytes(16))
    assert mistake(lambda: load_tensor(tmp_path / "x.npy")).code == "E0412"


@many
@given(content=st.binary(min_size=1, max_size=300), suffix=st.sampled_from(SUFFIXES), magic=st.booleans())
def test_random_bytes_are_refused(tmp_path: Path, content: bytes, suffix: str, magic: bool) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes((b"\x93NUMPY\x01\0" if suffix == ".npy" else b"PK\x03\x04") * magic + content)
    assert mistake(lambda: load_tensor(path)).code == "E0412"


@many
@given(data=st.data(), suffix=st.sampled_from(SUFFIXES))
def test_a_file_cut_short_is_refused(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    path = write(tmp_path / f"x{suffix}", VALUES)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert mistake(lambda: load_tensor(path)).code == "E0412"


# --- shapes ------------------------------------------------------------------------------------------


def test_batches() -> None:
    for given_, shape, made in (
        ((3, 8, 6), (8, 6, 3), (1, 3, 8, 6)),
        ((5, 3, 8, 6), (8, 6, 3), (5, 3, 8, 6)),
        ((7,), (7,), (1, 7)),
        ((2, 7), (7,), (2, 7)),
    ):
        tensor = torch.randn(given_)
        batch = as_batch(tensor, shape=shape, name="image", source="x.npy")
        assert tuple(batch.shape) == made
        assert torch.equal(batch.flatten(), tensor.flatten())


@pytest.mark.parametrize(
    ("tensor", "message", "help_"),
    [
        (
            torch.zeros(5, 8, 6, 3),
            "x.npy is [5, 8, 6, 3], but input `image` is [N, 3, 8, 6]",
            ("it is in the order height, width, channels; write `array.transpose(0, 3, 1, 2)`",),
        ),
        (
            torch.zeros(8, 6, 3),
            "x.npy is [8, 6, 3], but input `image` is [N, 3, 8, 6]",
            ("it is in the order height, width, channels; write `array.transpose(2, 0, 1)`",),
        ),
        (torch.zeros(5, 3, 6, 8), "x.npy is [5, 3, 6, 8], but input `image` is [N, 3, 8, 6]", ()),
        (torch.zeros(1, 5, 3, 8, 6), "x.npy is [1, 5, 3, 8, 6], but input `image` is [N, 3, 8, 6]", ()),
        (torch.zeros(()), "x.npy is [], but input `image` is [N, 3, 8, 6]", ()),
        (torch.zeros(0, 3, 8, 6), "x.npy is [0, 3, 8, 6], which is an empty batch", ()),
    ],
)
def test_wrong_shapes(tensor: torch.Tensor, message: str, help_: tuple[str, ...]) -> None:
    found = mistake(lambda: as_batch(tensor, shape=(8, 6, 3), name="image", source="x.npy"))
    assert (found.code, found.message, found.help) == ("E0413", message, help_)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_wrong_types(dtype: torch.dtype) -> None:
    found = mistake(
        lambda: as_batch(torch.zeros(3, 8, 6, dtype=dtype), shape=(8, 6, 3), name="x", source="x.npy")
    )
    name = str(dtype).removeprefix("torch.")
    assert (found.code, found.message) == ("E0413", f"x.npy has elements of type {name}, not a float type")


# --- outputs -----------------------------------------------------------------------------------------


def test_outputs_are_saved_under_any_name(tmp_path: Path) -> None:
    outputs = {"main": VALUES, "file": VALUES.bfloat16() + 1, "allow_pickle": VALUES.mT.double()}
    save_outputs(tmp_path / "y.npz", outputs)
    with np.load(tmp_path / "y.npz", allow_pickle=False) as read:
        assert read.files == list(outputs)
        for name, tensor in outputs.items():
            kept = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
            assert read[name].dtype == kept.numpy().dtype
            assert np.array_equal(read[name], kept.numpy())


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    save_outputs(tmp_path / "y.npz", {"main": VALUES})
    before = (tmp_path / "y.npz").read_bytes()
    with pytest.raises(AttributeError):
        save_outputs(tmp_path / "y.npz", {"main": VALUES, "bad": None})  # type: ignore[dict-item]
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_where_outputs_cannot_be_written(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "y.txt", "outputs are written as .npz"),
        (tmp_path / "no" / "y.npz", "No such file or directory"),
        (tmp_path / "folder.npz", "it is a folder"),
    ):
        (tmp_path / "folder.npz").mkdir(exist_ok=True)
        found = mistake(lambda path=path: save_outputs(path, {"main": VALUES}))
        assert (found.code, found.message) == ("E0421", f"cannot write {path}: {reason}")


# --- labels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["cat\ndog\nÉlan vital\n", "\ufeffcat\r\n  dog \r\nÉlan\tvital", "cat\ndog\nÉlan  vital\n\n\n"]
)
def test_labels(tmp_path: Path, content: str) -> None:
    (tmp_path / "l.txt").write_bytes(content.encode())
    assert load_labels(tmp_path / "l.txt", classes=3) == ["cat", "dog", "Élan vital"]


@pytest.mark.parametrize(
    ("content", "message", "help_"),
    [
        (b"a\nb\n", "{} names 2 labels, but the network's output has 3", ()),
        (b"a", "{} names 1 label, but the network's output has 3", ()),
        (
            b"a\nb\nc\nd\n",
            "{} names 4 labels, but the network's output has 3",
            ("the first line is a background class? Drop it",),
        ),
        (b"a\n\nc\n", "cannot read the labels {}: line 2 is blank; every line names one class", ()),
        (b"a\nb\x1b[31m\nc", "cannot read the labels {}: line 2 has control characters", ()),
        (b"a\nb\n\xff\n", "cannot read the labels {}: byte 4 is not UTF-8 text", ()),
        (b"", "cannot read the labels {}: it is empty", ()),
        (bytes((16 << 20) + 1), "cannot read the labels {}: it is larger than 16 MiB", ()),
    ],
)
def test_wrong_labels(tmp_path: Path, content: bytes, message: str, help_: tuple[str, ...]) -> None:
    path = tmp_path / "l.txt"
    path.write_bytes(content)
    found = mistake(lambda: load_labels(path, classes=3))
    assert (found.code, found.message, found.help) == ("E0414", message.format(path), help_)


@many
@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_as_labels(tmp_path: Path, content: bytes, classes: int) -> None:
    (tmp_path / "l.txt").write_bytes(content)
    codes = set()
    try:
        labels = load_labels(tmp_path / "l.txt", classes=classes)
    except CnnError as error:
        codes = {found.code for found in error.diagnostics}
        labels = [""] * classes
    assert len(labels) == classes
    assert codes <= {"E0414"}
