"""Exported models: onnxruntime computes what torch does, and importing gives the network back."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from hypothesis import assume, example, given
from hypothesis import strategies as st

import cnndsl.exchange.onnx.export as exporting
from cnndsl.cli import cli
from cnndsl.compare import compare
from cnndsl.errors import CnnError
from cnndsl.exchange.onnx import read_onnx
from cnndsl.exchange.onnx.export import OPSETS, export_onnx, to_onnx
from cnndsl.exchange.write import write
from cnndsl.files import choose_network, load_path, load_text
from cnndsl.ir import Graph, verify
from cnndsl.ops import operations
from cnndsl.passes.elaborate import elaborate
from cnndsl.runtime.parameters import specs_of
from cnndsl.runtime.reference import evaluate
from cnndsl.runtime.weights import initial_tensors

EXAMPLES = Path(__file__).parents[2] / "examples"


def graph_of(text: str) -> Graph:
    program = load_text(text)
    return elaborate(program, choose_network(program, None))


def network(*layers: str, shape: str = "[9x8x4]") -> Graph:
    return graph_of(f"network Net {{ input image {shape}\n" + "\n".join(layers) + "\n}")


def weights_of(graph: Graph, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights that no layer makes vanish: statistics and biases are drawn, too."""
    generator = torch.Generator().manual_seed(seed)
    tensors = initial_tensors(specs_of(graph), seed=seed)
    return {k: t if t.dim() > 1 else torch.rand(t.shape, generator=generator) + 0.5 for k, t in tensors.items()}


def run(model: onnx.ModelProto, *inputs: torch.Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs, strict=True)}
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def inputs_of(graph: Graph) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(2, *node.type.torch_shape, generator=generator) for node in graph.inputs]


def check(graph: Graph, *, opset: int = 17) -> onnx.ModelProto:
    """Hold onnxruntime to torch, output by output."""
    weights, inputs = weights_of(graph), inputs_of(graph)
    model = to_onnx(graph, weights, opset=opset)
    expected = evaluate(graph, inputs, weights)
    found = run(model, *inputs)
    assert len(found) == len(expected)
    for (name, theirs), ours in zip(expected.items(), found.values(), strict=True):
        error = (torch.from_numpy(ours) - theirs).norm() / theirs.norm()
        assert error < 1e-5, name
    return model


LAYERS = [
    "conv(6, 3x2, stride=(2, 1), pad=(1, 0, 2, 1), dilation=(1, 2))", "conv(8, 3x3, groups=2, bias=false)",
    "conv(4, 3x3, pad=same, groups=in.channels)", "dense(5)", "dense(5, bias=false) -> dense(3)",
    "maxpool(3x3, stride=2, pad=1)", "avgpool(2x2)", "globalavgpool", "globalmaxpool", "adaptiveavgpool(3x4)",
    "adaptiveavgpool(4x3)", "adaptiveavgpool(9x8)", "adaptiveavgpool(1x1)", "batchnorm(eps=0.01)",
    "batchnorm(affine=false)", "lrn(3, alpha=0.5, k=2)", "lrn(4, alpha=0.5, k=2)", "lrn(2, alpha=2, beta=0.5)",
    "relu", "relu6", "leaky_relu(slope=0.2)", "elu(alpha=0.7)", "gelu", "silu", "sigmoid", "tanh", "hardswish",
    "hardsigmoid", "dropout(0.3)", "flatten", "softmax", "flatten -> softmax", "identity", "pad((1, 2, 0, 3))",
    "pad(1, value=-1.5)", "channel_shuffle(2)", "add { { relu } { } { tanh } }",
    "mul { { } { globalavgpool -> sigmoid } }", "concat { { relu } { maxpool(3x3, stride=1, pad=1) } { } }",
    "output aux { relu } tanh", "output raw { } relu", "add(@image)",
]  # fmt: skip


def test_every_layer_is_there() -> None:
    text = " ".join(LAYERS)
    assert [name for name in operations() if name not in text] == []


@pytest.mark.parametrize("opset", [13, 17, 22])
def test_layers(opset: int) -> None:
    for layer in LAYERS:
        try:
            check(network("conv(4, 1x1)", *layer.split(" -> ")), opset=opset)
        except Exception as error:
            raise AssertionError(layer) from error


