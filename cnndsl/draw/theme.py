"""The colours of a picture, by what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnndsl.ir import Node


@dataclass(frozen=True)
class Paint:
    """Fill and line of a shape; `dashed` lines are for what no kernel computes."""

    fill: str
    line: str = "none"
    dashed: bool = False


FAMILIES = ("conv", "dense", "pool", "norm", "act", "join", "other")
"""The families of layers, each with a colour of its own."""

_OF_MANUAL = {
    "Convolution and dense": "conv",
    "Pooling": "pool",
    "Normalisation": "norm",
    "Activations": "act",
    "Joins": "join",
}


def family_of(layer: Node) -> str:
    """Which of `FAMILIES` a layer is coloured as: that of its manual page, dense layers apart."""
    assert layer.op is not None
    return "dense" if layer.op.name == "dense" else _OF_MANUAL.get(layer.op.family, "other")


LIGHT: dict[str, Paint] = {
    "page": Paint("#ffffff"),
    "ink": Paint("#1c2330"),
    "muted": Paint("#4f5968"),
    "edge": Paint("none", "#5d6878"),
    "frame": Paint("#f3f5f8", "#ccd3dd"),
    "box": Paint("#ffffff", "#98a2b3"),
    "bare": Paint("none", "#98a2b3", dashed=True),
    "faint": Paint("none"),
    "input": Paint("#eef1f5", "#5d6878"),
    "output": Paint("#eef1f5", "#5d6878"),
    "conv": Paint("#cfe1fa"),
    "dense": Paint("#dcd5f7"),
    "pool": Paint("#fad4c8"),
    "norm": Paint("#f8e7b0"),
    "act": Paint("#dcebd0"),
    "join": Paint("#bfe6e0"),
    "other": Paint("#e4e7ec"),
}

DARK: dict[str, Paint] = {
    "page": Paint("#12161d"),
    "ink": Paint("#e7ebf2"),
    "muted": Paint("#b6c0cf"),
    "edge": Paint("none", "#8490a3"),
    "frame": Paint("#191f28", "#394352"),
    "box": Paint("#1d2430", "#5b677a"),
    "bare": Paint("none", "#5b677a", dashed=True),
    "faint": Paint("none"),
    "input": Paint("#262f3d", "#8490a3"),
    "output": Paint("#262f3d", "#8490a3"),
    "conv": Paint("#1f4675"),
    "dense": Paint("#433882"),
    "pool": Paint("#73392a"),
    "norm": Paint("#594811"),
    "act": Paint("#35521f"),
    "join": Paint("#17564f"),
    "other": Paint("#3a4454"),
}
