"""The text of an ejected kernel: the kernel as it is emitted, then its inputs, its reference and its check."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import torch

from cnndsl.codegen.header import clean, filled, place_of, wrapped
from cnndsl.codegen.package import Package
from cnndsl.eject.facts import Facts, Tensor
from cnndsl.eject.trace import Recorder, Stage, UnknownCallError, dummy, program, tuple_program
from cnndsl.errors import problem
from cnndsl.ir import Node
from cnndsl.ops.base import Weight
from cnndsl.ops.normalize import LocalResponseNorm
from cnndsl.ops.packing import side_by_side

_TYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

TOLERANCES = {"fp32": 1e-5, "tf32": 2e-3, "fp16": 2e-3, "bf16": 1.5e-2}
"""As in `cnndsl.runtime.verify`, which a test holds."""

LAYOUTS = {4: ("contiguous", "channels_last", "apart"), 2: ("contiguous", "apart")}
"""How a caller may pass a tensor of so many axes."""

SPREAD = 3.0
"""Standard deviation of inputs: enough for every branch of an activation to be taken, 6 of relu6 included."""

_MARK = "# --- what is copied ---\n"

_HOW = """\
#
# A copy to edit, as long as `launch` keeps its parameters. Compare it with torch, and time it on a GPU:
#     python {quoted} --n 4
# and put it back into the network, which compares it again:
#     {run}
#     {compile}
"""

_PREFACE = """\
import argparse
import inspect
import os
import sys
import warnings
from typing import Any

import torch
import torch.nn.functional as F

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # must be set before triton is first imported

