"""What holds for every layer: printing, shapes, values, weights, cost, and how wrong arguments are met."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import (
    Bad,
    Sample,
    bad_layers,
    differ,
    graph_of,
    network_text,
    node_of,
    op_of,
    oracles,
    random_inputs,
    random_weights,
    samples,
    strategies,
    torch_module,
    types_of,
    vector_layers,
)
from torch.utils.flop_counter import FlopCounterMode

from cnndsl.errors import CnnError
from cnndsl.ops import operations
from cnndsl.ops.base import Argument

EVERY = list(operations())
each_op = pytest.mark.parametrize("name", EVERY)
each_sample = pytest.mark.parametrize("sample", samples(), ids=str)


def test_every_layer_is_covered() -> None:
    """A new layer needs samples, an oracle and a strategy before anything else is asked of it."""
    sampled = {op_of(node_of(s.layer, s.inputs)).name for s in samples()}
    assert (sampled, set(oracles()), set(strategies())) == (set(EVERY), set(EVERY), set(EVERY))
    mutated = {op_of(node_of(s.layer, s.inputs)).name for s in samples() if s.mutant is not None}
    assert mutated == set(EVERY)


@each_op
def test_the_manual_is_complete(name: str) -> None:
    op = operations()[name]
    assert op.__doc__
    assert op.family
    assert op.example.split("(")[0].split(" ")[0] == name
    assert all(argument.doc for argument in op.arguments())


@each_op
def test_its_example_elaborates(name: str) -> None:
    node = graph_of(f"network T {{ input x [56x56x64] {operations()[name].example} }}").nodes[-1]
    assert op_of(node).name == name


# --- what torch says -----------------------------------------------------------------------------


def check(sample: Sample) -> None:
    """Everything that a sample lets one compare with torch."""
    node = node_of(sample.layer, sample.inputs)
    op, types = op_of(node), types_of(sample.inputs)

    # Printed, it reads as itself. A join's references are not its arguments and are not printed.
    references = ", ".join(f"@x{i}" for i in range(1, len(types)))
    printed = f"{op}({references})" if op.joins else str(op)
    assert op_of(node_of(printed, sample.inputs)) == op

    xs, weights = random_inputs(sample.inputs), random_weights(op, types)
    module = torch_module(op, types, weights)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        expected = module(*xs)
    y = op.reference(xs, weights)
    assert y.shape == (2, *node.type.torch_shape)
    assert not differ(y, expected)

    named = [(key, tuple(value.shape)) for key, value in module.state_dict().items() if value.dim()]
    assert [(w.name, w.shape) for w in op.weights(*types)] == named
    learned = sum(p.numel() for p in module.parameters())
    assert sum(w.size for w in op.weights(*types) if w.learned) == learned
    # Two pictures, two operations for each multiply-accumulate.
    assert 2 * 2 * op.macs(types, node.type) == counter.get_total_flops()


@each_sample
def test_sample_agrees_with_torch(sample: Sample) -> None:
    check(sample)


@each_op
@given(data=st.data())
def test_random_layers_agree_with_torch(name: str, data: st.DataObject) -> None:
    check(data.draw(strategies()[name]))


@pytest.mark.parametrize("sample", [s for s in samples() if s.mutant is not None], ids=str)
def test_mutant_is_seen(sample: Sample) -> None:
    """The comparison above is sharp: a slightly different layer does not pass it."""
    op, types = op_of(node_of(sample.layer, sample.inputs)), types_of(sample.inputs)
    xs, weights = random_inputs(sample.inputs), random_weights(op, types)
    expected = torch_module(op, types, weights)(*xs)
    if isinstance(sample.mutant, str):
        wrong = op_of(node_of(sample.mutant, sample.inputs)).reference(xs, weights)
    else:
        assert sample.mutant is not None
        wrong = sample.mutant(xs)
    assert differ(wrong, expected)


@each_sample
def test_shape_needs_no_values(sample: Sample) -> None:
    """The reference runs on the meta device, where networks of any size are shaped without memory."""
    node = node_of(sample.layer, sample.inputs)
    op, types = op_of(node), types_of(sample.inputs)
    xs = [torch.empty((3, *t.torch_shape), device="meta") for t in types]
    weights = {w.name: torch.empty(w.shape, device="meta") for w in op.weights(*types)}
    assert op.reference(xs, weights).shape == (3, *node.type.torch_shape)


# --- wrong arguments -----------------------------------------------------------------------------


def refused(text: str) -> tuple[str, str]:
    """Code and underlined text of the one error that a text must give."""
    with pytest.raises(CnnError) as caught:
        graph_of(text)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.span is not None
    return diagnostic.code, diagnostic.span.text


@pytest.mark.parametrize("bad", bad_layers(), ids=lambda bad: bad.layer)
def test_refused(bad: Bad) -> None:
    assert refused(network_text(bad.layer, bad.inputs)) == (bad.code, bad.where)


MAP = (12, 12, 12)
VALUE = {"filters": "4", "kernel": "3", "units": "4", "size": "2", "groups": "2"}
"""A right value for each required argument."""


def call(name: str, *further: str, without: str | None = None) -> str:
    """A layer with its required arguments by name, and further ones."""
    required = [a for a in operations()[name].arguments() if a.required and a.name != without]
    words = [f"{a.name}={VALUE[a.name]}" for a in required]
    references = ["@x1"] if operations()[name].joins else []
    return f"{name}({', '.join([*references, *words, *further])})"


def value_of(argument: Argument) -> str:
    """A right value for any argument."""
    return VALUE.get(argument.name, "true" if isinstance(argument.default, bool) else "1")


def text_of(layer: str) -> str:
    return network_text(layer, (MAP, MAP) if "@x1" in layer else (MAP,))


ARGUMENTS = [(name, argument) for name in EVERY for argument in operations()[name].arguments()]
REQUIRED = [(name, argument) for name, argument in ARGUMENTS if argument.required]


def word(value: Argument | str) -> str:
    """A layer's or an argument's name, for the names of tests."""
    return value if isinstance(value, str) else value.name


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS, ids=word)
@pytest.mark.parametrize("value", ['"three"', "(1, 2, 3)"])
def test_wrong_type(name: str, argument: Argument, value: str) -> None:
    layer = call(name, f"{argument.name}={value}", without=argument.name)
    assert refused(text_of(layer)) == ("E0205", value)


@each_op
def test_unknown_argument(name: str) -> None:
    assert refused(text_of(call(name, "colour=3"))) == ("E0202", "colour")


@each_op
def test_too_many_arguments(name: str) -> None:
    right = [value_of(argument) for argument in operations()[name].arguments()]
    references = ["@x1"] if operations()[name].joins else []
    layer = f"{name}({', '.join([*references, *right, '77'])})"
    assert refused(text_of(layer)) == ("E0207", "77")


@pytest.mark.parametrize(("name", "argument"), REQUIRED, ids=word)
def test_missing_argument(name: str, argument: Argument) -> None:
    layer = call(name, without=argument.name)
    assert refused(text_of(layer)) == ("E0203", layer)


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS, ids=word)
def test_repeated_argument(name: str, argument: Argument) -> None:
    words = (f"{argument.name}={value_of(argument)}",) * 2
    layer = call(name, *words, without=argument.name)
    text = text_of(layer)
    with pytest.raises(CnnError) as caught:
        graph_of(text)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "E0204"
    assert diagnostic.span is not None
    assert diagnostic.span.start == text.rindex(words[1])


@each_op
def test_vectors(name: str) -> None:
    """A layer takes a vector, as a torch module of its kind does, or says that it needs a map."""
    layer, vector = call(name), (12,)
    inputs = (vector, vector) if operations()[name].joins else (vector,)
    if name in vector_layers():
        check(Sample(layer.removesuffix("()"), inputs))
    else:
        assert refused(network_text(layer, inputs))[0] == "E0305"
