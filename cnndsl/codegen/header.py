"""What stands at the head of an emitted kernel, and how emitted lines are filled."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cnndsl.errors import Span
from cnndsl.figures import compact, counted

if TYPE_CHECKING:
    from cnndsl.codegen.package import Parameter
    from cnndsl.codegen.specialize import Known
    from cnndsl.ops.binding import Launch
    from cnndsl.passes.plan import Plan, Step

WIDTH = 110


def kernel(
    plan: Plan,
    steps: Sequence[int],
    launch: Launch,
    *,
    constants: Iterable[tuple[str, Known]],
    digest: str,
    parameters: Sequence[Parameter],
) -> str:
    """The comment above a kernel: what it computes, from which lines, for what, with which constants."""
    users = [plan.steps[number] for number in steps]
    titles = [clean(step.group.title) for step in users]
    lines = [*filled(f"{', '.join(titles)} of {clean(plan.graph.name)}", indent=2), ""]
    for step in users:
        lines.extend(_lines_of(plan, step))
    given = ", ".join(f"{p.name} {p.type}" for p in parameters)
    known = dict(constants)
    absent = {name.removesuffix("_ptr") for name, value in known.items() if name.endswith("_ptr") and value is None}
    # An absent tensor's strides are passed to the generic kernel and mean nothing.
    named = [f"{name}={value!r}" for name, value in known.items() if name.partition("_s")[0] not in absent]
    lines += [
        "",
        f"For {plan.target.name} in {plan.dtype}, tiles for a batch of {plan.batch}; "
        f"{counted(launch.num_warps, 'warp')}, {counted(launch.num_stages, 'stage')}.",
        *filled(f"Parameters: {given}.", indent=2),
        *filled(f"{launch.kernel} of cnndsl's kernels/{launch.module}.py with {', '.join(named)}.", indent=2),
        f"Digest {digest}. Written by cnndsl, which would write it again: `cnndsl eject` makes a copy to edit.",
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _lines_of(plan: Plan, step: Step) -> list[str]:
    """A step's layers with the lines that they come from, and its shapes."""
    graph, found = plan.graph, []
    for node in step.group.computed:
        for each in (node, *node.folded):
            place = f"{place_of(each.span)}"
            called = "".join(f", called from line {span.line}" for span in reversed(each.calls[-1:]))
            found.append((place, f"{clean(each.layer)}: {each.op}{called}"))
    width = max(len(place) for place, _ in found)
    shapes = ", ".join(str(graph.by_name[name].type) for name in step.reads)
    makes = " | ".join(str(graph.by_name[name].type) for name in step.writes)
    cost = f", {compact(step.macs)} MACs a picture" if step.macs else ""
    lines = [f"  {place:<{width}}  {what}" for place, what in found]
    return [*lines, f"  {'':<{width}}  {shapes} -> {makes}{cost}"]


def place_of(span: Span) -> str:
    """``alexnet.cnn:7``."""
    return f"{file_of(span)}:{span.line}"


def file_of(span: Span) -> str:
    """The name of a span's file, without anything that could end a comment or a docstring."""
    return re.sub(r"[^\w.<>-]", "_", os.path.basename(span.source.name))


def clean(text: str) -> str:
    """A text that fits a comment: nothing that ends a line or cannot be printed."""
    return "".join(c if c.isprintable() else "?" for c in text)


def quoted(text: str) -> str:
    """A string of Python, in double quotes."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def filled(text: str, *, indent: int = 0, width: int = WIDTH - 2) -> list[str]:
    """A text as lines of words, those after the first indented."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1].strip() and len(lines[-1]) + 1 + len(word) > width:
            lines.append(" " * indent + word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def wrapped(before: str, parts: Sequence[str], after: str, *, width: int = WIDTH) -> list[str]:
    """A call in one line, or with its arguments in lines of their own where one line does not hold them."""
    line = f"{before}{', '.join(parts)}{after}"
    if len(line) <= width:
        return [line]
    indent = " " * (len(before) - len(before.lstrip()))
    lines = [f"{indent}    "]
    for part in parts:
        if lines[-1].strip() and len(lines[-1]) + len(part) + 1 > width:
            lines[-1] = lines[-1].rstrip()
            lines.append(f"{indent}    ")
        lines[-1] += f"{part}, "
    return [before, *(line.rstrip() for line in lines), f"{indent}{after}"]
