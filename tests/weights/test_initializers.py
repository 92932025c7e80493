"""ONNX's initializers, held against the `onnx` package."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mistakes import mistake
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from cnndsl.exchange.onnx import read_initializers
from cnndsl.weights.onnx import open_initializers
from cnndsl.weights.reading import open_weights

RNG = np.random.default_rng(7)


def model(*tensors: TensorProto) -> onnx.ModelProto:
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    return helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [y], list(tensors)))


def write(path: Path, *tensors: TensorProto) -> Path:
    path.write_bytes(model(*tensors).SerializeToString())
    return path


def reason(path: Path) -> str:
    found = mistake(lambda: read_initializers(path))
    assert found.code == "E0401"
    return found.message.removeprefix(f"cannot read the weights {path}: ")


TYPES = [
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.UINT8,
    TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT32, TensorProto.UINT64, TensorProto.BOOL,
]  # fmt: skip


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("kind", TYPES, ids=[TensorProto.DataType.Name(t) for t in TYPES])
def test_every_type_in_both_forms(tmp_path: Path, kind: int, raw: bool) -> None:
    low = 0 if kind in {TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64} else -3
    type_ = helper.tensor_dtype_to_np_dtype(kind)
    array = RNG.integers(low, 90, (2, 3)).astype(type_)
    if raw:
        tensor = helper.make_tensor("t", kind, (2, 3), array.tobytes(), raw=True)
    else:
        tensor = helper.make_tensor("t", kind, (2, 3), array.ravel().tolist())
    path = write(tmp_path / "w.onnx", tensor)
    read = read_initializers(path)["t"]
    oracle = numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    assert str(read.dtype).removeprefix("torch.") == oracle.dtype.name
    assert read.double().tolist() == oracle.astype(np.float64).tolist() == array.astype(np.float64).tolist()


def test_names_order_and_empty_shapes(tmp_path: Path) -> None:
    arrays = {"b": RNG.random((3, 2)), "a": np.float32(4.0), "none": np.empty((0, 3), np.float32)}
    path = write(tmp_path / "w.onnx", *(numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()))
    read = read_initializers(path)
    assert {name: tuple(tensor.shape) for name, tensor in read.items()} == {"b": (3, 2), "a": (), "none": (0, 3)}
    assert list(read) == list(arrays)
    assert torch.equal(read["b"], torch.from_numpy(arrays["b"]))


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    path = write(
        tmp_path / "w.onnx",
        numpy_helper.from_array(RNG.random((2, 2)).astype(np.float32), "fc.weight"),
        numpy_helper.from_array(np.array([1, -1]), "shape"),
    )
    contents = open_weights(path)
    assert list(contents.tensors) == ["fc.weight"]
    assert contents.notes == ("1 tensor of whole numbers left out",)
    assert list(open_initializers(path).tensors) == ["fc.weight", "shape"]


def test_external_data(tmp_path: Path) -> None:
    arrays = {f"t{i}": RNG.random((40, 3)).astype(np.float32) for i in range(3)}
    made = model(*(numpy_helper.from_array(array, name) for name, array in arrays.items()))
    (tmp_path / "below").mkdir()
    convert_model_to_external_data(made, location="below/w.data", size_threshold=0)
    onnx.save(made, tmp_path / "w.onnx")
    assert (tmp_path / "below" / "w.data").stat().st_size > 1400
    read = read_initializers(tmp_path / "w.onnx")
    assert all(torch.equal(read[name], torch.from_numpy(array)) for name, array in arrays.items())


def beside(**entries: str) -> TensorProto:
    """A tensor [4] of float32 whose bytes are elsewhere."""
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_external_data_stay_below_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path / "secret", folder / "data", folder / "sub" / "data"):
        place.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path)
    path = folder / "w.onnx"
    for location in ("data", "sub/data", "./data", "sub/../data"):
        assert read_initializers(write(path, beside(location=location)))["t"].tolist() == [0, 1, 2, 3]
    secret = str(tmp_path / "secret")
    outside = ("../secret", secret, "link", "up/secret", "sub/../../secret", "/etc/hostname", "", ".", "a\0b")
    for location in outside:
        write(path, beside(location=location))
        expected = f"its tensor `t` lies in `{location}`, which is not below the folder of the file"
        assert reason(path) == expected, location
    write(path, beside(location="missing"))
    assert reason(path).endswith("there is no such file")


@pytest.mark.parametrize(
    "entries", [{"offset": "4"}, {"offset": "-4"}, {"length": "8"}, {"length": "99999999999999"}, {"offset": "1" * 30}]
)
def test_external_data_that_are_not_there(tmp_path: Path, entries: dict[str, str]) -> None:
    (tmp_path / "data").write_bytes(bytes(16))
    assert read_initializers(write(tmp_path / "w.onnx", beside(location="data")))["t"].shape == (4,)
    path = write(tmp_path / "w.onnx", beside(location="data", **entries))
    assert reason(path).startswith("its tensor `t` lies at ")
    assert reason(path).endswith("which has 16; its shape needs 16")


def test_offsets_that_are_no_numbers(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(16))
    path = write(tmp_path / "w.onnx", beside(location="data", offset="zero"))
    assert "at an offset or with a length that is no number" in reason(path)


def test_shapes_that_are_not_held(tmp_path: Path) -> None:
    good = numpy_helper.from_array(np.zeros((2, 3), np.float32), "t")
    assert read_initializers(write(tmp_path / "w.onnx", good))["t"].shape == (2, 3)
    for dims in ([1 << 40], [2, 4], [6, 0], [1 << 60, 1 << 60], [-2, -3]):
        bad = TensorProto.FromString(good.SerializeToString())
        del bad.dims[:]
        bad.dims.extend(dims)
        assert reason(write(tmp_path / "w.onnx", bad)).startswith("its tensor `t` ")
    short = helper.make_tensor("t", TensorProto.INT32, (3,), [1, 2, 300])
    short.dims[0] = 4  # three numbers, in four bytes
    path = write(tmp_path / "w.onnx", short)
    assert reason(path) == "its tensor `t` does not hold what its shape [4] says"


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    for content in (b"x", b"\x08\x07", bytes(40), model().SerializeToString()[:-3]):
        path.write_bytes(content)
        assert reason(path) == "it is damaged, or not an ONNX file"
    double = numpy_helper.from_array(np.zeros(2), "t")
    assert reason(write(path, double, double)) == "two of its tensors are called `t`"
    assert reason(write(path, TensorProto(name="t", data_type=8, dims=[1], string_data=[b"x"]))) == (
        "its tensor `t` is of the unknown type 8"
    )
