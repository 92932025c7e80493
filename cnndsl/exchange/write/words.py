"""Single layers as people write them."""

from __future__ import annotations

from collections.abc import Mapping

from cnndsl.exchange.write.lines import WIDTH
from cnndsl.ir import InputSpec, Node
from cnndsl.ops.base import Op
from cnndsl.ops.fields import show_value
from cnndsl.ops.reshape import Dropout
from cnndsl.passes.inputs import INPUT_ARGUMENTS


def op_text(op: Op, written: Mapping[str, str]) -> str:
    """An operation with its arguments; those in `written` are expressions.

    Arguments with their default are left out. What everybody knows by its place, the only argument of a layer or the
    size of an LRN's window, has no name; and a dropout's probability is always told.
    """
    shown: list[str] = []
    arguments = op.arguments()
    for a in arguments:
        value = getattr(op, a.name)
        text = written.get(a.name, a.kind.show(value))
        if a.required or (isinstance(op, Dropout) and a.name == "p"):
            shown.append(text)
        elif a.name in written or (value != a.default and value is not None and not op.is_implied(a.name)):
            first = a is arguments[0] and a.name != "eps"
            shown.append(text if first else f"{a.name}={text}")
    return f"{op.name}({', '.join(shown)})" if shown else op.name


def input_text(node: Node, name: str) -> str:
    """``input image [224x224x3] (crop=224)``, in two lines if it is long.

    Where nothing says how pictures are prepared, there is a comment about that.
    """
    spec = node.spec or InputSpec()
    shown = []
    for a in sorted(INPUT_ARGUMENTS, key=lambda a: a.name in {"mean", "std"}):
        value = getattr(spec, a.name)
        if value != a.default:
            shown.append(f"{a.name}={_one_or_all(value) if a.name in {'mean', 'std'} else a.kind.show(value)}")
    line = f"input {name} {node.type}"
    if shown:
        whole = f"{line} ({', '.join(shown)})"
        first = [text for text in shown if not text.startswith(("mean", "std"))]
        rest = shown[len(first) :]
        if len(whole) <= WIDTH or not first or not rest:
            return whole
        return f"{line} ({', '.join(first)},\n{' ' * len(line)}  {', '.join(rest)})"
    is_picture = node.type.is_map and node.type.channels in {1, 3}
    return f"{line}    # fill in: (resize=..., crop=..., mean=..., std=...)" if is_picture else line


def _one_or_all(values: tuple[float, ...]) -> str:
    return show_value(values[0]) if len(values) == 1 else show_value(values)
