"""Darknet's ``.cfg`` files: a list of sections, each a layer that reads the one before it.

The meaning is that of Darknet's own parser (`parser.c` and the layers' sources, pjreddie/darknet, read for their
rules): convolutions pad by half their size where ``pad=1``; a max pooling's ``padding`` is the sum of both sides, one
less than its size by default, of which the smaller half comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cnndsl.errors import CnnError, Diagnostic, diagnostic, did_you_mean, problem
from cnndsl.exchange.darknet.sections import Section, SectionError, sections_of
from cnndsl.exchange.model import Builder, Model
from cnndsl.files import read_text
from cnndsl.ir import InputSpec, TensorType
from cnndsl.ops.activations import Elu, LeakyRelu, Relu, Relu6, Sigmoid, Silu, Tanh
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.global_pool import GlobalAvgPool
from cnndsl.ops.joins import Add, Concat, Mul
from cnndsl.ops.normalize import BatchNorm, LocalResponseNorm
from cnndsl.ops.pool import MaxPool
from cnndsl.ops.reshape import Dropout, Flatten, Softmax
from cnndsl.ops.window import output_size

_ACTIVATIONS: dict[str, Op | None] = {
    "linear": None, "logistic": Sigmoid(), "relu": Relu(), "leaky": LeakyRelu(0.1), "tanh": Tanh(), "elu": Elu(),
    "relu6": Relu6(), "swish": Silu(),
}  # fmt: skip
"""Its `gelu` is an approximation by tanh, and so none of these."""

_TRAINING = frozenset({
    "learning_rate", "stopbackward", "burnin_update", "train", "onlyforward", "clip", "dot", "antialiasing_train",
})  # fmt: skip

_STORED = frozenset({"dontload", "dontloadscales", "numload", "flipped"})
"""Options that say what the file of weights leaves out, or has in another order."""

_OTHER = frozenset({"binary", "xnor", "antialiasing", "maxpool_depth", "scale_wh"})
"""Options with which a layer computes something else."""

_EPS = 1e-5
"""Darknet's batch norm on a GPU; on a CPU it adds 1e-6 to the root instead, which no other framework does."""


def read_cfg(path: str | Path) -> Model:
    """The network of a ``.cfg`` file. Its weights lie in another file, see `cnndsl.exchange.darknet.weights`.

    Raises CnnError: E0821 for a file that is none, E0822 for all its layers that cannot be kept, E0801 for a layer
    that does not fit.
    """
    path = Path(path)
    net, *layers = sections_of(read_text(path), path)
    return _Reader(path, net).model(layers)


