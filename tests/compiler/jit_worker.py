"""Launch kernels through Triton's own launcher, on GPUs that are not there, and say what had to be compiled.

Reads a JSON list on standard input, for each launch:

    file, launch     a kernel's file and its host function's name
    backend, arch, warp_size
    cache            for TRITON_CACHE_DIR
    tensors          element type for each tensor that is passed
    integers         passed behind them

and writes for each [key of Triton's cache, whether it was found there].
"""

import importlib.util
import json
import os
import sys
from types import SimpleNamespace
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

TYPES = {"fp16": torch.float16, "fp32": torch.float32}


def launch(number: int, request: dict[str, Any]) -> list[tuple[str, bool]]:
    os.environ["TRITON_CACHE_DIR"] = request["cache"]
    target = GPUTarget(request["backend"], request["arch"], request["warp_size"])
    utils = SimpleNamespace(
        get_device_properties=lambda device: {"max_shared_mem": 2**20},
        load_binary=lambda name, kernel, shared, device: (None, None, 0, 0, 1024),
    )
    driver.set_active(
        SimpleNamespace(
            get_current_target=lambda: target,
            get_current_device=lambda: number,
            get_current_stream=lambda device: 0,
            launcher_cls=lambda src, metadata: lambda *arguments: None,
            utils=utils,
        )
    )
    found = []
    knobs.compilation.listener = lambda *, metadata, cache_hit, **_: found.append((metadata["hash"], cache_hit))
    spec = importlib.util.spec_from_file_location(f"package_{number}.kernels.it", request["file"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tensors = [torch.empty(64, dtype=TYPES[name]) for name in request["tensors"]]
    getattr(module, request["launch"])(*tensors, *request["integers"])
    return found


if __name__ == "__main__":
    json.dump([launch(number, request) for number, request in enumerate(json.load(sys.stdin))], sys.stdout)
