"""The memory plan: every launch finds what it reads, nothing lives on top of what is needed, and little is wasted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from networks import Example, networks
from tags import plan_of, run

from cnndsl.codegen.package import package
from cnndsl.ops.binding import MAX_OFFSET, Launch
from cnndsl.passes import arena
from cnndsl.passes import plan as planning
from cnndsl.passes.fuse import Groups
from cnndsl.passes.plan import Plan


def check_lifetimes(plan: Plan) -> None:
    """No two buffers of the arena overlap while both are needed; recounted from the launches' own pointers."""
    buffers = {b.name: b for b in plan.buffers}
    spans: dict[str, tuple[int, int]] = {}
    launches: list[Launch] = [launch for step in plan.steps for launch in step.launches]
    for number, launch in enumerate(launches):
        for name in {text.partition("[")[0] for key, text in launch.arguments if key.endswith("_ptr")} & set(buffers):
            first, _ = spans.get(name, (number, number))
            spans[name] = first, number
    inside = [name for name in spans if buffers[name].offset is not None]
    for one in inside:
        for other in inside:
            (a, b), (c, d) = spans[one], spans[other]
            if one < other and a <= d and c <= b:
                low, high = sorted((buffers[one], buffers[other]), key=lambda x: x.offset or 0)
                assert low.offset + low.size <= high.offset, f"{one} and {other} overlap"
    for buffer in (buffers[name] for name in inside):
        assert buffer.offset % arena.ALIGNMENT == 0
        assert buffer.offset + buffer.size <= plan.arena


def check(text: str) -> None:
    for keep in (False, True):
        plan = plan_of(text, keep=keep)
        check_lifetimes(plan)
        run(plan)


@settings(max_examples=2 * settings.default.max_examples)
@given(networks())
def test_random_networks(example: Example) -> None:
    check(example.text)


NETWORKS = {
    "a chain": "input x [6x6x3] conv(8, 3) -> relu maxpool(2) conv(4, 1) lrn conv(2, 1) dense(5) softmax",
    "a residual block": """input x [6x6x4] conv(4, 1)
        add { { conv(4, 3, pad=1) -> relu conv(4, 3, pad=1) -> batchnorm } {} } relu conv(3, 1)""",
    "a residual of the input": "input x [6x6x4] add { { conv(4, 3, pad=1) } {} } relu",
    "sums of many": "input x [4x4x3] a: relu b: conv(3, 1) c: lrn add(@a, @b, @x) mul(@a, @b, @c) add(@a)",
    "an inception block": """input x [6x6x4] conv(3, 1)
        concat { { conv(2, 1) -> relu } { conv(3, 1) -> relu -> conv(5, 3, pad=1) -> relu }
                 { maxpool(3, stride=1, pad=1) -> conv(1, 1) } {} } conv(2, 1)""",
    "alike convolutions": """input x [6x6x4] a: conv(8, 1) -> relu
        concat { { conv(8, 1) -> relu } { conv(16, 1) -> relu -> conv(5, 3, pad=1) -> relu }
                 { conv(8, 1) -> relu -> conv(5, 5, pad=2) -> relu } { maxpool(3, stride=1, pad=1) -> conv(1, 1) } }
        add { { conv(8, 1) -> relu -> conv(16, 1) } { conv(16, 1) } } relu concat(@a) conv(2, 1)""",
    "concats in concats": """input x [3x3x2] a: conv(2, 1)
        concat { { concat { { relu } {} { conv(3, 1) } } } { concat { {} {} } } } conv(2, 1) concat(@a, @a)""",
    "an arm read later": "input x [3x3x2] a: conv(2, 1) b: conv(3, 1) concat(@a) c: relu @a conv(4, 1) concat(@c, @b)",
    "an output inside a concat": "input x [3x3x2] a: conv(2, 1) output o {} concat(@a, @x) relu",
    "outputs read on": "input x [3x3x2] conv(2, 1) output o { relu } output p {} relu output q {} conv(1, 1)",
    "one tensor out twice": "input x [3x3x2] conv(2, 1) output o {} output p { identity }",
    "an input returned": "input x [3x3x2] output o {} output p { flatten } identity",
    "a small input returned flat": "input x [1x1x3] output o { flatten } output p { flatten -> dense(2) } flatten",
    "a flat view": "input x [4x4x3] globalavgpool -> flatten relu output o { softmax } concat { {} { dense(2) } }",
    "a view in a concat": """input x [4x4x3] conv(2, 1) -> globalavgpool a: flatten output o {}
        concat { { dense(4) } {} {} } dense(3) add { {} { dense(3) } }""",
    "a view read late": """input x [4x4x3] conv(2, 1) -> globalavgpool a: flatten
        dense(9) dense(9) relu dense(2) add(@a) dense(3)""",
    "a view as residual": """input x [4x4x3] conv(2, 1) -> globalavgpool -> flatten
        add { {} { dense(2) -> relu -> dense(2) } }""",
    "flattened maps": """input x [2x3x3] conv(2, 1) -> relu
        flatten relu output o { dense(2) } output p { flatten } dense(3)""",
    "one row and one column flattened": """input x [1x4x3] input y [4x1x3] conv(2, 1) -> flatten -> relu
        output o { @x conv(2, 1) -> flatten }""",
    "a map in a slice, dense": "input x [3x3x2] a: conv(2, 1) concat(@x) output o {} @a dense(3)",
    "two inputs": "input x [3x3x2] input y [3x3x2] add(@x) -> relu concat(@x, @y) conv(2, 1) mul(@y)",
    "an unused input": "input x [3x3x2] input y [7] dense(3)",
    "broadcast": "input x [3x3x4] conv(4, 1) mul { { globalavgpool -> conv(4, 1) -> sigmoid } {} { relu } } relu",
}


