"""Why kernels are apart: the sentences, and that each names what really keeps them apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from boundary_checks import check_costs, check_edges
from hypothesis import given
from hypothesis import strategies as st
from networks import Example, networks
from stages import graph_of, groups_of, written

from cnndsl.ir import Graph, Node, verify
from cnndsl.ops import operations
from cnndsl.ops.base import Op
from cnndsl.ops.joins import Concat
from cnndsl.passes import fuse as fusing
from cnndsl.passes.boundaries import Boundary, boundaries
from cnndsl.passes.fuse import fuse
from cnndsl.passes.simplify import simplify

X = "input x [8x8x4]"
REASONS = {
    # body: (tensor, consumer's last layer or output): kind, reason
    "a: conv(2, 5, pad=2) b: conv(2, 5, pad=2)": {
        ("x", "a"): ("input", "x is an input of the network"),
        ("a", "b"): ("windows", "b reads each value of a in 25 windows: fusing would compute it again for each"),
        ("b", "main"): ("output", "b is an output of the network"),
    },
    "a: relu b: conv(2, 5x3, pad=2, stride=2, dilation=(1, 2))": {
        ("a", "b"): ("windows", "b reads each value of a in 9 windows: fusing would compute it again for each"),
    },
    "a: conv(8, 1) b: conv(6, 1, groups=2)": {
        ("a", "b"): ("all channels", "b needs all 4 channels of a pixel, which a tile of a need not hold"),
    },
    "a: conv(8, 1) b: conv(8, 1, groups=8)": {
        ("a", "b"): ("own loop", "b multiplies in a loop of its own, not in an epilogue"),
    },
    "a: conv(2, 1) r: relu p: maxpool(2)": {
        ("r", "p"): (
            "pixels", "p changes which pixels a program owns: a tile of r need not hold whole windows",
        ),
    },
    "a: conv(2, 1) r: adaptiveavgpool(3) s: pad(1)": {
        ("a", "r"): ("pixels", "r changes which pixels a program owns: a tile of a need not hold whole windows"),
        ("r", "s"): ("pixels", "s changes which pixels a program owns: the border is new"),
    },
    "a: maxpool(1) g: globalmaxpool d: dense(3) s: softmax": {
        ("a", "g"): ("all pixels", "g needs all pixels of a channel, which a tile of a need not hold"),
        ("g", "d"): ("whole picture", "each unit of d needs all 4 values of a picture"),
        ("d", "s"): ("all channels", "s needs all 3 values of a picture, which a tile of d need not hold"),
    },
    "a: conv(2, 1) s: softmax r: relu t: tanh n: batchnorm": {
        ("a", "s"): ("all channels", "s needs all 2 channels of a pixel, which a tile of a need not hold"),
        ("s", "r"): ("no epilogue", "s is a softmax, which has no epilogue"),
        ("r", "t"): ("activation", "r is the activation of its kernel, which has one and no more"),
        ("t", "n"): ("not folded", "n folds into no weights: neither before it nor after it"),
    },
    "a: conv(2, 1) output o {} r: relu": {
        ("a", "r"): ("output", "a is an output of the network"),
        ("a", "o"): ("output", "a is an output of the network"),
    },
    "a: conv(2, 1) r: relu @a s: silu @a t: tanh @a u: elu @a v: elu concat(@r, @s, @t, @u)": {
        ("a", "r"): ("readers", "a has 5 readers: r, s, t, u and 1 more"),
        ("a", "v"): ("readers", "a has 5 readers: r, s, t, u and 1 more"),
    },
    "a: conv(2, 1) p: add(@a)": {("a", "p"): ("readers", "p reads a 2 times")},
    # Sums.
    "i: relu add { { a: conv(4, 1) } { b: conv(4, 1) } }": {
        ("a", "add1"): ("arms", "add1 needs both of its arms, and b comes later"),
    },
    "a: conv(4, 1) p: add(@x)": {("a", "p"): ("input", "p adds x, which lies in memory as the caller likes")},
    "i: tanh add { { a: conv(4, 1) -> r: relu } {} }": {
        ("r", "add1"): ("order", "r is an activation, and kernels add before they activate"),
    },
    "i: tanh add { { a: maxpool(1) } {} }": {
        ("a", "add1"): (
            "no residual", "add1 needs all of its arms; only convolutions, dense layers and products add one",
        ),
    },
    "i: tanh j: relu a: conv(4, 1) p: add(@i) q: add(@j)": {
        ("p", "q"): ("no residual", "the kernel of p adds i already, and no more"),
    },
    "i: tanh j: relu a: conv(4, 1) p: add(@i, @j)": {
        ("a", "p"): ("arms", "p has 3 arms, and a kernel adds one tensor"),
    },
    "i: tanh a: conv(4, 1) p: mul(@i)": {
        ("a", "p"): ("arms", "p needs all of its arms; kernels end in sums, not in products"),
    },
    # LRN and pools.
    "a: conv(4, 1) l: lrn": {
        ("a", "l"): ("channels", "l needs channels on either side, which a tile of a need not hold"),
    },
    "l: lrn p: avgpool(2)": {("l", "p"): ("average", "p averages: with an LRN, only a maximum shares a kernel")},
    "p: maxpool(2) l: lrn(19)": {
        ("p", "l"): ("reach", "l looks at 19 channels: with a pool, 17 fit the registers"),
    },
    "l: lrn p: maxpool(3, stride=1, pad=1)": {
        ("l", "p"): (
            "overlap", "p's windows overlap: l would be computed 9 times for each value, memory is cheaper",
        ),
    },
    "p: maxpool(3, stride=(1, 2), pad=1) l: lrn": {
        ("p", "l"): (
            "overlap",
            "p's windows overlap: beside its neighbours it would be pooled 4.5 times for each value, memory is cheaper",
        ),
    },
    "u: pad(4) l: lrn p: maxpool(9)": {
        ("l", "p"): ("large window", "one thread would walk over all 81 pixels of p's windows"),
    },
    "p: maxpool(2) r: relu l: lrn": {
        ("r", "l"): ("between", "r comes between p and l, whose kernel activates last"),
    },
    "p: maxpool(2) l: lrn q: maxpool(2)": {
        ("l", "q"): ("taken", "p and l share a kernel already, which takes no third"),
    },
    # What is no kernel.
    "a: conv(2, 1) b: conv(2, 1) @a c: conv(3, 1) k: concat(@b, @a)": {
        ("c", "k"): ("in place", "c is written where it lies in k: nothing is copied"),
    },
    "a: conv(2, 1) k: concat(@x)": {
        ("x", "k"): ("copied", "x is an input, which lies where the caller put it: k copies it"),
        ("k", "main"): ("output", "k is an output of the network"),
    },
    "a: conv(2, 1) k: concat(@a)": {("a", "k"): ("copied", "a lies in the memory of k already: k copies it")},
    "a: conv(2, 1) output o {} b: conv(2, 1) k: concat(@a)": {
        ("a", "k"): ("copied", "a is an output, which has memory of its own: k copies it"),
    },
    "a: conv(2, 1) b: conv(2, 1) k: concat(@a) m: concat(@a)": {
        ("a", "k"): ("copied", "a lies in the memory of m already: k copies it"),
        ("k", "m"): ("in place", "k is written where it lies in m: nothing is copied"),
    },
    "g: globalavgpool s: softmax f: flatten r: relu": {
        ("s", "f"): ("view", "f is s as it lies: nothing moves"),
        ("f", "r"): ("no epilogue", "f is a flatten, which has no epilogue"),
    },
    "a: conv(4, 1) f: flatten r: relu": {
        ("r", "f"): ("moves", "f puts the values of a picture in another order: channel, row, column"),
    },
    "a: conv(4, 1) s: channel_shuffle(2)": {("a", "s"): ("moves", "s moves channels from tile to tile")},
    "output o {} a: relu": {("x", "o"): ("copied", "x is the caller's own tensor: a copy is returned")},
    "i: relu j: tanh p: add(@x, @i, @x, @j)": {
        ("p", "p"): ("partial results", "p has 5 arms and joins 4 at a time: partial results go through memory"),
    },
    "i: relu p: mul(@x) q: add(@i) r: add(@i)": {
        ("q", "r"): ("no residual", "the kernel of q adds i already, and no more"),
    },
}


@pytest.mark.parametrize("body", REASONS)
def test_reasons(body: str) -> None:
    groups = groups_of(f"{X} {body}")
    found = {(b.tensor, b.consumer.output.name if b.consumer else b.output): b for b in boundaries(groups)}
    for edge, (kind, reason) in REASONS[body].items():
        assert (found[edge].kind, found[edge].reason) == (kind, reason)
    check_edges(groups)
    check_costs(groups)


def test_every_operation_says_why_it_is_apart() -> None:
    # Activations and sums are judged by `fuse` itself; what does nothing at inference is not there.
    assert {name for name, op in operations().items() if op.apart is Op.apart} == {
        "relu", "leaky_relu", "relu6", "elu", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid",
        "add", "dropout", "identity",
    }


@given(st.integers(1, 7), st.integers(1, 4), st.integers(1, 4))
def test_windows_are_counted(kernel: int, stride: int, dilation: int) -> None:
    """Against counting the windows that hold a pixel, on a row long enough to have a middle."""
    size, reach = 64, dilation * (kernel - 1) + 1
    held = Counter(i + t * dilation for i in range(0, size - reach + 1, stride) for t in range(kernel))
    graph = graph_of(f"input x [{size}x1x1] a: relu b: conv(1, {kernel}x1, stride={stride}, dilation=({dilation}, 1))")
    (_, boundary, _) = boundaries(fuse(simplify(graph)))
    most = max(held.values())
    assert boundary.kind == ("windows" if most > 1 else "own loop")
    assert most == 1 or f" in {most} windows" in boundary.reason


# --- the reason is the obstacle --------------------------------------------------------------------


def without_output(graph: Graph, name: str) -> Graph:
    """The network, but with its last layer as the only output besides those that are not `name`."""
    kept = tuple((output, value) for output, value in graph.outputs if value != name)
    return replace(graph, outputs=(*kept, ("end", graph.nodes[-1].name)))


def without_other_readers(graph: Graph, name: str, reader: Node) -> Graph:
    """The network, but every other reader of a value, and every other read, reads an input instead."""
    source = graph.by_name[name]
    spare = Node("spare", None, (), source.type, source.span)
    nodes = []
    for node in graph.nodes:
        inputs = tuple("spare" if i == name else i for i in node.inputs)
        if node.name == reader.name:
            first = node.inputs.index(name)
            inputs = (*inputs[:first], name, *inputs[first + 1 :])
        nodes.append(replace(node, inputs=inputs))
    return replace(graph, nodes=(spare, *nodes))


def without_activation(graph: Graph, name: str) -> Graph:
    """The network without the activation that a value is; its readers read what it read."""
    (before,) = graph.by_name[name].inputs
    nodes = tuple(
        replace(node, inputs=tuple(before if i == name else i for i in node.inputs))
        for node in graph.nodes
        if node.name != name
    )
    return replace(graph, nodes=nodes)


def without_obstacle(graph: Graph, boundary: Boundary) -> tuple[Graph, str, str]:
    """The network without what a boundary names; then the names of the value and of its reader."""
    name = boundary.tensor
    assert boundary.consumer is not None
    reader = next(node for node in boundary.consumer.nodes if name in node.inputs)
    match boundary.kind:
        case "output":
            return without_output(graph, name), name, reader.name
        case "readers":
            return without_other_readers(graph, name, reader), name, reader.name
        case "activation":
            return without_activation(graph, name), graph.by_name[name].inputs[0], reader.name
    raise AssertionError(boundary.kind)


def still_apart(boundary: Boundary, graph: Graph) -> str | None:
    """The kind of what keeps a boundary's layers apart once the named obstacle is gone; None where they are fused."""
    changed, name, reader = without_obstacle(graph, boundary)
    groups = fuse(verify(changed))
    check_edges(groups)
    for b in boundaries(groups):
        if b.tensor == name and b.consumer is not None and reader in {n.name for n in b.consumer.nodes}:
            return b.kind
    (group,) = (g for g in groups.groups if reader in {n.name for n in g.nodes})
    assert name in {n.name for n in group.nodes}
    return None


