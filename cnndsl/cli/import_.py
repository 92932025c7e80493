"""``cnndsl import``: a network of another format as a .cnn file, and its weights."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.options import json_option
from cnndsl.cli.progress import Progress
from cnndsl.cli.torch_modules import torch_module
from cnndsl.errors import listed, problem
from cnndsl.figures import binary, compact, counted, grouped
from cnndsl.ir import Graph
from cnndsl.summary import summarize
from cnndsl.tokens import KEYWORDS
from cnndsl.writing import is_same_file

if TYPE_CHECKING:
    from cnndsl.exchange.imported import Imported
    from cnndsl.exchange.model import Model

_EXAMPLES = """\b
Examples:
  cnndsl import squeezenet.onnx -o squeezenet.cnn
  cnndsl import detector.onnx -o detector.cnn --name Detector --input-shape image=320x320x3
  cnndsl import squeezenet.onnx -o - | cnndsl summary -
  cnndsl import darknet19.cfg --weights darknet19.weights -o darknet19.cnn
  cnndsl import deploy.prototxt --weights bvlc_googlenet.caffemodel -o googlenet.cnn

MODEL is an .onnx file, a .cfg file of Darknet or a .prototxt of Caffe. The weights go into a .safetensors file beside
NET, under the names that NET gives them. What a network computes is kept; an operator that no layer computes is an
error, and nothing is put in its place. How pictures become the input is in few of these files, those of `cnndsl export`
among them: else it is left to fill in.
"""


@dataclass(frozen=True)
class Options:
    """What the command line says of a foreign network."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    weights: str | None = None


def _onnx(path: Path, options: Options) -> Model:
    if options.weights is not None:
        raise click.UsageError("--weights is for .cfg and .prototxt files: an .onnx file holds its own")
    read = torch_module("cnndsl.exchange.onnx.read", "importing a network").read_onnx
    model: Model = read(path, name=options.name, input_shapes=options.shapes)
    return model


def _darknet(path: Path, options: Options) -> Model:
    door = torch_module("cnndsl.exchange.darknet", "importing a network")
    model: Model = door.read_cfg(path)
    if options.weights is not None:
        model = replace(model, weights=door.read_weights(options.weights, model.graph))
    return _named(model, options)


def _caffe(path: Path, options: Options) -> Model:
    door = torch_module("cnndsl.exchange.caffe", "importing a network")
    return _named(door.read_prototxt(path, weights=options.weights), options)


def _named(model: Model, options: Options) -> Model:
    if options.shapes:
        raise click.UsageError("--input-shape is for .onnx files: others say the shapes of their inputs")
    return replace(model, graph=replace(model.graph, name=options.name)) if options.name else model


READERS: Mapping[str, Callable[[Path, Options], Model]] = {".onnx": _onnx, ".cfg": _darknet, ".prototxt": _caffe}
"""By the ending of the file."""

