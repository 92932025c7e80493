"""Random networks: their text, and beside it the same computation in torch, put together without the compiler.

Every piece of a network is a `Piece`: what the file says, the shape it makes, and a function that computes it from the
state dict under the names that the file's labels promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from hypothesis import strategies as st
from pieces import Branched, Example, Piece, State
from strategies import Dims, torch_shape
from torch.nn import functional as f

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": f.relu,
    "leaky_relu(0.2)": lambda x: f.leaky_relu(x, 0.2),
    "relu6": f.relu6,
    "elu": f.elu,
    "gelu": f.gelu,
    "silu": f.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": f.hardswish,
    "hardsigmoid": f.hardsigmoid,
}

KEEPING = ("conv", "conv", "batchnorm", "activation", "activation", "nothing", "softmax", "add", "mul", "repeat")
KEEPING_MAPS = (*KEEPING, "lrn", "shuffle", "smooth", "scale", "normed", "averages")
CHANGING = ("dense", "concat", "concat", "group", "block", "output", "join", "go", "flatten")
CHANGING_MAPS = (
    *CHANGING, "wide", "wide", "pool", "squeeze", "adaptive", "pad", "inception", "inception", "grow", "unit",
)


class Writer(Branched):
    """Draws one network piece by piece. Labels are l1, l2 ...; `seen` are those that a reference may name."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.count = 0
        self.budget = draw(st.integers(1, 14))
        self.seen: list[tuple[str, Dims]] = []
        self.blocks: list[str] = []
        self.depth = 0
        self.repeating = False

    def number(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def label(self) -> str:
        self.count += 1
        return f"l{self.count}"

    # --- bodies ----------------------------------------------------------------------------------

    def body(self, shape: Dims, *, keep: bool, most: int = 3, least: int = 0) -> Piece:
        """Some pieces one after the other; `keep` ends in the shape it began with."""
        pieces = []
        for _ in range(self.number(least, most)):
            pieces.append(self.piece(pieces[-1].shape if pieces else shape, keep=keep))
        return self.chain(pieces, shape)

    def chain(self, pieces: list[Piece], shape: Dims) -> Piece:
        def run(x: torch.Tensor, state: State) -> torch.Tensor:
            for piece in pieces:
                x = piece.run(x, state)
            return x

        arrow = self.draw(st.sampled_from((" -> ", "\n", " ")))
        return Piece(arrow.join(p.text for p in pieces if p.text), pieces[-1].shape if pieces else shape, run)

    def piece(self, shape: Dims, *, keep: bool) -> Piece:
        self.budget -= 1
        is_map = len(shape) == 3
        kinds = KEEPING_MAPS if is_map else KEEPING
        if not keep:
            kinds += CHANGING_MAPS if is_map else CHANGING
        if self.budget < 0 or self.depth > 3:
            kinds = ("activation", "conv", "nothing")
        if self.depth:
            # Labels are unique and outputs stand once: not in a body that may be expanded twice.
            kinds = tuple(k for k in kinds if k not in {"output", "block", "group", "grow"})
        return self.of(self.draw(st.sampled_from(kinds)), shape)

    def of(self, kind: str, shape: Dims) -> Piece:
        """A piece of a kind; one that stands in no other may be named."""
        self.depth += 1
        made: Piece = getattr(self, kind)(shape)
        self.depth -= 1
        if not self.depth and self.draw(st.booleans()) and ":" not in made.text.split("(")[0]:
            made = self.named(made)
        return made

    def named(self, piece: Piece) -> Piece:
        """A labelled group around a piece that needs no names of its own: something to refer to later."""
        label = self.label()

        def run(x: torch.Tensor, state: State) -> torch.Tensor:
            y = piece.run(x, replace(state, prefix=f"{state.prefix}{label}.", passes=()))
            state.named[label] = y
            return y

        self.seen.append((label, piece.shape))
        return Piece(f"{label}: {{ {piece.text} }}", piece.shape, run)

    # --- layers ----------------------------------------------------------------------------------

    def simple(self, text: str, shape: Dims, function: Callable[[torch.Tensor], torch.Tensor]) -> Piece:
        return Piece(text, shape, lambda x, _: function(x))

    def conv(self, shape: Dims, filters: int | None = None, side: int | None = None) -> Piece:
        """A convolution that keeps height and width, or a dense layer; `filters` None keeps the channels."""
        label, out = self.label(), filters or shape[-1]
        bias = self.draw(st.booleans())
        if len(shape) == 1:
            return Piece(
                f"{label}: dense({out}, bias={str(bias).lower()})", (out,),
                lambda x, s: f.linear(x, s.of(label)["weight"], s.of(label).get("bias")),
            )
        side = self.draw(st.sampled_from((1, 1, 3))) if side is None else side
        groups = self.draw(st.sampled_from((1, 1, shape[2]))) if out % shape[2] == 0 else 1

        def run(x: torch.Tensor, s: State) -> torch.Tensor:
            w = s.of(label)
            return f.conv2d(x, w["weight"], w.get("bias"), padding=side // 2, groups=groups)

        words = f"{out}, {side}, pad={side // 2}, groups={groups}, bias={str(bias).lower()}"
        return Piece(f"{label}: conv({words})", (*shape[:2], out), run)

    def wide(self, shape: Dims) -> Piece:
        """A convolution with a stride."""
        label, out, stride = self.label(), self.number(1, 9), self.number(1, 2)
        size = tuple((n + 2 - 3) // stride + 1 for n in shape[:2])
        return Piece(
            f"{label}: conv({out}, 3x3, pad=1, stride={stride})", (*size, out),
            lambda x, s: f.conv2d(x, s.of(label)["weight"], s.of(label)["bias"], padding=1, stride=stride),
        )

    def dense(self, shape: Dims) -> Piece:
        label, units = self.label(), self.number(1, 20)
        return Piece(
            f"{label}: dense({units})", (units,),
            lambda x, s: f.linear(x.flatten(1), s.of(label)["weight"], s.of(label)["bias"]),
        )

    def batchnorm(self, shape: Dims) -> Piece:
        label = self.label()

        def run(x: torch.Tensor, s: State) -> torch.Tensor:
            w = s.of(label)
            return f.batch_norm(x, w["running_mean"], w["running_var"], w["weight"], w["bias"], eps=1e-3)

        return Piece(f"{label}: batchnorm(eps=1e-3)", shape, run)

    def activation(self, shape: Dims) -> Piece:
        name = self.draw(st.sampled_from(list(ACTIVATIONS)))
        return self.simple(name, shape, ACTIVATIONS[name])

    def nothing(self, shape: Dims) -> Piece:
        return self.simple(self.draw(st.sampled_from(("dropout", "identity"))), shape, lambda x: x)

    def softmax(self, shape: Dims) -> Piece:
        return self.simple("softmax", shape, lambda x: x.softmax(1))

    def lrn(self, shape: Dims) -> Piece:
        return self.simple("lrn(3, alpha=0.5)", shape, lambda x: f.local_response_norm(x, 3, 0.5))

    def shuffle(self, shape: Dims) -> Piece:
        groups = self.draw(st.sampled_from([g for g in range(1, shape[2] + 1) if shape[2] % g == 0]))
        return self.simple(f"channel_shuffle({groups})", shape, lambda x: f.channel_shuffle(x, groups))

    def smooth(self, shape: Dims) -> Piece:
        """Pooling that keeps the shape."""
        if self.draw(st.booleans()):
            return self.simple("maxpool(3, stride=1, pad=1)", shape, lambda x: f.max_pool2d(x, 3, 1, 1))
        return self.simple("avgpool(3, stride=1, pad=1)", shape, lambda x: f.avg_pool2d(x, 3, 1, 1))

    def pool(self, shape: Dims) -> Piece:
        size = tuple(math.ceil(n / 2) for n in shape[:2])
        return self.simple(
            "maxpool(2, ceil=true)", (*size, shape[2]), lambda x: f.max_pool2d(x, 2, ceil_mode=True)
        )

    def squeeze(self, shape: Dims) -> Piece:
        return self.simple("globalavgpool", (1, 1, shape[2]), lambda x: x.mean((2, 3), keepdim=True))

    def adaptive(self, shape: Dims) -> Piece:
        size = self.number(1, 4), self.number(1, 4)
        return self.simple(
            f"adaptiveavgpool({size})", (*size, shape[2]), lambda x: f.adaptive_avg_pool2d(x, size)
        )

    def pad(self, shape: Dims) -> Piece:
        return self.simple(
            "pad((0, 1, 1, 0))", (shape[0] + 1, shape[1] + 1, shape[2]), lambda x: f.pad(x, (1, 0, 0, 1))
        )

    def flatten(self, shape: Dims) -> Piece:
        return self.simple("flatten", (math.prod(shape),), lambda x: x.flatten(1))

    # --- joins -----------------------------------------------------------------------------------

    def arms(self, name: str, arms: list[Piece], shape: Dims) -> Piece:
        def run(x: torch.Tensor, state: State) -> torch.Tensor:
            ys = [arm.run(x, state) for arm in arms]
            if name == "concat":
                return torch.cat(ys, 1)
            y = ys[0]
            for other in ys[1:]:
                y = y + other if name == "add" else y * other
            return y

        return Piece(f"{name} {{ {' '.join(f'{{ {arm.text} }}' for arm in arms)} }}", shape, run)

    def add(self, shape: Dims) -> Piece:
        return self.arms("add", [self.body(shape, keep=True) for _ in range(self.number(2, 3))], shape)

    def mul(self, shape: Dims) -> Piece:
        return self.arms("mul", [self.body(shape, keep=True), self.body(shape, keep=True)], shape)

    def scale(self, shape: Dims) -> Piece:
        """Squeeze and excitation."""
        squeeze = self.squeeze(shape)
        gate = self.chain([squeeze, self.conv(squeeze.shape), self.activation(squeeze.shape)], shape)
        whole = self.body(shape, keep=True, most=1)
        arms = [whole, gate] if self.draw(st.booleans()) else [gate, whole]
        return self.arms("mul", arms, shape)

    def concat(self, shape: Dims) -> Piece:
        arms = []
        for _ in range(self.number(2, 4)):
            arm = self.body(shape, keep=True, most=2)
            if self.draw(st.booleans()):
                arm = self.chain([arm, self.conv(shape, self.number(1, 6))], shape)
            if self.depth < 3 and self.draw(st.integers(0, 3)) == 0:
                inner = self.concat(arm.shape)
                arm = self.chain([arm, inner], shape)
            arms.append(arm)
        return self.arms("concat", arms, (*shape[:-1], sum(arm.shape[-1] for arm in arms)))

    def join(self, shape: Dims) -> Piece:
        """The current tensor with earlier ones, the same one twice perhaps."""
        name = self.draw(st.sampled_from(("add", "mul", "concat", "concat")))
        fitting = [
            (label, other)
            for label, other in self.seen
            if other == shape or (name == "concat" and len(other) == len(shape) and other[:-1] == shape[:-1])
        ]
        if not fitting:
            arms = [self.body(shape, keep=True, most=1), self.chain([], shape)]
            return self.arms("concat", arms, (*shape[:-1], 2 * shape[-1]))
        chosen = [self.draw(st.sampled_from(fitting)) for _ in range(self.number(1, 2))]

        def run(x: torch.Tensor, state: State) -> torch.Tensor:
            ys = [x, *(state.named[label] for label, _ in chosen)]
            if name == "concat":
                return torch.cat(ys, 1)
            return sum(ys[1:], ys[0]) if name == "add" else math.prod(ys[1:], start=ys[0])

        channels = shape[-1] + sum(other[-1] for _, other in chosen) if name == "concat" else shape[-1]
        references = ", ".join(f"@{label}" for label, _ in chosen)
        return Piece(f"{name}({references})", (*shape[:-1], channels), run)

    # --- structure -------------------------------------------------------------------------------

    def go(self, shape: Dims) -> Piece:
        """On from an earlier tensor; what came before is used by others, or by nobody."""
        if not self.seen:
            return self.activation(shape)
        label, other = self.draw(st.sampled_from(self.seen))
        return Piece(f"@{label}", other, lambda _, state: state.named[label])

    def repeat(self, shape: Dims) -> Piece:
        if self.repeating:
            return self.activation(shape)
        self.repeating = True
        times, inner = self.number(1, 2), self.body(shape, keep=True, most=2)
        self.repeating = False

        def run(x: torch.Tensor, state: State) -> torch.Tensor:
            for i in range(times):
                x = inner.run(x, replace(state, passes=(*state.passes, i)))
            return x

        return Piece(f"repeat {times} {{ {inner.text} }}", shape, run)

    def group(self, shape: Dims) -> Piece:
        return self.named(self.body(shape, keep=False))

    def block(self, shape: Dims) -> Piece:
        """A block of its own, which sees no labels from outside."""
        seen, self.seen = self.seen, []
        inner = self.body(shape, keep=False)
        self.seen = seen
        label = self.label()
        self.blocks.append(f"block b{label} {{ {inner.text} }}")

        def run(x: torch.Tensor, state: State) -> torch.Tensor:
            y = inner.run(x, replace(state, prefix=f"{state.prefix}{label}.", passes=()))
            state.named[label] = y
            return y

        self.seen.append((label, inner.shape))
        return Piece(f"{label}: b{label}", inner.shape, run)

    def output(self, shape: Dims) -> Piece:
        """A second output, often of the current tensor as it is."""
        label = self.label()
        inner = self.body(shape, keep=False, most=2)

        def run(x: torch.Tensor, state: State) -> torch.Tensor:
            state.outputs[label] = inner.run(x, replace(state, prefix=f"{state.prefix}{label}.", passes=()))
            return x

        return Piece(f"output {label} {{ {inner.text} }}", shape, run)


def networks() -> st.SearchStrategy[Example]:
    """A network of one to some fifty layers on small tensors, of anything or of blocks."""
    return anything() | branched()


@st.composite
def anything(draw: st.DrawFn) -> Example:
    """A network of pieces of every kind."""
    writer = Writer(draw)
    shape: Dims = draw(
        st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from((1, 2, 3, 4, 6)))
        | st.tuples(st.sampled_from((1, 5, 8)))
    )
    inputs = [shape]
    if draw(st.integers(0, 3)) == 0:
        inputs.append(shape if draw(st.booleans()) else (*shape[:-1], writer.number(1, 5)))
    writer.seen = [(f"x{i}", dims) for i, dims in enumerate(inputs)]
    body = writer.body(inputs[-1], keep=False, least=1, most=8)
    return _example(writer.blocks, body, inputs)


def _example(blocks: list[str], body: Piece, inputs: list[Dims]) -> Example:
    """The network of a body, which begins at the last input."""
    declared = " ".join(f"input x{i} [{'x'.join(map(str, dims))}]" for i, dims in enumerate(inputs))
    text = "\n".join([*blocks, f"network Random {{ {declared}\n{body.text} }}"])

    def run(xs: list[torch.Tensor], weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        state = State(weights, {f"x{i}": x for i, x in enumerate(xs)}, {})
        end = body.run(xs[-1], state)
        return {"main": end, **state.outputs}

    return Example(text, tuple(inputs), run)


BLOCKS = (
    "inception", "inception", "grow", "grow", "unit", "unit", "normed", "normed", "scale", "residual", "concat", "join",
)


@st.composite
def branched(draw: st.DrawFn) -> Example:
    """A network of the blocks that published ones with branches are made of: rewrites find work in most."""
    writer = Writer(draw)
    writer.budget = 16
    shape: Dims = draw(st.tuples(st.integers(3, 6), st.integers(3, 6), st.sampled_from((2, 3, 4))))
    pieces = [writer.conv(shape, writer.number(1, 6))] if draw(st.booleans()) else []
    for kind in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4)):
        pieces.append(writer.of(kind, pieces[-1].shape if pieces else shape))
        if draw(st.integers(0, 3)) == 0:
            pieces.append(writer.of("output", pieces[-1].shape))
    here = pieces[-1].shape
    tail = draw(st.sampled_from(((), ("pool",), ("squeeze", "flatten", "batchnorm", "dense"), ("batchnorm", "dense"))))
    if tail:
        pieces.append(writer.line(here, *(getattr(writer, kind) for kind in tail)))
    return _example([], writer.chain(pieces, shape), [shape])


def random_weights(shapes: dict[str, torch.Size], *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors for a state dict: activations keep their size, and no bias, mean or variance is near what hides it."""
    g = torch.Generator().manual_seed(seed)
    found = {}
    for key, shape in shapes.items():
        x = torch.randn(shape, generator=g)
        name = key.rpartition(".")[2]
        if name == "running_var":
            x = x.abs() + 0.3
        elif name == "weight" and len(shape) == 1:
            x = 1 + 0.5 * x
        elif name == "weight":
            x /= math.sqrt(math.prod(shape[1:]))
        found[key] = x
    return found


def random_inputs(inputs: tuple[Dims, ...], *, batch: int, seed: int = 1) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn((batch, *torch_shape(dims)), generator=g) for dims in inputs]
