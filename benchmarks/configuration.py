"""One configuration: a network at a batch size, checked against fp64 and timed beside torch."""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import measuring
import torch
import triton
from measuring import Timer, ceilings, machine, on_gpu, poison, set_precision, summary
from peers import torch_network

import cnndsl
from cnndsl.passes.plan import Plan, Step, plan
from cnndsl.runtime.executor import TORCH_TYPES, Network
from cnndsl.runtime.verify import TOLERANCES, relative_error
from cnndsl.tiles import DType

Outputs = dict[str, torch.Tensor]

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")
CHUNK = 16  # pictures at a time in the fp64 reference, whose activations are large


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure. `ceilings` are the machine's, from `measure_ceilings`."""

    network: str
    source: str
    batch: int
    dtype: DType
    device: str
    seed: int
    repetitions: int
    seconds: float
    peers: bool = False
    layers: bool = False
    ceilings: dict[str, float] = field(default_factory=dict)


@dataclass
class Contestant:
    """One way to compute the network: `call` runs it, `outputs` are those of the last call."""

    name: str
    call: Callable[[], object]
    outputs: Callable[[], Outputs]
    facts: dict[str, Any]


def measure_ceilings(dtype: DType, device: str) -> dict[str, Any]:
    """The machine and what it reaches at most in this type."""
    set_precision(dtype)
    timer = Timer.of(torch.device(device))
    return {"machine": machine(timer.device), "ceilings": ceilings(timer, TORCH_TYPES[dtype])}


def measure(request: Request) -> dict[str, Any]:
    """Check and time every contestant; the configuration's entry in the result file."""
    device = torch.device(request.device)
    set_precision(request.dtype)
    torch.manual_seed(request.seed)
    net = cnndsl.compile(request.source, device=device, dtype=request.dtype, seed=request.seed)
    device = net.device
    xs = [
        torch.randn((request.batch, *node.type.torch_shape), device=device).to(net.dtype)
        for node in net.graph.inputs
    ]
    xs = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in xs]
    made = plan(net.groups, target=net.target, dtype=net.compute, batch=request.batch)
    limit = limit_us(made, request)
    macs = sum(step.macs for step in made.steps) * request.batch
    timer = Timer.of(device)
    with torch.inference_mode():
        expected = reference(net, xs)
        contestants = [
            attempt(name, build, net, xs=xs, timer=timer) for name, build in builders(request, device)
        ]
        for contestant in contestants:
            if contestant.facts["status"] == "ok":
                check(contestant, expected, TOLERANCES[request.dtype])
        # A wrong result of ours has no time. A peer's rounding is its own: the error is told beside the time.
        timed = {c.name: c.call for c in contestants if c.facts["status"] == "ok"}
        samples = timer.in_turn(timed, repetitions=request.repetitions, seconds=request.seconds)
        for contestant in contestants:
            if contestant.name in samples:
                result = summary(samples[contestant.name])
                seconds = result["median_us"] / 1e6
                contestant.facts |= result | {
                    "tflops": 2 * macs / seconds / 1e12,
                    "images_per_second": request.batch / seconds,
                    "fraction_of_limit": limit / result["median_us"],
                }
        layers = layer_times(net, xs, timer, made, request) if request.layers else None
    asked = {k: v for k, v in asdict(request).items() if k not in ("ceilings", "source")}
    return {
        **asked, "macs": macs, "limit_us": limit, "launches": sum(len(step.launches) for step in made.steps),
        "contestants": {c.name: c.facts for c in contestants}, "layer_times": layers,
    }  # fmt: skip


# --- the contestants ---------------------------------------------------------------------------------------

Build = Callable[[Network, Sequence[torch.Tensor], Timer], Contestant]


def builders(request: Request, device: torch.device) -> Iterator[tuple[str, Build]]:
    """The contestants of a configuration. CUDA graphs and torch.compile only where there is a GPU."""
    yield "cnndsl", ours
    if on_gpu(device):
        yield "cnndsl graph", ours_graph
    yield "torch", eager
    if on_gpu(device):
        yield "torch graph", eager_graph
        if request.peers:
            yield from ((f"torch.compile {mode}", compiled(mode)) for mode in COMPILE_MODES)


