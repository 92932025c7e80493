"""Caffe's ``.prototxt`` files, by the rules of Caffe's layers (BVLC/caffe, read for them), as a `Model`.

What differs from others: poolings round up, and drop a window beyond the picture only where they pad; batch norm is two
layers, statistics and scale. Local response normalisation divides alpha by the size, as torch does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnndsl.errors import CnnError, Diagnostic, Source, diagnostic, did_you_mean, listed, problem
from cnndsl.exchange.caffe.layers import LAYERS, Layer, Outside, short
from cnndsl.exchange.caffe.misread import misread
from cnndsl.exchange.caffe.schema import net_parameter
from cnndsl.exchange.caffe.unknown import unknown_options
from cnndsl.exchange.model import Builder, Model
from cnndsl.files import read_text
from cnndsl.ir import InputSpec, TensorType

if TYPE_CHECKING:
    import torch

V1_TYPES = {
    "CONVOLUTION": "Convolution", "INNER_PRODUCT": "InnerProduct", "POOLING": "Pooling", "LRN": "LRN", "RELU": "ReLU",
    "SIGMOID": "Sigmoid", "TANH": "TanH", "DROPOUT": "Dropout", "SOFTMAX": "Softmax", "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "CONCAT": "Concat", "ELTWISE": "Eltwise", "FLATTEN": "Flatten", "POWER": "Power", "SPLIT": "Split", "DATA": "Data",
    "IMAGE_DATA": "ImageData", "MEMORY_DATA": "MemoryData", "HDF5_DATA": "HDF5Data", "WINDOW_DATA": "WindowData",
    "DUMMY_DATA": "DummyData", "ACCURACY": "Accuracy", "SILENCE": "Silence", "SLICE": "Slice",
    "DECONVOLUTION": "Deconvolution",
}  # fmt: skip
"""The modern names of the types that files from before 2014 write in capitals."""

DATA = frozenset({"Input", "Data", "ImageData", "MemoryData", "HDF5Data", "WindowData", "DummyData"})

WEIGHTED = frozenset({"Convolution", "InnerProduct", "BatchNorm", "Scale", "Bias"})

TRAINING = frozenset({
    "Accuracy", "SoftmaxWithLoss", "EuclideanLoss", "HingeLoss", "SigmoidCrossEntropyLoss", "InfogainLoss",
    "MultinomialLogisticLoss", "ContrastiveLoss",
})  # fmt: skip
"""Layers that compare with labels: inference has none."""

MAX_UNKNOWN = 4
"""Options that are not known of which an error tells."""

_SOLVER = re.compile(r"^[ \t]*(?:train_)?net:.{0,80}", re.MULTILINE)
"""What the files of Caffe's solvers have, and networks have not."""

TEST = 1
"""The number of Caffe's phase of inference."""


@dataclass(frozen=True)
class _Part:
    """A layer of the file at inference: one of either list, with its type's modern name."""

    message: Any
    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]

    @property
    def where(self) -> str:
        return f"{self.type} `{self.name}`"


def read_prototxt(path: str | Path, *, weights: str | Path | None = None) -> Model:
    """The network of a ``.prototxt`` file at inference, with the weights of a ``.caffemodel`` where one is given.

    Raises CnnError: E0821 for a file that is no network, E0822 for all its layers that cannot be kept, E0801 for a
    layer that does not fit, E0401 for weights that cannot be read.
    """
    path = Path(path)
    tensors: dict[str, torch.Tensor] = {}
    if weights is not None:
        from cnndsl.exchange.caffe import read_caffemodel

        tensors = read_caffemodel(weights)
    text = read_text(path)
    message = _parsed(text, path)
    if not (message.layer or message.layers) and (named := _SOLVER.search(text)):
        way = f"the network is the file that its line `{named[0].strip()}` names"
        raise problem("E0821", f"{path} is not a network of Caffe: it tells how to train one", help=(way,))
    reader = _Reader(path, message, tensors, given=weights is not None)
    unknown = list(dict.fromkeys(unknown_options(text, message.DESCRIPTOR)))
    for name, option in unknown:
        reader.builder.note(f"option `{option}` of {name} is not known and was left out")
    try:
        return reader.model()
    except CnnError as error:
        if not unknown:
            raise
        told = tuple(_unknown(name, option, message.DESCRIPTOR) for name, option in unknown[:MAX_UNKNOWN])
        first, *others = error.diagnostics
        raise CnnError([replace(first, notes=(*first.notes, *told)), *others]) from error


