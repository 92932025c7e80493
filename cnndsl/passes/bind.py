"""Binding the arguments of a layer, a block or an input to what it declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnndsl import syntax as ast
from cnndsl.errors import Diagnostic, Label, Span, did_you_mean
from cnndsl.ops.base import Argument
from cnndsl.ops.fields import BadValueError
from cnndsl.passes.values import POISON, Evaluator


@dataclass(frozen=True)
class Callee:
    """What is called: a word for messages ("conv", "block `stage`"), and the names that it takes, in order."""

    title: str
    names: tuple[str, ...]
    required: frozenset[str]
    place: Span | None = None
    """Where a block is defined."""
    usage: str = ""
    """How it is written, for help."""


def pair_arguments(
    callee: Callee, arguments: Sequence[ast.Argument], span: Span, *, report: Any
) -> dict[str, ast.Argument] | None:
    """Which argument goes to which name, or None after reporting what does not fit (E0202, E0203, E0204, E0207)."""
    bound: dict[str, ast.Argument] = {}
    good = True
    for position, argument in enumerate(arguments):
        if argument.name is None:
            if position >= len(callee.names):
                good = False
                report(_too_many(callee, arguments, position))
                break
            earlier = next((a for a in arguments[:position] if a.name is not None), None)
            if earlier is not None:
                good = False
                report(
                    Diagnostic(
                        "E0207", "an argument without a name follows one with a name", argument.span,
                        labels=(Label(earlier.span, "named argument"),), help=_usage(callee),
                    )
                )
                break
            name = callee.names[position]
        else:
            name = argument.name
        if name not in callee.names:
            good = False
            report(_unknown(callee, name, argument))
        elif name in bound:
            good = False
            message = f"argument `{name}` of {callee.title} is given twice"
            label = Label(bound[name].span, "first given here")
            report(Diagnostic("E0204", message, argument.span, "given again", (label,)))
        else:
            bound[name] = argument
    missing = [name for name in callee.names if name in callee.required and name not in bound]
    if missing and good:
        good = False
        words = " and ".join(f"`{name}`" for name in missing)
        labels = (Label(callee.place, "defined here"),) if callee.place is not None else ()
        report(Diagnostic("E0203", f"{callee.title} needs {words}", span, labels=labels, help=_usage(callee)))
    return bound if good else None


def convert_arguments(
    declared: Sequence[Argument], bound: Mapping[str, ast.Argument], evaluator: Evaluator, *, title: str
) -> dict[str, Any] | None:
    """The values of bound arguments, or None when one is wrong (reported, E0205, E0206) or POISON."""
    values: dict[str, Any] = {}
    good = True
    for argument in declared:
        given = bound.get(argument.name)
        if given is None:
            continue
        local = Evaluator(evaluator.parameters, evaluator.current, evaluator.report, argument.kind.words)
        value = local.value(given.value)
        if value is POISON:
            good = False
            continue
        try:
            values[argument.name] = argument.kind.convert(value)
        except BadValueError as error:
            good = False
            hint: tuple[str, ...] = ()
            if isinstance(value, float) and value.is_integer() and argument.kind.describe == "a whole number":
                hint = ("`/` gives a number with a fraction; `//` divides whole numbers",)
            evaluator.report(
                Diagnostic(
                    error.code, f"`{argument.name}` of {title} {error.message}", given.value.span,
                    argument.doc, help=hint,
                )
            )
    return values if good else None


def _too_many(callee: Callee, arguments: Sequence[ast.Argument], position: int) -> Diagnostic:
    span = arguments[position].span.to(arguments[-1].span)
    if not callee.names:
        return Diagnostic("E0207", f"{callee.title} takes no arguments", span)
    count = len(callee.names)
    amount = "one argument" if count == 1 else f"at most {count} arguments"
    return Diagnostic("E0207", f"{callee.title} takes {amount}", span, "too many", help=_usage(callee))


def _unknown(callee: Callee, name: str, argument: ast.Argument) -> Diagnostic:
    guess = did_you_mean(name, callee.names) or _OTHER_NAMES.get(name)
    if guess in callee.names:
        hint = f"did you mean `{guess}`?"
    elif callee.names:
        hint = f"{callee.title} takes {', '.join(f'`{n}`' for n in callee.names)}"
    else:
        hint = f"{callee.title} takes no arguments"
    labels = (Label(callee.place, "defined here"),) if callee.place is not None else ()
    return Diagnostic("E0202", f"{callee.title} has no argument `{name}`", argument.span, labels=labels, help=(hint,))


def _usage(callee: Callee) -> tuple[str, ...]:
    return (f"write {callee.usage}",) if callee.usage else ()


_OTHER_NAMES = {
    "padding": "pad",
    "kernel_size": "kernel",
    "size": "kernel",
    "strides": "stride",
    "out_channels": "filters",
    "channels": "filters",
    "num_output": "filters",
    "use_bias": "bias",
    "bias_term": "bias",
    "ceil_mode": "ceil",
    "count_include_pad": "count_pad",
    "negative_slope": "slope",
    "out_features": "units",
    "group": "groups",
    "epsilon": "eps",
    "rate": "p",
    "bias_value": "k",
}
"""What other frameworks call an argument."""
