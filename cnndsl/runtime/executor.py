"""The executor: a compiled network as a torch module."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import nn

from cnndsl.codegen.package import Package, package
from cnndsl.codegen.store import write_package
from cnndsl.errors import problem
from cnndsl.files import Program, choose_network, load_path, load_text, split_network
from cnndsl.frontend import load_program
from cnndsl.ir import Graph
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import Groups, fuse
from cnndsl.passes.plan import Plan, plan
from cnndsl.passes.simplify import simplify
from cnndsl.runtime import device as devices
from cnndsl.runtime import parameters
from cnndsl.runtime.inputs import check_inputs
from cnndsl.runtime.packing import pack
from cnndsl.runtime.reference import evaluate
from cnndsl.runtime.replaced import Replacements
from cnndsl.runtime.replaced import read as read_replacements
from cnndsl.runtime.weights import initial_tensors
from cnndsl.targets import Target
from cnndsl.tiles import Aim, DType
from cnndsl.weights.matching import Extra, Match, pair
from cnndsl.weights.reading import open_weights
from cnndsl.weights.stored import Contents, Stored

Progress = Callable[[int, int, str], None]
"""Called with the launches done, all launches, and the layers that come next."""

Outputs = torch.Tensor | dict[str, torch.Tensor]

TORCH_TYPES: Mapping[DType, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}

BATCHES = (1, 16, 128)
"""Batch sizes that tiles are chosen for; a batch uses those of the nearest one, on a logarithmic scale."""


def compile(  # noqa: A001 - the public name, as in torch.compile; torch's compile is never meant here
    source: str | os.PathLike[str],
    *,
    network: str | None = None,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - named after the command line's --set
    device: str | torch.device | None = None,
    dtype: torch.dtype | str = torch.float32,
    weights: str | os.PathLike[str] | Mapping[str, torch.Tensor] | None = None,
    match: Match = "name",
    extra: Extra = "error",
    seed: int = 0,
    kernels: Mapping[str, str | os.PathLike[str]] | None = None,
) -> Network:
    """Compile a network. See `cnndsl.compile`."""
    kind = _dtype(dtype)
    program, name = load_source(source, set)
    graph = elaborate(program, choose_network(program, network or name), set)
    chosen, target = devices.choose(device)
    net = Network(graph, target=target, dtype=kind, device=chosen, kernels=kernels)
    if weights is None:
        net.draw_weights(seed)
    else:
        net.load_weights(weights, match=match, extra=extra)
    return net


def load_source(
    source: str | os.PathLike[str], settings: Mapping[str, Any] | None = None
) -> tuple[Program, str | None]:
    """The program of a path, of ``path:Network``, or of a text; and the network's name where one is given.

    A string that holds a brace or a line end is a text.
    """
    if isinstance(source, str) and ("{" in source or "\n" in source):
        text = source
        return load_program(lambda: load_text(text), settings), None
    path, name = split_network(os.fspath(source))
    return load_program(lambda: load_path(Path(path)), settings), name


_LOCK = threading.RLock()
"""Held while a network is made ready, and while Triton's interpreter runs: it has one state for all threads."""


