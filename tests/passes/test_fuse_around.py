"""Products before a convolution, averages behind it, and averages before a dense layer."""

import pytest
from boundary_checks import check_costs, check_edges
from hypothesis import given
from hypothesis import strategies as st
from networks import Example, networks
from stages import graph_of, groups_of, launches, simplified, titles, written

from cnndsl.passes.boundaries import boundaries
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.targets import get
from cnndsl.tiles import Aim

GATE = "s: globalmaxpool t: conv(16, 1) u: sigmoid"
X = "input x [8x8x16] i: relu"


@pytest.mark.parametrize(("body", "kernels"), [
    # A scale.
    (f"{GATE} m: mul(@i) c: conv(4, 1)", ["i", "s", "t + u", "m + c"]),
    (f"{GATE} m: mul(@i) c: conv(4, 1, stride=3, groups=2) n: batchnorm r: relu t2: tanh",
     ["i", "s", "t + u", "m + c + n + r", "t2"]),
    (f"m: mul {{ {{}} {{ {GATE} }} }} c: conv(16, 1) a: add(@i) r: relu", ["i", "s", "t + u", "m + c + a + r"]),
    (f"{GATE} m: mul(@i) r: relu c: conv(4, 1)", ["i", "s", "t + u", "m + r", "c"]),
    (f"{GATE} m: mul(@i) c: conv(4, 3, pad=1)", ["i", "s", "t + u", "m", "c"]),
    (f"{GATE} m: mul(@i) c: conv(4, 1, pad=1)", ["i", "s", "t + u", "m", "c"]),
    (f"{GATE} m: mul(@i) c: conv(16, 1, groups=16)", ["i", "s", "t + u", "m", "c"]),
    (f"{GATE} m: mul(@i, @i) c: conv(4, 1)", ["i", "s", "t + u", "m", "c"]),
    (f"{GATE} m: mul(@i) c: conv(4, 1) @m d: tanh concat(@c)", ["i", "s", "t + u", "m", "c", "d", "concat1"]),
    ("j: tanh m: mul(@i) c: conv(4, 1)", ["i", "j", "m", "c"]),
    ("j: tanh m: mul(@i) a: add(@i) c: conv(4, 1)", ["i", "j", "m + a", "c"]),
    # What is added must be there when the product is.
    (f"{GATE} m: mul(@i) @i y: silu @m c: conv(16, 1) a: add(@y)", ["i", "s", "t + u", "m + c", "y", "a"]),
    # An average behind a convolution; whatever follows begins anew.
    ("c: conv(4, 3, pad=1) r: relu g: globalavgpool", ["i", "c + r + g"]),
    ("c: conv(16, 1) a: add(@i) r: relu g: globalavgpool d: dense(3)", ["i", "c + a + r + g", "d"]),
    ("c: conv(4, 1) g: globalavgpool r: relu", ["i", "c + g", "r"]),
    ("c: conv(4, 1) g: globalavgpool k: globalavgpool r: relu", ["i", "c + g", "r"]),
    ("c: conv(4, 1) g: adaptiveavgpool(1)", ["i", "c + g"]),
    ("c: conv(4, 1) g: avgpool(8)", ["i", "c + g"]),
    ("c: conv(4, 1) g: avgpool(8, pad=1)", ["i", "c", "g"]),
    ("c: conv(4, 1) g: globalmaxpool", ["i", "c", "g"]),
    ("c: conv(16, 1, groups=16) g: globalavgpool", ["i", "c", "g"]),
    ("c: conv(16, 1, groups=4) g: globalavgpool", ["i", "c + g"]),
    ("c: conv(4, 1) g: globalavgpool @c r: lrn m: mul(@g)", ["i", "c", "g", "r", "m"]),
    ("c: conv(4, 1) output o {} g: globalavgpool", ["i", "c", "g"]),
    (f"{GATE} m: mul(@i) c: conv(4, 1) r: silu g: globalavgpool", ["i", "s", "t + u", "m + c + r + g"]),
    # An average before a dense layer, or before a convolution on its one pixel.
    ("g: globalavgpool d: dense(3) r: relu", ["i", "g + d + r"]),
    ("g: globalavgpool flatten dropout d: dense(3)", ["i", "g + d"]),
    ("g: globalavgpool c: conv(3, 1) n: batchnorm r: relu", ["i", "g + c + n + r"]),
    ("g: adaptiveavgpool(1) c: conv(3, 1, stride=2)", ["i", "g + c"]),
    ("g: globalavgpool c: conv(4, 1, groups=2)", ["i", "g", "c"]),
    ("g: globalavgpool c: conv(4, 3, pad=1)", ["i", "g", "c"]),
    ("g: globalavgpool r: relu d: dense(3)", ["i", "g + r", "d"]),
    ("g: globalmaxpool d: dense(3)", ["i", "g", "d"]),
    ("g: globalavgpool d: dense(3) @g e: dense(3) add(@d)", ["i", "g", "d", "e + add1"]),
    ("g: globalavgpool d: dense(3) s: dense(3) p: add(@d)", ["i", "g + d", "s + p"]),
])  # fmt: skip
def test_groups(body: str, kernels: list[str]) -> None:
    assert titles(f"{X} {body}") == kernels
    groups = groups_of(f"{X} {body}")
    check_edges(groups)
    check_costs(groups)


