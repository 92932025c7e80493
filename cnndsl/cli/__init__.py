"""The ``cnndsl`` command. One module here holds one command."""

from __future__ import annotations

from typing import NoReturn

import click

from cnndsl.cli.commands import Group, run

_EXAMPLES = """\b
Examples:
  cnndsl check net.cnn                       all mistakes of a file, each with its place and its cure
  cnndsl summary examples/vgg16.cnn          layers, shapes, parameters, MACs, memory
  cnndsl run examples/alexnet.cnn cat.png --weights alexnet.safetensors --labels imagenet.txt
  cnndsl inspect net.cnn --stage groups      which layers share a kernel, and why others do not
  cnndsl inspect net.cnn conv2 --stage sass  one layer's machine code; line numbers do as well
  cnndsl report net.cnn -o net.html          all of it on one page, from the .cnn text to machine code
  cnndsl draw net.cnn -o net.svg             a picture of the network
  cnndsl diff a.cnn b.cnn                    where two networks would compute different numbers
  cnndsl weights check net.cnn net.pth       what of a file of weights goes where, and what does not fit
  cnndsl import net.onnx -o net.cnn          a network of another format as a .cnn file, and its weights
  cnndsl export net.cnn -o net.onnx          the reverse: a network and its weights as an ONNX model
  cnndsl build net.cnn -o net --target sm_90 a folder that runs it without cnndsl
  cnndsl eject net.cnn conv2 -o my_conv.py   one kernel, to edit and to put back with run --kernel
  cnndsl explain E0304                       what an error code means

FILE is a .cnn file, `file.cnn:Name` for one of its networks, or `-` for standard input. Results go to
standard output, all else to standard error. Exit codes: 0 all is well, 1 the input is wrong, 2 the command
line is wrong.
"""


@click.group(
    cls=Group,
    modules=(
        "check", "summary", "run", "inspect", "report", "draw", "diff", "weights", "import", "export", "build", "eject",
        "cache", "explain",
    ),
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="cnndsl", prog_name="cnndsl")
def cli() -> None:
    """Compile small descriptions of convolutional networks to Triton kernels, and run them."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """The entry point: run the command line and exit."""
    run(cli, arguments)