"""

_RULE = "# " + "=" * 108 + "\n"

_BELOW = f"""\
{_RULE}# The check: inputs, a reference in torch's operators, and the comparison. It needs torch and triton alone.
# None of what follows runs in a network, and a kernel that is put back there is checked by cnndsl's own copy of it.
{_RULE}"""


def ejected(
    package: Package, facts: Facts, *, layer: str, network: str, file: str, settings: Sequence[str] = ()
) -> str:
    """The whole file: `network` is what was compiled with `settings` (``name=value``), `file` the new file's name.

    Raises CnnError (E0623) for a layer whose reference is not made of torch's functions.
    """
    kernel = package.by_name[facts.kernel]
    lines = kernel.source.splitlines(keepends=True)
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    head = "".join(lines[:end]).partition("# Digest ")[0]
    run = run_command(facts.plan.dtype, layer=layer, network=network, file=file, settings=settings)
    names = {setting.partition("=")[0].strip() for setting in settings}
    chosen = {name: value for name, value in facts.plan.graph.settings if name in names}
    keywords = {
        **({"dtype": facts.plan.dtype} if facts.plan.dtype != "fp32" else {}),
        **({"set": chosen} if chosen else {}),
        "kernels": {layer: file},
    }
    given = ", ".join(f"{name}={_literal(value)}" for name, value in keywords.items())
    call = f"cnndsl.compile({_literal(network)}, {given})"
    how = _HOW.format(quoted=shlex.quote(clean(file)), run=clean(run), compile=clean(call))
    body = "".join(lines[end:]).strip("\n")
    return f"{head}{how}\n{_PREFACE}{body}\n\n\n{_BELOW}\n{check_source(facts)}"


def run_command(dtype: str, *, layer: str, network: str, file: str, settings: Sequence[str]) -> str:
    """The command that puts a file back, as a shell takes it."""
    options = [] if dtype == "fp32" else ["--dtype", dtype]
    for setting in settings:
        options += ["--set", setting]
    return shlex.join(["cnndsl", "run", network, *options, "--kernel", f"{layer}={file}"])


def check_source(facts: Facts) -> str:
    """The part below the kernel. It needs a `launch`, and the imports of torch that stand above it."""
    parts = [_layer(facts), _inputs(facts), *_pack(facts), _reference(facts), _arguments(facts)]
    harness = resources.files("cnndsl.eject").joinpath("harness.py").read_text(encoding="utf-8")
    return "\n\n".join(part.strip("\n") + "\n" for part in parts) + harness.partition(_MARK)[2]


# --- the layer's own part -------------------------------------------------------------------------------------


def _layer(facts: Facts) -> str:
    """What the layer is, as data."""
    plan, y = facts.plan, facts.writes
    known = {
        "network": clean(plan.graph.name), "layer": clean(facts.step.group.title), "target": plan.target.name,
        "largest_n": plan.max_batch, **facts.layout,
    }
    lines = ["LAYER = {  # by this, cnndsl knows whose place the kernel can take"]
    for key, value in known.items():
        if isinstance(value, dict):
            lines.append(f'    "{key}": {{  # of one picture: torch\'s shape, and its strides behind the batch\'s')
            lines.extend(f"        {_literal(name)}: {_literal(inner)}," for name, inner in value.items())
            lines.append("    },")
        elif isinstance(value, tuple) and len(value) > 1:
            lines += wrapped(f"    {_literal(key)}: (", [*map(_literal, value)], "),")
        else:
            lines.append(f"    {_literal(key)}: {_literal(value)},")
    layouts = LAYOUTS[len(facts.reads[0].shape) + 1] if any(t.strides is None for t in facts.reads) else ()
    cases = [{"layout": layout} for layout in layouts] or [{}]
    output = {"shape": y.shape, "strides": y.strides, "picture": y.picture, "offset": y.offset}
    return "\n".join([
        *lines,
        "}",
        f"DTYPE = {_TYPES[plan.dtype]}",
        f"TOLERANCE = {TOLERANCES[plan.dtype]}  # of ||y - r|| / ||r||, with r in fp64",
        f"CASES = {_literal(cases)}",
        *wrapped("OUTPUT = {", [f"{_literal(key)}: {_literal(value)}" for key, value in output.items()], "}"),
        "",
    ])


def _literal(value: object) -> str:
    """A value as Python writes it, strings in double quotes."""
    match value:
        case str():
            return json.dumps(value)
        case dict():
            return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case tuple():
            return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _inputs(facts: Facts) -> str:
    """`make_inputs`."""
    weights = _named(facts)
    lines = [
        f'def make_inputs(n, device="cpu", seed=0{_layout_parameter(facts)}):',
        '    """Random inputs for n pictures, in torch\'s shapes and with the memory that the kernel is given.',
        "",
    ]
    rows = [(t.name, _shown(t)) for t in facts.reads] + [
        (name, f"{list(w.shape)}{_note(anchor)}") for name, anchor, w in weights
    ]
    width = max(len(name) for name, _ in rows)
    lines += [f"    {name:<{width}}  {text}" for name, text in rows]
    lines += ['    """', "    random = torch.Generator().manual_seed(seed)"]
    spread = _spread(facts)
    for t in facts.reads:
        shape = ", ".join(map(str, t.shape))
        lines.append(f"    {t.name} = {spread} * torch.randn(n, {shape}, generator=random)")
        if t.strides is None:
            lines.append(f"    {t.name} = passed({t.name}, layout, device)")
        else:
            words = [t.name, str(t.strides), f"picture={t.picture}"]
            words += [f"offset={t.offset}"] if t.offset else []
            lines += wrapped(f"    {t.name} = placed(", [*words, "device=device"], ")")
    lines += [f"    {name} = {_drawn(w)}" for name, _, w in weights]
    names = ", ".join(name for name, _ in rows)
    return "\n".join([*lines, f"    return ({names}{',' if len(rows) == 1 else ''})", ""])


def _layout_parameter(facts: Facts) -> str:
    return ', layout="contiguous"' if any(t.strides is None for t in facts.reads) else ""


def _shown(t: Tensor) -> str:
    """A tensor's line in the docstring."""
    shape = ", ".join(map(str, ("n", *t.shape)))
    if t.strides is None:
        return f"[{shape}] of the network's caller, who chooses the strides: see `passed`"
    pixel = t.strides[-1]
    if len(t.shape) == 1:
        return f"[{shape}], {t.strides[0]:,} values from picture to picture"
    part = f": {t.shape[0]} channels of a wider buffer" if pixel != t.shape[0] else ""
    return f"[{shape}], in memory height, width, channel; {pixel} values from pixel to pixel{part}"


