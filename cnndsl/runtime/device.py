"""Which device runs a network, and Triton set up for it."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Literal

import torch

from cnndsl import targets
from cnndsl.errors import problem
from cnndsl.targets import Target


def choose(device: str | torch.device | None) -> tuple[torch.device, Target]:
    """The device to run on and its target; None or "auto" takes the GPU when there is one.

    Sets Triton up for the device. Raises CnnError (E0601, E0602, E0603).
    """
    _need_triton()
    has_gpu = torch.cuda.is_available()
    if device is None or str(device) == "auto":
        device = "cuda" if has_gpu and not _interpreting() else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise problem("E0602", f"there is no device `{device}`", help=("write cpu, cuda or cuda:1",)) from None
    match chosen.type:
        case "cpu":
            _use_triton(interpreter=True)
            # Without an index: a tensor's device is `cpu`, and `cpu:0` would count as another one.
            return torch.device("cpu"), targets.get("interpreter")
        case "cuda":
            if not has_gpu:
                raise problem(
                    "E0602",
                    "PyTorch finds no GPU here",
                    notes=(f"torch {torch.__version__}, CUDA {torch.version.cuda or 'not built in'}",),
                    help=("--device cpu runs the same kernels in Triton's interpreter",),
                )
            if chosen.index is not None and chosen.index >= torch.cuda.device_count():
                count = torch.cuda.device_count()
                raise problem("E0602", f"there is no GPU {chosen.index}", notes=(f"{count} found, counted from 0",))
            _use_triton(interpreter=False)
            index = chosen.index if chosen.index is not None else torch.cuda.current_device()
            return torch.device("cuda", index), target_of(torch.device("cuda", index))
    raise problem("E0602", f"kernels run on cpu and cuda, not on `{chosen}`")


def set_up(device: torch.device) -> None:
    """Set Triton up for a device that `choose` gave, in another process perhaps.

    On the CPU kernels run in Triton's interpreter, which must be chosen before triton is first imported. Raises
    CnnError (E0601, E0603).
    """
    _need_triton()
    _use_triton(interpreter=device.type == "cpu")


def _need_triton() -> None:
    try:
        found = importlib.util.find_spec("triton") is not None
    except ImportError:
        found = False
    if not found:
        raise problem(
            "E0601",
            "running a network needs Triton, which is not installed",
            notes=("Triton has packages for Linux alone; `check`, `summary` and `inspect` work without it",),
            help=("pip install triton",),
        )


def target_here() -> Target:
    """The target of the current GPU; the interpreter where PyTorch finds none. Raises CnnError (E0602)."""
    if not torch.cuda.is_available():
        return targets.get("interpreter")
    return target_of(torch.device("cuda", torch.cuda.current_device()))


def target_of(device: torch.device) -> Target:
    """The target of a GPU: its own, or the newest older one that its code runs on.

    Raises CnnError (E0602) for a GPU that is too old.
    """
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip is not None:
        name = str(properties.gcnArchName).split(":")[0]
        known = [t for t in targets.TARGETS if t.kind == "hip"]
        return next((t for t in known if t.name == name), known[0])
    capability = 10 * properties.major + properties.minor
    older = [t for t in targets.TARGETS if t.kind == "cuda" and isinstance(t.arch, int) and t.arch <= capability]
    if not older:
        raise problem(
            "E0602",
            f"{properties.name} has compute capability {properties.major}.{properties.minor}; 8.0 is the least",
            help=("Triton's interpreter runs the same kernels on the CPU: --device cpu, --target cpu",),
        )
    return max(older, key=lambda t: int(t.arch or 0))


def _interpreting() -> bool:
    """Whether Triton runs, or will run, in its interpreter in this process."""
    if "triton" in sys.modules:
        return _imported_for_interpreter()
    return os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "yes", "on", "y"}


def _imported_for_interpreter() -> bool:
    # Triton's own helpers were compiled or wrapped when it was first imported; that cannot be changed afterwards.
    import triton.language as tl
    from triton.runtime.interpreter import InterpretedFunction

    return isinstance(tl.cdiv, InterpretedFunction)


def _use_triton(*, interpreter: bool) -> None:
    if "triton" not in sys.modules or _imported_for_interpreter() == interpreter:
        # Read again for every kernel that is defined from now on.
        os.environ["TRITON_INTERPRET"] = "1" if interpreter else "0"
        import triton  # noqa: F401 - so that nobody imports it in the other mode first

        return
    have: Literal["the interpreter", "GPUs"] = "GPUs" if interpreter else "the interpreter"
    raise problem(
        "E0603",
        f"this process has Triton set up for {have} already",
        notes=("Triton chooses between GPU and interpreter when it is first imported, once for a process",),
        help=(
            "set TRITON_INTERPRET=1 before the first import of triton to run on the CPU"
            if interpreter
            else "unset TRITON_INTERPRET and use a new process to run on the GPU",
        ),
    )
