"""``cnndsl diff``: two networks side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import click

from cnndsl.cli import terminal
from cnndsl.cli.commands import WRONG, Command
from cnndsl.cli.import_ import READERS, Options, weights_alone
from cnndsl.cli.options import json_option, read_settings, set_option
from cnndsl.cli.sources import load
from cnndsl.cli.table import Column, fitting_widths, render_rows, wrap
from cnndsl.cli.terminal import bold, dim
from cnndsl.cli.torch_modules import torch_module
from cnndsl.compare import Comparison, Pair, compare
from cnndsl.figures import compact, counted, grouped
from cnndsl.files import Program, choose_network
from cnndsl.ir import Graph, Node
from cnndsl.passes.elaborate import elaborate
from cnndsl.summary import Layer, summarize, title_of

_EXAMPLES = """\b
Examples:
  cnndsl diff examples/alexnet.cnn examples/alexnet_torchvision.cnn
  cnndsl diff examples/resnet50.cnn examples/resnet50_v1.cnn
  cnndsl diff vgg.cnn:VGG16 vgg.cnn:VGG19 --all
  cnndsl diff old.cnn new.cnn --exit-code --json
  cnndsl diff examples/squeezenet1_1.cnn squeezenet.onnx

The first column says how two layers compare: a space where they compute the same, ~ where their shapes agree but
they compute other numbers, ! where the shapes differ, < and > where only the first or the second network has the
layer. MACs are for one picture. Names play no part but for the weights' keys. A and B are .cnn files, or files that
`cnndsl import` reads.
"""

_RUN = 4
"""Layers of one kind from which on they are one line; of layers that compute the same, two."""

_WORD = 24
"""Characters of a word that a column does not break, unless there is no room at all."""

_MARKS = {"same": " ", "numbers": "~", "shapes": "!", "left": "<", "right": ">"}


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@set_option
@click.option("--all", "everything", is_flag=True, help="Show layers that compute the same one by one, too.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 where the networks compute different numbers.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, *, left: str, right: str, settings: tuple[str, ...], everything: bool, exit_code: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare two networks layer by layer.

    Shows the layers, shapes, parameters and MACs of both, and where two layers that look alike would compute
    different numbers. --set goes to whichever of the two has the parameter.
    """
    if left == right == "-":
        raise click.UsageError("A and B cannot both be read from standard input")
    for target in (left, right):
        if way := weights_alone(target):
            raise click.UsageError(f"{target} is a file of weights{way}")
    values = read_settings(settings)
    graphs = _loaded(left, right, values)
    result = compare(*graphs, silent=(_reader(left) is not None, _reader(right) is not None))
    if as_json:
        terminal.out_json(_to_json(result))
    else:
        for line in _Text(result, (left, right), everything=everything).lines(terminal.width()):
            terminal.out(line)
    if exit_code and not result.same:
        ctx.exit(WRONG)


def _loaded(left: str, right: str, values: dict[str, Any]) -> tuple[Graph, Graph]:
    """Both networks, each with those of the settings that it has a parameter for."""
    found = [_Side(target) for target in (left, right)]
    if values and all(side.foreign for side in found):
        raise click.UsageError("--set is for parameters of .cnn files: neither A nor B is one")
    known = [side.parameters for side in found]
    graphs = [
        side.graph({name: value for name, value in values.items() if name in own or name not in others})
        for side, own, others in zip(found, known, reversed(known), strict=True)
    ]
    return graphs[0], graphs[1]


def _reader(target: str) -> Callable[[Path, Options], Any] | None:
    """What reads a file of another format; None for a .cnn file."""
    return READERS.get(Path(target).suffix.lower())


