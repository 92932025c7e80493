"""Caffe's ``.prototxt`` files, by the rules of Caffe's layers (BVLC/caffe, read for them), as a `Model`.

What differs from others: poolings round up, and drop a window beyond the picture only where they pad; batch norm is two
layers, statistics and scale. Local response normalisation divides alpha by the size, as torch does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnndsl.errors import CnnError, Diagnostic, diagnostic, did_you_mean, problem, reason_of
from cnndsl.exchange.caffe.layers import LAYERS, Layer, Outside
from cnndsl.exchange.caffe.schema import net_parameter
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

TRAINING = frozenset({
    "Accuracy", "SoftmaxWithLoss", "EuclideanLoss", "HingeLoss", "SigmoidCrossEntropyLoss", "InfogainLoss",
    "MultinomialLogisticLoss", "ContrastiveLoss", "Silence",
})  # fmt: skip
"""Layers that compare with labels: inference has none."""

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
    return _Reader(path, _parsed(path), tensors, given=weights is not None).model()


def _parsed(path: Path) -> Any:
    """The message that a text is. Raises CnnError E0821."""
    text = read_text(path)
    try:
        from google.protobuf import text_format

        message: Any = net_parameter()()
        text_format.Parse(text, message, allow_unknown_field=True, allow_unknown_extension=True)
    except ModuleNotFoundError:
        reason = f"reading {path} needs the `protobuf` package, which is not installed"
        raise problem("E0821", reason, help=("pip install protobuf",)) from None
    except (text_format.ParseError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else reason_of(error)
        raise problem("E0821", f"{path} is not a network of Caffe: {reason}") from error
    return message


def _parts(message: Any) -> Iterable[_Part]:
    """The layers that are there at inference."""
    for layer in (*message.layers, *message.layer):
        old = not isinstance(layer.type, str)
        type_ = layer.type
        if old:
            name = layer.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[layer.type].name
            type_ = V1_TYPES.get(name, name)
        included = [_meets(rule) for rule in layer.include]
        excluded = [_meets(rule) for rule in layer.exclude]
        if (included and not any(included)) or any(excluded):
            continue
        yield _Part(layer, layer.name or type_, type_, tuple(layer.bottom), tuple(layer.top))


def _meets(rule: Any) -> bool:
    """Whether a rule holds at inference, at level 0 and without stages."""
    if rule.HasField("phase") and rule.phase != TEST:
        return False
    if (rule.HasField("min_level") and rule.min_level > 0) or (rule.HasField("max_level") and rule.max_level < 0):
        return False
    return not rule.stage


class _Reader:
    """Turns the layers of a message into those of a model."""

    def __init__(self, path: Path, message: Any, weights: dict[str, torch.Tensor], *, given: bool) -> None:
        self.path, self.message, self.weights, self.given = path, message, weights, given
        self.builder = Builder(message.name or path.stem, origin=str(path))
        self.values: dict[str, str] = {}
        """The node that every blob is at this place of the file: layers may write over what they read."""
        self.used: set[str] = set()
        self.made: dict[str, None] = {}
        """Nodes that are some layer's result, in order; those that nothing reads are outputs."""
        self.absorbed: set[str] = set()

    def model(self) -> Model:
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
            if part.type in TRAINING:
                if part.type != "Silence":
                    self.builder.note(f"{part.where} compares with labels and was left out")
                self.used.update(self.values[b] for b in part.bottoms[1:] if b in self.values)
                continue
            if unknown & set(part.bottoms):
                unknown.update(part.tops)
                continue
            try:
                self.read(part, scales.get(number))
            except Outside as reason:
                mistakes.append(self.outside(part, reason))
                unknown.update(part.tops)
            except CnnError as error:
                mistakes.extend(error.diagnostics)
                unknown.update(part.tops)
        if mistakes:
            raise CnnError(mistakes)
        ends = [name for name in self.made if name not in self.used]
        for name in reversed(ends):  # the last is the network's own, those before it are branches
            self.builder.output(name.rpartition(".")[2], name)
        return self.builder.finish()

    def outside(self, part: _Part, reason: Outside) -> Diagnostic:
        helps = (f"the nearest layer is `{reason.nearest}`",) if reason.nearest else ()
        return diagnostic("E0822", f"{self.path}: {part.where} cannot be kept: {reason}", help=helps)

    # --- inputs ---

    def declare_inputs(self, parts: list[_Part]) -> None:
        """The inputs that the file declares, in either of its old ways or by layers."""
        message = self.message
        shapes = [list(shape.dim) for shape in message.input_shape]
        if not shapes and message.input_dim:
            dims = list(message.input_dim)
            shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
        for number, blob in enumerate(message.input):
            self.declare(blob, shapes[number] if number < len(shapes) else [], InputSpec())
        for part in parts:
            if part.type in DATA and part.tops:
                self.declare(part.tops[0], *_data(part))
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
        if type_.is_map and type_.channels == 3:
            spec = InputSpec(range=255, order="bgr", mean=spec.mean, std=spec.std)
            self.builder.note("Caffe's pictures are blue, green, red in 0..255, less a mean that its file may not name")
        self.values[blob] = self.builder.input(blob, type_, spec=spec)

    # --- layers ---

    def read(self, part: _Part, scale: _Part | None) -> None:
        bottoms = []
        for blob in part.bottoms:
            if blob not in self.values:
                near = did_you_mean(blob, self.values)
                reason = f"{self.path}: {part.where} reads `{blob}`, which no layer before it makes"
                raise problem("E0821", reason, help=(f"did you mean `{near}`?",) if near else ())
            bottoms.append(self.values[blob])
        if part.name in self.absorbed:
            self.values |= dict.fromkeys(part.tops, bottoms[0])
            return
        reader = LAYERS.get(part.type)
        if reader is None:
            near = did_you_mean(part.type, LAYERS)
            raise Outside("no layer of the language computes it", nearest=f"Caffe's {near}" if near else None)
        if not bottoms:
            raise problem("E0821", f"{self.path}: {part.where} reads nothing")
        if scale is not None:
            self.absorbed.add(scale.name)
        layer = Layer(
            self.builder, part.message, part.name, part.where, tuple(bottoms), scaled=scale is not None,
            weights=self.weights_of(part.name) if self.given else None,
        )  # fmt: skip
        result = reader(layer)
        for blob in part.tops:
            self.values[blob] = result
        if result not in bottoms:
            self.used.update(bottoms)
            self.made[result] = None

    def weights_of(self, name: str) -> dict[str, torch.Tensor]:
        prefix = f"{name}."
        return {k.removeprefix(prefix): t for k, t in self.weights.items() if k.rpartition(".")[0] == name}


