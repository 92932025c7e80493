"""``cnndsl build``: a network as a folder that runs without cnndsl."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cnndsl import targets
from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.figures import counted
from cnndsl.cli.options import file_argument, json_option, read_settings, set_option
from cnndsl.cli.progress import Progress
from cnndsl.cli.sources import load_graph
from cnndsl.errors import did_you_mean, problem
from cnndsl.targets import Target
from cnndsl.tiles import DType

if TYPE_CHECKING:
    from types import ModuleType

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
    help="A GPU to build for, as often as wanted: " + ", ".join(t.name for t in targets.TARGETS[1:])
    + ". Default: this machine's.",
)
@click.option(
    "--weights", metavar="W", help="A .safetensors, .pt, .pth or .npz file. Else drawn from the seed."
)
@click.option(
    "--match", type=click.Choice(["name", "order"]), default="name",
    help="Pair weights by name (the default), or by order and shape where names differ.",
)
@click.option(
    "--dtype", type=click.Choice(["fp32", "tf32", "fp16", "bf16"]), default="fp32",
    help="Type of activations and weights; sums are fp32. Default: fp32.",
)
@click.option(
    "--batch", type=click.IntRange(1, 2**16), default=1, metavar="N",
    help="Pictures that tiles are chosen for; others run too. Default: 1.",
)
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
    dtype: DType,
    batch: int,
    seed: int,
    force: bool,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Leave a network in a folder that runs without cnndsl."""
    wanted = tuple(_target(name) for name in names)
    graph = load_graph(file, read_settings(settings))
    with Progress() as progress:
        progress.phase("loading torch")
        job = _job_module()
        if not names:
            wanted = _here()
        options = job.Options(
            folder=Path(folder), targets=wanted, dtype=dtype, batch=batch, weights=weights, match=match, seed=seed,
            force=force,
        )
        result = job.build(graph, options, progress)
    if result.drawn:
        terminal.say(f"no --weights are given: {counted(result.drawn, 'tensor')} drawn from seed {seed}")
    if not names and len(result.targets) == 1:
        terminal.say("no --target is given and no GPU is here: kernels are for Triton's interpreter alone")
    if as_json:
        terminal.out_json({"ok": True, **_json(result, graph.name)})
    else:
        terminal.out(_text(result, graph.name))


def _job_module() -> ModuleType:
    """The module that builds. Raises CnnError (E0601) where torch is not installed."""
    try:
        importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "torch":
            raise
        raise problem(
            "E0601", "building a network needs PyTorch, which is not installed",
            notes=("`check`, `summary` and `inspect` work without it",), help=("pip install torch",),
        ) from None
    return importlib.import_module("cnndsl.standalone.build")


def _here() -> tuple[Target, ...]:
    """The targets of this machine's GPU, if it has one that kernels run on."""
    import torch

    from cnndsl.errors import CnnError
    from cnndsl.runtime.device import target_of

    if not torch.cuda.is_available():
        return ()
    try:
        return (target_of(torch.device("cuda", torch.cuda.current_device())),)
    except CnnError:
        return ()


def _target(name: str) -> Target:
    """A target by name. Raises CnnError (E0703)."""
    known = {"cpu": "interpreter"}.get(name, name)
    for target in targets.TARGETS:
        if target.name == known:
            return target
    names = [t.name for t in targets.TARGETS]
    guess = did_you_mean(name, names)
    hint = f"did you mean `{guess}`?" if guess is not None else f"targets are {', '.join(names)}"
    raise problem("E0703", f"there is no target `{name}`", help=(hint,))


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
