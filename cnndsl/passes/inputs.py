"""The options of an `input` line: how a picture becomes the tensor."""

from __future__ import annotations

from cnndsl import syntax as ast
from cnndsl.errors import Diagnostic
from cnndsl.ir import InputSpec, TensorType
from cnndsl.ops.base import Argument
from cnndsl.ops.fields import choice, pixels, reals
from cnndsl.passes.bind import Callee, convert_arguments, pair_arguments
from cnndsl.passes.values import Evaluator

INPUT_ARGUMENTS = (
    Argument("resize", pixels(), "shorter side in pixels, or height x width to warp", None, None),
    Argument("crop", pixels(), "size of the centre crop", None, None),
    Argument("mean", reals(), "subtracted, one number per channel", None, None),
    Argument("std", reals(), "divided by, one number per channel", None, None),
    Argument("range", choice(1, 255), "largest value of a pixel: 1 or 255", 1, None),
    Argument("order", choice("rgb", "bgr"), "order of the channels: rgb or bgr", "rgb", None),
)


def input_spec(item: ast.Input, type_: TensorType, evaluator: Evaluator) -> InputSpec:
    """The pre-processing that an `input` line asks for; mistakes are reported (E0202 to E0207, E0309)."""
    callee = Callee(
        "input", tuple(a.name for a in INPUT_ARGUMENTS), frozenset(),
        usage="input image [224x224x3] (resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))",
    )
    unnamed = next((a for a in item.options if a.name is None), None)
    if unnamed is not None:
        message = "the options of an input are given by name"
        evaluator.report(Diagnostic("E0207", message, unnamed.span, help=(f"write {callee.usage}",)))
        return InputSpec()
    bound = pair_arguments(callee, item.options, item.span, report=evaluator.report)
    values = convert_arguments(INPUT_ARGUMENTS, bound, evaluator, title="input") if bound is not None else None
    if bound is None or values is None:
        return InputSpec()

    def disagree(option: str, message: str) -> None:
        evaluator.report(Diagnostic("E0309", message, bound[option].span))

    if not type_.is_map and values:
        disagree(next(iter(values)), f"a vector {type_} is not made from a picture, so this has no meaning")
    for option in ("mean", "std"):
        if type_.is_map and option in values and len(values[option]) not in {1, type_.channels}:
            disagree(option, f"`{option}` has {len(values[option])} numbers for {type_.channels} channels")
    if "std" in values and any(s == 0 for s in values["std"]):
        disagree("std", "`std` is divided by, so it cannot be 0")
    if type_.is_map and "crop" in values:
        crop = values["crop"] if isinstance(values["crop"], tuple) else (values["crop"],) * 2
        if crop != (type_.height, type_.width):
            disagree("crop", f"crop={crop[0]}x{crop[1]} does not make the input's {type_.height}x{type_.width}")
    return InputSpec(**values)