@given(
    kind=st.sampled_from(["maxpool", "avgpool"]), kernel=st.tuples(*[st.integers(1, 4)] * 2),
    stride=st.tuples(*[st.integers(1, 5)] * 2), pad=st.tuples(*[st.integers(0, 2)] * 4), ceil=st.booleans(),
    count=st.booleans(),
)  # fmt: skip
@example(kind="avgpool", kernel=(3, 3), stride=(2, 2), pad=(1, 1, 1, 1), ceil=True, count=True)
@example(kind="avgpool", kernel=(3, 3), stride=(2, 2), pad=(1, 1, 1, 1), ceil=True, count=False)
@example(kind="maxpool", kernel=(1, 1), stride=(5, 3), pad=(0, 0, 0, 0), ceil=True, count=False)
def test_pooling(kind, kernel, stride, pad, ceil, count) -> None:
    counted = f", count_pad={str(count).lower()}" if kind == "avgpool" else ""
    layer = f"{kind}({kernel[0]}x{kernel[1]}, stride={stride}, pad={pad}, ceil={str(ceil).lower()}{counted})"
    try:
        graph = network(layer)
    except CnnError:
        assume(False)
    check(graph)


def test_the_oracle_tells_models_apart() -> None:
    """MUTATION: another epsilon, padding that is counted, or a window of channels moved by one fails `check`."""
    wrong = {
        "batchnorm(eps=0.01)": "batchnorm(eps=0.02)", "lrn(3, alpha=0.5)": "lrn(2, alpha=0.5)",
        "avgpool(3x3, stride=2, pad=1)": "avgpool(3x3, stride=2, pad=1, count_pad=false)", "silu": "hardswish",
    }  # fmt: skip
    for right, other in wrong.items():
        a, b = network(f"x: {right}"), network(f"x: {other}")
        weights, inputs = weights_of(a), inputs_of(a)
        expected = evaluate(a, inputs, weights)["main"]
        (found,) = run(to_onnx(b, weights), *inputs).values()
        assert (torch.from_numpy(found) - expected).norm() / expected.norm() > 1e-4, right


# --- round trips -----------------------------------------------------------------------------------


def again(graph: Graph, folder: Path, *, opset: int = 17) -> tuple[Graph, dict[str, torch.Tensor]]:
    """The network that importing the exported model gives."""
    (path,) = export_onnx(graph, weights_of(graph), folder / "net.onnx", opset=opset)
    written = write(read_onnx(path))
    return written.graph, written.weights


LOST = {
    "adaptiveavgpool": "ONNX has no such pooling",
    "lrn(4": "ONNX has no such window", "lrn(2": "ONNX has no such window", "identity": "it does nothing",
}  # fmt: skip
"""Layers that compute the same numbers in ONNX, and come back as others."""


@pytest.mark.parametrize("opset", [13, 22])
def test_layers_come_back(tmp_path: Path, opset: int) -> None:
    for number, layer in enumerate(LAYERS):
        if layer.startswith(tuple(LOST)):
            continue
        graph = network("conv(4, 1x1)", *layer.split(" -> "))
        folder = tmp_path / str(number)
        folder.mkdir()
        found, _ = again(graph, folder, opset=opset)
        assert compare(graph, found).same, (layer, [p for p in compare(graph, found).pairs if p.verdict != "same"])


def test_scales_of_nobody(tmp_path: Path) -> None:
    """`affine=false` comes back from ones and zeros of our names alone: an untrained network has such numbers, too."""
    own, other = network("bn: batchnorm(affine=false)"), network("bn: batchnorm")
    for graph in (own, other):
        path, *_ = export_onnx(graph, initial_tensors(specs_of(graph), seed=0), tmp_path / "net.onnx", force=True)
        found = read_onnx(path)
        assert compare(graph, found.graph).same
        assert set(found.weights) == set(initial_tensors(specs_of(graph), seed=0))
    model = to_onnx(own, weights_of(own))
    # MUTATION: a scale of 2 or a shift of 1 under our names is a scale or a shift.
    for name, value in (("bn.ones", 2), ("bn.zeros", 1)):
        (stored,) = [t for t in model.graph.initializer if t.name == name]
        before = stored.raw_data
        stored.raw_data = np.array([0, 1, 1, value], np.float32).tobytes()
        onnx.save(model, tmp_path / "net.onnx")
        assert compare(other, read_onnx(tmp_path / "net.onnx").graph).same
        stored.raw_data = before


