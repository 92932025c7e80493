"""From text to syntax tree: spans, precedence, the mending of slips; and the rendering of what is wrong."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fuzz import SOUP, mutated

from cnndsl import parser
from cnndsl import syntax as ast
from cnndsl.brackets import pair_brackets
from cnndsl.errors import (
    CnnError,
    Diagnostic,
    Label,
    Source,
    Span,
    did_you_mean,
    in_order,
    listed,
    render,
)
from cnndsl.mend import mend
from cnndsl.parser import _feed, parse, read
from cnndsl.tokens import lex

SAMPLE = """\
use "blocks.cnn"
block stage(n, channels = 2 * 8,) {
    one: conv(channels, 3x3, pad=same) -> relu  # a comment
}
network Net(classes = 10) {
    input image [32x32x3] (mean=(0.5, 0.5, 0.5))
    stem: { stage(2) }
    if classes > 5 and not false { tanh } else if true { relu } else { gelu }
    0: repeat 2 { add { { } skip: { relu -> relu } } [_x_x16] }
    "if": relu
    @stem
    output aux { dense(-1) }
    concat(@stem.one, @image)
}
"""


def body_of(text: str) -> tuple[ast.Item, ...]:
    return parse(f"network A {{ {text} }}", "t.cnn").definitions[0].body.items


def test_spans_are_the_text() -> None:
    file = parse(SAMPLE, "t.cnn")
    block, network = file.definitions
    assert [use.span.text for use in file.uses] == ['"blocks.cnn"']
    assert [p.span.text for p in block.parameters] == ["n", "channels"]
    assert [block.name_span.text, network.name_span.text] == ["stage", "Net"]
    one, relu = block.body.items
    assert isinstance(one, ast.Layer)
    assert (one.label and one.label.span.text, one.span.text) == ("one", "conv(channels, 3x3, pad=same)")
    assert [a.span.text for a in one.arguments] == ["channels", "3x3", "pad=same"]
    assert relu.span.text == "relu"
    shown = [item.span.text.split("\n")[0] for item in network.body.items]
    assert shown == [
        "input image [32x32x3] (mean=(0.5, 0.5, 0.5))",
        "stem: { stage(2) }",
        "if classes > 5 and not false { tanh } else if true { relu } else { gelu }",
        "0: repeat 2 { add { { } skip: { relu -> relu } } [_x_x16] }",
        "relu",
        "@stem",
        "output aux { dense(-1) }",
        "concat(@stem.one, @image)",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("1 - 2 - 3", "(1 - 2 - 3)"),
        ("(1 + 2) * 3", "((1 + 2) * 3)"),
        ("-a * b", "((-a) * b)"),
        ("not a == b and c or d", "(((not (a == b)) and c) or d)"),
        ("not not a", "(not not a)"),
        ("--a", "(+a)"),
        ("a < b + 1", "(a < (b + 1))"),
        ("1 // 2 % 3", "(1 // 2 % 3)"),
        ("in.channels", "in.channels"),
        ("3x4", "3x4"),
        ("3 \u00d7 _ x4", "3x_x4"),
        ("(1,)", "(1,)"),
        ("true", "true"),
        ('"a b"', '"a b"'),
        ("5e-4", "0.0005"),
    ],
)
def test_expressions(text: str, shown: str) -> None:
    (layer,) = body_of(f"x({text})")
    assert isinstance(layer, ast.Layer)
    (argument,) = layer.arguments
    assert show(argument.value) == shown
    if not isinstance(argument.value, ast.Tuple):
        assert argument.value.span.text == text


def show(expr: ast.Expr) -> str:
    """An expression with all its parentheses."""
    match expr:
        case ast.Literal(bool(value)):
            return str(value).lower()
        case ast.Literal(str(value)):
            return f'"{value}"'
        case ast.Literal(value):
            return str(value)
        case ast.Dims(values):
            return "x".join("_" if v is None else str(v) for v in values)
        case ast.Name(name):
            return name
        case ast.Field(owner, name):
            return f"{owner}.{name}"
        case ast.Tuple(items):
            return f"({', '.join(map(show, items))}{',' if len(items) == 1 else ''})"
        case ast.Unary(operator, operand):
            return f"({operator}{' ' if operator.startswith('n') else ''}{show(operand)})"
        case ast.Binary(first, rest):
            return f"({show(first)}{''.join(f' {o} {show(e)}' for o, e in rest)})"
    raise AssertionError(expr)


def test_arrows_and_lines_mean_the_same() -> None:
    def names(text: str) -> list[str]:
        return [item.name for item in body_of(text) if isinstance(item, ast.Layer)]

    assert names("a -> b -> c") == names("a\nb\nc") == names("a b c") == names("a ->\nb\n-> c") == ["a", "b", "c"]


# --- slips -----------------------------------------------------------------------------------------

FRAMES = st.sampled_from(["{}", "network A {{ input x [8x8x3]\n{} }}", "block b(n = 1) {{\n{}\n}}"])


def agree(text: str) -> None:
    """Lark and the walk that explains its refusals are of one mind."""
    source = Source("t.cnn", text)
    try:
        tokens, slips = lex(source)
    except CnnError:
        return
    tokens, brackets = pair_brackets(source, tokens)
    if any(error.code == "E0108" for error in brackets):
        return
    tree, _ = _feed(tokens)
    mended, errors, _ = mend(source, list(tokens), [])
    assert (tree is None) == bool(errors), "refused without a reason, or a reason without being refused"
    assert _feed(mended)[0] is not None, "what was mended is refused"
    if tree is not None:
        assert list(map(str, mended)) == list(map(str, tokens)), "a valid text was changed"
    if not slips and not brackets and tree is not None:
        # Numbers of too many digits, and strings that are no labels.
        rest = {(d.code, "is not a label" in d.message) for d in read(text, "t.cnn").errors}
        assert rest <= {("E0111", False), ("E0101", True)}


@settings(max_examples=200)
@given(st.lists(SOUP, max_size=40), FRAMES)
def test_walk_and_parser_agree_on_soup(tokens: list[str], frame: str) -> None:
    agree(frame.format(" ".join(tokens)))


@settings(max_examples=200)
@given(mutated())
def test_walk_and_parser_agree_on_mutated_files(text: str) -> None:
    agree(text)


def test_a_refused_text_is_never_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the walk be blind to something, there is an error all the same."""
    monkeypatch.setattr(parser, "mend", lambda source, tokens, errors: (tokens, [], True))
    (error,) = read("network A { input x [3] -> -> relu }", "t.cnn").errors
    assert (error.code, error.span and error.span.column) == ("E0106", 28)
    (error,) = read("network A", "t.cnn").errors
    assert error.message == "found the end of the text, which cannot stand here"


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("conv(8 3x3)", "conv(8, 3x3)"),
        ("conv(8, 3x3", "conv(8, 3x3)"),
        ("conv(8, 3x3))", "conv(8, 3x3)"),
        ("conv(8, 3x3]", "conv(8, 3x3)"),
        ("conv 8, 3x3)", "conv(8, 3x3)"),
        ("conv(8, (3, 3, pad=1)", "conv(8, (3, 3), pad=1)"),
        ("conv(filters: 8)", "conv(filters=8)"),
        ("conv(8, [3, 3])", "conv(8, (3, 3))"),
        ("a = relu", "a: relu"),
        ("relu; tanh", "relu tanh"),
        ("relu, tanh", "relu tanh"),
        ("relu -> -> tanh", "relu -> tanh"),
        ("relu => tanh", "relu -> tanh"),
        ("if a { relu -> }", "if a { relu }"),
        ("repaet 2 { relu }", "repeat 2 { relu }"),
        ("if a = 1 { relu }", "if a == 1 { relu }"),
        ("if a && !b { relu }", "if a and not b { relu }"),
        ("if a { relu } elif b { tanh }", "if a { relu } else if b { tanh }"),
        ("add(@ a)", "add(@a)"),
        ("add { { }, { } }", "add { { } { } }"),
        ("order('bgr')", 'order("bgr")'),
        ("relu // rest", "relu"),
        ("relu /* rest */ tanh", "relu tanh"),
        ("relu [?x?x3]", None),
        ("relu [_, ?, 3]", "relu [_, _, 3]"),
        ("conv(8, 3x3)\n] relu", "conv(8, 3x3) relu"),
        ("input x 8x8x3", "input x [8x8x3]"),
        ("input x (8, 8, 3)", "input x [8, 8, 3]"),
    ],
)
def test_mended(slip: str, meant: str | None) -> None:
    """A slip gives one error, and what was meant is read all the same; None where that is not known."""
    reading = read(f"network A {{\n    relu\n    {slip}\n    relu\n}}\n", "t.cnn")
    assert reading.errors
    if meant is None:
        return
    assert len({(d.span.start, d.span.end) for d in reading.errors if d.span}) == len(reading.errors)
    assert reading.file is not None, [d.code for d in reading.errors]
    right = parse(f"network A {{ relu {meant} relu }}", "t.cnn")
    assert shape_of(reading.file) == shape_of(right)


