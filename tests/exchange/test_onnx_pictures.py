"""How pictures become the inputs goes out with a network, and comes back with it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cnndsl.errors import Source, Span
from cnndsl.exchange.imported import imported
from cnndsl.exchange.onnx import pictures, read_onnx
from cnndsl.exchange.onnx.export import export_onnx, to_onnx
from cnndsl.exchange.write import write
from cnndsl.exchange.write.check import read_back
from cnndsl.exchange.write.words import input_text
from cnndsl.ir import Graph, InputSpec, Node, TensorType
from tests.exchange.onnx_graphs import model, node, saved

some = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

CAFFE = InputSpec(resize=(9, 8), crop=(4, 5), mean=(104.007, 116.669, 122.679), std=(0.5,), range=255, order="bgr")
HARD = InputSpec(resize=5, crop=(4, 5), mean=(0.1, 5e-324, -1.5e300), std=(1e22, 1.0, 7.0))
PLAIN = InputSpec()


def inputs_of(height: int, width: int, channels: int) -> st.SearchStrategy[InputSpec]:
    """All that the language lets one say of an input."""
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    size, side = (height, width), min(height, width)
    crops = [(None, None), (None, size), (size, size), (size, None), (side, size), (99, size), ((98, 99), size)]
    crops += [(side, height)] if height == width else []

    def each(number: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, ...] | None]:
        return st.one_of(st.none(), *(st.tuples(*[number] * n) for n in {1, channels}))

    return st.builds(
        lambda sizes, **others: InputSpec(*sizes, **others), st.sampled_from(crops), mean=each(numbers),
        std=each(numbers.filter(bool)), range=st.sampled_from([1, 255]), order=st.sampled_from(["rgb", "bgr"]),
        interpolation=st.sampled_from(["bilinear", "bicubic"]),
    )  # fmt: skip


@st.composite
def pairs(draw: st.DrawFn) -> tuple[tuple[int, int, int], InputSpec, InputSpec]:
    shape = draw(st.tuples(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3])))
    return shape, draw(inputs_of(*shape)), draw(inputs_of(*shape))


def graph_of(shape: tuple[int, ...], **specs: InputSpec) -> Graph:
    """A network whose inputs are joined."""
    nowhere = Span(Source("", ""), 0, 0)
    lines = [input_text(Node(n, None, (), TensorType(shape), nowhere, spec=s), n) for n, s in specs.items()]
    *others, _ = specs
    joined = [f"concat({', '.join(f'@{name}' for name in others)})"] if others else []
    return read_back("\n".join(["network Net {", *lines, *joined, "relu", "}"]))


@given(pairs())
@example(((4, 5, 3), CAFFE, PLAIN))
@example(((4, 5, 3), PLAIN, HARD))
@settings(some)
def test_the_round_trip(tmp_path: Path, made: tuple[tuple[int, int, int], InputSpec, InputSpec]) -> None:
    shape, one, two = made
    graph = graph_of(shape, one=one, two=two)
    assert [n.spec for n in graph.inputs] == [one, two]
    export_onnx(graph, {}, tmp_path / "net.onnx", force=True)
    found = read_onnx(tmp_path / "net.onnx")
    assert found.notes == ()
    assert {n.name: n.spec or PLAIN for n in write(found).graph.inputs} == {"one": one, "two": two}


def test_what_is_written() -> None:
    """Only what is not as by default, in numbers that any reader of JSON gets exactly."""
    made = to_onnx(graph_of((4, 5, 3), one=CAFFE, two=InputSpec(resize=5)), {})
    (prop,) = made.metadata_props
    assert prop.key == "cnndsl.inputs"
    assert json.loads(prop.value) == {
        "one": {"resize": [9, 8], "crop": [4, 5], "mean": [104.007, 116.669, 122.679], "std": [0.5], "range": 255,
                "order": "bgr"},
        "two": {"resize": 5},
    }  # fmt: skip
    assert not to_onnx(graph_of((4, 5, 3), one=PLAIN), {}).metadata_props


def with_text(text: str, folder: Path) -> Path:
    made = model([node("Relu", "x")], (3, 4, 5))
    onnx.helper.set_model_props(made, {"else": "{", pictures.KEY: text})
    return saved(made, folder)


BAD = {
    "": "its pictures is left out: it is no JSON",
    "{": "its pictures is left out: it is no JSON",
    "[" * 100_000: "it is no JSON",
    " " * 1_000_001: "it has more than 1,000,000 characters",
    json.dumps({str(number): {} for number in range(1001)}): "it is no JSON object of inputs, 1,000 at most",
    "[]": "it is no JSON object of inputs",
    '{"y": {"resize": 5}}': "pictures for input `y` is left out: there is no such input",
    '{"x": 1}': "pictures for input `x` is left out: it is no JSON object of options",
    '{"x": {"resize": 5, "gamma": 2, "a": 1}}': "unknown options `gamma` and `a`",
    '{"x": {"resize": "5"}}': "`resize` must be a size",
    '{"x": {"resize": 2.5}}': "`resize` must be a size",
    '{"x": {"resize": [5, 5, 5]}}': "`resize` must be a size",
    '{"x": {"resize": null}}': "`resize` must be a size",
    '{"x": {"crop": 4}}': "a crop of 4x4 does not make the input's 4x5",
    '{"x": {"crop": [4, 5], "resize": 3}}': "a crop of 4x5 does not fit when the shorter side is 3",
    '{"x": {"mean": [0.5, 0.5]}}': "`mean` has 2 numbers for 3 channels",
    '{"x": {"mean": [[1], {}, 2]}}': "`mean` must be a number",
    '{"x": {"mean": NaN}}': "`mean` must be finite",
    '{"x": {"mean": 1e999}}': "`mean` must be finite",
    f'{{"x": {{"mean": 1{"0" * 400}}}}}': "`mean` must be finite",
    f'{{"x": {{"resize": 1{"0" * 5000}}}}}': "`resize` must be a size",
    '{"x": {"mean": true}}': "`mean` must be a number",
    '{"x": {"std": 0}}': "`std` is divided by, so it cannot be 0",
    '{"x": {"range": 2}}': "`range` must be 1 or 255",
    '{"x": {"range": true}}': "`range` must be 1 or 255",
    '{"x": {"order": ["rgb"]}}': "`order` must be rgb or bgr",
    '{"x": {"order": "rbg"}}': "`order` must be rgb or bgr",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_damaged_is_left_out(tmp_path: Path, text: str) -> None:
    found = read_onnx(with_text(text, tmp_path))
    (note,) = found.notes
    assert note.startswith("what the file says of ")
    assert BAD[text] in note
    assert len(note) < 400
    (image,) = found.graph.inputs
    assert image.spec is None
    assert f"# {note[:60]}" in imported(found).text


def test_a_vector_is_no_picture(tmp_path: Path) -> None:
    made = model([node("Relu", "x")], (7,))
    onnx.helper.set_model_props(made, {pictures.KEY: '{"x": {"resize": 7}}'})
    (note,) = read_onnx(saved(made, tmp_path)).notes
    assert "a vector [7] is not made from a picture" in note


def test_an_input_of_another_shape(tmp_path: Path) -> None:
    """What is said holds for a shape: with another, it is left out."""
    made = model([node("Relu", "x")], (3, 4, 5))
    onnx.helper.set_model_props(made, {pictures.KEY: '{"x": {"resize": 8, "crop": [4, 5]}}'})
    path = saved(made, tmp_path)
    assert read_onnx(path).graph.inputs[0].spec == InputSpec(resize=8, crop=(4, 5))
    found = read_onnx(path, input_shapes={"x": (6, 6, 3)})
    assert found.graph.inputs[0].spec is None
    assert "does not make the input's 6x6" in found.notes[0]


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.just("bgr"))
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(st.text(max_size=2), scalars, max_size=2))
options = st.dictionaries(st.sampled_from(["resize", "crop", "mean", "std", "range", "order", "a\n"]), values)


@given(st.one_of(st.text(), st.dictionaries(st.sampled_from(["x", "y\n"]), st.one_of(options, values)).map(json.dumps)))
@settings(some)
def test_any_text_is_taken_or_left_out(tmp_path: Path, text: str) -> None:
    found = read_onnx(with_text(text, tmp_path))
    again = write(found).graph  # holds the text against the model
    assert again.inputs[0].spec in {found.graph.inputs[0].spec, PLAIN}
