"""``cnndsl weights convert``: a file's values under a network's names."""

from __future__ import annotations

import os
from typing import Any

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.options import json_option, read_settings, set_option, weights_arguments
from cnndsl.cli.progress import Progress
from cnndsl.cli.sources import load_graph
from cnndsl.cli.torch_modules import torch_module
from cnndsl.errors import problem
from cnndsl.figures import binary, compact, counted

_EXAMPLES = """\b
Examples:
  cnndsl weights convert examples/vgg16.cnn vgg16.pth --match order -o vgg16.safetensors
  cnndsl weights convert net.cnn bvlc.caffemodel --match order --bgr -o net.safetensors
  cnndsl weights convert net.cnn net.weights -o net.pt

OUT ends in .safetensors, .pt, .pth or .npz. Values and element types stay as they are, but that .npz has no bfloat16
and takes it as float32. The file is written as a whole or not at all.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@weights_arguments
@click.option("-o", "--output", required=True, metavar="OUT", help="The file to write.")
@click.option("--force", is_flag=True, help="Write over a file that is there already.")
@set_option
@json_option
def command(*, network: str, file: str, output: str, force: bool, as_json: bool, **options: Any) -> None:
    """Write the tensors of FILE that NET needs, under its names."""
    # FILE itself may be named, and what is left out of it would be lost.
    if os.path.isfile(output) and not force:
        raise problem("E0421", f"cannot write {output}: it is there already", help=("--force writes over it",))
    graph = load_graph(network, read_settings(options["settings"]))
    with Progress() as progress:
        progress.phase("loading torch")
        job = torch_module("cnndsl.cli.weights_job", "reading weights")
        done = job.convert(graph, job.Options(network=network, file=file, **options), output, progress)
    taken = [done.pairing.tensors[theirs] for theirs in done.pairing.pairs.values()]
    values, types = sum(t.size for t in taken), list(dict.fromkeys(t.type_name for t in taken))
    if as_json:
        totals = {"tensors": len(taken), "values": values, "types": types}
        terminal.out_json({"ok": True, "network": graph.name, "file": file, "output": output, **totals,
                           "notes": list(done.notes)})  # fmt: skip
        return
    for note in done.notes:
        terminal.say(f"{file}: {terminal.in_cell(note)}")
    size = binary(sum(t.nbytes for t in taken))
    what = f"{counted(len(taken), 'tensor')}, {compact(values)} values, {size} of {' and '.join(types) or 'nothing'}"
    terminal.out(f"{output}: {what}, for {graph.name}")
