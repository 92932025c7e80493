"""Choose the kernels that fit this machine, load the weights, and run the network."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from .about import About, Target, read_about
from .mistakes import Mistake, Unfit, Unreadable, reason_of
from .precompiled import hand_over
from .tensors import read_safetensors, regular_file

FOLDER = Path(__file__).resolve().parent.parent
"""The folder with `about.json`, the weights, and one folder of kernels for each target."""

Progress = Callable[[int, int, str], None]
"""Called with the launches done, all launches, and the layers that come next."""

_LOCK = threading.RLock()
"""Held while Triton's interpreter runs: it has one state for all threads."""


def load(device: str | torch.device | None = None) -> Network:
    """The network on a device: "cpu" (Triton's interpreter), "cuda", "cuda:1"; None takes a GPU where one fits.

    Raises Mistake where the device, torch, Triton or the files in this folder do not allow it.
    """
    about = read_about(FOLDER)
    chosen, target, note = choose(about, device)
    if note is not None:
        warnings.warn(note, stacklevel=2)
    return Network(about, target, chosen)


class Network:
    """The network, ready to run: ``net(x)`` launches its kernels.

    x: [n, C, H, W] (or [n, features]) of `dtype` on `device`, one for each input, in any memory format. The result is
    the output tensor, or a dict by name when there are several.
    """

    def __init__(self, about: About, target: Target, device: torch.device, *, folder: Path = FOLDER) -> None:
        set_up_triton(interpreter=target.kind == "interpreter")
        self.about = about
        self.target = target
        self.device = device
        # This module is `<the folder's package>.runtime.loading`.
        root = (__package__ or "").rpartition(".")[0]
        self._program = importlib.import_module(f"{root}.{target.name}.network")
        self.dtype: torch.dtype = self._program.DTYPE
        self._weights = _weights(folder / "weights.safetensors", self._program.WEIGHTS, self.dtype, device=device)
        self.precompiled = hand_over(folder / target.name / "binaries") if target.kind != "interpreter" else 0

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """The output for inputs of one batch, or the outputs by name. Raises Unfit on inputs that do not fit."""
        outputs = self.run(*inputs)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def run(self, *inputs: torch.Tensor, progress: Progress | None = None) -> dict[str, torch.Tensor]:
        """All outputs by name, calling `progress` before each group of layers and once at the end."""
        n = self._check(inputs)
        if n == 0:
            outputs = self.about.outputs
            return {o.name: torch.empty(0, *o.torch_shape, dtype=self.dtype, device=self.device) for o in outputs}
        # A view can be negative without a value having been touched; kernels read what lies in memory.
        tensors = tuple(x.detach().resolve_neg() for x in inputs)
        with self._running():
            result: dict[str, torch.Tensor] = self._program.forward(tensors, self._weights, progress)
        return result

    def _check(self, inputs: Sequence[torch.Tensor]) -> int:
        """The batch size of inputs that suit the network."""
        wanted = self.about.inputs
        if len(inputs) != len(wanted):
            shown = ", ".join(f"{each.name} {each.shown}" for each in wanted)
            raise Unfit(f"{self.about.network} takes {len(wanted)} inputs ({shown}), got {len(inputs)}")
        for x, each in zip(inputs, wanted, strict=True):
            if not isinstance(x, torch.Tensor) or x.is_nested or x.layout != torch.strided:
                raise Unfit(f"input `{each.name}` must be a dense torch tensor")
            if tuple(x.shape[1:]) != each.torch_shape or x.ndim == 0:
                raise Unfit(f"input `{each.name}` is {each.shown}, got {list(x.shape)}")
            if x.dtype != self.dtype or x.device != self.device:
                have, need = f"{x.dtype} on {x.device}", f"{self.dtype} on {self.device}"
                way = "pass x.to(net.device, net.dtype)"
                raise Unfit(f"input `{each.name}` is {have}, the network is {need}", help=(way,))
        if len({len(x) for x in inputs}) > 1:
            raise Unfit(f"the inputs have different batch sizes: {[len(x) for x in inputs]}")
        return len(inputs[0])

    @contextmanager
    def _running(self) -> Iterator[None]:
        """What must hold around launches."""
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                yield
        elif self.target.kind == "interpreter":
            import numpy as np

            # NaN and infinity are values like others on a GPU, and so in the interpreter, which is made of NumPy.
            with _LOCK, np.errstate(all="ignore"):
                yield
        else:
            yield