def _unknown(name: str, option: str, net: Any) -> str:
    """An option that no message has, and the one that may be meant. `net` describes the whole network."""
    field = net.fields_by_name["layer"].message_type.fields_by_name.get(name)
    guess = did_you_mean(option, field.message_type.fields_by_name) if field is not None else None
    return f"option `{option}` of {name} is not known{f': did you mean `{guess}`?' if guess is not None else ''}"


def _parsed(text: str, path: Path) -> Any:
    """The message that a text is. Raises CnnError E0821."""
    try:
        from google.protobuf import text_format

        message: Any = net_parameter()()
        text_format.Parse(text, message, allow_unknown_field=True, allow_unknown_extension=True)
    except ModuleNotFoundError:
        reason = f"reading {path} needs the `protobuf` package, which is not installed"
        raise problem("E0821", reason, help=("pip install protobuf",)) from None
    except text_format.ParseError as error:
        place = {"line": error.GetLine(), "column": error.GetColumn()}
        raise misread(str(error), Source(str(path), text), **place) from error
    except ValueError as error:
        raise misread(str(error), Source(str(path), text)) from error
    except RecursionError as error:
        raise problem("E0821", f"{path} is not a network of Caffe: it is nested too deeply") from error
    return message


def _parts(message: Any) -> Iterable[_Part]:
    """The layers that are there at inference."""
    for layer in (*message.layers, *message.layer):
        old = not isinstance(layer.type, str)
        type_ = layer.type
        if old:
            name = layer.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[layer.type].name
            type_ = V1_TYPES.get(name, name)
        included = [_meets(rule, message.state) for rule in layer.include]
        excluded = [_meets(rule, message.state) for rule in layer.exclude]
        if (included and not any(included)) or any(excluded):
            continue
        yield _Part(layer, layer.name or type_, type_, tuple(layer.bottom), tuple(layer.top))


def _meets(rule: Any, state: Any) -> bool:
    """Whether a rule holds at inference, at the level and in the stages that the file names, if any."""
    if rule.HasField("phase") and rule.phase != TEST:
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    stages = set(state.stage)
    return stages >= set(rule.stage) and not stages & set(rule.not_stage)


