"""``cnndsl weights``: files of weights, of every format."""

from __future__ import annotations

import click

from cnndsl.cli.commands import Group

_EXAMPLES = """\b
Examples:
  cnndsl weights show resnet18.pth           the tensors of a file: names, shapes, types
  cnndsl weights check net.cnn alexnet.caffemodel --match order
                                             what goes where, and what does not fit
  cnndsl weights convert net.cnn darknet19.weights -o net.safetensors
                                             the same values under the network's names

Files are .safetensors, .pt and .pth (torch.save), .npz (numpy.savez), .caffemodel, .onnx (its initializers) and
Darknet's .weights. `run`, `build` and cnndsl.compile take all of them too.
"""


@click.group(cls=Group, modules=("show", "check", "convert"), within="weights", epilog=_EXAMPLES)
def command() -> None:
    """Show files of weights, hold them against a network, convert them."""
