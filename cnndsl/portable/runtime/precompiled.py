"""Hands the binaries in this folder to Triton, which then compiles nothing where it would make the same ones.

Triton keeps what it has compiled in a cache, under a hash of everything that the code depends on: its own version and
that of its tools, the kernel's text, the types of its arguments. The binaries here are put there under the hash that
they were compiled with. Another Triton asks for another hash, and compiles the kernels from their sources.
"""

from __future__ import annotations

import json
import re
from pathlib import Path


def hand_over(binaries: Path) -> int:
    """Put the binaries of a folder into Triton's cache, where it lacks them; the number of kernels that are there.

    Whatever goes wrong here only costs the seconds that compiling takes, so nothing is raised.
    """
    return sum(_hand_over(path) for path in sorted(binaries.glob("*.json")))


def _hand_over(description: Path) -> bool:
    from triton import __version__
    from triton.runtime.cache import get_cache_manager

    try:
        known = json.loads(description.read_text(encoding="utf-8"))
        digest, name = known["hash"], known["name"]
        if known["triton_version"] != __version__ or not re.fullmatch(r"[0-9a-f]{64}", digest):
            return False
        if not re.fullmatch(r"\w{1,150}", name):
            return False
        manager, group = get_cache_manager(digest), f"{name}.json"
        if group not in (manager.get_group(group) or {}):
            files = {f"{name}{path.suffix}": path for path in _files(description)}
            # The description is what Triton looks for, so it comes last.
            manager.put_group(group, {file: manager.put(path.read_bytes(), file) for file, path in files.items()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        return False
    return True


def _files(description: Path) -> list[Path]:
    """A kernel's files, its description last."""
    parts = sorted(p for p in description.parent.iterdir() if p.stem == description.stem and p != description)
    return [*parts, description]