@pytest.mark.parametrize(
    "name", ["darknet19", "densenet121", "efficientnet_b0", "googlenet", "googlenet_torchvision", "lenet5",
             "mobilenet_v1", "mobilenet_v2", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50",
             "shufflenet_v1", "squeezenet1_0", "squeezenet1_1"],
)  # fmt: skip
def test_examples_come_back(tmp_path: Path, name: str) -> None:
    """The same layers on the same wires, the same pictures, and the same weights by the same names.

    The other examples have larger weights and no other layers.
    """
    program = load_path(EXAMPLES / f"{name}.cnn")
    graph = elaborate(program, choose_network(program, None))
    found, weights = again(graph, tmp_path)
    result = compare(graph, found)
    assert result.same, [p for p in result.pairs if p.verdict != "same"]
    assert [n.spec for n in found.inputs] == [n.spec for n in graph.inputs]
    assert weights.keys() == weights_of(graph).keys()
    assert all(torch.equal(weights[key], tensor) for key, tensor in weights_of(graph).items())


# --- files and the command -------------------------------------------------------------------------


def large(monkeypatch: pytest.MonkeyPatch) -> Graph:
    """A network whose weights are too large for one file."""
    monkeypatch.setattr(exporting, "MAX_INSIDE", 1000)
    return network("conv(64, 3x3)", "channel_shuffle(2)", "lrn(2)", "dense(10)")