_WEIGHTS = {".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".npz", ".caffemodel", ".weights"}


@click.command(cls=Command, name="import", epilog=_EXAMPLES)
@click.argument("file", metavar="MODEL")
@click.option("-o", "--output", required=True, metavar="NET.cnn", help="The file to write; - for standard output.")
@click.option(
    "--weights", metavar="W", help="The .weights or .caffemodel file of a .cfg or .prototxt. Else there are none."
)
@click.option("--name", default="", metavar="NAME", help="The network's name. Default: the one that MODEL has.")
@click.option(
    "--input-shape", "shapes", multiple=True, metavar="[INPUT=]HxWxC",
    help="The shape of an input where MODEL leaves it open. May be repeated.",
)
@click.option("--force", is_flag=True, help="Write over files that are there already.")
@json_option
def command(
    *, file: str, output: str, weights: str | None, name: str, shapes: tuple[str, ...], force: bool, as_json: bool
) -> None:
    """Write a network of another format as a .cnn file."""
    if name and not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise click.BadParameter(f"{name} is no name: letters, digits and _", param_hint="--name")
    if name in KEYWORDS:
        raise click.BadParameter(f"{name} is a word of the language", param_hint="--name")
    reader = READERS.get(Path(file).suffix.lower())
    if reader is None:
        known = listed(sorted(READERS))
        raise click.UsageError(f"{file} is none of the files that are imported: {known}{weights_alone(file)}")
    written = _files(output, reads=[file, *([weights] if weights is not None else [])], force=force)
    with Progress() as progress:
        progress.phase("loading torch")
        door = torch_module("cnndsl.exchange.imported", "importing a network")
        progress.phase("reading the model")
        model = reader(Path(file), Options(name, _shapes(shapes), weights))
        progress.phase("writing the network")
        done: Imported = door.imported(model)
        if written:
            written = done.save(output, force=True)  # without weights it is one file
    if as_json:
        terminal.out_json({"ok": True, "network": done.name, "files": [str(p) for p in written], "text": done.text,
                           "weights": len(done.weights), "notes": list(done.notes)})  # fmt: skip
        return
    say = terminal.out if written else terminal.say
    if not written:
        terminal.out(done.text.rstrip("\n"))
    for line in _told(done, model.graph, written):
        say(line)
    if written or not _on_terminal():  # else they were told: they are comments of the text
        for note in done.notes:
            terminal.say(f"note: {note}")
    for line in _left(model.graph, done.text):
        terminal.say(line)


def weights_alone(file: str) -> str:
    """What to do with a file of weights where a network is wanted, as more of a sentence; "" for other files."""
    if Path(file).suffix.lower() not in _WEIGHTS:
        return ""
    return f". Weights alone are no network: `cnndsl weights check NET.cnn {file}` holds them against one"


def _on_terminal() -> bool:
    """Whether a person sees what goes to standard output."""
    return sys.stdout.isatty()


def _files(output: str, *, reads: Sequence[str], force: bool) -> tuple[Path, ...]:
    """The network's file and that of its weights; none for standard output. Raises CnnError (E0421).

    `reads` are the files that the network comes from, which are never written over.
    """
    if output == "-":
        return ()
    if Path(output).suffix.lower() != ".cnn":
        way = f"-o {Path(reads[0]).stem}.cnn, or -o - for standard output"
        raise problem("E0421", f"cannot write {output}: a network's file ends in .cnn", help=(way,))
    paths = (Path(output), Path(output).with_suffix(".safetensors"))
    there = [str(path) for path in paths if os.path.exists(path)]
    if there and not force:
        verb = "is" if len(there) == 1 else "are"
        raise problem("E0421", f"{listed(there)} {verb} there already", help=("--force writes over what is there",))
    for path in paths:
        if any(is_same_file(path, read) for read in reads):
            raise problem("E0421", f"cannot write {path}: it is read from", help=("give another file to -o",))
    return paths


def _shapes(options: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """``image=224x224x3`` by the input's name, which is empty where none is given."""
    found: dict[str, tuple[int, ...]] = {}
    for option in options:
        name, _, text = option.rpartition("=")
        if not re.fullmatch(r"\d{1,9}(x\d{1,9}){0,2}", text, re.ASCII):
            raise click.BadParameter(
                f"{option}: write height x width x channels, as in image=224x224x3", param_hint="--input-shape"
            )
        found[name] = tuple(int(size) for size in text.split("x"))
    return found


def _told(done: Imported, graph: Graph, written: tuple[Path, ...]) -> list[str]:
    """A line for the network, and one for the weights."""
    summary = summarize(graph)
    outputs = listed([str(graph.by_name[node].type) for _, node in graph.outputs])
    shapes = f"{listed([str(node.type) for node in graph.inputs])} -> {outputs}"
    count = counted(len(summary.layers) - len(graph.inputs), "layer")
    where = written or (Path("-"), Path("-"))
    lines = [f"{where[0]}: {done.name}, {count}, {grouped(summary.parameters)} parameters, {shapes}"]
    if done.weights and written:
        values, size = sum(t.numel() for t in done.weights.values()), sum(t.nbytes for t in done.weights.values())
        lines.append(f"{where[1]}: {counted(len(done.weights), 'tensor')}, {compact(values)} values, {binary(size)}")
    elif done.weights:
        lines.append(f"the weights, {counted(len(done.weights), 'tensor')}, are written with -o NET.cnn alone")
    return lines


def _left(graph: Graph, text: str) -> list[str]:
    """What the files did not say: how pictures become the inputs, which `text` may give other names."""
    names = re.findall(r"^ *input (\w+)", text, re.MULTILINE)
    inputs = zip(names, graph.inputs, strict=False)
    pictures = [(name, n) for name, n in inputs if n.type.is_map and n.type.channels in {1, 3} and n.spec is None]
    if not pictures:
        return []
    name, node = pictures[0]
    each = "0.5, 0.5, 0.5" if node.type.channels == 3 else "0.5"
    height, width = node.type.height, node.type.width
    larger = -(-height * 8 // 7)  # as most were trained: 256 for 224
    how = f"resize={larger}, crop={height}" if height == width >= 128 else f"resize={height}x{width}"
    return [
        "to fill in: how a picture becomes the input, which the model does not say, for example",
        f"  input {name} {node.type} ({how}, mean=({each}), std=({each}))",
    ]
