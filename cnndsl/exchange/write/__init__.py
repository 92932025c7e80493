"""From a model to the .cnn file that a person would have written."""

from __future__ import annotations

from dataclasses import dataclass
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
    """The text of a model, checked: read back, it gives the model's graph.

    What no output needs is left out, and its weights with it. A model without a layer between input and output is a
    text too.
    """
    from cnndsl.exchange.write.check import matched, read_back
    from cnndsl.exchange.write.labels import output_names, put_labels
    from cnndsl.exchange.write.normal import normalised
    from cnndsl.exchange.write.regions import body_of
    from cnndsl.exchange.write.text import text_of
    from cnndsl.exchange.write.tree import computed

    graph = normalised(model.graph)
    outputs = output_names(graph)
    body = body_of(graph)
    put_labels(body, graph, outputs)
    text = text_of(body, graph)
    written = read_back(text)
    names = matched(graph, written, order=list(computed(body)), outputs=outputs)
    weights = {}
    for key, tensor in model.weights.items():
        node, _, last = key.rpartition(".")
        if node in names:
            weights[f"{names[node]}.{last}"] = tensor
    return Written(text, weights, written, names)
