"""``cnndsl build``: a network as a folder that runs without cnndsl."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.options import (
    batch_option,
    dtype_option,
    file_argument,
    json_option,
    read_settings,
    set_option,
    weights_options,
)
from cnndsl.cli.progress import Progress
from cnndsl.cli.sources import load_graph
from cnndsl.cli.target_names import ALL, target_named, this_machines
from cnndsl.cli.torch_modules import torch_module
from cnndsl.figures import counted
from cnndsl.tiles import DType

_EXAMPLES = """\b
Examples:
  cnndsl build examples/alexnet.cnn -o alexnet --weights alexnet.safetensors --target sm_90
  cnndsl build examples/vgg16.cnn -o vgg16 --dtype fp16 --target sm_80 --target sm_90
  python alexnet cat.png

DIR holds the kernels' sources, network.py that launches them, the weights, binaries for the targets, a program that
runs it on pictures and tensors, and a README. It needs PyTorch and Triton, not cnndsl. The interpreter's kernels are
always among them, so it runs without a GPU too.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@file_argument
@click.option("-o", "--output", "folder", required=True, metavar="DIR", help="The folder to write.")
@click.option(
    "--target", "names", multiple=True, metavar="T",
    help=f"What to build for, as often as wanted: auto for this machine's (the default), or one of {ALL}.",
)
@weights_options
@dtype_option
@batch_option
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, metavar="S",
    help="Of weights that are not given. Default: 0.",
)
@click.option("--force", is_flag=True, help="Write into a DIR that holds other files as well.")
@set_option
@json_option
def command(
    *,
    file: str,
    folder: str,
    names: tuple[str, ...],
    weights: str | None,
    match: Literal["name", "order"],
    allow_extra: bool,
    dtype: DType,
    batch: int,
    seed: int,
    force: bool,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Leave a network in a folder that runs without cnndsl."""
    wanted = tuple(target_named(name) for name in names)
    graph = load_graph(file, read_settings(settings))
    with Progress() as progress:
        progress.phase("loading torch")
        job = torch_module("cnndsl.standalone.build", "building a network")
        if not names:
            wanted = (this_machines(),)
        options = job.Options(
            folder=Path(folder), targets=wanted, dtype=dtype, batch=batch, weights=weights, match=match, seed=seed,
            force=force, allow_extra=allow_extra,
        )
        result = job.build(graph, options, progress)
    if result.drawn:
        terminal.say(f"no --weights are given: {counted(result.drawn, 'tensor')} drawn from seed {seed}")
    for note in result.notes:
        terminal.say(f"{weights}: {terminal.in_cell(note)}")
    if not names and len(result.targets) == 1:
        terminal.say("no --target is given and no GPU is here: kernels are for Triton's interpreter alone")
    if as_json:
        terminal.out_json({"ok": True, **_json(result, graph.name)})
    else:
        terminal.out(_text(result, graph.name))


def _json(result: Any, network: str) -> dict[str, Any]:
    return {
        "network": network,
        "folder": str(result.folder),
        "targets": {name: {"kernels": result.kernels[name]} for name in result.targets},
        "drawn_weights": result.drawn,
        "files": dict(result.files),
    }


def _text(result: Any, network: str) -> str:
    kernels = ", ".join(f"{result.kernels[name]} for {name}" for name in result.targets)
    size = sum(result.files.values()) / 2**20
    return f"{network} in {result.folder}: kernels {kernels}; {counted(len(result.files), 'file')}, {size:.1f} MiB"
