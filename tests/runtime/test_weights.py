"""Weights files: what is read, what is refused, and how tensors find their parameters."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mistakes import mistake
from specs import bias, conv, dense

from cnndsl.errors import CnnError
from cnndsl.runtime.weights import TensorSpec, initial_tensors, match, read_tensors, save_tensors
from cnndsl.weights import arrays

SUFFIXES = (".safetensors", ".pt", ".pth", ".npz")

# Files are written into one folder again and again; every example stands for itself.
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


SMALL = {"conv1.weight": conv(4, 3), "conv1.bias": bias(4), "fc.weight": dense(5, 16), "fc.bias": bias(5)}


# --- reading and writing -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_what_is_saved_is_read(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    saved = {name: tensor.to(dtype) for name, tensor in initial_tensors(SMALL, seed=3).items()}
    save_tensors(tmp_path / f"w{suffix}", saved)
    read = read_tensors(tmp_path / f"w{suffix}")
    assert set(read) == set(saved)
    for name, tensor in saved.items():
        kept = torch.float32 if suffix == ".npz" and dtype == torch.bfloat16 else dtype
        assert read[name].dtype == kept
        assert torch.equal(read[name], tensor.to(kept))
    if suffix != ".safetensors":
        assert list(read) == list(saved)
    assert [path.name for path in tmp_path.iterdir()] == [f"w{suffix}"]  # no temporary file stays


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_slices_and_shared_tensors_are_saved_as_they_are(tmp_path: Path, suffix: str) -> None:
    whole = torch.arange(1000.0).reshape(10, 100)
    save_tensors(
        tmp_path / f"w{suffix}",
        {"a.weight": whole[2:3], "b.weight": whole.T, "c.weight": whole, "d.weight": whole},
    )
    read = read_tensors(tmp_path / f"w{suffix}")
    assert torch.equal(read["a.weight"], whole[2:3])
    assert torch.equal(read["b.weight"], whole.T)
    assert torch.equal(read["c.weight"], whole)
    assert torch.equal(read["d.weight"], whole)
    # Each tensor alone, 3100 values: a slice does not take its whole storage of 1000 along.
    assert (tmp_path / f"w{suffix}").stat().st_size < 4 * 3100 + 3000


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_can_be_replaced_while_its_tensors_are_in_use(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    save_tensors(path, {"a.weight": torch.ones(1 << 18)})
    read = read_tensors(path)
    save_tensors(path, {"a.weight": torch.zeros(3)})  # would cut the mapped file short under `read`
    assert read["a.weight"].sum().item() == 1 << 18
    save_tensors(path, read)
    assert read_tensors(path)["a.weight"].sum().item() == 1 << 18


def test_big_endian_and_fortran_arrays(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez_compressed(tmp_path / "w.npz", a=values.astype(">f4"), b=np.asfortranarray(values))
    read = read_tensors(tmp_path / "w.npz")
    assert torch.equal(read["a"], torch.from_numpy(values))
    assert torch.equal(read["b"], torch.from_numpy(values))


@pytest.mark.parametrize("old_format", [False, True])
def test_checkpoints_are_unwrapped(tmp_path: Path, old_format: bool) -> None:
    state = torch.nn.Linear(2, 3).state_dict()
    optimizer = {"state": {0: {"step": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    for content in (
        state,
        torch.nn.Linear(2, 3).requires_grad_().state_dict(keep_vars=True),
        {"state_dict": state, "epoch": 3, "optimizer": optimizer, "best": torch.tensor(0.7)},
        {"model": state, "ema": {"decay": torch.tensor(0.9)}},
        {"something": state, "epoch": 3},
    ):
        torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=not old_format)
        read = read_tensors(tmp_path / "w.pt")
        assert list(read) == ["weight", "bias"]
        assert not any(tensor.requires_grad for tensor in read.values())


def test_two_sets_of_tensors_are_not_chosen_between(tmp_path: Path) -> None:
    state = {"weight": torch.ones(3)}
    torch.save({"generator": state, "critic": state}, tmp_path / "w.pt")
    found = mistake(lambda: read_tensors(tmp_path / "w.pt"))
    reason = "it holds several sets of tensors: `generator`, `critic`"
    assert (found.code, found.message) == ("E0401", f"cannot read the weights {tmp_path / 'w.pt'}: {reason}")


class Mischief:
    """Unpickling one runs a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("old_format", [False, True])
