"""Inferring shapes, and the errors about those that do not agree: what was found, why, what would agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from cnndsl import syntax as ast
from cnndsl.errors import Diagnostic, Label, Span, listed
from cnndsl.ir import Node, TensorType
from cnndsl.ops.base import Op, ShapeError
from cnndsl.ops.fields import BadValueError, show_pair
from cnndsl.ops.joins import ArmError
from cnndsl.passes.ledger import Ledger
from cnndsl.passes.scope import Value

MAX_VALUES = 2**36
"""Values of one tensor or weight: 256 GiB in fp32."""

Joined = tuple[Value, ast.Arm | None]
"""An input of a layer, and the arm that it comes out of if it does."""

Dims = tuple[int | None, ...]
"""The sizes of an assertion; None for ``_``."""


def fits(dims: Dims, type_: TensorType) -> bool:
    """Whether a tensor is what an assertion says."""
    return len(dims) == len(type_.shape) and all(
        d is None or d == f for d, f in zip(dims, type_.shape, strict=True)
    )


def show_dims(dims: Dims) -> str:
    """``[_x_x64]``."""
    return "[" + "x".join("_" if d is None else str(d) for d in dims) + "]"


@dataclass
class Tensors:
    """The tensors computed so far, by the names of their nodes. Grows while a network is expanded."""

    nodes: dict[str, Node] = field(default_factory=dict)
    places: dict[str, Label] = field(default_factory=dict)
    """Where each was made, and what it is: "makes [55x55x96]"."""

    def types(self, node: Node) -> tuple[TensorType, ...]:
        """The types of a node's inputs."""
        return tuple(self.nodes[name].type for name in node.inputs)

    def maker(self, name: str) -> Node:
        """The layer that gave a tensor its shape: back through activations and the like."""
        node = self.nodes[name]
        while len(node.inputs) == 1 and node.op is not None:
            before = self.nodes[node.inputs[0]]
            if before.type != node.type or not _keeps_shapes(node.op, node.type):
                break
            node = before
        return node

    def place(self, name: str) -> Label:
        """Where a tensor got its shape; with its path where a block's text stands for many layers."""
        maker = self.maker(name)
        place = self.places[maker.name]
        return replace(place, text=f"`{maker.name}` {place.text}") if maker.calls else place

    def history(self, name: str) -> list[tuple[str, TensorType]]:
        """The layers from the input on that changed height or width, and what they made."""
        found: list[tuple[str, TensorType]] = []
        node: Node | None = self.nodes[name]
        while node is not None:
            before = self.nodes[node.inputs[0]] if node.inputs else None
            if before is None or _pixels(before.type) != _pixels(node.type):
                found.append((node.name, node.type))
            node = before
        return found[::-1]


def _pixels(type_: TensorType) -> tuple[int, int]:
    return type_.height, type_.width


def _keeps_shapes(op: Op, type_: TensorType) -> bool:
    """Whether an operation of one input makes what it is given, whatever that is."""
    grown = (type_.height + 1, type_.width + 2, 2 * type_.channels) if type_.is_map else (2 * type_.channels,)
    try:
        return op.infer(TensorType(grown)).shape == grown
    except ShapeError:
        return False


def wrong_shape(item: ast.Shape, dims: Dims, current: Value, tensors: Tensors) -> Diagnostic:
    """The error (E0301) about an assertion that does not hold."""
    assert current.type is not None
    assert current.node is not None
    found = current.type
    maker = tensors.maker(current.node)
    types = tensors.types(maker)
    labels = [tensors.place(maker.name), *(tensors.place(name) for name in dict.fromkeys(maker.inputs[:4]))]
    notes: list[str] = []
    if maker.op is not None and (len(dims) != 3 or not fits((*dims[:2], None), found)):
        notes.extend(maker.op.explain(*types))
    if maker.op is not None and maker.op.joins:
        channels = [t.channels for t in types]
        if found.is_map and sum(channels) == found.channels:
            notes.append(f"channels: {' + '.join(map(str, channels))} = {found.channels}")
        else:
            notes.append(f"{maker.op.name} joins {listed([str(t) for t in types])}")
    if current.meant is not None:
        notes.append(f"if the assertion above held, this would be {current.meant}")
        hints: tuple[str, ...] = ()
    else:
        hints = tuple(_reshaped(dims, found, item)) or tuple(_changes(dims, maker, tensors))
    return Diagnostic(
        "E0301", f"expected {show_dims(dims)}, found {found}", item.span, _difference(dims, found),
        tuple(dict.fromkeys(labels)), tuple(notes), hints,
    )


