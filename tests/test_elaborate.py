"""From syntax tree to graph: names, expansion, references, values; and which mistakes are told, and which not."""

from pathlib import Path
from typing import Any

import pytest

from cnndsl.errors import MAX_ERRORS, CnnError, Diagnostic
from cnndsl.files import choose_network, load_path, load_text, split_network
from cnndsl.ir import Graph
from cnndsl.passes.elaborate import elaborate


def graph_of(text: str, network: str | None = None, **settings: Any) -> Graph:
    program = load_text(text, name="t.cnn")
    return elaborate(program, choose_network(program, network), settings)


def net(*lines: str, head: str = "network A", shape: str = "8x8x3") -> str:
    return "\n".join([f"{head} {{", f"    input x [{shape}]", *(f"    {line}" for line in lines), "}", ""])


def mistakes(text: str, **settings: Any) -> list[Diagnostic]:
    with pytest.raises(CnnError) as caught:
        graph_of(text, **settings)
    return list(caught.value.diagnostics)


def codes(text: str, **settings: Any) -> list[str]:
    return [d.code for d in mistakes(text, **settings)]


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes]


def reads(graph: Graph, name: str) -> tuple[str, ...]:
    return graph.by_name[name].inputs


# --- names -----------------------------------------------------------------------------------------


def test_names_are_paths() -> None:
    block = "block b(n) { conv(n, 3x3, pad=1) -> act: relu }\n"
    body = [
        "conv(4, 1x1) -> relu -> conv(4, 1x1)",
        "b(4)",
        "stem: b(4)",
        "g: { relu -> h: { relu } }",
        "repeat 2 { relu }",
        "repeat 2 { c: relu }",
        "r: repeat 2 { tanh }",
        "s: repeat 2 { tanh -> relu }",
        "t: repeat 2 { b(4) }",
        "0: relu",
        "if true { relu }",
        "add { { conv(4, 1x1) } d: { conv(4, 1x1) } }",
        "output aux { dense(2) }",
    ]
    assert names(graph_of(block + net(*body))) == [
        "x",
        "conv1", "relu1", "conv2",
        "b1.conv1", "b1.act",
        "stem.conv1", "stem.act",
        "g.relu1", "g.h.relu1",
        "relu2", "relu3",
        "c.0", "c.1",
        "r.0", "r.1",
        "s.0.tanh1", "s.0.relu1", "s.1.tanh1", "s.1.relu1",
        "t.0.conv1", "t.0.act", "t.1.conv1", "t.1.act",
        "0",
        "relu4",
        "conv3", "d.conv1", "add1",
        "aux.dense1",
    ]


def test_automatic_names_go_round_labels() -> None:
    assert names(graph_of(net("relu", "relu2: tanh", "relu", "relu1x: relu"))) == [
        "x", "relu1", "relu2", "relu3", "relu1x",
    ]


def test_quoted_labels_are_keywords_and_names_with_hyphens() -> None:
    body = [
        '"block": relu',
        '"a-b": { tanh }',
        'add { { } "d-1": { relu } }',
        "add(@block, @a-b)->relu",
        "@d-1 -> relu",
    ]
    graph = graph_of(net(*body))
    assert names(graph) == ["x", "block", "a-b.tanh1", "d-1.relu1", "add1", "add2", "relu1", "relu2"]
    assert [reads(graph, n) for n in ("add2", "relu1", "relu2")] == [
        ("add1", "block", "a-b.tanh1"), ("add2",), ("d-1.relu1",),
    ]


def test_labels_that_end_in_a_hyphen_are_counted() -> None:
    body = [
        '"b-": relu',
        'repeat 2 { "b-": { tanh } }',
        '"b-5": relu',
        'repeat 3 { "b-": relu }',
        'g: { "b-": relu }',
        '"r-": repeat 2 { tanh }',
        "add(@b-0, @b-1, @b-1.tanh1, @b-, @r-, @r-0.0)",
        "@b- -> relu",
    ]
    graph = graph_of(net(*body))
    assert names(graph) == [
        "x", "b-0", "b-1.tanh1", "b-2.tanh1", "b-5", "b-3", "b-4", "b-6", "g.b-0", "r-0.0", "r-0.1", "add1", "relu1",
    ]
    assert reads(graph, "add1") == ("r-0.1", "b-0", "b-1.tanh1", "b-1.tanh1", "b-6", "r-0.1", "r-0.0")
    assert reads(graph, "relu1") == ("b-6",)


