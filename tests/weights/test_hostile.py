"""Files made to do harm: each ends in a sentence, with nothing run and next to no memory taken."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caffe_files import by_hand, floats, number, piece, varint
from mistakes import mistake
from test_darknet import head

from cnndsl.weights import checkpoints
from cnndsl.weights.reading import open_weights, read_tensors

HERE = Path(__file__).parent

NET = "network Net { input x [3] fc: dense(2) }"

HUGE = 1 << 40


# --- Protocol Buffers ----------------------------------------------------------------------------


def caffe_that_claims() -> bytes:
    shape = piece(7, piece(1, varint(HUGE)))
    return by_hand("fc", "InnerProduct", shape + piece(5, floats([1, 2])))


def caffe_with_a_long_field() -> bytes:
    """Values that go on behind the end of the file."""
    return by_hand("fc", "InnerProduct", piece(7, piece(1, varint(HUGE))))[:-2] + varint(5 << 3 | 2) + varint(4 * HUGE)


def nested(field: int) -> bytes:
    """Messages within messages, thirty thousand deep."""
    heads: list[bytes] = []
    length = 0
    for _ in range(30_000):
        heads.append(varint(field << 3 | 2) + varint(length))
        length += len(heads[-1])
    return b"".join(reversed(heads))


def onnx_of(*tensor: bytes) -> bytes:
    return number(1, 8) + piece(7, piece(5, b"".join(tensor))) + piece(8, number(2, 17))


def onnx_that_claims() -> bytes:
    return onnx_of(piece(8, "fc.weight"), number(2, 1), number(1, HUGE), piece(9, b"1234"))


def onnx_of_packed_numbers() -> bytes:
    """Half floats as numbers of variable length, of which there are far fewer than the shape has."""
    return onnx_of(piece(8, "fc.weight"), number(2, 10), number(1, HUGE), piece(5, b"\x01" * 100))


# --- archives ------------------------------------------------------------------------------------


def npy_head(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def bomb(path: Path, *, claimed: int, shape: tuple[int, ...]) -> None:
    """An array of `shape` that unpacks to 4 GiB of zeros, of which the archive's list tells `claimed` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packer.compress(npy_head(shape)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = again.compress(bytes(32 << 20)) + again.flush(zlib.Z_FULL_FLUSH)
    stream += block * 128
    name = b"fc.weight.npy"
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(stream), claimed, len(name), 0) + name
    central = struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(stream), claimed, len(name), 0, 0, 0, 0, 0, 0
    )
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central) + len(name), len(local) + len(stream), 0)
    path.write_bytes(local + stream + central + name + end)


