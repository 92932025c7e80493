"""One function for each layer of the language: the ONNX operators that compute it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cnndsl.ir import Graph, Node, TensorType
from cnndsl.ops import activations as act
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.global_pool import AdaptiveAvgPool, GlobalAvgPool, GlobalMaxPool
from cnndsl.ops.joins import Add, Concat, Mul
from cnndsl.ops.normalize import BatchNorm, LocalResponseNorm
from cnndsl.ops.pool import AvgPool, MaxPool
from cnndsl.ops.reshape import ChannelShuffle, Dropout, Flatten, Identity, Pad, Softmax
from cnndsl.ops.window import output_size

if TYPE_CHECKING:
    import onnx
    import torch


class Emitter:
    """Collects the nodes and initialisers of a model.

    ONNX has one room of names for inputs, initialisers, outputs and all between them. The first three keep those that
    the network gives them; where a layer's value or a part of its work has the same, that is called otherwise.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, torch.Tensor], opset: int) -> None:
        self.weights, self.opset = weights, opset
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, np.ndarray] = {}
        """The initialisers by name."""
        inputs = {node.name for node in graph.inputs}
        self._taken = inputs | set(weights)
        outputs = [name for name, _ in graph.outputs]
        self._taken.update(name for name in outputs if name not in inputs)
        self.outputs = {name: self._free(f"{name}_output") if name in inputs else name for name in outputs}
        """What the outputs of the network are called."""
        self._values = {n.name: n.name if n.op is None else self._free(n.name) for n in graph.nodes}
        self._constants: dict[str, str] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the initialisers."""
        return sum(array.nbytes for array in self.arrays.values())

    def value(self, node: str) -> str:
        """The value that a node of the network makes."""
        return self._values[node]

    def node(self, operator: str, *inputs: str, output: Node | str, **attributes: Any) -> str:
        """Add a node that makes the value of a layer, or a part of its work of that name; returns the value's name."""
        if isinstance(output, Node):
            return self._node(operator, inputs, output.name, self.value(output.name), **attributes)
        own = self._free(output)
        return self._node(operator, inputs, own, own, **attributes)

    def output(self, name: str, source: str) -> None:
        """Make an output of the network: a value of its own, for a node may be two of them, or the input itself."""
        self._node("Identity", (self.value(source),), self._free(f"{name}.output"), self.outputs[name])

    def _node(self, operator: str, inputs: Sequence[str], name: str, value: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [value], name=name, **attributes))
        return value

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        """Add an initialiser, once for each name; returns what it is called."""
        if name not in self._constants:
            self._constants[name] = self._free(name)
            self.arrays[self._constants[name]] = np.asarray(value, dtype=dtype, order="C")
        return self._constants[name]

    def weight(self, node: Node, leaf: str) -> str:
        """A tensor of the state dict as an initialiser of the same name, in fp32."""
        key = f"{node.name}.{leaf}"
        self.arrays[key] = np.asarray(self.weights[key].detach().cpu().float().numpy(), order="C")
        return key

    def _free(self, name: str) -> str:
        """`name`, or one like it that nothing has; it is taken from now on."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def emit(e: Emitter, node: Node, xs: Sequence[TensorType]) -> None:
    """Add what computes a layer, under the layer's name."""
    assert node.op is not None
    reading = replace(node, inputs=tuple(map(e.value, node.inputs)))
    _LAYERS[type(node.op)](e, reading, node.op, xs)


def _pads(pad: Sequence[int] | str) -> list[int]:
    """(top, bottom, left, right) in ONNX's order: all beginnings, then all ends."""
    assert not isinstance(pad, str)
    top, bottom, left, right = pad
    return [top, left, bottom, right]


def _conv(e: Emitter, node: Node, op: Conv, _: Sequence[TensorType]) -> None:
    inputs = [node.inputs[0], e.weight(node, "weight"), *([e.weight(node, "bias")] if op.bias else [])]
    e.node(
        "Conv", *inputs, output=node, kernel_shape=list(op.kernel), strides=list(op.stride), pads=_pads(op.pad),
        dilations=list(op.dilation), group=op.groups,
    )  # fmt: skip


