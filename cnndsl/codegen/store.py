"""Packages on disk: the executor imports the very files that `cnndsl inspect --stage source` prints."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cnndsl.codegen.package import Package, package
from cnndsl.errors import problem, reason_of
from cnndsl.passes.plan import Plan


def cache_folder() -> Path:
    """Where packages and compiled kernels are kept: ``$CNNDSL_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("CNNDSL_CACHE")
    if chosen:
        return Path(chosen).absolute()  # workers that compile have folders of their own
    import platformdirs

    return Path(platformdirs.user_cache_dir("cnndsl", appauthor=False))


def write_package(plan: Plan | Package, *, folder: Path | None = None) -> Path:
    """Write a package, unless it is there already, and return the path of its ``network.py``.

    Two processes may write the same package at the same time: each writes a folder of its own, and the first to
    rename it wins. Raises CnnError (E0606) when no folder can be written.
    """
    made = package(plan) if isinstance(plan, Plan) else plan
    files = made.files
    digest = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in files.items()).encode()).hexdigest()[:20]
    # A file system takes names of 255 bytes.
    target = (folder or cache_folder()) / "packages" / f"{made.plan.graph.name.lower()[:100]}_{digest}"
    path = target / "network.py"
    try:
        if _is_whole(target, files):
            _touch(target)
            return path
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as scratch:
            fresh = Path(scratch) / "package"
            write_files(fresh, files)
            if target.exists():
                # Left behind broken, by a full disk say: put the good files in their places.
                for name in files:
                    (target / name).parent.mkdir(exist_ok=True)
                    os.replace(fresh / name, target / name)
            else:
                try:
                    os.replace(fresh, target)
                except OSError:
                    if not _is_whole(target, files):
                        raise
    except OSError as error:
        raise problem(
            "E0606",
            f"cannot write the compiled network to {target.parent}: {reason_of(error)}",
            help=("set CNNDSL_CACHE to a folder that can be written",),
        ) from None
    return path


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts under a folder, which is made."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def _is_whole(folder: Path, files: Mapping[str, str]) -> bool:
    try:
        return all((folder / name).read_bytes() == text.encode() for name, text in files.items())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _touch(folder: Path) -> None:
    """Note the use, by which the cache knows what was not used for long. A cache of someone else's is not noted."""
    try:
        os.utime(folder)
    except PermissionError:
        return