class Network(parameters.Path):
    """A compiled network: ``net(x)`` launches its kernels.

    x: [n, C, H, W] (or [n, features]) of the network's type, on its device, in any memory format. The result is
    the output tensor, or a dict by name when there are several. Feature maps come back as [n, C, H, W] in
    channels_last memory. Several threads may call one network.

    The kernels read packed weights, made from the state dict in the first call after it has changed: after
    `load_state_dict`, an optimizer's step or ``net.conv1.weight.mul_(2)`` under ``torch.no_grad()``. torch does not
    count changes through ``.data``: after those, call ``net.load_state_dict(net.state_dict())``.

    `graph` is the network as written, `simplified` and `groups` the stages behind it, `plan` its memory and
    launches, `source_path` the Python file that runs, all for one picture, and `drawn` the keys whose values were drawn
    at random.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        target: Target,
        dtype: DType,
        device: torch.device,
        kernels: Mapping[str, str | os.PathLike[str]] | None = None,
    ) -> None:
        super().__init__()
        self.graph: Graph = graph
        self.target: Target = target
        self.compute: DType = dtype
        self.simplified: Graph = simplify(graph)
        self.groups: Groups = fuse(self.simplified, Aim(1, dtype))
        self._fused: dict[int, Groups] = {1: self.groups}
        self.drawn: tuple[str, ...] = ()
        self._device = device
        self._packages: dict[tuple[int, bool], tuple[Package, Path, ModuleType]] = {}
        self._packed: dict[str, torch.Tensor] = {}
        self._watch: parameters.Watch | None = None
        self._replaced = Replacements((), device)
        if kernels:
            self._replaced = read_replacements(kernels, graph, package(self.plan), device=device)
            self._package(1, keep=False)

    # --- weights -----------------------------------------------------------------------------------

    def draw_weights(self, seed: int = 0) -> None:
        """Draw all weights at random (He et al. 2015), the same for the same seed. `drawn` then names them."""
        specs = parameters.specs_of(self.graph)
        tensors = initial_tensors(specs, seed=seed)
        parameters.register(self, tensors, self.graph, device=self._device)
        self.drawn = tuple(specs)

    def load_weights(
        self,
        source: str | os.PathLike[str] | Mapping[str, torch.Tensor],
        *,
        match: Match = "name",
        extra: Extra = "error",
    ) -> tuple[str, ...]:
        """Load weights from a file of any format that `cnndsl weights` reads, or from a state dict.

        `match="order"` pairs tensors by order and shape where names differ. `extra="ignore"` leaves out tensors of
        layers that the network has not, as heads used in training alone. Returns what was done to read them so, in
        sentences. Raises CnnError (E0401 to E0408) that explains every missing, extra and misshapen tensor; the
        weights are then unchanged.
        """
        if match not in get_args(Match):
            hint = 'write match="name" or match="order"'
            raise problem("E0405", f"weights are not matched by {match!r}", help=(hint,))
        if extra not in get_args(Extra):
            raise problem("E0403", f"extra weights are not {extra!r}", help=('write extra="error" or extra="ignore"',))
        if isinstance(source, Mapping):
            shown = "the state dict"
            contents = Contents(shown, {name: Stored.of(tensor) for name, tensor in source.items()})
        else:
            shown = os.fspath(source)
            contents = open_weights(shown, self.graph)
        specs = parameters.specs_of(self.graph)
        pairing = pair(specs, contents.tensors, mode=match, extra=extra, source=shown)
        # A state dict's values are the caller's business: torch carries a NaN as well. A file with one is damaged.
        tensors = pairing.load(shown, check_values=not isinstance(source, Mapping))
        parameters.register(self, tensors, self.graph, device=self._device)
        self.drawn = ()
        return (*contents.notes, *pairing.notes)

    def packed_weights(self) -> dict[str, torch.Tensor]:
        """The tensors that the kernels read, by layer and name ("conv1.weight"), on the network's device.

        Batch norms are folded in; filters are [K, R, S, C], depthwise ones [R, S, K, 1], in the network's type, biases
        in fp32 (`WEIGHTS` in the file at `source_path` has all shapes). Convolutions that share a launch have theirs as
        one ("a+b.weight"). Packed anew when any tensor of the state dict has changed.
        """
        if self._watch is None or not self._watch.unchanged():
            self._packed, self._watch = {}, None  # first, so that old and new never lie in memory together
            watch = parameters.Watch(self)
            tensors = parameters.tensors_of(self, self.graph)
            for groups in self._fused.values():
                pack(groups, tensors, TORCH_TYPES[self.compute], device=self._device, packed=self._packed)
            self._watch = watch
        return self._packed

    # --- running -----------------------------------------------------------------------------------

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        """The outputs for inputs of one batch. Raises CnnError (E0501 to E0505) on inputs that do not fit."""
        return self.run(*inputs)

    def run(self, *inputs: torch.Tensor, progress: Progress | None = None) -> Outputs:
        """As ``net(x)``, calling `progress` before each group of layers and once at the end."""
        outputs, _ = self._launch(inputs, keep=False, progress=progress)
        return outputs["main"] if len(outputs) == 1 else outputs

    def trace(
        self, *inputs: torch.Tensor, progress: Progress | None = None
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """All outputs, and the result of every kernel by the name of the last layer that it computes.

        Every result has memory of its own, so this needs more memory than ``net(x)``.
        """
        return self._launch(inputs, keep=True, progress=progress)

    def reference(self, *inputs: torch.Tensor) -> Outputs:
        """The same network with torch's own operators, in the inputs' type (fp64 for an oracle) on their device."""
        tensors = parameters.tensors_of(self, self.graph)
        check_inputs(self.graph, inputs)
        outputs = evaluate(self.graph, inputs, tensors)
        return outputs["main"] if len(outputs) == 1 else outputs

    def _launch(
        self, inputs: Sequence[torch.Tensor], *, keep: bool, progress: Progress | None
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        n = check_inputs(self.graph, inputs, dtype=TORCH_TYPES[self.compute], device=self._device)
        if n == 0:
            return self._empty(), {}
        with _LOCK:
            _, _, module = self._package(n, keep=keep)
            weights = self.packed_weights()
        # A view can be negative without a value having been touched; kernels read what lies in memory.
        tensors = tuple(x.detach().resolve_neg() for x in inputs)
        with self._running():
            result = module.forward(tensors, weights, progress)
        return result if keep else (result, {})

    @contextmanager
    def _running(self) -> Iterator[None]:
        """What must hold around launches."""
        if self._device.type == "cuda":
            with torch.cuda.device(self._device):
                yield
        else:
            # NaN and infinity are values like others on a GPU, and so in the interpreter, which is made of NumPy.
            with _LOCK, np.errstate(all="ignore"):
                yield

    def _empty(self) -> dict[str, torch.Tensor]:
        return {
            output: torch.empty(
                (0, *self.simplified.by_name[name].type.torch_shape),
                dtype=TORCH_TYPES[self.compute],
                device=self._device,
            )
            for output, name in self.simplified.outputs
        }

    # --- packages ----------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """Memory and launches for a batch of one."""
        return plan(self.groups, target=self.target, dtype=self.compute)

    @property
    def source_path(self) -> Path:
        """The Python file that runs a batch of one."""
        return self._package(1, keep=False)[1]

    @property
    def not_traced(self) -> tuple[str, ...]:
        """Layers with an edited kernel that `trace` computes with the generated one, since it lays values out apart."""
        traced = plan(self.groups, target=self.target, dtype=self.compute, keep=True)
        return tuple(one.layer for one in self._replaced.left_out(traced))

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """The type of its inputs and outputs."""
        return TORCH_TYPES[self.compute]

    def fused_for(self, batch: int) -> Groups:
        """The layers of each kernel where tiles are chosen for a batch; with edited kernels, as for one picture."""
        if self._replaced.kernels:
            return self.groups
        if batch not in self._fused:
            known = {node.name for groups in self._fused.values() for group in groups.groups for node in group.packed}
            self._fused[batch] = fuse(self.simplified, Aim(batch, self.compute))
            if not {node.name for group in self._fused[batch].groups for node in group.packed} <= known:
                self._watch = None  # convolutions share a launch that do not for another batch
        return self._fused[batch]

    def groups_for(self, n: int) -> Groups:
        """The layers of each kernel that n pictures are passed through."""
        return self.fused_for(_planned_for(n))

    def _package(self, n: int, *, keep: bool) -> tuple[Package, Path, ModuleType]:
        batch = _planned_for(n)
        key = (batch, keep)
        if key not in self._packages:
            groups = self.fused_for(batch)
            planned = plan(groups, target=self.target, dtype=self.compute, batch=batch, keep=keep)
            made = package(planned, replaced=self._replaced.texts(planned))
            path = write_package(made)
            devices.set_up(self._device)  # the network may have come from another process
            self._replaced.check(path.parent, planned, n)
            self._packages[key] = (made, path, _import(path))
        else:
            made, path, _ = self._packages[key]
            self._replaced.check(path.parent, made.plan, n)
        return self._packages[key]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Network:  # noqa: FBT001, FBT002 - torch's own signature
        # nn.Module.to, half, cuda and their kin all come through here.
        probe = fn(torch.empty(0, device=self._device))
        if probe.device != self._device or probe.dtype != torch.float32:
            raise problem(
                "E0503",
                "a compiled network stays on its device and in its type",
                notes=(f"it was compiled for {self._device} in {self.compute}",),
                help=('compile it again: cnndsl.compile(source, device="cuda", dtype=torch.float16)',),
            )
        return cast("Network", nn.Module._apply(self, fn, recurse))

    def __getstate__(self) -> dict[str, Any]:
        # Imported packages and packed weights are made again when needed.
        return {**self.__dict__, "_packages": {}, "_packed": {}, "_watch": None}

    def extra_repr(self) -> str:
        """For print(net)."""
        return f"{self.graph.name}, {self.compute} on {self._device}, {len(self.groups.groups)} kernels"


def _planned_for(n: int) -> int:
    """The batch that tiles are chosen for where n pictures are passed."""
    n = max(n, 1)  # no picture at all has a plan too
    return min(BATCHES, key=lambda b: max(b, n) / min(b, n))


def _import(path: Path) -> ModuleType:
    """Import the ``network.py`` of a package, which is not on the path, under a name of its own."""
    name = f"cnndsl_package_{path.parent.name}".replace(".", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, path.with_name("__init__.py"), submodule_search_locations=[str(path.parent)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return importlib.import_module(f"{name}.network")


def _dtype(dtype: torch.dtype | str) -> DType:
    """The compute type: a torch type, or "fp32", "tf32", "fp16", "bf16"."""
    names: dict[object, DType] = {
        **{k: k for k in TORCH_TYPES},
        torch.float32: "fp32",
        torch.float16: "fp16",
        torch.bfloat16: "bf16",
        "float32": "fp32",
        "float16": "fp16",
        "bfloat16": "bf16",
    }
    if isinstance(dtype, (str, torch.dtype)) and dtype in names:
        return names[dtype]
    precise = dtype in (torch.float64, "float64", "fp64", "double", float)
    raise problem(
        "E0604",
        f"networks do not run in {dtype}",
        notes=("net.reference(x.double()) computes in fp64, with torch's operators",) if precise else (),
        help=("fp32, tf32, fp16 and bf16 are there: dtype=torch.float16",),
    )
