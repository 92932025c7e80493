"""The example networks against what is published of them: shapes, parameters, costs and weight keys.

Those with branches, and those of torchvision's but AlexNet, are in test_branched.py.
"""

import pytest
from branched import BRANCHED
from example_graphs import EXAMPLES, graph_of, keys_of, macs, parameters, weights_of

from cnndsl.errors import CnnError
from cnndsl.files import choose_network, load_path, load_text
from cnndsl.ir import Graph, InputSpec, TensorType
from cnndsl.passes.elaborate import elaborate

BLOCKS = {"regnet.cnn", "resnet.cnn", "squeezenet.cnn", "vgg.cnn"}
"""Files that hold blocks for others and no network."""

Dims = tuple[int, ...]


# Parameters, and millions of multiply-accumulates in convolutions and dense layers. LeCun's paper counts
# 60,000 parameters, with a c3 that sees only some of s2's maps; 61,706 is the count with all of them.
PUBLISHED = {
    "lenet5": (61_706, 0.41652),
    "alexnet": (62_378_344, 1_135.256096),
    "alexnet_paper": (60_965_224, 724.406816),
    "alexnet_torchvision": (61_100_840, 714.18848),
    "vgg11": (132_863_336, 7_609.090048),
    "vgg13": (133_047_848, 11_308.466176),
    "vgg16": (138_357_544, 15_470.26432),
    "vgg19": (143_667_240, 19_632.062464),
    "vgg16_bn": (138_365_992, 15_470.26432),
}


def test_every_example_is_in_the_table() -> None:
    found = {path.name for path in EXAMPLES.glob("*.cnn")}
    assert found == {f"{name}.cnn" for name in (*PUBLISHED, *BRANCHED)} | BLOCKS


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts(name: str) -> None:
    graph = graph_of(name)
    assert (parameters(graph), macs(graph) / 1e6) == PUBLISHED[name]


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_block_files_read(name: str) -> None:
    program = load_path(EXAMPLES / name)
    assert program.blocks
    assert not program.networks


@pytest.mark.parametrize("name", PUBLISHED)
def test_classes_can_be_set(name: str) -> None:
    graph = graph_of(name, classes=7)
    assert graph.by_name[dict(graph.outputs)["main"]].type == TensorType((7,))


# --- shapes, layer by layer ----------------------------------------------------------------------

TOWERS = {
    "image": (227, 227, 3),
    "conv1": (55, 55, 96),
    "pool1": (27, 27, 96),
    "norm1": (27, 27, 96),
    "conv2": (27, 27, 256),
    "pool2": (13, 13, 256),
    "norm2": (13, 13, 256),
    "conv3": (13, 13, 384),
    "conv4": (13, 13, 384),
    "conv5": (13, 13, 256),
    "pool3": (6, 6, 256),
    "fc6": (4096,),
    "fc7": (4096,),
    "fc8": (1000,),
}
"""The table of the CS231n notes, its three CONV3 numbered 3, 4 and 5."""

