"""From lines to kernels and back: against the texts, against the packages' own words, and against hand-made tables."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from networks import Example, networks
from sample_networks import chosen, examples

from cnndsl.codegen.package import Package, package
from cnndsl.errors import Span
from cnndsl.files import Program, choose_network, load_path, load_text
from cnndsl.ir import Graph
from cnndsl.linemap import LineMap, line_map
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.targets import get

EXAMPLES = Path(__file__).parent.parent / "examples"
NETWORKS = chosen(examples())

TEXTS = {
    "blocks": """block inner(n) { conv(n, 3x3, pad=1) -> relu }
block outer(n) {
    inner(n)
    repeat 2 { inner(n) }
}
network T { input x [8x8x16]
    outer(16)
    body: outer(8)
}""",
    "residual": """block basic(channels, stride = 1) {
    add {
        { conv1: conv(channels, 3x3, stride=stride, pad=1, bias=false) -> bn1: batchnorm -> relu
          conv2: conv(channels, 3x3, pad=1, bias=false) -> bn2: batchnorm }
        downsample: {
            if stride != 1 or in.channels != channels {
                conv(channels, 1x1, stride=stride, bias=false) -> batchnorm
            }
        }
    }
    relu
}
network R { input image [16x16x3]
    conv(16, 3x3, pad=1)
    basic(16)
    basic(32, stride=2)
    globalavgpool
    flatten
    dense(10) }""",
    "inception": """block inception(c1, c3, proj) { concat {
    { conv(c1, 1x1) -> relu }
    { conv(c3,
           3x3, pad=1) -> relu }
    { maxpool(3x3, stride=1, pad=1) -> conv(proj, 1x1) -> relu } } }
network I { input x [8x8x16]
    inception(16, 16, 16)
    output side { globalavgpool -> dense(3) }
    i2: inception(8, 16, 8)
    adaptiveavgpool(8x8) identity
    output view { @i2 }
    flatten softmax }""",
    "order": """network O { input x [8x8x16]
    zeta: conv(16, 1x1) -> alpha: maxpool(2x2) total: add { {} {} {} {} { lost: dropout } }
    both: concat(@total)
}""",
    "copies": """network C { input x [4x4x8]
    a: conv(8, 1x1)
    both: concat(@x)
    unused: relu
    lost: dropout
    @a output given { @x dropout }
    output flat { globalmaxpool -> flatten }
    @both
    batchnorm }""",
}


def program_of(name: str) -> Program:
    return load_path(EXAMPLES / f"{name}.cnn") if name not in TEXTS else load_text(TEXTS[name], name=f"{name}.cnn")


def made_of(program: Program, *, target: str = "sm_90", keep: bool = False) -> tuple[Graph, Package]:
    graph = elaborate(program, choose_network(program, None))
    return graph, package(plan(fuse(simplify(graph)), target=get(target), dtype="fp16", keep=keep))


@cache
def made_for(name: str) -> tuple[Graph, Package]:
    return made_of(program_of(name))


# --- oracles: what is wrong with a map -------------------------------------------------------------


def against_texts(found: LineMap) -> list[str]:
    """The name of every layer stands on its line, and the name of a block on the line of its call."""
    wrong = []
    blocks = {name for other in found.lines for name in re.findall(r"^\s*block (\w+)", other.text)}
    for line in found.lines:
        words = set(re.findall(r"\w+", line.text.split("#")[0]))
        for name in line.layers:
            layer = found.layer(name)
            word = re.match(r"\w+", layer.op)[0]
            if line.number == layer.span.line and word not in words and word != "copy":
                wrong.append(f"{line.file}:{line.number} has no {word}: {line.text}")
        if line.called and not blocks & words:
            wrong.append(f"{line.file}:{line.number} calls nothing: {line.text}")
    return wrong


def against_headers(found: LineMap, made: Package) -> list[str]:
    """The head of each kernel's file names its layers with their lines, written by other code than the map."""
    wrong = []
    for kernel in made.kernels:
        entry = found.kernel(kernel.name)
        said = set(re.findall(r"^#   (\S+):(\d+) +(\S+): (\w*)", kernel.source, re.MULTILINE))
        layers = [found.layer(name) for name in entry.layers]
        ours = {
            (os.path.basename(layer.span.source.name), str(layer.span.line), layer.name) for layer in layers
        }
        if {place[:3] for place in said} != ours:
            wrong.append(f"{kernel.name}: {sorted(said)} against {sorted(ours)}")
    return wrong