def _data(part: _Part) -> tuple[list[int], InputSpec]:
    """The shape that a layer of data gives, and how its pictures are prepared."""
    match part.type:
        case "Input":
            shapes = part.message.input_param.shape
            return (list(shapes[0].dim) if shapes else []), InputSpec()
        case "MemoryData":
            p = part.message.memory_data_param
            return [p.batch_size, p.channels, p.height, p.width], InputSpec()
        case "DummyData":
            p = part.message.dummy_data_param
            if p.shape:
                return list(p.shape[0].dim), InputSpec()
            return [next(iter(v), 0) for v in (p.num, p.channels, p.height, p.width)], InputSpec()
    p = part.message.transform_param
    mean = tuple(round(v, 4) for v in p.mean_value)
    if len(mean) == 1:
        mean *= 3
    scale = (1 / p.scale,) * 3 if p.scale not in {0, 1} else None
    return [1, 3, p.crop_size, p.crop_size], InputSpec(mean=mean or None, std=scale)


def _scales(parts: list[_Part]) -> dict[int, _Part]:
    """For each BatchNorm, by its number, the Scale of one input that alone reads its result."""
    producer: dict[str, int] = {}
    readers: dict[int, list[_Part]] = {}
    for number, part in enumerate(parts):
        for blob in part.bottoms:
            if blob in producer:
                readers.setdefault(producer[blob], []).append(part)
        producer |= dict.fromkeys(part.tops, number)
    return {
        number: found[0]
        for number, found in readers.items()
        if parts[number].type == "BatchNorm" and len(found) == 1
        and found[0].type == "Scale" and len(found[0].bottoms) == 1
        and (found[0].message.scale_param.axis, found[0].message.scale_param.num_axes) == (1, 1)
    }  # fmt: skip
