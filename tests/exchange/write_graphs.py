"""Random graphs for what is written of them: any wiring, several inputs and outputs, names of all kinds."""

from dataclasses import replace

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


class Stack:
    """Builds networks of blocks that come again with other numbers."""

    def __init__(self, builder: Builder, naming: str) -> None:
        self.b, self.naming = builder, naming
        self.path = ""
        self.count = 0

    def name(self, last: str) -> str:
        self.count += 1
        match self.naming:
            case "paths":
                return f"{self.path}{last}"
            case "plain":
                return f"{self.path}{last}".replace(".", "_")
            case "numbers":
                return f"layer{self.count}"
        return ""

    def conv(self, x: str, channels: int, last: str, **arguments) -> str:
        kernel = arguments.pop("kernel", 3)
        pad = kernel // 2
        norm = arguments.pop("norm", False)
        op = Conv(channels, (kernel, kernel), pad=(pad, pad, pad, pad), bias=not norm, **arguments)
        x = self.b.add(op, x, name=self.name(last))
        return self.b.add(BatchNorm(), x, name=self.name(f"{last}_bn")) if norm else x

    def relu(self, x: str) -> str:
        return self.b.add(Relu(), x, name=self.name("relu"))

    def block(self, x: str, kind: str, channels: int, stride: int) -> str:
        """One block; its output has `channels` channels and, in those that can, 1 / `stride` of the rows."""
        b, c = self.b, self.b.type(x).channels
        match kind:
            case "plain":
                y = self.relu(self.conv(x, channels, "a", stride=(stride, stride)))
                return self.relu(self.conv(y, channels, "b"))
            case "residual":
                y = self.relu(self.conv(x, channels, "a", stride=(stride, stride), norm=True))
                y = self.conv(y, channels, "b", norm=True)
                if stride > 1 or c != channels:
                    x = self.conv(x, channels, "short", kernel=1, stride=(stride, stride), norm=True)
                return self.relu(b.add(Add(), y, x, name=self.name("add")))
            case "arms":
                arms = [
                    self.relu(self.conv(x, channels // 2, "one", kernel=1)),
                    self.relu(self.conv(self.relu(self.conv(x, 2, "reduce", kernel=1)), channels // 2, "three")),
                ]
                return b.add(Concat(), *arms, name=self.name("join"))
            case "inverted":
                y = self.relu(self.conv(x, 2 * c, "expand", kernel=1))
                y = self.relu(self.conv(y, 2 * c, "depth", groups=2 * c, stride=(stride, stride)))
                s = self.conv(b.add(GlobalAvgPool(), y, name=self.name("gap")), 2 * c, "gate", kernel=1)
                s = b.add(Sigmoid(), s)
                y = self.conv(b.add(Mul(), y, s, name=self.name("scale")), channels, "project", kernel=1)
                return b.add(Add(), x, y, name=self.name("add")) if stride == 1 and c == channels else y
            case "dense":
                y = self.conv(self.relu(b.add(BatchNorm(), x, name=self.name("norm"))), 2, "grow")
                return b.add(Concat(), x, y, name=self.name("join"))
        raise AssertionError(kind)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Model, str]:
    """A network of blocks, and how its layers are called."""
    naming = draw(st.sampled_from(["paths", "paths", "plain", "numbers", "none"]))
    builder = Builder("Stack", origin="stack.onnx")
    x = builder.input("image", TensorType((16, 16, 3)))
    stack = Stack(builder, naming)
    x = stack.conv(x, 4, "stem")
    kinds = draw(st.lists(st.sampled_from(["plain", "residual", "arms", "inverted", "dense"]), min_size=1, max_size=3))
    for stage in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(kinds))
        channels, stride = draw(st.sampled_from([4, 4, 8, 16])), draw(st.sampled_from([1, 1, 2]))
        for number in range(draw(st.integers(1, 4))):
            stack.path = f"stage{stage}.{number}."
            x = stack.block(x, kind, channels, stride if number == 0 else 1)
        if draw(st.booleans()) and builder.type(x).height > 1:
            x = builder.add(MaxPool((2, 2)), x, name=f"pool{stage}" if naming != "none" else "")
        if draw(st.integers(0, 5)) == 0:
            builder.output(f"aux{stage}", builder.add(Dense(3), x, name=f"aux{stage}.fc" if naming != "none" else ""))
    stack.path = ""
    builder.output("main", builder.add(Dense(5), builder.add(GlobalAvgPool(), x), name=stack.name("fc")))
    model = builder.finish()
    outputs = model.graph.outputs
    return Model(replace(model.graph, outputs=(("main", outputs[-1][1]), *_sides(outputs))), {}), naming


def _sides(outputs: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return [(f"aux{number}", node) for number, (_, node) in enumerate(outputs[:-1])]
