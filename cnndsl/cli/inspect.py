"""``cnndsl inspect``: what the compiler made of a network, at any stage."""

from __future__ import annotations

import click

from cnndsl.cli import inspect_sides, inspect_whole, terminal
from cnndsl.cli.commands import Command
from cnndsl.cli.inspect_sides import Request, Side
from cnndsl.cli.options import batch_option, dtype_option, file_argument, json_option, read_settings, set_option
from cnndsl.cli.target_names import ALL, DEFAULT_AMD, DEFAULT_GPU
from cnndsl.tiles import DType

STAGES = {
    "tree": "what the parser read",
    "graph": "layers with their shapes, everything expanded (the default)",
    "simplified": "what is left to compute: batch norms folded, dropouts gone",
    "groups": "the layers that each kernel computes, and why not more of them",
    "plan": "memory and kernel launches, for a target and a type",
    "lines": "the .cnn files, with the kernels that each line became",
    "source": "the Python files that run (the default with LAYER)",
    "ttir": "Triton's IR of the kernels",
    "ttgir": "Triton's IR with the layouts of a GPU",
    "llir": "LLVM's IR",
    "ptx": "NVIDIA's virtual assembly",
    "sass": "NVIDIA's machine code",
    "amdgcn": "AMD's machine code",
    "resources": "registers, spills, shared memory, occupancy, telling instructions",
}

_EXAMPLES = """\b
Examples:
  cnndsl inspect net.cnn
  cnndsl inspect examples/vgg16_bn.cnn --stage groups
  cnndsl inspect examples/alexnet.cnn --stage plan --target sm_90 --dtype fp16
  cnndsl inspect examples/alexnet.cnn conv2 --target sm_90 > conv2.py
  cnndsl inspect examples/alexnet.cnn 10 --stage ptx
  cnndsl inspect examples/vgg16.cnn vgg.cnn:9 --stage sass --target sm_80
  cnndsl inspect net.cnn --stage resources --target sm_80 --target sm_90
  cnndsl inspect examples/alexnet.cnn conv2 --stage ttgir --diff sm_80

\b
LAYER is the name of a layer or a kernel, a label, or a path that layers stand
under. A number is a line of FILE, `other.cnn:9` a line of a file that it uses.
Of a layer that needs no kernel, standard error says why.

\b
Stages:
""" + "\n".join(f"  {name:<12}{meaning}" for name, meaning in STAGES.items()) + """

\b
Stages from ttir on are compiled by Triton, which needs no GPU, and kept in a
cache. A kernel that cannot be compiled is reported in its place; the exit code
is 1 then.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@file_argument
@click.argument("layer", metavar="[LAYER|LINE]", required=False)
@click.option(
    "--stage", type=click.Choice(list(STAGES)), metavar="STAGE", help="Which stage to print; see below."
)
@click.option(
    "--target", "--device", "names", multiple=True, metavar="T",
    help=f"auto for this machine's, or one of {ALL}. Default: {DEFAULT_GPU} ({DEFAULT_AMD} for amdgcn) for the stages "
    "that are compiled, interpreter for the others. May be repeated with --stage resources.",
)
@dtype_option
@batch_option
@click.option(
    "--diff", "other", metavar="OTHER",
    help="Print what differs with another target, type or network: --diff sm_80, --diff fp32, --diff other.cnn. "
    "The exit code does not tell.",
)
@click.option(
    "--locations", is_flag=True, help="Leave in compiled stages what tells debuggers where code comes from."
)
@set_option
@json_option
def command(
    *, file: str, layer: str | None, stage: str | None, names: tuple[str, ...], dtype: DType, batch: int,
    other: str | None, locations: bool, settings: tuple[str, ...], as_json: bool,
) -> None:
    """Print a stage of the compiler, of all layers or of one."""
    request = Request(
        file, layer, stage if stage is not None else "graph" if layer is None else "source",
        names=names, dtype=dtype, batch=batch, other=other, settings=read_settings(settings),
        locations=locations, as_json=as_json,
    )
    inspect_sides.check(request)
    if request.stage == "tree":
        inspect_whole.show_tree(request)
        return
    sides = inspect_sides.sides(request)
    _print(request, sides)


def _print(request: Request, sides: list[Side]) -> None:
    """Print a stage. Raises CnnError."""
    if request.layer is not None and request.stage not in {"graph", "simplified", "lines"}:
        for note in sides[0].selection.notes:
            terminal.say(note)
    if request.stage in inspect_sides.WHOLE:
        inspect_whole.show(request, sides)
        return
    chosen = sides[0].selection
    if not chosen.kernels and not chosen.network:
        return
    if request.stage == "resources":
        from cnndsl.cli import inspect_resources

        inspect_resources.show(request, sides)
    else:
        from cnndsl.cli import inspect_kernels

        inspect_kernels.show(request, sides)
