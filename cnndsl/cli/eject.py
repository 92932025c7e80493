"""``cnndsl eject``: one kernel as a file of its own, to be edited and put back."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnndsl import targets
from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.inspect_made import Made
from cnndsl.cli.inspect_select import select
from cnndsl.cli.options import file_argument, read_settings, set_option
from cnndsl.cli.sources import load_graph
from cnndsl.eject.facts import facts_of
from cnndsl.eject.layers import only_step
from cnndsl.errors import did_you_mean, problem
from cnndsl.targets import Target
from cnndsl.tiles import DType

if TYPE_CHECKING:
    from types import ModuleType

_EXAMPLES = """\b
Examples:
  cnndsl eject net.cnn conv2 -o my_conv.py
  cnndsl eject examples/alexnet.cnn 10 -o my_conv.py --target sm_90 --dtype fp16 --batch 128
  python my_conv.py --n 4                              compare it with torch, time it on a GPU
  cnndsl run net.cnn --kernel conv2=my_conv.py         run the network with it

LAYER is the name of a layer or a kernel; a number is a line of FILE, `other.cnn:9` a line of a file that it uses.
The file holds the kernel's source, random inputs for it, the same in torch's operators and the comparison of both.
It needs PyTorch and Triton, not cnndsl. Without a GPU it runs in Triton's interpreter.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@file_argument
@click.argument("layer", metavar="LAYER|LINE")
@click.option("-o", "--output", required=True, metavar="F.py", help="The file to write; - for standard output.")
@click.option(
    "--target", "name", default="auto", metavar="T",
    help="auto (the default) for this machine's GPU or, without one, Triton's interpreter; or one of "
    + ", ".join(t.name for t in targets.TARGETS) + ".",
)
@click.option(
    "--dtype", type=click.Choice(["fp32", "tf32", "fp16", "bf16"]), default="fp32",
    help="Type of activations and weights; sums are fp32. Default: fp32.",
)
@click.option(
    "--batch", type=click.IntRange(1, 2**16), default=1, metavar="N",
    help="Pictures that tiles are chosen for; others run too. Default: 1.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@set_option
def command(
    *, file: str, layer: str, output: str, name: str, dtype: DType, batch: int, force: bool, settings: tuple[str, ...]
) -> None:
    """Write one layer's kernel as a file to edit and to put back."""
    path = Path(output)
    if output != "-" and path.exists() and not force:
        raise problem("E0421", f"{output} is there already", help=("--force writes over it",))
    graph = load_graph(file, read_settings(settings))
    source = _source_module()
    made = Made(graph, _target(name), dtype, batch)
    chosen = select(made.lines, layer, outputs=graph.outputs)
    kernel = made.package.by_name.get(layer) if layer not in graph.by_name else None
    # Of layers that share a kernel, the first.
    step = kernel.steps[0] if kernel is not None else only_step(layer, chosen.layers)
    facts = facts_of(made.package, step)
    own = layer if layer in graph.by_name else facts.step.group.anchor.name
    called = "my_kernel.py" if output == "-" else output
    text = source.ejected(made.package, facts, layer=own, network=file, file=called)
    if output == "-":
        terminal.out(text.rstrip("\n"))
        return
    try:
        path.write_bytes(text.encode())
    except OSError as error:
        raise problem("E0421", f"cannot write {output}: {error.strerror or error}") from None
    where = "Triton's interpreter" if made.target.kind == "interpreter" else made.target.name
    terminal.say(f"{facts.step.group.title} for {where} in {dtype} written to {output}")
    for line in (f"python {output}", f"cnndsl run {file} --kernel {own}={output}"):
        terminal.say(f"  {line}")


def _source_module() -> ModuleType:
    """The module that writes the file, which traces references. Raises CnnError (E0601) where torch is missing."""
    try:
        return importlib.import_module("cnndsl.eject.source")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "torch":
            raise
        raise problem(
            "E0601", "ejecting a kernel needs PyTorch, which is not installed",
            notes=("`cnndsl inspect FILE LAYER` prints a kernel without it",), help=("pip install torch",),
        ) from None


def _target(name: str) -> Target:
    """A target by name. Raises CnnError (E0703)."""
    if name == "auto":
        import torch

        from cnndsl.runtime.device import target_of

        if not torch.cuda.is_available():
            return targets.get("interpreter")
        return target_of(torch.device("cuda", torch.cuda.current_device()))
    known = {"cpu": "interpreter"}.get(name, name)
    for target in targets.TARGETS:
        if target.name == known:
            return target
    names = [t.name for t in targets.TARGETS]
    guess = did_you_mean(name, names)
    hint = f"did you mean `{guess}`?" if guess is not None else f"targets are {', '.join(names)}, or auto"
    raise problem("E0703", f"there is no target `{name}`", help=(hint,))
