"""From a network to what its page shows: plan it for each target, compile the kernels, gather it all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import cnndsl
from cnndsl.codegen.package import Kernel as Emitted
from cnndsl.codegen.package import Package, package, programs
from cnndsl.compiler import Compiled, Job, compile_kernels, installation
from cnndsl.compiler.lines import without_locations
from cnndsl.compiler.service import Progress
from cnndsl.draw.theme import family_of
from cnndsl.errors import CnnError
from cnndsl.ir import Graph
from cnndsl.linemap import Layer as Origin
from cnndsl.linemap import LineMap, line_map, lines_of
from cnndsl.passes.boundaries import Boundary as Crossing
from cnndsl.passes.boundaries import boundaries, unfused, values_moved
from cnndsl.passes.fuse import Groups, fuse
from cnndsl.passes.plan import Step, plan
from cnndsl.passes.simplify import simplify
from cnndsl.report import peaks, usage
from cnndsl.report.cost import Costs, limit
from cnndsl.report.model import (
    Boundary,
    File,
    Kernel,
    Launch,
    Layer,
    Peak,
    Place,
    Report,
    TargetPage,
    Text,
    Totals,
)  # fmt: skip
from cnndsl.summary import title_of
from cnndsl.targets import Target
from cnndsl.tiles import ITEM_BYTES, Aim, DType

INTERPRETER = (
    "Triton's interpreter runs the kernels' sources themselves, so there is no machine code. "
    "Ask for a GPU to see it, as in --target sm_90; no such GPU needs to be in this machine."
)
WITHOUT_TRITON = (
    "Triton is not installed on the machine that wrote this page, so the kernels were not compiled: their sources are "
    "here, machine code and resources are not. Triton has packages for Linux."
)


def build(
    graph: Graph,
    *,
    targets: Sequence[Target],
    dtype: DType,
    batch: int = 1,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Report:
    """All that the page of an elaborated network shows, for one target or several.

    Compiles every kernel that is not in the cache; `progress` and `workers` are those of `compile_kernels`. A kernel
    that cannot be compiled is shown with its error. Raises CnnError when a target cannot be compiled for (E0705).
    """
    assert targets
    groups = fuse(simplify(graph), Aim(batch, dtype))
    packages = [package(plan(groups, target=target, dtype=dtype, batch=batch)) for target in targets]
    compiled, version = _compile(packages, progress, workers)
    network = _Network(graph, groups, boundaries(groups), line_map(graph, packages[0]))
    texts: dict[str, dict[str, Text]] = {}
    pages = tuple(_target(network, made, compiled, texts, number=i) for i, made in enumerate(packages))
    return Report(
        title=title_of(graph),
        dtype=dtype,
        batch=batch,
        versions={"cnndsl": cnndsl.__version__, "triton": version},
        files=network.files,
        layers=tuple(network.layer(each) for each in network.lines.layers),
        targets=pages,
        texts=texts,
        picture=_picture(graph, groups),
    )


_Found = Mapping[tuple[str, str], Compiled]
"""Compiled kernels by the names of target and kernel."""


def _compile(
    packages: Sequence[Package], progress: Progress | None, workers: int | None
) -> tuple[_Found | None, str | None]:
    """All kernels for GPUs, and the version of Triton; None and None without Triton."""
    jobs = [
        Job(kernel, made.plan.target)
        for made in packages
        if made.plan.target.kind != "interpreter"
        for kernel in made.kernels
    ]
    try:
        version = installation.find().version
        done = compile_kernels(jobs, workers=workers, progress=progress)
    except CnnError as error:
        if [d.code for d in error.diagnostics] != ["E0601"]:
            raise
        return None, None
    return {(job.target.name, job.kernel.name): each for job, each in zip(jobs, done, strict=True)}, version


def _picture(graph: Graph, groups: Groups) -> str:
    from cnndsl.draw.diagram import diagram
    from cnndsl.draw.scene import scene
    from cnndsl.draw.svg import svg

    # One column, however long: the page scrolls it, and its own heading stands above it.
    return svg(scene(diagram(graph, groups), wrap=False, header=False), embed=True)


@dataclass(frozen=True)
class _Network:
    """What all targets have in common."""

    graph: Graph
    groups: Groups
    boundaries: tuple[Crossing, ...]
    lines: LineMap

    @property
    def files(self) -> tuple[File, ...]:
        """The texts, the network's own first."""
        sources = {span.source.name: span.source for each in self.lines.layers for span in (each.span, *each.calls)}
        return tuple(File(name, sources[name].text) for name in self.lines.files)

    def place(self, file: str, line: int) -> Place:
        return self.lines.files.index(file), line

    def layer(self, each: Origin) -> Layer:
        calls = tuple(self.place(span.source.name, span.line) for span in each.calls)
        return Layer(each.name, each.op, str(each.type), *self.place(each.span.source.name, each.span.line), calls)

    def places(self, names: Iterable[str]) -> tuple[Place, ...]:
        """The lines of some layers, those that they stand on before those that call their blocks."""
        found = [self.lines.layer(name) for name in names]
        spans = [each.span for each in found] + [span for each in found for span in reversed(each.calls)]
        return tuple(dict.fromkeys(self.place(s.source.name, line) for s in spans for line in lines_of(s)))

    def rank(self, names: Iterable[str]) -> tuple[int, ...]:
        order = {each.name: i for i, each in enumerate(self.lines.layers)}
        return tuple(order[name] for name in names)


