"""Where buffers lie in one arena, so that those alive at the same step never overlap.

Steps and sizes are all that it knows. To place them in the least memory is NP-hard; a few greedy orders come close to
what no plan can do without, which is known too: `bound`.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

ALIGNMENT = 128
"""Values: buffers start at multiples of 256 bytes in fp16, whatever the batch size."""

ROUNDS = 16
"""How often an order is mended where none gave an arena as small as the bound."""


@dataclass(frozen=True)
class Block:
    """Memory that is needed: its values, the first step that writes it and the last that touches it."""

    name: str
    size: int
    first: int
    last: int

    def meets(self, other: Block) -> bool:
        """Whether there is a step at which both are needed."""
        return self.first <= other.last and other.first <= self.last


def aligned(size: int) -> int:
    """The values that so many take up, so that what follows is aligned."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def bound(blocks: Sequence[Block]) -> int:
    """The values that are needed at once at the busiest step: no arena is smaller."""
    return max((sum(aligned(b.size) for b in alive) for alive in _steps(blocks)), default=0)


def pack(blocks: Sequence[Block]) -> dict[str, int]:
    """An offset for every block, the same for the same blocks.

    Each is put at the lowest offset where it fits, in the best of several orders: "greedy by size" and "greedy by
    breadth" of Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020; by the memory that a
    block takes over its life; by birth. Where none reaches the bound, what sticks out is put earlier, a few times.
    """
    least = bound(blocks)
    best: dict[str, int] = {}
    total: int | None = None
    for order in _orders(blocks):
        offsets = _placed(order)
        if total is None or end(blocks, offsets) < total:
            best, total = offsets, end(blocks, offsets)
        if total == least:
            break
    return best


def apart(blocks: Sequence[Block]) -> dict[str, int]:
    """Offsets for blocks that share no memory."""
    starts = accumulate((aligned(b.size) for b in blocks), initial=0)
    return {block.name: start for block, start in zip(blocks, starts, strict=False)}


def end(blocks: Sequence[Block], offsets: Mapping[str, int]) -> int:
    """The values of an arena that holds all blocks."""
    return max((aligned(offsets[b.name] + b.size) for b in blocks), default=0)


def _steps(blocks: Sequence[Block]) -> list[list[Block]]:
    """The blocks that are needed at each step."""
    found: list[list[Block]] = [[] for _ in range(max((b.last for b in blocks), default=-1) + 1)]
    for block in blocks:
        for step in range(block.first, block.last + 1):
            found[step].append(block)
    return found


def _orders(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Orders in which to place blocks."""
    by_size = sorted(blocks, key=lambda b: (-b.size, b.first, b.name))
    yield by_size
    busiest_first = sorted(_steps(by_size), key=lambda alive: -sum(b.size for b in alive))
    yield list(dict.fromkeys(block for alive in busiest_first for block in alive))
    yield sorted(by_size, key=lambda b: -b.size * (b.last - b.first + 1))
    yield sorted(by_size, key=lambda b: b.first)
    order = by_size
    for _ in range(ROUNDS):
        offsets = _placed(order)
        highest = end(order, offsets)
        out = [b for b in order if aligned(offsets[b.name] + b.size) == highest]
        for block in out:
            at = order.index(block)
            order = [*order[: at // 2], block, *order[at // 2 : at], *order[at + 1 :]]
        yield order


def _placed(order: Sequence[Block]) -> dict[str, int]:
    """Each block at the lowest offset where it meets none that is placed and needed when it is."""
    placed: list[tuple[int, Block]] = []
    for block in order:
        offset = 0
        for start, other in placed:
            if block.meets(other):
                if offset + block.size <= start:
                    break
                offset = max(offset, aligned(start + other.size))
        bisect.insort(placed, (offset, block), key=lambda entry: entry[0])
    return {block.name: offset for offset, block in placed}
