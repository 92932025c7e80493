"""What `inspect` was asked for, and the networks that this is about: one, or the two that are compared."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import click

from cnndsl import targets
from cnndsl.cli import terminal
from cnndsl.cli.inspect_made import Made
from cnndsl.cli.inspect_select import Selection, alike, everything, select
from cnndsl.cli.sources import load
from cnndsl.cli.target_names import DEFAULT_AMD, DEFAULT_GPU, target_named
from cnndsl.errors import CnnError, did_you_mean, listed, problem
from cnndsl.files import choose_network, split_network
from cnndsl.ir import Graph
from cnndsl.passes.elaborate import elaborate
from cnndsl.targets import Target
from cnndsl.tiles import DTYPES, DType

WHOLE = ("tree", "graph", "simplified", "groups", "plan", "lines")
"""Stages that are one text about the network."""


@dataclass(frozen=True)
class Request:
    """The command line of one `inspect`."""

    file: str
    layer: str | None
    stage: str
    names: tuple[str, ...]
    dtype: DType
    batch: int
    other: str | None
    settings: Mapping[str, Any]
    locations: bool
    as_json: bool

    @property
    def is_compiled(self) -> bool:
        """Whether the stage needs Triton."""
        return self.stage not in {*WHOLE, "source"}


@dataclass(frozen=True)
class Side:
    """A network with what was chosen of it; `title` tells it from the other: "sm_80", "fp32", "net.cnn".

    Of a network that another is compared with, its `partner`, the layers of the same names are chosen, if it has any.
    """

    title: str
    file: str
    made: Made
    layer: str | None
    partner: Side | None = None

    @cached_property
    def selection(self) -> Selection:
        """The chosen layers and kernels. Raises CnnError (E0707)."""
        if self.layer is None:
            return everything(self.made.lines)
        if self.partner is not None:
            return alike(self.made.lines, self.partner.selection)
        return select(self.made.lines, self.layer, outputs=self.made.graph.outputs)

    @property
    def place(self) -> str:
        """What its kernels are for: "sm_90 in fp16"."""
        return f"{self.made.target.name} in {self.made.dtype}"


def sides(request: Request) -> list[Side]:
    """The network, for each target asked for; with ``--diff`` the network and the one that it is compared with.

    Raises CnnError.
    """
    chosen = _targets(request)
    graph = _graph(request.file, request.settings)
    found = [
        Side(target.name, request.file, Made(graph, target, request.dtype, request.batch), request.layer)
        for target in chosen
    ]
    if request.other is not None:
        found = list(_two(request, found[0], request.other))
    return found


def check(request: Request) -> None:
    """Raise click.UsageError for options that do not go together."""
    several = len(set(request.names)) > 1
    if several and (request.stage != "resources" or request.other is not None):
        message = "compare two targets with --diff" if request.other is None else "--diff is for one --target"
        raise click.UsageError(f"several --target go with --stage resources alone; {message}")
    if request.as_json and (request.stage not in {"lines", "resources"} or request.other is not None):
        raise click.UsageError("--json goes with --stage lines and --stage resources, without --diff")
    if request.layer is not None and request.stage == "tree":
        raise click.UsageError("--stage tree is of a file: it takes no LAYER")


def _two(request: Request, first: Side, other: str) -> Iterator[Side]:
    """The two sides of a comparison."""
    made = first.made
    target = next((t for t in targets.TARGETS if t.name == other), None)
    dtype = next((t for t in DTYPES if t == other), None)
    if target is not None:
        _require(target, request.stage)
        second = replace(first, title=other, made=replace(made, target=target), partner=first)
    elif dtype is not None:
        first = replace(first, title=made.dtype)
        second = replace(first, title=dtype, made=replace(made, dtype=dtype), partner=first)
    else:
        if not (other == "-" or os.path.exists(split_network(other)[0]) or ".cnn" in other):
            raise _nothing_to_compare(other)
        graph = _graph(other, request.settings, lenient=True)
        first = replace(first, title=request.file)
        second = Side(other, other, replace(made, graph=graph), request.layer, partner=first)
    yield first
    yield second


def _graph(file: str, settings: Mapping[str, Any], *, lenient: bool = False) -> Graph:
    """The network of a file; where `lenient`, settings that are another network's are left out."""
    program, name = load(file, settings)
    network = choose_network(program, name)
    if lenient:
        own = {parameter.name for parameter in network.parameters}
        settings = {name: value for name, value in settings.items() if name in own}
    return elaborate(program, network, settings)


def _nothing_to_compare(other: str) -> CnnError:
    names = [*(t.name for t in targets.TARGETS), *DTYPES]
    guess = did_you_mean(other, names)
    hint = f"did you mean `{guess}`?" if guess is not None else f"targets and types are {listed(names, most=99)}"
    return problem("E0709", f"cannot compare with `{other}`: it is no target, type or file", help=(hint,))


# --- targets ---------------------------------------------------------------------------------------


def _targets(request: Request) -> list[Target]:
    """The targets asked for, each once. Raises CnnError (E0703, E0708)."""
    if not request.names:
        if not request.is_compiled:
            return [targets.get("interpreter")]
        name = DEFAULT_AMD if request.stage == "amdgcn" else DEFAULT_GPU
        terminal.say(f"for {name}; --target names another")
        return [targets.get(name)]
    found = list(dict.fromkeys(target_named(name) for name in request.names))
    for target in found:
        _require(target, request.stage)
    return found


def _require(target: Target, stage: str) -> None:
    """Raise CnnError (E0708) for a stage that a target does not have."""
    has = (*target.stages, "resources") if target.stages else ()
    if stage in {*WHOLE, "source", *has}:
        return
    if not has:
        raise problem(
            "E0708",
            f"the interpreter has no {stage}",
            notes=("it runs the sources as they are: --stage source",),
            help=(f"name a GPU: --target {DEFAULT_GPU}",),
        )
    raise problem(
        "E0708", f"{target.name} has no {stage}", notes=(f"its stages are {listed(['source', *has])}",)
    )