def shape_of(node: object) -> object:
    """A syntax tree without its places."""
    if isinstance(node, tuple):
        return tuple(map(shape_of, node))
    if hasattr(node, "__dataclass_fields__"):
        fields = {k: v for k, v in vars(node).items() if not isinstance(v, (Span, Source))}
        return (type(node).__name__, tuple((k, shape_of(v)) for k, v in fields.items()))
    return node


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("network A {\n  repeat 2 {\n    relu\n  dense(1)\n}\n", 2),
        ("network A {\n  a: {\n    relu\n    b: {\n      relu\n  }\n}\n", 4),
        ("block b {\n  relu\n\nnetwork A {\n  b\n}\n", 1),
        ("network A {\n  add {\n    { relu }\n    { relu\n  }\n  dense(1)\n}\n", 4),
    ],
)
def test_missing_brace_is_found_by_indentation(text: str, line: int) -> None:
    with pytest.raises(CnnError) as caught:
        parse(text, "t.cnn")
    (error,) = caught.value.diagnostics
    assert (error.code, error.span and error.span.line) == ("E0102", line)


def test_surplus_brace_is_found_by_indentation() -> None:
    text = "network A {\n  a: {\n    relu }\n    tanh\n  }\n  add {\n    { relu\n      relu }\n    { }\n  }\n}\n"
    with pytest.raises(CnnError) as caught:
        parse(text, "t.cnn")
    (error,) = caught.value.diagnostics
    assert (error.code, error.span and error.span.line) == ("E0102", 3)