def against_itself(found: LineMap, made: Package) -> list[str]:
    """From a line to its kernels and back, from a kernel to its lines and back; one chain of kernels a layer."""
    wrong = []
    for line in found.lines:
        for name in line.kernels:
            kernel = found.kernel(name)
            if (line.file, line.number) not in {*kernel.lines, *kernel.called}:
                wrong.append(f"{name} does not lead back to {line.file}:{line.number}")
    for kernel in found.kernels:
        lost = [place for place in (*kernel.lines, *kernel.called) if kernel.name not in found.at(*place).kernels]
        wrong.extend(f"{place} does not lead back to {kernel.name}" for place in lost)
    in_several = Counter(name for node in made.plan.graph.nodes for name in node.layers)
    for layer in found.layers:
        steps = {use.step for use in layer.uses}
        if (layer.fate in {"kernel", "folded"}) != bool(steps) or (layer.fate != "kernel" and not layer.why):
            wrong.append(f"{layer.name} is {layer.fate} with {layer.uses}")
        if len(steps) > 1 and not layer.op.startswith("concat") and in_several[layer.name] < 2:
            wrong.append(f"{layer.name} has several chains: {layer.uses}")
    launched = [(name, step) for step, of_step in enumerate(made.launches) for name, _ in of_step]
    used = [(use.kernel, use.step) for use in dict.fromkeys(u for layer in found.layers for u in layer.uses)]
    if sorted(set(launched)) != sorted(used):
        wrong.append(f"{launched} are launched, {used} are mapped")
    return wrong


@pytest.mark.parametrize("name", [*NETWORKS, *TEXTS])
def test_maps_are_right(name: str) -> None:
    graph, made = made_for(name)
    found = line_map(graph, made)
    assert against_texts(found) == []
    assert against_headers(found, made) == []
    assert against_itself(found, made) == []


