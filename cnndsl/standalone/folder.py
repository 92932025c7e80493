"""The folder that a build leaves: written beside its place and put there at once, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cnndsl.errors import problem, reason_of

MARK = "about.json"
"""The file by which a build is known; it lists the others."""


def check(folder: Path, *, force: bool) -> None:
    """Raise CnnError where a build cannot go: E0422 where it would mix with what did not come from a build, E0421."""
    try:
        place = Path(os.path.realpath(folder))
        if place.exists() and not place.is_dir():
            raise problem("E0422", f"cannot build into {folder}: it is a file", help=(_OTHER,))
        above = next(path for path in (place, *place.parents) if path.exists())
        if not above.is_dir():
            raise problem("E0421", f"cannot write {folder}: {above} is a file", help=(_OTHER,))
        foreign = _foreign(place) if place.is_dir() else None
    except (OSError, ValueError) as error:  # a name that is too long, a folder that cannot be listed
        raise problem("E0421", f"cannot write {folder}: {reason_of(error)}") from None
    if foreign is not None and not force:
        raise problem(
            "E0422",
            f"cannot build into {folder}: it holds files that no build wrote, such as `{foreign}`",
            help=(_OTHER, "--force writes into this one, and touches no file that a build does not write"),
        )


_OTHER = "name a folder that does not exist yet"


def write(folder: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write a build's files by their places in it. Raises CnnError (E0421, E0422).

    An earlier build there is replaced as a whole. Where `force` lets a build into a folder with other files, its files
    take their places one by one, and those of an earlier build that it has no more are removed.
    """
    folder = Path(os.path.realpath(folder))  # a link stays, and what it leads to is replaced
    check(folder, force=force)
    scratch: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name[:40]}.building-"))
        fresh = scratch / "fresh"
        for name, content in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if folder.is_dir() and _foreign(folder) is not None:
            _merge(fresh, folder, files)
        else:
            _swap(fresh, folder, scratch)
    except OSError as error:
        raise problem("E0421", f"cannot write {folder}: {reason_of(error)}") from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _swap(fresh: Path, folder: Path, scratch: Path) -> None:
    """Put a folder in the place of another, which comes back if that fails."""
    if not folder.exists():
        fresh.rename(folder)
        return
    old = scratch / "old"
    try:
        folder.rename(old)
        fresh.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise


def _merge(fresh: Path, folder: Path, files: Mapping[str, bytes]) -> None:
    """Move files into a folder that has others."""
    for name in set(_listed(folder)) - set(files):
        (folder / name).unlink(missing_ok=True)
    # The list comes first: whatever interrupts this, the files are known as those of a build.
    for name in sorted(files, key=lambda name: (name != MARK, name)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (fresh / name).replace(folder / name)


def _foreign(folder: Path) -> str | None:
    """A file in a folder that no build wrote; what Python leaves beside sources does not count."""
    listed = _listed(folder)
    known = {*listed, MARK} if listed else set()
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted([*names, *(each for each in folders if (Path(root) / each).is_symlink())]):
            place = (Path(root) / name).relative_to(folder).as_posix()
            if place not in known:
                return place
    return None


def _listed(folder: Path) -> list[str]:
    """The files of the build in a folder; none where it is not one."""
    try:
        data = json.loads((folder / MARK).read_text(encoding="utf-8"))
        files = data["files"] if "made_by" in data else []
        return [name for name in files if isinstance(name, str) and ".." not in name and not name.startswith("/")]
    except (OSError, ValueError, TypeError, KeyError):
        return []
