"""Binding the arguments of a layer, a block or an input to what it declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from cnndsl import syntax as ast
from cnndsl.errors import Diagnostic, Label, Span, did_you_mean, listed
from cnndsl.ops.base import Argument
from cnndsl.ops.fields import BadValueError, kind_of
from cnndsl.passes.values import POISON, Evaluator, Report


@dataclass(frozen=True)
class Callee:
    """What is called: a word for messages ("conv", "block `stage`"), and the names that it takes."""

    title: str
    names: tuple[str, ...]
    required: frozenset[str]
    place: Span | None = None
    """Where a block is defined."""
    usage: str = ""
    """How it is written, for help."""

    @cached_property
    def known(self) -> frozenset[str]:
        """The names, for looking up."""
        return frozenset(self.names)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The names that must be given, in order."""
        return tuple(name for name in self.names if name in self.required)

    @property
    def places(self) -> tuple[Label, ...]:
        """The block's definition, to point at."""
        return (Label(self.place, "defined here"),) if self.place is not None else ()

    @property
    def help(self) -> tuple[str, ...]:
        """How it is written."""
        return (f"write {self.usage}",) if self.usage else ()


def pair_arguments(
    callee: Callee, arguments: Sequence[ast.Argument], span: Span, *, report: Report
) -> tuple[dict[str, ast.Argument], bool]:
    """Which argument goes to which name, and whether all fit (else reported, E0202, E0203, E0204, E0207)."""
    bound: dict[str, ast.Argument] = {}
    good = True
    named: ast.Argument | None = None
    for position, argument in enumerate(arguments):
        name = argument.name
        if name is not None:
            named = named or argument
        elif named is not None:
            good = False
            message = "an argument without a name follows one with a name"
            label = Label(named.span, "from here on arguments need their names")
            report(Diagnostic("E0207", message, argument.span, labels=(label,), help=callee.help))
            break
        elif position >= len(callee.names):
            good = False
            report(_too_many(callee, arguments, position))
            break
        else:
            name = callee.names[position]
        if name not in callee.known:
            good = False
            report(_unknown(callee, name, argument))
        elif name in bound:
            good = False
            report(_repeated(callee, name, bound[name], argument))
        else:
            bound[name] = argument
    missing = [name for name in callee.needed if name not in bound]
    if missing and good:
        good = False
        words = listed([f"`{name}`" for name in missing])
        report(
            Diagnostic("E0203", f"{callee.title} needs {words}", span, labels=callee.places, help=callee.help)
        )
    return bound, good


def convert_arguments(
    declared: Sequence[Argument], bound: Mapping[str, ast.Argument], evaluator: Evaluator, *, title: str
) -> tuple[dict[str, Any], bool]:
    """The values of bound arguments, and whether they are all there; one may be wrong (reported) or POISON.

    What is reported: E0205, E0206, and E0115 for ``3*3`` where a size was meant.
    """
    values: dict[str, Any] = {}
    good = True
    for argument in declared:
        given = bound.get(argument.name)
        if given is None:
            continue
        local = evaluator if not argument.kind.words else replace(evaluator, words=argument.kind.words)
        value = local.value(given.value)
        if value is POISON:
            good = False
            continue
        try:
            values[argument.name] = argument.kind.convert(value)
        except BadValueError as error:
            good = False
            evaluator.report(_bad_value(title, argument, given, value=value, error=error))
            continue
        window = _product(given.value)
        if window is not None and argument.kind.describe.startswith("a size"):
            good = False
            message = f"`{given.value.span.text}` is the number {value}; a size is written with `x`"
            hint = (f"write {window}",)
            evaluator.report(Diagnostic("E0115", message, given.value.span, argument.doc, help=hint))
    return values, good


