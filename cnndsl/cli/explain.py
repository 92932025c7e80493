"""``cnndsl explain``: what an error code means."""

from __future__ import annotations

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import Command

_EXAMPLES = """\b
Examples:
  cnndsl explain E0304
  cnndsl explain
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument("code", required=False, metavar="[CODE]")
def command(code: str | None) -> None:
    """Explain an error code; without one, list them all."""
    from cnndsl.codes import CODES, explain

    if code is not None:
        terminal.out(explain(code.strip().upper()).rstrip())
        return
    for name, entry in CODES.items():
        terminal.out(f"{name}  {entry.title}")
