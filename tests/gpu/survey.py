"""Walk networks through Triton's launch path for GPUs that are not there, and report every launch.

    python survey.py [--only NETWORK] [--dtype DTYPE] [--replace OLD NEW]...

Networks are compiled for targets and types (all of them where CNNDSL_COMPILE_ALL is set) and called, on
tensors without memory, with several batch sizes and layouts. Written on standard output, as JSON:

    runs    one entry per call: network, target, dtype, n, layout; the package's kernels with the parameters that
            it says they have; the launches, each with the layer's name, the kernel, what Triton specialised it for
            (signature, attributes), the grid, and the reach of its widest tensor in elements; or an error

With --replace, OLD is replaced by NEW in every generated text, and the run's entry "replaced" is OLD: that is how
the tests break them. Several give a walk each.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from itertools import pairwise
from typing import Any

import fake_gpu  # first: it sees to it that triton compiles
import torch
from sample_networks import EVERYTHING, chosen, sources

from cnndsl import targets
from cnndsl.codegen.package import Package
from cnndsl.ir import Graph
from cnndsl.runtime import parameters
from cnndsl.runtime.executor import TORCH_TYPES, Network, choose_network, elaborate, load_source
from cnndsl.tiles import DType

TARGETS = ("sm_80", "sm_90")
BATCHES = (1, 3, 16, 128)
MANY = ("alexnet", "lenet5", "residual", "mobile")
"""Networks that are walked through for every target and type."""
META = torch.device("meta")


def graph_of(source: str) -> Graph:
    program, name = load_source(source)
    return elaborate(program, choose_network(program, name), None)


def network(graph: Graph, *, target: targets.Target, dtype: DType) -> Network:
    """A network for a target, whose weights take no memory."""
    net = Network(graph, target=target, dtype=dtype, device=META)
    specs = parameters.specs_of(graph)
    net.load_weights({key: torch.empty(spec.shape, device=META) for key, spec in specs.items()})
    return net


def inputs(graph: Graph, n: int, *, dtype: DType, layout: str = "nchw") -> list[torch.Tensor]:
    shapes = [(n, *node.type.torch_shape) for node in graph.inputs]
    found = [torch.empty(shape, dtype=TORCH_TYPES[dtype], device=META) for shape in shapes]
    if layout == "nhwc":
        found = [x.to(memory_format=torch.channels_last) if x.ndim == 4 else x for x in found]
    return found


def reach(x: torch.Tensor) -> int:
    """One more than the largest offset into a tensor, in elements."""
    return sum((size - 1) * step for size, step in zip(x.shape, x.stride(), strict=True)) + 1


def batches(graph: Graph) -> list[tuple[int, str]]:
    """Batch sizes and layouts to call a network with.

    The last two lie on both sides of the batch at which its largest value reaches 2^31 elements.
    """
    edge = 2**31 / max(node.type.size for node in graph.nodes)
    beyond = [(int(edge * 0.9), "nchw"), (int(edge * 1.1) + 1, "nchw")]
    sizes = BATCHES if EVERYTHING else BATCHES[::2]
    return [*((n, "nchw") for n in sizes), (128, "nhwc"), *beyond]


def cases() -> Iterator[tuple[str, Graph, str, DType]]:
    """Network, target and type; those alone that take other roads than the rest, unless it is to be everything."""
    for name in chosen(sources()):
        graph = graph_of(sources()[name])
        for target in TARGETS:
            for dtype in TORCH_TYPES:
                usual = (target, dtype) == ("sm_90", "fp16")
                if EVERYTHING or usual or name in MANY:
                    yield name, graph, target, dtype


def walk(
    net: Network, xs: list[torch.Tensor], gpu: fake_gpu.FakeGpu
) -> list[tuple[str, fake_gpu.Launch]]:
    """Call a network; its launches, each with the title of the layers that it computes."""
    gpu.launches.clear()
    starts: list[tuple[int, str]] = []
    net.run(*xs, progress=lambda done, total, title: starts.append((len(gpu.launches), title)))
    found: list[tuple[str, fake_gpu.Launch]] = []
    for (first, title), (end, _) in pairwise(starts):
        found += [(title, launch) for launch in gpu.launches[first:end]]
    assert len(found) == len(gpu.launches)
    return found


def survey(given: argparse.Namespace, replace: tuple[str, str] | None) -> Iterator[dict[str, Any]]:
    """All runs, as the module's docstring describes them."""
    gpus = {name: fake_gpu.FakeGpu(targets.get(name)) for name in TARGETS}
    for name, graph, target, dtype in cases():
        if given.only not in (None, name) or given.dtype not in (None, dtype):
            continue
        gpu = gpus[target]
        gpu.activate()
        net = network(graph, target=gpu.target, dtype=dtype)
        for n, layout in batches(graph):
            run: dict[str, Any] = {
                "network": name, "target": target, "dtype": dtype, "n": n, "layout": layout,
                "replaced": replace[0] if replace is not None else None, "launches": [], "error": None,
            }  # fmt: skip
            try:
                made, _, _ = net._package(n, keep=False)
                run |= {
                    "max_batch": made.plan.max_batch,
                    "planned": [kernel for of_step in made.launches for kernel, _ in of_step],
                    "kernels": {k.name: [asdict(p) for p in k.parameters] for k in made.kernels},
                    "inputs": [node.type.shape for node in graph.inputs],
                }
                launches = walk(net, inputs(graph, n, dtype=dtype, layout=layout), gpu)
            except Exception:  # noqa: BLE001 - a test looks at it
                run["error"] = traceback.format_exc(limit=-3)
                launches = []
            for layer, launch in launches:
                tensors = [v for v in launch.arguments.values() if isinstance(v, torch.Tensor)]
                run["launches"].append({
                    "layer": layer,
                    "kernel": launch.spec.module.rpartition(".")[2],
                    "signature": launch.spec.signature,
                    "attributes": launch.spec.attributes,
                    "grid": launch.grid,
                    "reach": max(reach(x) for x in tensors),
                })
            yield run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only")
    parser.add_argument("--dtype")
    parser.add_argument("--replace", nargs=2, action="append")
    arguments = parser.parse_args()
    genuine = Package.files.func  # type: ignore[attr-defined]
    runs: list[dict[str, Any]] = []
    for replace in arguments.replace or [None]:
        if replace is not None:

            def broken(made: Package, pair: tuple[str, str] = replace) -> dict[str, str]:
                return {name: text.replace(*pair) for name, text in genuine(made).items()}

            Package.files = cached_property(broken)
            Package.files.__set_name__(Package, "files")
        runs.extend(survey(arguments, replace))
    json.dump({"runs": runs}, sys.stdout)


if __name__ == "__main__":
    main()
