"""The frame of the command line: the group, what every command shares, and how a run ends."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
from keyword import iskeyword
from typing import Any, NoReturn

import click

from cnndsl.cli import terminal
from cnndsl.errors import CnnError, did_you_mean, reason_of

OK, WRONG, USAGE, BUG, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 70, 130, 141
"""Exit codes: the last three as sysexits.h (EX_SOFTWARE) and shells (128 + signal) have them."""


class Command(click.Command):
    """A command whose CnnErrors are printed, as text or, when its output was to be JSON, as JSON."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run; exit 1 on a CnnError."""
        try:
            return super().invoke(ctx)
        except CnnError as error:
            wants_json = ctx.params.get("as_json") or ctx.params.get("format") == "json"
            terminal.report(error, as_json=bool(wants_json))
            ctx.exit(WRONG)


class Group(click.Group):
    """The commands of `modules`, each imported when it is used: starting must not cost what is not needed.

    `within` is the command whose own commands they are; its name begins those of their modules.
    """

    def __init__(self, *args: Any, modules: tuple[str, ...], within: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.modules = modules
        self.within = within

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """The commands' names in the order of the manual."""
        return list(self.modules)

    def get_command(
        self, ctx: click.Context, cmd_name: str  # noqa: ARG002 - click's interface
    ) -> click.Command | None:
        """The command, which its module holds as `command`."""
        if cmd_name not in self.modules:
            return None
        module = f"{self.within}_{cmd_name}" if self.within else cmd_name
        module += "_" if iskeyword(module) else ""  # import_
        found: click.Command = importlib.import_module(f"cnndsl.cli.{module}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest command where there is none of the name."""
        name = args[0]
        if name in self.modules or name.startswith("-"):
            return super().resolve_command(ctx, args)
        message = f"there is no command '{name}'"
        guess = did_you_mean(name, self.modules)
        if name.partition(":")[0].endswith(".cnn") and not self.within:
            message += f"; to check a file: cnndsl check {name}"
        elif guess is not None:
            message += f"; did you mean '{guess}'?"
        else:
            message += f"; there are {', '.join(self.modules)}"
        raise click.UsageError(message, ctx)


def run(group: click.Group, arguments: list[str] | None = None) -> NoReturn:
    """Run the command line to its end and exit. Nothing that a user does ends in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A file's name may hold bytes that are no text, and a terminal may know ASCII alone.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = _run(group, arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        code = PIPE_CLOSED
    except OSError as error:
        _complain(f"error: cannot write the output: {reason_of(error)}")
        code = WRONG
    _close_quietly()
    sys.exit(code)


def _run(group: click.Group, arguments: list[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # Not `group.main`, which ends a closed pipe and an interrupt in its own way.
        with group.make_context("cnndsl", given) as context:
            group.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _complain("\ninterrupted")
        return INTERRUPTED
    except OSError as error:
        if _is_output(error):
            raise
        return _bug(error)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _bug(error)
    return OK


def _is_output(error: OSError) -> bool:
    """Whether an OSError came from writing to stdout: it names no file, and the disk or pipe is to blame."""
    return error.filename is None and error.errno in {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO}


def _bug(error: Exception) -> int:
    if os.environ.get("CNNDSL_TRACEBACK"):
        import traceback

        _complain(traceback.format_exc().rstrip())
    what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    _complain(f"internal error: {what}")
    _complain(
        "This is a mistake in cnndsl, not in what you gave it. Please report it, with the output of\n"
        f"  CNNDSL_TRACEBACK=1 {_command_line()}"
    )
    return BUG


def _command_line() -> str:
    import shlex

    return shlex.join(["cnndsl", *sys.argv[1:]])


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        terminal.say(text)


def _close_quietly() -> None:
    """Python flushes both streams at its end, and would print a second error for a pipe that is closed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