def _note(anchor: Node) -> str:
    return f", {listed} folded in" if (listed := " and ".join(clean(n.name) for n in anchor.folded)) else ""


def _drawn(weight: Weight) -> str:
    """An expression for random values that suit a weight's part in its layer."""
    draw = f"torch.randn({', '.join(map(str, weight.shape))}, generator=random)"
    match weight.role:
        case "weight":
            # Sums of fan_in products have the inputs' standard deviation.
            return f"({weight.fan_in ** -0.5:.4g} * {draw}).to(device, DTYPE)"
        case "variance":
            return f"(0.5 + {draw}.abs()).to(device)"
    return f"{draw}.to(device)"


def _spread(facts: Facts) -> float:
    """The standard deviation of inputs. An LRN shows when alpha times the squares are about as large as k."""
    for node in facts.step.group.computed:
        if isinstance(node.op, LocalResponseNorm) and node.op.alpha > 0:
            return float(f"{min(300.0, max(SPREAD, math.sqrt(max(node.op.k, 1.0) / node.op.alpha))):.3g}")
    return SPREAD


def _named(facts: Facts) -> list[tuple[str, Node, Weight]]:
    """The weights in torch's layout, of all layers with their own, with names that no tensor and no packed weight has.

    Where several layers have some, their names end in the layer's number.
    """
    taken = {*facts.parameters, "n", "device", "seed", "layout", "random"}
    several = len(facts.weights) > 1
    return [
        (f"{name}_" if (name := f"{w.name}{number}" if several else w.name) in taken else name, one.anchor, w)
        for number, (one, weights) in enumerate(zip(facts.step.group.members, facts.weights, strict=True), start=1)
        for w in weights
    ]


def _pack(facts: Facts) -> list[str]:
    """`pack`, for a layer with weights."""
    packed = {word.partition(".")[2]: name for name, word in zip(facts.parameters, facts.passed, strict=True)
              if word.startswith("weights.")}  # fmt: skip
    if not packed:
        return []
    dtype, types_of = _TYPES[facts.plan.dtype], facts.plan.graph.types_of
    called: dict[str, torch.Tensor] = {}
    own: dict[str, tuple[Node, dict[str, torch.Tensor]]] = {}
    for name, anchor, w in _named(facts):
        called[name] = dummy(w.shape, dtype if w.role == "weight" else torch.float32)
        own.setdefault(anchor.name, (anchor, {}))[1][w.name] = called[name]
    try:
        with Recorder() as recorder:
            made = side_by_side([node.op.pack(types_of(node), given, ()) for node, given in own.values() if node.op])
        # As the executor casts them.
        types = {key: dtype if key == "weight" else torch.float32 for key in packed}
        casts = {key: "" if made[key].dtype == types[key] else f".to({types[key]})" for key in packed}
        lines = tuple_program(called, recorder.calls, [(made[key], casts[key]) for key in packed])
    except UnknownCallError as error:
        raise _opaque(facts, "packing", error) from None
    return ["\n".join([
        f"def pack({', '.join(called)}):",
        '    """The weights in the order in which the kernel reads them."""',
        *(f"    {line}" for line in lines),
        "",
    ])]


def _reference(facts: Facts) -> str:
    """`reference`, from what the layers' own references call."""
    names = [*(t.name for t in facts.reads), *(name for name, _, _ in _named(facts))]
    try:
        one, other = (_reference_lines(facts, batch) for batch in (2, 3))
    except UnknownCallError as error:
        raise _opaque(facts, "reference", error) from None
    if one != other:
        raise _opaque(facts, "reference", "it depends on the number of pictures")
    return "\n".join([
        f"def reference({', '.join(names)}):",
        f'    """The same with torch\'s operators, in the type of the inputs: {_result(facts)}."""',
        *(f"    {line}" for line in one),
        "",
    ])


