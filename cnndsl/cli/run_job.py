"""The work of ``cnndsl run``: read, compile, run, verify, save. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from cnndsl.cli import run_inputs, run_results, terminal
from cnndsl.cli.progress import Progress
from cnndsl.errors import listed, problem
from cnndsl.figures import counted
from cnndsl.ir import Graph
from cnndsl.runtime import device as devices
from cnndsl.runtime.executor import Network
from cnndsl.runtime.tensors import load_labels, save_outputs
from cnndsl.runtime.verify import Check, compare_outputs, verify
from cnndsl.tiles import DType


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line's options, under their names."""

    inputs: tuple[str, ...]
    weights: str | None
    match: Literal["name", "order"]
    device: str
    dtype: DType
    batch: int | None
    top: int
    labels: str | None
    seed: int
    verify: bool
    verify_layers: bool
    save: str | None
    kernels: Mapping[str, str] = field(default_factory=dict)
    allow_extra: bool = False


@dataclass(frozen=True)
class Result:
    """All that a run gave."""

    net: Network
    options: Options
    outputs: tuple[run_results.Output, ...]
    checks: tuple[Check, ...]
    random_input: bool
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every comparison held."""
        return all(check.ok for check in self.checks)

    def to_text(self, width: int | None) -> Iterator[str]:
        """The lines for a terminal."""
        yield from run_results.to_text(self.outputs, width)
        if self.checks:
            yield ""
            yield from run_results.verification(self.checks, width)

    def to_json(self) -> dict[str, Any]:
        """The same for tools."""
        return {
            "network": self.net.graph.name,
            "settings": dict(self.net.graph.settings),
            "device": str(self.net.device),
            "target": self.net.target.name,
            "dtype": self.options.dtype,
            "seed": self.options.seed,
            "weights": self.options.weights,
            "drawn_weights": len(self.net.drawn),
            "kernels": dict(self.options.kernels),
            "random_input": self.random_input,
            "seconds": round(self.seconds, 6),
            "outputs": [run_results.to_json(output) for output in self.outputs],
            "verify": [run_results.check_json(check) for check in self.checks],
            "saved": self.options.save,
        }


def run(graph: Graph, options: Options, progress: Progress) -> Result:
    """Do the whole of it. Raises CnnError, also where memory is used up (E0605)."""
    try:
        return _run(graph, options, progress)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        hints = ("run fewer pictures at a time: --batch 1", "--dtype fp16 needs half of it")
        raise problem("E0605", "memory is used up", help=hints) from None


def _run(graph: Graph, options: Options, progress: Progress) -> Result:
    labels = _labels(graph, options)
    progress.phase("reading the input" if options.inputs else "drawing an input")
    if options.inputs:
        batch = run_inputs.read(graph, options.inputs)
    else:
        batch = run_inputs.draw(graph, options.batch or 1, options.seed)
        many = counted(batch.size, "random input")
        progress.say(f"no INPUT is given: {many} drawn from seed {options.seed}")
    net = _network(graph, options, progress)
    started = time.perf_counter()
    outputs, checks, seconds = _run_in_parts(net, batch, options, progress)
    _tell(net, batch, progress, seconds=seconds, total=time.perf_counter() - started)
    if options.save is not None:
        progress.phase("saving")
        save_outputs(options.save, outputs)
        progress.say(f"outputs written to {options.save}")
    found = run_results.gather(graph, outputs, batch.names, top=options.top, labels=labels)
    for output in found:
        bad = sum(p.not_finite for p in output.pictures)
        if bad:
            values = counted(bad, "value")
            progress.say(f"warning: output `{output.name}` holds {values} not finite (NaN or infinite)")
    return Result(net, options, found, checks, batch.is_random, seconds)


def _labels(graph: Graph, options: Options) -> list[str] | None:
    if options.labels is None:
        return None
    type_ = graph.by_name[dict(graph.outputs)["main"]].type
    if not run_results.is_vector(type_):
        raise problem("E0414", f"--labels names classes, but the network's output is a feature map {type_}")
    return load_labels(options.labels, classes=type_.size)


def _network(graph: Graph, options: Options, progress: Progress) -> Network:
    progress.phase("compiling")
    device, target = devices.choose(options.device)
    if options.kernels:
        progress.phase("comparing edited kernels with torch")
    net = Network(graph, target=target, dtype=options.dtype, device=device, kernels=options.kernels)
    if options.kernels:
        progress.say(f"edited kernels, each compared with torch: {listed(list(options.kernels))}")
    if options.weights is not None:
        progress.phase("loading weights")
        extra: Literal["error", "ignore"] = "ignore" if options.allow_extra else "error"
        for note in net.load_weights(options.weights, match=options.match, extra=extra):
            progress.say(f"{options.weights}: {terminal.in_cell(note)}")
    else:
        progress.phase("drawing weights")
        net.draw_weights(options.seed)
        if net.drawn:
            tensors = counted(len(net.drawn), "tensor")
            progress.say(f"no --weights are given: {tensors} drawn from seed {options.seed}")
    return net


def _run_in_parts(
    net: Network, batch: run_inputs.Batch, options: Options, progress: Progress
) -> tuple[dict[str, torch.Tensor], tuple[Check, ...], float]:
    """The outputs of all pictures, the worst of each comparison, and the seconds that running took."""
    size = options.batch or batch.size
    parts: list[dict[str, torch.Tensor]] = []
    worst: dict[tuple[str, str], Check] = {}
    seconds = 0.0
    for start in range(0, batch.size, size):
        inputs = tuple(x[start : start + size].to(net.device, net.dtype) for x in batch.tensors)
        progress.phase("running")
        begun = time.perf_counter()
        result = net.run(*inputs, progress=progress.step)
        outputs = result if isinstance(result, dict) else {"main": result}
        _wait(net)
        seconds += time.perf_counter() - begun
        parts.append({name: y.cpu() for name, y in outputs.items()})
        for check in _compare(net, inputs, outputs, options=options, progress=progress):
            key = (check.kind, check.name)
            if key not in worst or not check.error <= worst[key].error:
                worst[key] = check
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return joined, tuple(worst.values()), seconds


def _compare(
    net: Network,
    inputs: tuple[torch.Tensor, ...],
    outputs: dict[str, torch.Tensor],
    *,
    options: Options,
    progress: Progress,
) -> tuple[Check, ...]:
    checks: tuple[Check, ...] = ()
    if options.verify_layers:
        # A second run, with memory of its own for every layer; the outputs compared below are the first's.
        progress.phase("running layer by layer")
        if net.not_traced:
            layers = listed(net.not_traced)
            kernel = "by the generated kernel, not the edited one"
            progress.say(f"layer by layer, values lie apart: there {layers} {kernel}")
        found = verify(net, inputs, layers=True, progress=progress.step)
        checks = tuple(check for check in found if check.kind == "layer")
    if options.verify or options.verify_layers:
        progress.phase("comparing with torch in fp64")
        checks += compare_outputs(net, inputs, outputs)
    return checks


def _wait(net: Network) -> None:
    if net.device.type == "cuda":
        torch.cuda.synchronize(net.device)


def _tell(net: Network, batch: run_inputs.Batch, progress: Progress, *, seconds: float, total: float) -> None:
    where = "Triton's interpreter on the CPU" if net.target.kind == "interpreter" else str(net.device)
    verified = f", {total:.1f} s with verification" if total > 2 * seconds else ""
    pictures = counted(batch.size, "picture")
    progress.say(f"{net.graph.name} in {net.compute} by {where}: {pictures} in {seconds:.2f} s{verified}")


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory was used up: torch has a type of its own for GPUs alone."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
