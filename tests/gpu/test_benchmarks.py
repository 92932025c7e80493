"""The parts of the benchmarks that need no GPU: torch's version of a network, the limits, the statistics."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sample_networks import TEXTS, sources

import cnndsl
from cnndsl import targets
from cnndsl.files import choose_network, load_path
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.runtime.verify import relative_error

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import configuration
import measuring
from measuring import Timer, summary
from peers import torch_network


def named(result: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return result if isinstance(result, dict) else {"main": result}


def pictures(net: cnndsl.runtime.executor.Network, n: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    return [torch.randn((n, *node.type.torch_shape), generator=generator) for node in net.graph.inputs]


@pytest.mark.parametrize("name", [*TEXTS, "lenet5"])
def test_the_peer_computes_the_same_network(name: str) -> None:
    net = cnndsl.compile(sources()[name], device="cpu", seed=3)
    xs = pictures(net, 2)
    expected = named(net.reference(*(x.double() for x in xs)))
    peer = torch_network(net, xs)
    found = peer(*xs)
    assert set(found) == set(expected)
    for output in expected:
        assert relative_error(found[output], expected[output]) < 1e-5
    # Other weights are other values: the network's own ones were taken over.
    other = torch_network(cnndsl.compile(sources()[name], device="cpu", seed=4), xs)(*xs)
    assert any(relative_error(other[output], expected[output]) > 1e-3 for output in expected)


# Measured on an H200: fp16 products and copies.
H200 = {"flops": 790e12, "bytes_per_second": 4.3e12}
REQUEST = configuration.Request(
    network="alexnet", source="", batch=1, dtype="fp16", device="cpu", seed=0, repetitions=1, seconds=1.0,
    ceilings=H200,
)  # fmt: skip


def limit_us(name: str, batch: int) -> float:
    program = load_path(Path(sources()[name]))
    groups = fuse(simplify(elaborate(program, choose_network(program, None), None)))
    made = plan(groups, target=targets.get("sm_90"), dtype="fp16", batch=batch)
    return configuration.limit_us(made, replace(REQUEST, batch=batch))


# Microseconds, worked out apart from this code: per layer with products, together with the pooling and
# normalisation behind it, the longer of its bytes (inputs, weights and outputs once) and its operations.
LIMITS = {
    ("alexnet", 1): 30.3, ("alexnet", 16): 71, ("alexnet", 128): 378,
    ("vgg16", 1): 97.8, ("vgg16", 16): 701, ("vgg16", 128): 5205,
}  # fmt: skip


@pytest.mark.parametrize(("name", "batch"), LIMITS)
def test_limits(name: str, batch: int) -> None:
    assert limit_us(name, batch) == pytest.approx(LIMITS[name, batch], rel=0.005)
    assert limit_us(name, batch + 1 + batch // 8) != pytest.approx(LIMITS[name, batch], rel=0.005)


def test_statistics() -> None:
    found = summary([5.0, 1.0, 9.0, 3.0, 7.0, 2.0, 8.0, 4.0, 6.0, 10.0, 11.0])
    assert (found["median_us"], found["p10_us"], found["p90_us"]) == (6.0, 2.0, 10.0)
    assert found["halves_us"] == [7.5, 3.0]  # of 5 9 7 8 6 11 and of 1 3 2 4 10
    assert found["repetitions"] == 11


def test_contestants_take_turns() -> None:
    calls: list[str] = []
    timer = Timer.of(torch.device("cpu"))
    samples = timer.in_turn(
        {name: lambda name=name: calls.append(name) for name in "abc"}, repetitions=4, seconds=60
    )
    assert "".join(calls) == "aaabbbccc" + "abc" + "bca" + "cab" + "abc"
    assert {name: len(taken) for name, taken in samples.items()} == {"a": 4, "b": 4, "c": 4}
    # Out of time: three rounds all the same.
    assert len(timer.in_turn({"a": lambda: None}, repetitions=9, seconds=0)["a"]) == 3


# --- the road on a GPU, with stand-ins for what only a GPU has ---------------------------------------------


class Event:
    """A CUDA event on the host's clock."""

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.time = time.perf_counter()

    def elapsed_time(self, other: "Event") -> float:
        return (other.time - self.time) * 1e3


