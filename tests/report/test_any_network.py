"""A page for whatever network there may be."""

import fakes
from hypothesis import given, settings
from networks import Example, networks

from cnndsl.report import page


@settings(max_examples=15)
@given(networks())
def test_any_network_has_a_page(example: Example) -> None:
    graph = fakes.graph_of(example.text)
    report = fakes.fake_report(graph, names=["gfx942"], dtype="bf16", batch=3)
    (target,) = report.targets
    launched = {report.layers[i].name for each in target.launches for i in each.layers}
    free = {name for name, _ in target.free}
    inputs = {node.name for node in graph.inputs}
    assert launched | free | inputs == {layer.name for layer in report.layers}
    assert not launched & (free | inputs)
    for each in target.launches:
        assert each.bytes == sum(t.bytes for t in (*each.reads, each.writes)) > 0
        assert each.places
        assert each.boundaries
        assert (each.seconds is None) == (each.bound is None)
    assert target.totals.flops == 2 * 3 * sum(
        node.op.macs(graph.types_of(node), node.type)
        for node in graph.nodes
        if node.op is not None and node.name in launched
    )
    assert page(report).endswith("</html>\n")
