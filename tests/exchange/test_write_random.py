"""Any graph is written, and read back is the same network with the same results."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings

from cnndsl.exchange.model import Model
from cnndsl.exchange.write import write
from cnndsl.exchange.write.check import matched
from cnndsl.exchange.write.compose import Composed, idiomatic, plain
from cnndsl.exchange.write.names import has_weights
from cnndsl.exchange.write.normal import commutes, normalised
from cnndsl.ir import Graph
from cnndsl.ops.conv import Conv
from cnndsl.runtime.parameters import specs_of
from cnndsl.runtime.reference import evaluate
from cnndsl.runtime.weights import initial_tensors
from tests.exchange.write_graphs import models, stacks


def some(number: int) -> settings:
    return settings(max_examples=number, deadline=None, suppress_health_check=list(HealthCheck))


@given(models())
@some(100)
def test_any_graph_is_written(model: Model):
    """Each is read back and compared, layer by layer, before it is returned."""
    idiomatic(normalised(model.graph))


@given(models())
@some(40)
def test_any_graph_is_written_plainly(model: Model):
    plain(normalised(model.graph))


@given(stacks())
@some(70)
def test_blocks_are_written_and_paths_stay(made: tuple[Model, str]):
    model, naming = made
    graph = normalised(model.graph)
    names = idiomatic(graph).names
    if naming == "paths":
        kept = {node.name for node in graph.nodes if has_weights(node, graph) and not node.name.startswith("aux")}
        assert {name: names[name] for name in kept} == {name: name for name in kept}


def with_weights(model: Model) -> Model:
    return replace(model, weights=initial_tensors(specs_of(model.graph), seed=1))


def results(graph: Graph, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    inputs = [torch.randn(2, *node.type.torch_shape, generator=generator) for node in graph.inputs]
    return evaluate(graph, inputs, weights)


@given(models(most=8))
@some(15)
def test_the_same_results(model: Model):
    check_results(model)


@given(stacks())
@some(8)
def test_the_same_results_of_blocks(made: tuple[Model, str]):
    check_results(made[0])


def check_results(model: Model) -> None:
    model = with_weights(model)
    meant = results(model.graph, dict(model.weights))
    written = write(model)
    found = results(written.graph, written.weights)
    assert len(found) == len(meant)
    for expected, value in zip(meant.values(), (found[name] for name in named(meant, found)), strict=True):
        assert torch.equal(expected, value)


def named(meant: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> list[str]:
    """The names in `found` of the outputs of `meant`: the same, but for those that are keywords."""
    return [name if name in found else next(n for n in found if n.startswith(f"{name}_")) for name in meant]


@given(stacks())
@some(6)
def test_weights_of_another_layer_give_other_results(made: tuple[Model, str]):
    """What `check_results` holds is not true of weights that have changed places."""
    written = write(with_weights(made[0]))
    keys = [key for key, tensor in written.weights.items() if tensor.dim() == 4]
    pairs = [
        (a, b) for number, a in enumerate(keys) for b in keys[number + 1 :]
        if written.weights[a].shape == written.weights[b].shape
    ]
    assume(pairs)
    a, b = pairs[0]
    changed = {**written.weights, a: written.weights[b], b: written.weights[a]}
    expected, found = results(written.graph, written.weights), results(written.graph, changed)
    assert any(not torch.equal(expected[name], found[name]) for name in expected)


def changed_nodes(graph: Graph):
    """Graphs that differ from another in one layer's arguments, inputs or type."""
    for number, node in enumerate(graph.nodes):
        if isinstance(node.op, Conv):
            yield number, replace(node, op=replace(node.op, bias=not node.op.bias))
        if node.op is not None and len(node.inputs) > 1 and not commutes(node.op, len(node.inputs)):
            yield number, replace(node, inputs=node.inputs[::-1])
        if node.op is not None and len(node.inputs) == 1 and node.inputs[0] != graph.nodes[0].name:
            yield number, replace(node, inputs=(graph.nodes[0].name,))


@given(stacks())
@some(6)
def test_another_graph_is_told_from_what_was_written(made: tuple[Model, str]):
    graph = normalised(made[0].graph)
    done: Composed = idiomatic(graph)
    order = [name for _, name in sorted((done.graph.position[new], old) for old, new in done.names.items())]
    assert matched(graph, done.graph, order=order) == done.names
    for number, node in changed_nodes(graph):
        if node.inputs == graph.nodes[number].inputs and node.op == graph.nodes[number].op:
            continue
        nodes = [*graph.nodes]
        nodes[number] = node
        with pytest.raises(AssertionError, match=r"written as|another"):
            matched(replace(graph, nodes=tuple(nodes)), done.graph, order=order)
