"""docs/networks.md lists every example, with its figures."""

import pytest
from branched import BRANCHED
from example_graphs import EXAMPLES, graph_of, of_main

PAGE = EXAMPLES.parent / "docs" / "networks.md"
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}


def test_every_example_is_on_the_page() -> None:
    networks = {path.stem for path in EXAMPLES.glob("*.cnn") if "network " in path.read_text(encoding="utf-8")}
    assert set(ROWS) == networks
    blocks = {path.stem for path in EXAMPLES.glob("*.cnn")} - networks
    assert {name for name in blocks if f"`{name}.cnn`" in PAGE.read_text(encoding="utf-8")} == blocks


@pytest.mark.parametrize("name", ROWS)
def test_figures(name: str) -> None:
    graph = graph_of(name)
    shape, parameters, gmacs, keys, _ = ROWS[name]
    learned, macs = of_main(graph)
    assert shape == "x".join(map(str, graph.inputs[0].type.shape))
    decimals = len(gmacs.partition(".")[2])
    assert (parameters, gmacs) == (f"{learned:,}", f"{macs / 1e9:.{decimals}f}")
    assert decimals >= 3
    same = name == "alexnet_torchvision" or (name in BRANCHED and BRANCHED[name].model is not None)
    assert (keys == "torchvision") == same
