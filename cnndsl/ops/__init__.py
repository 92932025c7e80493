"""The operations of the language, collected by walking this package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

from cnndsl.ops.base import Op


@cache
def operations() -> dict[str, type[Op]]:
    """Every operation that a file can name, by its name, in alphabetical order."""
    found: dict[str, type[Op]] = {}
    for module in pkgutil.iter_modules(__path__):
        for _, op in inspect.getmembers(importlib.import_module(f"{__name__}.{module.name}"), inspect.isclass):
            if issubclass(op, Op) and op.name:
                found[op.name] = op
    return dict(sorted(found.items()))
