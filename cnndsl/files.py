"""From a path or a text to a `Program`: reading files, following `use`, choosing the network."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from cnndsl import syntax as ast
from cnndsl.errors import (
    CnnError,
    Diagnostic,
    Label,
    Span,
    did_you_mean,
    in_order,
    listed,
    printable,
    problem,
    reason_of,
)
from cnndsl.parser import MAX_TEXT, Reading, read
from cnndsl.tokens import MAX_TOKENS

MAX_FILES = 200
"""Files that one program may use, directly or not."""

MAX_PATH = 200
"""Characters of a path that are printed."""


@dataclass(frozen=True)
class Program:
    """A file with everything that it uses: its networks, and every block in reach, by name."""

    file: ast.File
    networks: Mapping[str, ast.Definition]
    blocks: Mapping[str, ast.Definition]


def read_text(path: Path) -> str:
    """The text of a ``.cnn`` file. Raises CnnError (E0109, E0110)."""
    shown = printable(str(path)) if len(str(path)) <= MAX_PATH else f"{str(path)[:MAX_PATH]}..."
    try:
        data = _read_bytes(path)
    except FileNotFoundError:
        raise problem("E0110", f"cannot read {shown}: there is no such file", help=_nearby(path)) from None
    except (OSError, ValueError) as error:
        raise problem("E0110", f"cannot read {shown}: {reason_of(error)}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        suffix = path.suffix if path.suffix in {".cfg", ".prototxt"} else ".cnn"
        raise problem(
            "E0109",
            f"{shown} is not a text in UTF-8: byte {data[error.start]:#04x} on line {line}",
            help=(f"a {suffix} file is plain text; is this a weight file?",),
        ) from None


def _read_bytes(path: Path) -> bytes:
    """The bytes of an ordinary file of a network's size. Raises OSError, ValueError."""
    # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise ValueError("it is a folder" if stat.S_ISDIR(mode) else "it is not an ordinary file")
    with os.fdopen(handle, "rb") as file:
        # Files that the system makes up say that they are empty, and may never end.
        data = file.read(4 * MAX_TEXT + 1)
    if len(data) > 4 * MAX_TEXT:
        raise ValueError(f"more than {4 * MAX_TEXT:,} bytes are more than a network takes")
    return data


def load_path(path: Path, *, name: str | None = None) -> Program:
    """The program of a file on disk. Raises CnnError."""
    return _load(read_text(path), name or str(path), path.parent, Path(os.path.realpath(path)))


def load_text(text: str, *, name: str = "<text>") -> Program:
    """The program of a text; `use` is relative to the current folder. Raises CnnError."""
    return _load(text, name, Path(), None)


def split_network(target: str) -> tuple[str, str | None]:
    """``file.cnn:Name`` as path and network name; the name is None where there is none."""
    path, colon, name = target.rpartition(":")
    if colon and name.isidentifier() and path and not os.path.exists(target):
        return path, name
    return target, None


def choose_network(program: Program, name: str | None) -> ast.Definition:
    """The network called `name`, or the only one. Raises CnnError (E0213, E0214)."""
    networks = program.networks
    where = program.file.source.name
    if name is not None:
        if name in networks:
            return networks[name]
        guess = did_you_mean(name, networks)
        names = [f"`{n}`" for n in networks]
        held = f"{where} holds {listed(names)}" if names else f"{where} holds no network"
        raise problem(
            "E0213",
            f"there is no network `{name}` in {where}",
            notes=(held,),
            help=(f"did you mean `{guess}`?",) if guess else (),
        )
    if not networks:
        hint = "a network is written: network Name { input image [224x224x3] ... }"
        raise problem("E0214", f"{where} holds no network", help=(hint,))
    if len(networks) > 1:
        first = next(iter(networks))
        raise CnnError(
            (
                Diagnostic(
                    "E0213",
                    f"{where} holds {len(networks)} networks; say which",
                    labels=tuple(Label(n.name_span, "") for n in networks.values()),
                    help=(f"write {where}:{first}",),
                ),
            )
        )
    return next(iter(networks.values()))


