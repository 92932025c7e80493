"""Whole models: random graphs against onnxruntime, and one network in all opsets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnndsl.exchange.imported import imported
from cnndsl.files import load_text
from cnndsl.frontend import load_program
from cnndsl.passes.elaborate import elaborate
from cnndsl.runtime.reference import evaluate
from tests.exchange.onnx_graphs import (
    OPSETS,
    TOLERANCE,
    check,
    const,
    error,
    layers,
    model,
    node,
    random_inputs,
    read,
    run_theirs,
    weight,
)

Shape = tuple[int, ...]
KINDS = ("conv", "norm", "act", "pool", "add", "mul", "concat", "scale", "excite", "shuffle")


@dataclass
class Graph:
    """Nodes under construction, with the shape of each value."""

    draw: st.DrawFn
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    stored: list[onnx.TensorProto] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def add(self, op: str, inputs: str, shape: Shape, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(node(op, inputs, name, **attributes))
        self.shapes[name] = shape
        return name

    def weight(self, *shape: int, low: float | None = None) -> str:
        name = f"w{len(self.stored)}"
        self.stored.append(weight(name, *shape, low=low))
        return name

    def pick(self, like: Shape | None = None) -> str:
        names = [n for n, s in self.shapes.items() if like is None or s == like]
        return self.draw(st.sampled_from(names))

    def step(self) -> None:
        """One more operator, on any value there is."""
        x = self.pick()
        c, h, w = self.shapes[x]
        match self.draw(st.sampled_from(KINDS)):
            case "conv":
                filters, k = self.draw(st.sampled_from([2, 4, 6])), self.draw(st.sampled_from([1, 3]))
                kernel = self.weight(filters, c, k, k)
                self.add("Conv", f"{x} {kernel}", (filters, h, w), pads=[k // 2] * 4)
            case "norm":
                s = [self.weight(c, low=0.5) for _ in range(4)]
                self.add("BatchNormalization", f"{x} {' '.join(s)}", (c, h, w))
            case "act":
                self.add(self.draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "Elu"])), x, (c, h, w))
            case "pool":
                op = self.draw(st.sampled_from(["MaxPool", "AveragePool"]))
                self.add(op, x, (c, h, w), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            case "add":
                self.add("Add", f"{x} {self.pick((c, h, w))}", (c, h, w))
            case "mul":
                gate = self.add("Sigmoid", self.pick((c, h, w)), (c, h, w))
                self.add("Mul", f"{gate} {x}", (c, h, w))
            case "concat":
                y = self.draw(st.sampled_from([n for n, s in self.shapes.items() if s[1:] == (h, w)]))
                self.add("Concat", f"{x} {y}", (c + self.shapes[y][0], h, w), axis=1)
            case "scale":
                op = self.draw(st.sampled_from(["Mul", "Add", "Sub", "Div"]))
                self.add(op, f"{x} {self.weight(c, 1, 1, low=0.5)}", (c, h, w))
            case "excite":
                mean = self.add("GlobalAveragePool", x, (c, 1, 1))
                gate = self.add("Sigmoid", mean, (c, 1, 1))
                self.add("Mul", f"{x} {gate}", (c, h, w))
            case "shuffle" if c % 2 == 0:
                apart, together = f"s{len(self.stored)}", f"s{len(self.stored) + 1}"
                self.stored += [const(apart, [0, 2, c // 2, h, w]), const(together, [0, c, h, w])]
                grouped = self.add("Reshape", f"{x} {apart}", (c, h, w))
                turned = self.add("Transpose", grouped, (c, h, w), perm=[0, 2, 1, 3, 4])
                del self.shapes[grouped], self.shapes[turned]
                self.add("Reshape", f"{turned} {together}", (c, h, w))


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    graph = Graph(draw, draw(st.sampled_from(OPSETS)), shapes={"x": (draw(st.sampled_from([2, 3, 4])), 5, 4)})
    for _ in range(draw(st.integers(1, 10))):
        graph.step()
    if not graph.nodes:
        graph.add("Relu", "x", graph.shapes["x"])
    outputs = [graph.nodes[-1].output[0]]
    if draw(st.booleans()):
        outputs.append(graph.pick())
    chosen = [name for name in dict.fromkeys(outputs) if name != "x"]
    return model(graph.nodes, {"x": graph.shapes["x"]}, *graph.stored, opset=graph.opset, outputs=" ".join(chosen))


@given(graphs())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_random_graphs(tmp_path: Path, made: onnx.ModelProto) -> None:
    """Read, and written: the text's network with the text's weights computes what onnxruntime does."""
    inputs = random_inputs(made)
    theirs = run_theirs(made, inputs)
    done = imported(read(made, tmp_path))
    program = load_program(lambda: load_text(done.text), {})
    graph = elaborate(program, program.networks[done.name], {})
    xs = [torch.from_numpy(inputs["x"])] if graph.inputs else []
    ours = list(evaluate(graph, xs, done.weights).values())
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert error(a.numpy(), b) < TOLERANCE


@pytest.mark.parametrize("opset", OPSETS)
def test_one_network_in_all_opsets(tmp_path: Path, opset: int) -> None:
    """What opsets write in their own ways is one network."""
    nodes = [
        node("Conv", "x w", "a", auto_pad="SAME_UPPER", strides=[2, 2]), node("BatchNormalization", "a s b m v", "b0"),
        node("Clip", "b0", "c", min=0.0, max=6.0) if opset < 11 else node("Clip", "b0 zero six", "c"),
        node("AveragePool", "c", "d", kernel_shape=[3, 3], pads=[1, 1, 0, 0]),
        node("Add", "d bias", "e"), node("LeakyRelu", "e", "f", alpha=0.1),
        node("ReduceMean", "f", "g", axes=[2, 3]) if opset < 18 else node("ReduceMean", "f pixels", "g"),
        node("Squeeze", "g", "h", axes=[2, 3]) if opset < 13 else node("Squeeze", "g pixels", "h"),
        node("Dropout", "h", "i", ratio=0.5) if opset < 12 else node("Dropout", "h half", "i"),
        node("Gemm", "i fc c1", "j", transB=1), node("Softmax", "j", **({"axis": 1} if opset < 13 else {})),
    ]  # fmt: skip
    stored = [
        weight("w", 6, 3, 3, 3), *(weight(n, 6, low=0.5, seed=i) for i, n in enumerate("sbmv")),
        weight("bias", 6, 1, 1), weight("fc", 4, 6), weight("c1", 4), const("pixels", [2, 3]),
        const("zero", 0, np.float32), const("six", 6, np.float32), const("half", 0.5, np.float32),
    ]  # fmt: skip
    names = {name for n in nodes for name in n.input}
    imported_ = check(model(nodes, (3, 9, 7), *(t for t in stored if t.name in names), opset=opset), tmp_path)
    assert layers(imported_) == [
        "conv(6, 3x3, stride=2, pad=1, bias=false)", "batchnorm", "relu6",
        "avgpool(3x3, stride=1, pad=(1, 0, 1, 0), count_pad=false)", "batchnorm(eps=0)", "leaky_relu(slope=0.1)",
        "globalavgpool", "dropout", "dense(4)", "softmax",
    ]  # fmt: skip
