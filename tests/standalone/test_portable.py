"""The parts of the program that every build carries: what it imports, its files, its choice of a device."""

import ast
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import cnndsl.portable
from cnndsl.portable.runtime import loading, pictures, tensors
from cnndsl.portable.runtime.about import About, Target
from cnndsl.portable.runtime.mistakes import Mistake, Unfit, Unreadable

many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

PORTABLE = Path(cnndsl.portable.__file__).parent


def test_it_imports_nothing_but_torch_triton_and_what_they_bring() -> None:
    """NumPy for Triton's interpreter, which is made of it; Pillow where a picture is read."""
    allowed = {
        "loading.py": {"torch", "triton", "numpy"}, "precompiled.py": {"triton"}, "tensors.py": {"torch"},
        "pictures.py": {"torch", "PIL"}, "command.py": {"torch"}, "__init__.py": {"torch"},
    }  # fmt: skip
    for path in PORTABLE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            roots = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
            assert roots <= allowed.get(path.name, set()), path


# --- files of tensors --------------------------------------------------------------------------------

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def some(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_what_is_written_is_read(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = some(dtype, *shape)
    for suffix in (".safetensors", ".npy", ".pt"):
        if (suffix, dtype) == (".npy", torch.bfloat16):
            continue
        path = tmp_path / f"x{suffix}"
        tensors.save_tensors(path, {"main": x})
        back = tensors.load_tensor(path, key="x")
        assert (back.dtype, back.shape) == (dtype, x.shape)
        assert torch.equal(back, x)
    assert list(tmp_path.glob(".*")) == []


def test_others_read_what_is_written(tmp_path: Path) -> None:
    values = {"b": some(torch.float16, 3), "a": some(torch.float32, 2, 2).T, "c": some(torch.bfloat16, 5)}
    tensors.save_tensors(tmp_path / "x.safetensors", values)
    back = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert {name: torch.equal(t, values[name]) for name, t in back.items()} == {"a": True, "b": True, "c": True}
    tensors.save_tensors(tmp_path / "x.npy", {"a": values["a"]})
    assert np.array_equal(np.load(tmp_path / "x.npy"), values["a"].numpy())
    tensors.save_tensors(tmp_path / "c.npy", {"c": values["c"]})
    assert np.array_equal(np.load(tmp_path / "c.npy"), values["c"].float().numpy())
    tensors.save_tensors(tmp_path / "x.pt", values)
    assert torch.load(tmp_path / "x.pt", weights_only=True)["a"].equal(values["a"])


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpys_files_are_read(tmp_path: Path, version: tuple[int, int], order: str) -> None:
    array = np.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)).astype("<f4"), order=order)
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version=version)
    assert np.array_equal(tensors.load_tensor(tmp_path / "x.npy", key="x").numpy(), array)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.npy", b"not an array", "it is not a file of numpy.save"),
        ("x.npy", None, "there is no such file"),
        ("x.npy", b"", "it is empty"),
        ("x.safetensors", b"short", "it is not a safetensors file, or cut short"),
        ("x.safetensors", b"\xff" * 64, "it is not a safetensors file, or cut short"),
        ("x.safetensors", b"\x02" + b"\0" * 7 + b"[]", "it is not a safetensors file: its table is none"),
        ("x.safetensors", b"\x02" + b"\0" * 7 + b"{]", "it is not a safetensors file: its table cannot be read"),
        ("x.safetensors", b"\x02" + b"\0" * 7 + b"{}", "it holds 0 tensors, and none is named `x`, as the input is"),
        ("x.pt", b"no zip", "it is damaged, or holds more than tensors"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Unreadable) as caught:
        tensors.load_tensor(path, key="x")
    assert caught.value.message == f"cannot read the tensor {path}: {reason}"


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (npy(np.zeros(3, ">f4")), "its elements are of type '>f4'"),
        (npy(np.zeros(3, "c8")), "its elements are of type '<c8'"),
        (npy(np.zeros(3, "f4"))[:-1], "its size is another than its header says"),
        (npy(np.zeros(3, "f4")).replace(b"(3,)", b"(9,)"), "its size is another than its header says"),
        (npy(np.zeros(3, "f4")).replace(b"(3,)", b"-300"), "its size is another than its header says"),
        (npy(np.zeros(3, "f4")).replace(b"(3,)", b"(-3,"), "its header cannot be read"),
        (npy(np.array([None])), "its elements are of type '|O'"),
    ],
)
def test_arrays_that_are_refused(tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(Unreadable, match=r"cannot read the tensor") as caught:
        tensors.load_tensor(tmp_path / "x.npy", key="x")
    assert part in caught.value.message


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-4, 4]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0]},
        {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]},
        {"dtype": "X", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]},
        {"shape": [2]},
        3,
    ],
)
def test_tables_that_claim_what_is_not_there(tmp_path: Path, entry: object) -> None:
    import json

    def written(what: object) -> Path:
        text = json.dumps({"x": what}).encode()
        (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        return tmp_path / "x.safetensors"

    with pytest.raises(Unreadable):
        tensors.load_tensor(written(entry), key="x")
    right = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assert tensors.load_tensor(written(right), key="x").tolist() == [0, 0]


@many
@given(st.binary(max_size=200), st.sampled_from((".npy", ".safetensors", ".pt")), st.booleans())
def test_random_bytes_are_refused(tmp_path: Path, content: bytes, suffix: str, headed: bool) -> None:
    head = {".npy": b"\x93NUMPY\x01\x00", ".safetensors": len(content).to_bytes(8, "little"), ".pt": b"PK\x03\x04"}
    path = tmp_path / f"x{suffix}"
    path.write_bytes(head[suffix] + content if headed else content)
    with pytest.raises(Unreadable):
        tensors.load_tensor(path, key="x")


def test_where_tensors_cannot_be_written(tmp_path: Path) -> None:
    x = {"a": torch.zeros(1), "b": torch.zeros(1)}
    for name, reason in {
        "out.txt": "tensors are written as .safetensors, .npy, .pt, .pth",
        "out.npy": "a .npy file holds one array",
        "no/where.pt": f"there is no folder {tmp_path}/no",
    }.items():
        with pytest.raises(Unfit) as caught:
            tensors.save_tensors(tmp_path / name, x)
        assert caught.value.message == f"cannot write {tmp_path / name}: {reason}"
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(Unfit, match="it is a folder"):
        tensors.save_tensors(tmp_path / "folder.pt", x)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.pt"]


def test_all_greys_of_sixteen_bits(tmp_path: Path) -> None:
    """Rounded to eight: 65535 / 255 is 257."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "p.png")
    made = pictures.load_picture(tmp_path / "p.png", shape=(256, 256, 1), range=255)
    assert np.array_equal(made[0].numpy().astype(np.int64), (values.astype(np.int64) + 128) // 257)


# --- weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"c.bias": torch.zeros(2)}, "lacks `c.weight`: it belongs to another network"),
        ({"c.weight": torch.zeros(3).half()}, "`c.weight` of {p} is [3] in torch.float16, but the kernels read [2]"),
        ({"c.weight": torch.zeros(2)}, "`c.weight` of {p} is [2] in torch.float32, but the kernels read [2] in torch"),
        ({"c.weight": torch.zeros(2).half(), "c.bias": torch.zeros(2).half()}, "`c.bias` of {p} is [2] in torch.fl"),
    ],
)
def test_weights_of_something_else(tmp_path: Path, found: dict[str, torch.Tensor], message: str) -> None:
    path = tmp_path / "weights.safetensors"
    tensors.save_tensors(path, found)
    shapes = {"c.weight": (2,), "c.bias": (2,)}
    with pytest.raises(Unfit) as caught:
        loading._weights(path, shapes, torch.float16, device=torch.device("cpu"))
    assert message.format(p=path) in caught.value.message
    tensors.save_tensors(path, {"c.weight": torch.zeros(2).half(), "c.bias": torch.zeros(2)})
    assert set(loading._weights(path, shapes, torch.float16, device=torch.device("cpu"))) == set(shapes)


# --- devices -----------------------------------------------------------------------------------------

TARGETS = {
    "interpreter": Target("interpreter", "interpreter", None, 0),
    "sm_80": Target("sm_80", "cuda", 80, 163 << 10),
    "sm_86": Target("sm_86", "cuda", 86, 99 << 10),
    "sm_90": Target("sm_90", "cuda", 90, 227 << 10),
    "sm_100": Target("sm_100", "cuda", 100, 227 << 10),
    "gfx942": Target("gfx942", "hip", "gfx942", 64 << 10),
}


def about(*names: str) -> About:
    return About("Net", "fp16", 1, (), (), tuple(TARGETS[name] for name in (*names, "interpreter")))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    """Puts a GPU into this machine: ``gpu(90, shared_kib=227)`` or ``gpu("gfx942")``."""

    def put(arch: int | str, *, shared_kib: int = 227) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.version, "hip", "6.0" if isinstance(arch, str) else None)
        monkeypatch.setattr(loading, "_wants_interpreter", lambda: False)
        major, minor = divmod(arch, 10) if isinstance(arch, int) else (9, 4)
        properties = SimpleNamespace(
            name="Some GPU", major=major, minor=minor, gcnArchName=f"{arch}:sramecc+:xnack-",
            shared_memory_per_block_optin=shared_kib << 10,
        )
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)

    return put


@pytest.mark.parametrize(
    ("arch", "shared_kib", "built", "expected"),
    [
        (90, 227, ("sm_80", "sm_90"), "sm_90"),
        (90, 227, ("sm_90", "sm_80"), "sm_90"),
        (80, 163, ("sm_80", "sm_90"), "sm_80"),
        (89, 99, ("sm_80", "sm_86"), "sm_86"),
        (89, 99, ("sm_80",), None),  # its kernels need more shared memory than there is
        (120, 99, ("sm_86", "sm_90", "sm_100"), "sm_86"),
        (103, 227, ("sm_90", "sm_100"), "sm_100"),
        (75, 64, ("sm_80",), None),
        (90, 227, ("gfx942",), None),
        (90, 227, (), None),
        ("gfx942", 64, ("sm_80", "gfx942"), "gfx942"),
        ("gfx90a", 64, ("sm_80", "gfx942"), None),
    ],
)
def test_the_kernels_that_fit(gpu, arch, shared_kib: int, built: tuple[str, ...], expected: str | None) -> None:
    gpu(arch, shared_kib=shared_kib)
    device, target, note = loading.choose(about(*built), None)
    if expected is not None:
        assert (str(device), target.name, note) == ("cuda:0", expected, None)
        assert loading.choose(about(*built), "cuda")[1].name == expected
        return
    name = arch if isinstance(arch, str) else f"sm_{arch}"
    listed = ", ".join((*built, "interpreter"))
    reason = f"this folder has kernels for {listed}, and none for the Some GPU ({name}) here"
    assert (str(device), target.name) == ("cpu", "interpreter")
    assert note == f"{reason}; running in Triton's interpreter on the CPU"
    with pytest.raises(Mistake) as caught:
        loading.choose(about(*built), "cuda:0")
    assert caught.value.message == reason


def test_devices_by_name(gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(90)
    assert loading.choose(about("sm_90"), "cpu")[:2] == (torch.device("cpu"), TARGETS["interpreter"])
    assert loading.choose(about("sm_90"), "auto")[1].name == "sm_90"
    for device, message in {
        "cuda:1": "there is no GPU 1: 1 found, counted from 0",
        "gpu": "there is no device `gpu`",
        "meta": "kernels run on cpu and cuda, not on `meta`",
    }.items():
        with pytest.raises(Mistake) as caught:
            loading.choose(about("sm_90"), device)
        assert caught.value.message == message
    monkeypatch.setattr(loading, "_wants_interpreter", lambda: True)
    assert loading.choose(about("sm_90"), None) == (torch.device("cpu"), TARGETS["interpreter"], None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert loading.choose(about("sm_90"), None) == (torch.device("cpu"), TARGETS["interpreter"], None)
    with pytest.raises(Mistake, match="PyTorch finds no GPU here"):
        loading.choose(about("sm_90"), "cuda")


def test_triton_for_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__spec__=SimpleNamespace(name="triton")))
    for wanted, way in {True: "set TRITON_INTERPRET=1", False: "unset TRITON_INTERPRET"}.items():
        monkeypatch.setattr(loading, "_imported_for_interpreter", lambda have=not wanted: have)
        with pytest.raises(Mistake, match="this process has Triton set up for") as caught:
            loading.set_up_triton(interpreter=wanted)
        assert caught.value.help[0].startswith(way)


@pytest.mark.parametrize("name", ["triton", "numpy"])
def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    find = loading.importlib.util.find_spec
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda each: None if each == name else find(each))
    with pytest.raises(Mistake, match=f"needs {name}, which is not installed"):
        loading.set_up_triton(interpreter=True)