def _result(facts: Facts) -> str:
    return f"[{', '.join(map(str, ('n', *facts.writes.shape)))}]"


def _reference_lines(facts: Facts, batch: int) -> list[str]:
    """The body of `reference`, traced on tensors without memory."""
    group = facts.step.group
    reads = {t.node: dummy((batch, *t.shape), torch.float64) for t in facts.reads}
    names = {t.name: reads[t.node] for t in facts.reads}
    weights: dict[str, dict[str, torch.Tensor]] = {}
    for name, anchor, w in _named(facts):
        names[name] = dummy(w.shape, torch.float64)
        weights.setdefault(anchor.name, {})[w.name] = names[name]
    if facts.is_copy:
        return [f"return {facts.reads[0].name}"]
    values: dict[str, torch.Tensor] = {}
    for name in facts.step.reads:
        # Two names of one place in memory are one tensor here: a view of one pixel as a vector may be among them.
        values[name] = reads[name] if name in reads else _same_place(facts, reads)
    stages = []
    for number, one in enumerate(group.members, start=1):
        for node in one.nodes:
            assert node.op is not None
            with Recorder() as recorder:
                inputs = [values[name] for name in node.inputs]
                values[node.name] = node.op.reference(inputs, weights.get(node.name, {}))
            folded = "".join(f", with {clean(n.name)}: {n.op} in its weights" for n in node.folded)
            comment = f"{clean(node.layer)}: {node.op}{folded}  ({place_of(node.span)})"
            stages.append(Stage(comment, recorder.calls, values[node.name], f"y{number}" if group.siblings else "y"))
    written = [values[name] for name in facts.step.writes]
    if group.siblings:
        with Recorder() as recorder:
            written = [torch.cat(written, 1)]
        stages.append(Stage(None, recorder.calls, written[0]))
    assert facts.plan.written(facts.step).torch_shape == tuple(written[0].shape[1:])
    return program(names, stages)


def _same_place(facts: Facts, reads: Mapping[str, torch.Tensor]) -> torch.Tensor:
    assert len(reads) == 1, f"{facts.step.group.title} reads tensors of unknown places"
    return next(iter(reads.values()))


def _arguments(facts: Facts) -> str:
    """`arguments`: what `launch` is called with."""
    weights = [name for name, _, _ in _named(facts)]
    packed = [
        name for name, word in zip(facts.parameters, facts.passed, strict=True) if word.startswith("weights.")
    ]
    maps = [t.name for t in facts.reads]
    lines = [
        f"def arguments({', '.join([*maps, *weights, 'y'])}):",
        f'    """What `launch` takes to write y {_result(facts)}."""',
    ]
    if packed:
        target = ", ".join(packed) + ("," if len(packed) == 1 else "")
        value = f"pack({', '.join(weights)})"
        lines.append(f"    {target} = map(between_nans, {value if len(packed) > 1 else f'[{value}]'})")
    for t in facts.reads:
        if t.strides is None and len(t.shape) == 3:
            lines.append(f"    {t.name}_sn, {t.name}_sc, {t.name}_sh, {t.name}_sw = {t.name}.stride()")
        elif t.strides is None:
            lines.append(f"    ({t.name}_sn, {t.name}_sc), {t.name}_sh, {t.name}_sw = {t.name}.stride(), 0, 0")
    values = [
        parameter if word.startswith("weights.") else f"len({maps[0]})" if word == "n" else word.replace(".", "_")
        for parameter, word in zip(facts.parameters, facts.passed, strict=True)
    ]
    lines += wrapped("    return (", values, ")") if len(values) > 1 else [f"    return ({values[0]},)"]
    return "\n".join([*lines, ""])


def _opaque(facts: Facts, what: str, why: Any) -> Exception:
    return problem(
        "E0623",
        f"{facts.step.group.title} cannot be ejected: its {what} cannot be written with torch's functions",
        notes=tuple(filled(str(why), width=300)),
    )
