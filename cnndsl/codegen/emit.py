"""Plan to package: a Python module of straight-line kernel launches.

The executor imports the very file that `cnndsl inspect --stage source` prints.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

from cnndsl.errors import Span, problem
from cnndsl.ops.binding import Constant, Launch
from cnndsl.passes.plan import Buffer, Plan, Step, variable_of

_TORCH_TYPES = {"fp32": "torch.float32", "tf32": "torch.float32", "fp16": "torch.float16", "bf16": "torch.bfloat16"}


def network_source(plan: Plan) -> str:
    """The text of ``network.py``."""
    modules = sorted({(launch.module, launch.kernel) for s in plan.steps for launch in s.launches})
    origin = f"from {_file(plan.graph.nodes[0].span)}"
    lines = [
        f'"""{plan.graph.name}: {sum(len(s.launches) for s in plan.steps)} kernel launches, compiled {origin}',
        f"for {plan.target.name} in {plan.dtype} with tiles for a batch of {plan.batch}.",
        "Written by cnndsl; do not edit.",
        '"""',
        "",
        "import torch",
        "from triton import cdiv",
        "",
        *(f"from cnndsl.kernels.{module} import {kernel}" for module, kernel in modules),
        "",
        f"DTYPE = {_TORCH_TYPES[plan.dtype]}",
        f"ARENA = {plan.arena}  # values for each picture, shared by all layers in turn",
        f"STEPS = {tuple(s.group.title for s in plan.steps)!r}",
        "",
        "",
        "def is_wide(x):",
        '    """Whether offsets into a tensor need 64 bits."""',
        "    return sum((size - 1) * stride for size, stride in zip(x.shape, x.stride())) >= 2**31",
        "",
        "",
        "def forward(inputs, weights, progress=None):",
        '    """Outputs by name, for inputs of one batch size and packed weights."""',
        *(_indent(line) for line in _body(plan)),
        "",
    ]
    return "\n".join(lines)


def _file(span: Span) -> str:
    """The name of a span's file, without anything that could end a comment or a docstring."""
    return re.sub(r"[^\w.<>-]", "_", os.path.basename(span.source.name))


def _body(plan: Plan) -> list[str]:
    inputs = plan.graph.inputs
    names = [variable_of(node.name) for node in inputs]
    lines = [f"{', '.join(names)}, = inputs", f"n = {names[0]}.shape[0]", f"device = {names[0]}.device"]
    for node, name in zip(inputs, names, strict=True):
        if node.type.is_map:
            lines.append(f"sn_{name}, sc_{name}, sh_{name}, sw_{name} = {name}.stride()")
        else:
            lines.append(f"(sn_{name}, sc_{name}), sh_{name}, sw_{name} = {name}.stride(), 0, 0")
        lines.append(f"wide_{name} = is_wide({name})")
    if plan.arena:
        lines.append("arena = torch.empty(n * ARENA, dtype=DTYPE, device=device)")
    lines.extend(_allocation(buffer) for buffer in plan.buffers)
    for number, step in enumerate(plan.steps):
        lines.extend(_step(plan, step, number))
    lines.append("if progress is not None:")
    lines.append(f'    progress({len(plan.steps)}, {len(plan.steps)}, "")')
    lines.append("outputs = {")
    lines.extend(f'    "{output}": {_view(plan, name)},' for output, name in plan.outputs)
    lines.append("}")
    if plan.keep:
        lines.append("values = {")
        lines.extend(f'    "{s.writes}": {_view(plan, s.writes)},' for s in plan.steps)
        lines.append("}")
        lines.append("return outputs, values")
    else:
        lines.append("return outputs")
    return lines


def _allocation(buffer: Buffer) -> str:
    if buffer.offset is None:
        return f"{buffer.name} = torch.empty(n * {buffer.size}, dtype=DTYPE, device=device)"
    return f"{buffer.name} = arena[n * {buffer.offset} : n * {buffer.offset + buffer.size}]  # {buffer.type}"


