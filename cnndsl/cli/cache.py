"""``cnndsl cache``: what is kept between runs."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.options import json_option
from cnndsl.cli.table import Column, fitting_widths, natural_width, render_rows
from cnndsl.compiler import upkeep
from cnndsl.compiler.upkeep import MAX_PACKAGES, Holding, Part
from cnndsl.figures import binary, counted

_EXAMPLES = """\b
Examples:
  cnndsl cache
  cnndsl cache --json
  cnndsl cache --clear

\b
The cache holds packages (the sources that a network runs as) and compiled kernels (PTX, machine code, figures).
It is $CNNDSL_CACHE, or a folder of the user's cache. Compiled kernels take $CNNDSL_CACHE_SIZE MiB at most, 1024
where it is not set; those that were used longest ago go first. Everything in it is made again when needed.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.option("--clear", is_flag=True, help="Delete all of it, and say how much that was.")
@json_option
def command(*, clear: bool, as_json: bool) -> None:
    """Show what is kept between runs, or delete it."""
    found = upkeep.clear() if clear else upkeep.holding()
    if as_json:
        terminal.out_json(_as_json(found, cleared=clear))
    elif clear:
        terminal.out(_freed(found))
    else:
        _show(found)


def _freed(before: Holding) -> str:
    packages, compiled = before.packages, before.compiled
    if not packages.count + compiled.count:
        return f"{before.folder} was empty"
    return (
        f"freed {binary(packages.size + compiled.size)} in {before.folder}: "
        f"{counted(packages.count, 'package')}, {counted(compiled.count, 'compiled kernel')}"
    )


def _show(found: Holding) -> None:
    parts = (("packages", found.packages), ("compiled kernels", found.compiled))
    columns: tuple[Column, ...] = (
        Column("", tuple(name for name, _ in parts)),
        Column("number", tuple(f"{part.count:,}" for _, part in parts), right=True),
        Column("size", tuple(binary(part.size) for _, part in parts), right=True),
        Column("limit", (str(MAX_PACKAGES), binary(found.limit)), right=True),
        Column("least recently used", tuple(_time(part.oldest) for _, part in parts)),
        Column("last used", tuple(_time(part.newest) for _, part in parts)),
    )
    width = terminal.width()
    widths = fitting_widths(columns, width)
    if widths is None or (width is not None and natural_width(columns) > width):
        columns = columns[:4]  # a narrow terminal
        widths = tuple(c.natural for c in columns)
    terminal.out(str(found.folder))
    for lines in render_rows(columns, widths):
        for line in lines:
            terminal.out(f"  {line}".rstrip())


def _time(moment: float | None) -> str:
    if moment is None:
        return "-"
    return dt.datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")


def _as_json(found: Holding, *, cleared: bool) -> dict[str, Any]:
    """With `cleared` the numbers are of what was deleted."""
    return {
        "folder": str(found.folder),
        "limit_bytes": found.limit,
        "cleared": cleared,
        "packages": _part(found.packages),
        "compiled": _part(found.compiled),
    }


def _part(part: Part) -> dict[str, Any]:
    moments = {"least_recently_used": part.oldest, "last_used": part.newest}
    return {"count": part.count, "bytes": part.size} | {
        name: None if moment is None else dt.datetime.fromtimestamp(moment, dt.UTC).isoformat()
        for name, moment in moments.items()
    }