def test_references() -> None:
    block = "block b { inner: relu }\n"
    graph = graph_of(
        block
        + net(
            "a: relu", "g: { h: tanh }", "b", "s: b", "repeat 2 { r: relu }", "q: repeat 2 { tanh }",
            "add(@a, @g, @g.h, @b1.inner, @s.inner, @r.0, @r.1, @r, @q.0, @x)",
            "@a", "mul { { } { relu } }", "concat(@a, @add1)",
        )
    )
    assert reads(graph, "add1") == (
        "q.1", "a", "g.h", "g.h", "b1.inner", "s.inner", "r.0", "r.1", "r.1", "q.0", "x",
    )
    assert reads(graph, "mul1") == ("a", "relu1")
    assert reads(graph, "concat1") == ("mul1", "a", "add1")


def test_outputs_and_inputs() -> None:
    graph = graph_of(net("relu", "output aux { dense(2) }", "input y [4]", "dense(3)"))
    assert graph.outputs == (("main", "dense1"), ("aux", "aux.dense1"))
    assert [node.name for node in graph.inputs] == ["x", "y"]
    assert reads(graph, "dense1") == ("y",)
    assert graph.outputs[0] == graph_of(net("output a { relu }", "dense(3)")).outputs[0]


def test_every_node_knows_its_place_and_its_calls() -> None:
    graph = graph_of("block b { relu }\nblock c { b }\n" + net("c", "dense(1)"))
    node = graph.by_name["c1.b1.relu1"]
    assert node.span.text == "relu"
    assert [call.text for call in node.calls] == ["c", "b"]
    assert graph.by_name["dense1"].calls == ()


# --- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", 14), ("(2 + 3) * 4", 20), ("7 // 2", 3), ("7 % 4", 3), ("-(-5)", 5), ("10 - 2 - 3", 5),
        ("2 * n", 6), ("in.channels", 3), ("in.height * in.width", 64), ("in.features", 192), ("+4", 4),
    ],
)
def test_whole_numbers(expression: str, value: int) -> None:
    graph = graph_of(net(f"dense({expression})", head="network A(n = 3)"))
    assert graph.by_name["dense1"].type.shape == (value,)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("1 < 2", True), ("2 <= 1", False), ("1 != 1", False), ('"a" == "a"', True), ("(1, 2) == 1x2", True),
        ("true == 1", False), ("not true or true", True), ("not (true or true)", False),
        ("false and 1 // 0 == 1", False),
        ("true or 1 // 0 == 1", True), ("1.5 > 1", True), ("n == 3 and in.channels == 3", True),
        ("1 == 1.0", True),
    ],
)
def test_conditions(condition: str, holds: bool) -> None:
    graph = graph_of(net(f"if {condition} {{ relu }} else {{ tanh }}", head="network A(n = 3)"))
    assert names(graph)[-1] == ("relu1" if holds else "tanh1")


def test_else_if() -> None:
    text = net("if n == 1 { relu } else if n == 2 { tanh } else { gelu }", "dense(1)", head="network A(n)")
    assert [names(graph_of(text, n=n))[1] for n in (1, 2, 3)] == ["relu1", "tanh1", "gelu1"]


def test_parameters_and_settings() -> None:
    text = "block b(n, m = 2 * n, k = in.channels) { dense(n) dense(m) dense(k) }\n"
    text += net("b(classes)", "b(5, k=7)", head="network A(classes = 10, twice = 2 * classes)")
    types = [node.type.channels for node in graph_of(text).nodes]
    assert types == [3, 10, 20, 3, 5, 10, 7]
    graph = graph_of(text, classes=4)
    assert [node.type.channels for node in graph.nodes][1:3] == [4, 8]
    assert graph.settings == (("classes", 4), ("twice", 8))
    assert codes(text, clases=4) == ["E0219"]
    assert codes(text, classes="four") == ["E0212", "E0205", "E0212"]


def test_words_pass_through_blocks() -> None:
    graph = graph_of("block b(pad = same) { conv(4, 3x3, pad=pad) }\n" + net("b", "b(0)", "b(pad=same)"))
    assert [node.type.height for node in graph.nodes] == [8, 8, 6, 6]