def text_of(body: str) -> str:
    return f"network T {{ {body} }}"


@pytest.mark.parametrize("name", list(NETWORKS))
def test_network(name: str) -> None:
    check(text_of(NETWORKS[name]))


# --- wrong plans ---------------------------------------------------------------------------------


Patch = Callable[[pytest.MonkeyPatch], None]


def shorter_lives(patch: pytest.MonkeyPatch) -> None:
    right = planning._lifetimes

    def wrong(*arguments: Any) -> dict[str, tuple[int, int]]:
        return {name: (first, max(first, last - 1)) for name, (first, last) in right(*arguments).items()}

    patch.setattr(planning, "_lifetimes", wrong)


def later_births(patch: pytest.MonkeyPatch) -> None:
    right = planning._lifetimes

    def wrong(*arguments: Any) -> dict[str, tuple[int, int]]:
        return {name: (min(first + 1, last), last) for name, (first, last) in right(*arguments).items()}

    patch.setattr(planning, "_lifetimes", wrong)


def forgotten_residuals(patch: pytest.MonkeyPatch) -> None:
    right = planning._lifetimes

    def wrong(groups: Groups, *arguments: Any) -> dict[str, tuple[int, int]]:
        without = tuple(replace(group, residual=None) for group in groups.groups)
        return right(replace(groups, groups=without), *arguments)

    patch.setattr(planning, "_lifetimes", wrong)


def no_offsets(patch: pytest.MonkeyPatch) -> None:
    right = planning._Operands.at

    def wrong(self: Any, storage: planning.Storage, *arguments: Any) -> Any:
        return right(self, replace(storage, offset=0), *arguments)

    patch.setattr(planning._Operands, "at", wrong)


def dense_strides(patch: pytest.MonkeyPatch) -> None:
    right = planning._Operands.at

    def wrong(self: Any, storage: planning.Storage, type_: Any) -> Any:
        return right(self, replace(storage, stride=type_.channels), type_)

    patch.setattr(planning._Operands, "at", wrong)


def always_dense(patch: pytest.MonkeyPatch) -> None:
    right = planning._Operands.__call__
    patch.setattr(planning._Operands, "__call__", lambda self, name: replace(right(self, name), dense=True))


def no_aliases(patch: pytest.MonkeyPatch) -> None:
    """Views whose memory ends with the value they show, not with their own last reader."""
    right = planning._lifetimes
    patch.setattr(planning, "_lifetimes", lambda groups, _, storage: right(groups, {}, storage))


def everything_at_the_start(patch: pytest.MonkeyPatch) -> None:
    right = planning._pack

    def wrong(*arguments: Any, **named: Any) -> Any:
        buffers, size = right(*arguments, **named)
        return tuple(b if b.offset is None else replace(b, offset=0) for b in buffers), size

    patch.setattr(planning, "_pack", wrong)


def outputs_in_slices(patch: pytest.MonkeyPatch) -> None:
    right = planning.place

    def wrong(groups: Groups, aliases: Any, *, keep: bool) -> Any:
        main = groups.graph.outputs[:1]
        return right(replace(groups, graph=replace(groups.graph, outputs=main)), aliases, keep=keep)

    patch.setattr(planning, "place", wrong)


