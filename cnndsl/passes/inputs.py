"""The options of an `input` line: how a picture becomes the tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cnndsl import syntax as ast
from cnndsl.errors import Diagnostic
from cnndsl.ir import InputSpec, TensorType
from cnndsl.ops.base import Argument
from cnndsl.ops.fields import choice, pixels, reals, show_pair
from cnndsl.passes.bind import Callee, convert_arguments, pair_arguments
from cnndsl.passes.values import Evaluator, Report

INPUT_ARGUMENTS = (
    Argument("resize", pixels(), "shorter side in pixels, or height x width to warp", None, None),
    Argument("crop", pixels(), "size of the centre crop", None, None),
    Argument(
        "interpolation", choice("bilinear", "bicubic"), "how pixels are resized: bilinear or bicubic", "bilinear", None
    ),
    Argument("mean", reals(), "subtracted, one number per channel", None, None),
    Argument("std", reals(), "divided by, one number per channel", None, None),
    Argument("range", choice(1, 255), "largest value of a pixel: 1 or 255", 1, None),
    Argument("order", choice("rgb", "bgr"), "order of the channels: rgb or bgr", "rgb", None),
)


INPUT_CALLEE = Callee(
    "input", tuple(a.name for a in INPUT_ARGUMENTS), frozenset(),
    usage="input image [224x224x3] (resize=256, crop=224, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))",
)


def pair_options(item: ast.Input, report: Report) -> Mapping[str, ast.Argument]:
    """Which option of an `input` line is which; what does not fit is reported."""
    unnamed = next((a for a in item.options if a.name is None), None)
    if unnamed is not None:
        message = "the options of an input are given by name"
        report(Diagnostic("E0207", message, unnamed.span, help=(f"write {INPUT_CALLEE.usage}",)))
        return {}
    return pair_arguments(INPUT_CALLEE, item.options, item.name_span, report=report)[0]


def input_spec(bound: Mapping[str, ast.Argument], type_: TensorType, evaluator: Evaluator) -> InputSpec:
    """The pre-processing that an `input` line asks for; mistakes are reported (E0205, E0206, E0309)."""
    values, _ = convert_arguments(INPUT_ARGUMENTS, bound, evaluator, title="input")

    def disagree(option: str, message: str, *hints: str) -> None:
        evaluator.report(Diagnostic("E0309", message, bound[option].span, help=hints))

    if not type_.is_map:
        if values:
            message = f"a vector {type_} is not made from a picture, so this has no meaning"
            hint = "drop the options, or give the input a shape [height x width x channels]"
            disagree(next(iter(values)), message, hint)
        return InputSpec()
    for option in ("mean", "std"):
        if option in values and len(values[option]) not in {1, type_.channels}:
            message = f"`{option}` has {len(values[option])} numbers for {type_.channels} channels"
            disagree(option, message, "give one number for each channel, or one for all")
    if any(s == 0 for s in values.get("std", ())):
        disagree("std", "`std` is divided by, so it cannot be 0")
    _check_sizes(values, type_, disagree)
    return InputSpec(**values)


def _check_sizes(values: Mapping[str, Any], type_: TensorType, disagree: Callable[..., None]) -> None:
    """Whether `resize` and then `crop` make the input's height and width."""
    size = (type_.height, type_.width)
    resize, crop = values.get("resize"), values.get("crop")
    window = crop if isinstance(crop, tuple) or crop is None else (crop, crop)
    larger = f"write resize={max(size)} or more"
    if window is not None and window != size:
        message = f"a crop of {show_pair(window)} does not make the input's {show_pair(size)}"
        short = size[0] if size[0] == size[1] else show_pair(size)
        fix = f"write crop={short}, or make the input [{show_pair(window)}x{type_.channels}]"
        disagree("crop", message, fix)
    elif window is not None and isinstance(resize, tuple) and any(map(int.__lt__, resize, window)):
        disagree(
            "resize", f"a crop of {show_pair(window)} does not fit into {show_pair(resize)} pixels", larger
        )
    elif window is not None and isinstance(resize, int) and resize < min(window):
        disagree(
            "resize", f"a crop of {show_pair(window)} does not fit when the shorter side is {resize}", larger
        )
    elif window is None and isinstance(resize, tuple) and resize != size:
        message = f"resizing to {show_pair(resize)} does not make the input's {show_pair(size)}"
        disagree("resize", message, f"write resize={show_pair(size)}, or add crop={show_pair(size)}")
