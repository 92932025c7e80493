"""Options and arguments that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from cnndsl.errors import CnnError, Diagnostic, problem
from cnndsl.tiles import DTYPES

F = TypeVar("F", bound=Callable[..., Any])

_HOW = "write name=value: --set classes=10, --set size=3x3, --set bias=false, --set 'mean=(0.5, 0.5, 0.5)'"


def set_option(function: F) -> F:
    """``--set NAME=VALUE``, any number of times; the command receives `settings`, unread."""
    return click.option(
        "--set", "settings", multiple=True, metavar="NAME=VALUE",
        help="Set a parameter of the network, as in --set classes=10. May be repeated; the last one counts.",
    )(function)


def json_option(function: F) -> F:
    """``--json``; the command receives `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for tools.")(function)


def file_argument(function: F) -> F:
    """One FILE; the command receives `file`."""
    return click.argument("file", metavar="FILE")(function)


def dtype_option(function: F) -> F:
    """``--dtype``; the command receives a `DType`."""
    return click.option(
        "--dtype", type=click.Choice(DTYPES), default="fp32",
        help="Type of activations and weights; sums are fp32. Default: fp32.",
    )(function)


def batch_option(function: F) -> F:
    """``--batch``, the pictures that tiles are chosen for."""
    return click.option(
        "--batch", type=click.IntRange(1, 2**16), default=1, metavar="N",
        help="Pictures that tiles are chosen for; others run too. Default: 1.",
    )(function)


def weights_options(function: F) -> F:
    """``--weights`` and how they are paired; the command receives a path or None, and what `matching_options` gives."""
    given = click.option(
        "--weights", metavar="W",
        help="A .safetensors, .pt, .pth, .npz, .caffemodel, .onnx or Darknet .weights file. Else drawn from the seed.",
    )
    return given(matching_options(function))


def matching_options(function: F) -> F:
    """``--match`` and ``--allow-extra``; the command receives `match`, "name" or "order", and `allow_extra`."""
    matched = click.option(
        "--match", type=click.Choice(["name", "order"]), default="name",
        help="Pair weights by name (the default), or by order and shape where names differ.",
    )
    allowed = click.option(
        "--allow-extra", is_flag=True,
        help="Leave out weights of layers that the network has not, such as heads that only training needs.",
    )
    return matched(allowed(function))


def weights_arguments(function: F) -> F:
    """NET and FILE, and how the one is held against the other: `match`, `allow_extra`, `prefix` and `bgr`."""
    network = click.argument("network", metavar="NET")
    file = click.argument("file", metavar="FILE")
    prefix = click.option(
        "--prefix", default="", metavar="P", help="Take the tensors of FILE whose names begin with P, without it."
    )
    bgr = click.option(
        "--bgr", is_flag=True,
        help="Turn the first convolution of a .caffemodel from blue, green, red to red, green, blue.",
    )
    return network(file(matching_options(prefix(bgr(function)))))


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """The values of all ``--set`` options by name. Raises CnnError (E0701) for those that cannot be read."""
    settings: dict[str, Any] = {}
    errors: list[Diagnostic] = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            if not equals or not name.strip().isidentifier():
                reason = "expected a name, `=` and a value"
                raise problem("E0701", f"cannot read --set {pair}: {reason}", help=(_HOW,))
            settings[name.strip()] = read_value(text.strip(), pair)
        except CnnError as error:
            errors.extend(error.diagnostics)
    if errors:
        raise CnnError(errors)
    return settings


def read_value(text: str, pair: str) -> Any:
    """A value as the language writes it; a bare word, whose quotes the shell has taken, is a string.

    `pair` is the whole option, for messages. Raises CnnError (E0701).
    """
    if text in {"true", "false"}:
        return text == "true"
    if text.lower() in {"true", "false", "yes", "no", "on", "off", "none"}:
        raise problem("E0701", f"cannot read --set {pair}: `{text}`", help=("write `true` or `false`",))
    if re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII):
        return text
    return _evaluate(text, pair)


def _evaluate(text: str, pair: str) -> Any:
    """The language's own reader reads the text, where an expression stands alone: ``repeat 10 {}``."""
    from cnndsl import syntax as ast
    from cnndsl.parser import parse
    from cnndsl.passes.values import POISON, Evaluator

    found: list[Diagnostic] = []
    value: Any = POISON
    try:
        file = parse(f"network _ {{ repeat {text} {{}} }}", "--set")
        match [d.body.items for d in file.definitions]:
            case [(ast.Repeat(None, expression),)]:
                value = Evaluator({}, None, found.append).value(expression)
    except CnnError as error:
        found.extend(error.diagnostics)
    if value is POISON:
        # A message about a bracket or a comma would be about the text around the value.
        clear = [d for d in found if d.code in {"E0111", "E0205", "E0208", "E0212", "E0218"}]
        reason = clear[0].message if clear else f"`{text}` is no value of the language"
        hints = clear[0].help if clear else ()
        raise problem("E0701", f"cannot read --set {pair}: {reason}", help=(*hints, _HOW))
    return value