def _bad_value(
    title: str, argument: Argument, given: ast.Argument, *, value: Any, error: BadValueError
) -> Diagnostic:
    """The error about a value that an argument cannot take, with what was probably meant."""
    message = f"`{argument.name}` of {title} {error.message}"
    hint: tuple[str, ...] = ()
    match given.value:
        case ast.Binary(rest=rest) if isinstance(value, float) and any(symbol == "/" for symbol, _ in rest):
            message = message.replace(kind_of(value), f"the number {value!r}")
            hint = ("`/` gives a number with a fraction; `//` divides whole numbers",)
        case _ if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            message = message.replace(kind_of(value), f"the number {value!r}")
            hint = (f"write {int(value)}",)
        case ast.Literal(str() as text) if text in argument.kind.words or text.replace(".", "", 1).isdigit():
            hint = (f"write {text}",)
        case _ if argument.kind.describe == "true or false" and value in (0, 1):
            hint = ("write true" if value else "write false",)
        case _ if isinstance(value, tuple) and argument.name == "filters":
            hint = ("the number of filters comes first, then the window: conv(64, 3x3)",)
    return Diagnostic(error.code, message, given.value.span, argument.doc, help=hint)


def _product(expr: ast.Expr) -> str | None:
    """``3x3`` for the expression ``3*3``, which computes a number where a size was probably meant."""
    match expr:
        case ast.Binary(first=ast.Literal(int() as first), rest=(("*", ast.Literal(int() as second)),)):
            return f"{first}x{second}"
    return None


def _too_many(callee: Callee, arguments: Sequence[ast.Argument], position: int) -> Diagnostic:
    span = arguments[position].span.to(arguments[-1].span)
    if not callee.names:
        return Diagnostic("E0207", f"{callee.title} takes no arguments", span, labels=callee.places)
    count = len(callee.names)
    amount = "one argument" if count == 1 else f"at most {count} arguments"
    names = listed([f"`{name}`" for name in callee.names])
    notes = (f"they are {names}",) if count > 1 else ()
    return Diagnostic(
        "E0207", f"{callee.title} takes {amount}", span, "too many", callee.places, notes, callee.help
    )


def _repeated(callee: Callee, name: str, first: ast.Argument, again: ast.Argument) -> Diagnostic:
    message = f"argument `{name}` of {callee.title} is given twice"
    label = Label(
        first.span, "first given here" if first.name is not None else "first given here, by its position"
    )
    return Diagnostic("E0204", message, again.span, "given again", (label,))


def _unknown(callee: Callee, name: str, argument: ast.Argument) -> Diagnostic:
    guess = did_you_mean(name, callee.names)
    if guess is None:
        others = _OTHER_NAMES.get(name.lower(), ())
        guess = next((other for other in others if other in callee.known), None)
    if guess is not None:
        hint = f"did you mean `{guess}`?"
    elif callee.names:
        hint = f"{callee.title} takes {listed([f'`{n}`' for n in callee.names])}"
    else:
        hint = f"{callee.title} takes no arguments"
    span = Span(argument.span.source, argument.span.start, argument.span.start + len(name))
    return Diagnostic(
        "E0202", f"{callee.title} has no argument `{name}`", span, labels=callee.places, help=(hint,)
    )


_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "padding": ("pad", "size"),
    "pads": ("pad",),
    "kernel_size": ("kernel", "size"),
    "kernel_shape": ("kernel",),
    "ksize": ("kernel",),
    "pool_size": ("kernel",),
    "window": ("kernel", "size"),
    "size": ("kernel",),
    "kernel": ("size",),
    "output_size": ("size",),
    "strides": ("stride",),
    "step": ("stride",),
    "dilations": ("dilation",),
    "dilation_rate": ("dilation",),
    "rate": ("dilation", "p"),
    "out_channels": ("filters",),
    "channels": ("filters", "groups"),
    "num_output": ("filters", "units"),
    "features": ("units", "filters"),
    "out_features": ("units",),
    "filters": ("units",),
    "units": ("filters",),
    "use_bias": ("bias",),
    "bias_term": ("bias",),
    "group": ("groups",),
    "ceil_mode": ("ceil",),
    "count_include_pad": ("count_pad",),
    "negative_slope": ("slope",),
    "alpha": ("slope",),
    "epsilon": ("eps",),
    "prob": ("p",),
    "drop_prob": ("p",),
    "local_size": ("size",),
    "n": ("size",),
    "scale": ("range", "std"),
    "filter": ("interpolation",),
    "resample": ("interpolation",),
    "colors": ("order",),
    "channel_order": ("order",),
}
"""What other frameworks call an argument; the first that the layer has is meant."""
