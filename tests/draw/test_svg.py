"""Pictures as SVG text."""

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from picture_checks import EXAMPLES, drawn, graph_of

from cnndsl.draw.svg import svg
from cnndsl.draw.theme import DARK, FAMILIES, LIGHT
from cnndsl.errors import Source, Span
from cnndsl.ir import Graph

SVG = "{http://www.w3.org/2000/svg}"


def picture(path="vgg16_bn.cnn", **options):
    return drawn(graph_of(EXAMPLES / path), **options)[1]


def tree_of(text: str) -> ET.Element:
    return ET.fromstring(text)


def groups(tree: ET.Element, kind: str) -> list[ET.Element]:
    return [g for g in tree.iter(f"{SVG}g") if g.get("class") == kind]


def test_a_whole_file() -> None:
    scene = picture()
    text = svg(scene)
    tree = tree_of(text)
    assert text.startswith("<?xml")
    assert tree.tag == f"{SVG}svg"
    assert tree.get("viewBox") == f"0 0 {scene.width} {scene.height}"
    assert (tree.get("width"), tree.get("height")) == (str(scene.width), str(scene.height))
    assert tree.findtext(f"{SVG}title") == "VGG16BN"
    assert text == svg(picture())


@pytest.mark.parametrize("embed", [False, True])
def test_it_needs_nothing_and_runs_nothing(embed) -> None:
    """No scripts, handlers, fonts, pictures or styles from anywhere."""
    text = svg(picture(), embed=embed)
    tree = tree_of(text)
    assert {e.tag.removeprefix(SVG) for e in tree.iter()} == {"svg", "title", "style", "g", "rect", "text", "path"} | (
        set() if embed else {"desc"}
    )
    assert not any(name.startswith("on") or "href" in name for e in tree.iter() for name in e.attrib)
    assert "url(" not in text
    assert "@import" not in text
    assert text.count("http") == 1, "the name of the format alone"


def test_layers_can_be_found() -> None:
    tree = tree_of(svg(picture(), prefix="p-"))
    ids = [e.get("id") for e in tree.iter() if e.get("id") is not None]
    assert len(ids) == len(set(ids))
    (conv,) = (g for g in groups(tree, "node") if g.get("data-node") == "stage2.conv1")
    assert {name: value for name, value in conv.items() if name != "data-file"} == {
        "class": "node", "id": "p-node-stage2.conv1", "data-node": "stage2.conv1", "data-line": "8", "data-group": "3",
        "data-kind": "conv", "data-family": "conv", "data-state": "computed", "data-shape": "112x112x128",
    }  # fmt: skip
    assert conv.get("data-file").endswith("vgg.cnn")
    title = conv.findtext(f"{SVG}title")
    assert title.splitlines()[:3] == [
        "stage2.conv1: conv(128, 3x3, pad=1)", "[112x112x64] -> [112x112x128]", "73,856 parameters, 924,844,032 MACs",
    ]  # fmt: skip
    state = {g.get("data-node"): (g.get("data-state"), g.get("data-group")) for g in groups(tree, "node")}
    assert state["stage2.batchnorm1"] == ("folded", "3")
    assert state["image"] == ("computed", None)
    free = [name for name, (how, _) in state.items() if how == "free"]
    assert all(state[name][1] is None for name in free)
    assert len(free) == 2, "two dropouts"
    assert [g.get("data-output") for g in groups(tree, "output")] == ["main"]
    assert {g.get("data-path") for g in groups(tree, "frame")} == {f"stage{i}" for i in range(1, 6)}
    edges = [(g.get("data-from"), g.get("data-to")) for g in groups(tree, "edge")]
    assert ("stage1.maxpool1", "stage2.conv1") in edges
    assert edges[-1] == ("fc8", "main")


def test_boxes_hold_the_layers_of_their_kernel() -> None:
    tree = tree_of(svg(picture(), embed=True))
    for box in groups(tree, "box"):
        inside = {g.get("data-group") for g in box.iter(f"{SVG}g") if g.get("class") == "node"} - {None}
        assert inside == ({box.get("data-group")} - {None})
        assert (box.get("tabindex"), box.get("role")) == (("0", "button") if box.get("data-group") else (None, None))


def test_a_node_is_a_kernel_in_the_view_of_kernels() -> None:
    tree = tree_of(svg(picture(view="kernels")))
    (conv,) = (g for g in groups(tree, "node") if g.get("data-node") == "stage2.conv1")
    assert conv.get("data-nodes") == "stage2.conv1 stage2.batchnorm1 stage2.relu1"
    assert "stage2.batchnorm1: batchnorm" in conv.findtext(f"{SVG}title")
    assert [t.text for t in conv.iter(f"{SVG}text")] == ["conv(128, 3x3, pad=1)", "-> batchnorm -> relu", "conv1"]


def test_hostile_names_stay_text() -> None:
    """No language lets such names through; a picture must be safe whatever the graph."""
    evil = '"><script>alert(1)</script>&\x00\x1b]]>\ud800<!--'
    graph = graph_of(EXAMPLES / "lenet5.cnn")
    names = {node.name: f"{evil}.{i}{evil}" for i, node in enumerate(graph.nodes)}
    span = Span(Source(evil, evil), 0, 1)
    nodes = tuple(
        replace(node, name=names[node.name], inputs=tuple(names[i] for i in node.inputs), span=span)
        for node in graph.nodes
    )
    outputs = tuple((evil, names[name]) for _, name in graph.outputs)
    for embed in (False, True):
        text = svg(drawn(Graph(evil, nodes, outputs, ((evil, evil),)))[1], embed=embed, prefix='"<')
        assert not list(tree_of(text).iter(f"{SVG}script"))
        assert "<script" not in text
        assert "<!--" not in text
        assert text.encode()


def test_colours_have_a_variable_and_a_plain_value() -> None:
    """For programs that know no variables, each shape says its colour too."""
    text = svg(picture())
    tree = tree_of(text)
    style = tree.findtext(f"{SVG}style")
    for role in FAMILIES:
        assert f"rect.{role}{{fill:var(--net-{role},{LIGHT[role].fill})" in style
        assert f"rect.{role}{{fill:var(--net-{role},{DARK[role].fill})" in style.split("prefers-color-scheme:dark")[1]
    for rect in tree.iter(f"{SVG}rect"):
        assert rect.get("fill") == LIGHT[rect.get("class")].fill
    assert set(LIGHT) == set(DARK)
    assert [LIGHT[role].dashed for role in LIGHT] == [DARK[role].dashed for role in LIGHT]


def luminance(colour: str) -> float:
    """Of a colour in sRGB, as the contrast of WCAG 2 is defined."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "muted"])
def test_texts_can_be_read(theme, ink) -> None:
    """At least 4.5 to 1, what WCAG asks of texts of this size."""
    for role in (*FAMILIES, "page", "frame", "box", "input", "output"):
        dark, light = sorted(luminance(theme[r].fill) for r in (ink, role))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, role


def test_corners_are_round() -> None:
    tree = tree_of(svg(picture()))
    bent = [p.get("d") for p in tree.iter(f"{SVG}path") if "Q" in p.get("d")]
    assert bent
    for d in bent:
        points = [tuple(map(float, pair.split())) for pair in re.findall(r"[\d.]+ [\d.]+", d)]
        assert all(a != b for a, b in pairwise(points))
