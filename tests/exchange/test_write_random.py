"""Any graph is written, and read back is the same network."""

from hypothesis import HealthCheck, given, settings

from cnndsl.exchange.model import Model
from cnndsl.exchange.write import write
from tests.exchange.write_graphs import models


@given(models())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_graph_is_written(model: Model):
    write(model)
