"""From a model to the .cnn file that a person would have written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cnndsl.exchange.model import Model
    from cnndsl.ir import Graph


@dataclass(frozen=True)
class Written:
    """A ``.cnn`` text, its weights by their keys there, and its graph."""

    text: str
    weights: dict[str, torch.Tensor]
    graph: Graph
    names: dict[str, str]
    """The name in `graph` of each node of the model that the text holds."""


def write(model: Model) -> Written:
    """The text of a model, checked: read back, it gives the model's graph. Its notes are comments at the head.

    Keys of weights stay as they were wherever a text can have them. What no output needs is left out, and its weights
    with it.
    """
    from cnndsl.exchange.write.compose import composed
    from cnndsl.exchange.write.normal import normalised

    origin = model.graph.nodes[0].span.source.name
    done = composed(normalised(model.graph), (f"Imported from {Path(origin).name}.", *model.notes))
    weights = {}
    for key, tensor in model.weights.items():
        node, _, last = key.rpartition(".")
        if node in done.names:
            weights[f"{done.names[node]}.{last}"] = tensor
    return Written(done.text, weights, done.graph, done.names)
