"""Why kernels are apart, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import boundary_checks
import pytest
from boundary_checks import check_costs, check_edges
from hypothesis import given
from networks import Example, networks
from stages import EXAMPLES, graph_of, groups_of, written

from cnndsl.files import choose_network, load_path
from cnndsl.ir import Graph
from cnndsl.passes import fuse as fusing
from cnndsl.passes import plan as planning
from cnndsl.passes.boundaries import boundaries, free_layers, unfused, values_moved
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import Groups, fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.targets import get

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.cnn") if "network " in path.read_text())  # others are libraries
X = "input x [8x8x4]"
GOLDEN = Path(__file__).with_name("golden")


def example(name: str) -> Graph:
    program = load_path(EXAMPLES / f"{name}.cnn")
    return elaborate(program, choose_network(program, None))


def check_free(graph: Graph, groups: Groups) -> None:
    """Every layer is computed by a launch, or free; never both."""
    planned = plan(groups, target=get("sm_90"), dtype="fp16")
    launched = {node.layer for step in planned.steps for node in step.group.computed if step.launches}
    free = [layer.node.name for layer in free_layers(graph, groups)]
    assert len(free) == len(set(free))
    layers = {node.name for node in graph.nodes if node.op is not None}
    assert set(free) == layers - launched
    assert all(layer.fate and layer.reason for layer in free_layers(graph, groups))


def check(graph: Graph) -> None:
    groups = fuse(simplify(graph))
    check_edges(groups)
    check_costs(groups)
    check_free(graph, groups)
    assert values_moved(unfused(groups.graph)) >= values_moved(groups)
    text = fusing.show(groups, graph=graph, dtype="bf16", batch=7)
    assert all(node.name.split(".")[0] in text for node in graph.nodes)
    assert max(map(len, text.splitlines())) <= 100 or any(len(name) > 40 for name in graph.by_name)


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str) -> None:
    check(example(name))


@given(networks())
def test_random_networks(network: Example) -> None:
    check(written(network.text))


@pytest.mark.parametrize("wrong", [
    lambda b: replace(b, read=b.read + 1),
    lambda b: replace(b, written=0),
    lambda b: replace(b, reason=""),
    lambda b: replace(b, tensor="x"),
])
def test_wrong_boundaries_are_noticed(wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = groups_of(f"{X} a: conv(4, 1) r: relu p: maxpool(2)")
    right = boundaries(groups)
    monkeypatch.setattr(boundary_checks, "boundaries", lambda _: (*right[:1], wrong(right[1]), *right[2:]))
    with pytest.raises(AssertionError):
        check_all(groups)


def check_all(groups: Groups) -> None:
    check_edges(groups)
    check_costs(groups)


# --- free layers, and the text ---------------------------------------------------------------------


def test_free_layers() -> None:
    graph = graph_of(f"""{X} a: conv(2, 1) n: batchnorm d: dropout q: adaptiveavgpool(8) unused: relu @q
        c: concat {{ {{ conv(1, 1) }} {{ conv(1, 1) }} }} f: flatten e: dense(3) g: flatten i: identity""")
    found = {layer.node.name: (layer.fate, layer.reason) for layer in free_layers(graph, fuse(simplify(graph)))}
    assert found == {
        "n": ("folded", "folded into the weights of a"),
        "d": ("free", "does nothing at inference"),
        "q": ("free", "its input is [8x8x2] already"),
        "unused": ("unused", "no output depends on it"),
        "c": ("in place", "its inputs are written side by side into one buffer, where it lies"),
        "f": ("free", "the dense layers after it order their weights as the map lies"),
        "g": ("free", "its input is [3] already"),
        "i": ("free", "does nothing at inference"),
    }
    graph = graph_of(f"{X} g: globalavgpool f: flatten r: relu")
    found = {layer.node.name: (layer.fate, layer.reason) for layer in free_layers(graph, fuse(simplify(graph)))}
    assert found == {"f": ("free", "r is one pixel: its values are a vector as they lie")}
    # What a rewrite puts elsewhere is named where it goes, but is not free.
    graph = graph_of(f"""{X} n: batchnorm g: avgpool(2) b: conv(4, 1) output o {{ @g conv(3, 1) }}
        maxpool(2) m: batchnorm c: concat {{ {{ d: conv(1, 1) }} {{ e: conv(2, 1) }} }} l: batchnorm relu
        k: concat {{ {{ conv(1, 1) }} {{ maxpool(1) }} }} shuffle: channel_shuffle(2) silu""")
    found = {layer.node.name: (layer.fate, layer.reason) for layer in free_layers(graph, fuse(simplify(graph)))}
    assert found == {
        "n": ("folded", "folded into the weights of b and o.conv1"),
        "m": ("folded", "folded into the weights of d and e"),
        "l": ("folded", "folded into the weights of d and e"),
        "c": ("in place", "its inputs are written side by side into one buffer, where it lies"),
        "k": ("in place", "its inputs are written side by side into one buffer, where it lies"),
    }
    graph = graph_of(f"{X} a: relu b: tanh k: concat(@a) @b l: concat(@a) output o {{}} @k conv(2, 1)")
    found = {layer.node.name: (layer.fate, layer.reason) for layer in free_layers(graph, fuse(simplify(graph)))}
    assert found["l"] == ("in place", "k holds the same")


EVERYTHING = f"""{X} a: conv(4, 3, pad=1) n: batchnorm r: relu
    concat {{ {{ b: conv(4, 1) -> relu }} {{ p: maxpool(3, stride=1, pad=1) }} }} l: lrn q: maxpool(2)
    s: add {{ {{ conv(8, 1) }} {{}} }} k: concat(@q, @q) m: mul(@k, @k, @k, @k) globalavgpool flatten -> dropout
    output logits {{ dense(1000) }} softmax"""


@pytest.mark.parametrize("name", ["alexnet_paper", "everything"])
def test_text(name: str, update_golden: bool) -> None:
    graph = graph_of(EVERYTHING) if name == "everything" else example(name)
    batch = 16 if name == "everything" else 1
    text = fusing.show(fuse(simplify(graph)), graph=graph, dtype="fp16", batch=batch) + "\n"
    path = GOLDEN / f"groups_{name}.txt"
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_some_groups_alone() -> None:
    graph = example("alexnet")
    groups = fuse(simplify(graph))
    whole = fusing.show(groups, graph=graph).splitlines()
    some = fusing.show(replace(groups, groups=groups.groups[1:2]), graph=graph).splitlines()
    assert some[0] == whole[0]
    assert "\n".join(some[1:]) in "\n".join(whole)
    assert some[2].startswith("  2 pool1 + norm1")
    assert len(some) < 8


def test_text_without_arguments() -> None:
    groups = groups_of(f"{X} a: conv(4, 1) dropout")
    text = fusing.show(groups)
    assert "1 layer in 1 kernel, fp32, one picture" in text
    assert "dropout" not in text
    assert "weights 80 B" in text  # 4 x 4 filters and 4 biases, of 4 bytes
    assert "weights 48 B" in fusing.show(groups, dtype="fp16")  # biases stay fp32


def test_what_no_output_depends_on_is_unused_whatever_else_it_is() -> None:
    graph = graph_of(f"{X} a: relu b: conv(2, 1) @b n: batchnorm @b d: dropout @a r: relu")
    found = {layer.node.name: layer.fate for layer in free_layers(graph, fuse(simplify(graph)))}
    assert found == dict.fromkeys("bnd", "unused")


def test_places_in_several_files(tmp_path: Path) -> None:
    """Lines of the network's own file have no name."""
    (tmp_path / "blocks.cnn").write_text("block narrow(c) {\n    conv(c, 1)\n    tanh\n}\n", encoding="utf-8")
    path = tmp_path / "net.cnn"
    path.write_text(
        'use "blocks.cnn"\nnetwork N {\n    input x [4x4x4]\n    conv(3, 1)\n    relu\n    narrow(2)\n    relu\n}\n',
        encoding="utf-8",
    )
    program = load_path(path)
    groups = fuse(simplify(elaborate(program, choose_network(program, None))))
    ends = [line.rsplit("  ", 1)[-1].strip() for line in fusing.show(groups).splitlines() if line[:3].strip().isdigit()]
    assert ends == ["lines 4-5", "blocks.cnn:2-3", "line 7"]
    planned = planning.show(plan(groups, target=get("sm_90"), dtype="fp16")).splitlines()
    assert [line.rsplit("  ", 1)[-1] for line in planned if line[:5].strip().isdigit()] == [
        "line 4", "blocks.cnn:2", "line 7",
    ]