def test_garbage_is_one_error() -> None:
    text = "import torch\n\nclass Net(torch.nn.Module):\n    x = {'a': [1, 2}\n\nnetwork A {\n    relu relu)\n}\n"
    with pytest.raises(CnnError) as caught:
        parse(text, "t.cnn")
    found = [(d.code, d.span.line) for d in caught.value.diagnostics if d.span is not None]
    assert found == [("E0114", 1), ("E0103", 7)]


# --- sources and rendering --------------------------------------------------------------------------


def test_positions() -> None:
    source = Source("t.cnn", "ab\n\ncd")
    assert [source.position(offset) for offset in range(7)] == [
        (1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2), (3, 3),
    ]
    assert [source.line(n) for n in (1, 2, 3)] == ["ab", "", "cd"]
    assert str(Span(source, 5, 6)) == "t.cnn:3:2"


def test_rendering() -> None:
    source = Source("t.cnn", "first\n\tsecond 入 x\n")
    other = Source("u.cnn", "third")
    d = Diagnostic(
        "E0304", "it is wrong", Span(source, 16, 17), "here",
        (Label(Span(source, 7, 13), "and here"), Label(Span(other, 0, 5), "made there")), ("a note",),
        ("a help",),
    )
    assert render([d]) == """\
error[E0304]: it is wrong
  --> t.cnn:2:11
   |
 2 |     second 入 x
   |               ^ here
   |     ------ and here
  ::: u.cnn:1:1
   |
 1 | third
   | ----- made there
   = note: a note
   = help: a help"""
    colored = render([d], color=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render([d])
    assert "\x1b[1;31merror[E0304]" in colored


def test_many_errors_are_cut() -> None:
    shown = render([Diagnostic("E0101", f"number {n}") for n in range(60)])
    assert shown.endswith("number 49\n\n... and 10 more")
    assert render([Diagnostic("E0101", "x")] * 100).endswith("... and more")


def test_control_characters_are_not_printed() -> None:
    d = Diagnostic(
        "E0101", "a\x1b[31mb", Span(Source("\x1b[2J.cnn", "\x1b[0mx\u202ey"), 0, 3), "\x07", (), ("\x9b",)
    )
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", render([d]))


def test_json() -> None:
    text = "network A {\n    input x [8x8x3]\n    add { { conv(4, 3x3) } { } }\n}\n"
    from cnndsl.files import choose_network, load_text
    from cnndsl.passes.elaborate import elaborate

    program = load_text(text, name="t.cnn")
    with pytest.raises(CnnError) as caught:
        elaborate(program, choose_network(program, None))
    (d,) = caught.value.diagnostics

    def place(line: int, column: int, end: int) -> dict[str, object]:
        return {"file": "t.cnn", "line": line, "column": column, "end_line": line, "end_column": end}

    assert json.loads(json.dumps(d.to_json())) == {
        "code": "E0303",
        "severity": "error",
        "message": "add needs equal shapes, found [6x6x4] and [8x8x3]",
        **place(3, 5, 8),
        "label": "height and width: 6 against 8, channels: 4 against 3",
        "labels": [
            {**place(3, 13, 17), "text": "makes [6x6x4]"},
            {**place(3, 28, 31), "text": "this arm is empty: it passes [8x8x3] on"},
            {**place(2, 11, 12), "text": "is [8x8x3]"},
        ],
        "notes": [],
        "help": [],
    }
    assert Diagnostic("E0701", "m").to_json()["line"] is None


def test_order_of_errors() -> None:
    a, b = Source("a", "xxxx"), Source("b", "xxxx")
    one, two, three, bare = (
        Diagnostic("E0101", "", Span(b, 1, 2)), Diagnostic("E0101", "", Span(a, 3, 4)),
        Diagnostic("E0101", "", Span(a, 0, 1)), Diagnostic("E0701", ""),
    )
    assert in_order([one, two, three, bare], first=a) == (bare, three, two, one)
    assert in_order([one, two, three]) == (one, three, two)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("rleu", "relu"), ("MaxPool", "maxpool"), ("max_pool", "maxpool"), ("dens", "dense"), ("con", "conv"),
        ("batchnormalization", "batchnorm"), ("softmx", "softmax"), ("zzz", None), ("a", None), ("", None),
        ("relu", "relu"), ("x" * 1000, None), ("norm", None),
    ],
)
def test_did_you_mean(word: str, meant: str | None) -> None:
    assert did_you_mean(word, ["relu", "maxpool", "dense", "conv", "batchnorm", "softmax", "b"]) == meant


def test_listed() -> None:
    assert [listed(["a", "b", "c"][:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert listed([str(n) for n in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 4 more"


def test_an_error_can_be_pickled() -> None:
    import pickle

    error = CnnError((Diagnostic("E0101", "m", Span(Source("a", "b"), 0, 1)),))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
