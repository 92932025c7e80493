"""What simplifying removes, folds and leaves alone."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from networks import Example, networks, random_inputs, random_weights
from stages import EXAMPLES, example, graph_of, plan_of, simplified

from cnndsl.files import choose_network, load_text
from cnndsl.ir import Graph
from cnndsl.ops.dense import Dense
from cnndsl.ops.normalize import BatchNorm
from cnndsl.passes import simplify as simplifying
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.simplify import simplify
from cnndsl.runtime.parameters import weights_of
from cnndsl.runtime.reference import evaluate


def test_dropout_and_identity_go() -> None:
    found = simplified("input x [4x4x3] dropout identity a: conv(2, 1) dropout(0.1) b: relu identity")
    assert found == {"a": "conv(2, 1x1) <- x", "b": "relu <- a"}


def test_pooling_to_the_size_that_is_there_goes() -> None:
    found = simplified("input x [4x5x3] adaptiveavgpool(4x5) a: relu adaptiveavgpool(5x4)")
    assert found == {"a": "relu <- x", "adaptiveavgpool2": "adaptiveavgpool(5x4) <- a"}


def test_an_average_over_one_pixel_goes() -> None:
    body = "input x [1x1x3] a: conv(2, 1) avgpool(1) b: relu avgpool(1, stride=2) adaptiveavgpool(1) c: tanh"
    found = simplified(body)
    assert found == {"a": "conv(2, 1x1) <- x", "b": "relu <- a", "c": "tanh <- b"}


def test_flatten_of_a_vector_goes() -> None:
    assert simplified("input x [4] flatten a: relu flatten flatten") == {"a": "relu <- x"}


def test_an_output_moves_to_what_is_left() -> None:
    graph = simplify(graph_of("input x [4x4x3] a: relu output o { dropout } identity"))
    assert graph.outputs == (("main", "a"), ("o", "a"))
    graph = simplify(graph_of("input x [4x4x3] dropout"))
    assert graph.outputs == (("main", "x"),)


def test_unread_layers_go_and_inputs_stay() -> None:
    found = simplified("input x [4x4x3] input y [2x2x2] @x a: relu b: conv(3, 1) c: relu @a d: tanh")
    assert found == {"a": "relu <- x", "d": "tanh <- a"}
    assert [n.name for n in simplify(graph_of("input x [4x4x3] input y [2x2x2] relu")).inputs] == ["x", "y"]


@pytest.mark.parametrize("body", [
    "input x [2x2x2] relu {} relu".format("batchnorm " * 1100),
    "input x [2x2x2] conv(2, 1) {} batchnorm relu".format("channel_shuffle(2) " * 1100),
    "input x [2x2x2] relu batchnorm {} conv(2, 1)".format("channel_shuffle(2) " * 1100),
    "input x [2x2x2] tanh {} relu".format("concat { {} { @x maxpool(1) } } " * 1100),
], ids=["batch norms", "backward", "forward", "concats"])
def test_chains_may_be_long(body: str) -> None:
    """Longer than Python's own recursion goes."""
    assert len(plan_of(body).steps) > 0