def test_large_weights_lie_beside(tmp_path: Path, monkeypatch) -> None:
    graph = large(monkeypatch)
    made = export_onnx(graph, weights_of(graph), tmp_path / "net.onnx")
    assert [path.name for path in made] == ["net.onnx", "net.onnx.data"]
    onnx.checker.check_model(str(made[0]), full_check=True)
    assert made[0].stat().st_size < 16_000
    session = onnxruntime.InferenceSession(made[0])
    (x,) = inputs_of(graph)
    expected = evaluate(graph, [x], weights_of(graph))["main"]
    (found,) = session.run(None, {"image": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)
    imported = read_onnx(made[0])
    (ours,) = evaluate(imported.graph, [x], imported.weights).values()
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_no_file_is_written_over(tmp_path: Path, monkeypatch) -> None:
    """Not the model and not the weights beside it, but with `force`; and one alone is not written."""
    graph = large(monkeypatch)
    for name in ("net.onnx", "net.onnx.data"):
        (tmp_path / name).write_bytes(b"mine")
        with pytest.raises(CnnError) as caught:
            export_onnx(graph, weights_of(graph), tmp_path / "net.onnx")
        assert f"{name}: it is there already" in caught.value.diagnostics[0].message
        assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == [(name, b"mine")]
        (tmp_path / name).unlink()
    (tmp_path / "net.onnx.data").write_bytes(b"mine")
    assert len(export_onnx(graph, weights_of(graph), tmp_path / "net.onnx", force=True)) == 2
    before = [f.read_bytes() for f in sorted(tmp_path.iterdir())]
    with monkeypatch.context() as broken:
        broken.setattr(exporting, "_model", full_disk)
        with pytest.raises(CnnError):
            export_onnx(graph, weights_of(graph, seed=1), tmp_path / "net.onnx", force=True)
    assert [f.read_bytes() for f in sorted(tmp_path.iterdir())] == before
    monkeypatch.undo()
    (tmp_path / "net.onnx.data").write_bytes(b"mine")
    (tmp_path / "net.onnx").unlink()
    assert len(export_onnx(graph, weights_of(graph), tmp_path / "net.onnx")) == 1
    assert (tmp_path / "net.onnx.data").read_bytes() == b"mine"


def test_weights_are_measured_before_they_are_a_message(monkeypatch) -> None:
    """Beyond 2 GiB protobuf cannot even count the bytes of a message: nothing may ask it to."""
    graph = large(monkeypatch)
    emitter = exporting._emitted(graph, weights_of(graph), 17)
    assert emitter.nbytes > sum(w.nbytes for w in weights_of(graph).values())
    assert emitter.nbytes > exporting.MAX_INSIDE
    monkeypatch.undo()
    assert 2**31 - 2**27 < exporting.MAX_INSIDE < 2**31 - 2**25


def test_opsets() -> None:
    graph = network("relu")
    assert list(OPSETS) == list(range(13, 23))
    for opset in (12, 23):
        with pytest.raises(CnnError) as caught:
            to_onnx(graph, {}, opset=opset)
        assert caught.value.diagnostics[0].code == "E0817"


def test_names() -> None:
    """Initialisers are called as the state dict, and outputs as the network's, whatever layers are."""
    graph = network("main: conv(4, 1x1)", "output aux { relu }", "b: batchnorm")
    model = to_onnx(graph, weights_of(graph))
    assert {i.name for i in model.graph.initializer} == set(weights_of(graph))
    assert [o.name for o in model.graph.output] == ["main", "aux"]
    assert len({o for n in model.graph.node for o in n.output}) == sum(len(n.output) for n in model.graph.node)


def parts_named_as_layers() -> Graph:
    """A network whose layers have the names that parts of other layers and outputs are given."""
    graph = network(
        "x: dense(6)", "relu6: { min: relu }", "y: gelu", "z: relu6", "output aux { relu -> silu }", "main: tanh",
        "b: dense(4)",
    )  # fmt: skip
    names = {"y": "x.flatten", "z": "x.flatten.erf", "aux.relu1": "aux", "aux.silu1": "gelu.one", "main": "aux.output"}

    def renamed(name: str) -> str:
        return names.get(name, name)

    nodes = tuple(replace(n, name=renamed(n.name), inputs=tuple(map(renamed, n.inputs))) for n in graph.nodes)
    return verify(replace(graph, nodes=nodes, outputs=tuple((o, renamed(n)) for o, n in graph.outputs)))


def test_names_of_parts_give_way(tmp_path: Path) -> None:
    graph = parts_named_as_layers()
    assert {"x", "x.flatten", "x.flatten.erf", "relu6.min", "aux", "aux.output", "gelu.one"} < set(graph.by_name)
    model = check(graph)
    made = [o for n in model.graph.node for o in n.output] + [t.name for t in model.graph.initializer] + ["image"]
    assert len(set(made)) == len(made)
    assert len({n.name for n in model.graph.node}) == len(model.graph.node)
    assert [o.name for o in model.graph.output] == ["main", "aux"]
    assert set(weights_of(graph)) < {t.name for t in model.graph.initializer}
    found, _ = again(graph, tmp_path)
    assert [name for name, _ in found.outputs] == ["main", "aux"]
    assert compare(graph, found).same


def test_an_input_that_is_called_as_an_output() -> None:
    graph = graph_of("network Net { input main [9x8x4]\n output main_output { relu } tanh }")
    assert [o.name for o in check(graph).graph.output] == ["main_output_", "main_output"]


def test_the_command(tmp_path: Path) -> None:
    runner = CliRunner()
    net, out = tmp_path / "net.cnn", tmp_path / "net.onnx"
    net.write_text("network Net(classes = 3) { input image [8x8x3] conv(4, 3x3) -> relu dense(classes) }")

    def invoke(*arguments: str):
        return runner.invoke(cli, ["export", str(net), "-o", str(out), *arguments], prog_name="cnndsl")

    first = invoke("--set", "classes=5", "--seed", "3")
    assert first.exit_code == 0, first.stderr
    assert "seed 3" in first.stderr
    assert "net.onnx: Net, opset 17, 3 layers" in first.stdout
    session = onnxruntime.InferenceSession(out)
    assert session.run(None, {"image": np.zeros((2, 3, 8, 8), np.float32)})[0].shape == (2, 5)
    again_ = invoke()
    assert (again_.exit_code, "is there already" in again_.stderr) == (1, True)
    assert invoke("--force").exit_code == 0
    assert "E0817" in invoke("--force", "--opset", "9").stderr
    for name in ("-", str(tmp_path), str(tmp_path / "net.pb")):
        assert f"cannot write {name}: a model's file ends in .onnx" in invoke("-o", name).stderr
    assert "net.onnx: File name too long" in invoke("-o", str(tmp_path / f"{'n' * 300}net.onnx")).stderr
    link = tmp_path / "link.onnx"
    link.symlink_to(net)
    before = net.read_bytes(), out.read_bytes()
    assert f"cannot write {link}: it is read from" in invoke("--force", "-o", str(link)).stderr
    assert f"cannot write {out}: it is read from" in invoke("--force", "--weights", str(out)).stderr
    assert (net.read_bytes(), out.read_bytes()) == before
    missing = invoke("--force", "--weights", str(tmp_path / "none.pt"))
    assert (missing.exit_code, "E0401" in missing.stderr) == (1, True)
    assert list(itertools.chain(tmp_path.glob(".*"))) == []
