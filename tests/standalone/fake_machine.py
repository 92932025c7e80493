"""Run a build on a GPU that is not there, up to the launches, and tell which kernels Triton had to compile.

``python fake_machine.py FOLDER NAME TARGET N...``: the build NAME in FOLDER, with batches of N pictures. Prints JSON.
"""

import importlib
import json
import sys
from pathlib import Path

sys.path[:0] = [sys.argv[1], str(Path(__file__).parents[1] / "gpu")]

import torch  # noqa: E402 - the path first
from fake_gpu import FakeGpu  # noqa: E402
from triton import knobs  # noqa: E402

from cnndsl.targets import get  # noqa: E402

gpu = FakeGpu(get(sys.argv[3]), compiles=True)
gpu.activate()
looked_up = []
knobs.compilation.listener = lambda **what: looked_up.append((what["src"].fn.__module__, what["cache_hit"]))

loading = importlib.import_module(f"{sys.argv[2]}.runtime.loading")
about = loading.read_about(loading.FOLDER)
target = next(t for t in about.targets if t.name == sys.argv[3])
net = loading.Network(about, target, torch.device("meta"))
for n in map(int, sys.argv[4:]):
    net(*(torch.empty(n, *i.torch_shape, dtype=net.dtype, device="meta") for i in about.inputs))
found = {
    "handed_over": net.precompiled,
    "launches": len(gpu.launches),
    "found": sorted(module.rpartition(".")[2] for module, hit in looked_up if hit),
    "compiled": sorted(module.rpartition(".")[2] for module, hit in looked_up if not hit),
}
sys.stdout.write(json.dumps(found))
