"""The persistent cache of compiled kernels: one folder for each, named by the digest of the job.

An entry is written in a folder of its own and renamed, so it is there as a whole or not at all; of two processes
that compile the same kernel the first one's stays. All files are checked when an entry is read. An entry is removed
by renaming it first, so nobody finds half of it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnndsl.compiler.groups import place
from cnndsl.errors import problem, reason_of

RECORD = "entry.json"


@dataclass(frozen=True)
class Entry:
    """A compiled kernel in the cache, whole when it was found."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def triton(self) -> Path:
        """The folder as Triton's cache has it, named by Triton's key."""
        return self.folder / "triton" / str(self.record["triton_key"])


def root() -> Path:
    """Where compiled kernels are kept."""
    from cnndsl.codegen.store import cache_folder

    return cache_folder() / "compiled"


def find(digest: str) -> Entry | None:
    """The entry of a job, if it is there and whole. Counts as a use."""
    folder = root() / digest
    try:
        whole = json.loads((folder / RECORD).read_bytes())
        record = whole["record"]
        if whole["check"] != _check(record):
            return None
        for name, check in record["files"].items():
            if _checksum(folder / name) != check:
                return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    with contextlib.suppress(OSError):  # someone else's cache, which can be read alone
        os.utime(folder / RECORD)
    return Entry(folder, record)


def commit(scratch: Path, digest: str, record: Mapping[str, Any]) -> Entry:
    """Make what lies in `scratch` the entry of a job, unless a whole one is there by now.

    Raises OSError when it cannot be written.
    """
    target = root() / digest
    groups = [path for path in (scratch / "triton").iterdir() if path.is_dir()]
    assert len(groups) == 1, groups
    place(groups[0], at=target / "triton" / groups[0].name)
    files = sorted(path.relative_to(scratch).as_posix() for path in scratch.rglob("*") if path.is_file())
    full = {
        **record,
        "triton_key": groups[0].name,
        "files": {name: _checksum(scratch / name) for name in files},
    }
    (scratch / RECORD).write_text(json.dumps({"check": _check(full), "record": full}, indent=1), "utf-8")
    while True:
        try:
            os.rename(scratch, target)
        except OSError as error:
            # Something is there, or was: another process may take it away before we look.
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
                raise
            if (other := find(digest)) is not None:
                return other
            remove(target)
        else:
            return Entry(target, full)


def remove(folder: Path) -> bool:
    """Delete a folder of the cache; whoever reads there sees all of it or nothing. False if it was gone."""
    trash = folder.with_name(f".trash-{uuid.uuid4().hex}")
    try:
        os.rename(folder, trash)
    except FileNotFoundError:
        return False
    shutil.rmtree(trash, ignore_errors=True)
    return True


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder to prepare entries in, which is gone in the end. Raises CnnError (E0606)."""
    with writing():
        folder = root() / f".writing-{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turn the errors of a file system into a CnnError (E0606)."""
    try:
        yield
    except OSError as error:
        raise problem(
            "E0606",
            f"cannot write compiled kernels to {root()}: {reason_of(error)}",
            help=("set CNNDSL_CACHE to a folder that can be written",),
        ) from None


def _check(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