def test_choosing_a_network(tmp_path: Path) -> None:
    text = "network A { input x [3] }\nnetwork B { input y [3] }\n"
    assert graph_of(text, "B").name == "B"
    for wanted, code in ((None, "E0213"), ("C", "E0213")):
        with pytest.raises(CnnError) as caught:
            graph_of(text, wanted)
        assert [d.code for d in caught.value.diagnostics] == [code]
    assert split_network("a.cnn:B") == ("a.cnn", "B")
    assert split_network("a.cnn") == ("a.cnn", None)
    assert split_network("c:/a.cnn") == ("c:/a.cnn", None)
    strange = tmp_path / "a:B"
    strange.write_text(text, encoding="utf-8")
    assert split_network(str(strange)) == (str(strange), None)


def test_use_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.cnn").write_text(
        'use "b.cnn"\nuse "../lib/b.cnn"\nblock a { b }\n', encoding="utf-8"
    )
    (tmp_path / "lib" / "b.cnn").write_text("block b { relu }\nnetwork Other { }\n", encoding="utf-8")
    (tmp_path / "main.cnn").write_text('use "lib/a.cnn"\n' + net("a", "b"), encoding="utf-8")
    program = load_path(tmp_path / "main.cnn")
    assert list(program.networks) == ["A"]
    assert names(elaborate(program, choose_network(program, None))) == ["x", "a1.b1.relu1", "b1.relu1"]


# --- one mistake is one error --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        ["conv(4, 9x9)", "a: maxpool(2x2)", "add(@a)", "dense(in.channels)", "[7]", "relu"],
        ["rleu", "conv(4, 3x3)", "add(@conv1)", "maxpool(2x2) [9x9x9]"],
        ["cnov(4, 3x3)", "conv(4, 3x3)", "add(@conv2)"],
        ["l: rleu", "add(@l)", "add(@l.x)"],
        ["if nothing { l: relu }", "add(@l)", "conv(4, 3x3) [1x1x1]"],
        ["repeat nothing { l: relu }", "add(@l)", "add(@l.0)", "conv(4, 3x3) [1x1x1]"],
        ["r: repeat 3 { conv(4, 9x9) }", "add(@r.2)"],
        ["repeat 5 { conv(4, 3x3) }", "relu [1x1x1]"],
        ["a: conv(4, 3x3, padding=1)", "add(@a)", "dense(in.height)"],
        ["g: { conv(4, 9x9) -> h: relu }", "add(@g.h)", "add(@g)"],
        ["g: { h: { rleu } }", "add(@g.h)", "add(@g)"],
        ["add { { conv(4, 3x3, groups=2) } { a: relu } }", "concat(@a)", "relu [8x8x4]"],
        ["conv(4, 3x3) [8x8x4]", "maxpool(2x2) [4x4x4]", "conv(8, 4x4) [1x1x8]", "relu [1x1x8]"],
        ["conv(4, 3x3) [5x5x4]", "maxpool(2x2) [3x3x4]"],
        ["conv(4, 5x5) [8x8x4]", "conv(4, 7x7) [2x2x4]"],
        ["conv(4, 3x3", "a: relu", "add(@a)"],
    ],
    ids=lambda body: body[0],
)
def test_no_cascade(body: list[str]) -> None:
    assert len(codes(net(*body))) == 1


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (["rleu", "dense(4)", "conv(3, 3x3)"], ["E0201", "E0305"]),
        (["conv(4, 9x9) [8x8x4]", "conv(4, 3x3, groups=3)"], ["E0304", "E0302"]),
        (["conv(4, 3x3) [8x8x4]", "maxpool(2x2) [5x5x4]"], ["E0301", "E0301"]),
        (["conv(4, 3x3) [8x8x4]", "relu [6x6x4]", "relu [7x7x4]"], ["E0301", "E0301"]),
        (['conv("a", 3x3, padding=1)'], ["E0205", "E0202"]),
        (["conv(0, 3x3, stride=0, pad=-1)"], ["E0206", "E0206", "E0206"]),
    ],
)
def test_every_mistake_is_told(body: list[str], found: list[str]) -> None:
    assert codes(net(*body)) == found