def slices_of_others(patch: pytest.MonkeyPatch) -> None:
    """All arms of a concat at its first channel."""
    right = planning.place

    def wrong(*arguments: Any, **named: Any) -> Any:
        places = right(*arguments, **named)
        return replace(places, storage={name: replace(at, offset=0) for name, at in places.storage.items()})

    patch.setattr(planning, "place", wrong)


def rows_turned_round(patch: pytest.MonkeyPatch) -> None:
    """The results of one launch in the reverse order."""
    right = planning.place

    def wrong(groups: Groups, *arguments: Any, **named: Any) -> Any:
        places = right(groups, *arguments, **named)
        storage = dict(places.storage)
        for group in groups.groups:
            offset = storage[group.output.name].offset if group.siblings else 0
            for node in reversed(group.outputs) if group.siblings else ():
                storage[node.name] = replace(storage[node.name], offset=offset)
                offset += node.type.channels
        return replace(places, storage=storage)

    patch.setattr(planning, "place", wrong)


WRONG_MEMORY: list[Patch] = [
    shorter_lives, later_births, forgotten_residuals, no_aliases, everything_at_the_start, outputs_in_slices,
    slices_of_others,
]
WRONG: list[Patch] = [*WRONG_MEMORY, no_offsets, dense_strides, always_dense, rows_turned_round]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_plan_is_seen(wrong: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "verify", lambda plan: plan)
    wrong(monkeypatch)
    seen = []
    for name, body in NETWORKS.items():
        try:
            run(plan_of(text_of(body)))
        except (AssertionError, pytest.fail.Exception, RuntimeError, KeyError):
            seen.append(name)
    assert seen