class _Reader:
    """Turns the layers of a message into those of a model."""

    def __init__(self, path: Path, message: Any, weights: dict[str, torch.Tensor], *, given: bool) -> None:
        self.path, self.message, self.given = path, message, given
        self.weights: dict[str, dict[str, torch.Tensor]] = {}
        """The tensors of each layer by torch's last names."""
        for key, tensor in weights.items():
            layer, _, leaf = key.rpartition(".")
            self.weights.setdefault(layer, {})[leaf] = tensor
        self.builder = Builder(message.name or path.stem, origin=str(path))
        self.values: dict[str, str] = {}
        """The node that every blob is at this place of the file: layers may write over what they read."""
        self.used: set[str] = set()
        self.made: dict[str, None] = {}
        """Nodes that are some layer's result, in order; those that nothing reads are outputs."""
        self.absorbed: set[int] = set()
        """The numbers of Scales that are parts of the BatchNorms before them."""

    def model(self) -> Model:
        if any(layer.HasField("layer") for layer in self.message.layers):
            help_ = "Caffe's own `upgrade_net_proto_text` makes it one that is read"
            raise problem("E0821", f"{self.path} is of a Caffe before 2014", help=(help_,))
        parts = list(_parts(self.message))
        if not parts:
            raise problem("E0821", f"{self.path} is not a network of Caffe: it has no layers")
        self.declare_inputs(parts)
        mistakes: list[Diagnostic] = []
        unknown: set[str] = set()
        scales = _scales(parts)
        for number, part in enumerate(parts):
            if part.type in DATA:
                continue
            if part.type == "Silence":
                self.used.update(self.values[b] for b in part.bottoms if b in self.values)
                continue
            if part.type in TRAINING:
                self.builder.note(f"{part.where} compares with labels and was left out")
                continue
            if unknown & set(part.bottoms):
                unknown.update(part.tops)
                continue
            if number in self.absorbed:
                self.values |= dict.fromkeys(part.tops, self.values[part.bottoms[0]])
                continue
            scale = scales.get(number)
            if scale is not None:
                self.absorbed.add(scale)
            try:
                self.read(part, None if scale is None else parts[scale].name)
            except Outside as reason:
                mistakes.append(self.outside(part, reason))
                unknown.update(part.tops)
            except CnnError as error:
                mistakes.extend(error.diagnostics)
                unknown.update(part.tops)
        if mistakes:
            raise CnnError(mistakes)
        self.note_unused(parts)
        ends = [name for name in self.made if name not in self.used]
        for name in reversed(ends):  # the last is the network's own, those before it are branches
            self.builder.output(name.rpartition(".")[2], name)
        return self.builder.finish()

    def outside(self, part: _Part, reason: Outside) -> Diagnostic:
        helps = (f"the nearest layer is `{reason.nearest}`",) if reason.nearest else ()
        if reason.meant is not None:
            helps = (f"did you mean `{reason.meant}`?",)
        return diagnostic("E0822", f"{self.path}: {part.where} cannot be kept: {reason}", help=helps)

    # --- inputs ---

    def declare_inputs(self, parts: list[_Part]) -> None:
        """The inputs that the file declares, in either of its old ways or by layers."""
        message = self.message
        shapes = [list(shape.dim) for shape in message.input_shape]
        if not shapes and message.input_dim:
            dims = list(message.input_dim)
            shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
        found = [(blob, shapes[i] if i < len(shapes) else [], InputSpec()) for i, blob in enumerate(message.input)]
        for part in parts:
            if part.type in DATA:
                found += [(top, s, _preparation(part)) for top, s in zip(part.tops, _shapes(part), strict=False)]
        # Labels are for layers that compare alone.
        read = {blob for part in parts if part.type not in {*DATA, *TRAINING, "Silence"} for blob in part.bottoms}
        for blob, shape, spec in [one for one in found if one[0] in read] or found[:1]:
            self.declare(blob, shape, spec)
        if not self.values:
            raise problem("E0821", f"{self.path} is not a network of Caffe: it has no input", help=(
                'a deploy.prototxt says `input: "data"` and its shape',))  # fmt: skip

    def declare(self, blob: str, shape: list[int], spec: InputSpec) -> None:
        match shape:
            case (_, c, h, w) if min(c, h, w) > 0:
                type_ = TensorType((h, w, c))
            case (_, features) if features > 0:
                type_ = TensorType((features,))
            case _:
                shown = "x".join(map(str, shape)) or "no shape"
                reason = f"{self.path}: input `{blob}` has {shown}; it needs n, channels, height, width"
                help_ = "a deploy.prototxt has the shape; a train_val.prototxt gives it by crop_size"
                raise problem("E0821", reason, help=(help_,))
        if type_.is_map and type_.channels in {1, 3}:
            order = "bgr" if type_.channels == 3 else "rgb"
            mean, std = (_each(values, type_.channels) for values in (spec.mean, spec.std))
            spec = InputSpec(range=255, order=order, mean=mean, std=std)
            colours = "blue, green, red in 0..255" if order == "bgr" else "in 0..255"
            self.builder.note(f"Caffe's pictures are {colours}, less a mean that its file may not name")
        self.values[blob] = self.builder.input(blob, type_, spec=spec)

    # --- layers ---

    def note_unused(self, parts: list[_Part]) -> None:
        """Tell which layers of the file of weights the network has not, or has not with weights."""
        known = {part.name for part in parts if part.type in WEIGHTED}
        unused = [name for name in self.weights if name not in known]
        if unused:
            self.builder.note(f"no layer has the weights of {listed([f'`{name}`' for name in unused])}: left out")

    def read(self, part: _Part, scale: str | None) -> None:
        bottoms = []
        for blob in part.bottoms:
            if blob not in self.values:
                near = did_you_mean(blob, self.values)
                reason = f"{self.path}: {part.where} reads `{blob}`, which no layer before it makes"
                raise problem("E0821", reason, help=(f"did you mean `{near}`?",) if near else ())
            bottoms.append(self.values[blob])
        reader = LAYERS.get(part.type)
        if reader is None:
            near = did_you_mean(part.type, LAYERS)
            raise Outside("no layer of the language computes it", meant=near)
        if not bottoms:
            raise problem("E0821", f"{self.path}: {part.where} reads nothing")
        weights = None
        if self.given:
            # A Scale's weights are under the BatchNorm's name, where the file of weights has the same wiring.
            weights = (self.weights.get(scale, {}) if scale is not None else {}) | self.weights.get(part.name, {})
        layer = Layer(self.builder, part.message, part.name, part.where, tuple(bottoms), weights, scale)
        result = reader(layer)
        for blob in part.tops:
            self.values[blob] = result
        if result not in bottoms:
            self.used.update(bottoms)
            self.made[result] = None


