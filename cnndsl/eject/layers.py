"""Which step of a plan a layer's name stands for."""

from __future__ import annotations

from collections.abc import Iterable

from cnndsl.errors import did_you_mean, listed, problem
from cnndsl.linemap import Layer, LineMap


def step_of(lines: LineMap, name: str) -> int:
    """The step of the layer, or of the kernel, of a name.

    Raises CnnError (E0707) where there is none, and (E0623) where no kernel, or several, compute it.
    """
    layers = {layer.name: layer for layer in lines.layers}
    if name in layers:
        return only_step(name, [layers[name]])
    kernels = {kernel.name: kernel for kernel in lines.kernels}
    if name in kernels and len(kernels[name].steps) == 1:
        (step,) = kernels[name].steps
        return step
    if name in kernels:
        raise problem(
            "E0623", f"several layers share the kernel {name}",
            help=(f"name one of them: {listed(kernels[name].layers)}",),
        )
    guess = did_you_mean(name, [*layers, *kernels])
    known = [layer.name for layer in lines.layers if layer.uses]
    hint = f"did you mean `{guess}`?" if guess is not None else f"layers with a kernel are {listed(known)}"
    raise problem("E0707", f"there is no layer `{name}`", help=(hint,))


def only_step(said: str, layers: Iterable[Layer]) -> int:
    """The one step that computes these layers. `said` names them in messages. Raises CnnError (E0623)."""
    found = list(layers)
    steps = list(dict.fromkeys(use.step for layer in found for use in layer.uses))
    if len(steps) == 1:
        return steps[0]
    if not steps:
        raise problem("E0623", f"{said} has no kernel of its own", notes=[_why(layer) for layer in found])
    names = [layer.name for layer in found if layer.uses]
    hint = (f"name one of its layers: {listed(names)}",) if len(names) > 1 else ()
    raise problem("E0623", f"{said} is not one kernel: {len(steps)} launches compute it", help=hint)


def _why(layer: Layer) -> str:
    return f"{layer.name} ({layer.op}): {layer.why}"
