"""Concats lie where their arms are written: in the examples nothing is copied, however deep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stages import EXAMPLES, example, groups_of, launches, plan_of

from cnndsl.ops.joins import Concat
from cnndsl.passes.plan import plan
from cnndsl.targets import get

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.cnn") if "network " in path.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_no_example_copies(name: str) -> None:
    planned = plan(example(name), target=get("sm_90"), dtype="fp16")
    assert [step.group.title for step in planned.steps if isinstance(step.group.anchor.op, Concat)] == []
    # What would be one: an arm that two concats hold, neither of them the other's.
    wrong = plan_of("input x [4x4x8] a: relu b: tanh concat(@a) output o { dense(2) } @a silu concat(@a) dense(2)")
    assert launches(wrong).count("copy_kernel") == 1


def test_densenet_grows_one_buffer_in_each_stage() -> None:
    groups = example("densenet121")
    planned = plan(groups, target=get("sm_90"), dtype="fp16")
    concats = [group.anchor for group in groups.groups if isinstance(group.anchor.op, Concat)]
    assert len(concats) == 6 + 12 + 24 + 16
    stages: dict[str, list[int]] = {}
    for node in concats:
        before, grown = (planned.storage[name] for name in node.inputs)
        here = planned.storage[node.name]
        # What there was stays where it is, and what is new lies behind it.
        assert before == here
        assert (grown.buffer, grown.stride, grown.offset) == (here.buffer, here.stride, node.type.channels - 32)
        stages.setdefault(here.buffer, []).append(grown.offset)
    assert list(stages.values()) == [
        [start + 32 * i for i in range(count)] for start, count in ((64, 6), (128, 12), (256, 24), (512, 16))
    ]


@given(st.integers(2, 6), st.booleans())
def test_a_growing_tensor_as_exporters_write_it(layers: int, front: bool) -> None:
    """Each concat lists all that there is, the new at the end or at the front."""
    lines, names = ["input x [4x4x3] c0: conv(8, 1)"], ["c0"]
    for i in range(1, layers):
        lines.append(f"c{i}: conv({i}, 3, pad=1)")
        names = [f"c{i}", *names] if front else [*names, f"c{i}"]
        lines.append(f"@{names[0]} k{i}: concat({', '.join(f'@{name}' for name in names[1:])})")
    planned = plan_of(" ".join([*lines, "batchnorm relu dense(2)"]))
    assert "copy_kernel" not in launches(planned)
    assert len({planned.storage[f"k{i}"].buffer for i in range(1, layers)}) == 1
    found = [planned.graph.by_name[f"k{i}"].inputs for i in range(2, layers)]
    assert found == [(f"c{i}", f"k{i - 1}") if front else (f"k{i - 1}", f"c{i}") for i in range(2, layers)]


@pytest.mark.parametrize(("body", "arms"), [
    ("a: relu b: tanh c: silu @a k: concat(@b, @c) @a l: concat(@b)", {"k": "a b c", "l": "a b"}),
    ("a: relu b: tanh c: silu @a k: concat(@b) @a l: concat(@b, @c) ", {"k": "a b", "l": "k c"}),
    ("a: relu b: tanh c: silu @a k: concat(@b) @c l: concat(@a, @b, @a, @b, @b)", {"k": "a b", "l": "c k k b"}),
    ("a: relu b: tanh c: silu @a k: concat(@b) @b l: concat(@a, @c)", {"k": "a b", "l": "b a c"}),
    ("a: relu b: tanh c: silu @a j: concat(@b) @a k: concat(@b, @c) @a l: concat(@b, @c, @c)",
     {"j": "a b", "k": "j c", "l": "k c"}),
    ("a: relu b: tanh c: silu @a j: concat(@b) @j k: concat(@c) @a l: concat(@b, @c, @c)",
     {"j": "a b", "k": "j c", "l": "k c"}),
    ("a: relu b: tanh j: concat(@a) c: silu @a k: concat(@b) l: concat(@c)", {"j": "b a", "k": "a b", "l": "k c"}),
    ("a: relu b: tanh k: concat(@a) c: silu @b l: concat(@a) m: mul(@c)", {"k": "b a", "m": "k c"}),
])
def test_shared_arms(body: str, arms: dict[str, str]) -> None:
    outputs = " ".join(f"output o{name} {{ @{name} dense(2) }}" for name in "jklm" if f"{name}: " in body)
    graph = groups_of(f"input x [4x4x8] {body} {outputs} @x").graph
    found = {node.name: " ".join(node.inputs) for node in graph.nodes if node.op is not None and node.op.joins}
    assert found == arms
