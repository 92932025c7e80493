"""Which layers stand in one box, and what is framed."""

import pytest
from picture_checks import EXAMPLES, graph_of

from cnndsl.draw.diagram import Frame, diagram
from cnndsl.passes.fuse import fuse
from cnndsl.passes.simplify import simplify


def made(text, view="layers"):
    graph = graph_of(text)
    return diagram(graph, fuse(simplify(graph)), view=view)


def shown(diagram) -> list[tuple[str, ...]]:
    return [tuple(row.node.name for row in box.rows) or (f"({box.name})",) for box in diagram.boxes]


def framed(members) -> list:
    """The frames, each with those in it."""
    return [(".".join(m.path), *framed(m.members)) for m in members if isinstance(m, Frame)]


def network(body: str) -> str:
    return f"network Net {{ input x [8x8x8]\n{body}\n}}"


def test_layers_of_a_kernel_stand_together() -> None:
    body = "conv(8, 3x3, pad=1) -> batchnorm -> relu -> dropout(0.5) maxpool(2x2) -> flatten -> dense(4)"
    found = made(network(body))
    assert shown(found) == [
        ("x",), ("conv1", "batchnorm1", "relu1", "dropout1"), ("maxpool1", "flatten1"), ("dense1",), ("(main)",),
    ]  # fmt: skip
    states = {row.node.name: row.state for box in found.boxes for row in box.rows}
    assert states == {
        "x": "computed", "conv1": "computed", "batchnorm1": "folded", "relu1": "computed", "dropout1": "free",
        "maxpool1": "computed", "flatten1": "free", "dense1": "computed",
    }  # fmt: skip
    assert [box.group for box in found.boxes] == [None, 0, 1, 2, None]
    assert shown(made(network(body), "kernels")) == [
        ("x",), ("conv1", "relu1"), ("maxpool1",), ("dense1",), ("(main)",)
    ]  # fmt: skip


@pytest.mark.parametrize("view", ["layers", "kernels"])
def test_costs_are_those_of_all_layers(view) -> None:
    found = made(network("conv(8, 3x3, pad=1) -> batchnorm -> relu -> dense(4)"), view)
    total = [(box.parameters, box.macs) for box in found.boxes]
    assert total == [(0, 0), (8 * 8 * 9 + 8 + 16, 64 * 8 * 8 * 9), (512 * 4 + 4, 512 * 4), (0, 0)]


def test_a_sum_stands_with_the_later_arm() -> None:
    found = made(network("conv(8, 1x1) -> relu  add { { conv(8, 1x1) -> relu -> conv(8, 1x1) } {} } relu"))
    assert shown(found)[3] == ("conv3", "add1", "relu3")
    links = [(link.made, link.row, link.read) for link in found.boxes[3].links]
    assert links == [("relu2", 0, "conv3"), ("relu1", 1, "add1")]


def test_free_layers_between_two_of_a_kernel_stay_with_them() -> None:
    """A box of its own would be read by the one that it reads, whatever else reads it."""
    parted = made(network("conv(8, 1x1) -> dropout(0.5) -> i: identity -> relu\noutput o { @i tanh }\ndense(2)"))
    assert shown(parted)[1:3] == [("conv1", "dropout1", "i"), ("relu1",)]
    alone = made(network("conv(8, 1x1) -> dropout(0.5) -> identity -> relu -> dense(2)"))
    assert shown(alone)[1] == ("conv1", "dropout1", "identity1", "relu1")
    dead = made(network("conv(8, 1x1) -> dropout(0.5) -> i: identity -> t: tanh @i relu -> dense(2)"))
    assert shown(dead)[1] == ("conv1", "dropout1", "i", "relu1")
    states = {row.node.name: row.state for box in dead.boxes for row in box.rows}
    assert (states["i"], states["t"]) == ("free", "unused")


def test_a_free_layer_does_not_draw_a_kernel_out_of_its_block() -> None:
    found = made(EXAMPLES / "alexnet_torchvision.cnn")
    assert framed(found.members) == [("features",), ("classifier",)]
    last = next(box for box in found.boxes if box.rows and box.rows[0].node.name == "features.maxpool3")
    assert last.path == ("features",)
    assert len(last.rows) == 1


def test_frames_of_blocks_within_blocks() -> None:
    text = """
        block pair(c) { conv(c, 1x1) relu tanh }
        network Net { input x [8x8x8]
            layer1: repeat 2 { pair(8) }
            layer2: { 0: pair(8) last: conv(8, 1x1) }
            only: pair(8)
            single: { conv(8, 1x1) }
        }
    """
    assert framed(made(text).members) == [
        ("layer1", ("layer1.0",), ("layer1.1",)), ("layer2", ("layer2.0",)), ("only",),
    ]  # fmt: skip


def test_names_that_do_not_stand_together_get_no_frame() -> None:
    """A label in an unlabelled `repeat` is numbered, but its layers stand apart."""
    assert framed(made(network("repeat 2 { fc: conv(8, 1x1) maxpool(2) }")).members) == []
    inner = "repeat 2 { fc: { conv(8, 1x1) maxpool(1) } maxpool(2) }"
    assert framed(made(network(inner)).members) == [("fc.0",), ("fc.1",)]


def test_outputs_stand_outside_the_blocks_that_they_end() -> None:
    found = made(network("output aux { conv(8, 1x1) maxpool(2) } body: { conv(8, 1x1) maxpool(2) }"))
    assert framed(found.members) == [("aux",), ("body",)]
    assert [box.path for box in found.boxes if box.kind == "output"] == [(), ()]
    inside = made(network("body: { conv(8, 1x1) output early { maxpool(2) } maxpool(2) dense(2) }"))
    assert framed(inside.members) == [("body",)]
    outputs = {box.name: box.path for box in inside.boxes if box.kind == "output"}
    assert outputs == {"early": ("body",), "main": ()}