def _dense(e: Emitter, node: Node, op: Dense, xs: Sequence[TensorType]) -> None:
    x = node.inputs[0]
    if xs[0].is_map:
        x = e.node("Flatten", x, output=f"{node.name}.flatten", axis=1)
    inputs = [x, e.weight(node, "weight"), *([e.weight(node, "bias")] if op.bias else [])]
    e.node("Gemm", *inputs, output=node, transB=1)


def _max_pool(e: Emitter, node: Node, op: MaxPool, xs: Sequence[TensorType]) -> None:
    e.node(
        "MaxPool", node.inputs[0], output=node, kernel_shape=list(op.kernel), strides=list(op.stride or op.kernel),
        pads=_pads(op.pad), ceil_mode=int(_needs_ceil(op, xs[0])),
    )  # fmt: skip


def _avg_pool(e: Emitter, node: Node, op: AvgPool, xs: Sequence[TensorType]) -> None:
    """A mean with its padding counted and rounded up is written as padding and a mean that counts pixels alone.

    There torch divides by the window within the padded picture, and runtimes differ on it.
    """
    assert not isinstance(op.pad, str)
    x, pad, counted = node.inputs[0], _pads(op.pad), op.count_pad and any(op.pad)
    if counted and _needs_ceil(op, xs[0]):
        amounts = e.constant(f"{node.name}.pads", [0, 0, *pad[:2], 0, 0, *pad[2:]], np.int64)
        x = e.node("Pad", x, amounts, output=f"{node.name}.padded")
        pad, counted = [0] * 4, False
    e.node(
        "AveragePool", x, output=node, kernel_shape=list(op.kernel), strides=list(op.stride or op.kernel),
        pads=pad, ceil_mode=int(_needs_ceil(op, xs[0])), count_include_pad=int(counted),
    )  # fmt: skip


def _needs_ceil(op: MaxPool | AvgPool, x: TensorType) -> bool:
    """Whether rounding up makes a window more than rounding down."""
    assert not isinstance(op.pad, str)
    assert op.stride is not None
    sizes = zip((x.height, x.width), op.kernel, op.stride, (op.pad[:2], op.pad[2:]), strict=True)
    return op.ceil and any(
        output_size(size, k, stride=s, before=b, after=a, dilation=1, ceil=True)
        != output_size(size, k, stride=s, before=b, after=a, dilation=1, ceil=False)
        for size, k, s, (b, a) in sizes
    )


def _global(operator: str) -> Callable[[Emitter, Node, Op, Sequence[TensorType]], None]:
    def emit_global(e: Emitter, node: Node, _: Op, __: Sequence[TensorType]) -> None:
        e.node(operator, node.inputs[0], output=node)

    return emit_global


