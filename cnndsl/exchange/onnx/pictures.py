"""How pictures become the inputs of an ONNX model: a part of its metadata, for ONNX itself has no place for that.

The key ``cnndsl.inputs`` holds a JSON object, from the name of an input to the options of its ``input`` line that are
not as by default::

    {"image": {"resize": 256, "crop": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}

A size is a whole number or a list of two, height and width. Inputs that nothing is said of are not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnndsl.errors import CnnError, Source, Span, listed, printable
from cnndsl.exchange.write.check import read_back
from cnndsl.exchange.write.words import input_text
from cnndsl.ir import Graph, InputSpec, Node, TensorType
from cnndsl.ops.fields import BadValueError
from cnndsl.passes.inputs import INPUT_ARGUMENTS

if TYPE_CHECKING:
    import onnx

KEY = "cnndsl.inputs"
"""The key among the model's `metadata_props`."""

MAX_TEXT = 1_000_000
"""Characters that are read: a hundred inputs of as many channels take a tenth of it."""

MAX_INPUTS = 1000
"""Inputs that are read."""

_NOWHERE = Span(Source("metadata", ""), 0, 0)


class _BadError(Exception):
    """What a model says is not what this module writes; the text says why."""


def written(graph: Graph) -> str:
    """What is kept of a network's inputs; empty where there is nothing to keep."""
    said = {node.name: _options(node.spec or InputSpec()) for node in graph.inputs}
    said = {name: options for name, options in said.items() if options}
    return json.dumps(said, allow_nan=False) if said else ""


def _options(spec: InputSpec) -> dict[str, Any]:
    return {a.name: getattr(spec, a.name) for a in INPUT_ARGUMENTS if getattr(spec, a.name) != a.default}


def specs_of(model: onnx.ModelProto, types: Mapping[str, TensorType], notes: list[str]) -> dict[str, InputSpec]:
    """How pictures become the inputs whose types are given, as far as a model says it.

    What cannot be taken is left out as a whole, for half of it would make other numbers, and `notes` tell it.
    """
    found: dict[str, InputSpec] = {}
    try:
        said = _read(next((p.value for p in model.metadata_props if p.key == KEY), "{}"))
    except _BadError as error:
        notes.append(_left_out("its pictures", error))
        return {}
    for name, options in said.items():
        try:
            if name not in types:
                raise _BadError("there is no such input")
            found[name] = _spec(options, types[name])
        except _BadError as error:
            notes.append(_left_out(f"pictures for input `{name[:80]}`", error))
    return {name: spec for name, spec in found.items() if spec != InputSpec()}


def _left_out(what: str, why: Exception) -> str:
    return printable(f"what the file says of {what} is left out: {str(why)[:200]}")


def _read(text: str) -> dict[str, Any]:
    """What a model says of its inputs, by their names. Raises _BadError."""
    if len(text) > MAX_TEXT:
        raise _BadError(f"it has more than {MAX_TEXT:,} characters")
    try:
        said = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise _BadError("it is no JSON") from error
    if not isinstance(said, dict) or len(said) > MAX_INPUTS:
        raise _BadError(f"it is no JSON object of inputs, {MAX_INPUTS:,} at most")
    return said


def _whole(digits: str) -> int | float:
    """A whole number; of one with more digits than any size has, what a float holds of it."""
    return int(digits) if len(digits) < 20 else float(digits)


def _spec(said: Any, type_: TensorType) -> InputSpec:
    """What a model says of an input of a type. Raises _BadError where the language takes no such line."""
    known = {a.name: a for a in INPUT_ARGUMENTS}
    if not isinstance(said, dict) or not said.keys() <= known.keys():
        others = [f"`{name[:40]}`" for name in said if name not in known] if isinstance(said, dict) else []
        raise _BadError(f"unknown options {listed(others)}" if others else "it is no JSON object of options")
    values = {}
    for name, value in said.items():
        try:
            values[name] = known[name].kind.convert(tuple(value) if isinstance(value, list) else value)
        except BadValueError as error:
            raise _BadError(f"`{name}` {error.message}") from error
    node = Node("image", None, (), type_, _NOWHERE, spec=InputSpec(**values))
    try:
        # The language's own word on what goes together: a crop of the input's size, a number for each channel.
        (found,) = read_back(f"network Check {{ {input_text(node, node.name)}\nidentity }}").inputs
    except CnnError as error:
        raise _BadError(error.diagnostics[0].message) from error
    if found.spec is None or found.spec != node.spec:
        raise _BadError("its numbers are none of the language")
    return found.spec
