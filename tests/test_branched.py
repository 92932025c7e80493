"""The examples after VGG against what is published of them, and against torchvision's modules: counts and keys."""

from dataclasses import replace

import pytest
import torch
from branched import BRANCHED, HEADS, TORCHVISION, torchvision_module
from example_graphs import EXAMPLES, graph_of, keys_of, macs, node_macs, of_main, parameters, weights_of
from torch import nn
from torchvision_models import models

from cnndsl.errors import CnnError
from cnndsl.files import choose_network, load_text
from cnndsl.ir import InputSpec, TensorType
from cnndsl.passes.elaborate import elaborate

MODELS = [name for name, published in BRANCHED.items() if published.model]


def macs_by_hooks(module: nn.Module) -> int:
    """What a module's convolutions and dense layers multiply for one picture, by the shapes that flow through it."""
    total = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = layer.get_parameter("weight")
        total += output.numel() * weight[0].numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    module(torch.empty(1, 3, 224, 224, device="meta"))
    return total


# --- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BRANCHED)
def test_counts(name: str) -> None:
    assert of_main(graph_of(name)) == (BRANCHED[name].parameters, BRANCHED[name].macs)


@pytest.mark.parametrize("name", BRANCHED)
def test_counts_with_auxiliary_heads(name: str) -> None:
    graph = graph_of(name)
    assert (parameters(graph), macs(graph)) == HEADS.get(name, (BRANCHED[name].parameters, BRANCHED[name].macs))


@pytest.mark.parametrize("name", [name for name, published in BRANCHED.items() if published.gmacs])
def test_published_cost(name: str) -> None:
    """Within one of the last decimal: papers cut off where others round."""
    figure = BRANCHED[name].gmacs
    assert abs(BRANCHED[name].macs / 1e9 - float(figure)) < 10.0 ** -len(figure.partition(".")[2])


@pytest.mark.parametrize("name", MODELS)
def test_torchvision_counts_the_same(name: str) -> None:
    weights = models().get_model_weights(BRANCHED[name].model)["IMAGENET1K_V1"]
    published = BRANCHED[name]
    assert (weights.meta["num_params"], f"{weights.meta['_ops']:.3f}") == (published.parameters, published.gmacs)
    assert published.source == TORCHVISION
    assert macs_by_hooks(torchvision_module(str(BRANCHED[name].model))) == published.macs


# What the paper's table 1 says: shape, thousands (of 1024) of weights, millions of multiply-accumulates. None where it
# cannot be: the first line has 2.7K and 34M, where a 7x7 convolution from 3 to 64 channels has 9.2K and 118M; 5a has
# 54M, and the filters that stand beside it 51M; and six blocks have 3 to 54 thousand weights more or less than theirs.
GOOGLENET = {
    "conv1": ((112, 112, 64), None, None),
    "pool1": ((56, 56, 64), 0, 0),
    "conv2": ((56, 56, 192), 112, 360),
    "pool2": ((28, 28, 192), 0, 0),
    "inception_3a": ((28, 28, 256), 159, 128),
    "inception_3b": ((28, 28, 480), 380, 304),
    "pool3": ((14, 14, 480), 0, 0),
    "inception_4a": ((14, 14, 512), None, 73),
    "inception_4b": ((14, 14, 512), 437, 88),
    "inception_4c": ((14, 14, 512), None, 100),
    "inception_4d": ((14, 14, 528), None, 119),
    "inception_4e": ((14, 14, 832), None, 170),
    "pool4": ((7, 7, 832), 0, 0),
    "inception_5a": ((7, 7, 832), None, None),
    "inception_5b": ((7, 7, 1024), None, 71),
    "globalavgpool": ((1, 1, 1024), 0, 0),
    "classifier": ((1000,), 1000, 1),
}


def test_table_of_googlenet() -> None:
    graph = graph_of("googlenet")
    for row, (shape, kilo, mega) in GOOGLENET.items():
        nodes = [n for n in graph.nodes if n.name.startswith((f"{row}.", f"{row}_", f"{row}1")) or n.name == row]
        assert nodes[-1].type.shape == shape, row
        size = sum(w.size for n, w in weights_of(graph) if n in nodes and w.name == "weight")
        assert kilo is None or abs(size / 1024 - kilo) <= 1, row
        assert mega is None or abs(sum(node_macs(graph, n) for n in nodes) / 1e6 - mega) < 1, row


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_keys_are_torchvision_s(name: str) -> None:
    state = torchvision_module(str(BRANCHED[name].model)).state_dict()
    theirs = {key: tuple(t.shape) for key, t in state.items() if not key.endswith("num_batches_tracked")}
    assert keys_of(graph_of(name)) == theirs
    if name not in IN_OTHER_ORDER:
        assert list(keys_of(graph_of(name))) == list(theirs)


