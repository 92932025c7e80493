"""What an import gives: the text of a ``.cnn`` file and the weights that go with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnndsl.errors import problem
from cnndsl.exchange import write
from cnndsl.writing import write_file

if TYPE_CHECKING:
    import torch

    from cnndsl.exchange.model import Model
    from cnndsl.runtime.executor import Network


@dataclass(frozen=True)
class Imported:
    """A network that came from elsewhere.

    `text` is that of a ``.cnn`` file, `weights` are by its keys and in torch's layout (empty where the network came
    without), and `notes` say what could not be kept as it was, and what was assumed.
    """

    name: str
    text: str
    weights: Mapping[str, torch.Tensor]
    notes: tuple[str, ...] = ()

    def compile(self, **options: Any) -> Network:
        """The network, ready to run; `options` are those of `cnndsl.compile`. Raises CnnError."""
        import cnndsl

        options.setdefault("weights", self.weights or None)
        return cnndsl.compile(self.text, **options)

    def save(self, path: str | Path, *, force: bool = False) -> tuple[Path, ...]:
        """Write the text to `path`, and the weights beside it as ``.safetensors``; returns the files.

        Raises CnnError E0421 where a file cannot be written, or is there already and `force` is not given.
        """
        from cnndsl.weights.saving import write_safetensors

        path = Path(path)
        if path.suffix.lower() != ".cnn":
            raise problem("E0421", f"cannot write {path}: a network's file ends in .cnn", help=("as in net.cnn",))
        beside = path.with_suffix(".safetensors")
        made = (path, beside) if self.weights else (path,)
        for file in made:
            if os.path.exists(file) and not force:
                raise problem("E0421", f"cannot write {file}: it is there already", help=(
                    "remove it, or write over it with force=True",))  # fmt: skip
        if self.weights:  # before the text, which without them is no network
            write_safetensors(beside, self.weights)
        write_file(path, self.text.encode())
        return made


def imported(model: Model) -> Imported:
    """A model as text and weights by the text's keys."""
    written = write.write(model)
    return Imported(written.graph.name, written.text, written.weights, model.notes)