def shifted(graph: Graph) -> Graph:
    """The graph with every place one line further down."""

    def moved(span: Span) -> Span:
        starts = span.source.line_starts
        start = starts[min(span.line, len(starts) - 1)]
        return Span(span.source, start, start + 1)

    nodes = (replace(n, span=moved(n.span), calls=tuple(map(moved, n.calls))) for n in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize("name", [*NETWORKS, *TEXTS])
def test_wrong_maps_are_found(name: str) -> None:
    graph, made = made_for(name)
    one_off = line_map(shifted(graph), made)
    assert len(against_texts(one_off)) > 1
    assert against_headers(one_off, made)
    rotated = replace(made, launches=(*made.launches[1:], made.launches[0]))
    assert against_headers(line_map(graph, rotated), made)
    found = line_map(graph, made)
    short = replace(found, kernels=tuple(replace(k, lines=k.lines[1:], called=()) for k in found.kernels))
    assert against_itself(short, made)
    last = next(x.uses for x in reversed(found.layers) if x.uses)  # a flatten behind it has no kernel
    several = replace(found, layers=tuple(replace(x, uses=(*x.uses, *last)) for x in found.layers))
    assert against_itself(several, made)


# --- by hand ---------------------------------------------------------------------------------------


def table(name: str) -> dict[str, str]:
    """For each line with layers: its layers and what became of them."""
    found = line_map(*made_for(name))
    shown = {}
    for line in found.lines:
        layers = [found.layer(each) for each in line.layers]
        parts = [f"{layer.name}: {' '.join(layer.kernels) or layer.fate}" for layer in layers]
        if line.called:
            parts.append(f"calls: {' '.join(line.kernels)}")
        if parts:
            shown[f"{os.path.basename(line.file)}:{line.number}"] = ", ".join(parts)
    return shown


def test_alexnet() -> None:
    assert table("alexnet_torchvision") == {
        "alexnet_torchvision.cnn:5": "image: input",
        "alexnet_torchvision.cnn:6": "image: input",
        "alexnet_torchvision.cnn:9": "features.0: features_0, features.relu1: features_0",
        "alexnet_torchvision.cnn:10": "features.maxpool1: features_maxpool1",
        "alexnet_torchvision.cnn:11": "features.3: features_3, features.relu2: features_3",
        "alexnet_torchvision.cnn:12": "features.maxpool2: features_maxpool2",
        "alexnet_torchvision.cnn:13": "features.6: features_6, features.relu3: features_6",
        "alexnet_torchvision.cnn:14": "features.8: features_8, features.relu4: features_8",
        "alexnet_torchvision.cnn:15": "features.10: features_10, features.relu5: features_10",
        "alexnet_torchvision.cnn:16": "features.maxpool3: features_maxpool3",
        "alexnet_torchvision.cnn:18": "avgpool: free",
        "alexnet_torchvision.cnn:20": "classifier.dropout1: free",
        "alexnet_torchvision.cnn:21": "classifier.1: classifier_1, classifier.relu1: classifier_1, "
        "classifier.dropout2: free",
        "alexnet_torchvision.cnn:22": "classifier.4: classifier_4, classifier.relu2: classifier_4",
        "alexnet_torchvision.cnn:23": "classifier.6: classifier_6",
    }


def test_vgg_with_batch_norms() -> None:
    found = line_map(*made_for("vgg16_bn"))
    main, blocks = found.files
    assert (os.path.basename(main), os.path.basename(blocks)) == ("vgg16_bn.cnn", "vgg.cnn")
    second = found.at(main, 9)
    assert second.layers == ()
    assert [name.rpartition(".")[2] for name in second.called] == [
        "conv1", "batchnorm1", "relu1", "conv2", "batchnorm2", "relu2", "maxpool1",
    ]  # fmt: skip
    assert second.kernels == ("stage2_conv1", "stage2_conv2", "stage2_maxpool1")
    convolutions = [found.layer(name) for name in found.at(blocks, 8).layers]
    assert len(convolutions) == 13
    norms = [found.layer(name) for name in found.at(blocks, 9).layers]
    assert [norm.kernels for norm in norms] == [conv.kernels for conv in convolutions]
    assert norms[0].why == "folded into the weights of stage1.conv1"
    assert found.at(blocks, 9).kernels == found.at(blocks, 8).kernels == found.at(blocks, 10).kernels
    assert found.at(blocks, 12).kernels == tuple(f"stage{i}_maxpool1" for i in range(1, 6))
    # The last two of 512 channels in one stage are alike, and so are those of the next.
    (shared,) = {k.name for k in found.kernels if "stage4.conv3" in k.layers}
    assert found.kernel(shared).called == ((main, 11),)
    assert {number for _, number in found.kernel(shared).lines} == {8, 9, 10}


def test_calls_within_calls() -> None:
    found = line_map(*made_for("blocks"))
    (file,) = found.files
    assert found.at(file, 7).called == found.at(file, 3).called[:2] + found.at(file, 4).called[:4]
    assert set(found.at(file, 1).kernels) == {k.name for k in found.kernels}
    # The first of them reads the caller's tensor and is another kernel.
    shared = found.layer("outer1.inner2.conv1").kernels
    assert found.layer("outer1.inner3.conv1").kernels == shared
    assert found.kernel(shared[0]).called == ((file, 7), (file, 4))
    assert found.kernel(shared[0]).steps == (1, 2)


def test_sums() -> None:
    found = line_map(*made_for("residual"))
    (file,) = found.files
    adds = [found.layer(name) for name in found.at(file, 2).layers]
    assert [layer.kernels for layer in adds] == [("basic1_conv2",), ("basic2_downsample_conv1",)]
    assert set(found.at(file, 7).kernels) == {"basic2_downsample_conv1"}
    assert found.layer("flatten1").why == "the dense layers after it order their weights as the map lies"


def test_every_fate() -> None:
    inception, copies = line_map(*made_for("inception")), line_map(*made_for("copies"))
    whys = {layer.name: (layer.fate, layer.why) for layer in (*inception.layers, *copies.layers) if layer.why}
    assert whys == {
        "inception1.concat1": ("in place", "its inputs are written side by side into one buffer, where it lies"),
        "i2.concat1": ("in place", "its inputs are written side by side into one buffer, where it lies"),
        "adaptiveavgpool1": ("free", "its input is [8x8x32] already"),
        "identity1": ("free", "does nothing at inference"),
        "x": ("input", "an input: the tensor that the caller passes"),
        "both": ("kernel", "copies 1 of its 2 inputs; the others are written in place"),
        "unused": ("unused", "no output depends on it"),
        "lost": ("unused", "no output depends on it"),
        "given.dropout1": ("free", "does nothing at inference"),
        "flat.flatten1": ("free", "flat.globalmaxpool1 is one pixel: its values are a vector as they lie"),
        "x.copy.given": ("kernel", "x is an output too, which has memory of its own"),
    }
    (given_out,) = copies.layer("x.copy.given").kernels
    assert copies.at("copies.cnn", 1).kernels == (given_out,)
    # A layer written on two lines stands on both.
    assert inception.at("inception.cnn", 3).layers == ("inception1.conv2", "i2.conv2")
    assert inception.at("inception.cnn", 4).layers == (
        "inception1.conv2", "inception1.relu2", "i2.conv2", "i2.relu2",
    )  # fmt: skip


def test_order() -> None:
    """Kernels of a line stand in the order of their launches; a sum of five is launched twice."""
    found = line_map(*made_for("order"))
    assert found.at("order.cnn", 2).kernels == ("zeta", "alpha", "total", "total_1")
    assert [use.step for use in found.layer("total").uses] == [2, 2]
    assert found.layer("lost").fate == "free"
    # All inputs are copied: there is nothing to tell.
    text = "network D { input x [4x4x8] concat(@x) }\n"
    twice = line_map(*made_of(load_text(text)))
    assert (twice.layer("concat1").fate, twice.layer("concat1").why) == ("kernel", "")
    assert [line.number for line in twice.lines] == [1]


def test_what_is_not_there() -> None:
    found = line_map(*made_for("blocks"))
    for call in (lambda: found.at("blocks.cnn", 0), lambda: found.at("blocks.cnn", 10), lambda: found.at("other", 1)):
        with pytest.raises(KeyError):
            call()
    with pytest.raises(KeyError):
        found.layer("conv1")
    with pytest.raises(KeyError):
        found.kernel("conv1")


def test_json() -> None:
    found = line_map(*made_for("inception"))
    data = json.loads(json.dumps(found.to_json()))
    assert [line["text"] for file in data["files"] for line in file["lines"]] == TEXTS["inception"].splitlines()
    assert data["files"][0]["lines"][6]["kernels"] == list(found.at("inception.cnn", 7).kernels)
    by_name = {layer["name"]: layer for layer in data["layers"]}
    assert by_name["i2.concat1"]["fate"] == "in place"
    span = by_name["i2.conv2"]["span"]
    assert (span["line"], span["end_line"]) == (3, 4)
    used = {use["kernel"] for layer in data["layers"] for use in layer["kernels"]}
    assert used == {kernel["name"] for kernel in data["kernels"]}


# --- networks drawn at random ----------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(networks())
def test_random_networks(network: Example) -> None:
    graph, made = made_of(load_text(network.text, name="random.cnn"))
    found = line_map(graph, made)
    assert against_texts(found) == []
    assert against_headers(found, made) == []
    assert against_itself(found, made) == []
