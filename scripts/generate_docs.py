"""Write docs/layers.md and docs/errors.md from the operations and the table of error codes.

``make docs`` runs this; a test fails when the pages are not what it writes.
"""

from __future__ import annotations

from pathlib import Path

from cnndsl.codes import CODES
from cnndsl.codes.code import Code
from cnndsl.errors import CnnError, render
from cnndsl.files import choose_network, load_text
from cnndsl.ir import Graph
from cnndsl.ops import operations
from cnndsl.ops.base import Argument, Op
from cnndsl.passes.elaborate import elaborate

DOCS = Path(__file__).resolve().parent.parent / "docs"

SAMPLE = "56x56x64"
"""The input on which every example layer is shown."""

FAMILIES = ("Convolution and dense", "Activations", "Pooling", "Normalisation", "Joins", "Shape")

LAYERS_HEAD = f"""\
# The layers

Every layer of the language: its arguments, and what it makes of a [{SAMPLE}] tensor. Arguments are given by position
or by name, in the order of the tables. Windows, strides and dilations are one number (square), `3x5` or `(3, 5)`,
height before width; paddings one number, `(height, width)`, `(top, bottom, left, right)` or `same`.
[The language](language.md) tells the rest. This page is written from the definitions in `cnndsl/ops` by `make docs`.
"""

ERRORS_HEAD = """\
# The errors

Every mistake has a code that stays the same from version to version. `cnndsl explain E0304` prints what stands here,
and `cnndsl check --json` gives mistakes to tools. A file's mistakes are all reported in one run. This page is written
from `cnndsl/codes` by `make docs`.
"""

CHAPTERS = {
    "E01": "The text",
    "E02": "Names, arguments and values",
    "E03": "Shapes",
    "E04": "Weights, pictures, tensors and labels",
    "E05": "Tensors passed to a network",
    "E06": "The machine",
    "E07": "The command line",
    "E08": "Networks of other formats",
}


def layers_page() -> str:
    """The text of docs/layers.md."""
    by_family: dict[str, list[type[Op]]] = {family: [] for family in FAMILIES}
    for op in operations().values():
        by_family[op.family].append(op)
    parts = [LAYERS_HEAD]
    for family, ops in by_family.items():
        links = ", ".join(f"[{op.name}](#{op.name})" for op in ops)
        parts.append(f"**{family}**: {links}  \n" if family != FAMILIES[-1] else f"**{family}**: {links}\n")
    page = parts[0] + "\n" + "".join(parts[1:])
    for family, ops in by_family.items():
        page += f"\n## {family}\n" + "".join(_layer(op) for op in ops)
    return page


def _layer(op: type[Op]) -> str:
    lines = [f"\n### {op.name}\n", _docstring(op), "", f"<!-- input: {SAMPLE} -->", "```cnn", op.example, "```", ""]
    arguments = op.arguments()
    if arguments:
        lines += ["| argument | value | default | |", "|---|---|---|---|", *map(_argument, arguments), ""]
    lines.append(_facts(op))
    return "\n".join(lines) + "\n"


def _docstring(op: type[Op]) -> str:
    paragraphs = (op.__doc__ or "").strip().split("\n\n")
    return "\n\n".join(" ".join(p.split()) for p in paragraphs)


def _argument(a: Argument) -> str:
    if a.required:
        default = "required"
    elif a.default_text is not None:
        default = a.default_text
    else:
        default = f"`{a.kind.show(a.default)}`"
    return f"| `{a.name}` | {a.kind.describe} | {default} | {a.doc} |"


def _facts(op: type[Op]) -> str:
    """What the example makes of the sample, what it costs, and what the compiler does with it."""
    graph = _graph(op.example)
    node = graph.by_name[dict(graph.outputs)["main"]]
    assert node.op is not None
    types = graph.types_of(node)
    facts = [f"On [{SAMPLE}] it makes {node.type}."]
    facts += [f"{line[0].upper()}{line[1:]}." for line in node.op.explain(*types)]
    weights = node.op.weights(*types)
    if weights:
        total = sum(w.size for w in weights)
        names = ", ".join(f"`{w.name}` {list(w.shape)}" for w in weights)
        facts.append(f"Weights: {names}; {total:,} values.")
    macs = node.op.macs(types, node.type)
    if macs:
        facts.append(f"{macs:,} multiply-accumulates.")
    if op.transparent:
        facts.append("The compiler leaves it out.")
    elif node.op.activation is not None:
        facts.append("Computed by the kernel of the layer before it, where that takes an activation.")
    elif op.takes_activation:
        facts.append("An activation behind it is computed by the same kernel.")
    return " ".join(facts)


def _graph(layer: str) -> Graph:
    program = load_text(f"network Sample {{ input x [{SAMPLE}] {layer} }}")
    return elaborate(program, choose_network(program, None))


def errors_page() -> str:
    """The text of docs/errors.md."""
    page = ERRORS_HEAD
    chapter = ""
    for code in CODES.values():
        if code.code[:3] != chapter:
            chapter = code.code[:3]
            page += f"\n## {CHAPTERS[chapter]}\n"
        page += _code(code)
    return page


def _code(code: Code) -> str:
    lines = [f"\n### {code.code}: {code.title}\n", "\n\n".join(code.paragraphs), ""]
    if code.wrong:
        lines += [f"<!-- wrong: {code.code} -->", "```cnn", code.wrong.rstrip(), "```", ""]
        lines += ["```text", _rendered(code.wrong), "```", ""]
    if code.right:
        lines += ["Mended:", "", "```cnn", code.right.rstrip(), "```", ""]
    if code.message:
        lines += ["```text", code.message.rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _rendered(text: str) -> str:
    try:
        program = load_text(text, name="net.cnn")
        elaborate(program, choose_network(program, None))
    except CnnError as error:
        return render(error.diagnostics)
    raise AssertionError("the example has no mistake")


PAGES = {"layers.md": layers_page, "errors.md": errors_page}


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
