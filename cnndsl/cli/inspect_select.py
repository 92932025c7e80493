"""From LAYER or LINE on a command line to layers and their kernels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cnndsl.errors import CnnError, did_you_mean, listed, problem
from cnndsl.linemap import Layer, Line, LineMap

NETWORK = "network.py"
"""The file of a package that launches its kernels."""


@dataclass(frozen=True)
class Selection:
    """The layers that were asked for, and what to say of those without a kernel."""

    layers: tuple[Layer, ...]
    notes: tuple[str, ...]
    kernels: tuple[str, ...]
    """Names of kernels, in the order of the package."""
    network: bool = False
    """Whether the file that launches them belongs to it."""


MAX_NOTES = 3
"""Layers without a kernel that have a sentence each."""


def everything(lines: LineMap) -> Selection:
    """All layers and kernels."""
    return Selection(lines.layers, (), tuple(k.name for k in lines.kernels), network=True)


def alike(lines: LineMap, chosen: Selection) -> Selection:
    """The layers of another network that have the names of those that were chosen, perhaps none."""
    names = {layer.name for layer in chosen.layers}
    found = _of_layers(lines, [layer for layer in lines.layers if layer.name in names])
    return replace(found, network=chosen.network)


def select(lines: LineMap, wanted: str, *, outputs: Sequence[tuple[str, str]] = ()) -> Selection:
    """What LAYER or LINE means: a layer, a kernel, a line, a path that layers stand under, or a label within blocks.

    A number is a line, but for a layer that is called so.

    Raises CnnError (E0707) where there is none of that name.
    """
    if wanted == NETWORK:
        return Selection((), (), (), network=True)
    layers = {layer.name: layer for layer in lines.layers}
    if wanted in layers:
        return _of_layers(lines, [layers[wanted]])
    kernel = re.sub(r"^(?:kernels/)?(.+?)(?:\.py)?$", r"\1", wanted)
    for found in lines.kernels:
        if found.name == kernel:
            return Selection(tuple(layers[name] for name in found.layers), (), (kernel,))
    line = _line(lines, wanted)
    if line is not None:
        on_it = dict.fromkeys([*line.layers, *line.called])
        return _of_layers(lines, [layer for layer in lines.layers if layer.name in on_it])
    under = [layer for layer in lines.layers if layer.name.startswith(f"{wanted}.")]
    under = under or [layer for layer in lines.layers if f".{wanted}." in f".{layer.name}."]
    if under:
        return _of_layers(lines, under)
    named = dict(outputs)
    if wanted in named:
        return _of_layers(lines, [layers[named[wanted]]])
    raise _unknown(lines, wanted)


def _of_layers(lines: LineMap, layers: Sequence[Layer]) -> Selection:
    """A selection of layers, with a sentence for each that has no kernel of its own, or for many of them."""
    without = [layer for layer in layers if layer.fate != "kernel"]
    notes = tuple(note(layer) for layer in without)
    if len(notes) > MAX_NOTES:
        names = [layer.name for layer in without]
        notes = (f"{len(names)} layers have no kernel of their own: {listed(names, most=MAX_NOTES)}",)
    named = {name for layer in layers for name in layer.kernels}
    return Selection(tuple(layers), notes, tuple(k.name for k in lines.kernels if k.name in named))


def note(layer: Layer) -> str:
    """What became of a layer without a kernel of its own, in a sentence."""
    match layer.fate:
        case "input":
            return f"{layer.name} is {layer.why}"
        case "folded":
            kernels = f", in kernel {', '.join(layer.kernels)}" if layer.kernels else ""
            return f"{layer.name} ({layer.op}) is {layer.why}{kernels}"
    return f"{layer.name} ({layer.op}) needs no kernel: {layer.why}"


# --- lines -----------------------------------------------------------------------------------------


def _line(lines: LineMap, wanted: str) -> Line | None:
    """The line that ``10`` or ``file.cnn:10`` names; None for what is no line's number. Raises CnnError (E0707)."""
    match = re.fullmatch(r"(?:(.+):)?(\d{1,9})", wanted)
    if match is None:
        return None
    file, number = match[1], int(match[2])
    files = _files(lines, file)
    if not files:
        known = [os.path.basename(name) for name in lines.files]
        guess = did_you_mean(os.path.basename(str(file)), known)
        hint = f"did you mean {guess}:{number}?" if guess is not None else f"its layers come from {listed(known)}"
        raise problem("E0707", f"no layer of the network comes from {file}", help=(hint,))
    if len(files) > 1:
        hint = " or ".join(f"{name}:{number}" for name in files[:MAX_NOTES])
        raise problem("E0707", f"{len(files)} files are called {file}", help=(f"write {hint}",))
    of_file = [line for line in lines.lines if line.file == files[0]]
    if not 1 <= number <= len(of_file):
        what = f"{files[0]} has {len(of_file)} lines, and no line {number}"
        raise problem("E0707", what, help=_elsewhere(lines, number) if file is None else ())
    line = of_file[number - 1]
    if not line.layers and not line.called:
        near = sorted(_with_layers(of_file), key=lambda other: abs(other.number - number))[:3]
        hints = [f"line {other.number}: {other.text.strip()}" for other in sorted(near, key=lambda other: other.number)]
        if file is None:
            hints += _elsewhere(lines, number)
        said = line.text.strip()
        raise problem("E0707", f"line {number} of {files[0]} holds no layer: {said[:80] or 'it is empty'}", help=hints)
    return line


def _elsewhere(lines: LineMap, number: int) -> tuple[str, ...]:
    """Lines of this number in the files that the first one uses, which have layers."""
    others = [line for line in _with_layers(lines.lines) if line.number == number and line.file != lines.files[0]]
    return tuple(f"{os.path.basename(other.file)}:{number}: {other.text.strip()}" for other in others[:MAX_NOTES])


def _with_layers(lines: Sequence[Line]) -> Iterator[Line]:
    return (line for line in lines if line.layers or line.called)


def _files(lines: LineMap, wanted: str | None) -> list[str]:
    """The files whose names end with a path that somebody wrote; without one, the network's own file."""
    if wanted is None:
        return list(lines.files[:1])
    if wanted in lines.files:
        return [wanted]
    path = os.path.normpath(wanted)
    return [name for name in lines.files if f"/{os.path.normpath(name)}".endswith(f"/{path}")]


def _unknown(lines: LineMap, wanted: str) -> CnnError:
    names = [layer.name for layer in lines.layers]
    short = {name.rpartition(".")[2]: name for name in reversed(names)}
    guess = did_you_mean(wanted, [*names, *(kernel.name for kernel in lines.kernels)])
    guess = guess if guess is not None else did_you_mean(wanted, short)
    hint = f"did you mean `{guess}`?" if guess is not None else f"layers are {listed(names)}"
    return problem("E0707", f"there is no layer, kernel, label or line `{wanted}`", help=(hint,))
