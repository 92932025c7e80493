"""Targets by the names that a command line gives."""

from __future__ import annotations

from cnndsl import targets
from cnndsl.cli.torch_modules import torch_module
from cnndsl.errors import did_you_mean, problem
from cnndsl.targets import Target

ALL = ", ".join(target.name for target in targets.TARGETS)
"""For manuals."""

DEFAULT_GPU, DEFAULT_AMD = "sm_90", "gfx942"
"""What kernels are compiled for when nobody says; and where only AMD's will do."""


def target_named(name: str) -> Target:
    """A target by its name; ``auto`` is this machine's. Raises CnnError (E0703), and as `this_machines`."""
    if name == "auto":
        return this_machines()
    known = {"cpu": "interpreter"}.get(name, name)
    names = [target.name for target in targets.TARGETS]
    if known in names:
        return targets.get(known)
    guess = did_you_mean(name, names)
    hints = (f"did you mean `{guess}`?",) if guess is not None else ()
    raise problem("E0703", f"there is no target `{name}`", help=(*hints, f"targets are {ALL}, or auto"))


def this_machines() -> Target:
    """The target of this machine's GPU; the interpreter without one. Raises CnnError (E0601, E0602)."""
    device = torch_module("cnndsl.runtime.device", "looking for a GPU")
    found: Target = device.target_here()
    return found
