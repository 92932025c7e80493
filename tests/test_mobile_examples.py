"""MobileNets, DenseNet, ShuffleNet, RegNets and EfficientNet: what their papers say of single layers."""

from collections import Counter
from dataclasses import replace

import pytest
from example_graphs import EXAMPLES, graph_of, keys_of, macs, node_macs, parameters, weights_of

from cnndsl.errors import CnnError
from cnndsl.files import choose_network, load_text
from cnndsl.ir import Graph, InputSpec, Node, TensorType
from cnndsl.passes.elaborate import elaborate

NETWORKS = (
    "densenet121", "efficientnet_b0", "mobilenet_v1", "mobilenet_v2", "regnet_x_400mf", "regnet_y_400mf",
    "shufflenet_v1",
)  # fmt: skip


def kind(node: Node) -> str:
    """A layer with weights as MobileNet's table 2 sorts them."""
    return "fc" if node.name == "fc" else node.name.rpartition(".")[2]


def shares(counts: Counter[str]) -> dict[str, float]:
    return {name: round(100 * count / counts.total(), 2) for name, count in counts.items() if count}


def test_table_2_of_mobilenet() -> None:
    """Percentages of its layers. The table gives the first convolution 1.19% of the cost, and 99.29% in all."""
    graph = graph_of("mobilenet_v1")
    cost: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for node in graph.nodes:
        cost[kind(node)] += node_macs(graph, node)
    for node, weight in weights_of(graph):
        if node.op is not None and node.op.name != "batchnorm" and weight.name == "weight":
            weights[kind(node)] += weight.size
    assert shares(cost) == {"pointwise": 94.86, "depthwise": 3.06, "conv1": 1.91, "fc": 0.18}
    assert shares(weights) == {"pointwise": 74.59, "depthwise": 1.06, "conv1": 0.02, "fc": 24.33}


# Layers of one kind in the whole network: the papers' tables and texts count them.
COUNTED = {
    "densenet121": ("conv", 120),  # and the dense layer: 121
    "efficientnet_b0": ("mul", 16),
    "mobilenet_v1": ("conv", 27),  # "28 layers", with the dense one
    "mobilenet_v2": ("add", 10),  # 17 bottlenecks, of which 7 change their shape
    "regnet_x_400mf": ("add", 22),
    "regnet_y_400mf": ("mul", 16),
    "shufflenet_v1": ("channel_shuffle", 16),
}


@pytest.mark.parametrize("name", COUNTED)
def test_numbers_of_layers(name: str) -> None:
    op, count = COUNTED[name]
    assert sum(node.op is not None and node.op.name == op for node in graph_of(name).nodes) == count


def test_densenet_grows_by_32() -> None:
    graph = graph_of("densenet121")
    for block, (layers, first) in enumerate([(6, 64), (12, 128), (24, 256), (16, 512)], start=1):
        path = f"features.denseblock{block}.denselayer"
        grown = [graph.by_name[f"{path}{i}.concat1"].type.shape[-1] for i in range(1, layers + 1)]
        assert grown == [first + 32 * i for i in range(1, layers + 1)]
        assert f"{path}{layers + 1}.concat1" not in graph.by_name


@pytest.mark.parametrize("name", ["regnet_x_400mf", "regnet_y_400mf"])
def test_groups_of_regnet_have_one_width(name: str) -> None:
    keys = keys_of(graph_of(name))
    widths = {shape[1] for key, shape in keys.items() if key.endswith("f.b.0.weight")}
    assert widths == {{"x": 16, "y": 8}[name.split("_")[1]]}


IMAGENET = InputSpec(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.mark.parametrize("name", NETWORKS)
def test_preprocessing(name: str) -> None:
    (node,) = graph_of(name).inputs
    others = {
        "mobilenet_v1": InputSpec(resize=256, crop=224, mean=(0.5,), std=(0.5,)),
        "efficientnet_b0": replace(IMAGENET, interpolation="bicubic"),
    }
    assert (node.type, node.spec) == (TensorType((224, 224, 3)), others.get(name, IMAGENET))


# --- mutations: each must be seen by counts and keys, or by the file's own shapes ------------------

MUTATIONS = [
    ("densenet121", "denseblock(24) ", "denseblock(23) "),
    ("densenet121", "norm5: batchnorm -> relu", "batchnorm -> relu"),
    ("densenet121", "conv(4 * growth", "conv(3 * growth"),
    ("efficientnet_b0", "squeeze = in.channels // 4", "squeeze = 6 * in.channels // 4"),
    ("efficientnet_b0", "mbconv(112, 5)   ", "mbconv(112, 3)   "),
    ("efficientnet_b0", '    "block": {', "    inner: {"),
    ("mobilenet_v1", "repeat 5", "repeat 4"),
    ("mobilenet_v1", "groups=in.channels, ", ""),
    ("mobilenet_v2", "       17: inverted(320)", "       17: inverted(320, stride=2)"),
    ("mobilenet_v2", "conv(channels, 1x1, bias=false)\n    3:", "conv(channels, 1x1)\n    3:"),
    ("regnet_x_400mf", 'repeat 11 { "block4-":', 'repeat 11 { "block4_":'),
    ("regnet_y_400mf", '"block2-": bottleneck(104, 8, excited=true) }', '"block2-": bottleneck(104, 8) }'),
    ("shufflenet_v1", "down(240, groups=1)", "down(240)"),
    ("shufflenet_v1", "channels // 4, stride=2", "(channels - in.channels) // 4, stride=2"),
]  # fmt: skip


def facts(graph: Graph) -> tuple[int, int, dict[str, tuple[int, ...]]]:
    return parameters(graph), macs(graph), keys_of(graph)


@pytest.mark.parametrize(("name", "old", "new"), MUTATIONS)
def test_mutations_are_seen(name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    text = (EXAMPLES / f"{name}.cnn").read_text()
    assert old in text
    try:
        program = load_text(text.replace(old, new))
        graph = elaborate(program, choose_network(program, None))
    except CnnError as error:
        codes = {d.code for d in error.diagnostics}
    else:
        codes = set()
        assert facts(graph) != facts(graph_of(name))
    assert codes <= {"E0301"}  # the file's own shape assertions see the others
