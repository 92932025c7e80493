"""Which convolutions share a launch, where their results lie, and why others do not."""

from __future__ import annotations

from collections import Counter

import pytest
from alike import branches
from boundary_checks import check_costs, check_edges
from example_graphs import graph_of as example_graph
from hypothesis import given, settings
from stages import example, groups_of, launches, plan_of, titles
from tags import run

from cnndsl.ops.conv import Conv
from cnndsl.ops.fusion import Obstacle
from cnndsl.ops.joins import Concat
from cnndsl.passes import fuse as fusing
from cnndsl.passes.boundaries import boundaries, launches_of
from cnndsl.passes.fuse import Groups, fuse
from cnndsl.passes.merge import Merger, Row, reasons
from cnndsl.passes.plan import Plan, plan
from cnndsl.passes.simplify import simplify
from cnndsl.targets import get

START = "input x [6x6x8] i: conv(8, 3, pad=1) -> s: relu"
"""A tensor to read."""


@pytest.mark.parametrize(("body", "merged"), [
    # Two alike, of any window; three.
    ("concat { { a: conv(8, 1) } { maxpool(3, stride=1, pad=1) } { b: conv(8, 1) -> conv(4, 3, pad=1) } } lrn", "b|a"),
    ("concat { { a: conv(8, 3, pad=1) -> c: lrn } { b: conv(16, 3, pad=1) -> d: lrn } }", "a|b"),
    ("concat { { a: conv(8, 1) -> c: lrn } { b: conv(16, 1) -> d: lrn } { e: conv(8, 1) -> f: lrn } }", "a|b|e"),
    # Other windows, strides, pads, dilations, tensors; groups.
    ("concat { { a: conv(8, 1) } { maxpool(1) } { b: conv(8, 3, pad=1) } }", ""),
    ("concat { { a: conv(8, 1, stride=2) } { b: conv(8, 1) -> maxpool(2) } }", ""),
    ("concat { { a: conv(8, 3, pad=1) -> lrn } { b: conv(8, 3, pad=2) -> maxpool(3, stride=1) } }", ""),
    ("concat { { a: conv(8, 3, pad=1) -> lrn } { b: conv(8, 3, pad=2, dilation=2) -> lrn } }", ""),
    ("concat { { lrn -> a: conv(8, 1) } { b: conv(8, 1) } }", ""),
    ("concat { { a: conv(8, 1, groups=2) } { b: conv(8, 1, groups=2) } }", ""),
    ("concat { { a: conv(8, 3, pad=1, groups=8) } { b: conv(8, 3, pad=1, groups=8) } }", ""),
    # A bias, and a batch norm, that one has and the other not.
    ("concat { { a: conv(8, 1, bias=false) -> lrn } { b: conv(8, 1) -> lrn } }", "a|b"),
    ("concat { { a: conv(8, 1, bias=false) -> n: batchnorm -> lrn } { b: conv(8, 1, bias=false) -> lrn } }", "a n|b"),
    # Activated ones come first, and of two activations the first one.
    ("concat { { a: conv(8, 1) -> lrn } { b: conv(8, 1) -> r: relu -> lrn } }", "b r|a"),
    ("concat { { a: conv(8, 1) -> r: relu -> lrn } { b: conv(8, 1) -> t: tanh -> lrn } }", ""),
    ("concat { { a: conv(8, 1) -> r: relu -> lrn } { b: conv(8, 1) -> t: tanh -> lrn } { c: conv(8, 1) -> lrn } }",
     "a r|c"),
    ("concat { { a: conv(8, 1) -> r: relu6 -> lrn } { b: conv(8, 1) -> t: tanh -> lrn } "
     "{ c: conv(8, 1) -> q: tanh -> lrn } { d: conv(8, 1) -> u: relu6 -> lrn } }", "a r|d u, b t|c q"),
    ("concat { { a: conv(8, 1) -> r: elu(0.5) -> lrn } { b: conv(8, 1) -> t: elu -> lrn } }", ""),
    # An activation that several read is a layer of its own.
    ("b: conv(8, 1) r: relu t: add(@b) -> lrn @s a: conv(8, 1) u: relu add(@t)", "a u|b"),
    # What is not a multiple of eight wide lies last, and only one such.
    ("concat { { a: conv(5, 1) -> lrn } { b: conv(24, 1) -> lrn } }", "b|a"),
    ("concat { { a: conv(5, 1) -> lrn } { b: conv(24, 1) -> lrn } { c: conv(3, 1) -> lrn } }", "b|a"),
    ("concat { { a: conv(5, 1) -> lrn } { b: conv(3, 1) -> lrn } }", ""),
    ("concat { { a: conv(5, 1) -> r: relu -> lrn } { b: conv(24, 1) -> lrn } }", ""),
    # Outputs have memory of their own.
    ("output o { a: conv(8, 1) } b: conv(8, 1) -> lrn", ""),
    ("output o { a: conv(8, 1) -> r: relu } output p { b: conv(8, 1) -> lrn } c: conv(8, 1) -> lrn", "p.b|c"),
    # A dense layer reads all pixels, of which nothing may lie in between; where there is one, nothing does.
    ("output o { a: conv(8, 1) -> dense(3) } b: conv(8, 1) -> lrn", ""),
    ("globalavgpool -> g: relu output o { a: conv(8, 1) -> dense(3) } @g c: conv(8, 1) -> lrn", "o.a|c"),
])
def test_which_share_a_launch(body: str, merged: str) -> None:
    groups = groups_of(f"{START} {body}")
    rows = ["|".join(" ".join([one.anchor.name, *(n.name for n in one.anchor.folded), *(n.name for n in one.nodes[1:])])
                     for one in group.members) for group in groups.groups if group.siblings]  # fmt: skip
    assert ", ".join(rows) == merged


