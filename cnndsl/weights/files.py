"""What all readers of files share: that there is a file, and how it is said that it cannot be read.

A file is data: nothing in it is ever executed, and a broken one ends in a `CnnError`, never in a traceback
or without bound in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cnndsl.errors import CnnError, problem, reason_of


@dataclass(frozen=True)
class Kind:
    """What a file is to the user: the `code` of a mistake, and the `noun` of "cannot read the weights"."""

    code: str
    noun: str

    def mistake(self, path: Path, reason: str, *, help: tuple[str, ...] = ()) -> CnnError:  # noqa: A002
        """The error that `path` cannot be read, because of `reason`."""
        return problem(self.code, f"cannot read the {self.noun} {path}: {reason}", help=help)


WEIGHTS = Kind("E0401", "weights")


def regular_file(path: str | Path, kind: Kind) -> Path:
    """`path`, once it is known to be a readable file that is not empty. Raises `CnnError`."""
    path = Path(path)
    try:
        if path.is_dir():
            raise kind.mistake(path, "it is a folder")
        if not path.exists():
            raise kind.mistake(path, "there is no such file", help=_neighbours(path))
        if not path.is_file():
            raise kind.mistake(path, "it is not a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise kind.mistake(path, "it is empty")
    except PermissionError as error:
        raise kind.mistake(path, "permission denied") from error
    except (OSError, ValueError) as error:  # a name that is too long or holds a NUL, a dead mount
        raise kind.mistake(path, reason_of(error)) from error
    return path


def _neighbours(path: Path) -> tuple[str, ...]:
    """Names the files of the same type that lie where a missing file was looked for."""
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() == path.suffix.lower())
    except OSError:
        return ()
    names = [name for name in names if name.isprintable()]
    if not path.suffix or not 1 <= len(names) <= 5:
        return ()
    return (f"{path.parent} has {', '.join(f'`{name}`' for name in names)}",)
