"""Any graph is written, and read back is the same network."""

from hypothesis import HealthCheck, given, settings

from cnndsl.exchange.model import Model
from cnndsl.exchange.write.compose import idiomatic, plain
from cnndsl.exchange.write.names import has_weights
from cnndsl.exchange.write.normal import normalised
from tests.exchange.write_graphs import models, stacks

ENOUGH = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(models())
@ENOUGH
def test_any_graph_is_written(model: Model):
    """Each is read back and compared, layer by layer, before it is returned."""
    idiomatic(normalised(model.graph))


@given(models())
@ENOUGH
def test_any_graph_is_written_plainly(model: Model):
    plain(normalised(model.graph))


@given(stacks())
@ENOUGH
def test_blocks_are_written_and_paths_stay(made: tuple[Model, str]):
    model, naming = made
    graph = normalised(model.graph)
    names = idiomatic(graph).names
    if naming == "paths":
        kept = {node.name for node in graph.nodes if has_weights(node, graph) and not node.name.startswith("aux")}
        assert {name: names[name] for name in kept} == {name: name for name in kept}