def test_a_pickle_runs_nothing(tmp_path: Path, old_format: bool) -> None:
    content = {"a": torch.ones(3), "b": Mischief(tmp_path / "run")}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=not old_format)
    found = mistake(lambda: read_tensors(tmp_path / "w.pt"))
    assert found.code == "E0401"
    assert found.message.endswith(
        "it holds Python objects, and reading those can run any code in the file: posix.mkdir"
    )
    assert not (tmp_path / "run").exists()
    # The same file does run its command where nothing refuses it, so the check above can fail.
    torch.load(tmp_path / "w.pt", weights_only=False)
    assert (tmp_path / "run").exists()


def test_object_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([Mischief(tmp_path / "run")]))
    found = mistake(lambda: read_tensors(tmp_path / "w.npz"))
    assert found.message.endswith("it holds Python objects, and reading those can run any code in the file")
    assert not (tmp_path / "run").exists()


def save_module(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3), path)


def save_program(path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.ones(1, 2)), path)


def save_packed(path: Path) -> None:
    """A state dict in a compressed archive: mapped, its bytes would be taken for numbers."""
    torch.save({"a": torch.zeros(1000)}, path.with_suffix(".plain"))
    with (
        zipfile.ZipFile(path.with_suffix(".plain")) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("w.pt", save_module, "torch.nn.modules.linear.Linear"),
        ("w.pt", save_program, "it is a TorchScript program"),
        ("w.pt", save_packed, "its records are compressed, which torch.save never does"),
        ("w.pt", lambda p: torch.save([torch.ones(2)], p), "it holds a list, not tensors by name"),
        ("w.pt", lambda p: torch.save({"epoch": 3}, p), "it holds no tensors"),
        ("w.pt", lambda p: torch.save({"a": torch.eye(3).to_sparse()}, p), "`a` is not a plain dense tensor"),
        (
            "w.pt",
            lambda p: torch.save({"a": torch.ones(3, device="meta")}, p),
            "`a` is not a plain dense tensor",
        ),
        ("w.npz", lambda p: np.savez(p, a=np.array(["x"])), "`a` has elements of type <U1, not numbers"),
        ("w.xyz", lambda p: p.write_bytes(b"x"), "unknown format `.xyz`"),
        ("w", lambda p: p.write_bytes(b"x"), "unknown format `w`"),
        ("w.pt", lambda p: p.write_bytes(b""), "it is empty"),
        ("w.safetensors", lambda p: p.mkdir(), "it is a folder"),
        ("w.npz", os.mkfifo, "it is not a regular file"),
        ("w.npz", lambda p: p.symlink_to(p), "there is no such file"),
        ("w\0.npz", lambda p: None, "there is no such file"),
        (f"{'w' * 300}.npz", lambda p: None, "File name too long"),
    ],
)
def test_what_is_not_weights(tmp_path: Path, name: str, write: Callable[[Path], object], reason: str) -> None:
    write(tmp_path / name)
    found = mistake(lambda: read_tensors(tmp_path / name))
    assert found.code == "E0401"
    assert found.message.startswith(f"cannot read the weights {tmp_path / name}: ")
    assert found.message.endswith(reason)


def test_a_missing_file_is_told_its_neighbours(tmp_path: Path) -> None:
    save_tensors(tmp_path / "alexnet.pt", {"a": torch.ones(1)})
    found = mistake(lambda: read_tensors(tmp_path / "alexnt.pt"))
    assert found.message == f"cannot read the weights {tmp_path / 'alexnt.pt'}: there is no such file"
    assert found.help == (f"{tmp_path} has `alexnet.pt`",)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    save_tensors(tmp_path / "w.pt", {"a": torch.ones(1)})
    (tmp_path / "w.pt").chmod(0)
    assert mistake(lambda: read_tensors(tmp_path / "w.pt")).message.endswith("permission denied")


