"""The README of a build."""

from __future__ import annotations

import keyword
import shlex
import sys
from collections.abc import Mapping, Sequence

from cnndsl.codegen.emit import TORCH_TYPES
from cnndsl.codegen.header import clean
from cnndsl.ir import Graph, InputSpec, Node, TensorType
from cnndsl.ops.fields import show_pair
from cnndsl.targets import Target
from cnndsl.tiles import DType

_TYPES = {
    "fp32": "fp32", "tf32": "fp32 with products in tf32 on a GPU", "fp16": "fp16 with sums in fp32",
    "bf16": "bf16 with sums in fp32",
}  # fmt: skip

_NOT_TO_SHADOW = {"torch", "triton", "numpy", "PIL"}


def readme(
    graph: Graph,
    *,
    folder: str,
    dtype: DType,
    batch: int,
    targets: Sequence[Target],
    precompiled: Mapping[str, int],
    triton: str | None,
    drawn: bool,
    files: Mapping[str, str],
) -> str:
    """The text. `precompiled` has the number of binaries by target, made by the version `triton` of Triton.

    `drawn` is whether the weights are random numbers, and `files` what each file is, by its name.
    """
    name = clean(graph.name)
    parts = [
        f"# {name}",
        f"A network compiled by cnndsl, computing in {_TYPES[dtype]}. It needs PyTorch and Triton, and Pillow to read "
        "pictures; it does not need cnndsl.",
        *(["**Its weights are random numbers**: none were given when it was built."] if drawn else []),
        *_usage(graph, folder, dtype),
        *_tensors(graph, dtype),
        *_where(targets, batch, precompiled, triton),
        "## Files",
        _table(("file", "what it is"), [(f"`{clean(file)}`", what) for file, what in files.items()]),
        "## Licence",
        "The code here was written by cnndsl for you: use, change and share it as you like, without any condition. The "
        "weights are under the licence of whoever made them.",
    ]
    return "\n\n".join(parts) + "\n"


def is_importable(folder: str) -> bool:
    """Whether a folder of this name can be imported, and hides no module that this network needs."""
    taken = sys.stdlib_module_names | _NOT_TO_SHADOW
    return folder.isascii() and folder.isidentifier() and not keyword.iskeyword(folder) and folder not in taken


def _usage(graph: Graph, folder: str, dtype: DType) -> list[str]:
    given = _given(graph.inputs)
    shown = shlex.quote(folder if folder.isprintable() else "FOLDER")
    shown = f"./{shown}" if folder.startswith("-") else shown
    lines = [f"python {shown} {given}", f"python {shown} {given} --top 3 --labels classes.txt --save out.safetensors"]
    if is_importable(folder):
        lines.insert(1, f"python -m {folder} {given}")
    found = [
        "## Run it",
        "From the folder above this one:",
        _code(lines, ""),
        "An input is a picture, or a tensor in a `.safetensors`, `.npy` or `.pt` file, with the batch in front or "
        "without. Several are one batch; without any, the input is random. `--help` lists all options. Where no GPU "
        "fits, the network runs on the CPU, in Triton's interpreter, which is slow and needs NumPy.",
    ]
    if not is_importable(folder):
        return [*found, "To import it, give this folder a name that Python takes for a module's, and no module's yet."]
    return [
        *found,
        "From Python:",
        _code(_python(graph, folder, dtype), "python"),
    ]


def _python(graph: Graph, folder: str, dtype: DType) -> list[str]:
    names = [f"x{i}" if len(graph.inputs) > 1 else "x" for i, _ in enumerate(graph.inputs)]
    lines = ["import torch", f"import {folder}", "", f'net = {folder}.load()  # or load("cpu"), load("cuda:1")']
    for name, node in zip(names, graph.inputs, strict=True):
        shape = ", ".join(map(str, node.type.torch_shape))
        lines.append(f"{name} = torch.randn(8, {shape}, dtype={TORCH_TYPES[dtype]}, device=net.device)")
    result = "a dict of tensors by output" if len(graph.outputs) > 1 else "a tensor"
    return [*lines, f"y = net({', '.join(names)})  # {result}"]


def _given(inputs: Sequence[Node]) -> str:
    if len(inputs) == 1:
        return "cat.png" if inputs[0].type.is_map else "x.safetensors"
    return " ".join(f"{clean(n.name)}={n.name if n.name.isidentifier() else 'x'}.safetensors" for n in inputs)


def _tensors(graph: Graph, dtype: DType) -> list[str]:
    inputs = [(clean(n.name), _shape(n.type), _prepared(n)) for n in graph.inputs]
    outputs = [(clean(name), _shape(graph.by_name[node].type)) for name, node in graph.outputs]
    return [
        "## Inputs and outputs",
        f"Tensors are {TORCH_TYPES[dtype]} in torch's order: batch, channels, height, width. A batch has any size. "
        "Files of tensors may have another float type, and are converted.",
        _table(("input", "shape", "a picture is"), inputs),
        _table(("output", "shape"), outputs),
    ]


def _shape(type_: TensorType) -> str:
    return f"[n, {', '.join(map(str, type_.torch_shape))}]"


def _prepared(node: Node) -> str:
    """How a picture becomes an input, in words."""
    if not node.type.is_map or node.type.channels not in {1, 3} or node.spec is None:
        return "not taken"
    spec, size = node.spec, (node.type.height, node.type.width)
    steps = []
    if isinstance(spec.resize, int):
        steps.append(f"resized to a shorter side of {spec.resize}")
    elif spec.resize is not None:
        steps.append(f"resized to {show_pair(spec.resize)}")
    if spec.crop is not None:
        steps.append("cropped at its centre")
    if spec.resize is None and spec.crop is None:
        steps.append(f"resized to cover {show_pair(size)}, cropped at its centre")
    if spec.interpolation != "bilinear":
        steps = [step.replace("resized", f"resized ({spec.interpolation})") for step in steps]
    colours = "grey" if node.type.channels == 1 else spec.order.upper()
    return "; ".join([*steps, f"{colours} from 0 to {spec.range}", *_normalised(spec)])


def _normalised(spec: InputSpec) -> list[str]:
    found = []
    if spec.mean is not None:
        found.append(f"less {_numbers(spec.mean)}")
    if spec.std is not None:
        found.append(f"divided by {_numbers(spec.std)}")
    return found


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" if float(f"{value:g}") == value else repr(value) for value in values)


def _where(targets: Sequence[Target], batch: int, precompiled: Mapping[str, int], triton: str | None) -> list[str]:
    names = ", ".join("Triton's interpreter" if t.kind == "interpreter" else t.name for t in targets)
    found = [
        "## Machines",
        f"This folder has kernels for {names}, each in a folder with its own `network.py`, since their tiles "
        f"differ. They were chosen for a batch of {batch}; any other runs too. A GPU gets its own kernels, or, of "
        "NVIDIA, those of the newest older target that fit into its shared memory; where none do, the CPU runs.",
    ]
    gpus = [t for t in targets if t.kind != "interpreter"]
    if gpus:
        counts = ", ".join(f"{precompiled[t.name]} for {t.name}" for t in gpus)
        found.append(
            f"`binaries/` holds compiled kernels ({counts}), with which Triton {triton} compiles nothing. Another "
            "version compiles the kernels from their sources when they are first needed, in seconds. So does this "
            "one for those that read an input with another layout than the binaries are for, which is contiguous, in "
            "the order above, and aligned to 16 bytes."
        )
    return found


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code(lines: Sequence[str], language: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
