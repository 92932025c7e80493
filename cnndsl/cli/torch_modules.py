"""Modules that import torch, loaded by the commands that need them and by no other."""

from __future__ import annotations

import importlib
from types import ModuleType

from cnndsl.errors import problem


def torch_module(
    name: str, doing: str, *, instead: str = "`check`, `summary` and `inspect` work without it"
) -> ModuleType:
    """A module that imports torch; `doing` says what for: "running a network".

    Raises CnnError (E0601) where torch is not installed, with what can be done `instead`.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "torch":
            raise
    raise problem(
        "E0601", f"{doing} needs PyTorch, which is not installed", notes=(instead,), help=("pip install torch",)
    )
