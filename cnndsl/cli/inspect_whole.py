"""The stages that are one text about the whole network, or about the layers of it that were chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from cnndsl import ir
from cnndsl.cli import terminal
from cnndsl.cli.inspect_diff import paint, unified
from cnndsl.cli.inspect_made import Made
from cnndsl.cli.inspect_select import Selection, note
from cnndsl.cli.inspect_sides import Request, Side
from cnndsl.cli.sources import read_source
from cnndsl.cli.table import wrap
from cnndsl.errors import did_you_mean, listed, printable, problem
from cnndsl.figures import counted
from cnndsl.ir import Graph
from cnndsl.linemap import Line, LineMap
from cnndsl.passes import fuse, plan

_NAMED = 3
"""Layers without a kernel that are named; of more their number is told."""

_GAP = 3
"""Spaces between a line of a file and what became of it."""


def show(request: Request, sides: list[Side]) -> None:
    """Print a stage, or the difference of it between two networks."""
    if request.as_json:
        found = sides[0].made.lines
        terminal.out_json({"ok": True, "network": sides[0].made.graph.name, **found.to_json()})
        return
    width = terminal.width() if request.other is None else None
    texts = [_text(request.stage, side, width=width) for side in sides]
    _print(request.stage, texts, [side.title for side in sides])


def show_tree(request: Request) -> None:
    """Print what the parser read of a file, or how that differs between two files."""
    files = [request.file, *([request.other] if request.other is not None else [])]
    _print("tree", [tree(file) for file in files], files)


def _print(stage: str, texts: list[str], titles: list[str]) -> None:
    if len(texts) == 1:
        terminal.out(texts[0].rstrip())
        return
    lines = unified(texts[0], texts[1], titles=(titles[0], titles[1]), stage=stage)
    for line in paint(lines):
        terminal.out(line)
    if not lines:
        terminal.say(f"no difference between {titles[0]} and {titles[1]}")


def tree(file: str) -> str:
    """The file's own tree, before anything is looked up: it shows what was read when the rest fails."""
    from cnndsl.parser import parse
    from cnndsl.tree import show as show_file

    text, name, network = read_source(file)
    read = parse(text, name)
    known = [d.name for d in read.definitions if d.kind == "network"]
    if network is not None and network not in known:
        guess = did_you_mean(network, known)
        hint = (f"did you mean `{guess}`?",) if guess is not None else ()
        raise problem("E0213", f"there is no network `{network}` in {name}", help=hint)
    return show_file(read, network=network)


def _text(stage: str, side: Side, *, width: int | None) -> str:
    """A stage of the chosen layers."""
    made = side.made
    chosen = side.selection if side.layer is not None else None
    names = {layer.name for layer in chosen.layers} if chosen is not None else None
    match stage:
        case "graph":
            return "\n".join(_nodes(made.graph, names))
        case "simplified":
            return "\n".join(_nodes(made.simplified, names))
        case "groups":
            return _groups(made, names)
        case "plan":
            steps = {use.step for layer in chosen.layers for use in layer.uses} if chosen is not None else None
            return "\n".join(_steps(plan.show(made.plan), steps))
    assert stage == "lines", stage
    return "\n".join(_lines(made, chosen, width=width))


def _groups(made: Made, names: set[str] | None) -> str:
    groups = made.groups
    if names is not None:
        kept = (g for g in groups.groups if names & {name for node in g.computed for name in node.layers})
        groups = replace(groups, groups=tuple(kept))
    return fuse.show(groups, graph=made.graph, dtype=made.dtype, batch=made.batch)


def _nodes(graph: Graph, names: set[str] | None) -> Iterator[str]:
    """The lines of a graph's text, of some layers alone; a layer stands for those that it has taken up."""
    lines = ir.show(graph).splitlines()
    if names is None:
        yield from lines
        return
    yield lines[0]
    for node, line in zip(graph.nodes, lines[1:], strict=False):
        if names & {*node.layers}:
            yield line


def _steps(text: str, steps: set[int] | None) -> Iterator[str]:
    """The lines of a plan's text, of some steps alone."""
    if steps is None:
        yield from text.splitlines()
        return
    inside = True
    for line in text.splitlines():
        number = re.match(r" {2,4}(\d+) ", line)
        if number is not None:
            inside = int(number[1]) in steps
        elif not line.startswith(" " * 6):
            inside = not line.startswith(" ")
        if inside:
            yield line


# --- lines -----------------------------------------------------------------------------------------


def _lines(made: Made, selection: Selection | None, *, width: int | None) -> Iterator[str]:
    """The ``.cnn`` files with the kernels of every line, beside it or, where there is no room, below it."""
    found = made.lines
    chosen = {layer.name for layer in selection.layers} if selection is not None else None
    layers = sum(node.op is not None for node in made.graph.nodes)
    launches = sum(map(len, made.package.launches))
    shown = f"{counted(layers, 'layer')}, {counted(len(found.kernels), 'kernel')}"
    launched = f" launched {launches:,} times" if launches > len(found.kernels) else ""
    yield terminal.bold(f"{made.graph.name} for {made.target.name} in {made.dtype}: {shown}{launched}")
    for file in found.files:
        lines = [line for line in found.lines if line.file == file]
        if chosen is not None:
            lines = [line for line in lines if chosen & {*line.layers, *line.called}]
        if lines:
            yield ""
            yield terminal.bold(file)
            yield from _file(lines, found, chosen=chosen, width=width)


def _file(lines: list[Line], found: LineMap, *, chosen: set[str] | None, width: int | None) -> Iterator[str]:
    digits = len(str(lines[-1].number))
    texts = [printable(line.text.expandtabs(4)).rstrip() for line in lines]
    longest = max((len(text) for text, line in zip(texts, lines, strict=True) if line.layers or line.called), default=0)
    start = digits + 2 + longest + _GAP
    beside = width is None or width - start >= 24
    for line, text in zip(lines, texts, strict=True):
        head = f"{terminal.dim(str(line.number).rjust(digits))}  {text}"
        said = _said(line, found, chosen)
        if not said:
            yield head.rstrip()
            continue
        if width is None:
            yield head + " " * (longest - len(text) + _GAP) + said
            continue
        if beside:
            first, *rest = wrap(said, width - start)
            yield head + " " * (longest - len(text) + _GAP) + terminal.dim(first)
            yield from (" " * start + terminal.dim(each) for each in rest)
        else:
            yield head
            indent = " " * (digits + 2 + len(text) - len(text.lstrip()))
            yield from (indent + terminal.dim(each) for each in wrap(f"= {said}", max(width - len(indent), 16)))


def _said(line: Line, found: LineMap, chosen: set[str] | None) -> str:
    """What became of the layers that begin on a line, or of the chosen ones of them: ``conv1; dropout1 free``."""
    own, calls = (
        [found.layer(name) for name in names if chosen is None or name in chosen]
        for names in (line.layers, line.called)
    )
    here = [layer for layer in own if layer.span.line == line.number]
    called = [layer for layer in calls if line.number in {span.line for span in layer.calls}]
    named = {name for layer in (*here, *called) for name in layer.kernels}
    kernels = [name for name in line.kernels if name in named]
    if len(here) == 1 and not kernels:
        return note(here[0])
    fates: dict[str, list[str]] = {}
    for layer in here:
        if layer.fate != "kernel":
            fates.setdefault(layer.fate, []).append(layer.name)
    parts = [", ".join(kernels)] if kernels else []
    parts.extend(
        f"{len(names):,} layers {fate}" if len(names) > _NAMED else f"{listed(names)} {fate}"
        for fate, names in fates.items()
    )
    return "; ".join(parts)