def _step(plan: Plan, step: Step, number: int) -> list[str]:
    graph, group = plan.graph, step.group
    shapes = ", ".join(str(graph.by_name[name].type) for name in step.reads)
    span = group.anchor.span
    cost = f", {step.macs / 1e6:,.1f} MMAC" if step.macs else ""
    lines = [
        "",
        f"# {group.title}: {' -> '.join(str(n.op) for n in group.nodes)}",
        f"# {_file(span)}:{span.line}  {shapes} -> {graph.by_name[step.writes].type}{cost}",
        "if progress is not None:",
        f"    progress({number}, {len(plan.steps)}, {group.title!r})",
    ]
    for launch in step.launches:
        lines.extend(_launch(launch))
    return lines


def _launch(launch: Launch) -> list[str]:
    grid = ", ".join(launch.grid) + ("," if len(launch.grid) == 1 else "")
    arguments = [f"{parameter}={value}" for parameter, value in launch.arguments]
    constants = [f"{name}={_constant(value)}" for name, value in launch.constants]
    options = [f"INDEX64={launch.wide}", f"num_warps={launch.num_warps}", f"num_stages={launch.num_stages}"]
    return [
        f"{launch.kernel}[({grid})](",
        *(_indent(f"{text}") for text in _filled([*arguments, *constants, *options])),
        ")",
    ]


def _filled(parts: list[str], width: int = 96) -> list[str]:
    """Arguments side by side, as many as fit a line."""
    lines = [""]
    for part in parts:
        text = f"{part}, "
        if len(lines[-1]) + len(text) > width:
            lines.append("")
        lines[-1] += text
    return [line.rstrip() for line in lines]


def _constant(value: Constant) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def _view(plan: Plan, name: str) -> str:
    """Expression for a value as torch shows it: [n, C, H, W] or [n, features]."""
    type_ = plan.graph.by_name[name].type
    root = name
    while root not in plan.storage:
        root = plan.graph.by_name[root].inputs[0]
    # Outputs and kept values have buffers of their own.
    place = plan.storage[root]
    assert (place.offset, place.stride) == (0, plan.graph.by_name[root].type.channels)
    if not type_.is_map:
        return f"{place.buffer}.view(n, {type_.size})"
    return f"{place.buffer}.view(n, {type_.height}, {type_.width}, {type_.channels}).permute(0, 3, 1, 2)"


def _indent(line: str) -> str:
    return f"    {line}" if line else ""


# --- the cache --------------------------------------------------------------------------------------


@cache
def _kernels_digest() -> str:
    """Digest of all device code: a package is stale when a kernel that it imports has changed."""
    digest = hashlib.sha256()
    for file in sorted(resources.files("cnndsl.kernels").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".py"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where packages are kept: ``$CNNDSL_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("CNNDSL_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("cnndsl", appauthor=False))


def write_package(plan: Plan, *, folder: Path | None = None) -> Path:
    """Write the package of a plan, unless it is there already, and return the path of its ``network.py``.

    Two processes may write the same package at the same time: each writes a folder of its own, and the first to
    rename it wins. Raises CnnError (E0606) when no folder can be written.
    """
    source = network_source(plan)
    digest = hashlib.sha256((_kernels_digest() + source).encode()).hexdigest()[:20]
    # A file system takes names of 255 bytes.
    target = (folder or cache_folder()) / "packages" / f"{plan.graph.name.lower()[:100]}_{digest}"
    path = target / "network.py"
    try:
        if path.exists() and path.read_bytes() == source.encode():
            return path
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as scratch:
            fresh = Path(scratch) / "package"
            fresh.mkdir()
            (fresh / "__init__.py").write_text(f'"""{plan.graph.name}, compiled by cnndsl."""\n', encoding="utf-8")
            (fresh / "network.py").write_bytes(source.encode())
            if target.exists():
                # Left behind broken, by a full disk say: put the good file in its place.
                os.replace(fresh / "network.py", path)
            else:
                try:
                    os.replace(fresh, target)
                except OSError:
                    if not path.exists():
                        raise
    except OSError as error:
        raise problem(
            "E0606",
            f"cannot write the compiled network to {target.parent}: {error.strerror or error}",
            help=("set CNNDSL_CACHE to a folder that can be written",),
        ) from None
    return path
