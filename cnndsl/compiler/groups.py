"""Triton's own cache: one folder for each binary, named by a key of everything that it depends on.

The folder of a kernel that we compiled is kept, so that Triton finds the binary there when it would compile the
same kernel. Its ``__grp__*.json`` lists the files by absolute paths: wherever the folder is put, `place` it.
Uses the standard library alone, for a built package to do the same without cnndsl.
"""

from __future__ import annotations

import json
from pathlib import Path


def place(group: Path, at: Path | None = None) -> None:
    """Let the lists of a group name its files where they are, or will be: in the folder `at`."""
    where = group if at is None else at
    for path in group.glob("__grp__*.json"):
        names = [Path(file).name for file in json.loads(path.read_text("utf-8"))["child_paths"]]
        path.write_text(json.dumps({"child_paths": {name: str(where / name) for name in names}}), "utf-8")
