"""Any graph is written, and read back is the same network."""

from hypothesis import HealthCheck, given, settings

from cnndsl.exchange.model import Model
from cnndsl.exchange.write.compose import idiomatic, plain
from cnndsl.exchange.write.normal import normalised
from tests.exchange.write_graphs import models

ENOUGH = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(models())
@ENOUGH
def test_any_graph_is_written(model: Model):
    """Each is read back and compared, layer by layer, before it is returned."""
    idiomatic(normalised(model.graph))


@given(models())
@ENOUGH
def test_any_graph_is_written_plainly(model: Model):
    plain(normalised(model.graph))
