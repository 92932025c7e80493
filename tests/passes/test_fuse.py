"""Which layers become one kernel."""

import pytest
from hypothesis import given
from networks import Example, networks
from stages import example, groups_of, launches, plan_of, titles

from cnndsl.files import choose_network, load_text
from cnndsl.passes.arena import ALIGNMENT
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.targets import get


@pytest.mark.parametrize(("body", "kernels"), [
    ("a: conv(2, 1) r: relu", ["a + r"]),
    ("a: conv(2, 1) n: batchnorm r: relu", ["a + n + r"]),
    ("a: dense(2) r: tanh s: softmax", ["a + r", "s"]),
    ("a: maxpool(2) r: relu b: lrn t: silu", ["a + r", "b + t"]),
    ("n: batchnorm r: relu", ["n + r"]),
    ("a: globalavgpool r: relu b: adaptiveavgpool(2) t: gelu", ["a + r", "b + t"]),
    # One activation for each kernel.
    ("a: conv(2, 1) r: relu t: tanh", ["a + r", "t"]),
    ("r: relu t: tanh", ["r", "t"]),
    # These move values and have no epilogue.
    ("p: pad(1) r: relu", ["p", "r"]),
    ("f: flatten r: relu", ["f", "r"]),
    ("c: channel_shuffle(3) r: relu", ["c", "r"]),
    ("a: conv(2, 1) c: concat(@a) r: relu", ["a", "c", "r"]),
    # Nothing fuses over a value that somebody else wants.
    ("a: conv(2, 1) output o {} r: relu", ["a", "r"]),
    ("a: conv(2, 1) output o { s: softmax } r: relu", ["a", "o.s", "r"]),
    ("a: conv(2, 1) r: relu c: concat(@a)", ["a", "r", "c"]),
    ("a: conv(2, 1) r: relu output o {} t: tanh", ["a + r", "t"]),
    # Sums.
    ("i: conv(2, 1) add { { a: conv(2, 1) } {} }", ["i", "a + add1"]),
    ("i: conv(2, 1) add { {} { a: conv(2, 1) } } r: relu", ["i", "a + add1 + r"]),
    ("i: conv(2, 1) add { { a: conv(2, 1) -> n: batchnorm } {} } r: relu", ["i", "a + n + add1 + r"]),
    ("i: dense(5) add { { a: dense(5) } {} } r: relu", ["i", "a + add1 + r"]),
    # Of two arms the later one adds, whatever their order in the sum.
    ("i: conv(2, 1) add { { a: conv(2, 1) } { b: conv(2, 1) } }", ["i", "a", "b + add1"]),
    ("i: relu b: conv(2, 1) @i a: conv(2, 1) add(@b)", ["i", "b", "a + add1"]),
    ("i: relu a: conv(2, 1) b: conv(2, 1) @a p: add(@b)", ["i", "a", "b + p"]),
    # The arm's activation comes before the sum.
    ("i: conv(2, 1) add { { a: conv(2, 1) -> r: relu } {} }", ["i", "a + r", "add1"]),
    ("i: conv(2, 1) add { { a: maxpool(1) } {} } r: relu", ["i", "a", "add1 + r"]),
    # An addend that somebody else wants, the same addend twice, three addends, a product.
    ("i: conv(2, 1) a: conv(2, 1) add(@i) c: concat(@a)", ["i", "a", "add1", "c"]),
    ("i: conv(2, 1) a: conv(2, 1) output o {} add(@i)", ["i", "a", "add1"]),
    ("a: conv(2, 1) p: add(@a)", ["a", "p"]),
    ("i: conv(2, 1) add { { a: conv(2, 1) } {} {} }", ["i", "a", "add1"]),
    ("i: conv(2, 1) mul { { a: conv(2, 1) } {} } r: relu", ["i", "a", "mul1 + r"]),
    # A product adds a residual, as a convolution does.
    ("i: conv(2, 1) a: relu p: mul(@i) q: add(@i) r: relu", ["i", "a", "p + q + r"]),
    ("i: conv(2, 1) s: globalavgpool p: mul(@i) q: add(@i) r: relu t: tanh", ["i", "s", "p + q + r", "t"]),
    ("i: conv(2, 1) s: globalavgpool p: mul(@i, @i) q: add(@i)", ["i", "s", "p + q"]),
    ("i: conv(2, 1) s: relu p: mul(@i) r: relu q: add(@i)", ["i", "s", "p + r", "q"]),
    ("i: conv(2, 1) s: relu p: add(@i) q: add(@i)", ["i", "s", "p", "q"]),
    # The projection comes later, and adds the product.
    ("i: conv(2, 1) add { { a: relu p: mul(@i) } { d: conv(2, 1) } } r: relu", ["i", "a", "p", "d + add1 + r"]),
    # An LRN and a maximum, in both orders; three in a row are two and one.
    ("l: lrn p: maxpool(3, stride=2)", ["l + p"]),
    ("p: maxpool(3, stride=2) l: lrn", ["p + l"]),
    ("l: lrn p: maxpool(3, stride=2) r: relu", ["l + p + r"]),
    ("a: conv(2, 1) r: relu l: lrn p: maxpool(2) s: silu t: tanh", ["a + r", "l + p + s", "t"]),
    ("p: maxpool(2) l: lrn q: maxpool(2)", ["p + l", "q"]),
    ("l: lrn p: maxpool(2) m: lrn", ["l + p", "m"]),
    ("l: lrn m: lrn p: maxpool(2)", ["l", "m + p"]),
    # The activation comes last; others may want what lies between.
    ("l: lrn r: relu p: maxpool(2)", ["l + r", "p"]),
    ("p: maxpool(2) r: relu l: lrn", ["p + r", "l"]),
    ("l: lrn output o {} p: maxpool(2)", ["l", "p"]),
    ("p: maxpool(2) l: lrn c: concat(@p)", ["p", "l", "c"]),
    # An average; a window over too many channels; windows that overlap too often, but not where there is only one.
    ("l: lrn p: avgpool(2)", ["l", "p"]),
    ("p: avgpool(2) l: lrn", ["p", "l"]),
    ("l: lrn(17) p: maxpool(2)", ["l + p"]),
    ("l: lrn(18) p: maxpool(2)", ["l", "p"]),
    ("p: maxpool(2) l: lrn(18)", ["p", "l"]),
    ("l: lrn p: maxpool(3, stride=1, pad=1)", ["l", "p"]),
    ("p: maxpool(3, stride=1, pad=1) l: lrn", ["p", "l"]),
    ("l: lrn p: maxpool(4, stride=1)", ["l + p"]),
    # A caller's tensor lies as the caller likes; kernels add what lies channel by channel.
    ("a: conv(3, 1) add(@x) r: relu", ["a", "add1 + r"]),
    ("add { { a: conv(3, 1) } { dropout } } r: relu", ["a", "add1 + r"]),
])
def test_groups(body: str, kernels: list[str]) -> None:
    assert titles(f"input x [4x4x3] {body}") == kernels