def claimed(shape: tuple[int, ...]) -> bytes:
    """The header of an array of `shape`, and twelve bytes of it."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(12)


@pytest.mark.parametrize("shape", [(4,), (2,), (1 << 60,), (1 << 40, 1 << 40), (-1,)])
def test_an_array_that_claims_more_than_it_holds(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for member, readable in ((claimed((3,)), True), (claimed(shape), False)):
        with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
            archive.writestr("a.npy", member)
        if readable:
            assert read_tensors(tmp_path / "w.npz")["a"].numel() == 3
        else:
            reason = "it is damaged, or not a file of numpy.savez"
            assert mistake(lambda: read_tensors(tmp_path / "w.npz")).message.endswith(reason)


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "w.npz", a=np.zeros(1 << 19, np.float32))
    assert len(read_tensors(tmp_path / "w.npz")) == 1
    monkeypatch.setattr(arrays, "MAX_UNPACKED", 1 << 20)
    found = mistake(lambda: read_tensors(tmp_path / "w.npz"))
    assert found.message.endswith("its arrays take 2 MiB, the limit is 1 MiB")


@many
@given(content=st.binary(min_size=1, max_size=400), suffix=st.sampled_from(SUFFIXES), zipped=st.booleans())
def test_random_bytes_are_refused(tmp_path: Path, content: bytes, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"PK\x03\x04" * zipped + content)
    assert mistake(lambda: read_tensors(path)).code == "E0401"


@many
@given(data=st.data(), suffix=st.sampled_from((*SUFFIXES, ".old")))
def test_a_file_cut_short_is_refused(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".old":
        path = tmp_path / "w.pt"
        torch.save(initial_tensors(SMALL, seed=1), path, _use_new_zipfile_serialization=False)
    else:
        save_tensors(path, initial_tensors(SMALL, seed=1))
    content = path.read_bytes()
    assert len(read_tensors(path)) == len(SMALL)
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert mistake(lambda: read_tensors(path)).code == "E0401"


@many
@given(data=st.data(), suffix=st.sampled_from(SUFFIXES))
def test_changed_bytes_never_end_in_a_traceback(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    save_tensors(path, initial_tensors(SMALL, seed=1))
    content = bytearray(path.read_bytes())
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    codes = set()
    try:
        match(SMALL, read_tensors(path), source=path.name)
    except CnnError as error:
        codes = {found.code for found in error.diagnostics}
    assert codes <= {"E0401", "E0402", "E0403", "E0404", "E0406"}


def test_writing_where_it_cannot_be(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "no" / "w.pt", "No such file or directory"),
        (tmp_path / "w.txt", "unknown format `.txt`"),
    ):
        found = mistake(lambda path=path: save_tensors(path, {"a": torch.ones(1)}))
        assert (found.code, found.message) == ("E0421", f"cannot write {path}: {reason}")


# --- random weights ----------------------------------------------------------------------------------


def test_initial_tensors_follow_their_laws() -> None:
    laws = {
        "weight": TensorSpec((64, 64, 3, 3), "weight", 576),
        "bias": TensorSpec((4096,), "bias", 16),
        "scale": TensorSpec((4096,), "scale"),
        "shift": TensorSpec((4096,), "shift"),
        "mean": TensorSpec((4096,), "mean"),
        "variance": TensorSpec((4096,), "variance"),
    }
    drawn = initial_tensors(laws, seed=7)
    assert {name: tuple(t.shape) for name, t in drawn.items()} == {n: s.shape for n, s in laws.items()}
    assert all(tensor.dtype == torch.float32 for tensor in drawn.values())
    # The deviation of 36864 normal values is known to 0.37 %; fan_out or a missing factor of 2 are 41 % off,
    # and Kaiming's uniform weights have no value beyond 1.74 deviations.
    scaled = drawn["weight"] / (2 / 576) ** 0.5
    assert abs(scaled.std().item() - 1) < 0.02
    assert abs(scaled.mean().item()) < 0.02
    assert 3.5 < scaled.abs().max().item() < 6
    for name, low, high in (
        ("bias", -0.25, 0.25),
        ("scale", 0.9, 1.1),
        ("shift", -0.1, 0.1),
        ("mean", -0.1, 0.1),
        ("variance", 0.8, 1.2),
    ):
        least, most = drawn[name].min().item(), drawn[name].max().item()
        # Of 4096 values the extremes come within 0.3 % of the ends, but for one seed in a hundred thousand.
        assert low - 1e-6 <= least < low + 0.003 * (high - low)
        assert high - 0.003 * (high - low) < most <= high + 1e-6


def test_a_layer_keeps_its_values_whatever_the_others() -> None:
    alone = initial_tensors({"fc.bias": bias(5)}, seed=1)["fc.bias"]
    assert torch.equal(initial_tensors(SMALL, seed=1)["fc.bias"], alone)
    assert not torch.equal(initial_tensors(SMALL, seed=2)["fc.bias"], alone)
    assert not torch.equal(initial_tensors({"fd.bias": bias(5)}, seed=1)["fd.bias"], alone)
    torch.manual_seed(5)
    before = torch.initial_seed(), torch.get_rng_state()
    initial_tensors(SMALL, seed=1)
    assert (torch.initial_seed(), torch.get_rng_state().tolist()) == (before[0], before[1].tolist())