class Graph:
    """A CUDA graph whose replay writes what its capture wrote."""

    saved: dict[str, tuple[torch.Tensor, torch.Tensor]]

    def replay(self) -> None:
        for output, values in self.saved.values():
            output.copy_(values)


class BrokenGraph(Graph):
    def replay(self) -> None:
        pass


@contextlib.contextmanager
def capture(graph: Graph) -> Iterator[None]:
    yield
    outputs = sys._getframe(2).f_locals["outputs"]
    graph.saved = {name: (output, output.clone()) for name, output in outputs.items()}


@pytest.fixture
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU passes for a GPU."""
    properties = SimpleNamespace(
        name="none", major=9, minor=0, multi_processor_count=1, total_memory=1, L2_cache_size=1024
    )
    stand_ins: dict[str, Any] = {
        "synchronize": lambda device=None: None, "empty_cache": lambda: None, "Event": Event, "CUDAGraph": Graph,
        "graph": capture, "get_device_properties": lambda device: properties,
        "Stream": lambda: SimpleNamespace(wait_stream=lambda stream: None),
        "current_stream": lambda: SimpleNamespace(wait_stream=lambda stream: None),
        "stream": lambda stream: contextlib.nullcontext(),
    }  # fmt: skip
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    for module in (measuring, configuration):
        monkeypatch.setattr(module, "on_gpu", lambda device: True)
    monkeypatch.setattr(measuring, "MATRIX", 16)
    monkeypatch.setattr(measuring, "COPIED", 1024)


LENET = replace(
    REQUEST, network="lenet5", source=sources()["lenet5"], dtype="fp32", repetitions=2, layers=True, batch=1
)  # fmt: skip


@pytest.mark.usefixtures("pretended_gpu")
def test_the_road_on_a_gpu() -> None:
    about = configuration.measure_ceilings("fp32", "cpu")
    assert about["machine"]["gpu"] == "none"
    assert set(about["ceilings"]) == {"bytes_per_second", "flops"}
    entry = configuration.measure(replace(LENET, ceilings=about["ceilings"]))
    assert list(entry["contestants"]) == ["cnndsl", "cnndsl graph", "torch", "torch graph"]
    for contestant in entry["contestants"].values():
        assert contestant["status"] == "ok", contestant
        assert contestant["relative_error"] < 1e-5
        assert contestant["median_us"] > 0
    assert entry["contestants"]["cnndsl"]["same_twice"]
    assert entry["layer_times"][0]["layers"] == "c1 + tanh1"
    assert entry["launches"] == len(entry["layer_times"]) == 7


@pytest.mark.usefixtures("pretended_gpu")
def test_a_graph_that_writes_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output was filled with NaN before the replay. The others go on."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", BrokenGraph)
    entry = configuration.measure(replace(LENET, layers=False))
    status = {name: contestant["status"] for name, contestant in entry["contestants"].items()}
    assert status == {"cnndsl": "ok", "cnndsl graph": "wrong", "torch": "ok", "torch graph": "ok"}
    assert entry["contestants"]["torch graph"]["relative_error"] == float("inf")
    assert "median_us" not in entry["contestants"]["cnndsl graph"]


@pytest.mark.usefixtures("pretended_gpu")
def test_a_contestant_that_fails_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(configuration, "torch_network", fail)
    entry = configuration.measure(replace(LENET, layers=False))
    assert entry["contestants"]["torch"]["status"] == "failed"
    assert "out of luck" in entry["contestants"]["torch"]["problem"]
    assert entry["contestants"]["cnndsl"]["median_us"] > 0
