"""Pieces below each other, each where the one before it lets its value go; long ones in several columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cnndsl.draw.pieces import ALONG, GAP, OUT, TRACK, Piece, Point, Target

_TURN = 12.0
"""The room above and below a column for the value that comes from the one before, or goes to the next."""


def series(pieces: Sequence[Piece], *, limit: float | None = None) -> Piece:
    """One piece of several, the only tail of each the head of the next. `limit` is the length of a column."""
    if len(pieces) == 1:
        return pieces[0]
    gaps = [0.0, *(max(0.0, GAP - piece.lead) for piece in pieces[1:])]
    columns = _columns(pieces, gaps, limit)
    wrapped = len(columns) > 1
    corners: list[Point] = []
    gutters: dict[int, float] = {}
    left = 0.0
    for column in columns:
        places = _below_each_other([pieces[i] for i in column])
        main = _TURN + GAP if wrapped else 0.0
        for i, cross in zip(column, places, strict=True):
            main += gaps[i] if i != column[0] else 0.0
            corners.append((main, left + cross))
            main += pieces[i].main
        gutters[column[0]] = left - ALONG
        left += max(at + pieces[i].cross for i, at in zip(column, places, strict=True)) + 2 * ALONG
    main = max(corner[0] + piece.main for corner, piece in zip(corners, pieces, strict=True))
    main += _TURN if wrapped else 0.0
    del gutters[0]
    return Piece(
        main, left - 2 * ALONG,
        heads={v: at + corners[0][1] for v, at in pieces[0].heads.items()},
        tails={v: at + corners[-1][1] for v, at in pieces[-1].tails.items()},
        lead=_TURN + GAP if wrapped else pieces[0].lead,
        children=[(*corner, piece) for corner, piece in zip(corners, pieces, strict=True)],
        wires=_wires(pieces, corners, gutters=gutters, main=main),
    )  # fmt: skip


def _below_each_other(pieces: Sequence[Piece]) -> list[float]:
    """The left sides of a column's pieces, so that the value between two goes straight."""
    places = [0.0]
    for above, below in pairwise(pieces):
        common = [v for v in above.tails if v in below.heads]
        if common:
            places.append(places[-1] + above.tails[common[0]] - below.heads[common[0]])
        else:
            places.append(places[-1] + (above.cross - below.cross) / 2)
    first = min(places)
    return [at - first for at in places]


def _columns(pieces: Sequence[Piece], gaps: Sequence[float], limit: float | None) -> list[list[int]]:
    """The numbers of the pieces, column by column: as few columns as the limit allows, and of like lengths."""
    lengths = [piece.main + gap for piece, gap in zip(pieces, gaps, strict=True)]
    if limit is None or sum(lengths) <= limit:
        return [[*range(len(pieces))]]

    def filled(most: float) -> list[list[int]]:
        columns: list[list[int]] = []
        room = 0.0
        for i, length in enumerate(lengths):
            if not columns or length > room:
                columns.append([])
                room = most
            columns[-1].append(i)
            room -= length
        return columns

    low, high = max(lengths), max(limit, *lengths)
    count = len(filled(high))
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (low, middle) if len(filled(middle)) <= count else (middle, high)
    return filled(high)


def _wires(
    pieces: Sequence[Piece], corners: Sequence[Point], *, gutters: dict[int, float], main: float
) -> dict[tuple[int, Target], list[Point]]:
    """The ways between the pieces. `gutters` has, for each that begins a further column, the line beside it."""
    wires: dict[tuple[int, Target], list[Point]] = {}
    flowing: dict[int, list[Point]] = {v: [(0.0, at + corners[0][1])] for v, at in pieces[0].heads.items()}
    for i, (piece, (top, left)) in enumerate(zip(pieces, corners, strict=True)):
        passed: dict[int, list[Point]] = {}
        for v, at in piece.heads.items():
            way = list(flowing[v])
            if i in gutters:
                # Out below its own column, up beside the next, and in above that.
                down, cross = way[-1]
                way += [(down + TRACK, cross), (down + TRACK, gutters[i])]
                way += [(top - GAP, gutters[i]), (top - GAP, left + at)]
            way.append((top, left + at))
            wires[v, (i, 0)] = way
            if v in piece.tails:
                passed[v] = [*way, *((top + m, left + c) for m, c in piece.wires[v, OUT])]
        flowing = {v: passed.get(v, [(top + piece.main, left + at)]) for v, at in piece.tails.items()}
    wires.update({(v, OUT): [*way, (main, way[-1][1])] for v, way in flowing.items()})
    return wires
