"""What no layer computes is an error that says so, and nothing is put in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cnndsl.errors import CnnError, Diagnostic
from cnndsl.exchange.onnx import read_onnx
from tests.exchange.onnx_graphs import const, model, node, read, run_theirs, saved, weight


def refused(made: onnx.ModelProto, folder: Path, **options: object) -> tuple[Diagnostic, ...]:
    """The mistakes of a model that cannot be imported."""
    with pytest.raises(CnnError) as caught:
        read(made, folder, **options)
    return caught.value.diagnostics


def only(made: onnx.ModelProto, folder: Path, **options: object) -> Diagnostic:
    (found,) = refused(made, folder, **options)
    return found


def test_every_unknown_operator_is_told_at_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("InstanceNormalization", ["x", "w", "w"], ["a"], name="norm"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Blur", ["b"], ["c"], name="blur", domain="com.example"),
        helper.make_node("Resize", ["c", "", "s"], ["d"], name="up"),
        helper.make_node("LogSoftmax", ["d"], ["e"], name="log"),
        helper.make_node("ReLu", ["e"], ["y"], name="relu2"),
    ]
    made = model(nodes, (2, 3, 4), weight("w", 2), const("s", [1, 1, 2, 2], np.float32))
    made.opset_import.append(helper.make_opsetid("com.example", 1))
    found = refused(made, tmp_path)
    path = tmp_path / "small.onnx"
    start = f"cannot import {path}: operator "
    assert [d.code for d in found] == ["E0811"] * 5
    assert [d.message.removeprefix(start) for d in found] == [
        "InstanceNormalization, node `norm`, is not in the language",
        "Blur of the domain `com.example`, node `blur`, is not in the language",
        "Resize, node `up`, is not in the language",
        "LogSoftmax, node `log`, is not in the language",
        "ReLu, node `relu2`, is not in the language",
    ]
    assert [d.help for d in found] == [
        ("the nearest layer is `batchnorm`",),
        ("docs/layers.md lists the layers, and none is near",),
        (),
        ("the nearest layer is `softmax`",),
        ("the nearest operator that is read is Relu",),
    ]
    assert found[2].notes == ("no layer makes a map larger",)


def test_what_nobody_reads_may_be_anything(tmp_path: Path) -> None:
    nodes = [node("Relu", "x"), node("LogSoftmax", "x", "z")]
    read(model(nodes, (2, 3, 4)), tmp_path)


W3 = weight("w", 3, 2, 2, 2)

FORMS: dict[str, tuple[list[onnx.NodeProto], tuple[int, ...], list[onnx.TensorProto], str]] = {
    "one axis": ([node("Conv", "x v")], (2, 5, 1), [weight("v", 3, 2, 2)], "has a weight of shape (3, 2, 2)"),
    "kernel_shape": (
        [node("Conv", "x w", kernel_shape=[3, 3])], (2, 5, 5), [W3],
        "has a weight of 2x2, but kernel_shape",
    ),
    "made weight": ([node("Conv", "x x")], (2, 5, 5), [], "computes its weight while the network runs"),
    "negative pads": ([node("Conv", "x w", pads=[-1, 0, 0, 0])], (2, 5, 5), [W3], "has negative pads (-1, 0, 0, 0)"),
    "zero stride": ([node("Conv", "x w", strides=[0, 1])], (2, 5, 5), [W3], "has strides (0, 1)"),
    "dilated pool": (
        [node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2])], (2, 6, 6), [],
        "takes only some pixels of its windows: dilations (2, 2)",
    ),
    "indices": ([node("MaxPool", "x", "h y", kernel_shape=[2, 2])], (2, 5, 5), [], "also makes the places"),
    "mean of half": (
        [node("AveragePool", "x", kernel_shape=[3, 3], pads=[2, 0, 0, 0])], (2, 6, 6), [],
        "has pads of more than half a window",
    ),
    "SAME beyond": (
        [node("MaxPool", "x", kernel_shape=[1, 1], strides=[3, 3], auto_pad="SAME_UPPER")], (2, 6, 6), [],
        "steps by 3, further than its window, with auto_pad SAME_UPPER: a padding of -2",
    ),
    "even lrn": ([node("LRN", "x", size=4)], (6, 3, 3), [], "has a window of 4 channels"),
    "training": (
        [node("BatchNormalization", "x b b b b", training_mode=1)], (3, 2, 2), [weight("b", 3)], "is in training mode",
    ),
    "hardsigmoid": ([node("HardSigmoid", "x")], (3,), [], "has an alpha of 0.2 and a beta of 0.5"),
    "slopes": ([node("PRelu", "x a")], (3, 2, 2), [weight("a", 3, 1, 1)], "has a slope for each channel"),
    "clip": (
        [node("Clip", "x a b")], (3,), [const("a", -1, np.float32), const("b", 1, np.float32)],
        "clips to -1 and 1",
    ),
    "erf": ([node("Erf", "x")], (3,), [], "is not in the language"),
    "dropout": (
        [node("Dropout", "x r t")], (3,), [const("r", 0.5, np.float32), const("t", True, np.bool_)],
        "is in training mode",
    ),
    "softmax over columns": ([node("Softmax", "x")], (3, 2, 2), [], "normalises along the axes [3] of [N, 3, 2, 2]"),
    "mean of rows": ([node("ReduceMean", "x", axes=[2])], (3, 2, 2), [], "reduces along the axes (2,) of 4"),
    "mean of all": ([node("ReduceMean", "x")], (3, 2, 2), [], "reduces along all axes"),
    "reflected": (
        [node("Pad", "x p", mode="reflect")], (3, 4, 4), [const("p", [0, 0, 1, 1, 0, 0, 1, 1])],
        "in the mode `reflect`",
    ),
    "padded channels": ([node("Pad", "x p")], (3, 4, 4), [const("p", [0, 1, 0, 0, 0, 0, 0, 0])], "pads other axes"),
    "cut": ([node("Pad", "x p")], (3, 4, 4), [const("p", [0, 0, -1, 0, 0, 0, 0, 0])], "has negative pads"),
    "half of the channels": (
        [node("Split", "x", "a b", axis=1), node("Relu", "a")], (4, 2, 2), [], "takes some of the channels",
    ),
    "rows": (
        [node("Slice", "x a b c")], (3, 4, 4), [const("a", [1]), const("b", [3]), const("c", [2])],
        "cuts [N, 3, 4, 4] along axis 2",
    ),
    "transpose": (
        [node("Transpose", "x", perm=[0, 1, 3, 2])], (3, 4, 5), [],
        "transposes [N, 3, 4, 5] by (0, 1, 3, 2)",
    ),
    "batch": ([node("Reshape", "x s")], (3, 4, 5), [const("s", [-1, 20])], "makes "),
    "a map of a vector": (
        [node("Reshape", "x s", "h"), node("Conv", "h w")], (18,), [const("s", [0, 2, 3, 3]), W3],
        "reads [18] reshaped",
    ),
    "wrong weights": (
        [node("Conv", "x w")], (3, 4, 4), [W3],
        "its weight is (3, 2, 2, 2), but conv(3, 2x2, bias=false) needs (3, 3, 2, 2)",
    ),
    "no window": ([node("MaxPool", "x", kernel_shape=[3, 3])], (2, 2, 2), [], "window does not fit"),
    "joined shapes": (
        [node("GlobalAveragePool", "x", "a"), node("Add", "x a")], (2, 3, 3), [],
        "joins tensors of the shapes [N, 2, 3, 3] and [N, 2, 1, 1]",
    ),
    "constant per pixel": (
        [node("Add", "x c")], (2, 3, 3), [weight("c", 3, 3)],
        "computes with a constant of shape [3, 3]",
    ),
    "a constant of more axes": ([node("Add", "x c")], (3,), [weight("c", 1, 1, 1)], "of shape [1, 1, 1] beside [N, 3]"),
    "a slope of more axes": ([node("PRelu", "x c")], (3,), [weight("c", 1, 1, 1)], "of shape [1, 1, 1] beside [N, 3]"),
    "a bound of more axes": ([node("Max", "x c")], (3,), [const("c", [[[0]]], np.float32)], "[1, 1, 1] beside [N, 3]"),
    "an exponent of more axes": ([node("Pow", "x c")], (3,), [const("c", [[[2]]], np.float32)], "[1, 1, 1] beside"),
    "divided": ([node("Sigmoid", "x", "a"), node("Div", "x a")], (3,), [], "divides by a tensor"),
    "product of tensors": ([node("MatMul", "x x")], (3,), [], "computes its weight while the network runs"),
    "turned": ([node("Gemm", "x v", transA=1)], (3,), [weight("v", 1, 2)], "transposes its input"),
    "whole numbers": ([node("Cast", "x", to=TensorProto.INT32)], (3,), [], "casts to INT32"),
    "size of the batch": (
        [node("Shape", "x", "s"), node("Gather", "s i", "n"), node("Cast", "n", "f", to=1), node("Mul", "x f")], (3,),
        [const("i", 0)], "computes with the size of the batch",
    ),
    "constant output": ([node("Identity", "c")], (3,), [weight("c", 2)], "output `y` is a constant"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_forms_that_no_layer_has(tmp_path: Path, name: str) -> None:
    nodes, shape, stored, message = FORMS[name]
    found = refused(model(nodes, shape, *stored, outputs=nodes[-1].output[-1], opset=17), tmp_path)
    assert any(message in d.message for d in found), found
    assert {d.code for d in found} <= {"E0801", "E0811", "E0812", "E0813"}


def test_gelu_by_tanh_is_another_function(tmp_path: Path) -> None:
    found = only(model([node("Gelu", "x", approximate="tanh")], (3,), opset=20), tmp_path)
    assert (found.code, found.help) == ("E0812", ("the nearest layer is `gelu`",))


@pytest.mark.parametrize("opset", [6, 29])
def test_opsets_outside(tmp_path: Path, opset: int) -> None:
    found = only(model([node("Relu", "x")], (3,), opset=opset), tmp_path)
    assert (found.code, found.message.rpartition(": ")[2]) == ("E0815", f"it is written in opset {opset}")


def test_a_shape_that_the_file_declares_otherwise(tmp_path: Path) -> None:
    """A runtime that kept the windows beyond the input would have three columns."""
    made = model([node("MaxPool", "x", kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1)], (2, 7, 7))
    assert run_theirs(made, {"x": np.zeros((1, 2, 7, 7), np.float32)})[0].shape == (1, 2, 3, 3)
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, 4, 4]))
    assert "makes [N, 2, 3, 3], and the file says [?, 2, 4, 4]" in only(made, tmp_path).message


# --- inputs ------------------------------------------------------------------------------------------


def open_model() -> onnx.ModelProto:
    made = model([node("Conv", "x w")], (2, 5, 5), W3)
    dims = made.graph.input[0].type.tensor_type.shape.dim
    for number, name in ((2, "height"), (3, "width")):
        dims[number].ClearField("dim_value")
        dims[number].dim_param = name
    return made


def test_an_open_shape_must_be_given(tmp_path: Path) -> None:
    found = only(open_model(), tmp_path)
    assert found.code == "E0814"
    assert found.message.endswith("input `x` may have [N, 2, ?, ?]")
    assert found.help == ("--input-shape x=224x224x3 says which: height x width x channels",)
    for shapes in ({"x": (4, 6, 2)}, {"": (4, 6, 2)}):
        imported = read(open_model(), tmp_path, input_shapes=shapes)
        assert [n.type.shape for n in imported.graph.nodes] == [(4, 6, 2), (3, 5, 3)]


@pytest.mark.parametrize("shapes", [{"image": (4, 6, 2)}, {"x": (4, 6)}, {"x": (4,)}, {"x": (0, 6, 2)}], ids=str)
def test_shapes_that_do_not_fit(tmp_path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    assert only(open_model(), tmp_path, input_shapes=shapes).code == "E0814"


def test_channels_that_stand_first(tmp_path: Path) -> None:
    found = only(open_model(), tmp_path, input_shapes={"x": (2, 4, 6)})
    assert (found.code, found.help) == ("E0814", ("height comes first, and the channels last: 4x6x2",))
    assert found.message.endswith("input `x` has 2 channels, and 2x4x6 has 6")
    assert only(open_model(), tmp_path, input_shapes={"x": (4, 6, 3)}).help == ()


@pytest.mark.parametrize("shape", [(3,), (3, 4, 5, 6)], ids=str)
def test_inputs_of_other_ranks(tmp_path: Path, shape: tuple[int, ...]) -> None:
    made = model([node("Relu", "x")], shape[1:], batch=shape[0])
    if len(shape) == 1:
        assert "networks read feature maps" in only(made, tmp_path).notes[0]
    else:
        assert read(made, tmp_path).notes == ("the file fixes the batch to 3: the network takes any",)


def test_an_input_that_nobody_reads(tmp_path: Path) -> None:
    made = model([node("Relu", "x")], {"x": (3,), "rest": (2, 2, 2, 2)})
    assert read(made, tmp_path).notes == ("no layer reads `rest`: left out",)


def test_an_initialiser_among_the_inputs_is_a_weight(tmp_path: Path) -> None:
    made = model([node("Conv", "x w")], {"x": (2, 5, 5), "w": (2, 2, 2)}, W3, opset=8)
    assert [n.name for n in read(made, tmp_path).graph.inputs] == ["x"]


def test_a_name_for_the_network(tmp_path: Path) -> None:
    made = model([node("Relu", "x")], (3,))
    assert read(made, tmp_path).graph.name == "Small"
    assert read(made, tmp_path, name="Mine").graph.name == "Mine"
    made.graph.name = "main_graph"
    path = saved(made, tmp_path).rename(tmp_path / "my-net v2.onnx")
    assert read_onnx(path).graph.name == "MyNetV2"
