"""The work of ``cnndsl weights``. Imports torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cnndsl.cli.progress import Progress
from cnndsl.errors import CnnError, problem
from cnndsl.ir import Graph
from cnndsl.runtime.parameters import specs_of
from cnndsl.weights import darknet, reading, saving, stats
from cnndsl.weights.files import WEIGHTS, regular_file
from cnndsl.weights.matching import Pairing, pair, prefixes, with_prefix, without_wrapper
from cnndsl.weights.stored import Contents, Stored


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a file is held against a network, as the command line says it."""

    network: str
    file: str
    match: Literal["name", "order"] = "name"
    allow_extra: bool = False
    prefix: str = ""
    bgr: bool = False
    settings: tuple[str, ...] = ()

    def command(self) -> str:
        """The command line that converts the file."""
        words = ["cnndsl", "weights", "convert", self.network, self.file]
        words += ["--match", self.match] if self.match != "name" else []
        words += ["--prefix", self.prefix] if self.prefix else []
        words += ["--allow-extra"] if self.allow_extra else []
        words += ["--bgr"] if self.bgr else []
        words += [word for setting in self.settings for word in ("--set", setting)]
        file = Path(self.file)
        output = file.with_suffix(".safetensors").name
        return shlex.join([*words, "-o", f"{file.stem}_new.safetensors" if output == file.name else output])


@contextmanager
def enough_memory() -> Iterator[None]:
    """Raises CnnError (E0605) where memory is used up within."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
            raise
        raise problem("E0605", "memory is used up", help=("a machine with more of it reads this file",)) from None


# --- show --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What a file holds. `tensors` is None for a Darknet file, which only a network gives names to."""

    format: str
    notes: tuple[str, ...]
    tensors: dict[str, Stored] | None
    stats: dict[str, stats.Stats] = field(default_factory=dict)
    values: int = 0


def show(file: str, progress: Progress, *, with_stats: bool) -> Shown:
    """Open a file; with `with_stats` read its tensors, one after the other. Raises CnnError (E0401)."""
    with enough_memory():
        path = regular_file(file, WEIGHTS)
        if reading.format_of(path) == "darknet":
            head = darknet.read_head(path)
            note = "its values have no names or shapes; `cnndsl weights check NET FILE` tells whose they are"
            return Shown(darknet.described(head), (note,), None, values=head.values)
        contents = reading.open_weights(path)
        tensors, notes = without_wrapper((), contents.tensors)
        found: dict[str, stats.Stats] = {}
        if with_stats:
            progress.phase("reading the values")
            for number, (name, stored) in enumerate(tensors.items()):
                progress.step(number, len(tensors), name)
                found[name] = stats.stats_of(stored.load())
        values = sum(stored.size for stored in tensors.values())
        return Shown(contents.format, (*contents.notes, *notes), tensors, found, values)


# --- check and convert -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checked:
    """A file held against a network. `ways` are commands with which it would fit."""

    contents: Contents
    pairing: Pairing
    notes: tuple[str, ...]
    ways: tuple[str, ...] = ()


def check(graph: Graph, options: Options, progress: Progress) -> Checked:
    """Pair a file with a network, and read the values that have a place. Raises CnnError (E0401, E0407, E0408)."""
    with enough_memory():
        contents = reading.open_weights(options.file, graph, bgr=options.bgr)
        pairing = _pair(graph, contents, options)
        progress.phase("reading the values")
        checked = pairing.checked(options.file)
        ways = tuple(_ways(graph, contents, options)) if pairing.mistakes else ()
        return Checked(contents, checked, (*contents.notes, *checked.notes), ways)


def convert(graph: Graph, options: Options, output: str, progress: Progress) -> Checked:
    """Write a file under the network's names, its values and their types unchanged. Raises CnnError (E04xx)."""
    saving.check_suffix(output)
    with enough_memory():
        contents = reading.open_weights(options.file, graph, bgr=options.bgr)
        pairing = _pair(graph, contents, options)
        progress.phase("reading the values")
        tensors = pairing.load(options.file)
        progress.phase("writing")
        saving.save_tensors(output, tensors)
        return Checked(contents, pairing, (*contents.notes, *pairing.notes))


def _pair(graph: Graph, contents: Contents, options: Options) -> Pairing:
    tensors = contents.tensors
    if options.prefix:
        tensors = with_prefix(tensors, options.prefix, source=options.file)
    extra: Literal["error", "ignore"] = "ignore" if options.allow_extra else "error"
    return pair(specs_of(graph), tensors, mode=options.match, extra=extra, source=options.file)


def _ways(graph: Graph, contents: Contents, options: Options) -> Iterator[str]:
    """The command with the fewest other options with which all would fit, if there is one."""
    found = [""] if options.prefix else ["", *prefixes(specs_of(graph), contents.tensors)[:3]]
    for match in ("name", "order") if options.match == "name" else ("order",):  # names say more than the order
        for prefix in found:
            for allow_extra in (False, True):
                extra = allow_extra or options.allow_extra
                other = replace(options, prefix=prefix or options.prefix, match=match, allow_extra=extra)
                if other == options:
                    continue
                try:
                    fits = not _pair(graph, contents, other).mistakes
                except CnnError:
                    fits = False
                if fits:
                    yield other.command()
                    return