# --- batch norms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "folds"), [
    ("conv(2, 1) n: batchnorm", True),
    ("conv(2, 3, groups=1, bias=false) n: batchnorm relu", True),
    ("conv(3, 1, groups=3) n: batchnorm", True),
    ("dense(2) n: batchnorm", True),
    ("conv(2, 1) dropout n: batchnorm", True),
    ("conv(2, 1) m: batchnorm n: batchnorm", True),
    ("conv(2, 1) relu n: batchnorm", False),
    ("maxpool(2) n: batchnorm", False),
    ("add { { conv(2, 1) } { conv(2, 1) } } n: batchnorm", False),
    ("a: conv(2, 1) n: batchnorm add(@a)", False),
    ("a: conv(2, 1) n: batchnorm output o { @a }", False),
    ("conv(2, 1) output o {} n: batchnorm", False),
    ("conv(2, 1) output o { relu } n: batchnorm", False),
    ("conv(2, 1) m: batchnorm output o {} n: batchnorm", False),
    ("dense(2) n: batchnorm output o {}", True),
    ("conv(2, 1) flatten n: batchnorm", False),
    # Across what averages or copies.
    ("conv(2, 1) avgpool(2) n: batchnorm", True),
    ("conv(2, 1) avgpool(3, stride=2, ceil=true) n: batchnorm", True),
    ("conv(2, 1) avgpool(3, pad=1) n: batchnorm", False),
    ("conv(2, 1) avgpool(3, pad=1, count_pad=false) n: batchnorm", True),
    ("conv(2, 1) maxpool(2) n: batchnorm", False),
    ("conv(2, 1) globalavgpool n: batchnorm", True),
    ("conv(2, 1) globalavgpool flatten n: batchnorm", True),
    ("conv(2, 1) globalmaxpool n: batchnorm", False),
    ("conv(2, 1) adaptiveavgpool(3) n: batchnorm", True),
    ("conv(4, 1) channel_shuffle(2) n: batchnorm", True),
    ("conv(2, 1) pad(1) n: batchnorm", False),
    ("conv(2, 1) lrn n: batchnorm", False),
    ("conv(2, 1) avgpool(2) output o {} n: batchnorm", False),
    ("a: conv(2, 1) avgpool(2) n: batchnorm output o { @a }", False),
    # Into the arms of a concat.
    ("concat { { conv(2, 1) } { conv(2, 1) } } n: batchnorm", True),
    ("concat { { conv(2, 1) } { concat { { conv(1, 1) } { conv(3, 1) -> channel_shuffle(3) } } } } n: batchnorm", True),
    ("concat { { conv(2, 1) } { relu } } n: batchnorm", False),
    ("concat { { a: conv(2, 1) } { conv(2, 1) } } n: batchnorm output o { @a }", False),
    ("a: conv(2, 1) concat(@a) n: batchnorm", False),
    # Into another one.
    ("relu m: batchnorm n: batchnorm", True),
    ("relu m: batchnorm output o {} n: batchnorm", False),
    ("relu m: batchnorm avgpool(2) n: batchnorm", True),
    # Into what follows.
    ("n: batchnorm conv(2, 3)", True),
    ("n: batchnorm conv(2, 3, pad=1)", False),
    ("n: batchnorm conv(2, 3, pad=(0, 0, 0, 1))", False),
    ("n: batchnorm relu conv(2, 3)", False),
    ("n: batchnorm conv(3, 2, groups=3)", True),
    ("n: batchnorm dense(2)", True),
    ("n: batchnorm flatten dense(2)", True),
    ("flatten n: batchnorm dense(2)", True),
    ("n: batchnorm avgpool(2) channel_shuffle(3) conv(2, 1)", True),
    ("n: batchnorm output o { conv(2, 1) } dense(2)", True),
    ("n: batchnorm output o { conv(2, 1, pad=1) } dense(2)", False),
    ("n: batchnorm output o {} dense(2)", False),
    ("n: batchnorm avgpool(2) output o {} dense(2)", False),
    ("n: batchnorm output o { relu } conv(2, 1)", False),
    ("n: batchnorm avgpool(2, pad=1) conv(2, 1)", False),
    ("n: batchnorm output o { conv(2, 1) } m: batchnorm conv(2, 1)", True),
    ("n: batchnorm add(@n) conv(2, 1)", False),
    ("n: batchnorm concat(@x) conv(2, 1)", False),
])
def test_which_batch_norms_fold(body: str, folds: bool) -> None:
    graph = simplify(graph_of(f"input x [4x4x3] {body}"))
    owners = [node.name for node in graph.nodes for n in node.folded if n.name == "n"]
    assert bool(owners) is folds
    assert ("n" in graph.by_name) is not folds


