"""From the INPUTs of a command line to tensors. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from cnndsl.errors import problem
from cnndsl.figures import counted
from cnndsl.ir import Graph, Node
from cnndsl.runtime.pictures import load_picture
from cnndsl.runtime.tensors import SUFFIXES, as_batch, load_tensor


@dataclass(frozen=True)
class Batch:
    """A tensor for each input, [n, C, H, W] or [n, features] in fp32, and the names of the n pictures."""

    tensors: tuple[torch.Tensor, ...]
    names: tuple[str, ...]
    is_random: bool = False

    @property
    def size(self) -> int:
        """The number of pictures."""
        return len(self.names)


def read(graph: Graph, given: Sequence[str]) -> Batch:
    """The pictures and tensors of files, those of one input joined to a batch. Raises CnnError."""
    by_input = _by_input(graph.inputs, given)
    read_ = [[_load(path, node) for path in by_input[node.name]] for node in graph.inputs]
    tensors = tuple(torch.cat(parts) for parts in read_)
    sizes = {node.name: len(x) for node, x in zip(graph.inputs, tensors, strict=True)}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"`{name}` has {size}" for name, size in sizes.items())
        raise problem("E0413", f"the inputs have different numbers of pictures: {listed}")
    first = zip(by_input[graph.inputs[0].name], read_[0], strict=True)
    return Batch(tensors, tuple(name for path, part in first for name in _numbered(path, len(part))))


def draw(graph: Graph, batch: int, seed: int) -> Batch:
    """Random inputs from the standard normal distribution, as a normalised picture's values have."""
    generator = torch.Generator().manual_seed(seed)
    tensors = tuple(torch.randn(batch, *node.type.torch_shape, generator=generator) for node in graph.inputs)
    return Batch(tensors, _numbered("random input", batch), is_random=True)


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return (name,) if count == 1 else tuple(f"{name}[{i}]" for i in range(count))


def _by_input(nodes: Sequence[Node], given: Sequence[str]) -> dict[str, list[str]]:
    """The paths for each input: ``path``, or ``name=path`` where there are several. Raises CnnError E0702."""
    names = [node.name for node in nodes]
    listed = ", ".join(f"{node.name} {node.type}" for node in nodes)
    found: dict[str, list[str]] = {name: [] for name in names}
    for text in given:
        name, equals, path = text.partition("=")
        if equals and name in found and not Path(text).exists():
            found[name].append(path)
        elif len(nodes) == 1:
            found[names[0]].append(text)
        else:
            raise problem(
                "E0702",
                f"the network has {len(nodes)} inputs ({listed}); which one is {text}?",
                help=(f"write {' '.join(f'{n}=FILE' for n in names)}",),
            )
    missing = [name for name, paths in found.items() if not paths]
    if missing:
        raise problem(
            "E0702",
            f"no file is given for {counted(len(missing), 'input')} of the network: {', '.join(missing)}",
            help=(f"write {' '.join(f'{n}=FILE' for n in names)}",),
        )
    return found


def _load(path: str, node: Node) -> torch.Tensor:
    """One file as [n, C, H, W] or [n, features] in fp32."""
    if Path(path).suffix.lower() in SUFFIXES:
        tensor = load_tensor(path, key=node.name)
        return as_batch(tensor, shape=node.type.shape, name=node.name, source=path).float()
    if not node.type.is_map:
        raise problem(
            "E0415",
            f"input `{node.name}` is a vector {node.type}, which no picture becomes",
            help=(f"give it as a tensor ({', '.join(SUFFIXES)})",),
        )
    height, width, channels = node.type.shape
    assert node.spec is not None
    return load_picture(path, shape=(height, width, channels), **asdict(node.spec)).unsqueeze(0)
