"""Arithmetic of sliding windows, shared by convolution and pooling.

Floor: out = floor((in + pads - dilation (k - 1) - 1) / stride) + 1 (torch.nn.Conv2d). Ceil: as floor with
ceil, less a last window that would start beyond the input and its left padding (torch.nn.MaxPool2d,
`ceil_mode`).
"""

from __future__ import annotations

from cnndsl.ir import TensorType
from cnndsl.ops.base import ShapeError
from cnndsl.ops.fields import Pads, show_pads, show_pair


def output_size(
    size: int, kernel: int, *, stride: int, before: int, after: int, dilation: int, ceil: bool
) -> int:
    """Number of windows along one axis; less than 1 when none fits."""
    span = size + before + after - dilation * (kernel - 1) - 1
    if not ceil:
        return span // stride + 1
    out = -(-span // stride) + 1
    if (out - 1) * stride >= size + before:
        out -= 1
    return out


def same_pads(
    x: TensorType, kernel: tuple[int, int], stride: tuple[int, int], *, dilation: tuple[int, int]
) -> Pads:
    """The padding with which the output has ceil(in / stride) rows and columns.

    The odd one goes below and right, as torch's ``padding='same'`` and TensorFlow's SAME put it.
    """
    amounts: list[int] = []
    for size, k, s, d in zip((x.height, x.width), kernel, stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        amounts.extend((total // 2, total - total // 2))
    return amounts[0], amounts[1], amounts[2], amounts[3]


def output_pixels(
    name: str,
    x: TensorType,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int],
    pad: Pads,
    dilation: tuple[int, int] = (1, 1),
    ceil: bool = False,
) -> tuple[int, int]:
    """Rows and columns of the output. Raises ShapeError (E0304) when no window fits."""
    sizes = []
    for axis, word in enumerate(("height", "width")):
        size = (x.height, x.width)[axis]
        k, s, d, before, after = kernel[axis], stride[axis], dilation[axis], pad[2 * axis], pad[2 * axis + 1]
        out = output_size(size, k, stride=s, before=before, after=after, dilation=d, ceil=ceil)
        if out < 1:
            rounding = "ceil" if ceil else "floor"
            extent = f"{k}" if d == 1 else f"({d} * ({k} - 1) + 1)"
            arithmetic = f"{word}: {rounding}(({size} + {before + after} - {extent}) / {s}) + 1 = {out}"
            raise ShapeError(
                "E0304",
                f"window does not fit: {name} {show_pair(kernel)} over a {x.height}x{x.width} tensor",
                arithmetic,
                help=(_advice(x, kernel, stride=stride, dilation=dilation, pooling=name != "conv"),),
            )
        sizes.append(out)
    return sizes[0], sizes[1]


def _advice(
    x: TensorType,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pooling: bool,
) -> str:
    """What to write instead: a smaller window, or the smallest even padding with which this one fits."""
    if (x.height, x.width) == (1, 1):
        return "drop this layer: one pixel is all that is left"
    sizes = (x.height, x.width)
    fitting = [min(k, (size - 1) // d + 1) for size, k, d in zip(sizes, kernel, dilation, strict=True)]
    ways = ["drop this layer", f"take a window of at most {show_pair((fitting[0], fitting[1]))}"]
    need = [
        max(0, -(-(d * (k - 1) + 1 - size) // 2)) for size, k, d in zip(sizes, kernel, dilation, strict=True)
    ]
    if not pooling or all(n <= k // 2 for n, k in zip(need, kernel, strict=True)):
        pad: Pads = (need[0], need[0], need[1], need[1])
        p, q = (
            output_size(size, k, stride=s, before=n, after=n, dilation=d, ceil=False)
            for size, k, s, n, d in zip(sizes, kernel, stride, need, dilation, strict=True)
        )
        made = f"[{p}x{q}x{x.channels}]" if pooling else f"{p}x{q} pixels"
        ways.append(f"use pad={show_pads(pad)} for {made}")
    return ", or ".join(ways)


def explain_pixels(
    x: TensorType,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int],
    pad: Pads,
    dilation: tuple[int, int] = (1, 1),
    ceil: bool = False,
) -> tuple[str, ...]:
    """The output size worked out in figures, one line for each axis, or one for both where they agree."""
    lines = []
    rounding = "ceil" if ceil else "floor"
    for axis in (0, 1):
        size, k, s, d = (x.height, x.width)[axis], kernel[axis], stride[axis], dilation[axis]
        before, after = pad[2 * axis], pad[2 * axis + 1]
        out = output_size(size, k, stride=s, before=before, after=after, dilation=d, ceil=ceil)
        extent = f"{k}" if d == 1 else f"({d} * ({k} - 1) + 1)"
        lines.append(f"{rounding}(({size} + {before + after} - {extent}) / {s}) + 1 = {out}")
    if lines[0] == lines[1]:
        return (f"height and width: {lines[0]}",)
    return f"height: {lines[0]}", f"width: {lines[1]}"
