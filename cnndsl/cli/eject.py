"""``cnndsl eject``: one kernel as a file of its own, to be edited and put back."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.inspect_made import Made
from cnndsl.cli.inspect_select import select
from cnndsl.cli.options import batch_option, dtype_option, file_argument, read_settings, set_option
from cnndsl.cli.sources import load_graph
from cnndsl.cli.target_names import ALL, target_named
from cnndsl.cli.torch_modules import torch_module
from cnndsl.eject.facts import facts_of
from cnndsl.eject.layers import only_step
from cnndsl.errors import problem
from cnndsl.tiles import DType
from cnndsl.writing import write_file

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
    help=f"auto (the default) for this machine's GPU or, without one, Triton's interpreter; or one of {ALL}.",
)
@dtype_option
@batch_option
@click.option("--force", is_flag=True, help="Write over a file that is there already.")
@set_option
def command(
    *, file: str, layer: str, output: str, name: str, dtype: DType, batch: int, force: bool, settings: tuple[str, ...]
) -> None:
    """Write one layer's kernel as a file to edit and to put back."""
    path = Path(output)
    if output != "-" and os.path.exists(path) and not force:
        raise problem("E0421", f"{output} is there already", help=("--force writes over it",))
    graph = load_graph(file, read_settings(settings))
    source = torch_module(
        "cnndsl.eject.source", "ejecting a kernel", instead="`cnndsl inspect FILE LAYER` prints a kernel without it"
    )
    made = Made(graph, target_named(name), dtype, batch)
    chosen = select(made.lines, layer, outputs=graph.outputs)
    kernel = made.package.by_name.get(layer) if layer not in graph.by_name else None
    # Of layers that share a kernel, the first.
    step = kernel.steps[0] if kernel is not None else only_step(layer, chosen.layers)
    facts = facts_of(made.package, step)
    own = layer if layer in graph.by_name else facts.step.group.anchor.name
    called = "my_kernel.py" if output == "-" else output
    network = "FILE" if file == "-" else file
    text = source.ejected(made.package, facts, layer=own, network=network, file=called, settings=settings)
    if output == "-":
        terminal.out(text.rstrip("\n"))
        return
    write_file(path, text.encode())
    where = "Triton's interpreter" if made.target.kind == "interpreter" else made.target.name
    terminal.say(f"{facts.step.group.title} for {where} in {dtype} written to {output}")
    back = source.run_command(dtype, layer=own, network=network, file=output, settings=settings)
    for line in (shlex.join(["python", output]), back):
        terminal.say(f"  {line}")
