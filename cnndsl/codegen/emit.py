"""Package to ``network.py``: straight-line code that launches a package's kernels in order over a planned arena."""

from __future__ import annotations

from cnndsl.codegen.header import clean, file_of, filled, place_of, quoted, wrapped
from cnndsl.codegen.package import Names, Package
from cnndsl.figures import compact, counted
from cnndsl.passes.places import Buffer
from cnndsl.passes.plan import Plan, Step, variable_of
from cnndsl.tiles import ITEM_BYTES

TORCH_TYPES = {"fp32": "torch.float32", "tf32": "torch.float32", "fp16": "torch.float16", "bf16": "torch.bfloat16"}
"""The type of a network's tensors, as Python writes it."""

_REPORTER = '''\
def reporter(progress):
    """What tells `progress` (steps done, all steps, the layers that come next) where the launches are."""
    if progress is None:
        return lambda step: None
    return lambda step: progress(step, len(STEPS), STEPS[step] if step < len(STEPS) else "")
'''

_PARTS = '''\
def forward(inputs, weights, progress=None):
    """Outputs by name{values} for inputs of one batch size and packed weights (see WEIGHTS)."""
    n = inputs[0].shape[0]
    if n <= MAX_BATCH:
        return run(inputs, weights, progress)
    starts = range(0, n, MAX_BATCH)
    parts = [run(tuple(x[i : i + MAX_BATCH] for x in inputs), weights, progress) for i in starts]
    return {joined}


def joined(parts):
    """The tensors of all parts under their names."""
    return {{name: torch.cat([part[name] for part in parts]) for name in parts[0]}}


def is_wide(x):
    """Whether offsets into a tensor exceed 32 bits."""
    return sum((size - 1) * stride for size, stride in zip(x.shape, x.stride())) >= 2**31
'''


def network_source(package: Package) -> str:
    """The text of ``network.py``."""
    plan = package.plan
    origin = file_of(plan.graph.nodes[0].span)
    launches = sum(len(of_step) for of_step in package.launches)
    kernels, tiles = counted(len(package.kernels), "kernel"), f"tiles for a batch of {plan.batch}"
    arena = f"{plan.arena * ITEM_BYTES[plan.dtype] / 1024:,.1f} KiB of activations a picture"
    lines = [
        f'"""{clean(plan.graph.name)}, compiled from {origin} for {plan.target.name} in {plan.dtype}.',
        "",
        *filled(
            f"{counted(launches, 'launch')} of {kernels}, {tiles}; {arena}.", width=100
        ),
        "Written by cnndsl, which would write it again: do not edit.",
        '"""',
        "",
        "import torch",
        "",
        *_imports([k.name for k in package.kernels]),
        "",
        f"DTYPE = {TORCH_TYPES[plan.dtype]}",
        f"ARENA = {plan.arena}  # values of one picture; layers whose results are never needed together share them",
        *([f"MAX_BATCH = {plan.max_batch}  # pictures of one pass: up to there, offsets fit 32 bits"]
          if plan.max_batch is not None else []),
        "STEPS = (",
        *(f"    {quoted(step.group.title)}," for step in plan.steps),
        ")",
        "WEIGHTS = {  # shapes, packed: filters and rows in DTYPE, biases in float32",
        *(f"    {quoted(name)}: {shape}," for name, shape in packed_shapes(plan).items()),
        "}",
        "",
        "",
        *_entry(plan),
        *_REPORTER.splitlines(),
        "",
        "",
        *_body(package),
        "",
    ]
    return "\n".join(lines)


def _imports(names: list[str]) -> list[str]:
    line = f"from .kernels import {', '.join(names)}"
    return [line] if len(line) <= 100 else wrapped("from .kernels import (", names, ")", width=100)


