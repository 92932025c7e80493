"""One function for each type of Caffe's layers: from its message to a layer of the language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnndsl.exchange.model import Builder
from cnndsl.ops import activations as act
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.global_pool import GlobalAvgPool, GlobalMaxPool
from cnndsl.ops.joins import Add, Concat, Mul
from cnndsl.ops.normalize import BatchNorm, LocalResponseNorm
from cnndsl.ops.pool import AvgPool, MaxPool
from cnndsl.ops.reshape import Dropout, Flatten, Identity, Softmax
from cnndsl.ops.window import output_size

if TYPE_CHECKING:
    import torch


class Outside(Exception):
    """A layer that no layer of the language computes; `nearest` names the one that comes closest.

    `meant` is the type of Caffe's that a misspelt one may be.
    """

    def __init__(self, reason: str, *, nearest: str | None = None, meant: str | None = None) -> None:
        super().__init__(reason)
        self.nearest, self.meant = nearest, meant


@dataclass(frozen=True)
class Layer:
    """A layer of the file, what it reads, and its weights by torch's last names (None without a ``.caffemodel``)."""

    builder: Builder
    message: Any
    name: str
    where: str
    bottoms: tuple[str, ...]
    weights: Mapping[str, torch.Tensor] | None
    scale: str | None = None
    """The Scale behind it that is a part of it."""

    @property
    def x(self) -> str:
        """What it reads first."""
        return self.bottoms[0]

    def add(self, op: Op, *inputs: str, weighted: bool = False) -> str:
        """Add a layer of the language; returns its node."""
        weights = self.weights if weighted else None
        return self.builder.add(op, *(inputs or (self.x,)), name=self.name, weights=weights, where=self.where)


def _pair(message: Any, name: str, *, default: int) -> tuple[int, int]:
    """A size of two axes, which Caffe writes as ``pad``, ``pad: 1 pad: 2`` or ``pad_h`` and ``pad_w``."""
    short = name.removesuffix("_size")
    if message.HasField(f"{short}_h") or message.HasField(f"{short}_w"):
        return getattr(message, f"{short}_h"), getattr(message, f"{short}_w")
    descriptor = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if descriptor.type != descriptor.TYPE_UINT32 or not hasattr(value, "append"):
        return (value, value) if message.HasField(name) else (default, default)
    match list(value):
        case []:
            return default, default
        case [one]:
            return one, one
        case [one, two]:
            return one, two
    raise Outside(f"its {name} has more than two axes", nearest="conv")


def convolution(layer: Layer) -> str:
    p = layer.message.convolution_param
    if p.axis != 1:
        raise Outside(f"it convolves from axis {p.axis}", nearest="conv")
    kernel, stride = _pair(p, "kernel_size", default=0), _pair(p, "stride", default=1)
    pad, dilation = _pair(p, "pad", default=0), _pair(_Plain(p), "dilation", default=1)
    if min(*kernel, *stride, *dilation, p.num_output, p.group) < 1:
        raise layer.builder.mistake(f"{layer.where} needs num_output, kernel_size, stride and group of at least 1")
    op = Conv(
        p.num_output, kernel, stride=stride, pad=(pad[0], pad[0], pad[1], pad[1]), dilation=dilation, groups=p.group,
        bias=p.bias_term,
    )  # fmt: skip
    return layer.add(op, weighted=True)


