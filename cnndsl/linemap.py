"""From every line of the ``.cnn`` files to its layers and kernels, and from every kernel back to its lines.

Fusion makes one kernel of several layers, equal layers share a kernel, and some layers need none: a `Layer` says which
of these it is, and why. A line that calls a block stands for all layers of that call; a line inside a block stands for
that layer in every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from cnndsl.errors import Source, Span
from cnndsl.ir import Graph, Node, TensorType
from cnndsl.ops.joins import Concat
from cnndsl.passes.boundaries import FreeFate, FreeLayer, removed_layers, without_launch

if TYPE_CHECKING:
    from cnndsl.codegen.package import Package

Fate = FreeFate | Literal["kernel", "input"]
"""What became of a layer: computed by a kernel, passed by the caller, or without a launch, as `FreeLayer` has it."""


@dataclass(frozen=True)
class Use:
    """A kernel at a step of the plan."""

    kernel: str
    step: int


@dataclass(frozen=True)
class Layer:
    """A layer of the network as it was written, and what became of it.

    op      as a file would write it; "input" for an input.
    calls   the calls of blocks that it stands in, outermost first.
    uses    the kernels that compute it, in order; for a folded layer those of the layer that took it up. Empty when
            it needs none.
    why     a sentence about every layer without a kernel of its own; empty for the others.
    """

    name: str
    op: str
    type: TensorType
    span: Span
    calls: tuple[Span, ...]
    fate: Fate
    uses: tuple[Use, ...] = ()
    why: str = ""

    @property
    def kernels(self) -> tuple[str, ...]:
        """The names of its kernels, each once."""
        return tuple(dict.fromkeys(use.kernel for use in self.uses))


@dataclass(frozen=True)
class Line:
    """A line of a file: the layers that stand on it, and those of the block calls that stand on it."""

    file: str
    number: int
    text: str
    layers: tuple[str, ...]
    called: tuple[str, ...]
    kernels: tuple[str, ...]
    """The kernels of all of them, in the order of their first launch."""


@dataclass(frozen=True)
class KernelLines:
    """A kernel with the layers that it computes, folded ones too, and the lines (file, number) they come from."""

    name: str
    steps: tuple[int, ...]
    layers: tuple[str, ...]
    lines: tuple[tuple[str, int], ...]
    called: tuple[tuple[str, int], ...]
    """Lines of the block calls that the layers stand in."""


@dataclass(frozen=True)
class LineMap:
    """All lines of all files that a network's layers come from; its layers in computing order; its kernels."""

    lines: tuple[Line, ...]
    layers: tuple[Layer, ...]
    kernels: tuple[KernelLines, ...]

    def at(self, file: str, number: int) -> Line:
        """A line by its file's name and its number, from 1. Raises KeyError where there is none."""
        return self._lines[file, number]

    def kernel(self, name: str) -> KernelLines:
        """A kernel by its name in the package. Raises KeyError."""
        return self._kernels[name]

    def layer(self, name: str) -> Layer:
        """A layer by its path. Raises KeyError."""
        return self._layers[name]

    @property
    def files(self) -> tuple[str, ...]:
        """The files' names, the network's own first."""
        return tuple(dict.fromkeys(line.file for line in self.lines))

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, for tools."""
        return {
            "files": [
                {"name": file, "lines": [_line_json(line) for line in self.lines if line.file == file]}
                for file in self.files
            ],
            "layers": [_layer_json(layer) for layer in self.layers],
            "kernels": [
                {
                    "name": kernel.name,
                    "steps": list(kernel.steps),
                    "layers": list(kernel.layers),
                    "lines": [_place(*place) for place in kernel.lines],
                    "called": [_place(*place) for place in kernel.called],
                }
                for kernel in self.kernels
            ],
        }

    @cached_property
    def _lines(self) -> Mapping[tuple[str, int], Line]:
        return {(line.file, line.number): line for line in self.lines}

    @cached_property
    def _layers(self) -> Mapping[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def _kernels(self) -> Mapping[str, KernelLines]:
        return {kernel.name: kernel for kernel in self.kernels}


def line_map(graph: Graph, package: Package) -> LineMap:
    """The map of a network, as it was written, and of the package made of it."""
    layers = _layers(graph, package)
    order = [kernel.name for kernel in package.kernels]
    inside: dict[str, list[Layer]] = {name: [] for name in order}
    for layer in layers:
        for name in layer.kernels:
            inside[name].append(layer)
    kernels = tuple(_kernel_lines(kernel.name, kernel.steps, inside[kernel.name]) for kernel in package.kernels)
    sources = dict.fromkeys(span.source for layer in layers for span in (layer.span, *layer.calls))
    lines = tuple(line for source in sources for line in _lines_of(source, layers, order))
    return LineMap(lines, layers, kernels)


# --- layers ----------------------------------------------------------------------------------------


def _layers(graph: Graph, package: Package) -> tuple[Layer, ...]:
    """The network's layers, then the copies that the plan has added."""
    plan = package.plan
    uses: dict[str, list[Use]] = {}
    for number, step in enumerate(plan.steps):
        launched = [Use(kernel, number) for kernel, _ in package.launches[number]]
        for node in step.group.computed:
            for name in node.layers:
                uses.setdefault(name, []).extend(launched)
    folded = {norm.name for node in plan.graph.nodes for norm in node.folded}
    removed = removed_layers(graph)
    added = (node for node in plan.graph.nodes if node.layer not in graph.by_name)
    layers = []
    for node in (*graph.nodes, *added):
        found = tuple(uses.get(node.name, ()))
        fate, why = _fate(node, found, folded=node.name in folded, removed=removed)
        op = node.text
        if node.name not in graph.by_name:
            op, why = "copy", f"{node.inputs[0]} is an output too, which has memory of its own"
        layers.append(Layer(node.name, op, node.type, node.span, node.calls, fate, found, why))
    return tuple(layers)


