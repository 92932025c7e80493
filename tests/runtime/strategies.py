"""Layers with arguments drawn at random, as a ``.cnn`` file writes them, on inputs that they suit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st

Dims = tuple[int, ...]
"""(height, width, channels) or (features,)."""


@dataclass(frozen=True)
class Sample:
    """A layer on inputs of given shapes; further inputs of a join are @x1, @x2.

    `mutants` are wrong versions of it that need the same weights and make the same shape.
    """

    layer: str
    inputs: tuple[Dims, ...]
    mutants: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.layer} on {' and '.join('x'.join(map(str, dims)) for dims in self.inputs)}"


def torch_shape(dims: Dims) -> Dims:
    """As torch orders it: (C, H, W) or (features,)."""
    return (dims[2], dims[0], dims[1]) if len(dims) == 3 else dims


def windows(size: int, kernel: int, stride: int, pads: tuple[int, int], dilation: int = 1) -> int:
    """How many windows fit, rounded down."""
    return (size + sum(pads) - dilation * (kernel - 1) - 1) // stride + 1


@st.composite
def maps(draw: st.DrawFn, *, side: int = 9, channels: tuple[int, ...] = (1, 2, 3, 5, 8, 17)) -> Dims:
    """Shapes of feature maps, odd ones among them."""
    return draw(st.integers(1, side)), draw(st.integers(1, side)), draw(st.sampled_from(channels))


vectors = st.tuples(st.sampled_from((1, 2, 7, 16, 33)))
numbers = st.floats(-2, 2).map(lambda x: f"{x:.3f}")


def _sides(draw: st.DrawFn, most: int) -> tuple[int, int, int, int]:
    """Four-sided padding, often of equal sides."""
    side = st.integers(0, most)
    match draw(st.sampled_from(("none", "one", "two", "four", "four"))):
        case "none":
            return 0, 0, 0, 0
        case "one":
            return (draw(side),) * 4
        case "two":
            rows, columns = draw(side), draw(side)
            return rows, rows, columns, columns
    return draw(side), draw(side), draw(side), draw(side)


def _written(sides: tuple[int, int, int, int]) -> str:
    if len(set(sides)) == 1:
        return str(sides[0])
    if sides[0] == sides[1] and sides[2] == sides[3]:
        return f"({sides[0]}, {sides[2]})"
    return str(sides)


@st.composite
def convs(draw: st.DrawFn) -> Sample:
    """Convolutions: plain, grouped, depthwise with a multiplier; any stride, four-sided padding, dilation."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kind = draw(st.sampled_from(("plain", "plain", "grouped", "depthwise")))
    groups = 1 if kind == "plain" else draw(st.integers(2, 4))
    per_group = 1 if kind == "depthwise" else draw(st.sampled_from((1, 2, 3, 8, 17, 32)))
    filters = groups * draw(st.sampled_from((1, 2, 3, 9)))
    kernel, stride, dilation = ((draw(st.integers(1, n)), draw(st.integers(1, n))) for n in (4, 3, 2))
    sides = _sides(draw, 3)
    pad = _written(sides)
    fits = all(
        windows((height, width)[a], kernel[a], stride[a], sides[2 * a : 2 * a + 2], dilation[a]) > 0 for a in (0, 1)
    )
    if not fits or draw(st.integers(0, 4)) == 0:
        pad = "same"
    bias = draw(st.sampled_from(("true", "false")))
    return Sample(
        f"conv({filters}, {kernel[0]}x{kernel[1]}, stride={stride}, pad={pad}, dilation={dilation}, "
        f"groups={groups}, bias={bias})",
        ((height, width, groups * per_group),),
    )