@pytest.mark.parametrize(("body", "kernels"), [
    # The projection is computed with the first layer, and the last one adds, whichever arm it is in.
    ("add { { a: conv(8, 1) -> r: relu b: conv(8, 3, pad=1) -> q: relu c: conv(16, 1) } { d: conv(16, 1) } } t: relu",
     ["a + r | d", "b + q", "c + add1 + t"]),
    ("add { { d: conv(16, 1) } { a: conv(8, 1) -> r: relu b: conv(8, 3, pad=1) -> q: relu c: conv(16, 1) } } t: relu",
     ["a + r | d", "b + q", "c + add1 + t"]),
    # With another stride it is not, and then it adds.
    ("add { { a: conv(8, 1) -> r: relu b: conv(8, 3, pad=1, stride=2) -> q: relu c: conv(16, 1) } "
     "{ d: conv(16, 1, stride=2) } } t: relu", ["a + r", "b + q", "c", "d + add1 + t"]),
    # A sum of two alike takes one kernel more than the two apart, of which one adds.
    ("add { { a: conv(8, 1) } { b: conv(8, 1) } } t: relu", ["a", "b + add1 + t"]),
    # A residual that comes before all of them is nobody else's to add.
    ("output o { e: conv(8, 1) -> f: lrn } add { { a: conv(8, 1) } { @i } }", ["o.e", "o.f", "a + add1"]),
    ("a: conv(8, 1) -> lrn -> c: softmax @s b: conv(8, 1) -> add(@c)", ["a", "lrn1", "c", "b + add1"]),
    # The other summand ends in an activation, has another reader or comes before the first of them.
    ("concat { { a: conv(8, 1) -> lrn } { c: conv(8, 3, pad=1) -> r: relu @s d: conv(8, 1) -> add(@r) } }",
     ["a", "lrn1", "c + r", "d + add1"]),
    ("c: conv(8, 3, pad=1) @s concat { { a: conv(8, 1) -> lrn } { d: conv(8, 1) -> add(@c) } { @c tanh } }",
     ["c", "a", "lrn1", "d + add1", "tanh1"]),
])  # fmt: skip
def test_who_adds(body: str, kernels: list[str]) -> None:
    found = titles(f"{START} {body}")
    assert [title for title in found if not title.startswith(("i + s", "i", "s", "concat"))] == kernels


def in_channels(planned: Plan, name: str) -> tuple[str, int, int]:
    """The buffer of a value, its first channel and the values from pixel to pixel."""
    at = planned.storage[name]
    return at.buffer, at.offset, at.stride