def _target(
    network: _Network, made: Package, compiled: _Found | None, texts: dict[str, dict[str, Text]], *, number: int
) -> TargetPage:
    target = made.plan.target
    peak = peaks.of(target)
    launches = tuple(_launches(network, made, peak))
    kernels: list[Kernel] = []
    for kernel in made.kernels:
        found = compiled.get((target.name, kernel.name)) if compiled is not None else None
        key = f"texts-{number}-{len(kernels)}"
        texts[key] = _texts(kernel, found)
        kernels.append(_kernel(kernel, found, target, texts=key))
    layers = line_map(network.graph, made).layers if number else network.lines.layers
    return TargetPage(
        name=target.name,
        title=f"{target.name} ({peak.board})" if peak is not None else target.name,
        note=INTERPRETER if target.kind == "interpreter" else WITHOUT_TRITON if compiled is None else "",
        peak=Peak(peak.board, peak.bandwidth, peak.source) if peak is not None else None,
        totals=_totals(network, made, launches),
        launches=launches,
        kernels=tuple(kernels),
        fates={each.name: (each.fate, each.why) for each in layers},
        free=tuple((each.name, each.why) for each in layers if each.fate in {"in place", "free", "unused"}),
    )


# --- launches --------------------------------------------------------------------------------------


def _launches(network: _Network, made: Package, peak: peaks.Peak | None) -> Iterator[Launch]:
    costs = Costs(made.plan)
    place = {kernel.name: i for i, kernel in enumerate(made.kernels)}
    for step, launched in zip(made.plan.steps, made.launches, strict=True):
        members = step.group.members
        names = [[name for node in one.nodes for name in node.layers] for one in members]
        for i, (launch, (kernel, _)) in enumerate(zip(step.launches, launched, strict=True)):
            cost = costs.of(step, launch)
            found = limit(cost, peak, dtype=made.plan.dtype, tiles="tl.dot(" in made.by_name[kernel].source)
            yield Launch(
                title=" | ".join(map(_names, names)),
                part=f"{i + 1} of {len(launched)}" if len(launched) > 1 else "",
                op=" | ".join(" -> ".join(network.lines.layer(n.layer).op for n in one.nodes) for one in members),
                family=family_of(step.group.anchor),
                kernel=place[kernel],
                layers=network.rank(chain(*names)),
                places=network.places(list(chain(*names))),
                reads=cost.reads,
                writes=cost.writes,
                macs=cost.macs,
                flops=cost.flops,
                bytes=cost.bytes,
                peak=found.peak,
                unit=found.unit,
                seconds=found.seconds,
                bound=found.bound,
                boundaries=tuple(_boundaries(network, made, step)),
            )


def _names(names: Sequence[str]) -> str:
    """Names of layers as in ``stage1.conv1 + relu1``: a path that they share is written once."""
    path = names[0].split(".")[:-1]
    while path and not all(name.split(".")[:-1][: len(path)] == path for name in names):
        path.pop()
    return " + ".join(name if i == 0 else ".".join(name.split(".")[len(path) :]) for i, name in enumerate(names))


def _boundaries(network: _Network, made: Package, step: Step) -> Iterator[Boundary]:
    """The values that a step passes through memory, first those that it reads."""
    name = step.group.output.name
    for come in (True, False):
        for each in network.boundaries:
            end = each.consumer if come else each.producer
            # An input that is returned is copied by a step of the plan's own.
            copied = come and end is None and name == f"{each.tensor}.copy.{each.output}"
            own = end is not None and end.output.name == name and not (come and each.producer is each.consumer)
            if not (copied or own):
                continue
            readers = each.consumer.computed if each.consumer is not None else ()
            reader = next((node.name for node in readers if each.tensor in node.inputs), None)
            to = reader if reader is not None else f"output {each.output}"
            yield Boundary(each.tensor, to, each.reason, each.bytes(made.plan.dtype, made.plan.batch))


def _totals(network: _Network, made: Package, launches: Sequence[Launch]) -> Totals:
    plan_ = made.plan
    apart = values_moved(unfused(network.groups.graph)) - values_moved(network.groups)
    seconds = [launch.seconds for launch in launches]
    moved = sum(t.bytes for launch in launches for t in (*launch.reads, launch.writes) if t.kind != "weights")
    return Totals(
        flops=sum(launch.flops for launch in launches),
        weights=Costs(plan_).weights,
        activations=moved,
        fused=apart * plan_.batch * ITEM_BYTES[plan_.dtype],
        seconds=sum(s for s in seconds if s is not None) if None not in seconds else None,
    )


# --- kernels ---------------------------------------------------------------------------------------


def _kernel(kernel: Emitted, compiled: Compiled | None, target: Target, *, texts: str) -> Kernel:
    resources = compiled.resources if compiled is not None else None
    return Kernel(
        name=kernel.name,
        file=kernel.file,
        grid=programs(kernel.grid),
        warps=kernel.num_warps,
        stages=kernel.num_stages,
        facts=usage.facts(resources, kernel, target),
        parameters=tuple((p.name, p.type, _known(p.value, aligned=p.aligned)) for p in kernel.parameters),
        constants=tuple((name, repr(value)) for name, value in kernel.constants),
        resources=usage.summary(resources) if resources is not None else None,
        error=compiled.error if compiled is not None else None,
        texts=texts,
    )


def _known(value: int | None, *, aligned: bool) -> str:
    if value is not None:
        return f"{value} here, passed at run time"
    return "a multiple of 16 bytes" if aligned else "not aligned to 16 bytes"


def _texts(kernel: Emitted, compiled: Compiled | None) -> dict[str, Text]:
    found = {"source": Text(kernel.source)}
    for stage in compiled.stages if compiled is not None else ():
        assert compiled is not None
        text, lines = without_locations(stage, compiled.stage(stage), compiled.job.file)
        found[stage] = Text(text, tuple(line or 0 for line in lines))
    return found