def test_names_are_checked_everywhere() -> None:
    text = "block never(n) { rleu(nn) if n > 1 { conv(3, 3x3, padding=1) } }\n"
    text += net("if false { dense(clases) add(a) dense(in.size) }", "repeat 0 { cnov }", "dense(1)")
    assert codes(text) == ["E0201", "E0202", "E0208", "E0205", "E0208", "E0201"]


def test_other_networks_do_not_count() -> None:
    text = "network B { rleu }\n" + net("relu")
    assert names(graph_of(text, "A")) == ["x", "relu1"]


def test_a_mistake_in_a_block_is_told_once_with_a_call() -> None:
    (d,) = mistakes("block b(n) { conv(n, 9x9) }\n" + net("b(1)", "repeat 3 { b(2) }", "s: b(3)"))
    assert d.span is not None
    assert d.span.text == "conv(n, 9x9)"
    assert [label.text for label in d.labels] == ["is [8x8x3]", "in this call of b: n = 1"]


def test_a_shape_is_blamed_on_the_layer_that_made_it() -> None:
    (d,) = mistakes(net("conv(4, 3x3) -> batchnorm -> relu -> dropout [8x8x4]"))
    assert [(label.span.text, label.text) for label in d.labels] == [("conv", "makes [6x6x4]"), ("x", "is [8x8x3]")]
    assert d.notes == ("height and width: floor((8 + 0 - 3) / 1) + 1 = 6",)
    assert d.help == ("pad=1 in `conv1` or an input of [10x10x3] would make it [8x8x4]",)


@pytest.mark.parametrize(
    ("layer", "shape", "change"),
    [
        ("conv(4, 3x3)", "[8x8x4]", "pad=1"),
        ("conv(4, 3x3, pad=1)", "[4x4x4]", "stride=2"),
        ("conv(4, 3x3, pad=1)", "[8x8x16]", "filters=16"),
        ("maxpool(3x3, stride=2)", "[4x4x3]", "pad=1"),
        ("avgpool(3x3, stride=3)", "[3x3x3]", "pad=1"),
        ("maxpool(3x3, stride=2, ceil=true)", "[3x3x3]", "ceil=false"),
        ("adaptiveavgpool(2x2)", "[4x4x3]", "size=4x4"),
        ("dense(4)", "[5]", "units=5"),
    ],
)
def test_changes_that_would_help(layer: str, shape: str, change: str) -> None:
    """What is suggested is true: with it, the assertion holds."""
    (d,) = mistakes(net(f"{layer} {shape}"))
    assert d.help[0].startswith(f"{change} in ")
    name, _, value = change.partition("=")
    if name in layer:
        changed = layer.replace("ceil=true", change)
    elif name in {"filters", "units", "size"}:
        changed = layer.replace("(4", f"({value}").replace("(2x2", f"({value}")
    else:
        changed = layer.replace(")", f", {change})")
    assert names(graph_of(net(f"{changed} {shape}")))


def test_no_change_is_suggested_where_none_helps() -> None:
    (d,) = mistakes(net("conv(4, 3x3) [100x3x7]"))
    assert d.help == ()


def test_too_many_mistakes_stop() -> None:
    assert len(codes(net(*[f"l{i}: rleu" for i in range(300)]))) == MAX_ERRORS


def test_limits() -> None:
    assert codes(net("repeat 201 { repeat 100 { relu } }")) == ["E0218"]
    assert codes(net("repeat 100000 { if true { } }")) == ["E0218"]
    assert codes(net("relu", shape="100000x100000x100")) == ["E0218"]
    assert codes(net("dense(2000000000)", shape="100000")) == ["E0218"]
    chain = "block b0 { relu }\n" + "".join(f"block b{n} {{ b{n - 1} }}\n" for n in range(1, 80))
    assert codes(chain + net("b79")) == ["E0108"]
    assert names(graph_of(chain + net("b50")))[-1].endswith(".relu1")
    assert len(names(graph_of(net("repeat 190 { repeat 100 { relu } }")))) == 19_001


def test_automatic_names_behind_a_digit() -> None:
    program = load_text("network N { input x [4x4x3] relu6 -> relu6 -> relu }")
    graph = elaborate(program, choose_network(program, None))
    assert [node.name for node in graph.nodes] == ["x", "relu6_1", "relu6_2", "relu1"]
