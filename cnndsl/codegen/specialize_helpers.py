"""The helpers beside a specialised kernel: which of their texts are one, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnndsl.codegen.specialize_source import Function
from cnndsl.codegen.specialize_values import Known, Type, literal

MOST = 3
"""Variants of a helper that differ in one constant; where there would be more, the constant stays a parameter."""


@dataclass(frozen=True)
class Variant:
    """A function specialised for some constants; helpers in its text have placeholders for names.

    derived     constants that follow from the others, folded like them.
    parameters  what is left of them.
    type, pure  of the value that it returns.
    same        the parameter that it returns, where it does nothing else.
    """

    number: int
    function: Function
    constants: Mapping[str, Known]
    derived: Mapping[str, Known]
    parameters: tuple[str, ...]
    text: str
    type: Type
    pure: bool
    same: str | None


def placeholder(number: int) -> str:
    """What stands for the name of a variant until it has one."""
    return f"helper_{number}__"


def references(text: str) -> list[int]:
    """The variants named in a text."""
    return [int(number) for number in re.findall(r"\bhelper_(\d+)__", text)]


def written(variants: Sequence[Variant]) -> list[str]:
    """The texts of variants, each once and under its name, in the order given: callees before their callers."""
    names = _named(variants)
    first: dict[str, str] = {}
    for variant in variants:
        first.setdefault(names[variant.number], _renamed(variant.text, names))
    return list(first.values())


def given_differently(variants: Sequence[Variant]) -> frozenset[tuple[str, str, str]]:
    """Parameters of helpers (module, function, parameter) that had better stay.

    A number that is no constexpr stays as soon as it has two values, as strides of input and output have: one text
    reads better than two. A constant stays where it alone would make more than MOST texts.
    """
    found: set[tuple[str, str, str]] = set()
    same = _representatives(variants)
    groups: dict[tuple[str, str], list[Variant]] = {}
    for variant in variants:
        if same[variant.number] == variant.number:
            key = (variant.function.module.name, variant.function.name)
            groups.setdefault(key, []).append(variant)
    for (module, name), group in groups.items():
        differing = [p for p in group[0].function.parameters if len({_shown(v, p) for v in group}) > 1]
        for parameter in differing:
            values = [v.constants.get(parameter) for v in group if parameter in v.constants]
            numbers = values and all(isinstance(v, int) and not isinstance(v, bool) for v in values)
            constexpr = parameter in group[0].function.constexprs
            if numbers and (not constexpr or (len(differing) == 1 and len(group) > MOST)):
                found.add((module, name, parameter))
    return frozenset(found)


def _shown(variant: Variant, parameter: str) -> str:
    return literal(variant.constants[parameter]) if parameter in variant.constants else ""


def _representatives(variants: Sequence[Variant]) -> dict[int, int]:
    """For every variant the first one with the same text."""
    same: dict[int, int] = {}
    first: dict[str, int] = {}
    for variant in variants:
        known = {number: placeholder(one) for number, one in same.items()} | {variant.number: "itself"}
        text = f"{variant.function.module.name}\n{_renamed(variant.text, known)}"
        same[variant.number] = first.setdefault(text, variant.number)
    return same


def _named(variants: Sequence[Variant]) -> dict[int, str]:
    """A name for every variant: its function's, where that has one text only."""
    same = _representatives(variants)
    by_name: dict[str, list[Variant]] = {}
    for variant in variants:
        if same[variant.number] == variant.number:
            by_name.setdefault(variant.function.name, []).append(variant)
    names: dict[int, str] = {}
    taken: set[str] = set()
    # Those alone first: their names are not to be had by variants of others.
    for name, group in sorted(by_name.items(), key=lambda item: len(item[1]) > 1):
        for variant, suffix in zip(group, _suffixes(group), strict=True):
            chosen, count = name + suffix, 2
            while chosen in taken:
                chosen, count = f"{name}{suffix}_{count}", count + 1
            taken.add(chosen)
            names[variant.number] = chosen
    return {number: names[one] for number, one in same.items()}


def _suffixes(group: Sequence[Variant]) -> list[str]:
    """What tells the variants of a name apart: nothing for one alone, else their modules or their constants."""
    if len(group) == 1:
        return [""]
    if len({v.function.module.name for v in group}) == len(group):
        return [f"_of_{v.function.module.name}" for v in group]
    words = {p: [_word(v, p) for v in group] for p in group[0].function.parameters}
    differing = {p: w for p, w in words.items() if len(set(w)) > 1}
    # One constant that tells them all apart will do.
    telling = next(([w] for w in differing.values() if len(set(w)) == len(group)), list(differing.values()))
    return ["".join(parts) for parts in zip(*telling, strict=True)] if telling else [""] * len(group)


def _word(variant: Variant, parameter: str) -> str:
    """A constant as part of a name: "_at_4"."""
    if parameter not in variant.constants:
        return ""
    value, name = variant.constants[parameter], parameter.lower()
    if isinstance(value, bool):
        return f"_{name}" if value else f"_not_{name}"
    shown = str(value).lower().replace("-", "minus_").replace(".", "_").replace("+", "")
    return f"_{name}_{re.sub(r'[^a-z0-9_]', '_', shown)}"


def _renamed(text: str, names: Mapping[int, str]) -> str:
    return re.sub(r"\bhelper_(\d+)__", lambda m: names.get(int(m[1]), m[0]), text)