@pytest.mark.parametrize(("side", "window", "fused"), [
    (56, "3x3, stride=2", True),  # 2.25
    (56, "3x3, stride=2, pad=1", True),
    (5, "3x3, stride=2, pad=1", True),  # 9 windows over 25 pixels: 3.24, but 2.25 without the border
    (56, "2x2, stride=1", False),  # 3.9
    (56, "4x4, stride=2", False),  # 3.7
    (56, "5x5, stride=3", True),  # 2.8
    (8, "8x8", True),
    (9, "9x9", False),  # 81 pixels, one after the other
    (56, "3x3, stride=(1, 3)", True),  # 2.9
])
@pytest.mark.parametrize("order", [("lrn", "maxpool"), ("maxpool", "lrn")])
def test_when_pooling_shares_a_kernel_with_lrn(side: int, window: str, fused: bool, order: tuple[str, str]) -> None:
    """Not where windows overlap so often that computing a value again costs more than memory."""
    body = " ".join(f"{name}({window})" if name == "maxpool" else name for name in order)
    (group, *rest) = groups_of(f"input x [{side}x{side}x8] {body}").groups
    assert (rest == []) == fused
    assert (group.second is not None) == fused
    (launch, *_) = launches(plan_of(f"input x [{side}x{side}x8] {body}"))
    assert (launch == "lrn_pool_kernel") == fused


def test_a_flat_view_of_an_input_is_no_residual() -> None:
    assert titles("input x [1x1x3] f: flatten a: dense(3) add(@f)") == ["f", "a", "add1"]


@given(networks())
def test_every_layer_is_in_one_group_and_in_order(network: Example) -> None:
    program = load_text(network.text)
    graph = simplify(elaborate(program, choose_network(program, None)))
    groups = fuse(graph).groups
    inside = [node.name for group in groups for node in group.computed]
    assert sorted(inside) == sorted(node.name for node in graph.nodes if node.op is not None)
    # A kernel starts when all that it reads is there, and stores the only value that others read.
    stored = {node.name for node in graph.inputs}
    for group in groups:
        assert {*group.reads} <= stored
        stored.update(node.name for node in group.outputs)
    assert {name for _, name in graph.outputs} <= stored


