"""Progress on stderr, shown only where somebody watches: on a terminal, and gone when all is done."""

from __future__ import annotations

import contextlib
import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cnndsl.cli import terminal

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Progress:
    """The phases of a run, one after the other. Without a terminal it is silent, but for `say`."""

    def __init__(self) -> None:
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._rich = _bar()
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._rich is not None:
            with contextlib.suppress(OSError):
                self._rich.stop()
            self._rich = None

    def phase(self, text: str) -> None:
        """Begin a phase of unknown length: "loading torch"."""
        if self._rich is not None:
            if self._task is not None:
                self._rich.remove_task(self._task)
            self._task = self._rich.add_task(text, total=None, what="")

    def step(self, done: int, total: int, label: str) -> None:
        """So many of `total` parts of this phase are done; `label` says what comes next."""
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, completed=done, total=total, what=label)

    def say(self, text: str) -> None:
        """A line that stays, to stderr."""
        if self._rich is not None:
            # Through rich, which knows where its bar stands; as plain text, whatever brackets it holds.
            self._rich.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            terminal.say(text)


def _bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}", style="dim", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
