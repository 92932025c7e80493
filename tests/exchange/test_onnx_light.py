"""The test models inside the `onnx` package: nine published networks, imported, run and held against others' numbers.

Their weights are constants, one value for each tensor, and most outputs are a thousand times 0.001: so each is also
given random weights and held against onnxruntime. CNNDSL_LIGHT_ALL=1 adds the random weights of the largest and runs
all nine by kernels in Triton's interpreter, six minutes in all.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import cnndsl
from cnndsl.exchange.imported import Imported, imported
from cnndsl.exchange.onnx import read_onnx
from cnndsl.files import load_text
from cnndsl.frontend import load_program
from cnndsl.ir import Graph
from cnndsl.passes.elaborate import elaborate
from cnndsl.runtime.reference import evaluate
from tests.exchange.onnx_graphs import TOLERANCE, error, run_theirs

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
EVERYTHING = "CNNDSL_LIGHT_ALL" in os.environ

NETWORKS = {
    "bvlc_alexnet": 60_965_224,
    "densenet121": 7_978_856,
    "inception_v1": 6_998_552,
    "inception_v2": 11_194_984,
    "resnet50": 25_557_032,
    "shufflenet": 1_393_320,
    "squeezenet": 1_235_496,
    "vgg19": 143_667_240,
    "zfnet512": 87_250_536,
}
"""Learned values of each, counted from the files; those of AlexNet, ResNet, SqueezeNet and VGG as published."""

LARGE = {"bvlc_alexnet", "densenet121", "inception_v1", "resnet50", "vgg19", "zfnet512"}


def picture() -> torch.Tensor:
    """The input that the stored outputs were computed from: values from 0 to 1 in their order."""
    count = 3 * 224 * 224
    return (torch.arange(count, dtype=torch.float64) / count).float().reshape(1, 3, 224, 224)


def graph_of(made: Imported) -> Graph:
    """The network of the written text."""
    program = load_program(lambda: load_text(made.text), {})
    return elaborate(program, program.networks[made.name], {})


def parameters(graph: Graph) -> int:
    return sum(w.size for n in graph.nodes if n.op is not None for w in n.op.weights(*graph.types_of(n)) if w.learned)


@pytest.mark.parametrize("name", NETWORKS)
def test_stored_outputs(name: str) -> None:
    model = read_onnx(FOLDER / f"light_{name}.onnx")
    assert model.notes == ()
    made = imported(model)
    graph = graph_of(made)
    assert parameters(graph) == NETWORKS[name]
    (ours,) = evaluate(graph, [picture()], made.weights).values()
    stored = numpy_helper.to_array(onnx.load_tensor(FOLDER / f"light_{name}_output_0.pb"))
    assert error(ours.numpy(), stored) < TOLERANCE


def randomised(name: str) -> onnx.ModelProto:
    """The model with random weights, such that values neither vanish nor grow; without its softmax, which saturates."""
    made = onnx.load(FOLDER / f"light_{name}.onnx")
    shapes = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    roles = {}
    for node in made.graph.node:
        for number, read in enumerate(node.input):
            roles.setdefault(read, (node.op_type, number))
    rng = np.random.default_rng(0)
    nodes = []
    for node in made.graph.node:
        if node.op_type != "ConstantOfShape":
            nodes.append(node)
            continue
        shape = shapes[node.input[0]]
        op, number = roles[node.output[0]]
        values = rng.standard_normal(shape, dtype=np.float32)
        if len(shape) > 1:
            # A dense layer's rows have their own length, and convolutions theirs.
            values *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif op == "BatchNormalization" and number in {1, 4}:
            values = 0.7 + 0.6 * rng.random(shape, dtype=np.float32)
        else:
            values *= np.float32(0.1)
            values += np.float32(op == "Unsqueeze")  # Caffe's scales
        made.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    if nodes[-1].op_type == "Softmax":
        last = nodes.pop()
        nodes[-1].output[0] = last.output[0]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


@pytest.mark.parametrize("name", [name for name in NETWORKS if EVERYTHING or name not in LARGE])
def test_random_weights(name: str, tmp_path: Path) -> None:
    model = randomised(name)
    path = tmp_path / "random.onnx"
    onnx.save(model, path)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    feed = next(i.name for i in model.graph.input if len(i.type.tensor_type.shape.dim) == 4
                and i.name not in {t.name for t in model.graph.initializer})  # fmt: skip
    (theirs,) = run_theirs(model, {feed: x.numpy()})
    made = imported(read_onnx(path))
    graph = graph_of(made)
    (ours,) = evaluate(graph, [x], made.weights).values()
    assert error(ours.numpy(), theirs) < TOLERANCE
    # Kernels turned upside down are seen.
    turned = {key: tensor.flip(2) if tensor.ndim == 4 else tensor for key, tensor in made.weights.items()}
    (wrong,) = evaluate(graph, [x], turned).values()
    assert error(wrong.numpy(), theirs) > 100 * TOLERANCE


KERNELS = list(NETWORKS) if EVERYTHING else ["squeezenet"]


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name: str) -> None:
    made = imported(read_onnx(FOLDER / f"light_{name}.onnx"))
    net = cnndsl.compile(made.text, weights=made.weights, device="cpu")
    stored = numpy_helper.to_array(onnx.load_tensor(FOLDER / f"light_{name}_output_0.pb"))
    assert error(net(picture()).numpy(), stored) < TOLERANCE
