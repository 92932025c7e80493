"""cnndsl: a small language for convolutional networks, compiled to fused Triton GPU kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnndsl.errors import CnnError, Diagnostic

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import Literal

    import torch

    from cnndsl.exchange.imported import Imported
    from cnndsl.runtime.executor import Network

__version__ = "0.1.0"
__all__ = ["CnnError", "Diagnostic", "compile", "from_torch"]


def compile(  # noqa: A001 - the public name, as in torch.compile
    source: str | os.PathLike[str],
    *,
    network: str | None = None,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - named after the command line's --set
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    weights: str | os.PathLike[str] | Mapping[str, torch.Tensor] | None = None,
    match: Literal["name", "order"] = "name",
    extra: Literal["error", "ignore"] = "error",
    seed: int = 0,
    kernels: Mapping[str, str | os.PathLike[str]] | None = None,
) -> Network:
    """Compile a ``.cnn`` network to Triton kernels and return it as a `torch.nn.Module`.

    source   path of a ``.cnn`` file, ``path:Network``, or the text of one (recognised by its braces)
    network  which network of the file; not needed when it holds one
    set      values of the network's parameters: ``{"classes": 10}``
    device   "cuda", "cuda:1" or "cpu" (Triton's interpreter); by default the GPU when there is one
    dtype    torch.float32 (the default: IEEE fp32), torch.float16, torch.bfloat16 or "tf32"
    weights  a ``.safetensors``, ``.pt``, ``.pth``, ``.npz``, ``.caffemodel``, ``.onnx`` or Darknet ``.weights`` file,
             or a state dict; by default drawn from `seed`
    match    "name", or "order" to pair tensors by order and shape where names differ
    extra    "error", or "ignore" to leave out weights of layers that the network has not
    kernels  files of edited kernels by layer, as `cnndsl eject` writes them: ``{"conv2": "my_conv.py"}``. Each is
             run, in a process of its own, and compared with torch before the network uses it

    Raises CnnError for every mistake in the file, the weights or the arguments.
    """
    # torch and triton are imported here and not above: `check` and `summary` do without them.
    from cnndsl.runtime import executor

    return executor.compile(
        source,
        network=network,
        set=set,
        device=device,
        dtype="fp32" if dtype is None else dtype,
        weights=weights,
        match=match,
        extra=extra,
        seed=seed,
        kernels=kernels,
    )


def from_torch(
    module: torch.nn.Module, example_input: torch.Tensor | tuple[torch.Tensor, ...], *, name: str | None = None
) -> Imported:
    """Take a torch module as a ``.cnn`` text and its weights.

    module         a module in evaluation mode, built of the language's layers; `torch.export` must be able to follow it
    example_input  a tensor [n, C, H, W] or [n, features], or a tuple of them. Their shapes count, their values do not
    name           the network's name; by default the module's class

    The result has `text`, `weights` (by the text's keys, which are the module's own where its names allow it) and
    `notes`; `compile()` makes it a network that runs, `save("net.cnn")` writes it with ``net.safetensors`` beside it.

    Raises CnnError: E0831 where the module cannot be exported, E0832 naming every operator that is no layer of the
    language.
    """
    from cnndsl.exchange import torch as exchange

    return exchange.from_torch(module, example_input, name=name)