def attempt(
    name: str, build: Build, net: Network, *, xs: Sequence[torch.Tensor], timer: Timer
) -> Contestant:
    """Build a contestant; one that fails has a status that says so, and the others go on."""
    try:
        contestant = build(net, xs, timer)
        contestant.facts["status"] = "ok"
    except Exception:  # noqa: BLE001 - whatever went wrong is recorded
        text = traceback.format_exc(limit=-4)
        return Contestant(name, lambda: None, dict, {"status": "failed", "problem": text})
    return contestant


def ours(net: Network, xs: Sequence[torch.Tensor], timer: Timer) -> Contestant:
    """The compiled network, called as anyone would."""
    kernels = 0

    def listen(*, cache_hit: bool, **_: Any) -> None:
        nonlocal kernels
        kernels += not cache_hit

    memory = net.plan
    sizes = [memory.arena, *(buffer.size for buffer in memory.buffers if buffer.offset is None)]
    poisoned = poison([len(xs[0]) * size for size in sizes if size], net.dtype, timer.device)
    triton.knobs.compilation.listener = listen
    found: list[Outputs] = []
    seconds = timer.first(lambda: found.append(as_dict(net(*xs))))
    triton.knobs.compilation.listener = None
    again = as_dict(net(*xs))
    same = all(torch.equal(found[0][name], again[name]) for name in again)
    facts = {
        "first_call_s": seconds, "kernels_compiled": kernels, "poisoned": poisoned, "same_twice": same,
    }  # fmt: skip
    return Contestant("cnndsl", lambda: net(*xs), lambda: found[0], facts)


def ours_graph(net: Network, xs: Sequence[torch.Tensor], _timer: Timer) -> Contestant:
    return graphed("cnndsl graph", lambda: as_dict(net(*xs)))


def eager(net: Network, xs: Sequence[torch.Tensor], timer: Timer) -> Contestant:
    """torch.nn layers, channels_last, with cuDNN trying its algorithms on the first call."""
    torch.backends.cudnn.benchmark = True
    peer = torch_network(net, xs)
    seconds = timer.first(lambda: peer(*xs))
    return Contestant("torch", lambda: peer(*xs), lambda: peer(*xs), {"first_call_s": seconds})


def eager_graph(net: Network, xs: Sequence[torch.Tensor], timer: Timer) -> Contestant:
    torch.backends.cudnn.benchmark = True
    peer = torch_network(net, xs)
    timer.first(lambda: peer(*xs))
    return graphed("torch graph", lambda: peer(*xs))


def compiled(mode: str) -> Build:
    """torch.compile in one of its modes."""

    def build(net: Network, xs: Sequence[torch.Tensor], timer: Timer) -> Contestant:
        torch.backends.cudnn.benchmark = True
        peer = torch.compile(torch_network(net, xs), mode=mode)
        seconds = timer.first(lambda: peer(*xs))
        name = f"torch.compile {mode}"
        return Contestant(name, lambda: peer(*xs), lambda: peer(*xs), {"first_call_s": seconds})

    return build


def graphed(name: str, call: Callable[[], Outputs]) -> Contestant:
    """A call as a CUDA graph: without the host's work for each kernel."""
    start = time.perf_counter()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = call()

    def replayed() -> Outputs:
        for output in outputs.values():
            output.fill_(float("nan"))
        graph.replay()
        return outputs

    return Contestant(name, graph.replay, replayed, {"first_call_s": time.perf_counter() - start})


def as_dict(result: torch.Tensor | Outputs) -> Outputs:
    return result if isinstance(result, dict) else {"main": result}


# --- what is right -----------------------------------------------------------------------------------------


