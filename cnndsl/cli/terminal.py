"""Where output goes: results to stdout, all else to stderr, and what each of the two can show."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from cnndsl.errors import CnnError, printable, render

_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def has_color(stream: TextIO) -> bool:
    """Whether to colour: on a terminal that can, unless NO_COLOR is set; FORCE_COLOR colours pipes too."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width() -> int | None:
    """Columns of stdout: COLUMNS where it is set, else the terminal's; None for a pipe, which has no end."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return max(shutil.get_terminal_size().columns, 1)
    return None


def bold(text: str) -> str:
    """`text` in bold where stdout shows it."""
    return f"{_BOLD}{text}{_RESET}" if text and has_color(sys.stdout) else text


def dim(text: str) -> str:
    """`text` in grey where stdout shows it."""
    return f"{_DIM}{text}{_RESET}" if text and has_color(sys.stdout) else text


def out(text: str = "") -> None:
    """A line of results."""
    sys.stdout.write(f"{text}\n")


def in_cell(text: str) -> str:
    """A name from somebody's file, made fit for one line: without control characters, and cut when endless."""
    return printable(text).replace("\n", "\N{REPLACEMENT CHARACTER}")


def say(text: str) -> None:
    """A line for the person at the terminal, to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def out_json(data: Mapping[str, Any]) -> None:
    """An object for tools. Numbers that JSON does not have must be made null before."""
    out(json.dumps(data, indent=2, allow_nan=False))


def report(error: CnnError, *, as_json: bool) -> None:
    """All of an error's diagnostics: to stderr for people, or to stdout for tools."""
    if as_json:
        out_json({"ok": False, "diagnostics": [d.to_json() for d in error.diagnostics]})
    else:
        say(render(error.diagnostics, color=has_color(sys.stderr)))