# --- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kernels"), [
    ("alexnet", 11),  # 5 convolutions, 3 dense layers, 2 poolings with their LRNs, another pooling
    ("alexnet_paper", 11),
    ("alexnet_torchvision", 11),  # no LRN, and its adaptive pooling is the identity at 224
    ("lenet5", 7),
    ("vgg11", 16),
    ("vgg13", 18),
    ("vgg16", 21),  # 13 convolutions, 3 dense layers, 5 poolings
    ("vgg16_bn", 21),
    ("vgg19", 24),
])
def test_kernels_of_the_examples(name: str, kernels: int) -> None:
    planned = plan(example(name), target=get("sm_90"), dtype="fp16")
    assert len(launches(planned)) == kernels
    assert {"unary_kernel", "join_kernel", "copy_kernel", "flatten_kernel"}.isdisjoint(launches(planned))


INCEPTION = """concat {
    { conv(64, 1) -> batchnorm -> relu }
    { conv(96, 1) -> relu -> conv(128, 3, pad=1) -> relu }
    { conv(16, 1) -> relu -> conv(32, 5, pad=2) -> relu }
    { maxpool(3, stride=1, pad=1) -> conv(32, 1) -> relu } }"""


def test_an_inception_block_copies_nothing() -> None:
    planned = plan_of(f"input x [28x28x192] {INCEPTION} {INCEPTION} lrn")
    assert launches(planned) == [*2 * [*3 * ["conv2d_kernel"], "pool2d_kernel", "conv2d_kernel"], "lrn_kernel"]


def test_a_residual_block_is_two_kernels() -> None:
    convolution = "conv(64, 3, pad=1, bias=false) -> batchnorm"
    block = f"add {{ {{ {convolution} -> relu {convolution} }} {{}} }} relu"
    planned = plan_of(f"input x [56x56x64] conv(64, 1) {block} {block}")
    assert launches(planned) == 5 * ["conv2d_kernel"]


def test_squeeze_and_excitation() -> None:
    gate = "globalavgpool -> conv(4, 1) -> relu conv(64, 1) -> sigmoid"
    planned = plan_of(f"input x [8x8x64] conv(64, 1) mul {{ {{}} {{ {gate} }} }}")
    names = ["conv2d", "pool_linear", "linear_small", "join"]
    assert launches(planned) == [f"{name}_kernel" for name in names]


@pytest.mark.parametrize(("body", "copies"), [
    ("a: conv(2, 1) concat(@x)", 1),  # the caller's tensor
    ("a: conv(2, 1) concat(@a)", 1),  # the same one twice: the second time it is copied
    ("a: conv(2, 1) output o {} concat { { conv(3, 1) } {} }", 1),  # an output has memory of its own
    ("a: conv(2, 1) b: concat { { conv(1, 1) } {} } @a concat { { conv(5, 1) } {} } concat(@b)", 1),  # two wider ones
    ("a: conv(2, 1) concat { { concat { { conv(3, 1) } { conv(2, 1) } } } { conv(1, 1) } }", 0),
])
def test_when_concat_copies(body: str, copies: int) -> None:
    planned = plan_of(f"input x [4x4x3] {body}")
    assert launches(planned).count("copy_kernel") == copies


def test_depthwise_and_dense_kernels_are_chosen() -> None:
    planned = plan_of("input x [8x8x4] conv(8, 3, groups=4) conv(8, 1, groups=2) dense(9) relu dense(9)")
    assert launches(planned) == ["depthwise_kernel", "conv2d_kernel", *2 * [launches(planned)[-1]]]
    assert launches(planned)[-1] in {"linear_kernel", "linear_small_kernel"}


def test_dense_kernels_read_rows_of_a_slice() -> None:
    """Only a map of several pixels that lies among other channels is read as a convolution would."""
    planned = plan_of("""input x [3x3x4] conv(8, 1) b: globalavgpool relu concat(@b) output o { @b dense(3) }
        d: dense(4) tanh concat(@d) @d dense(6)""")
    assert launches(planned).count("conv2d_kernel") == 1
    planned = plan_of("input x [3x3x4] a: conv(8, 1) relu concat(@a) output o {} @a dense(3)")
    assert launches(planned).count("conv2d_kernel") == 2


@pytest.mark.parametrize(("name", "first", "second"), [
    ("alexnet", 55 * 55 * 96, 27 * 27 * 96),
    ("vgg16", 224 * 224 * 64, 224 * 224 * 64),
])
def test_arena_of_the_examples(name: str, first: int, second: int) -> None:
    """The two largest neighbours, each rounded up to the alignment."""
    planned = plan(example(name), target=get("sm_90"), dtype="fp32")
    assert planned.arena == sum(-(-size // ALIGNMENT) * ALIGNMENT for size in (first, second))


def test_groups_name_their_layers() -> None:
    (group,) = groups_of("input x [4x4x3] a: conv(2, 1) n: batchnorm r: relu").groups
    assert (group.anchor.name, group.output.name, group.activation) == ("a", "r", ("relu", 0.0))
    (group,) = groups_of("input x [4x4x3] a: conv(2, 1) leaky_relu(0.3)").groups
    assert group.activation == ("leaky_relu", 0.3)
