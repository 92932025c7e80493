"""What a layer is called: by the names of its weights where those are paths, else by its node's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnndsl.exchange.model import MAX_NAME

if TYPE_CHECKING:
    import onnx

_LAST = re.compile(
    r"[._/](?:weight|bias|w|b|kernel|scale|gamma|beta|mean|var|running_mean|running_var|s|rm|riv)(?:_\d+)?(?:__SHAPE)?$",
    re.IGNORECASE,
)
"""The end of a weight's name that says which of a layer's weights it is: torch's, Caffe2's (w_0, riv_0), Keras's."""

_DEVICE = re.compile(r"^[gc]pu_\d+/")


def without_device(name: str) -> str:
    """A name without the device that Caffe2 put before it: ``gpu_0/data_0``."""
    return _DEVICE.sub("", name)


def from_weights(names: Sequence[str]) -> str:
    """The layer that weights belong to, by their names (``layer1.0.conv1.weight``); empty where they do not say."""
    stems = sorted({_LAST.sub("", name) for name in names if _LAST.search(name)}, key=len)
    # Of a bias that torch's exporter has made, `conv1.weight_bias`, the shorter stem is meant.
    if not stems or not all(stem.startswith(stems[0]) for stem in stems):
        return ""
    stem = without_device(stems[0])
    return "" if stem.startswith(("onnx::", "val_")) else stem


def from_scopes(text: str) -> str:
    """The module that a node was, as torch's newer exporter notes it: ``['', 'layer1', 'layer1.0.relu', 'relu_1']``."""
    modules = re.findall(r"'([^']*)'", text[:10_000])
    return modules[-2] if len(modules) > 1 else ""


def from_node(name: str, op: str) -> str:
    """The layer that a node is, by its name; empty where that only counts.

    torch's exporter writes the modules around a node with their own paths, ``/layer1/layer1.0/conv1/Conv``: that is
    ``layer1.0.conv1``.
    """
    parts = [part for part in name.split("/") if part]
    if name.startswith("/") and re.fullmatch(rf"{re.escape(op)}(?:_\d+)?", parts[-1] if parts else ""):
        path: list[str] = []
        for part in parts[:-1]:
            if path and part.startswith(f"{path[-1]}."):
                path.pop()
            path.append(part)
        return ".".join(path)
    return _telling(without_device(name), op)


def of_layer(node: onnx.NodeProto, weights: Sequence[str]) -> str:
    """The name of a node's layer, of which `weights` are the known inputs; empty where nothing tells."""
    scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "")
    own = node.name or next(iter(node.output), "")
    named = from_weights(weights) or from_scopes(scopes) or from_node(own, node.op_type)
    return named if len(named) <= MAX_NAME else ""


def modules_of(names: Sequence[str]) -> set[str]:
    """The names that other names begin with: those of modules, which hold layers."""
    found = set()
    for name in names:
        end = name.find(".")
        while end >= 0:
            found.add(name[:end])
            end = name.find(".", end + 1)
    return found


def _telling(name: str, op: str) -> str:
    """`name`, or nothing where it only counts: n12, 517, Conv_3 of an operator Conv, onnx::Conv_193, node_conv2d_4."""
    counts = rf"(?:[A-Za-z]?|{re.escape(op)})_?\d*"
    return "" if re.fullmatch(counts, name) or name.startswith(("onnx::", "node_", "val_")) else name
