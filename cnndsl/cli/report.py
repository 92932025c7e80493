"""``cnndsl report``: a network and its kernels, at every stage, on one page."""

from __future__ import annotations

import sys

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import WRONG, Command
from cnndsl.cli.options import dtype_option, file_argument, read_settings, set_option
from cnndsl.cli.progress import Progress
from cnndsl.cli.sources import load_graph
from cnndsl.cli.target_names import ALL, DEFAULT_GPU, target_named
from cnndsl.figures import binary, counted
from cnndsl.report import Report, build, page
from cnndsl.tiles import DType
from cnndsl.writing import write_file

_EXAMPLES = """\b
Examples:
  cnndsl report examples/alexnet.cnn -o report.html
  cnndsl report examples/vgg19.cnn -o vgg19.html --target sm_90 --dtype fp16 --batch 32
  cnndsl report net.cnn -o net.html --target sm_80 --target gfx942

The page needs no network and no other file. It shows the network's text and picture, every kernel's source beside its
Triton IR, LLVM IR and machine code, line by line, what it takes of the GPU, what it costs, and why it was or was not
fused. The kernels are compiled here, for GPUs that need not be here; they are not run.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@file_argument
@click.option(
    "-o", "--output", default="report.html", metavar="PAGE",
    help="The file to write, or - for standard output. Default: report.html.",
)
@click.option(
    "--target", "names", multiple=True, metavar="T",
    help=f"What to compile for, as often as wanted: auto for this machine's, or one of {ALL}. Default: {DEFAULT_GPU}.",
)
@dtype_option
@click.option(
    "--batch", type=click.IntRange(1, 2**16), default=1, metavar="N",
    help="Pictures that tiles are chosen and costs are counted for. Default: 1.",
)
@set_option
@click.pass_context
def command(
    context: click.Context, *, file: str, output: str, names: tuple[str, ...], dtype: DType, batch: int,
    settings: tuple[str, ...],
) -> None:  # fmt: skip
    """Write a page with a network's kernels at every stage."""
    targets = tuple(dict.fromkeys(target_named(name) for name in names or (DEFAULT_GPU,)))
    graph = load_graph(file, read_settings(settings))
    with Progress() as progress:
        progress.phase("compiling")
        report = build(graph, targets=targets, dtype=dtype, batch=batch, progress=progress.step)
        progress.phase("writing")
        html = page(report).encode()
    if output == "-":
        sys.stdout.buffer.write(html)
    else:
        write_file(output, html)
    failed = 0
    for target in report.targets:
        for kernel in target.kernels:
            if kernel.error is not None:
                failed += 1
                terminal.say(f"{kernel.name} cannot be compiled for {target.name}: {kernel.error.splitlines()[0]}")
    say = terminal.say if output == "-" else terminal.out
    say(_summary(report, output, size=len(html)))
    if failed:
        context.exit(WRONG)


def _summary(report: Report, output: str, *, size: int) -> str:
    kernels = sum(len(target.kernels) for target in report.targets)
    names = ", ".join(target.name for target in report.targets)
    notes = "".join(f"\n{note}" for note in dict.fromkeys(target.note for target in report.targets) if note)
    what = f"{counted(len(report.layers), 'layer')}, {counted(kernels, 'kernel')}"
    made = f"{report.title} in {report.dtype} for {names}: {what}, {binary(size)}"
    return f"{'the page' if output == '-' else output}: {made}{notes}"