class _Plain:
    """A message whose field has no form with _h and _w."""

    def __init__(self, message: Any) -> None:
        self.message, self.DESCRIPTOR = message, message.DESCRIPTOR

    def HasField(self, name: str) -> bool:  # noqa: N802 - protobuf's name
        return not name.endswith(("_h", "_w")) and bool(self.message.HasField(name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name)


def inner_product(layer: Layer) -> str:
    p = layer.message.inner_product_param
    if p.axis != 1:
        raise Outside(f"it multiplies from axis {p.axis}", nearest="dense")
    if p.num_output < 1:
        raise layer.builder.mistake(f"{layer.where} needs num_output of at least 1")
    return layer.add(Dense(p.num_output, bias=p.bias_term), weighted=True)


def pooling(layer: Layer) -> str:
    p = layer.message.pooling_param
    kinds = p.DESCRIPTOR.fields_by_name["pool"].enum_type.values_by_number
    kind = kinds[p.pool].name
    if kind not in {"MAX", "AVE"}:
        raise Outside("it draws at random", nearest="maxpool")
    x = layer.builder.type(layer.x)
    if p.global_pooling:
        return layer.add(GlobalMaxPool() if kind == "MAX" else GlobalAvgPool())
    kernel, stride = _pair(p, "kernel_size", default=0), _pair(p, "stride", default=1)
    pad = _pair(p, "pad", default=0)
    if min(*kernel, *stride) < 1:
        raise layer.builder.mistake(f"{layer.where} needs kernel_size and stride of at least 1")
    rounds_up = p.DESCRIPTOR.fields_by_name["round_mode"].enum_type.values_by_number[p.round_mode].name == "CEIL"
    ceil = False
    for size, k, s, amount in zip((x.height, x.width), kernel, stride, pad, strict=True):
        floored, ours = (
            output_size(size, k, stride=s, before=amount, after=amount, dilation=1, ceil=up) for up in (False, True)
        )
        span = size + 2 * amount - k
        # Caffe drops a last window that begins beyond the picture where any side is padded, and else keeps it.
        theirs = -(-span // s) + 1 if rounds_up else floored
        if rounds_up and any(pad) and (theirs - 1) * s >= size + amount:
            theirs -= 1
        if theirs not in {floored, ours}:
            reason = "a last window lies beyond the picture, where Caffe writes its smallest number"
            raise Outside(reason, nearest="maxpool(..., ceil=true), which has no such window")
        ceil = ceil or theirs != floored
    pads = (pad[0], pad[0], pad[1], pad[1])
    op = MaxPool(kernel, stride=stride, pad=pads, ceil=ceil) if kind == "MAX" else AvgPool(
        kernel, stride=stride, pad=pads, ceil=ceil
    )  # fmt: skip
    return layer.add(op)


def lrn(layer: Layer) -> str:
    p = layer.message.lrn_param
    if p.DESCRIPTOR.fields_by_name["norm_region"].enum_type.values_by_number[p.norm_region].name != "ACROSS_CHANNELS":
        raise Outside("it normalises within a channel", nearest="lrn")
    if p.local_size % 2 == 0:
        raise layer.builder.mistake(f"{layer.where} has a window of {p.local_size} channels; Caffe takes odd ones")
    return layer.add(LocalResponseNorm(p.local_size, alpha=short(p.alpha), beta=short(p.beta), k=short(p.k)))


def short(value: float) -> float:
    """A number that was rounded to fp32, as it was written: 0.0001 and not 9.999999747e-05."""
    return float(f"{value:.7g}")


def batch_norm(layer: Layer) -> str:
    p = layer.message.batch_norm_param
    if p.HasField("use_global_stats") and not p.use_global_stats:
        raise Outside("it computes with the statistics of the batch", nearest="batchnorm")
    return layer.add(BatchNorm(eps=short(p.eps), affine=layer.scale is not None), weighted=True)


def scale(layer: Layer) -> str:
    p = layer.message.scale_param
    if len(layer.bottoms) == 2:
        if p.bias_term:
            raise Outside("it multiplies two tensors and adds a learned bias", nearest="mul")
        a, b = (layer.builder.type(name) for name in layer.bottoms)
        if b.shape != (1, 1, a.channels) and a != b:
            raise Outside(f"it multiplies {a} by {b}", nearest="mul")
        return layer.add(Mul(), *layer.bottoms)
    if (p.axis, p.num_axes) != (1, 1):
        raise Outside("its factors are not one for each channel", nearest="batchnorm")
    return _affine(layer, bias=p.bias_term)


def _affine(layer: Layer, *, bias: bool = True, weight: float | None = None, shift: float | None = None) -> str:
    """A factor and a summand for each channel: a batch norm whose statistics are 0 and 1.

    Both are those of the layer's weights, of which it may lack the bias; `weight` and `shift` are numbers for all.
    """
    import torch

    channels = layer.builder.type(layer.x).channels

    def all_channels(value: float) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float32).expand(channels)  # takes no memory, of however many

    statistics = {"running_mean": all_channels(0.0), "running_var": all_channels(1.0)}
    if weight is not None and shift is not None:
        learned = {"weight": all_channels(weight), "bias": all_channels(shift)}
    elif layer.weights is None:
        layer.builder.note(f"{layer.where} became a batchnorm: its mean is to be 0 and its variance 1 in the weights")
        return layer.builder.add(BatchNorm(eps=0.0), layer.x, name=layer.name, where=layer.where)
    else:
        learned = {"weight": all_channels(1.0)} if weight is not None else {}
        learned |= {} if bias else {"bias": all_channels(0.0)}
        learned |= layer.weights
    weights = learned | statistics
    return layer.builder.add(BatchNorm(eps=0.0), layer.x, name=layer.name, where=layer.where, weights=weights)


def bias(layer: Layer) -> str:
    p = layer.message.bias_param
    if len(layer.bottoms) != 1 or (p.axis, p.num_axes) != (1, 1):
        raise Outside("its summands are not one for each channel", nearest="batchnorm")
    return _affine(layer, weight=1.0)


def power(layer: Layer) -> str:
    p = layer.message.power_param
    if p.power != 1:
        raise Outside(f"it raises to the power {p.power:g}", nearest="mul")
    if (p.scale, p.shift) == (1, 0):
        return layer.add(Identity())
    return _affine(layer, weight=short(p.scale), shift=short(p.shift))


def eltwise(layer: Layer) -> str:
    p = layer.message.eltwise_param
    kind = p.DESCRIPTOR.fields_by_name["operation"].enum_type.values_by_number[p.operation].name
    if kind == "MAX":
        raise Outside("it takes the larger of two tensors", nearest="add")
    if kind == "SUM" and any(c != 1 for c in p.coeff):
        raise Outside("its summands have factors", nearest="add")
    return layer.add(Add() if kind == "SUM" else Mul(), *layer.bottoms)


def axpy(layer: Layer) -> str:
    """The layer of the squeeze-and-excitation networks: a * x + y, of [1x1xC], [HxWxC] and [HxWxC]."""
    if len(layer.bottoms) != 3:
        raise layer.builder.mistake(f"{layer.where} reads {len(layer.bottoms)} tensors, not three")
    a, x, y = layer.bottoms
    if layer.builder.type(a).shape != (1, 1, layer.builder.type(x).channels):
        raise Outside(f"it multiplies {layer.builder.type(x)} by {layer.builder.type(a)}", nearest="mul")
    scaled = layer.builder.add(Mul(), x, a, name=f"{layer.name}_scale", where=layer.where)
    return layer.add(Add(), scaled, y)


def concat(layer: Layer) -> str:
    p = layer.message.concat_param
    last = -len(layer.builder.type(layer.x).torch_shape)
    if (p.concat_dim if p.HasField("concat_dim") else p.axis) not in {1, last}:
        raise Outside("it joins along an axis other than the channels", nearest="concat")
    return layer.x if len(layer.bottoms) == 1 else layer.add(Concat(), *layer.bottoms)


def flatten(layer: Layer) -> str:
    p = layer.message.flatten_param
    x = layer.builder.type(layer.x)
    if p.axis != 1 or p.end_axis not in {-1, 3}:
        raise Outside("it flattens other axes", nearest="flatten")
    return layer.add(Flatten()) if x.is_map else layer.x


def reshape(layer: Layer) -> str:
    p = layer.message.reshape_param
    x = layer.builder.type(layer.x)
    dims = list(p.shape.dim)
    if (p.axis, p.num_axes) == (0, -1) and (
        dims in ([0, -1], [-1, x.size]) or (len(dims) > 2 and dims[:2] == [0, -1] and set(dims[2:]) == {1})
    ):
        return layer.add(Flatten()) if x.is_map and len(dims) == 2 else _same(layer, x.height * x.width == 1)
    raise Outside(f"it reshapes to {dims}", nearest="flatten")


def _same(layer: Layer, is_same: bool) -> str:  # noqa: FBT001 - what it is called with says it
    if not is_same:
        raise Outside("it moves pixels into channels", nearest="flatten")
    return layer.x


def relu(layer: Layer) -> str:
    slope = layer.message.relu_param.negative_slope
    return layer.add(act.LeakyRelu(short(slope)) if slope else act.Relu())


def clip(layer: Layer) -> str:
    p = layer.message.clip_param
    if (p.min, p.max) != (0, 6):
        raise Outside(f"it clamps to {p.min:g}..{p.max:g}", nearest="relu6")
    return layer.add(act.Relu6())


def swish(layer: Layer) -> str:
    if layer.message.swish_param.beta != 1:
        raise Outside("its beta is not 1", nearest="silu")
    return layer.add(act.Silu())


def softmax(layer: Layer) -> str:
    if layer.message.softmax_param.axis != 1:
        raise Outside("it is not over the channels", nearest="softmax")
    return layer.add(Softmax())


LAYERS: dict[str, Callable[[Layer], str]] = {
    "Convolution": convolution,
    "InnerProduct": inner_product,
    "Pooling": pooling,
    "LRN": lrn,
    "BatchNorm": batch_norm,
    "Scale": scale,
    "Bias": bias,
    "Power": power,
    "Eltwise": eltwise,
    "Axpy": axpy,
    "Concat": concat,
    "Flatten": flatten,
    "Reshape": reshape,
    "ReLU": relu,
    "Clip": clip,
    "Swish": swish,
    "Softmax": softmax,
    "ELU": lambda layer: layer.add(act.Elu(short(layer.message.elu_param.alpha))),
    "Sigmoid": lambda layer: layer.add(act.Sigmoid()),
    "TanH": lambda layer: layer.add(act.Tanh()),
    "ReLU6": lambda layer: layer.add(act.Relu6()),
    "Dropout": lambda layer: layer.add(Dropout(short(layer.message.dropout_param.dropout_ratio))),
    "Split": lambda layer: layer.x,
}
"""The types of layers that are read, by the names of Caffe's files."""