def _adaptive(e: Emitter, node: Node, op: AdaptiveAvgPool, xs: Sequence[TensorType]) -> None:
    """ONNX has no such pooling: windows of one size are a mean, others two products with matrices of weights."""
    (height, width), (p, q) = (xs[0].height, xs[0].width), op.size
    if (p, q) == (height, width):
        e.node("Identity", node.inputs[0], output=node)
    elif (p, q) == (1, 1):
        e.node("GlobalAveragePool", node.inputs[0], output=node)
    elif height % p == 0 and width % q == 0:
        kernel = [height // p, width // q]
        e.node("AveragePool", node.inputs[0], output=node, kernel_shape=kernel, strides=kernel)
    else:
        rows = e.constant(f"{node.name}.rows", _means(height, p))
        columns = e.constant(f"{node.name}.columns", _means(width, q).T)
        left = e.node("MatMul", rows, node.inputs[0], output=f"{node.name}.of_rows")
        e.node("MatMul", left, columns, output=node)


def _means(size: int, out: int) -> np.ndarray:
    """[out, size]: row i holds 1 / n in the n places of window i."""
    weights = np.zeros((out, size))
    for i in range(out):
        start, stop = i * size // out, -(-(i + 1) * size // out)
        weights[i, start:stop] = 1 / (stop - start)
    return weights


def _batch_norm(e: Emitter, node: Node, op: BatchNorm, xs: Sequence[TensorType]) -> None:
    channels = xs[0].channels
    scale = e.weight(node, "weight") if op.affine else e.constant(f"{node.name}.ones", np.ones(channels))
    shift = e.weight(node, "bias") if op.affine else e.constant(f"{node.name}.zeros", np.zeros(channels))
    mean, variance = e.weight(node, "running_mean"), e.weight(node, "running_var")
    e.node(
        "BatchNormalization", node.inputs[0], scale, shift, mean, variance, output=node, epsilon=op.eps,
        momentum=1 - op.momentum,
    )  # fmt: skip


def _lrn(e: Emitter, node: Node, op: LocalResponseNorm, xs: Sequence[TensorType]) -> None:
    if op.size % 2:
        e.node("LRN", node.inputs[0], output=node, size=op.size, alpha=op.alpha, beta=op.beta, bias=op.k)
        return
    # ONNX puts the extra channel of an even window above, torch below, and onnxruntime takes odd windows alone: the sum
    # over channels is a 1x1 convolution with a band of ones.
    c = xs[0].channels
    distance = np.arange(c)[None, :] - np.arange(c)[:, None]
    band = ((distance >= -(op.size // 2)) & (distance <= (op.size - 1) // 2)) * (op.alpha / op.size)
    x = node.inputs[0]
    squares = e.node("Mul", x, x, output=f"{node.name}.squares")
    weight, k = e.constant(f"{node.name}.band", band[:, :, None, None]), e.constant(f"{node.name}.k", np.full(c, op.k))
    total = e.node("Conv", squares, weight, k, output=f"{node.name}.sums")
    beta = e.constant(f"{node.name}.beta", op.beta)
    e.node("Div", x, e.node("Pow", total, beta, output=f"{node.name}.divisor"), output=node)


def _plain(operator: str, **attributes: Any) -> Callable[[Emitter, Node, Op, Sequence[TensorType]], None]:
    def emit_plain(e: Emitter, node: Node, _: Op, __: Sequence[TensorType]) -> None:
        e.node(operator, node.inputs[0], output=node, **attributes)

    return emit_plain


def _relu6(e: Emitter, node: Node, _: Op, __: Sequence[TensorType]) -> None:
    low, high = e.constant("relu6.min", 0.0), e.constant("relu6.max", 6.0)
    e.node("Clip", node.inputs[0], low, high, output=node)


def _leaky_relu(e: Emitter, node: Node, op: act.LeakyRelu, _: Sequence[TensorType]) -> None:
    e.node("LeakyRelu", node.inputs[0], output=node, alpha=op.slope)


def _elu(e: Emitter, node: Node, op: act.Elu, _: Sequence[TensorType]) -> None:
    e.node("Elu", node.inputs[0], output=node, alpha=op.alpha)


def _silu(e: Emitter, node: Node, _: Op, __: Sequence[TensorType]) -> None:
    x = node.inputs[0]
    e.node("Mul", x, e.node("Sigmoid", x, output=f"{node.name}.sigmoid"), output=node)


def _hardswish(e: Emitter, node: Node, _: Op, __: Sequence[TensorType]) -> None:
    x = node.inputs[0]
    if e.opset >= 14:
        e.node("HardSwish", x, output=node)
        return
    gate = e.node("HardSigmoid", x, output=f"{node.name}.gate", alpha=1 / 6, beta=0.5)
    e.node("Mul", x, gate, output=node)


def _gelu(e: Emitter, node: Node, _: Op, __: Sequence[TensorType]) -> None:
    x = node.inputs[0]
    if e.opset >= 20:
        e.node("Gelu", x, output=node)
        return
    root, one, half = (e.constant(f"gelu.{n}", v) for n, v in (("root2", math.sqrt(2)), ("one", 1.0), ("half", 0.5)))
    scaled = e.node("Div", x, root, output=f"{node.name}.scaled")
    error = e.node("Erf", scaled, output=f"{node.name}.erf")
    product = e.node("Mul", x, e.node("Add", error, one, output=f"{node.name}.shifted"), output=f"{node.name}.product")
    e.node("Mul", product, half, output=node)


def _dropout(e: Emitter, node: Node, op: Dropout, _: Sequence[TensorType]) -> None:
    e.node("Dropout", node.inputs[0], e.constant(f"{node.name}.ratio", op.p), output=node)


def _pad(e: Emitter, node: Node, op: Pad, _: Sequence[TensorType]) -> None:
    top, left, bottom, right = _pads(op.size)
    amounts = e.constant(f"{node.name}.pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
    value = [] if op.value == 0 else [e.constant(f"{node.name}.value", op.value)]
    e.node("Pad", node.inputs[0], amounts, *value, output=node)


def _shuffle(e: Emitter, node: Node, op: ChannelShuffle, xs: Sequence[TensorType]) -> None:
    c, h, w = xs[0].torch_shape
    apart = e.constant(f"{node.name}.groups", [0, op.groups, c // op.groups, h, w], np.int64)
    together = e.constant(f"{node.name}.shape", [0, c, h, w], np.int64)
    grouped = e.node("Reshape", node.inputs[0], apart, output=f"{node.name}.grouped")
    swapped = e.node("Transpose", grouped, output=f"{node.name}.swapped", perm=[0, 2, 1, 3, 4])
    e.node("Reshape", swapped, together, output=node)


def _chain(operator: str) -> Callable[[Emitter, Node, Op, Sequence[TensorType]], None]:
    """Two operands at a time: ONNX's Sum takes more, but no product does."""

    def emit_chain(e: Emitter, node: Node, _: Op, __: Sequence[TensorType]) -> None:
        first, *others = node.inputs
        if not others:
            e.node("Identity", first, output=node)
        for number, other in enumerate(others):
            last = number == len(others) - 1
            first = e.node(operator, first, other, output=node if last else f"{node.name}.{number}")

    return emit_chain


def _add(e: Emitter, node: Node, op: Op, xs: Sequence[TensorType]) -> None:
    if len(node.inputs) > 2:
        e.node("Sum", *node.inputs, output=node)
    else:
        _chain("Add")(e, node, op, xs)


def _concat(e: Emitter, node: Node, _: Op, __: Sequence[TensorType]) -> None:
    e.node("Concat", *node.inputs, output=node, axis=1)


_LAYERS: dict[type[Op], Callable[[Emitter, Node, Any, Sequence[TensorType]], None]] = {
    Conv: _conv,
    Dense: _dense,
    MaxPool: _max_pool,
    AvgPool: _avg_pool,
    GlobalAvgPool: _global("GlobalAveragePool"),
    GlobalMaxPool: _global("GlobalMaxPool"),
    AdaptiveAvgPool: _adaptive,
    BatchNorm: _batch_norm,
    LocalResponseNorm: _lrn,
    act.Relu: _plain("Relu"),
    act.Relu6: _relu6,
    act.LeakyRelu: _leaky_relu,
    act.Elu: _elu,
    act.Gelu: _gelu,
    act.Silu: _silu,
    act.Sigmoid: _plain("Sigmoid"),
    act.Tanh: _plain("Tanh"),
    act.HardSwish: _hardswish,
    act.HardSigmoid: _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    Dropout: _dropout,
    Flatten: _plain("Flatten", axis=1),
    Softmax: _plain("Softmax", axis=1),
    Identity: _plain("Identity"),
    Pad: _pad,
    ChannelShuffle: _shuffle,
    Add: _add,
    Mul: _chain("Mul"),
    Concat: _concat,
}
