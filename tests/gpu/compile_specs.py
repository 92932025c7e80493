"""Compile kernels as Triton's launcher specialised them, and report what became of them.

Reads a JSON list of `fake_gpu.Spec` on standard input and writes one line of JSON for each, in order:
registers, stack, local, shared (bytes), instructions (count by SASS name) and seconds; or error.
"""

import importlib
import json
import os
import sys
import time
from ast import literal_eval
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "kernels"))

os.environ.pop("TRITON_INTERPRET", None)

import triton
from compile_worker import facts
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


def build(spec: dict[str, Any]) -> dict[str, Any]:
    kernel = getattr(importlib.import_module(spec["module"]), spec["kernel"])
    source = ASTSource(
        fn=kernel,
        signature=dict(spec["signature"]),
        constexprs={(position,): value for position, value in spec["constants"]},
        attrs={(position,): literal_eval(value) for position, value in spec["attributes"]},
    )
    options = {"num_warps": spec["num_warps"], "num_stages": spec["num_stages"]}
    start = time.perf_counter()
    compiled = triton.compile(source, target=GPUTarget("cuda", spec["arch"], 32), options=options)
    return {**facts(compiled), "seconds": round(time.perf_counter() - start, 2)}


if __name__ == "__main__":
    for spec in json.load(sys.stdin):
        try:
            result = build(spec)
        except Exception as error:  # noqa: BLE001 - a test looks at it
            result = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