def _weights(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, *, device: torch.device
) -> dict[str, torch.Tensor]:
    """The packed weights, which must be those that the kernels read."""
    regular_file(path, "weights")
    try:
        found, _ = read_safetensors(path)
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot read the weights {path}: {reason_of(error)}") from None
    for name, shape in shapes.items():
        want = dtype if name.endswith(".weight") else torch.float32
        if name not in found:
            raise Unfit(f"{path} lacks `{name}`: it belongs to another network")
        if tuple(found[name].shape) != tuple(shape) or found[name].dtype != want:
            have = f"{list(found[name].shape)} in {found[name].dtype}"
            raise Unfit(f"`{name}` of {path} is {have}, but the kernels read {list(shape)} in {want}")
    return {name: found[name].to(device) for name in shapes}


# --- devices ---------------------------------------------------------------------------------------


def choose(about: About, device: str | torch.device | None) -> tuple[torch.device, Target, str | None]:
    """The device to run on, the target whose kernels it runs, and what to tell the user of that choice.

    Raises Mistake where there is no such device, or no kernels for it.
    """
    interpreter = next(t for t in about.targets if t.kind == "interpreter")
    if device is None or str(device) == "auto":
        if not torch.cuda.is_available() or _wants_interpreter():
            return torch.device("cpu"), interpreter, None
        index = torch.cuda.current_device()
        target, reason = _target_of(about, index)
        if target is None:
            return torch.device("cpu"), interpreter, f"{reason}; running in Triton's interpreter on the CPU"
        return torch.device("cuda", index), target, None
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise Mistake(f"there is no device `{device}`", help=("write cpu, cuda or cuda:1",)) from None
    if chosen.type == "cpu":
        return torch.device("cpu"), interpreter, None
    if chosen.type != "cuda":
        raise Mistake(f"kernels run on cpu and cuda, not on `{chosen}`")
    if not torch.cuda.is_available():
        raise Mistake("PyTorch finds no GPU here", help=("the CPU runs the same network: --device cpu",))
    index = chosen.index if chosen.index is not None else torch.cuda.current_device()
    if index >= torch.cuda.device_count():
        raise Mistake(f"there is no GPU {index}: {torch.cuda.device_count()} found, counted from 0")
    target, reason = _target_of(about, index)
    if target is None:
        raise Mistake(reason, help=("the CPU runs the same network: --device cpu",))
    return torch.device("cuda", index), target, None


def _target_of(about: About, index: int) -> tuple[Target | None, str]:
    """The newest target whose kernels a GPU runs; or None, and why there is none."""
    properties = torch.cuda.get_device_properties(index)
    if torch.version.hip is not None:
        name = str(properties.gcnArchName).split(":")[0]
        fitting = [t for t in about.targets if t.kind == "hip" and t.name == name]
    else:
        capability = 10 * properties.major + properties.minor
        name = f"sm_{capability}"
        # An older target's kernels run on newer GPUs, but for those that lack the shared memory which they take.
        shared = getattr(properties, "shared_memory_per_block_optin", math.inf)
        fitting = [
            t for t in about.targets
            if t.kind == "cuda" and isinstance(t.arch, int) and t.arch <= capability and t.shared_memory_bytes <= shared
        ]  # fmt: skip
    if fitting:
        return max(fitting, key=lambda t: str(t.arch).zfill(8)), ""
    built = ", ".join(t.name for t in about.targets)
    return None, f"this folder has kernels for {built}, and none for the {properties.name} ({name}) here"


def set_up_triton(*, interpreter: bool) -> None:
    """Import Triton for the interpreter or for GPUs, which it decides for a whole process. Raises Mistake."""
    if interpreter:
        _need("numpy", "Triton's interpreter")
    _need("triton", "the network")
    if "triton" in sys.modules and _imported_for_interpreter() != interpreter:
        have = "GPUs" if interpreter else "the interpreter"
        way = "set TRITON_INTERPRET=1 before the first import of triton" if interpreter else "unset TRITON_INTERPRET"
        raise Mistake(f"this process has Triton set up for {have} already", help=(way,))
    # Read when triton is first imported, and again for every kernel that is defined from now on.
    os.environ["TRITON_INTERPRET"] = "1" if interpreter else "0"
    import triton  # noqa: F401 - so that nobody imports it in the other mode first


def _need(module: str, user: str) -> None:
    found = None
    with suppress(ImportError, ValueError):
        found = importlib.util.find_spec(module)
    if found is None:
        raise Mistake(f"{user} needs {module}, which is not installed", help=(f"pip install {module}",))


def _wants_interpreter() -> bool:
    """Whether Triton runs, or will run, in its interpreter in this process."""
    if "triton" in sys.modules:
        return _imported_for_interpreter()
    return os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "yes", "on", "y"}


def _imported_for_interpreter() -> bool:
    # Triton's own helpers were compiled or wrapped when it was first imported; that cannot be changed afterwards.
    import triton.language as tl
    from triton.runtime.interpreter import InterpretedFunction

    wrapped: Any = tl.cdiv
    return isinstance(wrapped, InterpretedFunction)