IN_OTHER_ORDER = {"googlenet_torchvision"}
"""Auxiliary heads stand where they branch off; in the checkpoint they stand at its end."""


def test_both_resnet50_have_the_same_keys() -> None:
    assert keys_of(graph_of("resnet50_v1")) == keys_of(graph_of("resnet50"))
    assert BRANCHED["resnet50_v1"].macs < BRANCHED["resnet50"].macs


def test_keys_of_googlenet_tell_caffe_s_layers() -> None:
    """inception_3a/3x3_reduce is inception_3a.conv_3x3_reduce here, since labels hold no strokes."""
    keys = keys_of(graph_of("googlenet"))
    assert keys["inception_3a.conv_3x3_reduce.weight"] == (96, 192, 1, 1)
    assert keys["inception_5b.pool_proj.weight"] == (128, 832, 1, 1)
    assert keys["aux1.fc.weight"] == (1024, 2048)


# --- pictures and classes ------------------------------------------------------------------------

IMAGENET = InputSpec(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CAFFE = InputSpec(resize=256, crop=224, mean=(103.939, 116.779, 123.68), range=255, order="bgr")
SPECS = {
    "googlenet": replace(CAFFE, resize=(256, 256), mean=(104, 117, 123)),
    "googlenet_torchvision": replace(IMAGENET, mean=(0.5,), std=(0.5,)),
    "resnet50_v1": CAFFE,
    "zfnet": replace(CAFFE, order="rgb", mean=(123.68, 116.779, 103.939)),
    "darknet19": InputSpec(resize=224, crop=224),
    "efficientnet_b0": replace(IMAGENET, interpolation="bicubic"),
}


@pytest.mark.parametrize("name", sorted(SPECS.keys() | MODELS))
def test_preprocessing(name: str) -> None:
    (node,) = graph_of(name).inputs
    assert node.type.shape == (224, 224, 3)
    assert node.spec == SPECS.get(name, IMAGENET)


@pytest.mark.parametrize("name", MODELS)
def test_preprocessing_is_torchvision_s(name: str) -> None:
    """That of GoogLeNet, which the network itself undoes, is compared by its results, in test_branched_numbers.py."""
    transform = models().get_model_weights(BRANCHED[name].model)["IMAGENET1K_V1"].transforms()
    (node,) = graph_of(name).inputs
    assert (node.spec.resize, node.spec.crop) == (*transform.resize_size, *transform.crop_size)
    if name != "googlenet_torchvision":
        assert (node.spec.mean, node.spec.std) == (tuple(transform.mean), tuple(transform.std))


@pytest.mark.parametrize("name", BRANCHED)
def test_classes_can_be_set(name: str) -> None:
    graph = graph_of(name, classes=7)
    assert {graph.by_name[layer].type for _, layer in graph.outputs} == {TensorType((7,))}


# --- mutations: each must be seen by the tests above, or by the file's own shapes -----------------

MUTATIONS = [
    ("googlenet", "inception(128, 128, 256, 24, 64, 64)", "inception(128, 128, 256, 32, 64, 64)"),
    ("googlenet", "conv(c5, 5x5, pad=2)", "conv(c5, 3x3, pad=1)"),
    ("googlenet", "pool_proj:       ", ""),
    ("googlenet_torchvision", "1: unit(proj, 1x1)", "unit(proj, 1x1)"),
    ("googlenet_torchvision", "bias=false", "bias=true"),
    ("resnet50", "bottleneck(64, stride=1)", "bottleneck(64)"),
    ("resnet50", "repeat 6", "repeat 5"),
    ("resnet50_v1", "1x1, stride=stride, bias=false) -> bn1", "1x1, bias=false) -> bn1"),
    ("squeezenet1_0", "7: fire(32, 128)", "7: fire(48, 128)"),
    ("squeezenet1_0", "54x54x96]", "55x55x96]"),
    ("zfnet", "stride=2, pad=1", "stride=2, pad=2"),
    ("darknet19", "conv15: unit(512, 1x1)", "conv15: unit(512, 3x3)"),
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
        assert (of_main(graph), keys_of(graph)) != (of_main(graph_of(name)), keys_of(graph_of(name)))
    # The shapes that the file asserts see the others, or a sum of arms that do not fit any more.
    assert codes <= {"E0301", "E0303"}
