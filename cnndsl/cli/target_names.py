"""Targets by the names that a command line gives."""

from __future__ import annotations

from cnndsl import targets
from cnndsl.errors import did_you_mean, problem
from cnndsl.targets import Target

ALL = ", ".join(target.name for target in targets.TARGETS)
"""For manuals."""


def target_named(name: str) -> Target:
    """A target by its name; ``auto`` is this machine's. Raises CnnError (E0703)."""
    if name == "auto":
        from cnndsl.runtime import device

        return device.choose(None)[1]
    known = {"cpu": "interpreter"}.get(name, name)
    names = [target.name for target in targets.TARGETS]
    if known in names:
        return targets.get(known)
    guess = did_you_mean(name, names)
    hint = f"did you mean `{guess}`?" if guess is not None else f"targets are {ALL}, or auto"
    raise problem("E0703", f"there is no target `{name}`", help=(hint,))
