"""The size of the cache: how much there is, what goes when it is too much, and clearing it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from cnndsl.compiler import entries
from cnndsl.errors import problem, reason_of

DEFAULT_MIB = 1024
MAX_PACKAGES = 500
"""A package is small, 20 KiB to 200 KiB: not their bytes are bounded, but their number."""

DAY = 24 * 60 * 60
"""Seconds for which a package stays after its last use: a process that runs it may read its sources late. What
processes left behind that were killed is deleted after as long."""


@dataclass(frozen=True)
class Part:
    """One of the two parts of the cache: packages, compiled kernels. Times are in seconds since 1970, of last uses."""

    count: int
    size: int
    oldest: float | None
    newest: float | None


@dataclass(frozen=True)
class Holding:
    """What the cache holds; `limit` is for the bytes of compiled kernels."""

    folder: Path
    packages: Part
    compiled: Part
    limit: int


def limit_bytes() -> int:
    """The bytes that compiled kernels may take: ``$CNNDSL_CACHE_SIZE`` MiB, or 1 GiB.

    Raises CnnError (E0706) for what is no size.
    """
    text = os.environ.get("CNNDSL_CACHE_SIZE", "").strip()
    try:
        size = float(text) if text else DEFAULT_MIB
        if not 0 <= size < 2**40:
            raise ValueError
    except ValueError:
        raise problem(
            "E0706",
            f"CNNDSL_CACHE_SIZE is `{text}`, which is no size",
            help=("give it in MiB: CNNDSL_CACHE_SIZE=512",),
        ) from None
    return int(size * 2**20)


def holding() -> Holding:
    """Measure the cache. Raises CnnError (E0706), and (E0606) where it cannot be looked into."""
    folder = entries.root().parent
    try:
        return Holding(folder, _part(_packages()), _part(_compiled()), limit_bytes())
    except OSError as error:
        hint = "set CNNDSL_CACHE to a folder of your own"
        raise problem("E0606", f"cannot read the cache {folder}: {reason_of(error)}", help=(hint,)) from None


def clear() -> Holding:
    """Delete all packages and compiled kernels; returns what was there. Raises CnnError (E0606)."""
    before = holding()
    with entries.writing():
        for found in (*_packages(), *_compiled()):
            entries.remove(found.folder)
    _sweep()
    return before


def trim(limit: int, *, keep: Collection[str] = ()) -> None:
    """Delete the compiled kernels that were used longest ago until the others take no more than `limit` bytes.

    Those whose digests are in `keep` stay. Of packages the 500 last used stay, and all that were used within a day.
    What cannot be deleted stays too.
    """
    with contextlib.suppress(OSError):
        found = sorted(_compiled(), key=lambda f: f.used)
        size = sum(f.size for f in found)
        for one in found:
            if size <= limit:
                break
            if one.folder.name not in keep and entries.remove(one.folder):
                size -= one.size
        packages = sorted(_packages(), key=lambda f: f.used)
        for one in packages[: max(len(packages) - MAX_PACKAGES, 0)]:
            if one.used < time.time() - DAY:
                entries.remove(one.folder)
        _sweep()


# --- looking --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    folder: Path
    size: int
    used: float


def _packages() -> Iterator[_Found]:
    return _folders(entries.root().parent / "packages", record="")


def _compiled() -> Iterator[_Found]:
    return _folders(entries.root(), record=entries.RECORD)


def _folders(parent: Path, *, record: str) -> Iterator[_Found]:
    """The folders in a folder. The last use is the time of `record` in them, or their own."""
    for folder in _children(parent):
        if folder.name.startswith("."):
            continue
        with contextlib.suppress(OSError):  # deleted by another process meanwhile
            marked = folder / record
            used = (marked if marked.exists() else folder).stat().st_mtime
            yield _Found(folder, _size(folder), used)


def _children(parent: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(folder: str | Path) -> int:
    size = 0
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                size += _size(entry.path)
            else:
                size += entry.stat(follow_symlinks=False).st_size
    return size


def _part(found: Iterator[_Found]) -> Part:
    all_ = list(found)
    times = [f.used for f in all_]
    return Part(len(all_), sum(f.size for f in all_), min(times, default=None), max(times, default=None))


def _sweep() -> None:
    """Delete what processes that were killed left half deleted, and half written a day ago or more."""
    root = entries.root()
    for folder in (*_children(root), *_children(root.parent / "packages")):
        with contextlib.suppress(OSError):
            trash = folder.name.startswith(".trash-")
            if trash or (folder.name.startswith(".writing-") and folder.stat().st_mtime < time.time() - DAY):
                shutil.rmtree(folder, ignore_errors=True)
