"""Blocks in an arena: none over another, in hardly more memory than they need at once."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stages import EXAMPLES, example

from cnndsl.passes import arena
from cnndsl.passes.arena import ALIGNMENT, Block
from cnndsl.passes.plan import plan
from cnndsl.targets import get


@st.composite
def blocks(draw: st.DrawFn) -> list[Block]:
    """Some blocks of some steps."""
    spans = st.tuples(st.integers(0, 12), st.integers(0, 6))
    drawn = draw(st.lists(st.tuples(st.integers(1, 9 * ALIGNMENT), spans), max_size=14))
    return [Block(f"b{i}", size, first, first + more) for i, (size, (first, more)) in enumerate(drawn)]


def check(found: list[Block], offsets: dict[str, int]) -> None:
    """Blocks that are needed together lie apart, and all begin at multiples of the alignment."""
    assert set(offsets) == {b.name for b in found}
    assert all(offset >= 0 and offset % ALIGNMENT == 0 for offset in offsets.values())
    for a, b in combinations(found, 2):
        together = {*range(a.first, a.last + 1)} & {*range(b.first, b.last + 1)}
        start = max(offsets[a.name], offsets[b.name])
        end = min(offsets[a.name] + a.size, offsets[b.name] + b.size)
        assert start >= end or not together


@settings(max_examples=4 * settings.default.max_examples)
@given(blocks(), st.integers(0, 10**6))
def test_random_blocks(found: list[Block], seed: int) -> None:
    offsets = arena.pack(found)
    check(found, offsets)
    least = max((sum(b.size for b in found if b.first <= step <= b.last) for step in range(20)), default=0)
    assert least <= arena.bound(found) <= arena.end(found, offsets)
    assert arena.end(found, offsets) <= 1.5 * arena.bound(found)
    # The order in which blocks are named does not matter.
    assert arena.pack(Random(seed).sample(found, len(found))) == offsets
    apart = arena.apart(found)
    check([Block(b.name, b.size, 0, 9) for b in found], apart)
    assert arena.end(found, apart) == sum(arena.aligned(b.size) for b in found)


def test_a_wrong_arena_is_noticed() -> None:
    found = [Block("a", 100, 0, 2), Block("b", 300, 2, 3), Block("c", 500, 3, 4)]
    right = arena.pack(found)
    check(found, right)
    for name in "abc":
        assert right[name] % ALIGNMENT == 0
    with pytest.raises(AssertionError):
        check(found, {**right, "b": right["a"]})
    with pytest.raises(AssertionError):
        check(found, {**right, "c": right["c"] + 1})
    # A life that is a step too short lets its memory go to another.
    long = [Block("a", 600, 0, 2), *found[1:]]
    check(long, arena.pack(long))
    with pytest.raises(AssertionError):
        check(long, arena.pack([Block("a", 600, 0, 1), *found[1:]]))


# Blocks for which one order alone, or mending alone, is as good as the bound: size, first and last step.
ONLY = {
    "breadth": (1, [(5, 2, 5), (5, 0, 2), (3, 5, 8), (4, 5, 7)]),
    "memory over a life": (2, [(6, 1, 1), (3, 1, 4), (4, 4, 6), (6, 6, 7)]),
    "birth": (3, [(4, 1, 3), (5, 3, 5), (6, 0, 2), (6, 5, 8)]),
    "mending": (4, [(5, 6, 10), (4, 3, 6), (6, 3, 3), (4, 5, 8)]),
}


@pytest.mark.parametrize("name", ONLY)
def test_every_order_is_of_use(name: str) -> None:
    number, spans = ONLY[name]
    found = [Block("abcd"[i], size * ALIGNMENT, first, last) for i, (size, first, last) in enumerate(spans)]
    ends = [arena.end(found, arena._placed(order)) for order in arena._orders(found)]
    assert min(ends[:number]) > arena.bound(found)
    assert arena.end(found, arena.pack(found)) == arena.bound(found)


NAMES = sorted(path.stem for path in EXAMPLES.glob("*.cnn") if "network " in path.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_examples_take_no_more_than_they_need_at_once(name: str) -> None:
    planned = plan(example(name), target=get("sm_90"), dtype="fp32")
    inside = [b for b in planned.buffers if b.offset is not None]
    # A concat's memory is taken as soon as one of its arms is there: a DenseNet's whole stage, and in a ShuffleNet the
    # map that grows, while the other arm is computed. A projection lies beside the first layer of its block, whose
    # memory is taken as long as the projection's.
    more = {"densenet121": 1.06, "shufflenet_v1": 1.34}.get(name, 1)
    if name in {"resnet50", "resnet50_v1", "resnet101", "resnet152"}:
        more = 1.12
    assert planned.least <= planned.arena <= more * planned.least + ALIGNMENT * len(inside)
