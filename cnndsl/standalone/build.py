"""A network as a folder that runs on its own: packages, weights, binaries, and the program that runs them.

Imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

import cnndsl
from cnndsl import targets
from cnndsl.codegen.emit import packed_shapes
from cnndsl.codegen.package import Package, package
from cnndsl.ir import Graph
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.portable.runtime.tensors import safetensors_bytes
from cnndsl.runtime.executor import Network
from cnndsl.runtime.meaning import meaning
from cnndsl.standalone import binaries, folder
from cnndsl.standalone.readme import readme
from cnndsl.targets import Target
from cnndsl.tiles import Aim, DType


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to build.

    folder    where to.
    targets   the GPUs; the interpreter is added to them.
    batch     pictures that tiles are chosen for.
    weights   a file, or None for random ones drawn from `seed`; `allow_extra` leaves out what has no place in it.
    force     whether `folder` may hold files of somebody else.
    """

    folder: Path
    targets: tuple[Target, ...]
    dtype: DType = "fp32"
    batch: int = 1
    weights: str | None = None
    match: Literal["name", "order"] = "name"
    allow_extra: bool = False
    seed: int = 0
    force: bool = False


@dataclass(frozen=True)
class Result:
    """What was built. `files` has the sizes in bytes by name, `kernels` the number by target.

    `notes` say what was done to the file of weights to read it.
    """

    folder: Path
    targets: tuple[str, ...]
    kernels: Mapping[str, int]
    drawn: int
    files: Mapping[str, int]
    notes: tuple[str, ...] = ()


class Reporter(Protocol):
    """Who is told how far a build is."""

    def phase(self, text: str) -> None:
        """A phase begins."""

    def step(self, done: int, total: int, label: str) -> None:
        """So many parts of it are done; `label` comes next."""


def build(graph: Graph, options: Options, reporter: Reporter) -> Result:
    """Write a network's folder. Raises CnnError: weights E04xx, the folder E0421 and E0422, compiling E06xx."""
    folder.check(options.folder, force=options.force)
    reporter.phase("planning")
    groups = fuse(simplify(graph), Aim(options.batch, options.dtype))
    wanted = tuple(dict.fromkeys((*options.targets, targets.get("interpreter"))))
    packages = [package(plan(groups, target=t, dtype=options.dtype, batch=options.batch)) for t in wanted]
    reporter.phase("packing weights")
    weights, drawn, notes = _weights(graph, packages[0], options)
    reporter.phase("compiling kernels")
    compiled = binaries.compile_all(packages, reporter.step)
    reporter.phase("writing")
    files: dict[str, bytes] = {"weights.safetensors": weights, **_portable()}
    for each, made in zip(packages, compiled, strict=True):
        name = each.plan.target.name
        files |= {f"{name}/{place}": text.encode() for place, text in each.files.items()}
        files |= {f"{name}/binaries/{place}": content for place, content in made.items()}
    descriptions = [[json.loads(made[name]) for name in made if name.endswith(".json")] for made in compiled]
    files["README.md"] = _readme(graph, options, wanted, descriptions=descriptions, drawn=bool(drawn)).encode()
    files[folder.MARK] = _about(graph, options, wanted, descriptions=descriptions, files=files)
    folder.write(options.folder, files, force=options.force)
    return Result(
        options.folder,
        tuple(t.name for t in wanted),
        {each.plan.target.name: len(each.kernels) for each in packages},
        drawn,
        {name: len(content) for name, content in files.items()},
        notes,
    )


def _portable() -> dict[str, bytes]:
    """The program that every build has, as it lies in `cnndsl.portable`."""
    found: dict[str, bytes] = {}

    def gather(place: Traversable, before: str) -> None:
        for entry in place.iterdir():
            if entry.is_dir() and entry.name != "__pycache__":
                gather(entry, f"{before}{entry.name}/")
            elif entry.name.endswith(".py"):
                found[f"{before}{entry.name}"] = entry.read_bytes()

    gather(resources.files("cnndsl.portable"), "")
    return found


def _weights(graph: Graph, made: Package, options: Options) -> tuple[bytes, int, tuple[str, ...]]:
    """The packed weights as a file, how many tensors of the state dict were drawn at random, and notes on the file."""
    # Packed weights are the same for all targets.
    net = Network(graph, target=targets.get("interpreter"), dtype=options.dtype, device=torch.device("cpu"))
    notes: tuple[str, ...] = ()
    if options.weights is None:
        net.draw_weights(options.seed)
    else:
        extra: Literal["error", "ignore"] = "ignore" if options.allow_extra else "error"
        notes = net.load_weights(options.weights, match=options.match, extra=extra)
    net.fused_for(options.batch)
    every, shapes = net.packed_weights(), packed_shapes(made.plan)
    packed = {name: every[name] for name in shapes}
    assert {name: tuple(tensor.shape) for name, tensor in packed.items()} == shapes
    metadata = {"dtype": options.dtype, "network": graph.name, "packed_by": _version()}
    return safetensors_bytes(packed, metadata), len(net.drawn), notes


def _version() -> str:
    return f"cnndsl {cnndsl.__version__}"


Description = Mapping[str, Any]
"""What Triton knows of a compiled kernel."""


def _about(
    graph: Graph,
    options: Options,
    wanted: Sequence[Target],
    *,
    descriptions: Sequence[Sequence[Description]],
    files: Mapping[str, bytes],
) -> bytes:
    """The file by which the program knows the network, and by which a later build knows this one."""
    data: dict[str, Any] = {
        "made_by": _version(),
        "network": graph.name,
        "settings": {name: str(value) for name, value in graph.settings},
        "dtype": options.dtype,
        "batch": options.batch,
        "inputs": [
            {"name": n.name, "shape": n.type.shape, "picture": asdict(n.spec) if n.spec is not None else {}}
            for n in graph.inputs
        ],
        "outputs": [
            {"name": name, "shape": graph.by_name[node].type.shape, "values": meaning(graph, node)}
            for name, node in graph.outputs
        ],
        "targets": [
            {
                "name": t.name, "kind": t.kind, "arch": t.arch,
                "shared_memory_bytes": max((each["shared"] for each in made), default=0),
            }
            for t, made in zip(wanted, descriptions, strict=True)
        ],
        "files": sorted(files),
    }
    return json.dumps(data, indent=2).encode() + b"\n"


def _readme(
    graph: Graph,
    options: Options,
    wanted: Sequence[Target],
    *,
    descriptions: Sequence[Sequence[Description]],
    drawn: bool,
) -> str:
    versions = sorted({str(each["triton_version"]) for made in descriptions for each in made})
    layout = {
        "__init__.py, __main__.py, main.py, runtime/": "what runs the network; the same for every network",
        "about.json": "its inputs, outputs and targets, for that program",
        "weights.safetensors": "the weights in the order in which the kernels read them",
    }
    for target in wanted:
        what = "Triton's interpreter" if target.kind == "interpreter" else target.name
        layout[f"{target.name}/network.py"] = f"the launches of all kernels in order, for {what}"
        layout[f"{target.name}/kernels/"] = "those kernels: ordinary Triton with the layers' numbers filled in"
        if target.kind != "interpreter":
            layout[f"{target.name}/binaries/"] = "the kernels compiled: code, assembly, and what Triton knows of them"
    return readme(
        graph,
        folder=options.folder.resolve().name,
        dtype=options.dtype,
        batch=options.batch,
        targets=wanted,
        precompiled={target.name: len(made) for target, made in zip(wanted, descriptions, strict=True)},
        triton=versions[0] if versions else None,
        drawn=drawn,
        files=layout,
    )
