"""From the FILE of a command line to programs, networks and graphs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnndsl.errors import problem
from cnndsl.files import Program, choose_network, load_path, load_text, read_text, split_network
from cnndsl.frontend import load_program
from cnndsl.ir import Graph
from cnndsl.parser import MAX_TEXT
from cnndsl.passes.elaborate import elaborate

STDIN = "<stdin>"


def read_stdin() -> str:
    """The text on standard input. Raises CnnError (E0109, E0110)."""
    data = sys.stdin.buffer.read(4 * MAX_TEXT + 1)
    if len(data) > 4 * MAX_TEXT:
        limit = f"more than {4 * MAX_TEXT:,} bytes are more than a network takes"
        raise problem("E0110", f"cannot read {STDIN}: {limit}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise problem(
            "E0109", f"{STDIN} is not a text in UTF-8: byte {data[error.start]:#04x} on line {line}"
        ) from None


def read_source(target: str) -> tuple[str, str, str | None]:
    """The text of a FILE, the name of its source, and the network that it asks for. Raises CnnError."""
    path, network = split_network(target)
    if path == "-":
        return read_stdin(), STDIN, network
    return read_text(Path(path)), path, network


def load(target: str, settings: Mapping[str, Any]) -> tuple[Program, str | None]:
    """The program of a FILE and the network that it asks for, if it does. Raises CnnError."""
    path, network = split_network(target)
    if path == "-":
        text = read_stdin()
        return load_program(lambda: load_text(text, name=STDIN), settings), network
    return load_program(lambda: load_path(Path(path)), settings), network


def load_graph(target: str, settings: Mapping[str, Any]) -> Graph:
    """The elaborated network of a FILE. Raises CnnError."""
    program, network = load(target, settings)
    return elaborate(program, choose_network(program, network), settings)