@pytest.mark.parametrize(("arms", "order", "width"), [
    # The first arm of a concat: what is beside it lies before it. Of the last one: behind.
    ("{ a: conv(8, 1) } { b: conv(16, 1) -> lrn } { c: conv(24, 1) -> lrn }", "b c | a lrn1 lrn2", 88),
    ("{ b: conv(16, 1) -> lrn } { c: conv(24, 1) -> lrn } { a: conv(8, 1) }", "lrn1 lrn2 a | b c", 88),
    # Arms side by side, and what lies beside them.
    ("{ a: conv(8, 1) } { b: conv(5, 1) } { tanh }", "a b tanh1", 21),
    ("{ tanh } { a: conv(5, 1) } { b: conv(7, 1) } { lrn }", "tanh1 a b lrn1", 28),
    ("{ a: conv(8, 1) } { b: conv(8, 1) } { c: conv(16, 1) -> lrn }", "c | a b lrn1", 48),
    # In the middle there is no room, nor beside channels behind which no vector begins.
    ("{ tanh } { a: conv(8, 1) } { b: conv(16, 1) -> lrn } { c: conv(16, 1) -> elu -> lrn }", "tanh1 a lrn1 lrn2", 48),
    ("{ tanh } { a: conv(8, 1) } { b: conv(16, 1) -> lrn } { c: conv(16, 1) -> lrn }", "tanh1 a lrn1 lrn2", 48),
    ("{ a: conv(8, 1) } { b: conv(12, 1) -> lrn }", "a lrn1", 20),
    ("{ b: conv(12, 1) -> lrn } { a: conv(8, 1) }", "lrn1 a", 20),
    ("{ b: conv(16, 1) -> lrn } { a: conv(12, 1) }", "lrn1 a", 28),
    ("{ a: conv(12, 1) } { b: conv(16, 1) -> lrn }", "b | a lrn1", 48),
    # In a concat within another, at its border and within.
    ("{ concat { { a: conv(8, 1) } { tanh } } } { b: conv(16, 1) -> lrn }", "b | a tanh1 lrn1", 48),
    ("{ b: conv(16, 1) -> lrn } { concat { { maxpool(1) } { concat { { tanh } { a: conv(8, 1) } } } } }",
     "lrn1 maxpool1 tanh1 a | b", 56),
    ("{ concat { { tanh } { a: conv(8, 1) } } } { b: conv(16, 1) -> lrn }", "tanh1 a lrn1", 32),
])
def test_where_results_lie(arms: str, order: str, width: int) -> None:
    """In the concat's buffer, with what lies beside the concat apart from it by a bar; nothing is ever copied."""
    planned = plan_of(f"{START} c1: concat {{ {arms} }} lrn")
    assert "copy_kernel" not in launches(planned)
    names = [name for name in order.split() if name != "|"]
    (buffer,) = {planned.storage[name].buffer for name in names}
    at = {name: planned.storage[name] for name in names}
    assert sorted(names, key=lambda name: at[name].offset) == names
    assert {place.stride for place in at.values()} == {width}
    concat = next(node.name for node in planned.graph.nodes if isinstance(node.op, Concat) and node.name == "c1")
    before = order.partition("|")[0].split() if "|" in order and not order.endswith(("b", "b c")) else []
    widths = {name: planned.graph.by_name[name].type.channels for name in names}
    assert in_channels(planned, concat) == (buffer, sum(widths[name] for name in before), width)
    offset = 0
    for name in names:
        assert at[name].offset == offset
        offset += widths[name]


def test_a_row_of_its_own_is_aligned() -> None:
    planned = plan_of(f"{START} concat {{ {{ a: conv(5, 1) -> lrn }} {{ b: conv(24, 1) -> lrn }} }}")
    assert in_channels(planned, "b")[1:] == (0, 32)
    assert in_channels(planned, "a")[1:] == (24, 32)


