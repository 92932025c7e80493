"""Two networks side by side: heads of several outputs, and batch norms that one of the two may have folded."""

import re
from dataclasses import replace
from itertools import permutations, product
from random import Random

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnndsl.compare import compare
from cnndsl.ir import Graph
from tests.test_compare import EXAMPLES, example_graph, graph_of, network, pair_of, value, verdicts


def swapped(text: str, *swaps: tuple[str, str]) -> str:
    for old, new in swaps:
        assert old in text
        text = text.replace(old, new)
    return text


# --- the oracle ------------------------------------------------------------------------------------


TRUNK = ("conv(4, 3x3, pad=1)", "tanh", "conv(4, 5x5, pad=2)", "conv(4, 3x3)")
HEADS = st.lists(st.sampled_from(["conv(4, 1x1)", "tanh", "dropout", "lrn", "dense(3)"]), min_size=1, max_size=3).map(
    # What comes behind a dense layer has a vector to read.
    lambda layers: sorted(layers, key="dense(3)".__eq__)
)


@st.composite
def heads(draw: st.DrawFn) -> dict[str, tuple[int, list[str]]]:
    """Heads by the names of their outputs: behind which layer of the trunk each stands, and its layers."""
    places = st.tuples(st.integers(1, len(TRUNK)), HEADS)
    return {name: draw(places) for name in ("aux1", "aux2", "aux3")[: draw(st.integers(1, 3))]}


def headed(heads: dict[str, tuple[int, list[str]]], *, early: bool, main: str = "globalavgpool") -> Graph:
    """A trunk with heads, each where it leaves the trunk or all of them in their order behind the last layer."""
    lines = [f"t{n}: {layer}" for n, layer in enumerate(TRUNK, 1)] + [main, "dense(3)"]
    if early:
        for place, name, layers in sorted(((p, n, x) for n, (p, x) in heads.items()), reverse=True):
            lines.insert(place, f"output {name} {{ {' -> '.join(layers)} }}")
    else:
        lines += [f"output {name} {{ @t{place} -> {' -> '.join(layers)} }}" for name, (place, layers) in heads.items()]
    return network(*lines)


@settings(max_examples=100)
@given(heads(), heads(), st.randoms(), st.booleans())
@example({"aux1": (1, ["tanh"])}, {"aux1": (1, ["dropout", "tanh"])}, None, True)
@example({"aux1": (1, ["tanh"])}, {"aux1": (2, ["tanh"])}, None, True)
def test_torch_agrees_on_heads(a: dict, b: dict, random: Random | None, alter: bool) -> None:
    """Heads in any order and place: the same where torch says so, of every output."""
    names = list(a)
    if random is not None:
        random.shuffle(names)
    other = {name: b.get(name, a[name]) if alter else a[name] for name in names}
    x, y = headed(a, early=True), headed(other, early=False, main="avgpool(7x6)")
    same = True
    for name, _ in x.outputs:
        one, two = value(x, name), value(y, name)
        same &= one.shape == two.shape and torch.allclose(one, two, rtol=1e-12, atol=1e-12)
    result = compare(x, y)
    assert same or alter
    assert result.same == same, (a, other, verdicts(result), result.outputs)
    # Layers that lead to one output alone have no counterparts among those that lead to another one.
    for pair in result.pairs:
        ends = {_head(node.name) for node in (pair.left, pair.right) if node is not None}
        assert len(ends - {"trunk"}) <= 1, pair


def _head(name: str) -> str:
    """The head of a layer by its name."""
    head, dot, _ = name.partition(".")
    return head if dot else "trunk" if name.startswith("t") or name == "image" else "main"


# --- heads of published networks -------------------------------------------------------------------


