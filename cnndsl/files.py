"""From a path or a text to a `Program`: reading files, following `use`, choosing the network."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cnndsl import syntax as ast
from cnndsl.errors import CnnError, Diagnostic, Label, Span, did_you_mean, problem
from cnndsl.parser import MAX_TEXT, parse

MAX_FILES = 200
"""Files that one program may use, directly or not."""


@dataclass(frozen=True)
class Program:
    """A file with everything that it uses: its networks, and every block in reach, by name."""

    file: ast.File
    networks: Mapping[str, ast.Definition]
    blocks: Mapping[str, ast.Definition]


def read_text(path: Path) -> str:
    """The text of a ``.cnn`` file. Raises CnnError (E0109, E0110)."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            what = "a folder" if stat.S_ISDIR(info.st_mode) else "not an ordinary file"
            raise problem("E0110", f"cannot read {path}: it is {what}")
        if info.st_size > 4 * MAX_TEXT:
            raise problem("E0110", f"cannot read {path}: {info.st_size:,} bytes are more than a network takes")
        data = path.read_bytes()
    except FileNotFoundError:
        raise problem("E0110", f"cannot read {path}: there is no such file", help=_nearby(path)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise problem("E0110", f"cannot read {path}: {reason}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise problem(
            "E0109",
            f"{path} is not a text in UTF-8: byte {data[error.start]:#04x} on line {line}",
            help=("a .cnn file is plain text; is this a weight file?",),
        ) from None


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
        listed = f"{where} holds {', '.join(networks)}" if networks else f"{where} holds no network"
        raise problem(
            "E0213",
            f"there is no network `{name}` in {where}",
            notes=(listed,),
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
    file = parse(text, name)
    errors: list[Diagnostic] = []
    blocks: dict[str, ast.Definition] = {}
    networks: dict[str, ast.Definition] = {}
    for definition in file.definitions:
        _define(blocks if definition.kind == "block" else networks, definition, errors)
    active = {path} if path is not None else set()
    loaded: dict[Path, ast.File] = {}
    _follow(file, folder, blocks, active=active, loaded=loaded, errors=errors)
    if errors:
        raise CnnError(errors)
    return Program(file, networks, blocks)


def _define(table: dict[str, ast.Definition], definition: ast.Definition, errors: list[Diagnostic]) -> None:
    first = table.setdefault(definition.name, definition)
    if first is not definition:
        message = f"{definition.kind} `{definition.name}` is defined twice"
        label = Label(first.name_span, "first defined here")
        errors.append(Diagnostic("E0211", message, definition.name_span, "defined again", (label,)))


def _follow(
    file: ast.File,
    folder: Path,
    blocks: dict[str, ast.Definition],
    *,
    active: set[Path],
    loaded: dict[Path, ast.File],
    errors: list[Diagnostic],
) -> None:
    """Add the blocks of the files that `file` uses. `active` holds the files being read, for cycles."""
    for use in file.uses:
        target = folder / use.path
        real = Path(os.path.realpath(target)) if "\0" not in use.path else target
        if real in active:
            errors.append(
                Diagnostic("E0215", f"`use` goes in a circle: {use.path} is already being read", use.span)
            )
            continue
        if real in loaded:
            continue
        if len(loaded) >= MAX_FILES:
            errors.append(Diagnostic("E0218", f"more than {MAX_FILES} files are used", use.span))
            return
        shown = str(target)
        try:
            used = parse(read_text(target), shown)
        except CnnError as error:
            errors.extend(_at(d, use.span) for d in error.diagnostics)
            continue
        loaded[real] = used
        for definition in used.definitions:
            if definition.kind == "block":
                _define(blocks, definition, errors)
        _follow(used, target.parent, blocks, active=active | {real}, loaded=loaded, errors=errors)


def _at(d: Diagnostic, span: Span) -> Diagnostic:
    """A diagnostic about a used file, placed at the `use` where it has no place of its own."""
    if d.span is not None:
        return Diagnostic(d.code, d.message, d.span, d.label, (*d.labels, Label(span, "used here")), d.notes, d.help)
    return Diagnostic("E0216", d.message, span, "", (), d.notes, d.help)


def _nearby(path: Path) -> tuple[str, ...]:
    try:
        names = [p.name for p in sorted(path.parent.glob("*.cnn"))[:200]]
    except (OSError, ValueError):
        return ()
    guess = did_you_mean(path.name, names)
    return (f"did you mean {path.parent / guess}?",) if guess else ()
