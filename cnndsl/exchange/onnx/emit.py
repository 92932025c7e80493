"""From a draft to a model: what is read, with torch's tensors as weights."""

from __future__ import annotations

import numpy as np
import torch

from cnndsl.exchange.model import Builder, Model
from cnndsl.exchange.onnx.draft import (
    PSEUDO,
    Affine,
    ChannelMean,
    ChannelPad,
    Clip,
    Draft,
    Erf,
    Item,
    Power,
    Quotient,
)
from cnndsl.exchange.onnx.names import modules_of
from cnndsl.exchange.onnx.refused import Refused
from cnndsl.ops.normalize import BatchNorm


def leftovers(draft: Draft) -> list[Refused]:
    """An error for each item that no pattern has made a layer of."""
    return [_refused(item) for item in map(draft.items.__getitem__, draft.live()) if _is_left(item)]


def _is_left(item: Item) -> bool:
    return isinstance(item.op, PSEUDO) and not isinstance(item.op, Affine)


def _refused(item: Item) -> Refused:
    match item.op:
        case Clip(low, high):
            return Refused(
                "E0812", f"{item.where} clips to {low:g} and {high:g}",
                notes=("relu clips at 0 and relu6 at 0 and 6",), help=("the nearest layer is `relu6`",),
            )
        case Erf():
            return Refused(
                "E0811", f"{item.where} is not in the language", notes=("it is read as a part of gelu alone",),
                help=("the nearest layer is `gelu`",),
            )
        case Quotient():
            return Refused(
                "E0812", f"{item.where} divides by a tensor", notes=("it is read as a part of an lrn alone",),
                help=("the nearest layer is `mul`",),
            )
        case Power(exponent):
            return Refused(
                "E0812", f"{item.where} raises to the power of {exponent:g}", notes=("layers multiply, at most",),
                help=("the nearest layer is `mul`",),
            )
        case ChannelPad() | ChannelMean():
            return Refused(
                "E0812", f"{item.where} works along the channels", notes=("it is read as a part of an lrn alone",),
                help=("the nearest layer is `lrn`",),
            )
    return Refused(
        "E0812", f"{item.where} takes some of the channels",
        notes=("layers take all of them; groups of a convolution are written conv(..., groups=2)",),
        help=("the nearest layer is `concat`, which joins channels",),
    )


def emit(draft: Draft, builder: Builder) -> Model:
    """The model of a draft in which `leftovers` finds nothing. Raises CnnError (E0801)."""
    names: dict[int, str] = {}
    live = draft.live()
    modules = modules_of([draft.items[number].name for number in live])
    for number in live:
        item = draft.items[number]
        if item.op is None:
            names[number] = builder.input(item.name, item.type, spec=item.spec)
            continue
        inputs = [names[i] for i in item.inputs]
        op, weights = item.op, item.weights
        if isinstance(op, Affine):
            op, weights = _batch_norm(builder, draft, item)
        tensors = {name: tensor_of(array) for name, array in weights.items()}
        # What a module computes besides its layers is no layer of that name: layer1.0.add, not layer1.0.
        name = f"{item.name}.{op.name}" if item.name in modules else item.name
        names[number] = builder.add(op, *inputs, name=name, weights=tensors, where=item.where)
    for name, number in draft.outputs:
        builder.output(name, names[number])
    return builder.finish()


def _batch_norm(builder: Builder, draft: Draft, item: Item) -> tuple[BatchNorm, dict[str, np.ndarray]]:
    """scale * x + shift as a batch norm; at an input as (x - mean) / sqrt(variance)."""
    channels = item.type.channels
    scale, shift = (np.broadcast_to(item.weights[name], (channels,)) for name in ("scale", "shift"))
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    if draft.op(item.inputs[0]) is None and (scale > 0).all():
        mean, std = (-shift / scale).astype(np.float32), 1 / scale
        builder.note(
            f"the network normalises its input itself: mean {_shown(mean)}, std {_shown(std)}; "
            "leave both out of the input's options"
        )
        return BatchNorm(eps=0.0, affine=False), {"running_mean": mean, "running_var": (std**2).astype(np.float32)}
    weights = {"weight": scale, "bias": shift, "running_mean": zeros, "running_var": ones}
    return BatchNorm(eps=0.0), {name: array.astype(np.float32) for name, array in weights.items()}


def _shown(values: np.ndarray) -> str:
    """A few numbers as a file has them."""
    text = ", ".join(f"{float(v):.6g}" for v in values[:4])
    return f"({text}{', ...' if values.size > 4 else ''})"


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """An array as a tensor; one repeated value takes the memory of one."""
    if all(stride == 0 for stride, size in zip(array.strides, array.shape, strict=True) if size > 1) and array.size:
        return torch.from_numpy(np.array(array.flat[0])).expand(array.shape)
    own = array.flags.writeable and array.flags.c_contiguous
    return torch.from_numpy(array if own else np.array(array, order="C"))