def packed_shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors that the kernels read, by their keys."""
    graph = plan.graph
    return {
        f"{node.name}.{name}": shape
        for step in plan.steps
        for node in step.group.packed
        if node.op is not None
        for name, shape in node.op.packed_shapes(graph.types_of(node), folded=bool(node.folded)).items()
    }


def _entry(plan: Plan) -> list[str]:
    """The function that runs a batch in parts, where there is a limit to a batch."""
    if plan.max_batch is None:
        return []
    if plan.keep:
        both = "tuple(joined([part[i] for part in parts]) for i in range(2))"
        return [*_PARTS.format(values=", and each kernel's result by name,", joined=both).splitlines(), "", ""]
    return [*_PARTS.format(values="", joined="joined(parts)").splitlines(), "", ""]


def _body(package: Package) -> list[str]:
    plan = package.plan
    names = Names(plan).inputs
    limited = plan.max_batch is not None
    what = "Outputs by name, for inputs of one batch size and packed weights"
    lines = [
        f"def {'run' if limited else 'forward'}(inputs, weights, progress=None):",
        f'"""{what}{", at most MAX_BATCH pictures" if limited else " (see WEIGHTS)"}."""',
        f"{', '.join(names.values())} = inputs" if len(names) > 1 else f"({next(iter(names.values()))},) = inputs",
        f"n = {next(iter(names.values()))}.shape[0]",
        f"device = {next(iter(names.values()))}.device",
        "report = reporter(progress)",
    ]
    if limited:
        for name in names.values():
            lines += [f"if is_wide({name}):", f"    {name} = {name}.contiguous()"]
    if plan.arena:
        lines.append("arena = torch.empty(n * ARENA, dtype=DTYPE, device=device)")
    lines.extend(_allocation(buffer) for buffer in plan.buffers)
    strides = _strides(package, names)
    lines.extend(strides.values())
    expressions = _expressions(names)
    for number, step in enumerate(plan.steps):
        lines += ["", *_step(package, step, number, expressions)]
    lines += ["", f"report({len(plan.steps)})", "outputs = {"]
    lines.extend(f"    {quoted(output)}: {_view(plan, name, names)}," for output, name in plan.outputs)
    lines.append("}")
    if plan.keep:
        lines.append("values = {")
        written = [name for step in plan.steps for name in step.writes]
        lines.extend(f"    {quoted(name)}: {_view(plan, name, names)}," for name in written)
        lines += ["}", "return outputs, values"]
    else:
        lines.append("return outputs")
    return [lines[0], *(f"    {line}" if line else "" for line in lines[1:])]


def _strides(package: Package, names: dict[str, str]) -> dict[str, str]:
    """Lines that take the strides of the inputs whose kernels ask for them."""
    asked = {value for of_step in package.launches for _, passed in of_step for _, value in passed}
    lines = {}
    for node in package.plan.graph.inputs:
        variable, name = variable_of(node.name), names[node.name]
        if not any(f"s{axis}_{variable}" in asked for axis in "nchw"):
            continue
        if node.type.is_map:
            lines[name] = f"{name}_sn, {name}_sc, {name}_sh, {name}_sw = {name}.stride()"
        else:
            lines[name] = f"({name}_sn, {name}_sc), {name}_sh, {name}_sw = {name}.stride(), 0, 0"
    return lines


def _expressions(names: dict[str, str]) -> dict[str, str]:
    """The plan's names of inputs and their strides, as this text calls them."""
    found = {}
    for node_name, name in names.items():
        variable = variable_of(node_name)
        found[variable] = name
        found |= {f"s{axis}_{variable}": f"{name}_s{axis}" for axis in "nchw"}
    return found


def _allocation(buffer: Buffer) -> str:
    if buffer.offset is None:
        return f"{buffer.name} = torch.empty(n * {buffer.size}, dtype=DTYPE, device=device)  # {buffer.type}"
    first = f"n * {buffer.offset}" if buffer.offset else ""
    return f"{buffer.name} = arena[{first} : n * {buffer.offset + buffer.size}]  # {buffer.type}".replace("[ ", "[")


def _step(package: Package, step: Step, number: int, expressions: dict[str, str]) -> list[str]:
    graph, group = package.plan.graph, step.group
    shapes = ", ".join(f"{clean(name)} {graph.by_name[name].type}" for name in step.reads)
    makes = " | ".join(str(graph.by_name[name].type) for name in step.writes)
    cost = f", {compact(step.macs)} MACs" if step.macs else ""
    lines = [
        *(f"# {line}" for line in filled(f"{clean(group.title)}: {group.text}", indent=2, width=96)),
        *(f"# {line}" for line in filled(
            f"{place_of(group.anchor.span)}  {shapes} -> {makes}{cost}", indent=2, width=96
        )),
        f"report({number})",
    ]
    for kernel, passed in package.launches[number]:
        arguments = [expressions.get(value, value) for _, value in passed]
        lines.extend(wrapped(f"{kernel}.launch(", arguments, ")", width=100))
    return lines


def _view(plan: Plan, name: str, names: dict[str, str]) -> str:
    """Expression for a value as torch shows it: [n, C, H, W] or [n, features]."""
    type_ = plan.graph.by_name[name].type
    root = name
    while root not in plan.storage:
        root = plan.graph.by_name[root].inputs[0]
    assert root not in names, "an output that is an input has a copy"
    # Outputs and kept values have buffers of their own, or share one with what their launch computes beside them.
    place, channels = plan.storage[root], plan.graph.by_name[root].type.channels
    whole = (place.offset, place.stride) == (0, channels)
    part = "" if whole else f"[..., {place.offset or ''}:{place.offset + channels}]"
    if not type_.is_map:
        return f"{place.buffer}.view(n, {type_.size if whole else place.stride}){part}"
    return f"{place.buffer}.view(n, {type_.height}, {type_.width}, {place.stride}){part}.permute(0, 3, 1, 2)"
