"""``--stage resources``: what each kernel takes of the machine, as a table, as JSON, or as what differs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import WRONG
from cnndsl.cli.inspect_colors import painted
from cnndsl.cli.inspect_diff import pairs
from cnndsl.cli.inspect_kernels import check_compiled, compile_sides
from cnndsl.cli.inspect_sides import Request, Side
from cnndsl.cli.table import Column, fitting_widths, render_rows
from cnndsl.compiler.resources import bytes16
from cnndsl.errors import CnnError, listed
from cnndsl.figures import grouped

if TYPE_CHECKING:
    from cnndsl.compiler import Compiled, Resources


@dataclass(frozen=True)
class Row:
    """A kernel of one network, compiled."""

    side: Side
    compiled: Compiled

    @property
    def name(self) -> str:
        """The kernel's."""
        return self.compiled.job.kernel.name

    @property
    def layers(self) -> str:
        """The groups that it computes."""
        plan, package = self.side.made.plan, self.side.made.package
        return ", ".join(plan.steps[number].group.title for number in package.by_name[self.name].steps)


@dataclass(frozen=True)
class Figure:
    """A column of the table: its title, what it is, and a kernel's figure. `value` is None where it is a text."""

    title: str
    meaning: str
    shown: Callable[[Resources], str]
    value: Callable[[Resources], float] | None


def _number(title: str, meaning: str, value: Callable[[Resources], int]) -> Figure:
    return Figure(title, meaning, lambda r: grouped(value(r)), value)


def _wide(title: str, meaning: str, widths: Callable[[Resources], Sequence[tuple[int, int]]]) -> Figure:
    """Accesses of 16 bytes, of how many."""

    def shown(r: Resources) -> str:
        return f"{bytes16(widths(r))}/{sum(count for _, count in widths(r))}"

    return Figure(title, meaning, shown, lambda r: bytes16(widths(r)))


FIGURES = (
    _number("registers", "of each thread", lambda r: r.registers),
    _number("stack", "bytes of each thread", lambda r: r.stack),
    _number("spills", "bytes stored and loaded again by each thread", lambda r: r.spill_stores + r.spill_loads),
    _number("shared", "bytes of each program", lambda r: r.shared),
    _number("warps", "of each program", lambda r: r.warps),
    _number("stages", "of its software pipeline", lambda r: r.stages),
    Figure("occupancy", "of the warps that a multiprocessor holds",
           lambda r: f"{r.occupancy:.0f} %", lambda r: r.occupancy),
    Figure("limit", "what allows no more programs", lambda r: r.limiter, None),
    _number("instructions", "in all", lambda r: r.instructions.total),
    _number("matrix", "instructions of the matrix units", lambda r: r.instructions.matrix),
    _number("bulk", "copies of whole tiles", lambda r: r.instructions.bulk_copies),
    _number("async", "copies past the registers", lambda r: r.instructions.async_copies),
    _number("local", "accesses to local memory", lambda r: r.instructions.local),
    _wide("16 B loads", "of all loads and asynchronous copies",
          lambda r: (*r.instructions.global_loads, *r.instructions.copy_widths)),
    _wide("16 B stores", "of all stores", lambda r: r.instructions.global_stores),
)

_DISPENSABLE = (
    "instructions", "limit", "stages", "layers", "bulk", "async", "local", "warps", "16 B stores", "stack",
    "16 B loads", "matrix", "shared", "occupancy",
)
"""What goes first where there is no room for all."""


def show(request: Request, sides: Sequence[Side]) -> None:
    """Print the table.

    Raises CnnError (E0612), when all else is printed, for kernels that cannot be compiled; their lines in JSON say so.
    """
    compiled = compile_sides(sides)
    if request.other is not None:
        _print_difference(sides, compiled)
    else:
        rows = [Row(side, done) for side, of_side in zip(sides, compiled, strict=True) for done in of_side.values()]
        # The targets of one kernel side by side; those that a target alone has stand where it launches them.
        rows.sort(key=lambda row: min(row.side.made.package.by_name[row.name].steps))
        if request.as_json:
            terminal.out_json(to_json(request, sides, rows))
        else:
            _print_table(rows, several=len(sides) > 1)
    try:
        check_compiled(compiled)
    except CnnError as error:
        if not request.as_json:
            raise
        # The object on stdout has said so already, and two of them would be no JSON.
        terminal.report(error, as_json=False)
        click.get_current_context().exit(WRONG)


def to_json(request: Request, sides: Sequence[Side], rows: Sequence[Row]) -> dict[str, Any]:
    """Every kernel with the layers and lines that it comes from, and exact figures; None where it has none."""
    made = sides[0].made
    return {
        "ok": all(row.compiled.error is None for row in rows),
        "network": made.graph.name,
        "dtype": made.dtype,
        "batch": request.batch,
        "targets": [side.made.target.name for side in sides],
        "kernels": [_row_json(row) for row in rows],
    }


