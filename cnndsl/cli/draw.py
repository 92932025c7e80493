"""``cnndsl draw``: a picture of a network."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.options import file_argument, read_settings, set_option
from cnndsl.cli.sources import load_graph
from cnndsl.draw.boxes import Direction
from cnndsl.draw.diagram import View
from cnndsl.errors import problem
from cnndsl.writing import write_file

FORMATS = ("svg", "png")

_EXAMPLES = """\b
Examples:
  cnndsl draw examples/vgg19.cnn -o vgg19.svg
  cnndsl draw examples/alexnet.cnn -o alexnet.png --kernels
  cnndsl draw net.cnn --direction right -o net.svg
  cnndsl draw net.cnn > net.svg

Layers that one kernel computes stand in one frame; without colour are those that cost nothing at inference. An SVG
follows the reader's light or dark theme and shows more where the mouse rests.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@file_argument
@click.option(
    "-o", "--output", default="-", metavar="PATH",
    help="Where to write it; the name ends in .svg or .png. Default: `-`, an SVG to standard output.",
)
@click.option("--format", "kind", type=click.Choice(FORMATS), help="Default: what the name of the file ends in.")
@click.option(
    "--layers/--kernels", "layers", default=True,
    help="A line for each layer as written (the default), or a box for each kernel.",
)
@click.option(
    "--direction", type=click.Choice(["down", "right"]), default="down", help="Where it leads. Default: down."
)
@click.option("--wrap/--no-wrap", default=True, help="Go on in further columns where it is too long for a page.")
@set_option
def command(
    file: str, output: str, kind: str | None, *, layers: bool, direction: Direction, wrap: bool,
    settings: tuple[str, ...],
) -> None:
    """Draw a network as an SVG or PNG picture."""
    known = kind or _format_of(output)
    data = _draw(file, settings, known, view="layers" if layers else "kernels", direction=direction, wrap=wrap)
    if output != "-":
        write_file(output, data)
        terminal.say(f"{output} written")
    else:
        sys.stdout.buffer.write(data)


def _format_of(output: str) -> str:
    """The format by the end of a file's name. Raises CnnError (E0421)."""
    if output == "-":
        return "svg"
    path = Path(output)
    if path.suffix.lower()[1:] in FORMATS:
        return path.suffix.lower()[1:]
    hint = f"write {output}.svg, or say --format svg" if not path.suffix else f"write {path.with_suffix('.svg')}"
    raise problem("E0421", f"cannot write {output}: pictures are written as .svg or .png", help=(hint,))


def _draw(
    file: str, settings: tuple[str, ...], kind: str, *, view: View, direction: Direction, wrap: bool
) -> bytes:
    from cnndsl.draw.diagram import diagram
    from cnndsl.draw.scene import scene
    from cnndsl.passes.fuse import fuse
    from cnndsl.passes.simplify import simplify

    graph = load_graph(file, read_settings(settings))
    picture = scene(diagram(graph, fuse(simplify(graph)), view=view), direction=direction, wrap=wrap)
    if kind == "png":
        from cnndsl.draw.png import png

        return png(picture)
    from cnndsl.draw.svg import svg

    return svg(picture).encode()