def _difference(dims: Dims, found: TensorType) -> str:
    if len(dims) != len(found.shape):
        return "a vector is expected" if found.is_map else "a feature map is expected"
    pairs = list(zip(dims, found.shape, strict=True))
    words = ["height", "width", "channels"] if found.is_map else ["features"]
    if found.is_map and pairs[0] == pairs[1]:
        words, pairs = ["height and width", "channels"], pairs[1:]
    return ", ".join(
        f"{word}: {f}, not {d}" for word, (d, f) in zip(words, pairs, strict=True) if d is not None and d != f
    )


def _reshaped(dims: Dims, found: TensorType, item: ast.Shape) -> Iterator[str]:
    """Help where the numbers are right and their arrangement is not."""
    literal = len(item.dims) == 1 and isinstance(item.dims[0], ast.Binary)
    if len(dims) == 1 and found.is_map:
        if literal and dims[0] == found.size:
            yield f"sizes are joined by `x`: {found}; `flatten` makes a vector [{found.size}] of it"
        elif dims[0] == found.size:
            yield f"`flatten` makes a vector [{found.size}] of it"
    elif len(dims) == 3 and found.is_map and tuple(dims) == found.torch_shape:
        yield f"shapes are written height x width x channels: {found}"


def _changes(dims: Dims, maker: Node, tensors: Tensors) -> Iterator[str]:
    """One change of one argument, or of the input's size, with which a layer would make a shape."""
    if maker.op is None or maker.op.joins:
        return
    ways = [fix for _, fix in _fixes(maker, dims, tensors)][:1]
    source = tensors.nodes[maker.inputs[0]]
    if source.op is None and source.type.is_map:
        size = _input_size(maker.op, source.type, dims)
        if size is not None:
            ways.append(f"an input of {size}")
    if ways:
        yield f"{listed(ways, last='or')} would make it {show_dims(dims)}"


_TRIED = ("filters", "units", "size", "pad", "ceil", "stride", "kernel")
"""The arguments that set shapes, those that are likeliest to be wrong first."""


def _fixes(maker: Node, dims: Dims, tensors: Tensors) -> Iterator[tuple[int, str]]:
    """Arguments, as they would be written, with which a layer would make a shape; the likeliest first."""
    op, types = maker.op, tensors.types(maker)
    if op is None or op.joins:
        return
    declared = {a.name: a for a in op.arguments()}
    wanted = [d for d in dims if d is not None]
    for rank, name in enumerate(_TRIED):
        if name not in declared:
            continue
        argument = declared[name]
        values: list[object] = [*range(12), *wanted, tuple(wanted[:2]), True, False]
        for value in values:
            try:
                changed = replace(op, **{name: argument.kind.convert(value)}).resolve(*types)
                made = changed.infer(*types)
            except (BadValueError, ShapeError):
                continue
            if fits(dims, made):
                yield rank, f"{name}={argument.kind.show(getattr(changed, name))} in `{maker.name}`"
                break


def _input_size(op: Op, source: TensorType, dims: Dims) -> TensorType | None:
    """The square input, nearest to the one there is, of which an operation would make a shape exactly."""
    for distance in range(1, 33):
        for size in (source.height + distance, source.height - distance):
            if size < 1 or source.height != source.width:
                continue
            type_ = TensorType((size, size, source.channels))
            smaller = TensorType((size - 1, size - 1, source.channels))
            try:
                exact = fits(dims, op.infer(type_)) and (size == 1 or not fits(dims, op.infer(smaller)))
            except ShapeError:
                continue
            if exact:
                return type_
    return None


def infer(
    op: Op, inputs: Sequence[Joined], span: Span, *, tensors: Tensors, ledger: Ledger
) -> tuple[Value, Op | None]:
    """The output, its type None when unknown, and the resolved operation, None when its inputs are wrong.

    The caller names the output's node. Mistakes are reported (E03xx). Raises StopError when a tensor is
    beyond all bounds (E0218).
    """
    meant = _meant(op, inputs)
    known = [value.type for value, _ in inputs if value.type is not None]
    if len(known) < len(inputs):
        # The output of a dense layer does not depend on its input's shape.
        units = getattr(op, "units", None)
        return Value(None, TensorType((units,)) if isinstance(units, int) else None, span), op
    try:
        op = op.resolve(*known)
        type_ = op.infer(*known)
    except ShapeError as error:
        if meant is not None:  # it only follows from an assertion that did not hold
            return Value(None, meant, span), None
        d = Diagnostic(error.code, str(error), label=error.arithmetic, help=error.help)
        if all(value.node is not None for value, _ in inputs):
            d = wrong_input(error, op, inputs, tensors)
        ledger.report(replace(d, span=span))
        return Value(None, None, span), None
    largest = max([type_.size, *(w.size for w in op.weights(*known))])
    if largest > MAX_VALUES:
        raise ledger.too_large(
            f"{op.name} needs a tensor of {largest:,} values; at most {MAX_VALUES:,}", span
        )
    return Value(None, type_, span, meant if meant != type_ else None), op


