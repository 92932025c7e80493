"""``cnndsl summary``: what a network costs, layer by layer."""

from __future__ import annotations

import click

from cnndsl.cli import summary_table, terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.options import file_argument, read_settings, set_option
from cnndsl.cli.sources import load_graph
from cnndsl.summary import summarize

_EXAMPLES = """\b
Examples:
  cnndsl summary examples/alexnet.cnn
  cnndsl summary examples/vgg16.cnn --batch 128
  cnndsl summary examples/vgg16.cnn --set classes=10 --format markdown
  cnndsl summary examples/vgg16.cnn --format json | jq .totals.macs

Parameters are learned values, weights and biases. MACs are multiply-accumulates of convolutions and dense
layers for one picture. Memory is what a layer makes, for the whole batch, in fp32; the arena is what is taken for all
that lies between kernels, outputs apart, and its lower bound what is needed at once.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@file_argument
@set_option
@click.option(
    "--batch", type=click.IntRange(1, 2**20), default=1, metavar="N",
    help="Pictures that memory is counted for. Default: 1.",
)
@click.option(
    "--format", type=click.Choice(["table", "markdown", "json"]), default="table",
    help="table (the default), GitHub's markdown, or JSON with every node.",
)
@click.option("--json", "format", flag_value="json", help="The same as --format json.")
def command(file: str, settings: tuple[str, ...], batch: int, format: str) -> None:  # noqa: A002 - the option
    """Print a network's layers, shapes, parameters, MACs and memory."""
    summary = summarize(load_graph(file, read_settings(settings)), batch)
    match format:
        case "json":
            terminal.out_json(summary_table.to_json(summary))
        case "markdown":
            terminal.out("\n".join(summary_table.to_markdown(summary)))
        case _:
            for line in summary_table.to_text(summary, terminal.width()):
                terminal.out(line)
