"""Pictures of all kinds of networks: what must hold of each, and that the checks see what is wrong."""

import pytest
from hypothesis import given, settings
from picture_checks import EXAMPLES, WAYS, check, drawn, graph_of, graphs, lines_of, of_kind, rect_of
from sample_networks import chosen, examples

from cnndsl.draw import boxes, layered, metrics, series

NETWORKS = {
    "residual": """
        block basic(c, stride = 1) {
            add {
                { conv(c, 3x3, stride=stride, pad=1) -> batchnorm -> relu -> conv(c, 3x3, pad=1) -> batchnorm }
                { if in.channels != c { conv(c, 1x1, stride=stride) -> batchnorm } }
            }
            relu
        }
        network Residual {
            input image [32x32x3]
            conv(16, 3x3, pad=1) -> relu
            layer1: repeat 3 { basic(16) }
            layer2: { 0: basic(32, stride=2) 1: basic(32) }
            globalavgpool -> dense(10)
        }
    """,
    "inception": """
        network Inception {
            input image [32x32x3]
            conv(48, 3x3, pad=1) -> relu
            concat {
                { conv(64, 1x1) -> relu }
                { conv(24, 1x1) -> relu -> conv(40, 3x3, pad=1) -> relu }
                { maxpool(3x3, stride=1, pad=1) -> conv(24, 1x1) -> relu }
                { conv(16, 1x1) -> lrn(5) }
            }
            output aux { adaptiveavgpool(4) -> dense(10) -> softmax }
            mul { {} { globalavgpool -> conv(16, 1x1) -> relu -> conv(144, 1x1) -> sigmoid } }
            dense(10) -> dropout(0.5)
        }
    """,
    "hourglass": """
        network Hourglass {
            input image [16x16x8]
            a: conv(8, 3x3, pad=1)  b: conv(8, 3x3, pad=1)  c: conv(8, 3x3, pad=1)  d: conv(8, 3x3, pad=1)
            concat(@c) e: conv(8, 1x1) concat(@b) f: conv(8, 1x1) concat(@a)
        }
    """,
    "dense": """
        network Dense {
            input image [16x16x8]
            a: conv(8, 3x3, pad=1)
            b: conv(8, 3x3, pad=1)
            concat(@a) c: conv(8, 1x1)
            concat(@a, @b) d: conv(8, 1x1)
            concat(@a, @b, @c) e: conv(8, 1x1)
            concat(@a, @b, @c, @d)
        }
    """,
    "inputs": """
        network Inputs {
            input left [9x9x8]
            input right [9x9x8]
            input numbers [24]
            features: dense(40) -> tanh
            @left
            add(@right) -> leaky_relu(slope=0.2)
            output sum { identity }
            dense(40) -> gelu
            add(@features, @features) -> elu
        }
    """,
    "alone": "network Alone { input x [4] }",
}


@settings(max_examples=20)
@given(graphs())
def test_random_networks(graph) -> None:
    for way in WAYS:
        check(*drawn(graph, **way))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name) -> None:
    graph = graph_of(NETWORKS[name])
    for way in WAYS:
        check(*drawn(graph, **way))


# DenseNet's concats are like no other's; of those that are alike, some take seconds to draw.
WHOLE = [EXAMPLES / f"{name}.cnn" for name in sorted({*chosen(examples()), "densenet121"})]


@pytest.mark.parametrize("path", WHOLE, ids=lambda p: p.stem)
def test_examples(path) -> None:
    graph = graph_of(path)
    for way in WAYS:
        made, picture = drawn(graph, **way)
        check(made, picture)
        shown = [dict(group.data)["node"] for group in of_kind(picture, "node")]
        assert len(shown) == len(set(shown))
        if way["view"] == "layers":
            assert set(shown) == set(graph.by_name), "a layer is left out"