EXAMPLES_LEFT = {"densenet121": 6 + 12 + 24 + 16 + 3 + 1}
"""Batch norms that others than the next layer read past, or behind which an activation comes before a convolution."""


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.cnn")), ids=lambda path: path.stem)
def test_batch_norms_of_the_examples_fold(path: Path) -> None:
    if "network " in path.read_text():
        graph = example(path.stem).graph
        left = [node.name for node in graph.nodes if isinstance(node.op, BatchNorm)]
        assert len(left) == EXAMPLES_LEFT.get(path.stem, 0)


def test_folded_in_order_with_their_lines() -> None:
    graph = simplify(graph_of("input x [4x4x3]\na: conv(2, 1)\nn: batchnorm\nm: batchnorm(eps=0.1)\nrelu"))
    node = graph.by_name["a"]
    assert [n.name for n in node.folded] == ["n", "m"]
    assert [span.line for span in node.spans] == [2, 3, 4]
    assert graph.by_name["relu1"].inputs == ("a",)


def test_a_batch_norm_over_an_unfolded_one_becomes_part_of_it() -> None:
    found = simplified("input x [4x4x3] a: conv(2, 1) output o {} n: batchnorm m: batchnorm")
    assert found == {"a": "conv(2, 1x1) <- x", "n": "batchnorm + m <- a"}


# --- flatten -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "free"), [
    ("f: flatten dense(2)", True),
    ("f: flatten dropout dense(2)", True),
    ("f: flatten output o { dense(2) } dense(3)", True),
    ("f: flatten", False),
    ("f: flatten relu dense(2)", False),
    ("f: flatten dense(2) output o { @f }", False),
    ("f: flatten output o { relu } dense(2)", False),
    ("f: flatten output o {} dense(2)", False),
    ("f: flatten batchnorm dense(2)", True),
    ("f: flatten concat(@f) dense(2)", False),
])
def test_which_flattens_are_free(body: str, free: bool) -> None:
    graph = simplify(graph_of(f"input x [4x4x3] {body}"))
    assert ("f" in graph.by_name) is not free
    if free:
        assert all(node.inputs == ("x",) for node in graph.nodes if isinstance(node.op, Dense))


# --- meaning -------------------------------------------------------------------------------------


def values(graph: Graph, whole: Graph, example: Example) -> dict[str, torch.Tensor]:
    """The outputs in fp64, with the weights of the whole network."""
    weights = random_weights({k: torch.Size(w.shape) for k, (_, w) in weights_of(whole).items()})
    return evaluate(graph, [x.double() for x in random_inputs(example.inputs, batch=2)], weights)


@settings(max_examples=2 * settings.default.max_examples)
@given(networks())
def test_every_rewrite_keeps_the_function(example: Example) -> None:
    program = load_text(example.text)
    whole = elaborate(program, choose_network(program, None))
    expected = values(whole, whole, example)
    graph = whole
    for rewrite in simplifying.PASSES:
        graph = simplifying.verify(rewrite(graph))
        for name, y in values(graph, whole, example).items():
            torch.testing.assert_close(y, expected[name], rtol=1e-10, atol=1e-10)
    assert simplify(whole) == graph
    assert simplify(graph).nodes == graph.nodes, "a second time changes nothing"


def test_a_wrong_rewrite_is_seen() -> None:
    """Folding whatever else reads the convolution: the comparison above is sharp."""
    body = "input x [4x4x3] a: conv(2, 1) n: batchnorm add(@a)"
    whole = graph_of(body)
    example = Example(body, ((4, 4, 3),), lambda xs, w: {})
    alone = Graph(
        whole.name, tuple(n for n in whole.nodes if n.op is None or n.name != "add1"), (("main", "n"),)
    )
    folded = simplifying.fold_batchnorm(alone)
    (owner,) = (n for n in folded.nodes if n.folded)
    wrong = simplifying.bypass(
        Graph(whole.name, tuple(owner if n.name == "a" else n for n in whole.nodes), whole.outputs), {"n": "a"}
    )
    assert not any(isinstance(n.op, BatchNorm) for n in wrong.nodes)
    assert not torch.allclose(values(wrong, whole, example)["main"], values(whole, whole, example)["main"])