class _Reader:
    """Turns sections into layers."""

    def __init__(self, path: Path, net: Section) -> None:
        self.builder = Builder(path.stem, origin=str(path))
        self.path, self.net = path, net
        self.made: list[str] = []
        """The value of each section, by its number: routes count sections from 0."""
        self.value = ""
        self.guessing = False
        """Whether a layer was passed over, so that shapes behind it are not those of the file."""
        self.counts: dict[str, int] = {}
        self.readers: dict[str, Callable[[Section], None]] = {
            "convolutional": self.convolutional, "conv": self.convolutional, "connected": self.connected,
            "conn": self.connected, "maxpool": self.maxpool, "max": self.maxpool, "avgpool": self.avgpool,
            "avg": self.avgpool, "dropout": self.dropout, "softmax": self.softmax, "soft": self.softmax,
            "route": self.route, "shortcut": self.shortcut, "batchnorm": self.batchnorm,
            "normalization": self.normalization, "lrn": self.normalization, "activation": self.activate_only,
            "scale_channels": self.scale_channels, "cost": self.cost,
        }  # fmt: skip

    def model(self, layers: list[Section]) -> Model:
        """The network, once every section has been read. Raises CnnError with all that is wrong."""
        mistakes: list[Diagnostic] = []
        try:
            layers = self.input(layers)
        except SectionError as error:
            raise self.mistake(self.net, error) from error
        for section in layers:
            try:
                reader = self.readers.get(section.name)
                if reader is None:
                    raise self.unknown(section)
                reader(section)
                self.check_options(section)
            except SectionError as error:
                mistakes.extend(self.mistake(section, error).diagnostics)
                if not error.outside:
                    break
            except CnnError:
                if not mistakes:
                    raise
                # Behind a layer that cannot be kept, shapes are not those of the file.
            self.made.append(self.value)
        if mistakes:
            raise CnnError(mistakes)
        if not layers:
            raise problem("E0821", f"{self.path} is not a network of Darknet: it has no layer behind [net]")
        self.builder.output("main", self.value)
        return self.builder.finish()

    def mistake(self, section: Section, error: SectionError) -> CnnError:
        where = f"[{section.name}] on line {section.line}"
        helps = (error.help,) if error.help else ()
        if error.outside:
            return CnnError((diagnostic("E0822", f"{self.path}: {where} cannot be kept: {error}", help=helps),))
        return problem("E0821", f"{self.path}: {where} is wrong: {error}", help=helps)

    def unknown(self, section: Section) -> SectionError:
        self.guessing = True
        near = did_you_mean(section.name, self.readers)
        reason = "no layer of the language computes it"
        return SectionError(reason, outside=True, help=f"the nearest section is [{near}]" if near else None)

    def check_options(self, section: Section) -> None:
        """Options of training change nothing here; others that nobody read do."""
        for key in sorted(section.options.keys() - _TRAINING):
            value, line = section.options[key]
            if key in _OTHER and value != "0":
                reason = f"{key}={value[:40]} on line {line} makes another layer of it"
                raise SectionError(reason, outside=True)
            if key not in _OTHER:
                why = "is about its file of weights" if key in _STORED else "is not known"
                self.builder.note(f"[{section.name}] on line {section.line}: option {key} {why} and was left out")

    # --- the input ---

    def input(self, layers: list[Section]) -> list[Section]:
        """Declare the picture; returns the layers behind it, without a crop at their beginning."""
        height, width = self.net.integer("height", 0), self.net.integer("width", 0)
        channels = self.net.integer("channels", 0)
        if min(height, width, channels) < 1:
            raise SectionError("it must give height, width and channels; networks of plain `inputs` are no pictures")
        spec = InputSpec()
        if layers and layers[0].name == "crop":
            crop, *layers = layers
            height, width = crop.integer("crop_height", 1), crop.integer("crop_width", 1)
            if not crop.integer("noadjust", 0):
                # Darknet's crop layer computes 2 x - 1.
                spec = InputSpec(mean=(0.5,) * channels, std=(0.5,) * channels)
            self.made.append("")
        self.builder.note("Darknet gives pictures as RGB in 0..1; their resizing is up to the program")
        self.value = self.builder.input("image", TensorType((height, width, channels)), spec=spec)
        if self.made:
            self.made[0] = self.value
        return layers

    # --- layers ---

    def add(self, op: Op, *inputs: str, section: Section) -> str:
        number = self.counts[op.name] = self.counts.get(op.name, 0) + 1
        where = f"[{section.name}] on line {section.line}"
        return self.builder.add(op, *(inputs or (self.value,)), name=f"{op.name}{number}", where=where)

    def activated(self, section: Section, default: str) -> None:
        """The activation that a section ends in."""
        name = section.text("activation", default).lower()
        if name not in _ACTIVATIONS:
            near = did_you_mean(name, _ACTIVATIONS)
            reason = f"activation={name[:40]} is none of the language's"
            raise SectionError(reason, outside=True, help=f"the nearest is {near}" if near else None)
        op = _ACTIVATIONS[name]
        if op is not None:
            self.value = self.add(op, section=section)

    def normalized(self, section: Section) -> None:
        self.value = self.add(BatchNorm(eps=_EPS), section=section)
        self.builder.note(
            "batch norm: 1e-5 is added to the variance, as Darknet does on a GPU; on a CPU it adds 1e-6 to the root"
        )

    def convolutional(self, section: Section) -> None:
        size, stride = section.integer("size", 1), section.integer("stride", 1)
        stride_y, stride_x = section.integer("stride_y", stride), section.integer("stride_x", stride)
        pad = section.integer("padding", 0)
        if section.integer("pad", 0):
            pad = size // 2
        dilation, groups = section.integer("dilation", 1), section.integer("groups", 1)
        filters = section.integer("filters", 1)
        normalized = bool(section.integer("batch_normalize", 0))
        if min(size, stride_y, stride_x, dilation, groups, filters) < 1 or pad < 0:
            raise SectionError("filters, size, stride, groups and dilation are at least 1, and padding at least 0")
        if 2 * pad != size - 1 and dilation > 1 and size > 1:
            # It computes the size as without dilation, and windows as with; they agree by this padding alone.
            raise SectionError("with dilation, it must pad by half of an odd size", outside=True)
        op = Conv(
            filters, (size, size), stride=(stride_y, stride_x), pad=(pad * dilation,) * 4, dilation=(dilation,) * 2,
            groups=groups, bias=not normalized,
        )  # fmt: skip
        self.value = self.add(op, section=section)
        if normalized:
            self.normalized(section)
        self.activated(section, "logistic")

    def connected(self, section: Section) -> None:
        units = section.integer("output", 1)
        if units < 1:
            raise SectionError("output is at least 1")
        normalized = bool(section.integer("batch_normalize", 0))
        self.value = self.add(Dense(units, bias=not normalized), section=section)
        if normalized:
            self.normalized(section)
        self.activated(section, "logistic")

    def maxpool(self, section: Section) -> None:
        stride = section.integer("stride", 1)
        stride_y, stride_x = section.integer("stride_y", stride), section.integer("stride_x", stride)
        size = section.integer("size", stride)
        total = section.integer("padding", size - 1)
        if min(size, stride_y, stride_x) < 1 or total < 0:
            raise SectionError("size and stride are at least 1, and padding at least 0")
        x = self.builder.type(self.value)
        before = total // 2
        sides: list[int] = []
        for extent, step in ((x.height, stride_y), (x.width, stride_x)):
            after = total - before
            windows = output_size(extent, size, stride=step, before=before, after=after, dilation=1, ceil=False)
            # Of the padding behind, what no window reaches is left out: `maxpool(2x2)` is what 2, 2 and 1 come to.
            reached = (windows - 1) * step + size - extent - before
            sides += [before, max(0, min(after, reached))]
        pad = (sides[0], sides[1], sides[2], sides[3])
        self.value = self.add(MaxPool((size, size), stride=(stride_y, stride_x), pad=pad), section=section)

    def avgpool(self, section: Section) -> None:
        self.value = self.add(GlobalAvgPool(), section=section)

    def dropout(self, section: Section) -> None:
        self.value = self.add(Dropout(section.real("probability", 0.5)), section=section)

    def softmax(self, section: Section) -> None:
        groups, temperature = section.integer("groups", 1), section.real("temperature", 1.0)
        if groups != 1 or temperature != 1 or section.text("tree", "") or section.integer("spatial", 0):
            reason = "only a softmax over all values, of temperature 1 and without a tree, is a layer of the language"
            raise SectionError(reason, outside=True, help="the nearest layer is `softmax`")
        if self.builder.type(self.value).is_map:
            self.value = self.add(Flatten(), section=section)
        self.value = self.add(Softmax(), section=section)

    def cost(self, section: Section) -> None:
        """The loss of training: nothing at inference."""
        section.options.clear()

    def batchnorm(self, section: Section) -> None:
        self.normalized(section)

    def activate_only(self, section: Section) -> None:
        self.activated(section, "linear")

    def normalization(self, section: Section) -> None:
        size, alpha = section.integer("size", 5), section.real("alpha", 0.0001)
        beta, kappa = section.real("beta", 0.75), section.real("kappa", 1.0)
        if size < 1:
            raise SectionError("size is at least 1")
        if size % 2 == 0:
            reason = f"its window of {size} channels has the extra one above, the language's (and torch's) below"
            raise SectionError(reason, outside=True, help="the nearest layer is `lrn` with an odd size")
        self.builder.note(
            "lrn: Darknet does not divide alpha by the size, so alpha is multiplied here; and by a mistake of its code "
            "it leaves channel size / 2 out of every sum, which is not kept: results differ slightly from Darknet's"
        )
        op = LocalResponseNorm(size, alpha=alpha * size, beta=beta, k=kappa)
        self.value = self.add(op, section=section)

    def source(self, index: int) -> str:
        """The value of a section by its number: negative ones count back from here."""
        here = len(self.made)
        found = index + here if index < 0 else index
        if not 0 <= found < here:
            raise SectionError(f"there is no layer {index} before layer {here}")
        return self.made[found]

    def route(self, section: Section) -> None:
        if section.integer("groups", 1) != 1:
            reason = "it takes a part of a tensor's channels"
            raise SectionError(reason, outside=True, help="the nearest layer is `@label`, which takes all of them")
        section.text("group_id", "0")
        sources = [self.source(index) for index in section.integers("layers")]
        if not sources:
            raise SectionError("layers must name at least one layer")
        self.value = sources[0] if len(sources) == 1 else self.add(Concat(), *sources, section=section)

    def shortcut(self, section: Section) -> None:
        sources = [self.source(index) for index in section.integers("from")]
        if not sources:
            raise SectionError("from must name a layer")
        types = {self.builder.type(name) for name in (self.value, *sources)}
        if len(types) > 1 and not self.guessing:
            reason = f"it adds tensors of different shapes, {' and '.join(sorted(map(str, types)))}, where they overlap"
            raise SectionError(reason, outside=True, help="`add` needs equal shapes; a 1x1 convolution makes them so")
        if section.text("weights_type", "none") not in {"none", ""} or {
            section.real("alpha", 1.0), section.real("beta", 1.0)
        } != {1.0}:  # fmt: skip
            raise SectionError("its weighted sum is none of the language's", outside=True, help="the nearest is `add`")
        section.text("weights_normalization", "none")
        self.value = self.add(Add(), self.value, *sources, section=section)
        self.activated(section, "linear")

    def scale_channels(self, section: Section) -> None:
        """An earlier layer's result, each channel times the one value of it that was just computed."""
        source = self.source(section.integer("from", 0))
        gate, scaled = self.builder.type(self.value), self.builder.type(source)
        if gate.shape != (1, 1, scaled.channels) and not self.guessing:
            raise SectionError(f"it scales {scaled} by {gate}, which has not one value for each channel")
        self.value = self.add(Mul(), source, self.value, section=section)
        self.activated(section, "linear")
