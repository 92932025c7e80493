"""The inputs of an ONNX graph and of its nodes: their shapes, and those that a user gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnndsl.errors import CnnError, did_you_mean, problem
from cnndsl.exchange.onnx.refused import Refused
from cnndsl.ir import TensorType

if TYPE_CHECKING:
    import onnx

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes that a user gives, by input: (height, width, channels) or (features,); "" for the only one."""


@dataclass(frozen=True)
class Input:
    """An input: its type in the language, and whether the file has height and width before the channels."""

    name: str
    type: TensorType
    last: bool
    batch: int | None
    """The number that the file fixes the batch to, None where it leaves it open."""
    kind: int
    """The element type's number in ONNX."""


def dims_of(value: onnx.ValueInfoProto) -> tuple[int | None, ...] | None:
    """The sizes of a value, None for those that are open; None where not even their number is known."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in value.type.tensor_type.shape.dim
    )


def input_of(value: onnx.ValueInfoProto, given: tuple[int, ...] | None, *, last: bool) -> Input:
    """An input by its declaration. Raises Refused (E0812, E0814)."""
    if not value.type.HasField("tensor_type"):
        raise Refused("E0812", f"input `{value.name}` is no tensor")
    dims = dims_of(value)
    kind = value.type.tensor_type.elem_type
    if given is not None:
        if dims is not None and len(dims) != len(given) + 1:
            raise Refused("E0814", f"input `{value.name}` has {len(dims)} axes, and {_text(given)} has {len(given)}")
        channels = dims[-1 if last or len(dims) == 2 else 1] if dims else None
        if channels not in {None, given[-1]}:
            what = "channels" if len(given) == 3 else "features"
            turned = (given[1], given[2], given[0]) if len(given) == 3 else ()
            way = f"height comes first, and the channels last: {_text(turned)}"
            raise Refused(
                "E0814", f"input `{value.name}` has {channels} {what}, and {_text(given)} has {given[-1]}",
                help=(way,) if turned and turned[2] == channels else (),
            )
        return Input(value.name, TensorType(given), last, dims[0] if dims else None, kind)
    if dims is None:
        raise _open(value.name, "any shape")
    if len(dims) not in {2, 4}:
        text = ", ".join("?" if d is None else str(d) for d in dims)
        raise Refused(
            "E0812", f"input `{value.name}` has the shape [{text}]",
            notes=("networks read feature maps [N, C, H, W] and vectors [N, F]",),
        )
    batch, *sizes = dims
    if None in sizes:
        raise _open(value.name, f"[{', '.join('?' if d is None else str(d) for d in ('N', *sizes))}]")
    known = tuple(size for size in sizes if size is not None)
    if len(known) == 1:
        return Input(value.name, TensorType(known), last=False, batch=batch, kind=kind)
    shape = known if last else (known[1], known[2], known[0])
    return Input(value.name, TensorType(shape), last, batch, kind)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _open(name: str, shape: str) -> Refused:
    return Refused(
        "E0814", f"input `{name}` may have {shape}",
        notes=("the shapes of a network are known but for the batch",),
        help=(f"--input-shape {name}=224x224x3 says which: height x width x channels",),
    )


def given_shapes(shapes: Shapes, names: tuple[str, ...], origin: str) -> dict[str, tuple[int, ...]]:
    """The shapes that a user gives by the names of the file. Raises CnnError (E0814)."""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if not name and len(names) == 1:
            found[names[0]] = shape
        elif name in names:
            found[name] = shape
        else:
            raise _no_input(name, names, origin)
        if len(shape) not in {1, 3} or min(shape) < 1:
            way = f"--input-shape {name or names[0]}=224x224x3"
            what = f"a shape is height x width x channels, or features; found {_text(shape)}"
            raise problem("E0814", what, help=(f"as in {way}",))
    return found


def _no_input(name: str, names: tuple[str, ...], origin: str) -> CnnError:
    guess = did_you_mean(name, names)
    has = f"{origin} has {', '.join(f'`{n}`' for n in names)}"
    return problem(
        "E0814", f"there is no input `{name}`" if name else "there are several inputs: write NAME=HxWxC",
        notes=(has,), help=(f"did you mean `{guess}`?",) if name and guess is not None else (),
    )


def to_channels_first(node: onnx.NodeProto) -> bool:
    """Whether a node makes [N, C, H, W] of [N, H, W, C]."""
    return node.op_type == "Transpose" and any(
        a.name == "perm" and tuple(a.ints) == (0, 3, 1, 2) for a in node.attribute
    )


def reads_of(node: onnx.NodeProto) -> list[str]:
    """What a node reads, the nodes of its branches included."""
    found = list(node.input)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            graph = attribute.g
            own = {name for inner in graph.node for name in inner.output} | {t.name for t in graph.initializer}
            read = [name for inner in graph.node for name in reads_of(inner)] + [o.name for o in graph.output]
            found += [name for name in read if name not in own]
    return found