def googlenet(*swaps: tuple[str, str]) -> Graph:
    """GoogLeNet with its auxiliary heads last, the second one first, and the main one's pool written as a window."""
    lines = (EXAMPLES / "googlenet.cnn").read_text(encoding="utf-8").rstrip().removesuffix("}").splitlines()
    ends = []
    for name, place in (("aux1", "inception_4a"), ("aux2", "inception_4d")):
        start = lines.index(f"    output {name} {{")
        ends.insert(0, [lines[start], f"@{place}", *lines[start + 1 : start + 6]])
        del lines[start : start + 6]
    text = "\n".join((*lines, *ends[0], *ends[1], "}"))
    return graph_of(
        swapped(re.sub(r" +\[\S+\]$", "", text, flags=re.MULTILINE), ("globalavgpool", "avgpool(7x7)"), *swaps)
    )


def test_heads_of_googlenet() -> None:
    """Its heads have the same layers but for a pool: names of outputs tell them apart."""
    ours = example_graph("googlenet")
    result = compare(ours, googlenet())
    assert result.same
    assert {pair.left.name: pair.right.name for pair in result.pairs} == {
        node.name: "avgpool1" if node.name == "globalavgpool1" else node.name for node in ours.nodes
    }
    # Another tap, another pool, another place in the main head: each is told of, and of that head alone.
    for old, new, layer in (
        ("@inception_4d", "@inception_4c", "aux2.avgpool1"),
        ("@inception_4a\n        avgpool(5x5, stride=3)", "@inception_4a\n avgpool(4x4, stride=3)", "aux1.avgpool1"),
        ("dropout(0.4)", "relu", "dropout1"),
    ):
        result = compare(ours, googlenet((old, new)))
        assert not result.same
        wrong = [(pair.left or pair.right).name for pair in result.pairs if pair.verdict not in {"same", "shapes"}]
        shapes = [pair.left.name for pair in result.pairs if pair.verdict == "shapes"]
        assert layer in (*wrong, *shapes), (wrong, shapes)
        assert all(_head(name) == _head(layer) for name in (*wrong, *shapes)), (wrong, shapes)


