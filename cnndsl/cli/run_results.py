"""What a run gives, as data for tables and JSON. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cnndsl.cli.table import Column, fitting_widths, render_rows
from cnndsl.cli.terminal import bold
from cnndsl.ir import Graph, TensorType
from cnndsl.runtime.meaning import meaning
from cnndsl.runtime.verify import Check


@dataclass(frozen=True)
class Class:
    """One line of a top-K table. `softmax` is None where the values are no scores to take it of."""

    index: int
    label: str | None
    value: float
    softmax: float | None


@dataclass(frozen=True)
class Picture:
    """One output of one picture: its best classes, or, of a feature map, statistics alone."""

    name: str
    top: tuple[Class, ...] | None
    least: float
    most: float
    mean: float
    not_finite: int


@dataclass(frozen=True)
class Output:
    """One output of the network for all pictures. `values` names what its numbers are."""

    name: str
    type: TensorType
    values: str
    pictures: tuple[Picture, ...]


def is_vector(type_: TensorType) -> bool:
    """Whether an output is a list of classes: a vector, or [1x1xC]."""
    return type_.height * type_.width == 1


def gather(
    graph: Graph,
    outputs: dict[str, torch.Tensor],
    names: Sequence[str],
    *,
    top: int,
    labels: list[str] | None,
) -> tuple[Output, ...]:
    """The results of a run: outputs by name, each [n, ...] for the n pictures called `names`."""
    found = []
    for output, node in graph.outputs:
        type_ = graph.by_name[node].type
        kind = meaning(graph, node)
        own = labels if labels is not None and len(labels) == type_.size else None
        pictures = (
            _picture(name, y.float().cpu(), type_, kind=kind, top=top, labels=own)
            for name, y in zip(names, outputs[output], strict=True)
        )
        found.append(Output(output, type_, kind, tuple(pictures)))
    return tuple(found)


def _picture(
    name: str, y: torch.Tensor, type_: TensorType, *, kind: str, top: int, labels: list[str] | None
) -> Picture:
    classes: tuple[Class, ...] | None = None
    if is_vector(type_):
        y = y.flatten()
        best = y.topk(min(top, y.numel()))
        shares = y.softmax(0) if kind == "score" and y.numel() > 1 else None
        classes = tuple(
            Class(
                index=i,
                label=labels[i] if labels is not None else None,
                value=value,
                softmax=float(shares[i]) if shares is not None else None,
            )
            for i, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        )
    finite = y[y.isfinite()]
    least, most, mean = math.nan, math.nan, math.nan
    if finite.numel():
        least, most, mean = float(finite.min()), float(finite.max()), float(finite.mean())
    return Picture(name, classes, least, most, mean, not_finite=y.numel() - finite.numel())


# --- text ----------------------------------------------------------------------------------------


def to_text(outputs: Sequence[Output], width: int | None) -> Iterator[str]:
    """The tables, picture by picture."""
    count = len(outputs[0].pictures)
    first = True
    for number in range(count):
        for output in outputs:
            if not first:
                yield ""
            first = False
            picture = output.pictures[number]
            yield bold(picture.name + (f", output {output.name}" if len(outputs) > 1 else ""))
            if picture.top is None:
                least, most, mean = picture.least, picture.most, picture.mean
                yield f"  {output.type}  min {least:.4f}  max {most:.4f}  mean {mean:.4f}"
            else:
                yield from (f"  {line}" for line in _top(output, picture.top, width))


def _top(output: Output, top: Sequence[Class], width: int | None) -> Iterator[str]:
    columns = [
        Column("rank", tuple(str(rank) for rank in range(1, len(top) + 1)), right=True),
        Column("class", tuple(str(c.index) for c in top), right=True),
        Column(output.values, tuple(f"{c.value:.4f}" for c in top), right=True),
    ]
    if top[0].softmax is not None:
        columns.append(Column("softmax", tuple(f"{c.softmax:.4f}" for c in top), right=True))
    if top[0].label is not None:
        columns.append(Column("label", tuple(c.label or "" for c in top), wraps=True))
    widths = fitting_widths(columns, width - 2 if width is not None else None)
    for row in render_rows(columns, widths or [c.natural for c in columns]):
        yield from row


def verification(checks: Sequence[Check], width: int | None) -> Iterator[str]:
    """The comparisons with torch as a table."""
    columns = [
        Column("compared", tuple(f"{c.kind} {c.name}" for c in checks), wraps=True),
        Column("error", tuple(f"{c.error:.1e}" for c in checks), right=True),
        Column("tolerance", tuple(f"{c.tolerance:.1e}" for c in checks), right=True),
        Column("", tuple("ok" if c.ok else "WRONG" for c in checks)),
    ]
    widths = fitting_widths(columns, width)
    for row in render_rows(columns, widths or [c.natural for c in columns]):
        yield from row


# --- JSON ------------------------------------------------------------------------------------------


def to_json(output: Output) -> dict[str, Any]:
    """An output for tools; numbers that JSON does not have are null."""
    return {
        "name": output.name,
        "shape": list(output.type.shape),
        "values": output.values,
        "pictures": [_picture_json(p) for p in output.pictures],
    }


def check_json(check: Check) -> dict[str, Any]:
    """A comparison for tools."""
    return {
        "name": check.name,
        "kind": check.kind,
        "error": _finite(check.error),
        "tolerance": check.tolerance,
        "ok": check.ok,
    }


def _picture_json(picture: Picture) -> dict[str, Any]:
    top = picture.top
    return {
        "input": picture.name,
        "min": _finite(picture.least),
        "max": _finite(picture.most),
        "mean": _finite(picture.mean),
        "not_finite": picture.not_finite,
        "top": None if top is None else [_class_json(rank, c) for rank, c in enumerate(top, start=1)],
    }


def _class_json(rank: int, c: Class) -> dict[str, Any]:
    return {
        "rank": rank,
        "class": c.index,
        "label": c.label,
        "value": _finite(c.value),
        "softmax": _finite(c.softmax) if c.softmax is not None else None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
