"""torch modules, through torch.export and torch.compile."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cnndsl.exchange.imported import Imported


def from_torch(
    module: torch.nn.Module, example_input: torch.Tensor | tuple[torch.Tensor, ...], *, name: str | None = None
) -> Imported:
    """A module as a ``.cnn`` text and its weights; see `cnndsl.from_torch`."""
    from cnndsl.exchange.imported import imported
    from cnndsl.exchange.torch.export import read_module

    return imported(read_module(module, example_input, name=name))
