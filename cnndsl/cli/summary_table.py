"""A summary as text for a terminal of any width, as markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cnndsl.cli.table import Column, fitting_widths, markdown, natural_width, render_rows, wrap
from cnndsl.cli.terminal import bold, dim
from cnndsl.figures import binary, compact, grouped
from cnndsl.summary import Layer, Row, Summary

_NARROW = 1
"""Spaces between the figures where two would not fit."""

_TIE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class _Figure:
    """A column of figures: its title, a row's figure, the total's."""

    title: str
    of_row: Callable[[Summary, Row], str]
    of_all: Callable[[Summary], str]

    def column(self, summary: Summary) -> Column:
        cells = (*(self.of_row(summary, row) for row in summary.rows), self.of_all(summary))
        return Column(self.title, cells, right=True)


_OUTPUT = _Figure("output", lambda _, row: str(row.type), lambda _: "")
_PARAMETERS = _Figure("parameters", lambda _, row: grouped(row.parameters), lambda s: grouped(s.parameters))
_PARAMETERS_SHORT = _Figure("params", lambda _, row: compact(row.parameters), lambda s: compact(s.parameters))
_WEIGHTS = _Figure("weights", lambda _, row: grouped(row.weights), lambda s: grouped(s.weights))
_MACS = _Figure("MACs", lambda _, row: grouped(row.macs), lambda s: grouped(s.macs))
_MACS_SHORT = _Figure("MACs", lambda _, row: compact(row.macs), lambda s: compact(s.macs))
_VALUES = _Figure("values", lambda _, row: compact(row.values), lambda s: compact(s.values))
_MEMORY = _Figure(
    "memory", lambda s, row: binary(s.bytes_of(row.values)), lambda s: binary(s.activation_bytes)
)

_WIDEST = (_OUTPUT, _PARAMETERS, _WEIGHTS, _MACS, _VALUES, _MEMORY)
_FIGURES = (
    _WIDEST,
    (_OUTPUT, _PARAMETERS, _MACS, _VALUES, _MEMORY),
    (_OUTPUT, _PARAMETERS, _MACS, _MEMORY),
    (_OUTPUT, _PARAMETERS, _MACS_SHORT, _MEMORY),
)
"""The figures that are shown, by the room there is. The last of them is tried with wrapped texts as well."""
_STACKED = (_FIGURES[-1], (_OUTPUT, _PARAMETERS_SHORT, _MACS_SHORT, _MEMORY))


# --- text ----------------------------------------------------------------------------------------


def to_text(summary: Summary, width: int | None) -> Iterator[str]:
    """The lines for a terminal of `width` columns; None for a pipe."""
    yield bold(title(summary))
    yield ""
    yield from _table(summary, width)
    yield ""
    for name, text in totals(summary):
        lines = wrap(text, max(width - 12, 24) if width is not None else len(text))
        yield f"{name:<12}{lines[0]}".replace(_TIE, " ")
        yield from (" " * 12 + line.replace(_TIE, " ") for line in lines[1:])


def title(summary: Summary) -> str:
    """``AlexNet(classes=1000)``, and the batch when it is more than one picture."""
    return summary.title + (f", batch {summary.batch}" if summary.batch > 1 else "")


def totals(summary: Summary) -> tuple[tuple[str, str], ...]:
    """The sums, named, in words; spaces within figures are no-break spaces."""
    buffers = f"; {grouped(summary.buffers)} running statistics" if summary.buffers else ""
    memory = _tied(binary(summary.activation_bytes))
    made = f"{grouped(summary.values)} values = {memory} in fp32 for one picture"
    if summary.batch > 1:
        batch = f"a batch of {summary.batch:,}"
        made = f"{grouped(summary.values)} values for one picture, {memory} in fp32 for {batch}"
    pictures = "a picture" if summary.batch == 1 else f"a batch of {summary.batch:,}"
    arena, least = (_tied(binary(summary.bytes_of(n))) for n in (summary.memory.arena, summary.memory.least))
    return (
        (
            "parameters",
            f"{grouped(summary.parameters)} ({grouped(summary.weights)} without biases)"
            f" = {_tied(binary(summary.weight_bytes))} in fp32{buffers}",
        ),
        ("compute", f"{_tied(_giga(summary.macs))}MACs = {_tied(_giga(summary.flops))}FLOPs for one picture"),
        ("memory", made),
        ("arena", f"{arena} for {pictures} in fp32 (lower bound {least})"),
    )


def _giga(number: int) -> str:
    return f"{number / 1e9:.3f} G" if number >= 10**7 else f"{number:,} "


def _tied(text: str) -> str:
    """A figure that no line may end in the middle of."""
    return text.replace(" ", _TIE)


def _table(summary: Summary, width: int | None) -> Iterator[str]:
    names = (
        Column("name", (*(row.name for row in summary.rows), "total"), wraps=True, least=10),
        Column("layer", (*(row.text for row in summary.rows), ""), wraps=True, least=16),
    )
    for figures in _FIGURES:
        columns = (*names, *(figure.column(summary) for figure in figures))
        if width is None or natural_width(columns) <= width:
            break
    widths = fitting_widths(columns, width)
    if widths is None:
        assert width is not None
        yield from _stacked(summary, width)
        return
    rows = render_rows(columns, widths)
    rule = dim("-" * min(natural_width(columns), width or natural_width(columns)))
    yield from map(bold, rows[0])
    yield rule
    for row in rows[1:-1]:
        yield from row
    yield rule
    yield from map(bold, rows[-1])


def _stacked(summary: Summary, width: int) -> Iterator[str]:
    """Two lines a layer where a table would not fit: name and layer, and below them the figures."""
    for figures in _STACKED:
        columns = [figure.column(summary) for figure in figures]
        widths = [c.natural for c in columns]
        if sum(widths) + _NARROW * (len(widths) - 1) <= width:
            break
    # What the line has left goes between the figures.
    spare = max(0, min(width, 60) - sum(widths) - _NARROW * (len(widths) - 1))
    widths = [w + spare // len(widths) for w in widths]
    rows = render_rows(columns, widths, gap=_NARROW)
    rule = dim("-" * min(sum(widths) + _NARROW * (len(widths) - 1), width))
    yield from map(bold, rows[0])
    yield rule
    for row, figures_of_row in zip(summary.rows, rows[1:-1], strict=True):
        first, *others = wrap(f"{row.name}: {row.text}", max(width - 2, 8))
        yield bold(first)
        yield from (f"  {line}" for line in others)
        yield from figures_of_row
    yield rule
    yield bold("total")
    yield from map(bold, rows[-1])


# --- markdown --------------------------------------------------------------------------------------


def to_markdown(summary: Summary) -> list[str]:
    """A heading, a table with every column, and the totals as a list."""

    def total(column: Column) -> Column:
        *cells, last = column.cells
        return Column(column.title, (*cells, f"**{last}**" if last else ""), right=column.right)

    columns = (
        Column("name", (*(f"`{row.name}`" for row in summary.rows), "total")),
        Column("layer", (*(f"`{row.text}`" for row in summary.rows), "")),
        *(figure.column(summary) for figure in _WIDEST),
    )
    lines = [f"### {title(summary)}", "", *markdown([total(c) for c in columns]), ""]
    lines.extend(f"* {name}: {text}".replace(_TIE, " ") for name, text in totals(summary))
    return lines


# --- JSON ------------------------------------------------------------------------------------------


def to_json(summary: Summary) -> dict[str, Any]:
    """Every layer with exact integers, and the totals."""
    return {
        "ok": True,
        "network": summary.network,
        "settings": dict(summary.settings),
        "batch": summary.batch,
        "outputs": dict(summary.outputs),
        "layers": [_layer_json(summary, layer) for layer in summary.layers],
        "totals": {
            "parameters": summary.parameters,
            "weights": summary.weights,
            "biases": summary.parameters - summary.weights,
            "buffers": summary.buffers,
            "macs": summary.macs,
            "flops": summary.flops,
            "gflops": round(summary.flops / 1e9, 6),
            "values": summary.values,
            "activation_bytes": summary.activation_bytes,
            "weight_bytes": summary.weight_bytes,
            "arena_bytes": summary.bytes_of(summary.memory.arena),
            "arena_bound_bytes": summary.bytes_of(summary.memory.least),
        },
    }


def _layer_json(summary: Summary, layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "row": layer.row,
        "kind": layer.kind,
        "text": layer.text,
        "inputs": list(layer.inputs),
        "shape": list(layer.type.shape),
        "values": layer.values,
        "bytes": summary.bytes_of(layer.values),
        "parameters": layer.parameters,
        "weights": layer.weights,
        "biases": layer.biases,
        "buffers": layer.buffers,
        "macs": layer.macs,
        "span": layer.span.to_json(),
        "calls": [{"file": s.source.name, "line": s.line, "column": s.column} for s in layer.calls],
    }