def _row_json(row: Row) -> dict[str, Any]:
    lines = row.side.made.lines.kernel(row.name)
    done = row.compiled
    return {
        "name": row.name,
        "target": row.side.made.target.name,
        "layers": list(lines.layers),
        "lines": [{"file": file, "line": number} for file, number in lines.lines],
        "steps": list(lines.steps),
        "error": done.error,
        "cached": done.cached,
        "seconds": round(done.seconds, 3),
        "resources": done.resources.to_json() if done.resources is not None else None,
    }


# --- the table -------------------------------------------------------------------------------------


def _print_table(rows: Sequence[Row], *, several: bool) -> None:
    width = terminal.width()
    layers = tuple(row.layers for row in rows)
    columns = [
        Column("kernel", tuple(row.name for row in rows)),
        *([Column("target", tuple(row.side.made.target.name for row in rows))] if several else []),
        *(Column(f.title, tuple(_cell(f, row) for row in rows), right=f.value is not None) for f in FIGURES),
        Column("layers", layers, wraps=True, least=max(len(word) + 2 for cell in layers for word in cell.split())),
    ]
    kept = _fitting(columns, width)
    left_out = [column.title for column in columns if column not in kept]
    columns = kept
    widths = fitting_widths(columns, width) or tuple(column.natural for column in columns)
    lines = render_rows(columns, widths)
    for line in lines[0]:
        terminal.out(terminal.bold(line))
    for row, of_row in zip(rows, lines[1:], strict=True):
        for line in of_row:
            terminal.out(_marked(line, row))
    if left_out:
        terminal.say(f"no room for {listed(left_out, most=99)}: a wider terminal, a pipe and --json have them")


def _fitting(columns: Sequence[Column], width: int | None) -> list[Column]:
    """As many columns as there is room for, the most telling ones first."""
    kept = list(columns)
    for title in _DISPENSABLE:
        if fitting_widths(kept, width) is not None:
            break
        kept = [column for column in kept if column.title != title]
    else:
        columns = [replace(columns[0], wraps=True), *columns[1:]]
        kept = [columns[0], *kept[1:]]
    for title in reversed(_DISPENSABLE):
        more = [column for column in columns if column in kept or column.title == title]
        if fitting_widths(more, width) is not None:
            kept = more
    return kept


def _cell(figure: Figure, row: Row) -> str:
    return figure.shown(row.compiled.resources) if row.compiled.resources is not None else "-"


def _marked(line: str, row: Row) -> str:
    """In red where registers were spilled, which costs more than anything else here, or nothing was compiled."""
    r = row.compiled.resources
    bad = r is None or r.spill_stores + r.spill_loads > 0
    return painted(line, "removed") if bad and terminal.has_color(sys.stdout) else line


# --- the difference --------------------------------------------------------------------------------


def _print_difference(sides: Sequence[Side], compiled: Sequence[dict[str, Compiled]]) -> None:
    """For each kernel the figures that differ, with both values and the change."""
    chosen = (sides[0].selection.kernels, sides[1].selection.kernels)
    cells: list[tuple[str, str, str, str, str]] = []
    same = []
    for pair in pairs(sides[0].made.lines, sides[1].made.lines, chosen):
        one = compiled[0][pair.one].resources if pair.one is not None else None
        other = compiled[1][pair.other].resources if pair.other is not None else None
        name = pair.one if pair.one is not None else str(pair.other)
        if pair.one is None or pair.other is None:
            cells.append((name, f"only {sides[pair.one is None].title} has it", "", "", ""))
            continue
        if one is None or other is None:
            said = ["cannot be compiled" if r is None else "" for r in (one, other)]
            cells.append((name, "", said[0], said[1], ""))
            continue
        found = list(_changes(one, other))
        cells.extend((name if not i else "", *change) for i, change in enumerate(found))
        if not found:
            same.append(name)
    if cells:
        titles = ("kernel", "figure", sides[0].title, sides[1].title, "change")
        columns = [
            Column(title, tuple(row[i] for row in cells), right=i > 1, wraps=i == 0) for i, title in enumerate(titles)
        ]
        widths = fitting_widths(columns, terminal.width()) or tuple(column.natural for column in columns)
        head, *rest = render_rows(columns, widths)
        terminal.out(terminal.bold(head[0]))
        for lines in rest:
            terminal.out("\n".join(lines))
    if same:
        terminal.say(f"no difference: {listed(same)}")


def _changes(one: Resources, other: Resources) -> Iterator[tuple[str, str, str, str]]:
    for figure in FIGURES:
        before, after = figure.shown(one), figure.shown(other)
        if before == after:
            continue
        change = ""
        if figure.value is not None:
            difference = figure.value(other) - figure.value(one)
            change = f"{difference:+,.0f}{' %' if before.endswith('%') else ''}" if difference else ""
        yield figure.title, before, after, change
