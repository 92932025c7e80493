"""``cnndsl weights check``: what of a file goes where in a network."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import WRONG, Command
from cnndsl.cli.options import json_option, read_settings, set_option, weights_arguments
from cnndsl.cli.progress import Progress
from cnndsl.cli.sources import load_graph
from cnndsl.cli.table import Column, fitting_widths, render_rows
from cnndsl.cli.torch_modules import torch_module
from cnndsl.errors import render
from cnndsl.figures import counted

_EXAMPLES = """\b
Examples:
  cnndsl weights check examples/alexnet_torchvision.cnn alexnet.pth
  cnndsl weights check examples/vgg16.cnn vgg16.pth --match order
  cnndsl weights check net.cnn checkpoint.pt --prefix backbone. --allow-extra
  cnndsl weights check net.cnn net.caffemodel --json

Exit code 1 when the file does not fit; then a command with which it would is shown, where there is one. Nothing is
compiled and nothing is run.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@weights_arguments
@set_option
@json_option
@click.pass_context
def command(context: click.Context, /, network: str, file: str, *, as_json: bool, **options: Any) -> None:
    """Say which tensor of FILE each parameter of NET takes.

    Every tensor that does not fit is explained.
    """
    graph = load_graph(network, read_settings(options["settings"]))
    with Progress() as progress:
        progress.phase("loading torch")
        job = torch_module("cnndsl.cli.weights_job", "reading weights")
        checked = job.check(graph, job.Options(network=network, file=file, **options), progress)
    pairing = checked.pairing
    if as_json:
        terminal.out_json({"network": graph.name, "file": file, **_json(checked)})
    else:
        for line in _text(graph.name, file, checked, terminal.width()):
            terminal.out(line)
        _complain(checked)
    if pairing.mistakes:
        context.exit(WRONG)


def _text(network: str, file: str, checked: Any, width: int | None) -> Iterator[str]:
    pairing = checked.pairing
    if pairing.rows:
        columns = _columns(pairing)
        widths = fitting_widths(columns, width) or tuple(c.natural for c in columns)
        for lines in render_rows(columns, widths):
            yield from lines
        yield ""
    need = counted(len(pairing.expected), "tensor")
    what = f"{file}, {checked.contents.format},"
    if not pairing.mistakes:
        left = sum(row.ours is None for row in pairing.rows)
        yield f"{what} fits {network}: all {need} are there{f', {left} more are left out' if left else ''}"
    elif not pairing.pairs and not pairing.rows:
        yield f"{what} does not fit {network}"
    else:
        wrong = Counter(row.verdict for row in pairing.rows if not row.ok)
        counts = ", ".join(f"{number:,} {verdict}" for verdict, number in wrong.items())
        good = sum(row.ok and row.ours is not None for row in pairing.rows)
        yield f"{what} does not fit {network}: of {need} {good:,} fit; {counts}"
    yield from map(terminal.in_cell, checked.notes)


def _columns(pairing: Any) -> tuple[Column, ...]:
    expected, tensors = pairing.expected, pairing.tensors

    def shown(stored: Any) -> str:
        return f"[{', '.join(map(str, stored.shape))}]"

    def there(row: Any) -> str:
        """The tensor's name, with its shape where that is not the parameter's."""
        if row.theirs is None:
            return "-"
        same = row.ours is not None and expected[row.ours].shape == tensors[row.theirs].shape
        name = terminal.in_cell(row.theirs)
        return name if same else f"{name} {shown(tensors[row.theirs])}"

    rows = pairing.rows
    return (
        Column("parameter", tuple(row.ours or "-" for row in rows)),
        Column("shape", tuple(shown(expected[row.ours]) if row.ours else "-" for row in rows)),
        Column("tensor in the file", tuple(there(row) for row in rows)),
        Column("verdict", tuple(terminal.in_cell(row.sentence(row.verdict)) for row in rows), wraps=True, least=24),
    )


def _complain(checked: Any) -> None:
    """The mistakes to stderr. Their notes are the table's last column, except where there is no table to speak of."""
    color = terminal.has_color(sys.stderr)
    for mistake in checked.pairing.mistakes:
        terminal.say(render([mistake if mistake.code == "E0405" else replace(mistake, notes=(), help=())], color=color))
    for way in checked.ways:
        terminal.say(f"with this it fits: {terminal.in_cell(way)}")


def _json(checked: Any) -> dict[str, Any]:
    pairing = checked.pairing
    rows = []
    for row in pairing.rows:
        ours, theirs = pairing.expected.get(row.ours), pairing.tensors.get(row.theirs)
        rows.append(
            {
                "parameter": row.ours,
                "shape": None if ours is None else list(ours.shape),
                "tensor": row.theirs,
                "tensor_shape": None if theirs is None else list(theirs.shape),
                "tensor_type": None if theirs is None else theirs.type_name,
                "verdict": row.verdict,
                "why": row.why,
            }
        )
    return {
        "ok": not pairing.mistakes,
        "format": checked.contents.format,
        "notes": list(checked.notes),
        "rows": rows,
        "fits_with": list(checked.ways),
        "diagnostics": [mistake.to_json() for mistake in pairing.mistakes],
    }