def _fate(
    node: Node, uses: tuple[Use, ...], *, folded: bool, removed: Mapping[str, FreeLayer]
) -> tuple[Fate, str]:
    """What became of a layer, and why where that is not a kernel of its own."""
    if node.op is None:
        return "input", "an input: the tensor that the caller passes"
    if uses and not folded:
        if isinstance(node.op, Concat) and len(node.inputs) > len(uses):
            return "kernel", f"copies {len(uses)} of its {len(node.inputs)} inputs; the others are written in place"
        return "kernel", ""
    free = removed.get(node.name) or without_launch(node)
    return free.fate, free.reason


# --- lines -----------------------------------------------------------------------------------------


def lines_of(span: Span) -> range:
    """The numbers of the lines that a span covers."""
    return range(span.line, span.source.position(max(span.end - 1, span.start))[0] + 1)


def _lines_of(source: Source, layers: tuple[Layer, ...], order: list[str]) -> Iterable[Line]:
    own: dict[int, dict[str, Layer]] = {}
    called: dict[int, dict[str, Layer]] = {}
    for layer in layers:
        for spans, table in (((layer.span,), own), (layer.calls, called)):
            for span in spans:
                if span.source is source:
                    for number in lines_of(span):
                        table.setdefault(number, {})[layer.name] = layer
    rank = {name: i for i, name in enumerate(order)}
    count = len(source.line_starts) - (1 if source.text.endswith("\n") else 0)
    for number in range(1, max(count, 1) + 1):
        here, there = own.get(number, {}), called.get(number, {})
        kernels = {name for layer in (*here.values(), *there.values()) for name in layer.kernels}
        ordered = tuple(sorted(kernels, key=rank.__getitem__))
        yield Line(source.name, number, source.line(number), tuple(here), tuple(there), ordered)


def _kernel_lines(name: str, steps: tuple[int, ...], inside: list[Layer]) -> KernelLines:
    return KernelLines(
        name,
        steps,
        tuple(layer.name for layer in inside),
        _numbers(layer.span for layer in inside),
        _numbers(span for layer in inside for span in layer.calls),
    )


def _numbers(spans: Iterable[Span]) -> tuple[tuple[str, int], ...]:
    return tuple(dict.fromkeys((span.source.name, number) for span in spans for number in lines_of(span)))


# --- JSON ------------------------------------------------------------------------------------------


def _place(file: str, number: int) -> dict[str, Any]:
    return {"file": file, "line": number}


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "number": line.number,
        "text": line.text,
        "layers": list(line.layers),
        "called": list(line.called),
        "kernels": list(line.kernels),
    }


def _layer_json(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "shape": list(layer.type.shape),
        "span": layer.span.to_json(),
        "calls": [span.to_json() for span in layer.calls],
        "fate": layer.fate,
        "why": layer.why,
        "kernels": [{"kernel": use.kernel, "step": use.step} for use in layer.uses],
    }