class _Side:
    """A network of the command line: of a .cnn file, or of one that `cnndsl import` reads."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.foreign = _reader(target)
        self.program: Program | None = None
        self.parameters: set[str] = set()
        if self.foreign is None:
            self.program, name = load(target, {})
            self.network = choose_network(self.program, name)
            self.parameters = {p.name for p in self.network.parameters}

    def graph(self, settings: dict[str, Any]) -> Graph:
        """The network with settings. Raises CnnError."""
        if self.foreign is None:
            assert self.program is not None
            return elaborate(self.program, self.network, settings)
        model = self.foreign(Path(self.target), Options("", {}))
        write = torch_module("cnndsl.exchange.write", "reading a network of another format").write
        graph: Graph = write(model).graph
        return graph


# --- text ------------------------------------------------------------------------------------------


class _Text:
    """A comparison as lines for a terminal."""

    def __init__(self, result: Comparison, names: tuple[str, str], *, everything: bool) -> None:
        self.result, self.names, self.everything = result, names, everything
        self.costs = tuple({layer.name: layer for layer in summarize(g).layers} for g in (result.left, result.right))

    def lines(self, width: int | None) -> Iterator[str]:
        left, right = self.result.left, self.result.right
        for mark, graph, name in (("<", left, self.names[0]), (">", right, self.names[1])):
            yield bold(f"{mark} {title_of(graph)}") + (f"  {name}" if name != "-" else "  standard input")
        yield ""
        shown = list(self.shown())
        if any(len(run) == 1 or run[0].verdict != "same" for run in shown):
            yield from self.table(shown, width)
            yield ""
        yield from self.verdict(width)

    def shown(self) -> Iterator[tuple[Pair, ...]]:
        """What is one line of the table: a pair, or layers of one kind that follow one another."""
        for kind, pairs in groupby(self.result.pairs, self.kind):
            run = tuple(pairs)
            if kind is None or self.everything or len(run) < (2 if kind == "same" else _RUN):
                yield from ((pair,) for pair in run)
            else:
                yield run

    def kind(self, pair: Pair) -> str | None:
        """What layers must have in common to be told of in one line; None for one that has a line of its own."""
        if pair.left is None or pair.right is None:
            return f"{pair.verdict} {pair.reasons}"
        if pair.verdict == "shapes" and not pair.reasons and pair.left.text == pair.right.text:
            figures = (self.costs[0][pair.left.name].parameters, self.costs[1][pair.right.name].parameters)
            return "alike" if figures[0] == figures[1] else None
        return "same" if pair.verdict == "same" else None

    def table(self, shown: list[tuple[Pair, ...]], width: int | None) -> Iterator[str]:
        columns = (
            Column("", tuple(self.mark(run) for run in shown)),
            *(self.column(shown, side) for side in (0, 1)),
            Column("output", tuple(map(self.output, shown)), right=True),
            Column("params", tuple(self.total(run, "parameters") for run in shown), right=True),
            Column("MACs", tuple(self.total(run, "macs") for run in shown), right=True),
        )
        widths = fitting_widths(columns, width)
        if widths is None:
            assert width is not None
            yield from self.stacked(shown, width)
            return
        heading, *rows = render_rows(columns, widths)
        yield from map(bold, heading)
        yield dim("-" * min(sum(widths) + 2 * (len(widths) - 1), width or 10**6))
        for run, row in zip(shown, rows, strict=True):
            yield from (dim(line) for line in row) if run[0].verdict == "same" else row
            yield from self.reasons(run, width)

    def column(self, shown: list[tuple[Pair, ...]], side: int) -> Column:
        cells = tuple(self.layer(run, side) for run in shown)
        word = max(map(len, " ".join(cells).split()), default=0)
        return Column("AB"[side], cells, wraps=True, least=min(word, _WORD))

    def stacked(self, shown: list[tuple[Pair, ...]], width: int) -> Iterator[str]:
        """Where a table would not fit: each layer on lines of its own, that of B behind a bar where it is another."""
        for run in shown:
            same = run[0].verdict == "same" and len(run) > 1
            texts = [self.layer(run, 0)] if same else [self.layer(run, 0), self.layer(run, 1)]
            for number, text in enumerate(dict.fromkeys(filter(None, texts))):
                first, *rest = wrap(text, max(width - 4, 8))
                yield f"{self.mark(run)} {first}" if number == 0 else f"  | {first}"
                yield from (f"    {line}" for line in rest)
            params, macs = (self.total(run, figure) for figure in ("parameters", "macs"))
            figures = (self.output(run), params and f"{params} params", macs and f"{macs} MACs")
            if any(figures):
                yield from (f"    {line}" for line in wrap(", ".join(filter(None, figures)), max(width - 4, 8)))
            yield from self.reasons(run, width)

    @staticmethod
    def mark(run: tuple[Pair, ...]) -> str:
        return _MARKS[run[0].verdict]

    @staticmethod
    def layer(run: tuple[Pair, ...], side: int) -> str:
        nodes = [(pair.left, pair.right)[side] for pair in run]
        first, last = nodes[0], nodes[-1]
        if first is None or last is None:
            return ""
        if len(run) == 1:
            return f"{first.name}: {first.text}"
        names = f"{first.name} .. {last.name}"
        if side == 1 and run[0].left is not None:
            return names
        alike = {"same": " the same", "shapes": " alike"}.get(run[0].verdict, "")
        return f"{names}: {counted(len(run), 'layer')}{alike}"

    @staticmethod
    def output(run: tuple[Pair, ...]) -> str:
        """The shapes of a layer, once where both have the same; nothing for many layers."""
        types = [str(node.type) for node in (run[0].left, run[0].right) if node is not None]
        return " | ".join(dict.fromkeys(types)) if len(run) == 1 else ""

    def total(self, run: tuple[Pair, ...], figure: Literal["parameters", "macs"]) -> str:
        """A figure of both networks, once where it is the same; nothing for many layers that are the same."""
        if len(run) > 1 and run[0].verdict == "same":
            return ""
        sides = (([pair.left for pair in run], self.costs[0]), ([pair.right for pair in run], self.costs[1]))
        texts = [
            _figure(sum(getattr(costs[node.name], figure) for node in nodes if node is not None))
            for nodes, costs in sides
            if nodes[0] is not None
        ]
        return " | ".join(text or "0" for text in dict.fromkeys(texts)) if any(texts) else ""

    @staticmethod
    def reasons(run: tuple[Pair, ...], width: int | None) -> Iterator[str]:
        if run[0].verdict == "same" and len(run) > 1:
            return
        reasons = run[0].reasons
        if run[0].verdict == "shapes" and len(run) > 1:
            reasons = ("they read tensors of another shape",)
        for reason in reasons:
            lines = wrap(reason, max((width or 10**6) - 7, 16))
            yield f"     {lines[0]}"
            yield from (f"       {line}" for line in lines[1:])

    def verdict(self, width: int | None) -> Iterator[str]:
        left, right = (summarize(g) for g in (self.result.left, self.result.right))
        counts = [sum(node.op is not None for node in g.nodes) for g in (self.result.left, self.result.right)]
        figures = [
            ("layers", counts[0], counts[1]),
            ("parameters", left.parameters, right.parameters),
            ("MACs", left.macs, right.macs),
        ]
        for noun, a, b in figures:
            change = f"  ({b - a:+,})" if a != b else ""
            yield from self.wrapped(noun, grouped(a) + (f" against {grouped(b)}{change}" if a != b else ""), width)
        by_name, by_order = self.result.keys
        keys = {
            (True, True): "the same names and shapes: weights of one load into the other",
            (True, False): "the same names and shapes: weights of one load into the other",
            (False, True): "other names but the same shapes in order: load with `--match order`",
        }.get((by_name, by_order), "other shapes: weights of one do not load into the other")
        yield from self.wrapped("weights", keys, width)
        sections = (("outputs", self.result.outputs), ("pictures", self.result.unsaid), ("note", self.result.notes))
        for noun, sentences in sections:
            for number, sentence in enumerate(sentences):
                yield from self.wrapped("" if number else noun, sentence, width)
        found = [(sum(p.verdict == v and not p.idle for p in self.result.pairs), text) for v, text in (
            ("numbers", "with the same shape but other numbers"), ("shapes", "of another shape"),
            ("left", "only in A"), ("right", "only in B"),
        )]  # fmt: skip
        told = ", ".join(f"{number} {text}" for number, text in found if number)
        text = f"layers: {told}" if told else "outputs differ" if self.result.outputs else ""
        text = text or "both compute the same numbers from the same weights"
        yield from self.wrapped("verdict", text, width)

    @staticmethod
    def wrapped(noun: str, text: str, width: int | None) -> Iterator[str]:
        lines = wrap(text, max(width - 12, 20) if width is not None else len(text))
        yield f"{noun:<12}{lines[0]}"
        yield from (" " * 12 + line for line in lines[1:])


def _figure(number: int) -> str:
    """A figure of the table; most layers have no parameters, and a column of zeros hides the others."""
    return compact(number) if number else ""


# --- JSON ------------------------------------------------------------------------------------------


def _to_json(result: Comparison) -> dict[str, Any]:
    costs = tuple({layer.name: layer for layer in summarize(g).layers} for g in (result.left, result.right))

    def side(node: Node | None, costs: dict[str, Layer]) -> dict[str, Any] | None:
        if node is None:
            return None
        layer = costs[node.name]
        return {
            "name": node.name, "text": node.text, "inputs": list(node.inputs), "shape": list(node.type.shape),
            "parameters": layer.parameters, "macs": layer.macs, "line": node.span.line,
        }  # fmt: skip

    by_name, by_order = result.keys
    return {
        "ok": True,
        "same": result.same,
        "networks": [result.left.name, result.right.name],
        "weights": {"same_by_name": by_name, "same_by_order": by_order},
        "layers": [
            {
                "verdict": pair.verdict,
                "a": side(pair.left, costs[0]),
                "b": side(pair.right, costs[1]),
                "reasons": list(pair.reasons),
                "idle": pair.idle,
            }
            for pair in result.pairs
        ],
        "outputs": list(result.outputs),
        "unsaid": list(result.unsaid),
        "notes": list(result.notes),
    }
