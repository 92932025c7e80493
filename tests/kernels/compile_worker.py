"""Compile kernels for GPUs that need not be there, and report what became of them.

A process of its own, because nothing can be compiled once triton was imported for the interpreter. Reads a
JSON list of kernels on standard input:

    module, kernel   a kernel of cnndsl.kernels
    arch             CUDA compute capability: 80, 90
    pointers         name -> "fp16" or another element type; None for an absent one
    integers         name -> the run-time value
    constants        name -> the constexpr value
    num_warps, num_stages

and writes a list of the facts about them on standard output.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def build(request: dict[str, Any]) -> dict[str, Any]:
    kernel = getattr(importlib.import_module(f"cnndsl.kernels.{request['module']}"), request["kernel"])
    signature, constants, attributes = {}, {}, {}
    for position, name in enumerate(kernel.arg_names):
        # As Triton's launcher does: 1 becomes a constant, multiples of 16 are known to be such.
        if name in request["pointers"] and request["pointers"][name] is not None:
            signature[name] = "*" + request["pointers"][name]
            attributes[(position,)] = [["tt.divisibility", 16]]
        elif name in request["integers"] and request["integers"][name] != 1:
            signature[name] = "i32"
            if request["integers"][name] % 16 == 0:
                attributes[(position,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "constexpr"
            constants[(position,)] = {**request["pointers"], **request["integers"], **request["constants"]}[
                name
            ]
    compiled = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes),
        target=GPUTarget("cuda", request["arch"], 32),
        options={"num_warps": request["num_warps"], "num_stages": request["num_stages"]},
    )
    return facts(compiled)


def facts(compiled: Any) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        usage = tool("cuobjdump", "-res-usage", cubin.name)
        sass = tool("cuobjdump", "-sass", cubin.name)
    registers, stack, local = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", usage).groups()
    # "        /*0470*/   @!P1 LDGSTS.E.BYPASS.128 [R5], ...": the word after the address and the predicate.
    instructions = re.findall(
        r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][A-Z0-9_.]*)", sass, re.MULTILINE
    )
    return {
        "registers": int(registers),
        "stack": int(stack),
        "local": int(local),
        "shared": compiled.metadata.shared,
        "instructions": Counter(instructions),
    }


def tool(name: str, *arguments: str) -> str:
    done = subprocess.run([TOOLS / name, *arguments], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


if __name__ == "__main__":
    json.dump([build(request) for request in json.load(sys.stdin)], sys.stdout)