@st.composite
def pools(draw: st.DrawFn, name: str) -> Sample:
    """Pooling: padding up to half the window, rounding up, padding counted or not."""
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    dims = draw(maps(channels=(1, 3, 8)))
    height, width, channels = max(dims[0], kernel[0]), max(dims[1], kernel[1]), dims[2]
    sides = _sides(draw, min(kernel) // 2)
    words = [f"{kernel[0]}x{kernel[1]}", f"pad={_written(sides)}"]
    words += [f"stride=({draw(st.integers(1, 4))}, {draw(st.integers(1, 4))})"] * draw(st.booleans())
    words += ["ceil=true"] * draw(st.booleans())
    words += ["count_pad=false"] * (name == "avgpool" and draw(st.booleans()))
    return Sample(f"{name}({', '.join(words)})", ((height, width, channels),))


@st.composite
def norms(draw: st.DrawFn) -> Sample:
    """Local response normalisation: odd and even windows, wider than the channels too."""
    size, beta = draw(st.integers(1, 11)), draw(st.sampled_from((0.75, 0.5, 1, 0, 0.3, 1.7)))
    alpha, k = draw(st.sampled_from((1e-4, 5e-4, 1, 3))), draw(st.sampled_from((1, 2, 0.5)))
    layer = f"lrn({size}, alpha={alpha}, beta={beta}, k={k})"
    return Sample(layer, (draw(maps(side=3, channels=(1, 3, 4, 7, 8, 13, 24))),))


@st.composite
def joins(draw: st.DrawFn, name: str) -> Sample:
    """Two to four tensors; products have operands of one pixel among them, sums have not."""
    count = draw(st.integers(2, 4))
    dims = draw(maps(side=5) | vectors)
    inputs = [dims] * count
    if name == "concat":
        inputs = [(*dims[:-1], draw(st.sampled_from((1, 2, 5, 16)))) for _ in range(count)]
    if name == "mul" and len(dims) == 3:
        wide = draw(st.integers(0, count - 1))
        inputs = [dims if i == wide or draw(st.booleans()) else (1, 1, dims[2]) for i in range(count)]
    return Sample(f"{name}({', '.join(f'@x{i}' for i in range(1, count))})", tuple(inputs))


@st.composite
def layers_on(draw: st.DrawFn, layer: str | st.SearchStrategy[str], on: st.SearchStrategy[Dims]) -> Sample:
    """A layer, its arguments drawn or fixed, on a map or vector."""
    return Sample(layer if isinstance(layer, str) else draw(layer), (draw(on),))


@st.composite
def shuffles(draw: st.DrawFn) -> Sample:
    groups, (height, width, _) = draw(st.integers(1, 5)), draw(maps(side=4))
    return Sample(f"channel_shuffle({groups})", ((height, width, groups * draw(st.integers(1, 4))),))


anything = maps(side=5) | vectors
four = st.tuples(*[st.integers(0, 2)] * 4)

LAYERS: dict[str, st.SearchStrategy[Sample]] = {
    "conv": convs(),
    "dense": layers_on(
        st.builds("dense({}, bias={})".format, st.sampled_from((1, 3, 10, 33)), st.sampled_from(("true", "false"))),
        maps(side=4) | vectors,
    ),
    "maxpool": pools("maxpool"),
    "avgpool": pools("avgpool"),
    "globalavgpool": layers_on("globalavgpool", maps()),
    "globalmaxpool": layers_on("globalmaxpool", maps()),
    "adaptiveavgpool": layers_on(
        st.builds("adaptiveavgpool({}x{})".format, st.integers(1, 7), st.integers(1, 7)), maps(side=11)
    ),
    "batchnorm": layers_on(
        st.builds(
            "batchnorm(eps={}, affine={})".format,
            st.sampled_from((1e-5, 1e-3, 0.1)),
            st.sampled_from(("true", "false")),
        ),
        anything,
    ),
    "lrn": norms(),
    "leaky_relu": layers_on(numbers.map("leaky_relu({})".format), anything),
    "elu": layers_on(numbers.map("elu({})".format), anything),
    "flatten": layers_on("flatten", anything),
    "softmax": layers_on("softmax", anything),
    "dropout": layers_on("dropout", anything),
    "identity": layers_on("identity", anything),
    "pad": layers_on(st.builds("pad({}, value={})".format, four, numbers), maps(side=5)),
    "channel_shuffle": shuffles(),
    "add": joins("add"),
    "mul": joins("mul"),
    "concat": joins("concat"),
} | {
    name: layers_on(name, anything)
    for name in ("relu", "relu6", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid")
}

SAMPLES = [
    Sample("conv(4, 3x3)", ((7, 6, 3),)),
    Sample("conv(6, 3x3, pad=1, stride=2)", ((8, 8, 3),), ("conv(6, 3x3, pad=(2, 0, 1, 1), stride=2)",)),
    Sample("conv(4, 2x3, pad=(0, 1, 2, 1))", ((6, 7, 2),), ("conv(4, 2x3, pad=(1, 0, 1, 2))",)),
    Sample("conv(3, 3, dilation=2x3, pad=3)", ((9, 9, 2),), ("conv(3, 3, dilation=3x2, pad=(4, 4, 2, 2))",)),
    Sample("conv(4, 4, pad=same)", ((6, 6, 3),), ("conv(4, 4, pad=(2, 1, 2, 1))",)),
    Sample("conv(6, 3, pad=1, groups=3)", ((5, 5, 6),)),
    Sample("conv(8, 3, pad=1, groups=4)", ((5, 5, 4),), ("conv(8, 3, pad=1, groups=4, dilation=2) -> pad(1)",)),
    # A reduction in steps within one tap, and one over several.
    Sample("conv(5, 2, stride=2)", ((4, 5, 64),)),
    Sample("conv(40, 11x11, stride=4)", ((23, 27, 3),), ("conv(40, 11x11, stride=(3, 4), pad=(0, 0, 0, 0))",)),
    Sample("dense(7)", ((33,),)),
    Sample("dense(4)", ((2, 3, 5),)),
    Sample("maxpool(3, stride=2, pad=1)", ((8, 8, 2),), ("maxpool(3, stride=2, ceil=true)",)),
    Sample("maxpool(3x2, stride=2, ceil=true)", ((8, 7, 2),), ("maxpool(2x3, stride=2, ceil=true)",)),
    Sample("maxpool(2, stride=3, ceil=true)", ((6, 7, 2),), ("maxpool(1, stride=3, ceil=true)",)),
    Sample(
        "avgpool(3, stride=2, pad=1, ceil=true)", ((4, 4, 2),),
        ("avgpool(3, stride=2, pad=1, ceil=true, count_pad=false)",),
    ),
    # Its last windows hang over a padding of one on one side, of none on the other.
    Sample(
        "avgpool(3, stride=2, pad=(0, 1, 1, 0), ceil=true)", ((5, 5, 2),),
        ("avgpool(3, stride=2, pad=(1, 0, 0, 1), ceil=true)",),
    ),
    Sample("avgpool(3, pad=(1, 0, 0, 1))", ((7, 8, 2),), ("avgpool(3, pad=(0, 1, 0, 1))",)),
    Sample("globalavgpool", ((7, 5, 3),), ("globalmaxpool",)),
    Sample("globalmaxpool", ((7, 5, 3),), ("globalavgpool",)),
    Sample("adaptiveavgpool(3x2)", ((7, 8, 2),), ("maxpool(3x4, stride=2x4)",)),
    Sample("adaptiveavgpool(5x4)", ((3, 4, 2),), ("pad((1, 1, 0, 0))",)),
    Sample("batchnorm", ((4, 5, 3),), ("batchnorm(eps=1e-4)",)),
    Sample("batchnorm(affine=false)", ((6,),), ("batchnorm(affine=false, eps=1e-3)",)),
    Sample("lrn(4, alpha=1)", ((2, 3, 9),), ("lrn(5, alpha=1.25)",)),
    Sample("lrn(5, alpha=5e-3, beta=0.75, k=2)", ((3, 3, 12),), ("lrn(5, alpha=1e-3, beta=0.75, k=2)",)),
    Sample("relu", ((4, 3, 5),), ("leaky_relu", "relu6")),
    Sample("leaky_relu(0.1)", ((4, 3, 5),), ("leaky_relu",)),
    Sample("relu6", ((4, 3, 5),), ("relu",)),
    Sample("elu(2)", ((4, 3, 5),), ("elu",)),
    Sample("gelu", ((4, 3, 5),), ("silu",)),
    Sample("silu", ((4, 3, 5),), ("hardswish",)),
    Sample("sigmoid", ((4, 3, 5),), ("hardsigmoid",)),
    Sample("tanh", ((4, 3, 5),), ("sigmoid",)),
    Sample("hardswish", ((4, 3, 5),), ("silu",)),
    Sample("hardsigmoid", ((4, 3, 5),), ("sigmoid",)),
    Sample("dropout(0.3)", ((4, 3, 5),), ("relu",)),
    Sample("identity", ((4, 3, 5),), ("relu",)),
    Sample("flatten", ((4, 3, 6),), ("channel_shuffle(2) -> flatten",)),
    Sample("softmax", ((2, 3, 7),), ("sigmoid",)),
    Sample("softmax", ((1000,),), ("leaky_relu(1e-3)",)),
    # 1.062 lies between two numbers of bf16, the nearer one above.
    Sample("pad((0, 1, 2, 0), value=1.062)", ((4, 3, 2),), ("pad((1, 0, 2, 0), value=1.062)", "pad((0, 1, 2, 0))")),
    Sample("channel_shuffle(2)", ((3, 3, 6),), ("channel_shuffle(3)",)),
    Sample("add(@x1, @x2)", ((4, 3, 5),) * 3, ("add(@x1, @x1)", "add(@x1)")),
    Sample("mul(@x1)", ((4, 3, 5), (1, 1, 5)), ("mul(@x1, @x1)",)),
    Sample("mul(@x1, @x2)", ((1, 1, 5), (1, 1, 5), (4, 3, 5)), ("mul(@x2)",)),
    Sample("concat(@x1, @x2)", ((4, 3, 5), (4, 3, 2), (4, 3, 2)), ("concat(@x2, @x1)",)),
]


def random_tensor(*shape: int, seed: int) -> torch.Tensor:
    """Numbers wide enough to reach the bends of every activation, the same for the same seed, in fp32."""
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