REMOVABLE = ("output", "readers", "activation")


@given(networks())
def test_without_the_named_obstacle_another_is_named_or_none(network: Example) -> None:
    graph = simplify(written(network.text))
    for boundary in boundaries(fuse(graph)):
        between = boundary.producer is not None and boundary.consumer is not None
        if between and boundary.kind in REMOVABLE and boundary.tensor != graph.nodes[-1].name:
            # A further activation may stand behind the one that was removed.
            found = still_apart(boundary, graph)
            assert found != boundary.kind or found == "activation"


@pytest.mark.parametrize("body", [
    "a: conv(4, 1) output o {} r: relu",
    "a: conv(4, 1) r: relu t: tanh",
    "a: conv(4, 1) r: relu c: concat(@a)",
    "i: tanh a: conv(4, 1) output o {} p: add(@i)",
    "i: tanh a: conv(4, 1) p: add(@i) c: concat(@a)",
    "l: lrn output o {} p: maxpool(2)",
    "p: maxpool(2) l: lrn c: concat(@l) @l r: relu concat(@c)",
    "p: maxpool(2) l: lrn r: relu t: tanh",
])
def test_without_the_named_obstacle_they_are_fused(body: str) -> None:
    graph = simplify(graph_of(f"{X} {body}"))
    removable = [
        b for b in boundaries(fuse(graph))
        if b.kind in REMOVABLE and b.consumer is not None and not isinstance(b.consumer.anchor.op, Concat)
    ]
    kinds = {still_apart(b, graph) for b in removable}
    assert None in kinds


def test_a_decision_that_ignores_its_judge_is_seen() -> None:
    """`boundaries` asks whom `fuse` asked: had `fuse` left layers apart for no reason, it would find none to give."""
    groups = groups_of(f"{X} a: conv(4, 1) r: relu")
    apart = tuple(fusing.Group((node,), node.inputs) for node in groups.graph.nodes[1:])
    with pytest.raises(AssertionError, match="a and r should be one"):
        boundaries(replace(groups, groups=apart))


