"""Random graphs for what is written of them: any wiring, several inputs and outputs, names of all kinds."""

from hypothesis import strategies as st

from cnndsl.exchange.model import Builder, Model
from cnndsl.ir import TensorType
from cnndsl.ops.activations import LeakyRelu, Relu, Sigmoid
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.global_pool import GlobalAvgPool
from cnndsl.ops.joins import Add, Concat, Mul
from cnndsl.ops.normalize import BatchNorm
from cnndsl.ops.pool import MaxPool
from cnndsl.ops.reshape import Dropout

UNARY: tuple[Op, ...] = (
    Conv(4, (3, 3), pad=(1, 1, 1, 1)),
    Conv(4, (1, 1), bias=False),
    Conv(2, (3, 3), (2, 2), (1, 1, 1, 1)),
    BatchNorm(),
    BatchNorm(eps=0.001),
    Relu(),
    LeakyRelu(0.1),
    Sigmoid(),
    Dropout(),
    MaxPool((2, 2)),
    GlobalAvgPool(),
    Dense(4),
)
NAMES = st.sampled_from(
    ["", "", "conv1", "conv", "a.b", "a.b.c", "a.c", "a", "b.0.conv", "b.1.conv", "b.2.conv", "input", "1x1", "x.3x3",
     "0", "1", "relu1", "layer1.0.conv1", "layer1.0.bn1", "layer1.1.conv1", "out", "block", "dense_1", "b"]
)  # fmt: skip
OUTPUTS = st.sampled_from(["aux", "out", "input", "if", "a", "b.0", "conv1"])


@st.composite
def models(draw: st.DrawFn, *, most: int = 14) -> Model:
    """A model of a few layers over small tensors; joins are as likely as anything else."""
    b = Builder(draw(st.sampled_from(["Net", "network", "a b", ""])), origin="random")
    values = [
        b.input(draw(NAMES), TensorType((4, 4, draw(st.sampled_from([1, 4])))))
        for _ in range(draw(st.integers(1, 2)))
    ]
    for _ in range(draw(st.integers(0, most))):
        # The latest values are likeliest to be read, so that there are chains between the joins.
        near = st.one_of(st.sampled_from(values[-2:]), st.sampled_from(values))
        x = draw(near)
        if draw(st.booleans()):
            op: Op = draw(st.sampled_from(UNARY))
            if (b.type(x).is_map and b.type(x).height > 1) or not isinstance(op, (Conv, MaxPool, GlobalAvgPool)):
                values.append(b.add(op, x, name=draw(NAMES)))
            continue
        join: Op = draw(st.sampled_from((Add(), Add(), Mul(), Concat())))
        size = b.type(x).shape[:-1]
        alike = [v for v in values if (b.type(v).shape[:-1] == size if join == Concat() else b.type(v) == b.type(x))]
        others = draw(st.lists(st.sampled_from(alike), min_size=0, max_size=3))
        if b.type(x).size < 1000:
            values.append(b.add(join, x, *others, name=draw(NAMES)))
    b.output("main", draw(st.one_of(st.just(values[-1]), st.sampled_from(values))))
    for name in draw(st.lists(OUTPUTS, max_size=3)):
        b.output(name, draw(st.sampled_from(values)))
    return b.finish()
