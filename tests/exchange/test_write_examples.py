"""The example networks as graphs, with and without their names, are written about as people wrote them.

The texts in the folder `written` are expected to the letter; `pytest --update-golden` writes them anew, to be read.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from cnndsl.exchange.model import Model
from cnndsl.exchange.write import Written, write
from cnndsl.exchange.write.names import has_weights
from cnndsl.ir import Graph
from tests.example_graphs import EXAMPLES, graph_of

GOLDEN = Path(__file__).with_name("written")
NETWORKS = sorted(path.stem for path in EXAMPLES.glob("*.cnn") if "\nnetwork" in path.read_text(encoding="utf-8"))
BRANCHED = ("densenet", "efficientnet", "googlenet", "mobilenet_v2", "regnet", "resnet", "shufflenet", "squeezenet")
TO_THE_LETTER = (
    "alexnet_torchvision", "densenet121", "efficientnet_b0", "googlenet", "mobilenet_v2", "resnet18", "squeezenet1_0",
    "vgg11",
)  # fmt: skip


def without_names(graph: Graph) -> Graph:
    """The graph as ONNX has it whose layers are only counted."""
    counts: Counter[str] = Counter()
    names = {}
    for node in graph.nodes:
        counts[node.text] += 1
        kind = node.op.name if node.op is not None else node.name
        counts[kind] += 1
        names[node.name] = f"{kind}_{counts[kind]}" if node.op is not None else node.name
    nodes = tuple(replace(n, name=names[n.name], inputs=tuple(names[i] for i in n.inputs)) for n in graph.nodes)
    return replace(graph, nodes=nodes, outputs=tuple((output, names[node]) for output, node in graph.outputs))


@cache
def written(name: str, *, named: bool) -> Written:
    graph = graph_of(name)
    return write(Model(graph if named else without_names(graph), {}))


def lines_of(text: str) -> int:
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in text.splitlines())


def own_lines(name: str) -> int:
    """Lines of an example's file and of those that it uses, without comments."""
    text = (EXAMPLES / f"{name}.cnn").read_text(encoding="utf-8")
    used = re.findall(r'^use "(.*)\.cnn"', text, re.MULTILINE)
    return lines_of(text) + sum(own_lines(other) for other in used)


@pytest.mark.parametrize("name", NETWORKS)
def test_keys_stay(name: str):
    graph, names = graph_of(name), written(name, named=True).names
    kept = {node.name for node in graph.nodes if has_weights(node, graph)}
    assert kept
    assert {key: names[key] for key in kept} == {key: key for key in kept}


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_as_short_as_by_hand(name: str, named: bool):
    text = written(name, named=named).text
    assert lines_of(text) <= 1.25 * own_lines(name)
    assert "@" not in text
    assert max(map(len, text.splitlines())) <= 120
    assert bool(re.search("^block", text, re.MULTILINE)) or not name.startswith(BRANCHED)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_written_is_written_so_again(name: str):
    once = written(name, named=True)
    again = write(Model(once.graph, {}))
    assert again.text.split("\n", 1)[1] == once.text.split("\n", 1)[1]


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("name", TO_THE_LETTER)
def test_text(name: str, named: bool, update_golden: bool):
    text = written(name, named=named).text
    path = GOLDEN / f"{name}{'' if named else '_unnamed'}.cnn"
    if update_golden:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_every_process_writes_the_same():
    """The order of sets differs from process to process."""
    code = (
        "from tests.exchange.test_write_examples import written\n"
        "print(*(written(n, named=v).text for n in ('googlenet', 'mobilenet_v2') for v in (True, False)))"
    )
    texts = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=EXAMPLES.parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
    assert "block inception(c1, r3, c3, r5, c5, proj)" in texts[0]
