"""``cnndsl inspect``: what the compiler made of a network, at any stage."""

from __future__ import annotations

import click

from cnndsl import targets
from cnndsl.cli import terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.options import file_argument, read_settings, set_option
from cnndsl.cli.sources import load_graph, read_source
from cnndsl.errors import did_you_mean, problem
from cnndsl.ir import Graph
from cnndsl.targets import Target
from cnndsl.tiles import DType

STAGES = {
    "tree": "what the parser read",
    "graph": "layers with their shapes, everything expanded (the default)",
    "simplified": "what is left to compute: batch norms folded, dropouts gone",
    "groups": "the layers that each kernel computes",
    "plan": "memory and kernel launches, for a target and a type",
    "source": "the Python file that runs",
}

_EXAMPLES = """\b
Examples:
  cnndsl inspect net.cnn
  cnndsl inspect examples/vgg16_bn.cnn --stage groups
  cnndsl inspect examples/alexnet.cnn --stage plan --target sm_90 --dtype fp16 --batch 128
  cnndsl inspect examples/alexnet.cnn --stage source > network.py

\b
Stages:
""" + "\n".join(f"  {name:<12}{meaning}" for name, meaning in STAGES.items())


@click.command(cls=Command, epilog=_EXAMPLES)
@file_argument
@click.option(
    "--stage", type=click.Choice(list(STAGES)), default="graph", help="Which stage to print; see below."
)
@click.option(
    "--target", "--device", "target", default="interpreter", metavar="T",
    help="interpreter (the default), auto for this machine's, or one of "
    + ", ".join(t.name for t in targets.TARGETS[1:]) + ".",
)
@click.option(
    "--dtype", type=click.Choice(["fp32", "tf32", "fp16", "bf16"]), default="fp32", help="Default: fp32."
)
@click.option(
    "--batch", type=click.IntRange(1, 2**16), default=1, metavar="N",
    help="Pictures that tiles are chosen for. Default: 1.",
)
@set_option
def command(file: str, stage: str, target: str, dtype: DType, batch: int, settings: tuple[str, ...]) -> None:
    """Print a stage of the compiler."""
    values = read_settings(settings)
    if stage == "tree":
        terminal.out(_tree(file))
        return
    graph = load_graph(file, values)
    terminal.out(_show(graph, stage, target=target, dtype=dtype, batch=batch).rstrip())


def _tree(file: str) -> str:
    """The file's own tree, before anything is looked up: it shows what was read when the rest fails."""
    from cnndsl.parser import parse
    from cnndsl.tree import show

    text, name, network = read_source(file)
    tree = parse(text, name)
    known = [d.name for d in tree.definitions if d.kind == "network"]
    if network is not None and network not in known:
        guess = did_you_mean(network, known)
        hint = (f"did you mean `{guess}`?",) if guess is not None else ()
        raise problem("E0213", f"there is no network `{network}` in {name}", help=hint)
    return show(tree, network=network)


def _show(graph: Graph, stage: str, *, target: str, dtype: DType, batch: int) -> str:
    from cnndsl import ir

    if stage == "graph":
        return ir.show(graph)
    from cnndsl.passes.simplify import simplify

    simplified = simplify(graph)
    if stage == "simplified":
        return ir.show(simplified)
    from cnndsl.passes import fuse

    groups = fuse.fuse(simplified)
    if stage == "groups":
        return fuse.show(groups)
    from cnndsl.passes import plan

    planned = plan.plan(groups, target=_target(target), dtype=dtype, batch=batch)
    if stage == "plan":
        return plan.show(planned)
    from cnndsl.codegen.emit import network_source

    return network_source(planned)


def _target(name: str) -> Target:
    """A target by name. Raises CnnError (E0703)."""
    if name == "auto":
        from cnndsl.runtime import device

        return device.choose(None)[1]
    known = {"cpu": "interpreter"}.get(name, name)
    for target in targets.TARGETS:
        if target.name == known:
            return target
    names = [t.name for t in targets.TARGETS]
    guess = did_you_mean(name, names)
    hint = f"did you mean `{guess}`?" if guess is not None else f"targets are {', '.join(names)}, or auto"
    raise problem("E0703", f"there is no target `{name}`", help=(hint,))
