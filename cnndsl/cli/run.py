"""``cnndsl run``: a network's answer to pictures or tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import WRONG, Command
from cnndsl.cli.options import dtype_option, file_argument, json_option, read_settings, set_option, weights_options
from cnndsl.cli.progress import Progress
from cnndsl.cli.sources import load_graph
from cnndsl.cli.torch_modules import torch_module
from cnndsl.errors import problem
from cnndsl.figures import counted

_EXAMPLES = """\b
Examples:
  cnndsl run examples/alexnet.cnn cat.png --weights alexnet.safetensors --labels imagenet.txt
  cnndsl run examples/vgg16.cnn cat.png dog.png --top 3 --dtype fp16
  cnndsl run examples/alexnet_torchvision.cnn cat.png --weights alexnet.pth --match order
  cnndsl run net.cnn left=a.npy right=b.npy --save out.npz
  cnndsl run examples/lenet5.cnn --verify-layers
  cnndsl run net.cnn --kernel conv2=my_conv.py --verify

INPUT is a picture, prepared as the `input` line says, or a .npy, .npz, .pt or .pth tensor: channels, height,
width, with the batch in front or without. Several INPUTs are one batch. A network of several inputs takes
NAME=INPUT. Without a GPU the kernels run in Triton's interpreter, on the CPU.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@file_argument
@click.argument("inputs", nargs=-1, metavar="[INPUT...]")
@weights_options
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
    help="auto (the default) takes a GPU where there is one.",
)
@dtype_option
@click.option(
    "--batch", type=click.IntRange(1, 2**16), metavar="N",
    help="Run the INPUTs N at a time (default: all at once); without INPUT, draw N.",
)
@click.option("--top", type=click.IntRange(1), default=5, metavar="K", help="Classes to show. Default: 5.")
@click.option("--labels", metavar="F", help="A text file with a class's name on each line.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, metavar="S",
    help="Of weights and inputs that are not given. Default: 0.",
)
@click.option(
    "--verify", is_flag=True, help="Compare the outputs with torch in fp64; exit 1 when they are wrong."
)
@click.option("--verify-layers", is_flag=True, help="Compare every layer as well.")
@click.option(
    "--kernel", "kernels", multiple=True, metavar="LAYER=F.py",
    help="Run a layer with the edited kernel of a file that `cnndsl eject` wrote, once it is known to be right. May be "
    "repeated.",
)
@click.option("--save", metavar="OUT.npz", help="Write the outputs to a file.")
@set_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, file: str, settings: tuple[str, ...], **options: Any) -> None:
    """Run a network and print its best classes.

    Results go to standard output, all else to standard error.
    """
    if options["save"] is not None and Path(options["save"]).suffix.lower() != ".npz":
        raise problem("E0421", f"cannot write {options['save']}: outputs are written as .npz")
    options["kernels"] = read_kernels(options["kernels"])
    # The file's mistakes come before the seconds that loading torch takes.
    graph = load_graph(file, read_settings(settings))
    with Progress() as progress:
        progress.phase("loading torch")
        job = torch_module("cnndsl.cli.run_job", "running a network")
        result = job.run(graph, job.Options(**{k: v for k, v in options.items() if k != "as_json"}), progress)
    if options["as_json"]:
        terminal.out_json({"ok": result.ok, "file": file, **result.to_json()})
    else:
        for line in result.to_text(terminal.width()):
            terminal.out(line)
    if not result.ok:
        wrong = sum(not check.ok for check in result.checks)
        terminal.say(f"verification failed: {counted(wrong, 'comparison')} beyond the tolerance")
        ctx.exit(WRONG)


def read_kernels(pairs: tuple[str, ...]) -> dict[str, str]:
    """The files of all ``--kernel`` options by layer."""
    found: dict[str, str] = {}
    for pair in pairs:
        layer, equals, path = pair.partition("=")
        if not equals or not layer.strip() or not path:
            raise click.UsageError(f"cannot read --kernel {pair}: write LAYER=FILE, as in --kernel conv2=my_conv.py")
        if layer.strip() in found:
            raise click.UsageError(f"--kernel gives {layer.strip()} two files")
        found[layer.strip()] = path
    return found