@pytest.mark.parametrize("wrong", WRONG_MEMORY)
def test_wrong_memory_is_refused(wrong: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is run."""
    wrong(monkeypatch)
    seen = []
    for body in NETWORKS.values():
        try:
            plan_of(text_of(body))
        except AssertionError as error:
            seen.append(str(error))
    words = r"which is not there|writes over|beyond the arena|next pixel|is as many pixels"
    assert seen
    assert all(re.search(words, said) for said in seen)


# --- size ----------------------------------------------------------------------------------------


def needed(plan: Plan) -> int:
    """The values of one picture that are alive together at the busiest step, and so the least arena."""
    buffers = {b.name: b for b in plan.buffers}
    lives: dict[str, list[int]] = {}
    for number, step in enumerate(plan.steps):
        for launch in step.launches:
            for key, text in launch.arguments:
                name = text.partition("[")[0]
                if key.endswith("_ptr") and name in buffers and buffers[name].offset is not None:
                    lives.setdefault(name, []).append(number)
    steps = range(len(plan.steps))
    return max(sum(buffers[b].size for b, at in lives.items() if at[0] <= s <= at[-1]) for s in steps)


def test_a_chain_takes_two_buffers_at_a_time() -> None:
    plan = plan_of("network T { input x [16x16x8] repeat 9 { conv(8, 3, pad=1) -> relu } }")
    assert plan.arena == 2 * 16 * 16 * 8
    assert plan.arena == needed(plan)


@settings(max_examples=4 * settings.default.max_examples)
@given(networks())
def test_the_arena_is_about_as_small_as_can_be(example: Example) -> None:
    """Within what aligning costs, and a gap here and there."""
    plan = plan_of(example.text)
    inside = [b for b in plan.buffers if b.offset is not None]
    least = needed(plan) if inside else 0
    assert least <= plan.arena <= 1.1 * least + arena.ALIGNMENT * len(inside)


def test_kept_values_lie_apart() -> None:
    plan = plan_of(text_of(NETWORKS["an inception block"]), keep=True)
    ends = sorted((b.offset, b.offset + b.size) for b in plan.buffers if b.offset is not None)
    assert all(a[1] <= b[0] for a, b in pairwise(ends))


# --- offsets of 64 bits --------------------------------------------------------------------------


def wide_of(plan: Plan, number: int) -> bool:
    """Whether a launch asks for offsets of 64 bits."""
    (launch,) = plan.steps[number].launches
    return bool(dict(launch.constants)["INDEX64"])


SIDE = 2**14  # of pictures whose 8 channels need 64 bits, and whose 4 do not


def test_wide_where_one_picture_needs_it() -> None:
    plan = plan_of(f"network T {{ input x [{SIDE}x{SIDE}x4] conv(8, 1) conv(2, 1) relu -> relu }}")
    # Reads the input and writes the large buffer, reads it, reads small ones.
    assert [wide_of(plan, i) for i in range(3)] == [True, True, False]
    assert plan.max_batch == 1


def test_a_slice_reaches_as_far_as_its_buffer() -> None:
    plan = plan_of(f"""network T {{ input x [{SIDE}x{SIDE}x1] conv(1, 1)
        concat {{ {{ conv(2, 1) }} {{ conv(6, 3, pad=1) }} }} softmax -> conv(1, 1) -> conv(1, 1) }}""")
    assert [wide_of(plan, i) for i in range(6)] == [False, True, True, True, True, False]


def test_residuals_are_wide_too() -> None:
    plan = plan_of(f"""network T {{ input x [{SIDE}x{SIDE}x1] a: conv(4, 1) c: concat {{ {{}} {{ conv(4, 1) }} }} relu
        conv(4, 1) -> conv(4, 1) -> conv(4, 1) -> add(@a) output o {{ @c }} conv(1, 1) }}""")
    (number,) = (i for i, step in enumerate(plan.steps) if step.group.residual is not None)
    # The residual lies in a slice of 8 channels, the other operands in buffers of 4.
    assert wide_of(plan, number)
    assert not wide_of(plan, number - 1)


def test_batches_are_as_large_as_32_bits_allow() -> None:
    plan = plan_of("network T { input x [8x8x4] conv(16, 1) conv(2, 1) }")
    largest = 8 * 8 * 16
    assert plan.max_batch is not None
    assert plan.max_batch * largest <= MAX_OFFSET < (plan.max_batch + 16) * largest
    assert plan.max_batch % 16 == 0
    # The kernels' tiles reach beyond the last pixel before their masks end them: at most 2^17 rows of 1 value.
    tiles = [v for step in plan.steps for launch in step.launches for k, v in launch.constants if k.startswith("BLOCK")]
    assert 4 * max(tiles) ** 2 <= 2**31 - MAX_OFFSET
    # The input alone can be what is largest.
    assert plan_of("network T { input x [8x8x4] maxpool(8) }").max_batch == MAX_OFFSET // 256 // 16 * 16
    assert plan_of("network T { input x [4096x4096x16] maxpool(8) }").max_batch == 7
    # The interpreter's offsets are in 64 bits.
    assert plan_of("network T { input x [8x8x4] relu }", target="interpreter").max_batch is None


@pytest.mark.parametrize(("shape", "strides", "wide"), [
    ((2, 4, 8, 8), (2**31 - 256, 64, 8, 1), False),
    ((2, 4, 8, 8), (2**31 - 255, 64, 8, 1), True),
    ((2**20, 4, 8, 8), (0, 64, 8, 1), False),
    ((2**23, 4, 8, 8), (256, 64, 8, 1), False),
    ((2**23 + 1, 4, 8, 8), (256, 64, 8, 1), True),
    ((1, 4, 8, 8), (2**40, 64, 8, 1), False),
])
def test_wide_inputs(shape: tuple[int, ...], strides: tuple[int, ...], wide: bool) -> None:
    """The emitted function, on tensors without memory."""
    source = package(plan_of("network T { input x [8x8x4] relu }")).network
    function = re.search(r"^def is_wide.*?\n\n", source, flags=re.MULTILINE | re.DOTALL)
    assert function is not None
    space: dict[str, Any] = {}
    exec(function[0], space)
    assert space["is_wide"](torch.empty_strided(shape, strides, device="meta")) is wide


def test_large_batches_run_in_parts() -> None:
    """The emitted functions around `run`, on a `run` that notes what it is given."""
    for keep in (False, True):
        source = package(plan_of("network T { input x [8x8x4] input y [3] @x -> relu }", keep=keep)).network
        space: dict[str, Any] = {"torch": torch}
        functions = source[source.index("def forward"):source.index("def is_wide")]
        seen: list[tuple[int, int]] = []

        def run(inputs: Any, weights: Any, progress: Any, keep: bool = keep, seen: list[Any] = seen) -> Any:
            seen.append(tuple(len(x) for x in inputs))
            outputs = {"main": inputs[0] * weights}
            return (outputs, {"relu1": inputs[1]}) if keep else outputs

        space |= {"run": run, "MAX_BATCH": 4}
        exec(functions, space)
        x, y = torch.arange(9), torch.arange(9) + 100
        found = space["forward"]((x, y), 2)
        assert seen == [(4, 4), (4, 4), (1, 1)]
        outputs = found[0] if keep else found
        assert outputs["main"].tolist() == (2 * x).tolist()
        if keep:
            assert found[1]["relu1"].tolist() == y.tolist()
        seen.clear()
        space["forward"]((x[:4], y[:4]), 2)
        assert seen == [(4, 4)]
