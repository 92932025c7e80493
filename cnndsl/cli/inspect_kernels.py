"""The stages that are one text for each kernel: the Python that runs, and all that Triton makes of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnndsl.cli import terminal
from cnndsl.cli.inspect_colors import colored
from cnndsl.cli.inspect_diff import Pair, paint, pairs, unified
from cnndsl.cli.inspect_select import NETWORK
from cnndsl.cli.inspect_sides import Request, Side
from cnndsl.cli.progress import Progress
from cnndsl.errors import CnnError, listed
from cnndsl.figures import counted

if TYPE_CHECKING:
    from cnndsl.compiler import Compiled

_COMMENT = {"source": "#", "llir": ";", "amdgcn": ";"}
"""What begins a comment, where it is not `//`."""

_WIDTH = 110
"""Characters of the line between two files, where the terminal is not narrower."""


@dataclass(frozen=True)
class Part:
    """One text of a stage: the kernel it is of, what to write above it, and the text, or why there is none."""

    name: str
    title: str
    text: str
    error: str | None = None


def show(request: Request, sides: Sequence[Side]) -> None:
    """Print a stage of all chosen kernels, or what differs between two networks.

    Raises CnnError (E0612), when all else is printed, for kernels that cannot be compiled.
    """
    compiled = compile_sides(sides) if request.is_compiled else [{} for _ in sides]
    # SASS has comments for people: the lines of the kernel's file.
    locations = request.locations or (request.stage == "sass" and request.other is None)
    texts = [
        list(parts(side, request.stage, done, locations=locations))
        for side, done in zip(sides, compiled, strict=True)
    ]
    if request.other is not None:
        _print_difference(request.stage, sides, texts)
    else:
        _print_parts(request.stage, texts[0])
    check_compiled(compiled)


def parts(
    side: Side, stage: str, compiled: Mapping[str, Compiled], *, locations: bool
) -> Iterator[Part]:
    """The texts of a stage of the chosen kernels, in the order of the package.

    `locations` is whether to leave in them what says where code comes from.
    """
    package, chosen = side.made.package, side.selection
    if stage == "source":
        if chosen.network:
            yield Part(NETWORK, NETWORK, package.network)
        for name in chosen.kernels:
            kernel = package.by_name[name]
            yield Part(name, kernel.file, kernel.source)
        return
    from cnndsl.compiler.lines import without_locations

    for name in chosen.kernels:
        done = compiled[name]
        title = f"{name}: {', '.join(_titles(side, name))}, for {side.place}"
        if done.error is not None:
            yield Part(name, title, "", done.error)
            continue
        text = done.stage(stage)
        if not locations:
            text, _ = without_locations(stage, text, done.job.file)
        yield Part(name, title, text)


def _titles(side: Side, kernel: str) -> list[str]:
    """The groups that a kernel computes: ``conv1 + relu1``."""
    plan = side.made.plan
    return [plan.steps[number].group.title for number in side.made.package.by_name[kernel].steps]


# --- compiling -------------------------------------------------------------------------------------


def compile_sides(sides: Sequence[Side]) -> list[dict[str, Compiled]]:
    """The chosen kernels of each network, compiled, by their names; says on stderr how long that took."""
    from cnndsl.compiler import Job, compile_kernels, processors

    jobs = [Job(side.made.package.by_name[name], side.made.target) for side in sides for name in side.selection.kernels]
    named = listed(list(dict.fromkeys(job.target.name for job in jobs)))
    workers = processors()
    start = time.monotonic()
    with Progress() as progress:
        progress.phase(f"compiling for {named}")
        progress.step(0, len(jobs), "")
        done = compile_kernels(jobs, workers=workers, progress=progress.step)
    seconds = time.monotonic() - start
    fresh = sum(not one.cached for one in done)
    kernels = f"{counted(len(done), 'kernel')} for {named}"
    if fresh:
        by = counted(min(workers, fresh), "worker")
        terminal.say(f"compiled {kernels} in {seconds:.1f} s ({by}), {len(done) - fresh} from the cache")
    else:
        terminal.say(f"{kernels} from the cache")
    rest = iter(done)
    return [{name: next(rest) for name in side.selection.kernels} for side in sides]


def check_compiled(compiled: Sequence[Mapping[str, Compiled]]) -> None:
    """Raise CnnError (E0612) for all kernels that could not be compiled."""
    failed = [done.failure for of_side in compiled for done in of_side.values() if done.failure is not None]
    if failed:
        raise CnnError(failed)


# --- printing --------------------------------------------------------------------------------------


def _print_parts(stage: str, texts: Sequence[Part]) -> None:
    """Texts one after the other; one alone as it is, so that it can be piped to where such texts go."""
    if len(texts) == 1:
        if texts[0].error is None:
            _print_text(stage, texts[0].text)
        return
    for number, part in enumerate(texts):
        if number:
            terminal.out()
        terminal.out(_divider(stage, part.title))
        if part.error is None:
            _print_text(stage, part.text)
        else:
            lines = [f"{part.name} cannot be compiled:", *(f"  {line}" for line in part.error.splitlines())]
            terminal.out("\n".join(f"{_comment(stage)} {line}" for line in lines))


def _print_text(stage: str, text: str) -> None:
    if terminal.has_color(sys.stdout):
        text = colored(text, stage)
    terminal.out(text.rstrip("\n"))


def _divider(stage: str, title: str) -> str:
    width = min(terminal.width() or _WIDTH, _WIDTH)
    line = f"{_comment(stage)} ---- {title} "
    return terminal.bold(line + "-" * (width - len(line)))


def _comment(stage: str) -> str:
    return _COMMENT.get(stage, "//")


def _print_difference(stage: str, sides: Sequence[Side], texts: Sequence[Sequence[Part]]) -> None:
    """Unified diffs of the kernels that compute the same layers, then those that one network alone has."""
    ones, others = ({part.name: part for part in of_side} for of_side in texts)
    same: list[str] = []
    different: list[str] = []
    matched = list(pairs(
        sides[0].made.lines, sides[1].made.lines, (sides[0].selection.kernels, sides[1].selection.kernels)
    ))
    if NETWORK in ones and NETWORK in others:
        matched.insert(0, Pair(NETWORK, NETWORK))
    for pair in matched:
        one = ones[pair.one] if pair.one is not None else None
        other = others[pair.other] if pair.other is not None else None
        lines = _difference(stage, sides, one, other)
        name = pair.one or pair.other or ""
        (different if lines else same).append(name)
        for line in paint(lines):
            terminal.out(line)
    titles = f"{sides[0].title} and {sides[1].title}"
    if not different:
        terminal.say(f"no difference between {titles}")
        return
    rest = f"; no difference in {listed(same)}" if same else ""
    terminal.say(f"{titles} differ in {listed(different)}{rest}")


def _difference(stage: str, sides: Sequence[Side], one: Part | None, other: Part | None) -> list[str]:
    titles = [
        f"{part.name} ({side.title})" if part is not None else "/dev/null"
        for side, part in zip(sides, (one, other), strict=True)
    ]
    if one is None or other is None:
        part = one or other
        assert part is not None
        only = sides[0] if other is None else sides[1]
        return [f"--- {titles[0]}", f"+++ {titles[1]}", f"only {only.title} has {part.title}"]
    texts = [part.text if part.error is None else f"cannot be compiled: {part.error}" for part in (one, other)]
    return unified(texts[0], texts[1], titles=(titles[0], titles[1]), stage=stage)