def test_a_long_row_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place of a launch is tried a few times, not with every beginning of the row."""
    asked = 0
    right = Merger.obstacle

    def counted(self: Merger, row: Row) -> Obstacle | None:
        nonlocal asked
        asked += 1
        return right(self, row)

    monkeypatch.setattr(Merger, "obstacle", counted)
    arms = 60
    body = f"input x [4x4x8] i: relu concat {{ {' '.join('{ @i conv(8, 1) -> relu }' for _ in range(arms))} }}"
    (_, row, _) = groups_of(body).groups
    assert len(row.members) == arms
    assert asked < 4 * arms


def test_nothing_lies_beside_an_output() -> None:
    planned = plan_of(f"{START} concat {{ {{ a: conv(8, 1) }} {{ b: conv(8, 1) -> lrn }} {{ c: conv(8, 1) -> lrn }} }}")
    assert [step.group.title for step in planned.steps if step.group.siblings] == ["b | c"]
    assert in_channels(planned, "concat1")[1:] == (0, 24)


def test_one_row_at_each_end() -> None:
    """Rows of two tensors, at both ends of a concat and twice at one."""
    text = """{start} t: tanh concat {{ {{ @s a: conv(8, 1) }} {{ @t b: conv(8, 1) }}
        {{ @s c: conv(8, 1) -> lrn }} {{ @t d: conv(8, 1) -> lrn }} {last} }} lrn"""
    both = plan_of(text.format(start=START, last=""))
    assert [step.group.title for step in both.steps if step.group.siblings] == ["c | a"]
    ends = plan_of(text.format(start=START, last="{ @t e: conv(8, 1) }"))
    assert [step.group.title for step in ends.steps if step.group.siblings] == ["c | a", "e | d"]
    assert [in_channels(ends, name)[1:] for name in ("c", "a", "concat1", "e", "d")] == [
        (0, 56), (8, 56), (8, 56), (40, 56), (48, 56),
    ]  # fmt: skip


def test_a_dense_layer_reads_a_concat_whole() -> None:
    body = "concat { { a: conv(8, 1) } { b: conv(8, 1) -> lrn } }"
    assert "b | a" in titles(f"{START} {body} lrn")
    assert "b | a" not in titles(f"{START} {body} dense(3)")
    assert "b | a" in titles(f"{START} globalavgpool {body} dense(3)")  # one pixel


# --- reasons -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "name", "kind", "reason"), [
    ("concat { { a: conv(8, 1) -> relu -> lrn } { b: conv(8, 1) -> tanh -> lrn } }", "b", "activation",
     "a ends in relu and b in tanh"),
    ("concat { { a: conv(8, 1) -> relu6 -> lrn } { b: conv(5, 1) -> lrn } { c: conv(3, 1) -> lrn } }", "c", "alignment",
     "behind the 5 channels of b, no pixel of c would begin with a vector of 8"),
    ("output o { c: conv(8, 1) } concat { { a: conv(8, 1) -> lrn } { b: conv(8, 1) -> lrn } }", "o.c", "output",
     "o.c is an output, which has memory of its own"),
    ("concat { { a: conv(8, 1) -> lrn } { c: conv(8, 3, pad=1) -> r: relu @s d: conv(8, 1) -> add(@r) } }", "d", "adds",
     "the kernel of d adds r, and no other could"),
    ("concat { { tanh } { a: conv(8, 1) } { b: conv(8, 1) -> lrn } } lrn", "b", "place",
     "a lies within concat1, where b cannot lie beside it"),
    ("concat { { a: conv(8, 1) } { b: conv(8, 1) -> lrn } }", "b", "memory",
     "nothing may lie beside concat1, an output"),
    ("concat { { a: conv(8, 1) } { b: conv(8, 1) -> lrn } } dense(3)", "b", "whole",
     "dense1 reads the pixels of concat1 side by side"),
    ("output o { a: conv(8, 1) -> dense(3) } b: conv(8, 1) -> lrn", "b", "whole",
     "o.dense1 reads the pixels of o.a side by side"),
    ("concat { { a: conv(8, 1) } { b: conv(12, 1) -> lrn } } lrn", "b", "alignment",
     "behind 12 channels, no pixel of concat1 would begin with a vector of 8"),
    ("concat { { b: conv(16, 1) -> lrn } { a: conv(12, 1) } } lrn", "a", "alignment",
     "behind the 28 channels of concat1, no pixel of b would begin with a vector of 8"),
])  # fmt: skip
def test_why_not(body: str, name: str, kind: str, reason: str) -> None:
    groups = groups_of(f"{START} {body}")
    found = reasons(groups)[name]
    assert (found.kind, found.reason) == (kind, reason)
    (boundary,) = (b for b in boundaries(groups) if b.tensor == "s" and b.consumer and b.consumer.anchor.name == name)
    assert boundary.reason.endswith(f"; {found.reason}")


# --- examples ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "before", "after"), [
    ("googlenet", 80, 62),
    ("googlenet_torchvision", 80, 62),
    ("resnet50", 55, 54),
    ("resnet50_v1", 55, 51),  # the stride is on the first 1x1: it and the projection read alike in all four stages
    ("resnet101", 106, 105),
    ("squeezenet1_0", 30, 30),
])
def test_examples(name: str, before: int, after: int) -> None:
    groups = example(name)
    apart = fusing.formed(simplify(example_graph(name)))
    assert len(launches(plan(apart, target=get("sm_90"), dtype="fp16"))) == before
    planned = plan(groups, target=get("sm_90"), dtype="fp16")
    assert len(launches(planned)) == after
    assert {"copy_kernel", "binary_kernel"}.isdisjoint(launches(planned))


@pytest.mark.parametrize("name", ["googlenet", "googlenet_torchvision"])
def test_inception_blocks_take_five_launches(name: str) -> None:
    groups = example(name)
    blocks = Counter[str]()
    for group, count in zip(groups.groups, launches_of(groups), strict=True):
        names = {layer.name.split(".")[0] for layer in group.computed}
        if count and any(word.startswith("inception") for word in names):
            (block,) = names
            blocks[block] += count
    assert blocks == dict.fromkeys(blocks, 5)
    assert len(blocks) == 9


# --- any network ---------------------------------------------------------------------------------


def check(groups: Groups) -> None:
    """What must hold for the rows of every network."""
    graph = groups.graph
    assert fuse(graph) == groups, "fused once more, the same"
    for group in groups.groups:
        for one in group.siblings:
            assert (one.inputs, one.residual, one.second, one.siblings) == (group.inputs, None, None, ())
            assert isinstance(one.anchor.op, Conv)
        kinds = [one.activation for one in group.members]
        assert kinds == sorted(kinds, key=lambda kind: kind == ("none", 0.0))
        assert len({*kinds, ("none", 0.0)}) <= 2
    apart = fusing.formed(graph)
    assert sum(launches_of(groups)) <= sum(launches_of(apart))
    once = Counter(node.name for group in apart.groups for node in group.nodes)
    assert Counter(node.name for group in groups.groups for node in group.computed) == once
    reasons(groups)  # there is one for each convolution that is alike and alone


def test_any_branches() -> None:
    """And that the strategy finds what it is made for."""
    seen = Counter[str]()

    @settings(max_examples=3 * settings.default.max_examples)
    @given(branches())
    def each(body: str) -> None:
        groups = groups_of(body)
        check(groups)
        check_edges(groups)
        check_costs(groups)
        planned = plan(groups, target=get("sm_90"), dtype="fp16")
        run(planned)
        run(plan(groups, target=get("sm_90"), dtype="fp16", keep=True))
        for step in planned.steps:
            if step.group.siblings:
                at, made = planned.storage[step.writes[0]], planned.written(step).channels
                seen["alone" if at.stride - made < 8 and at.offset == 0 else "in a concat"] += 1
                seen["mixed"] += len({one.activation for one in step.group.members}) > 1
                seen["three"] += len(step.group.siblings) > 1
        seen.update(obstacle.kind for obstacle in reasons(groups).values())
        order = [groups.graph.position[node.name] for group in groups.groups for node in group.computed]
        seen["moved"] += order != sorted(order)

    each()
    kinds = {"alone", "in a concat", "mixed", "three", "moved"}
    kinds |= {"activation", "alignment", "output", "adds", "memory", "place", "whole"}
    assert kinds <= {kind for kind, count in seen.items() if count > 1}, seen