def test_what_a_group_says_of_itself() -> None:
    group = groups_of(f"{X} {GATE} m: mul(@i) c: conv(4, 1) n: batchnorm r: relu g: globalavgpool").groups[-1]
    assert (group.anchor.name, group.output.name, group.title) == ("c", "g", "m + c + n + r + g")
    assert group.first is not None
    assert group.last is not None
    assert (group.first.name, group.last.name, group.scale) == ("m", "g", "u")
    assert (group.inputs, group.reads) == (("i",), ("i", "u"))
    (squeeze,) = (g for g in groups_of(f"{X} g: globalavgpool d: dense(3)").groups if g.first is not None)
    assert (squeeze.anchor.name, squeeze.first and squeeze.first.name, squeeze.scale) == ("d", "g", None)
    assert (squeeze.inputs, squeeze.reads) == (("i",), ("i",))


REASONS = {
    f"{GATE} m: mul(@i) c: conv(4, (1, 3), pad=(0, 0, 1, 1))": {
        ("m", "c"): ("window", "c would scale each value of m for all taps of 1x3"),
    },
    f"{GATE} m: mul(@i) c: conv(4, 1, pad=(0, 1, 0, 0))": {
        ("m", "c"): ("border", "c pads m, and its kernel scales only what is there"),
    },
    f"{GATE} m: mul(@i) c: conv(32, 1, groups=16)": {
        ("m", "c"): ("own loop", "c is depthwise, and its kernel does not scale what it loads"),
    },
    f"{GATE} m: mul(@i, @i) c: conv(4, 1)": {
        ("m", "c"): ("arms", "m has 3 arms, and a convolution takes two of them"),
    },
    "j: tanh m: mul(@i) c: conv(4, 1)": {
        ("m", "c"): ("values", "m multiplies value by value, and convolutions scale whole channels"),
    },
    f"{GATE} m: mul(@t) c: conv(4, 1)": {
        ("m", "c"): ("values", "m multiplies value by value, and convolutions scale whole channels"),
    },
    f"{GATE} m: mul(@i) r: relu c: conv(4, 1)": {
        ("r", "c"): ("between", "r comes between m and c, whose kernel activates last"),
    },
    f"{GATE} m: mul(@i) @i y: silu @m c: conv(16, 1) a: add(@y)": {
        ("c", "a"): ("arms", "a needs both of its arms, and y comes later"),
    },
    "a: conv(4, 1) g: globalavgpool r: relu": {
        ("g", "r"): ("no epilogue", "g ends its kernel, which activates before it averages"),
    },
    "j: dense(4) @i a: conv(4, 1) g: globalavgpool f: flatten p: add(@j)": {
        ("g", "f"): ("view", "f is g as it lies: nothing moves"),
    },
    "@i k: conv(4, 8) @i a: conv(4, 1) g: globalavgpool p: add(@k)": {
        ("g", "p"): ("no residual", "p needs all of its arms; only convolutions, dense layers and products add one"),
    },
    "a: conv(4, 1) g: globalavgpool d: dense(3)": {
        ("g", "d"): ("whole picture", "each unit of d needs all 4 values of a picture"),
    },
    "a: conv(16, 1, groups=16) g: globalavgpool": {
        ("a", "g"): ("all pixels", "g needs all pixels of a channel, which a tile of a need not hold"),
    },
}  # fmt: skip


@pytest.mark.parametrize("body", REASONS)
def test_reasons(body: str) -> None:
    found = {
        (b.tensor, b.consumer.output.name): (b.kind, b.reason)
        for b in boundaries(groups_of(f"{X} {body}")) if b.consumer is not None
    }
    assert REASONS[body].items() <= found.items()


def test_a_scale_that_the_caller_passes_may_lie_anyhow() -> None:
    text = "network T { input s [1x1x4] input x [8x8x4] i: relu m: mul(@s) c: conv(3, 1) }"
    groups = fuse(simplify(written(text)))
    assert [group.title for group in groups.groups] == ["i", "m", "c"]
    (found,) = (b for b in boundaries(groups) if b.tensor == "m")
    assert (found.kind, found.reason) == ("input", "c would scale by s, which lies in memory as the caller likes")
    # The map may be the caller's.
    text = "network T { input x [8x8x4] s: globalmaxpool m: mul(@x) c: conv(3, 1) }"
    assert [group.title for group in fuse(simplify(written(text))).groups] == ["s", "m + c"]


