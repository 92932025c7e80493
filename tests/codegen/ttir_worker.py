"""Kernels to Triton's first intermediate form, for GPUs that need not be there.

A process of its own, because nothing can be compiled once triton was imported for the interpreter. Reads requests from
standard input, one line of JSON each, and answers each with a line:

    module        a module of cnndsl.kernels; or
    text          the text of a module
    kernel        the function's name
    constants     parameter -> value
    types         parameter -> "*fp16", "i32"
    aligned       the parameters known to be multiples of 16
    target        backend, architecture and threads of a warp, as GPUTarget takes them

The answer holds `ir`, the kernel after Triton's passes on that form, without places and names, and `seconds`; or
`error`.
"""

import hashlib
import importlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler.compiler import make_backend


def compiled(kernel: Any, request: dict[str, Any]) -> str:
    """The Triton IR of a kernel."""
    constants = {(kernel.arg_names.index(name),): value for name, value in request["constants"].items()}
    signature = {name: request["types"].get(name, "constexpr") for name in kernel.arg_names}
    attributes = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in request["aligned"]}
    source = ASTSource(kernel, signature, constants, attributes)
    target = GPUTarget(*request["target"])
    backend = make_backend(target)
    options = backend.parse_options({})
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    module = source.make_ir(
        target, options, backend.get_codegen_implementation(options), backend.get_module_map(), context
    )
    stages: dict[str, Any] = {}
    backend.add_stages(stages, options, source.language)
    return str(stages["ttir"](module, {}))


def plain(text: str) -> str:
    """IR without places and names: constants stand where they are used, other values are numbered as they come."""
    text = re.sub(r" loc\((?:[^()\"]|\"[^\"]*\"|\((?:[^()\"]|\"[^\"]*\")*\))*\)", "", text)
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith("#loc")]
    values: dict[str, str] = {}
    out = []
    for line in lines:
        made = re.match(r"\s*(%[\w#]+) = arith\.constant (.*)", line)
        if made:
            values[made[1]] = f"<{made[2]}>"
            continue

        def numbered(match: re.Match[str]) -> str:
            return values.setdefault(match[0], f"%{len(values)}")

        out.append(re.sub(r"%[\w]+", numbered, line))
    # Constants were counted too.
    order: dict[str, str] = {}
    return re.sub(r"%\d+", lambda m: order.setdefault(m[0], f"%{len(order)}"), "\n".join(out))


def module_of(request: dict[str, Any], folder: Path) -> ModuleType:
    if "module" in request:
        return importlib.import_module(f"cnndsl.kernels.{request['module']}")
    text = request["text"].encode()
    path = folder / f"kernel_{hashlib.sha256(text).hexdigest()[:20]}.py"
    path.write_bytes(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        text = plain(compiled(getattr(module_of(request, folder), request["kernel"]), request))
    except Exception as error:  # noqa: BLE001 - a test looks at it
        cause: BaseException | None = error
        words = []
        while cause is not None:
            words.append(f"{type(cause).__name__}: {cause}")
            cause = cause.__cause__
        return {"error": "\n".join(words)}
    return {"ir": text, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(answer(json.loads(line), Path(scratch))) + "\n")
            sys.stdout.flush()