def _load(text: str, name: str, folder: Path, path: Path | None) -> Program:
    loader = _Loader()
    reading = loader.read(text, name)
    errors = list(reading.errors)
    if reading.file is None:
        raise CnnError(errors)
    file = reading.file
    networks: dict[str, ast.Definition] = {}
    loader.define(file, networks, errors)
    loader.follow(file, folder, {path: name} if path is not None else {}, errors)
    program = Program(file, networks, loader.blocks)
    if errors:
        raise CnnError(in_order(errors, first=file.source), recovered=program if loader.sure else None)
    return program


class _Loader:
    """The files of one program: what was read, and how much."""

    def __init__(self) -> None:
        self.blocks: dict[str, ast.Definition] = {}
        self.loaded: set[Path] = set()
        self.tokens = 0
        self.sure = True
        """Whether every text, mended where need be, is known as a whole."""

    def read(self, text: str, name: str) -> Reading:
        """Read one text."""
        reading = read(text, name)
        self.tokens += reading.tokens
        self.sure = self.sure and reading.file is not None
        return reading

    def define(
        self, file: ast.File, networks: dict[str, ast.Definition] | None, errors: list[Diagnostic]
    ) -> None:
        """Enter a file's blocks, and its networks where they count."""
        for definition in file.definitions:
            table = self.blocks if definition.kind == "block" else networks
            if table is None:
                continue
            first = table.setdefault(definition.name, definition)
            if first is not definition:
                message = f"{definition.kind} `{definition.name}` is defined twice"
                labels = (Label(first.name_span, "first defined here"),)
                errors.append(Diagnostic("E0211", message, definition.name_span, "defined again", labels))

    def follow(self, file: ast.File, folder: Path, active: dict[Path, str], errors: list[Diagnostic]) -> None:
        """Add the blocks of the files that `file` uses. `active` are the files being read, for circles."""
        for use in file.uses:
            target = folder / use.path
            real = Path(os.path.realpath(target)) if "\0" not in use.path else target
            if real in active:
                names = [*active.values(), active[real]][[*active].index(real) :]
                shown = names if len(names) <= 6 else [*names[:3], "...", *names[-2:]]
                message = "`use` goes in a circle"
                hint = ("move the blocks that both need into a third file",)
                errors.append(Diagnostic("E0215", message, use.span, " -> ".join(shown), help=hint))
                continue
            if real in self.loaded:
                continue
            self.loaded.add(real)
            if len(self.loaded) > MAX_FILES:
                errors.append(Diagnostic("E0218", f"more than {MAX_FILES} files are used", use.span))
                return
            try:
                reading = self.read(read_text(target), str(target))
            except CnnError as error:
                self.sure = False
                errors.extend(_at(d, use.span) for d in error.diagnostics)
                continue
            errors.extend(_at(d, use.span) for d in reading.errors)
            if self.tokens > MAX_TOKENS:
                message = f"the files used are too long: more than {MAX_TOKENS:,} words and signs together"
                errors.append(Diagnostic("E0218", message, use.span))
                return
            if reading.file is not None:
                self.define(reading.file, None, errors)
                self.follow(reading.file, target.parent, {**active, real: str(target)}, errors)


def _at(d: Diagnostic, span: Span) -> Diagnostic:
    """A diagnostic about a used file, placed at the `use` where it has no place of its own."""
    if d.span is not None:
        return replace(d, labels=(*d.labels, Label(span, "used here")))
    return replace(d, code="E0216", span=span)


def _nearby(path: Path) -> tuple[str, ...]:
    try:
        names = [p.name for p in islice(path.parent.glob("*.cnn"), 1000)]
    except (OSError, ValueError):
        return ()
    guess = did_you_mean(path.name, names)
    return (f"did you mean {path.parent / guess}?",) if guess else ()
