"""Files that are written as a whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnndsl.errors import problem, reason_of


@contextmanager
def replaced(path: str | Path, *, failures: tuple[type[Exception], ...] = (OSError,)) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place at the end, at once.

    So a failure leaves the old file whole, and whoever has that one mapped keeps its bytes. A link stays, and what it
    leads to is replaced; a terminal or a pipe is written to as it is. `failures` are what is raised
    when a disk is full. Raises CnnError (E0421).
    """
    try:
        place = Path(os.path.realpath(path))
        if place.is_dir():
            raise problem("E0421", f"cannot write {path}: it is a folder")
        temporary = place
        if place.is_file() or not place.exists():
            temporary = place.with_name(f".{place.name[:40]}.{secrets.token_hex(4)}{place.suffix}")
            temporary.touch(exist_ok=False)
    except (OSError, ValueError) as error:
        raise problem("E0421", f"cannot write {path}: {reason_of(error)}") from error
    try:
        yield temporary
        if temporary != place:
            if place.exists():
                shutil.copymode(place, temporary)
            temporary.replace(place)
    except failures as error:
        raise problem("E0421", f"cannot write {path}: {reason_of(error)}") from error
    finally:
        if temporary != place:
            temporary.unlink(missing_ok=True)


def is_same_file(a: str | Path, b: str | Path) -> bool:
    """Whether two paths lead to one file that is there, be it by links."""
    try:
        return os.path.samefile(a, b)
    except (OSError, ValueError):
        return False


def write_file(path: str | Path, content: bytes) -> None:
    """Write all of a file or nothing. Raises CnnError (E0421)."""
    with replaced(path) as temporary:
        temporary.write_bytes(content)