@contextmanager
def searching(*, on: bool) -> Iterator[None]:
    """cuDNN's search for the fastest algorithm, on or off for a while."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = on
    yield
    torch.backends.cudnn.benchmark = before


def reference(net: Network, xs: Sequence[torch.Tensor]) -> Outputs:
    """The outputs in fp64, a few pictures at a time."""
    chunks = zip(*(x.split(CHUNK) for x in xs), strict=True)
    with searching(on=False):
        parts = [as_dict(net.reference(*(x.double().contiguous() for x in chunk))) for chunk in chunks]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def check(contestant: Contestant, expected: Outputs, tolerance: float) -> None:
    """Compare a contestant's outputs with the reference; NaN anywhere makes the error infinite."""
    outputs = contestant.outputs()
    error = max(relative_error(outputs[name], expected[name]) for name in expected)
    contestant.facts |= {"relative_error": error, "tolerance": tolerance}
    if contestant.name.startswith("cnndsl") and error > tolerance:
        contestant.facts["status"] = "wrong"


# --- the least time that the machine's ceilings allow ------------------------------------------------------


def limit_us(made: Plan, request: Request) -> float:
    """Microseconds for the network, if pooling and normalisation were part of the kernels before them.

    That is the least that kernels can take which compute every product and keep to one layer with products each,
    however these are divided among our kernels.
    """
    graph = made.graph
    outputs = {name for _, name in graph.outputs}
    groups: list[list[Step]] = []
    for step in made.steps:
        before = groups[-1][-1].writes if groups else ()
        follows = step.reads == before and len(graph.users[before[0]]) == 1 and before[0] not in outputs
        if follows and not step.macs:
            groups[-1].append(step)
        else:
            groups.append([step])
    return sum(steps_limit(group, made, request) for group in groups)


def steps_limit(steps: Sequence[Step], made: Plan, request: Request) -> float:
    """Microseconds for steps as one kernel: its inputs, weights and output moved once, or its products computed.

    Whichever takes longer: both go on at the same time.
    """
    if not request.ceilings:
        return 0.0
    graph = made.graph
    inner = {name for step in steps[:-1] for name in step.writes}
    moved = [name for step in steps for name in step.reads if name not in inner]
    values = sum(graph.by_name[name].type.size for name in (*moved, *steps[-1].writes)) * request.batch
    weights = sum(
        weight.size
        for step in steps
        for node in step.group.computed
        if node.op is not None
        for weight in node.op.weights(*graph.types_of(node))
    )
    moving = (values + weights) * TORCH_TYPES[made.dtype].itemsize / request.ceilings["bytes_per_second"]
    multiplying = 2 * sum(step.macs for step in steps) * request.batch / request.ceilings["flops"]
    return max(moving, multiplying) * 1e6


def layer_times(
    net: Network, xs: Sequence[torch.Tensor], timer: Timer, made: Plan, request: Request
) -> list[dict[str, Any]]:
    """Where the time goes: a median for each group of layers, between events that `progress` records.

    On a GPU a few long products are queued first, so that the host gets ahead and the kernels follow one
    another without gaps.
    """
    steps = len(made.steps)
    samples: list[list[float]] = [[] for _ in range(steps)]
    cuda = on_gpu(timer.device)
    side = measuring.MATRIX
    ahead = torch.randn((side, side), device=timer.device).to(net.dtype) if cuda else None
    for _ in range(3 + min(request.repetitions, 50 if cuda else 2)):
        marks: list[Any] = []

        def mark(_done: int, _total: int, _title: str, marks: list[Any] = marks) -> None:
            if cuda:
                event = torch.cuda.Event(enable_timing=True)
                event.record()
                marks.append(event)
            else:
                marks.append(time.perf_counter())

        timer.synchronize()
        if ahead is not None:
            for _ in range(4):
                torch.mm(ahead, ahead)
        net.run(*xs, progress=mark)
        timer.synchronize()
        for number in range(steps):
            first, second = marks[number], marks[number + 1]
            samples[number].append(first.elapsed_time(second) * 1e3 if cuda else (second - first) * 1e6)
    return [
        {
            "layers": step.group.title,
            "kernels": [launch.kernel for launch in step.launches],
            "limit_us": steps_limit([step], made, request),
            **summary(taken[3:]),
        }
        for step, taken in zip(made.steps, samples, strict=True)
    ]