def _meant(op: Op, inputs: Sequence[Joined]) -> TensorType | None:
    """What an operation would make if the assertions before it held, where one does not."""
    if all(value.meant is None for value, _ in inputs):
        return None
    types = [value.meant or value.type for value, _ in inputs]
    known = [t for t in types if t is not None]
    if len(known) < len(types):
        return None
    try:
        return op.resolve(*known).infer(*known)
    except ShapeError:
        return None


def wrong_input(error: ShapeError, op: Op, inputs: Sequence[Joined], tensors: Tensors) -> Diagnostic:
    """The error about inputs that do not suit an operation; the caller adds its place."""
    if isinstance(error, ArmError):
        return _wrong_arms(error, op, [inputs[i] for i in error.pair], tensors)
    (value, _) = inputs[0]
    assert value.node is not None
    maker = tensors.maker(value.node)
    notes: tuple[str, ...] = ()
    hints = error.help
    if error.code == "E0304":
        steps = tensors.history(value.node)
        if len(steps) > 2:
            shown = [f"{name} {show_pair((t.height, t.width)) if t.is_map else t}" for name, t in steps]
            shown = shown if len(shown) <= 9 else [*shown[:3], "...", *shown[-5:]]
            notes = (f"sizes on the way here: {', '.join(shown)}",)
        first = steps[0][1]
        if first.is_map and first.height < first.width == first.channels:
            turned = f"[{first.width}x{first.channels}x{first.height}]"
            hints = (f"shapes are written height x width x channels: is the input {turned}?",)
    elif error.code == "E0305" and maker.op is None:
        hints = ("the shape of a map is joined by `x`: [224x224x3]",)
    elif error.code == "E0305":
        hints = (f"`{maker.name}` makes a vector; what needs rows and columns stands above it",)
    return Diagnostic(
        error.code, str(error), None, error.arithmetic, (tensors.place(maker.name),), notes, hints
    )


def _wrong_arms(error: ArmError, op: Op, pair: Sequence[Joined], tensors: Tensors) -> Diagnostic:
    """The error about two inputs of a join that disagree: where each comes from, what would mend it."""
    labels: list[Label] = []
    makers, types = [], []
    for value, arm in pair:
        assert value.node is not None
        assert value.type is not None
        if arm is not None and not arm.body.items:
            labels.append(Label(arm.span, f"this arm is empty: it passes {value.type} on"))
        labels.append(tensors.place(value.node))
        makers.append(tensors.maker(value.node))
        types.append(value.type)
    hints = error.help
    if all(t.is_map for t in types):
        free = op.name == "concat"  # channels may differ there
        wanted: list[Dims] = [(*t.shape[:2], None) if free else t.shape for t in types]
        ways = [
            (rank, f"{fix} would make it {show_dims(dims)}")
            for maker, dims in zip(makers, wanted[::-1], strict=True)
            for rank, fix in _fixes(maker, dims, tensors)
        ]
        hints = _projection(types[0], types[1]) if op.name == "add" else ()
        hints = hints or tuple(text for _, text in sorted(ways)[:1])
    label = _apart(types[0], types[1], channels=op.name != "concat")
    return Diagnostic(error.code, str(error), None, label, tuple(dict.fromkeys(labels)), help=hints)


def _apart(a: TensorType, b: TensorType, *, channels: bool) -> str:
    """What two shapes differ in."""
    if a.is_map != b.is_map:
        return "one is a feature map, the other a vector"
    if not a.is_map:
        return f"features: {a.size} against {b.size}"
    pairs = list(zip(a.shape, b.shape, strict=True))
    words = ["height", "width", "channels"]
    if pairs[0] == pairs[1]:
        words, pairs = ["height and width", "channels"], pairs[1:]
    shown = zip(words, pairs, strict=True)
    return ", ".join(
        f"{w}: {m} against {n}" for w, (m, n) in shown if m != n and (channels or w != "channels")
    )


def _projection(one: TensorType, other: TensorType) -> tuple[str, ...]:
    """The 1x1 convolution that makes the arms of an addition agree, where there is one."""
    large, small = (one, other) if one.height >= other.height else (other, one)
    same = (large.height, large.width) == (small.height, small.width)
    stride = 1 if same else -(-large.height // small.height)
    if (-(-large.height // stride), -(-large.width // stride)) != (small.height, small.width):
        return ()
    step = f", stride={stride}" if stride > 1 else ""
    return (f"a 1x1 convolution makes them equal: conv({small.channels}, 1x1{step}) on the arm of {large}",)