SHAPES: dict[str, dict[str, Dims]] = {
    "lenet5": {
        "digit": (28, 28, 1),
        "c1": (28, 28, 6),
        "s2": (14, 14, 6),
        "c3": (10, 10, 16),
        "s4": (5, 5, 16),
        "c5": (120,),
        "f6": (84,),
        "out": (10,),
    },
    "alexnet": TOWERS,
    "alexnet_paper": {
        **{name: shape for name, shape in TOWERS.items() if name not in {"norm1", "norm2", "pool3"}},
        "norm1": (55, 55, 96),
        "norm2": (27, 27, 256),
        "pool5": (6, 6, 256),
    },
    "alexnet_torchvision": {
        "image": (224, 224, 3),
        "features.0": (55, 55, 64),
        "features.maxpool1": (27, 27, 64),
        "features.3": (27, 27, 192),
        "features.maxpool2": (13, 13, 192),
        "features.6": (13, 13, 384),
        "features.8": (13, 13, 256),
        "features.10": (13, 13, 256),
        "features.maxpool3": (6, 6, 256),
        "avgpool": (6, 6, 256),
        "classifier.1": (4096,),
        "classifier.4": (4096,),
        "classifier.6": (1000,),
    },
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    graph = graph_of(name)
    assert {layer: graph.by_name[layer].type.shape for layer in SHAPES[name]} == SHAPES[name]


ORDERS = {
    "alexnet": "conv relu maxpool lrn conv relu maxpool lrn conv relu conv relu conv relu maxpool",
    "alexnet_paper": "conv relu lrn maxpool conv relu lrn maxpool conv relu conv relu conv relu maxpool",
    "alexnet_torchvision": "conv relu maxpool conv relu maxpool conv relu conv relu conv relu maxpool",
}


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_layers(name: str) -> None:
    """Where pooling and normalisation stand tells the AlexNets apart; shapes alone do not."""
    ops = [node.op.name for node in graph_of(name).nodes if node.op is not None]
    assert " ".join(ops).startswith(ORDERS[name])


VGG16 = [
    ("image", (224, 224, 3), 150_528, 0),
    ("stage1.conv1", (224, 224, 64), 3_211_264, 1_728),
    ("stage1.conv2", (224, 224, 64), 3_211_264, 36_864),
    ("stage1.maxpool1", (112, 112, 64), 802_816, 0),
    ("stage2.conv1", (112, 112, 128), 1_605_632, 73_728),
    ("stage2.conv2", (112, 112, 128), 1_605_632, 147_456),
    ("stage2.maxpool1", (56, 56, 128), 401_408, 0),
    ("stage3.conv1", (56, 56, 256), 802_816, 294_912),
    ("stage3.conv2", (56, 56, 256), 802_816, 589_824),
    ("stage3.conv3", (56, 56, 256), 802_816, 589_824),
    ("stage3.maxpool1", (28, 28, 256), 200_704, 0),
    ("stage4.conv1", (28, 28, 512), 401_408, 1_179_648),
    ("stage4.conv2", (28, 28, 512), 401_408, 2_359_296),
    ("stage4.conv3", (28, 28, 512), 401_408, 2_359_296),
    ("stage4.maxpool1", (14, 14, 512), 100_352, 0),
    ("stage5.conv1", (14, 14, 512), 100_352, 2_359_296),
    ("stage5.conv2", (14, 14, 512), 100_352, 2_359_296),
    ("stage5.conv3", (14, 14, 512), 100_352, 2_359_296),
    ("stage5.maxpool1", (7, 7, 512), 25_088, 0),
    ("fc6", (4096,), 4_096, 102_760_448),
    ("fc7", (4096,), 4_096, 16_777_216),
    ("fc8", (1000,), 1_000, 4_096_000),
]
"""The CS231n notes' table of VGG-16: layer, shape, values held, parameters without biases."""


def vgg_table(graph: Graph) -> list[tuple[str, Dims, int, int]]:
    """What the notes tabulate: every layer but activations and dropout."""
    shown = [n for n in graph.nodes if n.op is None or n.op.name in {"conv", "maxpool", "dense"}]
    sizes = {n.name: 0 for n in shown}
    for node, weight in weights_of(graph):
        sizes[node.name] += weight.size if weight.name == "weight" else 0
    return [(n.name, n.type.shape, n.type.size, sizes[n.name]) for n in shown]


def test_vgg16_table() -> None:
    graph = graph_of("vgg16")
    assert vgg_table(graph) == VGG16
    assert parameters(graph, biases=False) == 138_344_128


VGG_STAGES = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
    "vgg16_bn": (2, 2, 3, 3, 3),
}
"""Convolutions before each pooling: configurations A, B, D and E of the paper's table 1."""