def test_heads_are_what_pairs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them the main head is paired with another one."""
    graphs = [
        network("t: conv(4, 1x1)", *(f"output {name} {{ @t -> {head} -> dense(3) }}" for name, head in outputs), *main)
        for outputs, main in (
            ([("aux", "globalavgpool -> tanh")], ["@t -> globalavgpool", "dense(3)"]),
            ([("aux", "avgpool(9x8) -> tanh")], ["@t -> avgpool(9x8) -> tanh", "dense(3)"]),
        )
    ]
    assert pair_of(compare(*graphs), "dense1").right == graphs[1].by_name["dense1"]
    assert pair_of(compare(*graphs), "aux.tanh1").right == graphs[1].by_name["aux.tanh1"]
    monkeypatch.setattr("cnndsl.compare_pairing._heads", lambda graph, names: {})
    monkeypatch.setattr("cnndsl.compare_pairing.arranged", lambda graph: graph.nodes)
    assert not compare(example_graph("googlenet"), googlenet()).same


def test_the_order_of_outputs_does_not_matter() -> None:
    """Nor that of layers which some of them share, nor that of two names of one node."""
    lines = (
        "@t -> p: conv(4, 3x3, pad=1)", "@t -> q: conv(4, 5x5, pad=2)",
        "output o1 { @p -> tanh }", "output o2 { @p -> add(@q) }", "output o3 { @q -> relu }",
    )  # fmt: skip
    for one, two in product(permutations(lines[:2]), permutations(lines[2:])):
        graphs = [
            network("t: relu", *layers, *outputs, "@t -> lrn")
            for layers, outputs in ((one, two), (lines[:2], lines[2:]))
        ]
        assert compare(*graphs).same
    a = network("conv(4, 1x1)", "tanh", "output aux { relu }", "lrn")
    twice = (*a.outputs, *((f"also {name}", node) for name, node in a.outputs))
    assert compare(replace(a, outputs=twice), replace(a, outputs=twice[::-1])).same


@pytest.mark.parametrize("layer", ["dropout", "identity"])
def test_layers_without_effect_in_trunk_or_head(layer: str) -> None:
    """Heads may read the one or the other side of them."""
    a = network("t: conv(4, 1x1)", f"d: {layer}", "output x { @d -> tanh }", "output y { @d -> relu }", "@d -> lrn")
    b = network("t: conv(4, 1x1)", f"d: {layer}", "output x { @t -> tanh }", "output y { @d -> relu }", "@d -> lrn")
    c = network("t: conv(4, 1x1)", f"d: {layer}", "output x { @t -> tanh }", "output y { @t -> relu }", "@d -> lrn")
    for one, two in permutations((a, b, c), 2):
        assert compare(one, two).same, compare(one, two).pairs


def test_one_flatten_for_all_heads_or_each_its_own() -> None:
    a = network("t: conv(4, 1x1)", "d: flatten", "output x { @d -> dense(3) }", "@d -> dense(4)")
    b = network("t: conv(4, 1x1)", "output x { @t -> flatten -> dense(3) }", "@t -> flatten -> dense(4)")
    assert compare(a, b).same
    assert compare(b, a).same


def test_a_head_that_leaves_the_trunk_earlier() -> None:
    """What is trunk in one network and leads to the main output alone in the other one is still one layer."""
    body = [f"t{n}: conv(4, 3x3, pad=1)" for n in range(1, 6)]
    late, early = (network(*body[:n], "output aux { relu }", *body[n:]) for n in (4, 2))
    for result in (compare(late, early), compare(early, late)):
        assert set(verdicts(result)) == {"same", "numbers"}
        (pair,) = (pair for pair in result.pairs if pair.verdict == "numbers")
        assert pair.left is not None
        assert pair.left.name == "aux.relu1"


def test_many_heads() -> None:
    names = [f"out{n}" for n in range(300)]
    a, b = (
        network("t: conv(4, 1x1)", *(f"output {name} {{ @t -> conv(2, 1x1) -> tanh }}" for name in order))
        for order in (names, names[::-1])
    )
    assert compare(a, b).same
    crossed = replace(b, outputs=tuple(zip([name for name, _ in b.outputs], [n for _, n in a.outputs], strict=True)))
    assert not compare(a, replace(crossed, outputs=crossed.outputs[:-1])).same


# --- batch norms that may be folded ----------------------------------------------------------------


FOLDABLE = (
    "a: conv(4, 3x3, pad=1, bias=false)", "b: batchnorm", "relu",
    "c: conv(4, 3x3, pad=1, groups=2, bias=false)", "d: batchnorm", "e: tanh", "f: batchnorm",
)  # fmt: skip


def folded(*swaps: tuple[str, str]) -> Graph:
    layers = [layer.replace(", bias=false", "") for layer in FOLDABLE if layer[:2] not in {"b:", "d:"}]
    return network(*swapped("\n".join(layers), *swaps).splitlines())


def test_folded_batch_norms() -> None:
    result = compare(network(*FOLDABLE), folded())
    end = "has them behind 2 convolutions: they may be folded into"
    assert result.notes == (f"B has no batch norms where A {end} B's weights",)
    assert not result.same
    assert compare(folded(), network(*FOLDABLE)).notes == (f"A has no batch norms where B {end} A's weights",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a: conv(4, 3x3, pad=1)", "a: conv(4, 3x3, pad=1, bias=false)"),
        ("a: conv(4, 3x3, pad=1)", "a: conv(4, 3x3, pad=1) -> b: batchnorm"),
        ("a: conv(4, 3x3, pad=1)", "a: conv(4, 5x5, pad=2)"),
        ("a: conv(4, 3x3, pad=1)\n", ""),
    ],
)
def test_not_folded(old: str, new: str) -> None:
    """One of both that has no bias, or a batch norm, or is another convolution, or is not there."""
    assert compare(network(*FOLDABLE), folded((old, new))).notes == ()


def test_batch_norms_that_cannot_be_folded() -> None:
    """What another layer reads too cannot have the batch norm in its weights; what is the same has nothing to note."""
    both = network("a: conv(4, 1x1, bias=false)", "batchnorm", "add(@a)")
    assert compare(both, network("a: conv(4, 1x1)", "add(@a)")).notes == ()
    assert compare(network(*FOLDABLE), network(*FOLDABLE)).notes == ()
    assert compare(network("batchnorm"), network("relu")).notes == ()
