"""Run whole networks as on a GPU of a given kind, everything but the launches themselves.

    python fake_run.py [--shared BYTES] TARGET DTYPE BATCH NETWORK...

Every kernel is really compiled, loaded as far as can be (Triton refuses what exceeds the GPU's shared memory,
which --shared makes smaller than it is) and "launched" twice. Written on standard output, as JSON by network:
the launches (layer, kernel, grid), the number of compilations in the first and in the second call, and the
seconds that they took.
"""

import argparse
import json
import sys
import time
from typing import Any

import fake_gpu
from sample_networks import sources
from survey import graph_of, inputs, network, walk

from cnndsl import targets


def run(gpu: fake_gpu.FakeGpu, name: str, *, dtype: Any, batch: int) -> dict[str, Any]:
    graph = graph_of(sources()[name])
    net = network(graph, target=gpu.target, dtype=dtype)
    xs = inputs(graph, batch, dtype=dtype)
    before = len(gpu.kernels)
    start = time.perf_counter()
    launches = walk(net, xs, gpu)
    seconds = time.perf_counter() - start
    first = len(gpu.kernels) - before
    again = walk(net, xs, gpu)
    assert [(layer, launch.grid) for layer, launch in again] == [(layer, launch.grid) for layer, launch in launches]
    return {
        "launches": [(layer, launch.spec.kernel, launch.grid) for layer, launch in launches],
        "compiled": first, "compiled_again": len(gpu.kernels) - before - first, "seconds": round(seconds, 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=int)
    parser.add_argument("target", type=targets.get)
    parser.add_argument("dtype")
    parser.add_argument("batch", type=int)
    parser.add_argument("networks", nargs="+")
    given = parser.parse_args()
    gpu = fake_gpu.FakeGpu(given.target, compiles=True, shared_memory_bytes=given.shared)
    gpu.activate()
    found = {name: run(gpu, name, dtype=given.dtype, batch=given.batch) for name in given.networks}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