# --- when it pays --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "layer", "fused"), [
    # Batch 1 in fp16 and fp32, batch 16 and 128 in fp16.
    ("7x7x512", "dense(1000)", (True, True, False, False)),  # ResNet-18
    ("7x7x1024", "dense(1000)", (True, False, False, False)),  # GoogLeNet
    ("7x7x2048", "dense(1000)", (False, False, False, False)),  # ResNet-50: programs would read 200 KB each
    ("7x7x1152", "conv(48, 1)", (True, False, True, True)),  # EfficientNet-B0, its last squeeze
    ("56x56x96", "conv(4, 1)", (False, False, False, True)),  # its second: one program would read 600 KB
    ("1x1x5000", "dense(10)", (False, False, False, False)),  # nothing to average
    ("2x2x5000", "dense(10)", (False, False, False, False)),  # more channels than registers
])  # fmt: skip
def test_when_a_dense_layer_averages(shape: str, layer: str, fused: tuple[bool, ...]) -> None:
    graph = simplify(graph_of(f"input x [{shape}] i: relu g: globalavgpool d: {layer}"))
    aims = Aim(1, "fp16"), Aim(1, "fp32"), Aim(16, "fp16"), Aim(128, "fp16")
    assert tuple(["g", "d"] in [[n.name for n in g.nodes] for g in fuse(graph, aim).groups] for aim in aims) == fused


@pytest.mark.parametrize(("size", "layer", "fused"), [
    ("7x7x512", "conv(2048, 1)", (True, True, True)),  # ResNet-50
    ("7x7x320", "conv(1280, 1)", (True, True, True)),  # MobileNet v2, EfficientNet-B0
    ("7x7x512", "conv(512, 3, pad=1)", (True, True, False)),  # ResNet-18: idle rows cost more than memory
    ("4x4x512", "conv(512, 3, pad=1)", (True, False, False)),
    ("8x8x512", "conv(512, 3, pad=1)", (True, True, True)),
    ("8x9x64", "conv(64, 1)", (False, False, False)),  # 72 pixels
])
def test_when_a_convolution_averages(size: str, layer: str, fused: tuple[bool, ...]) -> None:
    graph = simplify(graph_of(f"input x [{size}] i: relu c: {layer} g: globalavgpool"))
    found = []
    for batch in (1, 16, 128):
        groups = fuse(graph, Aim(batch, "fp16"))
        found.append(groups.groups[-1].last is not None)
        check_edges(groups)
    assert tuple(found) == fused


def test_the_reasons_give_what_is_expected() -> None:
    graph = simplify(graph_of("input x [7x7x2048] i: relu g: globalavgpool d: dense(1000)"))
    (found,) = (b for b in boundaries(fuse(graph, Aim(1, "fp16"))) if b.tensor == "g" and b.consumer is not None)
    assert (found.kind, found.reason) == (
        "read again",
        "every program of d would read all that g averages: expected are 4.0 us for one kernel, 3.1 us for two",
    )
    graph = simplify(graph_of("input x [7x7x512] i: relu c: conv(512, 3, pad=1) g: globalavgpool"))
    (found,) = (b for b in boundaries(fuse(graph, Aim(128, "fp16"))) if b.tensor == "c" and b.consumer is not None)
    assert (found.kind, found.reason) == (
        "idle rows",
        "for g each of c's tiles of 64 pixels would hold 49: 22.6 us more of products, 4.6 us less of pooling",
    )


# --- kernels -------------------------------------------------------------------------------------------------------


def test_kernels_and_constants() -> None:
    tail = "c: conv(4, 1) r: relu g: globalavgpool f: conv(9, 1) v: silu h: dense(2)"
    groups = groups_of(f"{X} {GATE} m: mul(@i) {tail}")
    for target in ("sm_90", "interpreter"):
        planned = plan(groups, target=get(target), dtype="fp16")
        dense = "linear_small_kernel" if target == "sm_90" else "linear_kernel"
        assert launches(planned) == [
            "unary_kernel", "global_pool_kernel", dense, "conv2d_kernel", dense, dense,
        ]  # fmt: skip
        launch = planned.steps[3].launches[0]
        constants = dict(launch.constants)
        assert (constants["HAS_SCALE"], constants["POOL"], constants["P"], constants["Q"]) == (True, True, 8, 8)
        assert constants["BLOCK_NPQ"] == 64
        assert launch.grid[0].startswith("n * ")


@given(networks(), st.sampled_from((Aim(1, "fp16"), Aim(16, "fp32"), Aim(128, "fp16"))))
def test_random_networks_for_any_aim(network: Example, aim: Aim) -> None:
    groups = fuse(simplify(written(network.text)), aim)
    check_edges(groups)
    check_costs(groups)


def test_averages_over_the_whole_map_have_one_name() -> None:
    def of(layer: str) -> str:
        return simplified(f"input x [4x5x3] r: relu a: {layer}")["a"]

    for layer in ("globalavgpool", "adaptiveavgpool(1)", "avgpool(4x5)", "avgpool(4x5, stride=1, ceil=true)"):
        assert of(layer) == "globalavgpool <- r"
    for layer in ("adaptiveavgpool(1x2)", "avgpool(4x4)", "avgpool(4x5, pad=1)", "globalmaxpool", "maxpool(4x5)"):
        assert of(layer) == f"{layer} <- r" or of(layer).startswith(layer.split("(")[0])
        assert not of(layer).startswith("globalavgpool")
    assert simplified("input x [1x1x3] r: relu globalavgpool globalmaxpool s: tanh") == {
        "r": "relu <- x", "s": "tanh <- r",
    }  # fmt: skip
