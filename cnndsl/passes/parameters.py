"""The values of parameters: a network's, set from outside or by default; a block's, by its caller; and of repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cnndsl import syntax as ast
from cnndsl.errors import CnnError, Diagnostic, diagnostic, did_you_mean, listed
from cnndsl.ops.fields import show_value
from cnndsl.passes.ledger import MAX_STEPS, Ledger
from cnndsl.passes.names import BLOCK_WORDS
from cnndsl.passes.values import POISON, Evaluator, Report

Parameters = Mapping[str, Any]
"""Values by name; POISON where an earlier mistake left one unknown."""


def check_settings(network: ast.Definition, settings: Parameters) -> None:
    """Raise CnnError (E0219) for settings that are no parameters of the network."""
    names = [p.name for p in network.parameters]
    errors = []
    for name in settings:
        if name not in names:
            guess = did_you_mean(name, names)
            takes = f"it takes {listed([f'`{n}`' for n in names])}" if names else "it takes no parameters"
            hint = f"did you mean `{guess}`?" if guess else takes
            errors.append(
                diagnostic("E0219", f"network `{network.name}` has no parameter `{name}`", help=(hint,))
            )
    if errors:
        raise CnnError(errors)


def network_parameters(network: ast.Definition, settings: Parameters, report: Report) -> dict[str, Any]:
    """The values of a network's parameters; mistakes are reported (E0203, E0211)."""
    values: dict[str, Any] = {}
    for p in network.parameters:
        if p.name in values:
            report(_declared_twice(p))
        elif p.name in settings:
            values[p.name] = settings[p.name]
        elif p.default is not None:
            values[p.name] = Evaluator(values, None, report, BLOCK_WORDS).value(p.default)
        else:
            values[p.name] = POISON
            message = f"network `{network.name}` needs `{p.name}`"
            hint = (f"give it from outside, --set {p.name}=..., or write a default: {p.name} = ...",)
            report(Diagnostic("E0203", message, p.span, "has no default", help=hint))
    return values


def block_parameters(
    block: ast.Definition, bound: Mapping[str, ast.Argument], evaluator: Evaluator
) -> dict[str, Any]:
    """The values of a block's parameters in one call; mistakes are reported (E0211).

    A default may use the parameters before it and the tensor that flows into the block.
    """
    values: dict[str, Any] = {}
    given = replace(evaluator, words=BLOCK_WORDS)
    own = Evaluator(values, evaluator.current, evaluator.report, BLOCK_WORDS)
    for p in block.parameters:
        if p.name in values:
            evaluator.report(_declared_twice(p))
        elif p.name in bound:
            values[p.name] = given.value(bound[p.name].value)
        else:
            assert p.default is not None, "missing arguments were reported before"
            values[p.name] = own.value(p.default)
    return values


def repeat_count(expr: ast.Expr, evaluator: Evaluator, ledger: Ledger) -> int | None:
    """How often a body is repeated; None when that is wrong (reported, E0205, E0206).

    Raises StopError when it is beyond all bounds (E0218).
    """
    count = evaluator.value(expr)
    if count is POISON:
        return None
    whole = isinstance(count, int) and not isinstance(count, bool)
    if not whole or count < 0:
        message = f"`repeat` needs a whole number of at least 0, found {show_value(count)}"
        evaluator.report(Diagnostic("E0206" if whole else "E0205", message, expr.span))
        return None
    if count > MAX_STEPS:
        raise ledger.too_large(f"`repeat {count}` is more than {MAX_STEPS:,} passes", expr.span)
    return int(count)


def _declared_twice(p: ast.Parameter) -> Diagnostic:
    return Diagnostic("E0211", f"parameter `{p.name}` is declared twice", p.span, "declared again")
