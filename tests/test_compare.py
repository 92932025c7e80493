"""Two networks side by side: torch says whether a verdict of "same" or "other numbers" is true."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cnndsl.compare import Comparison, Pair, compare
from cnndsl.errors import CnnError
from cnndsl.files import choose_network, load_path, load_text
from cnndsl.ir import Graph
from cnndsl.passes.elaborate import elaborate

EXAMPLES = Path(__file__).parent.parent / "examples"


def graph_of(text: str) -> Graph:
    program = load_text(text)
    return elaborate(program, choose_network(program, None))


def example_graph(name: str) -> Graph:
    program = load_path(EXAMPLES / f"{name}.cnn")
    return elaborate(program, choose_network(program, None))


def network(*layers: str, shape: str = "[9x8x4]") -> Graph:
    return graph_of(f"network Net {{ input image {shape}\n" + "\n".join(layers) + "\n}")


def value(graph: Graph, output: str = "main") -> torch.Tensor:
    """What torch computes, in fp64, with weights that depend on their names alone."""
    values: dict[str, torch.Tensor] = {}
    for node in graph.nodes:
        if node.op is None:
            values[node.name] = torch.randn(2, *node.type.torch_shape, generator=_seeded(1)).double()
            continue
        weights = {
            w.name: torch.randn(w.shape, generator=_seeded(len(w.name))).double().abs() + 0.1
            for w in node.op.weights(*graph.types_of(node))
        }
        values[node.name] = node.op.reference([values[name] for name in node.inputs], weights)
    return values[dict(graph.outputs)[output]]


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def verdicts(result: Comparison) -> list[str]:
    return [pair.verdict for pair in result.pairs]


def pair_of(result: Comparison, left: str) -> Pair:
    return next(pair for pair in result.pairs if pair.left is not None and pair.left.name == left)


# --- the oracle ------------------------------------------------------------------------------------


LAYERS = st.one_of(
    st.builds(
        "maxpool({k}x3, stride={s}, pad={p}, ceil={c})".format,
        k=st.integers(2, 3), s=st.integers(1, 3), p=st.integers(0, 1), c=st.sampled_from(["true", "false"]),
    ),
    st.builds(
        "avgpool({k}x3, stride={s}, pad={p}, ceil={c}, count_pad={i})".format,
        k=st.integers(2, 3), s=st.integers(1, 3), p=st.integers(0, 1), c=st.sampled_from(["true", "false"]),
        i=st.sampled_from(["true", "false"]),
    ),
    st.builds(
        "conv(4, 3x3, stride={s}, pad=({t}, {b}, 1, 1), groups={g})".format,
        s=st.integers(1, 3), t=st.integers(0, 2), b=st.integers(0, 2), g=st.sampled_from([1, 2]),
    ),
    st.builds("lrn({n}, alpha={a}, k={k})".format, n=st.integers(1, 5), a=st.sampled_from([1, 2]), k=st.integers(1, 2)),
    st.builds(
        "batchnorm(eps={e}, momentum={m})".format, e=st.sampled_from([0.001, 0.01]), m=st.sampled_from([0.1, 0.2])
    ),
    st.sampled_from([
        "globalavgpool", "adaptiveavgpool(1x1)", "avgpool(9x8)", "maxpool(9x8)", "globalmaxpool", "relu", "relu6",
        "leaky_relu(slope=0.1)", "leaky_relu(slope=0.2)", "dropout(0.3)", "identity", "dropout(0.5)",
    ]),
)  # fmt: skip


@settings(max_examples=150)
@given(LAYERS, LAYERS)
@example("maxpool(3x3, stride=2, pad=1)", "maxpool(3x3, stride=2, ceil=true)")
@example("avgpool(3x3, stride=2, ceil=true)", "avgpool(3x3, stride=2, ceil=true, count_pad=false)")
@example("globalavgpool", "avgpool(9x8)")
@example("dropout(0.3)", "identity")
@example("conv(4, 3x3, stride=2, pad=1)", "conv(4, 3x3, stride=2, pad=(1, 2, 1, 1))")
@example("avgpool(3x3, stride=2, pad=(1, 0, 1, 1), ceil=true)", "avgpool(3x3, stride=2, pad=(1, 1, 1, 1), ceil=true)")
@example("conv(4, 9x8, stride=2)", "conv(4, 9x8, stride=1)")
@example("conv(4, 1x1, dilation=2)", "conv(4, 1x1)")
def test_torch_agrees(left: str, right: str) -> None:
    try:
        a, b = network(left), network(right)
    except CnnError:
        assume(False)
    result = compare(a, b)
    x, y = value(a), value(b)
    equal = x.shape == y.shape and torch.equal(x, y)
    # Means over the whole map are summed in another order by another operator.
    near = x.shape == y.shape and torch.allclose(x, y, rtol=1e-12, atol=1e-12)
    assert result.same == (equal or near), (left, right, verdicts(result))


TAILS = st.lists(st.sampled_from(["flatten", "dropout", "relu", "tanh", "dense(3)"]), max_size=5)


@settings(max_examples=150)
@given(TAILS, TAILS)
@example(["flatten", "dropout", "dense(3)"], ["dropout", "dense(3)"])
@example(["relu", "flatten", "dense(3)"], ["flatten", "relu", "dense(3)"])
@example(["flatten", "flatten", "dense(3)", "flatten"], ["dense(3)"])
@example(["flatten", "relu"], ["relu"])
@example(["relu", "dropout"], ["dropout", "relu"])
@example(["flatten", "tanh", "dense(3)"], ["relu", "dense(3)"])
def test_torch_agrees_on_flattening(left: list[str], right: list[str]) -> None:
    a, b = (network("conv(4, 3x3)", *tail) for tail in (left, right))
    x, y = value(a), value(b)
    equal = x.shape == y.shape and torch.equal(x, y)
    # relu twice, or behind a tanh and before another: what comes of one function is not asked.
    assume(not equal or [t for t in left if t in LOUD] == [t for t in right if t in LOUD])
    # At the end of the network a map and its values in a row are two outputs, whatever leads there.
    assert compare(a, b).same == equal, (left, right, verdicts(compare(a, b)))


LOUD = {"relu", "tanh", "dense(3)"}


# --- what is known of published networks -----------------------------------------------------------


def test_the_two_first_pools_of_resnet() -> None:
    """SAME shape, other network: Caffe's pool1 is 3x3/2 without padding, rounded up; torchvision's pads by 1."""
    caffe = network("pool1: maxpool(3x3, stride=2, ceil=true)", shape="[112x112x64]")
    torchvision = network("pool1: maxpool(3x3, stride=2, pad=1)", shape="[112x112x64]")
    pair = pair_of(compare(caffe, torchvision), "pool1")
    assert pair.verdict == "numbers"
    assert pair.reasons == ("pad 0 against 1: windows begin 1 pixel apart",)


def test_order_of_pool_and_lrn() -> None:
    body = "conv(96, 3x3) -> relu", "maxpool(3x3, stride=2)", "lrn"
    result = compare(network(*body), network(body[0], body[2], body[1]))
    assert not result.same
    assert sorted(verdicts(result)) == ["left", "right", *["same"] * 4]


def test_a_network_and_itself() -> None:
    graph = example_graph("vgg16")
    result = compare(graph, example_graph("vgg16"))
    assert result.same
    assert result.keys == (True, True)
    assert set(verdicts(result)) == {"same"}


def test_a_longer_network_is_the_shorter_one_with_layers_between() -> None:
    result = compare(example_graph("vgg16"), example_graph("vgg19"))
    added = [pair.right.name for pair in result.pairs if pair.right is not None and pair.verdict == "right"]
    assert added == [f"stage{n}.{layer}4" for n in (3, 4, 5) for layer in ("conv", "relu")]
    assert verdicts(result).count("same") == 39
    assert result.keys == (False, False)


def test_dropout_alone_is_no_difference() -> None:
    result = compare(network("conv(4, 3x3) -> relu -> dropout"), network("conv(4, 3x3) -> relu"))
    assert result.same
    (pair,) = (pair for pair in result.pairs if pair.verdict == "left")
    assert pair.idle


def test_wiring() -> None:
    a = network("a: conv(4, 3x3, pad=1)", "b: conv(4, 3x3, pad=1)", "add(@a)")
    b = network("a: conv(4, 3x3, pad=1)", "b: conv(4, 3x3, pad=1)", "add(@image)")
    pair = pair_of(compare(a, b), "add1")
    assert (pair.verdict, pair.reasons) == ("numbers", ("reads b, a against b, image: another tensor",))


def test_the_order_of_arms_matters_to_concat_alone() -> None:
    arms = "{ conv(4, 1x1) }", "{ maxpool(3x3, stride=1, pad=1) }"
    for join, same in (("add", True), ("mul", True), ("concat", False)):
        result = compare(network(f"{join} {{ @image {arms[0]} }}".replace("@image", "{ }")),
                         network(f"{join} {{ {arms[0]} {{ }} }}"))  # fmt: skip
        assert result.same == same, join


ARMS = (
    "{ conv(4, 3x3, pad=1) -> relu -> conv(4, 1x1) }",
    "{ conv(4, 1x1) -> tanh }",
    "{ maxpool(3x3, stride=1, pad=1) -> batchnorm }",
    "{ add { { } { conv(4, 5x5, pad=2) } } -> relu6 }",
    "{ }",
)


@pytest.mark.parametrize("join", ["add", "mul"])
def test_arms_of_a_sum_in_any_order(join: str) -> None:
    graphs = [
        network("conv(4, 3x3, pad=1)", f"{join} {{ {' '.join(arms)} }}", "relu") for arms in permutations(ARMS)
    ]
    for graph in graphs:
        result = compare(graphs[0], graph)
        assert result.same
        assert set(verdicts(result)) == {"same"}
        # Every layer is told of once, whatever stands where.
        assert sorted(p.right.name for p in result.pairs if p.right) == sorted(n.name for n in graph.nodes)
    for old, new in (("5x5, pad=2", "3x3, pad=1"), ("tanh", "relu"), ("{ }", "{ relu }")):
        arms = [arm.replace(old, new) for arm in ARMS[::-1]]
        assert not compare(graphs[0], network("conv(4, 3x3, pad=1)", f"{join} {{ {' '.join(arms)} }}", "relu")).same


def test_swapped_arms_of_an_inner_sum() -> None:
    inner = "{ conv(4, 1x1) -> relu }", "{ maxpool(3x3, stride=1, pad=1) -> tanh }"
    texts = [
        f"add {{ {{ add {{ {a} {b} }} -> batchnorm }} {{ conv(4, 3x3, pad=1) }} }}" for a, b in (inner, inner[::-1])
    ]
    swapped = f"add {{ {{ conv(4, 3x3, pad=1) }} {{ add {{ {inner[1]} {inner[0]} }} -> batchnorm }} }}"
    for other in (texts[1], swapped):
        assert compare(network("relu", texts[0]), network("relu", other)).same


def test_layers_that_only_one_has_come_where_they_stand() -> None:
    result = compare(network("a: conv(4, 1x1)", "b: tanh", "c: relu"), network("a: conv(4, 1x1)", "d: lrn", "c: relu"))
    shown = [(pair.left or pair.right).name for pair in result.pairs]
    assert shown == ["image", "a", "b", "d", "c"]


def test_a_layer_without_counterpart_is_named_as_what_is_read() -> None:
    result = compare(network("a: conv(4, 1x1)", "add { { tanh } { } }", "b: relu", "c: dense(3)"),
                     network("a: conv(4, 1x1)", "c: dense(3)"))  # fmt: skip
    assert pair_of(result, "c").reasons == ("reads b against a: another tensor",)


def test_pictures_that_a_format_does_not_describe() -> None:
    said = graph_of("network Net { input image [8x8x3] (mean=0.5, range=255) relu }")
    mute = graph_of("network Net { input image [8x8x3] relu }")
    assert not compare(said, mute).same
    for pair, silent, side in (((said, mute), (False, True), "A"), ((mute, said), (True, False), "B")):
        result = compare(*pair, silent=silent)
        assert result.same
        assert result.unsaid == (f"only {side} says how pictures become `image`: mean (0.5,), range 255",)
    # What both say is held against each other: Caffe's colours are blue, green, red.
    bgr = graph_of('network Net { input image [8x8x3] (order="bgr", range=255) relu }')
    result = compare(bgr, said, silent=(True, False))
    assert not result.same
    assert pair_of(result, "image").reasons == ('pictures are prepared in another way: order "bgr" against "rgb"',)


def test_outputs_are_told_in_their_order() -> None:
    names = [f"out{n}" for n in (3, 1, 4, 5, 9, 2, 6)]
    many = network("a: conv(4, 1x1)", *(f"output {name} {{ relu }}" for name in names))
    one = network("a: conv(4, 1x1)")
    assert compare(many, one).outputs[: len(names)] == tuple(f"output {name} is only in A" for name in names)
    assert compare(one, many).outputs[: len(names)] == tuple(f"output {name} is only in B" for name in names)
    mixed = network("a: conv(4, 1x1)", *(f"output {name} {{ tanh }}" for name in names))
    assert [text.split()[1] for text in compare(many, mixed).outputs] == []


def test_another_output() -> None:
    a = network("a: conv(4, 1x1)", "output aux { relu }", "b: conv(4, 1x1)")
    b = network("a: conv(4, 1x1)", "b: conv(4, 1x1)")
    result = compare(a, b)
    assert not result.same
    assert result.outputs == ("output aux is only in A",)


def test_weights_by_order() -> None:
    a, b = network("a: conv(4, 1x1)", "b: dense(3)"), network("x: conv(4, 1x1)", "y: dense(3)")
    assert compare(a, b).keys == (False, True)


def test_large_networks_answer() -> None:
    """Beyond `MAX_CELLS` layers are paired by their texts in order."""
    body = ["repeat 1300 { conv(4, 1x1) -> relu }"]
    a, b = network(*body, "conv(5, 1x1)"), network("tanh", *body)
    result = compare(a, replace(b, name="Other"))
    assert verdicts(result).count("same") == 2601
    assert verdicts(result).count("left") == 1


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture
def run():
    from click.testing import CliRunner

    from cnndsl.cli import cli

    def invoke(*arguments: object):
        result = CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="cnndsl")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_every_width(run, monkeypatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = run("diff", EXAMPLES / "alexnet.cnn", EXAMPLES / "alexnet_torchvision.cnn")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()[3:]  # the files' names are as long as they are
    assert max(map(len, lines)) <= columns
    assert "windows begin 2 pixels" in " ".join(" ".join(lines).split())


def test_exit_code_and_json(run) -> None:
    files = EXAMPLES / "vgg16.cnn", EXAMPLES / "vgg19.cnn"
    assert run("diff", *files, "--exit-code").exit_code == 1
    assert run("diff", files[0], files[0], "--exit-code").exit_code == 0
    found = json.loads(run("diff", *files, "--json").stdout)
    assert not found["same"]
    assert sum(layer["verdict"] == "right" for layer in found["layers"]) == 6
    assert sum(layer["b"]["parameters"] for layer in found["layers"] if layer["b"]) == 143_667_240


def test_settings_go_where_there_is_a_parameter(run) -> None:
    result = run("diff", EXAMPLES / "alexnet.cnn", EXAMPLES / "alexnet_paper.cnn", "--set", "classes=7", "--set", "k=1")
    assert result.exit_code == 0, result.stderr
    assert "AlexNet(classes=7)" in result.stdout
    assert "AlexNetPaper(classes=7, alpha=0.0005, k=1)" in result.stdout
    wrong = run("diff", EXAMPLES / "alexnet.cnn", EXAMPLES / "alexnet.cnn", "--set", "clases=7")
    assert wrong.exit_code == 1
    assert "classes" in wrong.stderr


def test_not_twice_from_standard_input(run) -> None:
    result = run("diff", "-", "-")
    assert (result.exit_code, "standard input" in result.stderr) == (2, True)


def test_files_of_other_formats(run, tmp_path: Path) -> None:
    """A Darknet file against the same network in the language."""
    cfg, net = tmp_path / "net.cfg", tmp_path / "net.cnn"
    cfg.write_text("[net]\nheight=8\nwidth=8\nchannels=3\n[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=relu\n")
    net.write_text("network Net { input image [8x8x3] conv(4, 3x3, pad=1) -> leaky_relu(slope=0.1) }")
    result = run("diff", cfg, net)
    assert result.exit_code == 0, result.stderr
    assert "relu against leaky_relu: another function" in result.stdout
    net.write_text("network Net { input image [8x8x3] conv(4, 3x3, pad=1) -> relu }")
    assert run("diff", cfg, net, "--exit-code").exit_code == 0
    assert run("diff", tmp_path / "no.onnx", net).exit_code == 1