def honest_bomb(path: Path) -> None:
    count = 1 << 30
    bomb(path, claimed=(1 << 32) - 2048, shape=(count - 512 - len(npy_head((count,))) // 4,))


def lying_bomb(path: Path) -> None:
    """It says 24 bytes of values, and unpacks to 4 GiB."""
    bomb(path, claimed=len(npy_head((2, 3))) + 24, shape=(2, 3))


def zeros(path: Path) -> None:
    """320 MiB that an archive may have, and no network asks for."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("fc.bias.npy", "w") as member:
            member.write(npy_head((2,)) + bytes(8))
        with archive.open("fc.weight.npy", "w", force_zip64=True) as member:
            member.write(npy_head((80 << 20,)))
            for _ in range(80):
                member.write(bytes(4 << 20))


def many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(20_001):
            archive.writestr(f"{i}.npy", b"")


# --- safetensors ---------------------------------------------------------------------------------


def table(header: object, *, length: int | None = None, values: int = 24) -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + bytes(values)


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


TABLES = {
    "too_long": table({"a": entry([6], 0, 24)}, length=1 << 62),
    "longer_than_the_file": table({"a": entry([6], 0, 24)}, length=200),
    "huge_shape": table({"a": entry([HUGE], 0, 24)}),
    "huge_shapes": table({"a": entry([1 << 62, 1 << 62], 0, 24)}),
    "behind_the_end": table({"a": entry([HUGE], 0, 4 * HUGE)}),
    "backwards": table({"a": entry([6], 24, 0)}),
    "overlapping": table({"a": entry([6], 0, 24), "b": entry([6], 0, 24)}),
    "hole": table({"a": entry([3], 12, 24)}),
    "unknown_type": table({"a": entry([6], 0, 24, "F31")}),
    "negative": table({"a": entry([-6], 0, 24)}),
    "deep": table(b"[" * 100_000),
    "deep_object": table(b'{"a":' * 100_000),
    "no_table": table(b"123"),
    "list": table([1, 2, 3]),
    "too_broad": table(b'{"a":[' + b"[]," * 2_000_000 + b"[]]}"),
    "broad": table(b'{"a":[' + b"[]," * 1_300_000 + b"[]]}"),
    "many": table({f"t{i}": entry([0], 0, 0) for i in range(20_001)}, values=0),
}


# --- torch ---------------------------------------------------------------------------------------


def torch_with_dictionaries(path: Path) -> None:
    """Twenty million empty dictionaries, a byte each, would take a gigabyte."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02" + b"}" * 20_000_000 + b".")
        archive.writestr("w/version", b"3\n")


def old_torch_with_dictionaries(path: Path) -> None:
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    starts = content.index(b"\x80\x02}")  # the pickle of tensors, behind those of the versions
    path.write_bytes(content[:starts] + b"\x80\x02" + b"}" * 20_000_000 + b"." + content[starts:])


def old_torch_that_claims(path: Path) -> None:
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    # In the pickle of tensors, and before the values: how many there are.
    many = b"\x8a\x06" + HUGE.to_bytes(6, "little")
    for before, after in ((b"cpuq\x06K\x03", b"cpuq\x06" + many), (b"\x03" + bytes(7), HUGE.to_bytes(8, "little"))):
        assert content.count(before) == 1
        content = content.replace(before, after)
    path.write_bytes(content)


def torch_that_repeats(path: Path) -> None:
    """One value, 2^40 times."""
    torch.save({"fc.weight": torch.ones(1).expand(HUGE), "fc.bias": torch.ones(2)}, path)


# --- all of them, with little memory -------------------------------------------------------------


FILES: dict[str, Callable[[Path], object]] = {
    "claims.caffemodel": lambda p: p.write_bytes(caffe_that_claims()),
    "long.caffemodel": lambda p: p.write_bytes(caffe_with_a_long_field()),
    "nested.caffemodel": lambda p: p.write_bytes(piece(100, piece(7, nested(7)))),
    "nested_layers.caffemodel": lambda p: p.write_bytes(nested(100)),
    "unknown_nested.caffemodel": lambda p: p.write_bytes(nested(999)),
    "groups.caffemodel": lambda p: p.write_bytes(varint(7 << 3 | 3) * 200_000),
    "empty_layers.caffemodel": lambda p: p.write_bytes(piece(100, b"") * 3_000_000),
    "blobs.caffemodel": lambda p: p.write_bytes(piece(100, piece(7, b"") * 3_000_000)),
    "single_values.caffemodel": lambda p: p.write_bytes(by_hand("a", "X", (varint(45) + bytes(4)) * 2_000_000)),
    "names.caffemodel": lambda p: p.write_bytes(piece(100, piece(1, "a" * 50_000_000))),
    "claims.onnx": lambda p: p.write_bytes(onnx_that_claims()),
    "packed.onnx": lambda p: p.write_bytes(onnx_of_packed_numbers()),
    "nested.onnx": lambda p: p.write_bytes(piece(7, nested(5))),
    "tensors.onnx": lambda p: p.write_bytes(number(1, 8) + piece(7, piece(5, number(2, 1)) * 3_000_000)),
    "dims.onnx": lambda p: p.write_bytes(onnx_of(piece(8, "a"), number(2, 1), number(1, 1) * 3_000_000)),
    "unnamed": lambda p: p.write_bytes(nested(100)),
    "bomb.npz": honest_bomb,
    "lie.npz": lying_bomb,
    "zeros.npz": zeros,
    "members.npz": many_members,
    **{f"{name}.safetensors": lambda p, c=content: p.write_bytes(c) for name, content in TABLES.items()},
    "dictionaries.pt": torch_with_dictionaries,
    "old_dictionaries.pt": old_torch_with_dictionaries,
    "claims.pt": old_torch_that_claims,
    "repeats.pt": torch_that_repeats,
    "sparse.weights": lambda p: (p.write_bytes(head()), os.truncate(p, HUGE)),
    "sparse.caffemodel": lambda p: (p.write_bytes(caffe_that_claims()), os.truncate(p, HUGE)),
    "sparse.onnx": lambda p: (p.write_bytes(onnx_that_claims()), os.truncate(p, HUGE)),
    "sparse.safetensors": lambda p: (p.write_bytes(TABLES["huge_shape"]), os.truncate(p, HUGE)),
    "sparse.pt": lambda p: (p.write_bytes(b"\x80\x02"), os.truncate(p, HUGE)),
    "sparse.npz": lambda p: (p.write_bytes(b"PK\3\4"), os.truncate(p, HUGE)),
}

WHY = {
    "claims.caffemodel": f"blob 0 of its layer `fc` claims the shape [{HUGE}] and has 2 values",
    "empty_layers.caffemodel": "it has more than 20,000 layers",
    "blobs.caffemodel": "it has more than 300,000 fields",
    "claims.onnx": f"its tensor `fc.weight` does not hold what its shape [{HUGE}] says",
    "packed.onnx": f"its tensor `fc.weight` does not hold what its shape [{HUGE}] says",
    "bomb.npz": "its arrays take 4095 MiB, the limit is 1024 MiB",
    "lie.npz": "it is damaged, or not a file of numpy.savez",
    "members.npz": "it holds more than 20,000 arrays",
    "too_broad.safetensors": "(its table claims 6,000,010 bytes)",
    "many.safetensors": "it holds more than 20,000 tensors",
    "dictionaries.pt": "it has more than 16 MiB beside its tensors",
    "old_dictionaries.pt": "it has more than 16 MiB beside its tensors",
    "repeats.pt": f"`fc.weight` claims {HUGE:,} values, far more than the file has",
}
"""What is said of some, at the end of the message. That the others are refused is what counts."""


def test_hostile_files_take_no_memory(tmp_path: Path) -> None:
    for name, write in FILES.items():
        write(tmp_path / name)
    torch.save({"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}, tmp_path / "good.pt")
    names = [*FILES, "good.pt"]
    done = subprocess.run(
        [sys.executable, HERE / "hostile_worker.py", NET, *(str(tmp_path / name) for name in names)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {Path(each["path"]).name: each for each in map(json.loads, done.stdout.splitlines())}
    assert list(found) == names
    for name in FILES:
        each = found[name]
        expected = {"zeros.npz": "E0404", "sparse.weights": "E0408"}.get(name, "E0401")
        assert each["code"] == expected, each
        assert each["message"].endswith(WHY.get(name, "")), each
    assert found["good.pt"]["code"] == ""  # memory is enough for what is none of them
    grown = max(each["grown"] for each in found.values())
    assert grown < 100 << 10, {name: each["grown"] for name, each in found.items()}


# --- code ----------------------------------------------------------------------------------------


class Mischief:
    """Unpickling one makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w", "w.bin", "w.ckpt", "w.npz", "w.caffemodel", "w.onnx"])
def test_no_pickle_runs_under_any_name(tmp_path: Path, name: str) -> None:
    target = tmp_path / "run"
    for content in ({"a": Mischief(target)}, OrderedDict(state_dict={"a": torch.ones(1), "b": Mischief(target)})):
        torch.save(content, tmp_path / name)
        assert mistake(lambda: read_tensors(tmp_path / name)).code == "E0401"
        (tmp_path / name).write_bytes(pickle.dumps(content))
        assert mistake(lambda: read_tensors(tmp_path / name)).code == "E0401"
        assert not target.exists()
    pickle.loads((tmp_path / name).read_bytes())
    assert target.exists()  # where nothing refuses it, it runs


def test_the_limits_leave_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them refuses from its number on, and not before."""
    torch.save({f"layer{i}.weight": torch.ones(3) for i in range(50)}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as archive:
        size = next(r.file_size for r in archive.infolist() if r.filename.endswith("/data.pkl"))
    monkeypatch.setattr(checkpoints, "MAX_PICKLE", size)
    assert len(open_weights(tmp_path / "w.pt").tensors) == 50
    monkeypatch.setattr(checkpoints, "MAX_PICKLE", size - 1)
    assert mistake(lambda: open_weights(tmp_path / "w.pt")).message.endswith("0 MiB beside its tensors")
