"""``cnndsl weights show``: the tensors of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.options import file_argument, json_option
from cnndsl.cli.progress import Progress
from cnndsl.cli.table import Column, fitting_widths, render_rows
from cnndsl.cli.torch_modules import torch_module
from cnndsl.figures import binary, compact, counted, grouped

_EXAMPLES = """\b
Examples:
  cnndsl weights show resnet18.pth
  cnndsl weights show bvlc_googlenet.caffemodel --stats
  cnndsl weights show net.safetensors --json | jq .totals

The values are not read, but with --stats, and then one tensor at a time. Where all names begin with `module.` or
`_orig_mod.`, or the weights stand within a checkpoint, that is said, and the names are shown without it.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@file_argument
@click.option("--stats", "with_stats", is_flag=True, help="Show the least, largest and mean value of each tensor.")
@json_option
def command(file: str, *, with_stats: bool, as_json: bool) -> None:
    """Print the names, shapes and types of a file's tensors."""
    with Progress() as progress:
        progress.phase("loading torch")
        job = torch_module("cnndsl.cli.weights_job", "reading weights")
        shown = job.show(file, progress, with_stats=with_stats)
    if as_json:
        terminal.out_json(_json(file, shown))
    else:
        for line in _text(file, shown, terminal.width()):
            terminal.out(line)


def _text(file: str, shown: Any, width: int | None) -> Iterator[str]:
    if shown.tensors:
        columns = list(_columns(shown))
        widths = fitting_widths(columns, width) or tuple(c.natural for c in columns)
        for lines in render_rows(columns, widths):
            yield from lines
        yield ""
        sizes = sum(stored.nbytes for stored in shown.tensors.values())
        what = f"{counted(len(shown.tensors), 'tensor')}, {compact(shown.values)} values, {binary(sizes)}"
        yield f"{file}: {shown.format}, {what}"
    else:
        yield f"{file}: {shown.format}, {compact(shown.values)} values"
    yield from map(terminal.in_cell, shown.notes)


def _columns(shown: Any) -> Iterator[Column]:
    tensors, stats = shown.tensors, shown.stats
    yield Column("tensor", tuple(map(terminal.in_cell, tensors)), wraps=True, least=12)
    yield Column("shape", tuple(f"[{', '.join(map(str, stored.shape))}]" for stored in tensors.values()), wraps=True)
    yield Column("type", tuple(stored.type_name for stored in tensors.values()))
    yield Column("values", tuple(grouped(stored.size) for stored in tensors.values()), right=True)
    if not stats:
        return
    for title, name in (("least", "least"), ("largest", "most"), ("mean", "mean")):
        yield Column(title, tuple(_figure(getattr(stats[tensor], name)) for tensor in tensors), right=True)
    if any(each.not_finite for each in stats.values()):
        yield Column("not finite", tuple(grouped(stats[tensor].not_finite) for tensor in tensors), right=True)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _json(file: str, shown: Any) -> dict[str, Any]:
    tensors = []
    for name, stored in (shown.tensors or {}).items():
        entry = {"name": name, "shape": list(stored.shape), "type": stored.type_name, "values": stored.size}
        if name in shown.stats:
            found = shown.stats[name]
            entry |= {"least": found.least, "largest": found.most, "mean": found.mean, "not_finite": found.not_finite}
        tensors.append(entry)
    return {
        "ok": True,
        "file": file,
        "format": shown.format,
        "notes": list(shown.notes),
        "tensors": tensors,
        "totals": {
            "tensors": len(tensors),
            "values": shown.values,
            "bytes": sum(stored.nbytes for stored in (shown.tensors or {}).values()),
        },
    }