MUTATIONS = {
    "boxes overlap": (layered, "BESIDE", -30.0),
    "values pass through boxes": (layered, "ALONG", -5.0),
    "arrows into one place": (layered, "PORT", 0.0),
    "boxes below each other overlap": (series, "GAP", -40.0),
    "titles lie on boxes": (boxes, "TITLE", 4.0),
    "texts leave their boxes": (metrics, "_advance", lambda character: 0.4),
    "tracks fall together": (
        layered, "assign_tracks", lambda nets, known=layered.assign_tracks: ([min(t, 0) for t in known(nets)[0]], 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", MUTATIONS)
def test_what_is_wrong_is_seen(wrong, monkeypatch) -> None:
    module, name, value = MUTATIONS[wrong]
    monkeypatch.setattr(module, name, value)

    def draw_all() -> None:
        for text in NETWORKS.values():
            check(*drawn(graph_of(text)))

    with pytest.raises(AssertionError):
        draw_all()


# --- as a person would draw it -------------------------------------------------------------------------


def centre(rect) -> float:
    return rect.x + rect.width / 2


def box_with(picture, layer):
    for group in of_kind(picture, "box"):
        if any(dict(node.data).get("node") == layer for node in group.items if hasattr(node, "data")):
            return rect_of(group)
    raise AssertionError(layer)


def way_between(picture, made, read):
    (found,) = (line.way for group, line in lines_of(picture) if dict(group.data) == {"from": made, "to": read})
    return found


@pytest.mark.parametrize("direction", ["down", "right"])
def test_a_chain_is_straight(direction) -> None:
    _, picture = drawn(graph_of(EXAMPLES / "vgg19.cnn"), direction=direction, wrap=False)
    across = 0 if direction == "down" else 1
    places = {point[across] for _, line in lines_of(picture) for point in line.way}
    assert len(places) == 1
    assert all(len(line.way) == 2 for _, line in lines_of(picture))


def test_a_long_network_is_wrapped() -> None:
    graph = graph_of(EXAMPLES / "vgg19.cnn")
    _, wrapped = drawn(graph)
    _, whole = drawn(graph, wrap=False)
    assert whole.height > 4 * whole.width
    assert 0.5 < wrapped.width / wrapped.height < 2.5
    assert [len(of_kind(p, "node")) for p in (wrapped, whole)] == [len(graph.nodes)] * 2


def test_a_skip_goes_round_and_enters_beside_the_sum() -> None:
    _, picture = drawn(graph_of(NETWORKS["residual"]), wrap=False)
    way = way_between(picture, "relu1", "layer1.0.add1")
    box = box_with(picture, "layer1.0.add1")
    (cell,) = (
        item for group in of_kind(picture, "node") if dict(group.data)["node"] == "layer1.0.add1"
        for item in group.items if hasattr(item, "radius")
    )  # fmt: skip
    assert way[-1] == pytest.approx((box.x + box.width, cell.y + cell.height / 2))
    assert len(way) == 5, "down, out, down, in: five points"
    spine = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.2.conv2")
    assert len({centre(box_with(picture, name)) for name in spine}) == 1


def test_arms_stand_evenly_about_their_fork_and_join() -> None:
    _, picture = drawn(graph_of(NETWORKS["inception"]), wrap=False)
    heads = [box_with(picture, name) for name in ("conv2", "conv3", "maxpool1", "conv6")]
    assert len({rect.y for rect in heads}) == 1
    places = [centre(rect) for rect in heads]
    assert places == sorted(places)
    for name in ("conv1", "concat1"):
        assert centre(box_with(picture, name)) == pytest.approx((places[1] + places[2]) / 2)
    assert centre(box_with(picture, "conv3")) == centre(box_with(picture, "conv4"))


def test_nested_skips_do_not_cross() -> None:
    _, picture = drawn(graph_of(NETWORKS["hourglass"]), wrap=False)
    lanes = [max(x for x, _ in way_between(picture, made, f"concat{i}")) for made, i in (("c", 1), ("b", 2), ("a", 3))]
    assert lanes == sorted(set(lanes))
    spine = ("a", "b", "c", "d", "concat1", "e", "concat2", "f", "concat3")
    assert len({centre(box_with(picture, name)) for name in spine}) == 1


def test_what_ways_share_is_drawn_once() -> None:
    _, picture = drawn(graph_of(NETWORKS["residual"]), wrap=False)
    (skip,) = (line for group, line in lines_of(picture) if dict(group.data)["to"] == "layer1.0.add1"
               and dict(group.data)["from"] == "relu1")  # fmt: skip
    start, turn = skip.way[0], skip.way[1]
    assert start[1] < skip.points[0][1] < turn[1]
    assert skip.points[1:] == skip.way[1:]
