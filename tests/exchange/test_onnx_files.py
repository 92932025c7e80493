"""Files from anywhere: nothing in them is run, none ends in a traceback, none costs more than its size."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cnndsl.errors import CnnError
from cnndsl.exchange.onnx import constants, load, read_onnx
from tests.exchange.onnx_graphs import const, model, node, random_inputs, read, run_ours, run_theirs, saved, weight


def net() -> onnx.ModelProto:
    nodes = [
        node("Conv", "x w b", "h"), node("Relu", "h", "i"), node("Reshape", "i s", "j"), node("Gemm", "j v", transB=1),
    ]  # fmt: skip
    stored = [weight("w", 4, 2, 2, 2), weight("b", 4), const("s", [0, -1]), weight("v", 3, 64)]
    return model(nodes, (2, 5, 5), *stored)


def refusal(path: Path) -> str:
    with pytest.raises(CnnError) as caught:
        read_onnx(path)
    return caught.value.diagnostics[0].code


def refusal_text(made: onnx.ModelProto, folder: Path) -> str:
    with pytest.raises(CnnError) as caught:
        read(made, folder)
    return str(caught.value)


def test_a_file_cut_anywhere(tmp_path: Path) -> None:
    whole = net().SerializeToString()
    path = tmp_path / "cut.onnx"
    read(net(), tmp_path)
    for length in (*range(0, 200, 7), *range(200, len(whole) - 40, 97)):
        path.write_bytes(whole[:length])
        assert refusal(path) == "E0813"


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_with_other_bytes(tmp_path: Path, data: st.DataObject) -> None:
    """It is refused, or it is another network."""
    whole = bytearray(net().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "other.onnx"
    path.write_bytes(bytes(whole))
    with contextlib.suppress(CnnError):
        read_onnx(path)


OTHERS = [b"", b"network Net {}", b"PK\x03\x04", b"\x08\x07", b"\x3a\x00", bytes(1000)]


@pytest.mark.parametrize("content", OTHERS, ids=repr)
def test_files_of_other_kinds(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    assert refusal(path) == "E0813"


def test_without_the_onnx_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "find_spec", lambda _: None)
    assert refusal(saved(net(), tmp_path)) == "E0816"


@pytest.mark.parametrize("path", ["missing.onnx", ".", "/dev/null"])
def test_no_file(path: str) -> None:
    assert refusal(Path(path)) == "E0813"


# --- external data -----------------------------------------------------------------------------------


def elsewhere(folder: Path, **changes: str) -> onnx.ModelProto:
    """The network with its largest weight in the file values.bin."""
    made = net()
    tensor = next(t for t in made.graph.initializer if t.name == "v")
    (folder / "values.bin").write_bytes(bytes(16) + tensor.raw_data)
    entries = {"location": "values.bin", "offset": "16", "length": str(len(tensor.raw_data)), **changes}
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return made


def test_weights_in_another_file(tmp_path: Path) -> None:
    inputs = random_inputs(net())
    (ours,), (theirs,) = run_ours(read(elsewhere(tmp_path), tmp_path), inputs), run_theirs(net(), inputs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"location": "../values.bin"}, {"location": "/etc/passwd"}, {"location": ""}, {"location": "missing.bin"},
        {"offset": "-4"}, {"offset": "17"}, {"length": "12"}, {"offset": "x"}, {"offset": "9" * 30},
        {"location": "link.bin"}, {"location": "."}, {"location": "values.bin\0"}, {"location": "circle.bin"},
        {"offset": "9" * 5000},
    ],
    ids=str,
)  # fmt: skip
def test_weights_elsewhere_are_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    outside, folder = tmp_path / "values.bin", tmp_path / "model"
    folder.mkdir()
    made = elsewhere(folder, **changes)
    outside.write_bytes((folder / "values.bin").read_bytes())
    (folder / "link.bin").symlink_to(outside)
    (folder / "circle.bin").symlink_to("circle.bin")
    assert refusal(saved(made, folder)) == "E0813"


# --- what a file claims ------------------------------------------------------------------------------


def claimed(dims: list[int], kind: int = TensorProto.FLOAT, **values: object) -> onnx.ModelProto:
    made = net()
    tensor = next(t for t in made.graph.initializer if t.name == "v")
    tensor.CopyFrom(TensorProto(name="v", dims=dims, data_type=kind, **values))
    return made


@pytest.mark.parametrize(
    "made",
    [
        claimed([3, 2**40]), claimed([-3, -64], raw_data=bytes(768)), claimed([3, 64], raw_data=bytes(767)),
        claimed([3, 64], float_data=[0.0] * 191), claimed([3, 64], 77, raw_data=bytes(768)),
        claimed([3, 64], TensorProto.STRING, string_data=[b"a"] * 192), claimed([2**62, 2**62, 0]),
    ],
    ids=range(7),
)  # fmt: skip
def test_tensors_that_do_not_hold_what_they_claim(tmp_path: Path, made: onnx.ModelProto) -> None:
    assert refusal(saved(made, tmp_path)) == "E0813"


def filled(shape: list[int]) -> onnx.ModelProto:
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.5])
    nodes = [node("ConstantOfShape", "s", "w", value=value), node("Gemm", "x w")]
    return model(nodes, (shape[0],), const("s", shape), opset=11)


def doubled(times: int) -> onnx.ModelProto:
    nodes = [node("Concat", f"c{i} c{i}", f"c{i + 1}", axis=0) for i in range(times)]
    return model([*nodes, node("Add", f"x c{times}")], (3,), weight("c0", 1024))


def ranged(stop: int, step: int) -> onnx.ModelProto:
    stored = [const("a", 0), const("b", stop), const("c", step)]
    return model([node("Range", "a b c", "d"), node("Reshape", "x d")], (3,), *stored)


BOMBS = {
    "a constant of a terabyte": (filled([2**19, 2**19]), "E0801"),
    "a constant of all": (filled([2**31 - 1, 2**31 - 1]), "E0801"),
    "an expanded constant": (
        model([node("Expand", "c s", "d"), node("Exp", "d", "e"), node("Add", "x e")], (3,), weight("c", 1),
              const("s", [2**20, 2**20])), "E0801",
    ),
    "a range": (ranged(2**50, 1), "E0801"),
    "a range without steps": (ranged(9, 0), "E0801"),
    "a large border": (model([node("Pad", "x p")], (3, 4, 4), const("p", [0, 0, 2**40, 2**40, 0, 0, 0, 0])), "E0801"),
    "many axes": (model([node("Unsqueeze", "x a")], (3,), const("a", list(range(1, 60)))), "E0812"),
    "a large input": (model([node("Relu", "x")], (2**20, 2**10, 2**10)), "E0801"),
}  # fmt: skip


def test_what_a_file_asks_for_is_bounded(tmp_path: Path) -> None:
    """In a process of its own, which may take half a gigabyte more than it has when all is loaded."""
    for number, (made, _) in enumerate(BOMBS.values()):
        (tmp_path / f"{number}.onnx").write_bytes(made.SerializeToString())
    (tmp_path / "warm.onnx").write_bytes(net().SerializeToString())
    program = (
        "import resource, sys\n"
        "from cnndsl.errors import CnnError\n"
        "from cnndsl.exchange.onnx.read import read_onnx\n"
        "read_onnx('warm.onnx')\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))\n"
        f"for number in range({len(BOMBS)}):\n"
        "    try:\n        read_onnx(f'{number}.onnx')\n        print('read')\n"
        "    except CnnError as error:\n        print(error.diagnostics[0].code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert dict(zip(BOMBS, done.stdout.split(), strict=True)) == {name: code for name, (_, code) in BOMBS.items()}


def test_constants_made_of_constants_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "MAX_BYTES", 2**20)
    with pytest.raises(CnnError, match=r"Concat `c8` makes constants of more than 1,064,960 bytes"):
        read(doubled(40), tmp_path)
    assert "computes with a constant of shape" in refusal_text(doubled(5), tmp_path)


def test_many_empty_nodes(tmp_path: Path) -> None:
    """Two bytes each in the file, 160 in memory: refused before they are made."""
    path = tmp_path / "empty.onnx"
    body = b"\x0a\x00" * 3_000_000
    length = bytearray()
    value = len(body)
    while value > 127:
        length.append(value & 127 | 128)
        value >>= 7
    length.append(value)
    path.write_bytes(b"\x08\x08\x3a" + bytes(length) + body + b"\x42\x02\x10\x0d")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(path) == "E0813"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20


# --- graphs that are none ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Relu", "h", "y"), node("Relu", "x", "h")],
        [node("Relu", "y", "h"), node("Relu", "h", "y")],
        [node("Relu", "x", "y"), node("Tanh", "x", "y")],
        [node("Relu", "nowhere", "y")],
        [node("Relu", "x", "x")],
        [node("Relu", "x x", "y")],
        [node("Conv", "x", "y")],
        [node("Relu", "x", "y", slope=1)],
        [node("LeakyRelu", "x", "y", alpha="much")],
        [node("Concat", "x x", "y")],
        [],
    ],
    ids=range(11),
)
def test_graphs_that_are_none(tmp_path: Path, nodes: list[onnx.NodeProto]) -> None:
    assert refusal(saved(model(nodes, (3,)), tmp_path)) == "E0813"


def test_two_weights_of_one_name(tmp_path: Path) -> None:
    made = net()
    made.graph.initializer.append(weight("v", 3, 64))
    assert refusal(saved(made, tmp_path)) == "E0813"


def function(name: str, *calls: str) -> onnx.FunctionProto:
    domains = ["" if op == "Relu" else "own" for op in calls]
    nodes = [
        helper.make_node(op, [f"t{i}"], [f"t{i + 1}"], domain=domain)
        for i, (op, domain) in enumerate(zip(calls, domains, strict=True))
    ]
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["t0"], [f"t{len(calls)}"], nodes, opsets)


def with_functions(*functions: onnx.FunctionProto) -> onnx.ModelProto:
    made = model([helper.make_node("F0", ["x"], ["y"], domain="own")], (3,))
    made.opset_import.append(helper.make_opsetid("own", 1))
    made.functions.extend(functions)
    return made


def test_functions_stand_where_they_are_called(tmp_path: Path) -> None:
    imported = read(with_functions(function("F0", "F1", "F1"), function("F1", "Relu", "Relu")), tmp_path)
    assert [n.text for n in imported.graph.nodes] == ["input", "relu", "relu", "relu", "relu"]


@pytest.mark.parametrize("depth", [40, 100])
def test_functions_without_end(tmp_path: Path, depth: int) -> None:
    doubling = [function(f"F{i}", f"F{i + 1}", f"F{i + 1}") for i in range(depth)]
    assert refusal(saved(with_functions(*doubling, function(f"F{depth}", "Relu")), tmp_path)) == "E0813"
    assert refusal(saved(with_functions(function("F0", "F0")), tmp_path)) == "E0813"


def test_a_long_chain(tmp_path: Path) -> None:
    """No recursion over the layers, dense layers that become convolutions included."""
    nodes = [node("Flatten", "x", "h0"), *(node("MatMul", f"h{i} w", f"h{i + 1}") for i in range(1500))]
    nodes += [node("Reshape", "h1500 s", "g"), node("Mul", "x g")]
    imported = read(model(nodes, (2, 1, 1), weight("w", 2, 2), const("s", [0, 2, 1, 1])), tmp_path)
    assert len(imported.graph.nodes) == 1502


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_weights_of_other_types(tmp_path: Path, kind: int) -> None:
    made = model([node("Conv", "x w")], (1, 3, 3), helper.make_tensor("w", kind, [1, 1, 1, 2], [0.5, -2.0]), kind=kind)
    imported = read(made, tmp_path)
    dtype = {TensorProto.FLOAT16: torch.float16, TensorProto.DOUBLE: torch.float64}.get(kind, torch.float32)
    assert torch.equal(imported.weights["conv.weight"], torch.tensor([[[[0.5, -2.0]]]], dtype=dtype))
