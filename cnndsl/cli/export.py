"""``cnndsl export``: a network as an ONNX model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.options import file_argument, read_settings, set_option, weights_options
from cnndsl.cli.progress import Progress
from cnndsl.cli.sources import load_graph
from cnndsl.cli.torch_modules import torch_module
from cnndsl.errors import problem
from cnndsl.figures import binary, counted
from cnndsl.files import split_network
from cnndsl.writing import is_same_file

_EXAMPLES = """\b
Examples:
  cnndsl export examples/resnet18.cnn --weights resnet18.pth -o resnet18.onnx
  cnndsl export net.cnn -o net.onnx --set classes=10 --opset 13
  cnndsl export net.cnn -o net.onnx --seed 1 --force

The model takes [n, C, H, W] in fp32, as torch does, of any n; its outputs have the network's names. How pictures
become the input is in its metadata, and initialisers have the names of the network's weights, so that `cnndsl import`
gives both back. Needs the `onnx` package: pip install onnx.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@file_argument
@click.option("-o", "--output", required=True, metavar="OUT", help="The .onnx file to write.")
@weights_options
@click.option("--seed", type=int, default=0, metavar="N", help="Draws weights that are not given. Default: 0.")
@click.option("--opset", type=int, default=17, metavar="N", help="Version of ONNX's operators, 13 to 22. Default: 17.")
@click.option("--force", is_flag=True, help="Write over a file that is there already.")
@set_option
def command(*, file: str, output: str, opset: int, force: bool, settings: tuple[str, ...], **options: Any) -> None:
    """Write a network and its weights as an ONNX model.

    Any runtime of ONNX computes the same numbers from it.
    """
    if Path(output).suffix.lower() != ".onnx":
        raise problem("E0421", f"cannot write {output}: a model's file ends in .onnx", help=("as in -o net.onnx",))
    if os.path.exists(output) and not force:  # known before torch is loaded
        raise problem("E0421", f"cannot write {output}: it is there already", help=("--force writes over it",))
    for read in (split_network(file)[0], options["weights"]):
        if read is not None and is_same_file(read, output):
            raise problem("E0421", f"cannot write {output}: it is read from", help=("give another file to -o",))
    graph = load_graph(file, read_settings(settings))
    with Progress() as progress:
        progress.phase("loading torch")
        job = torch_module("cnndsl.cli.export_job", "exporting a network")
        progress.phase("writing")
        made = job.export(graph, output, opset=opset, force=force, **options)
    if options["weights"] is None:
        terminal.say(f"weights are drawn at random from seed {options['seed']}")
    terminal.out(
        f"{made[0]}: {graph.name}, opset {opset}, {counted(sum(n.op is not None for n in graph.nodes), 'layer')}, "
        f"{binary(sum(path.stat().st_size for path in made))}" + (f" with {made[1]}" if len(made) > 1 else "")
    )