def _each(values: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    """One number for each channel; one alone is for all."""
    return values * channels if values is not None and len(values) == 1 else values


def _shapes(part: _Part) -> list[list[int]]:
    """The shapes of what a layer of data gives; labels, which come second from most, have none."""
    match part.type:
        case "Input" | "DummyData":
            p = part.message.input_param if part.type == "Input" else part.message.dummy_data_param
            shapes = [list(shape.dim) for shape in p.shape]
            if not shapes and part.type == "DummyData":
                shapes = [list(dims) for dims in zip(p.num, p.channels, p.height, p.width, strict=False)]
            # One shape is for all.
            return shapes * len(part.tops) if len(shapes) == 1 else shapes or [[]]
        case "MemoryData":
            p = part.message.memory_data_param
            return [[p.batch_size, p.channels, p.height, p.width]]
    p = part.message.transform_param
    return [[1, 1 if p.force_gray else 3, p.crop_size, p.crop_size]]


def _preparation(part: _Part) -> InputSpec:
    """How the pictures of a layer of data are prepared: (x - mean) * scale."""
    if part.type in {"Input", "DummyData"}:
        return InputSpec()
    p = part.message.transform_param
    mean = tuple(map(short, p.mean_value))
    return InputSpec(mean=mean or None, std=(short(1 / p.scale),) if p.scale not in {0, 1} else None)


def _scales(parts: list[_Part]) -> dict[int, int]:
    """For each BatchNorm the Scale of one input that alone reads its result, both by their numbers."""
    producer: dict[str, int] = {}
    readers: dict[int, list[int]] = {}
    for number, part in enumerate(parts):
        for blob in part.bottoms:
            if blob in producer:
                readers.setdefault(producer[blob], []).append(number)
        producer |= dict.fromkeys(part.tops, number)
    return {
        number: found[0]
        for number, found in readers.items()
        if parts[number].type == "BatchNorm" and len(found) == 1 and _is_per_channel(parts[found[0]])
    }


def _is_per_channel(part: _Part) -> bool:
    """Whether it is a Scale with a factor for each channel."""
    if part.type != "Scale" or len(part.bottoms) != 1:
        return False
    p = part.message.scale_param
    return (p.axis, p.num_axes) == (1, 1)
