"""Branches, whose names are their own, and names that are too long or too many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cnndsl.exchange.model import MAX_NAME, Builder
from cnndsl.exchange.onnx import names
from cnndsl.ir import TensorType
from cnndsl.ops.activations import Relu
from tests.exchange.onnx_graphs import check, const, layers, model, node, read
from tests.exchange.test_onnx_files import refusal, saved


def arm(name: str, nodes: list[onnx.NodeProto], *stored: TensorProto) -> onnx.GraphProto:
    """A branch of one output `made`."""
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info("made", TensorProto.FLOAT, None)], stored)


def choice(source: str, target: str, then: list[TensorProto], other: list[TensorProto]) -> onnx.NodeProto:
    """Multiplies by the branch's own `factor`, through a value of its own."""
    nodes = [node("Mul", f"{source} factor", "inner"), node("Relu", "inner", "made")]
    return helper.make_node(
        "If", ["which"], [target], then_branch=arm("then", nodes, *then), else_branch=arm("other", nodes, *other)
    )


@pytest.mark.parametrize("which", [True, False])
def test_branches_with_values_of_one_name(tmp_path: Path, which: bool) -> None:
    """Each branch's `factor` is another one; that of the first made all the products before."""
    two, five, nine = (const("factor", [v], np.float32) for v in (2.0, 5.0, -9.0))
    nodes = [choice("x", "h", [two], [nine]), choice("h", "y", [five], [two])]
    check(model(nodes, (3, 4, 4), const("which", which, np.bool_)), tmp_path)


def test_a_branch_that_takes_a_name_of_the_graphs(tmp_path: Path) -> None:
    factor, outer = const("factor", [2.0], np.float32), const("factor", [3.0], np.float32)
    nodes = [choice("x", "h", [factor], [factor]), node("Mul", "h factor")]
    assert refusal(saved(model(nodes, (3, 4, 4), const("which", True, np.bool_), outer), tmp_path)) == "E0813"


def test_what_a_branch_makes_is_unknown_outside(tmp_path: Path) -> None:
    factor = const("factor", [2.0], np.float32)
    nodes = [choice("x", "h", [factor], [factor]), node("Add", "h inner")]
    assert refusal(saved(model(nodes, (3, 4, 4), const("which", True, np.bool_)), tmp_path)) == "E0813"


# --- constants -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "opset"), [("ReduceSum", 13), ("ReduceMax", 18), ("ReduceMin", 18), ("ReduceProd", 18)])
def test_no_axes_are_all_axes(tmp_path: Path, op: str, opset: int) -> None:
    """Of an empty list of axes; to numpy it is none of them, and each feature would have a factor of its own."""
    nodes = [node(op, "k axes", "all", keepdims=0), node("Mul", "x all")]
    stored = const("k", [1.0, 2.0, 3.0], np.float32), const("axes", np.zeros(0))
    check(model(nodes, (3,), *stored, opset=opset), tmp_path)


@pytest.mark.parametrize(
    ("start", "stop", "step", "count"),
    [(-5, -6, -1, 1), (-9, -9, -2, 1), (7, -9, -1, 3), (-1, 0, -1, 2), (2, -(2**63), -1, 3), (-9, 9, 2, 2)],
)
def test_slices_of_constants(tmp_path: Path, start: int, stop: int, step: int, count: int) -> None:
    """Backwards from before the first there is the first to ONNX, and nothing to Python."""
    nodes = [node("Slice", "k a b c d", "part"), node("Mul", "x part")]
    ends = {"a": [start], "b": [stop], "c": [0], "d": [step]}
    stored = const("k", [2.0, 3.0, 5.0], np.float32), *(const(name, value) for name, value in ends.items())
    check(model(nodes, (count,), *stored), tmp_path)


# --- names ---------------------------------------------------------------------------------------------


def test_names_of_many_layers() -> None:
    """Counted on, from the last of that name, and past those that are there already."""
    builder = Builder("Net", origin="test")
    x = builder.input("x", TensorType((2, 2, 3)))
    given = ["a", "a", "a_3", "a", "a", "b", "a_2", "a"]
    made = [builder.add(Relu(), x, name=name) for name in given]
    assert made == ["a", "a_2", "a_3", "a_4", "a_5", "b", "a_2_2", "a_6"]
    for name in made:
        builder.output("out", name)
    outputs = [name for name, _ in builder.finish().graph.outputs]
    assert outputs == ["main", "out", *(f"out_{number}" for number in range(2, 8))]


def test_long_names_are_no_paths(tmp_path: Path) -> None:
    """A name of 60,000 parts would have as many modules, and these 3.6 GB of names."""
    relu = node("Relu", "x")
    relu.name = "a." * 60_000 + "b"
    assert layers(read(model([relu], (2, 3, 3)), tmp_path)) == ["relu"]
    assert [n.name for n in read(model([relu], (2, 3, 3)), tmp_path).graph.nodes] == ["x", "relu"]
    assert names.of_layer(relu, ["b" * MAX_NAME + ".weight"]) == "b" * MAX_NAME
    assert names.of_layer(relu, ["b" * (MAX_NAME + 1) + ".weight"]) == ""