@pytest.mark.parametrize("name", VGG_STAGES)
def test_vgg_stages(name: str) -> None:
    graph = graph_of(name)
    convs = [n for n in graph.nodes if n.op is not None and n.op.name == "conv"]
    stages = tuple(sum(n.name.startswith(f"stage{i}.") for n in convs) for i in range(1, 6))
    assert stages == VGG_STAGES[name]
    assert [graph.by_name[f"stage{i}.maxpool1"].type.shape for i in range(1, 6)] == [
        (112, 112, 64), (56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 512),
    ]


def test_vgg16_bn_normalises_after_every_convolution() -> None:
    graph = graph_of("vgg16_bn")
    for node in graph.nodes:
        if node.op is not None and node.op.name == "conv":
            (user,) = graph.users[node.name]
            assert user.op is not None
            assert user.op.name == "batchnorm"
            assert [w.name for w in node.op.weights(*graph.types_of(node))] == ["weight", "bias"]


# --- weights and pictures ------------------------------------------------------------------------

TORCHVISION_ALEXNET = {
    "features.0.weight": (64, 3, 11, 11),
    "features.0.bias": (64,),
    "features.3.weight": (192, 64, 5, 5),
    "features.3.bias": (192,),
    "features.6.weight": (384, 192, 3, 3),
    "features.6.bias": (384,),
    "features.8.weight": (256, 384, 3, 3),
    "features.8.bias": (256,),
    "features.10.weight": (256, 256, 3, 3),
    "features.10.bias": (256,),
    "classifier.1.weight": (4096, 9216),
    "classifier.1.bias": (4096,),
    "classifier.4.weight": (4096, 4096),
    "classifier.4.bias": (4096,),
    "classifier.6.weight": (1000, 4096),
    "classifier.6.bias": (1000,),
}


def test_keys_of_torchvision() -> None:
    assert list(keys_of(graph_of("alexnet_torchvision")).items()) == list(TORCHVISION_ALEXNET.items())


IMAGENET = InputSpec(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SPECS = {
    "lenet5": InputSpec(resize=(28, 28), mean=(0.1307,), std=(0.3081,)),
    "alexnet": InputSpec(resize=256, crop=227, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "alexnet_paper": InputSpec(
        resize=(256, 256), crop=227, mean=(104.007, 116.669, 122.679), range=255, order="bgr"
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_preprocessing(name: str) -> None:
    (node,) = graph_of(name).inputs
    assert node.spec == SPECS.get(name, IMAGENET)


# --- mutations: each must be seen by the tests above ---------------------------------------------

MUTATIONS = [
    ("lenet5", "5x5, pad=2", "5x5, pad=3"),
    ("lenet5", "dense(84)", "dense(85)"),
    ("alexnet", "11x11, stride=4", "11x11, stride=5"),
    ("alexnet", "5x5, pad=2", "5x5, pad=1"),
    ("alexnet_paper", "pad=2, groups=2", "pad=2"),
    ("alexnet_torchvision", "pad=2) -> relu     [55", "pad=0) -> relu     [55"),
    ("alexnet_torchvision", "dropout(0.5)\n        1:", "dropout(0.5)\n        2:"),
    ("vgg16", "stage(3, 256)", "stage(4, 256)"),
    ("vgg16_bn", "stage(2, 64, bn=true)", "stage(2, 64)"),
]


@pytest.mark.parametrize(("name", "old", "new"), MUTATIONS)
def test_mutations_are_seen(name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    text = (EXAMPLES / f"{name}.cnn").read_text()
    assert text.count(old) == 1
    try:
        program = load_text(text.replace(old, new))
        graph = elaborate(program, choose_network(program, None))
    except CnnError as error:
        codes = {d.code for d in error.diagnostics}
    else:
        codes = set()
        assert facts(graph) != facts(graph_of(name))
    assert codes <= {"E0301"}  # the file's own shape assertions see the others


def facts(graph: Graph) -> tuple[int, int, list[str]]:
    return parameters(graph), macs(graph), list(keys_of(graph))
