"""``cnndsl check``: all mistakes of each file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from cnndsl import syntax as ast
from cnndsl.cli import sources, terminal
from cnndsl.cli.commands import WRONG, Command
from cnndsl.cli.options import json_option, read_settings, set_option
from cnndsl.errors import CnnError, Diagnostic, render
from cnndsl.figures import compact, counted, grouped
from cnndsl.files import Program, choose_network
from cnndsl.passes.elaborate import elaborate
from cnndsl.summary import Summary, summarize

_EXAMPLES = """\b
Examples:
  cnndsl check net.cnn
  cnndsl check examples/*.cnn
  cnndsl check net.cnn:Small --set classes=10
  cat net.cnn | cnndsl check - --json
"""


@dataclass(frozen=True)
class _Checked:
    """One FILE: what is in it, and what is wrong with it."""

    file: str
    summaries: tuple[Summary, ...] = ()
    blocks: int = 0
    diagnostics: tuple[Diagnostic, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "ok": not self.diagnostics,
            "networks": [
                {
                    "name": s.network,
                    "settings": dict(s.settings),
                    "layers": len(s.layers),
                    "parameters": s.parameters,
                    "macs": s.macs,
                }
                for s in self.summaries
            ],
            "diagnostics": [d.to_json() for d in self.diagnostics],
        }


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@set_option
@json_option
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], settings: tuple[str, ...], *, as_json: bool) -> None:
    """Report every mistake in .cnn files.

    A file of several networks has all of them checked, FILE:NAME just one. Prints a line for each network
    without mistakes.
    """
    values = read_settings(settings)
    wrong = []
    checked = []
    for file in files:
        result = _check(file, values)
        checked.append(result)
        if result.diagnostics:
            wrong.append(result)
        if not as_json:
            _print(result, again=len(wrong) > 1)
    if as_json:
        found = [d for result in checked for d in result.diagnostics]
        terminal.out_json(
            {
                "ok": not found,
                "files": [result.to_json() for result in checked],
                "diagnostics": [d.to_json() for d in found],
            }
        )
    if wrong:
        ctx.exit(WRONG)


def _check(file: str, settings: Mapping[str, Any]) -> _Checked:
    try:
        program, name = sources.load(file, settings)
        networks = _wanted(program, name)
    except CnnError as error:
        return _Checked(file, diagnostics=error.diagnostics)
    summaries: list[Summary] = []
    found: dict[tuple[Any, ...], Diagnostic] = {}
    for network in networks:
        try:
            graph = elaborate(program, network, _for_network(network, networks, settings))
        except CnnError as error:
            # Two networks that share a block share its mistakes.
            for d in error.diagnostics:
                found.setdefault((d.code, d.message, d.span), d)
        else:
            summaries.append(summarize(graph))
    return _Checked(file, tuple(summaries), len(program.blocks), tuple(found.values()))


def _wanted(program: Program, name: str | None) -> tuple[ast.Definition, ...]:
    """The network called `name`, else all; a file of blocks alone is for others to use."""
    if name is not None or not (program.networks or program.blocks):
        return (choose_network(program, name),)
    return tuple(program.networks.values())


def _for_network(
    network: ast.Definition, networks: tuple[ast.Definition, ...], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings for one network of several: those that it has, and those that none has, to be refused."""
    own = {p.name for p in network.parameters}
    others = {p.name for n in networks for p in n.parameters} - own
    return {name: value for name, value in settings.items() if name not in others}


def _print(result: _Checked, *, again: bool) -> None:
    for summary in result.summaries:
        terminal.out(f"{result.file}: {_line(summary)}")
    if not result.summaries and not result.diagnostics:
        terminal.out(f"{result.file}: ok, {counted(result.blocks, 'block')}, no network")
    if result.diagnostics:
        color = terminal.has_color(sys.stderr)
        terminal.say(("\n" if again else "") + render(result.diagnostics, color=color))
        terminal.say(f"\n{result.file}: {counted(len(result.diagnostics), 'mistake')}")


def _line(summary: Summary) -> str:
    layers = [layer for layer in summary.layers if layer.kind != "input"]
    inputs = ", ".join(str(layer.type) for layer in summary.layers if layer.kind == "input")
    types = {layer.name: layer.type for layer in summary.layers}
    outputs = ", ".join(str(types[node]) for _, node in summary.outputs)
    return (
        f"{summary.network} ok, {counted(len(layers), 'layer')}, {grouped(summary.parameters)} parameters, "
        f"{compact(summary.macs)} MACs, {inputs} -> {outputs}"
    )
