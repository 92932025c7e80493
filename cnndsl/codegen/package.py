"""A package: one readable Triton source for each distinct kernel of a plan, and the program that launches them.

Kernels whose constants, parameters and grid agree are one kernel, launched by several steps.
"""

from __future__ import annotations

import hashlib
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from cnndsl.codegen import header
from cnndsl.codegen.specialize import Known, Specialized, kernel_sources, specialize
from cnndsl.figures import counted
from cnndsl.ops.binding import Constant, Launch, weight_of
from cnndsl.passes.plan import Plan, Step, variable_of

TRITON_TYPES = {"fp32": "fp32", "tf32": "fp32", "fp16": "fp16", "bf16": "bf16"}
"""The element type of a network's tensors, as Triton writes it."""


@dataclass(frozen=True)
class Parameter:
    """A parameter that a specialised kernel still has.

    name     as in the kernel: "x_ptr", "n", "x_sn".
    type     Triton's: "*fp16", "*fp32", "*bf16", "i32".
    value    of an integer, for the plan's batch size and a contiguous [n, C, H, W] input; None for a pointer.
    aligned  of a pointer: whether it is a multiple of 16 bytes in every launch.
    """

    name: str
    type: str
    value: int | None
    aligned: bool


@dataclass(frozen=True)
class Kernel:
    """One specialised kernel of a package.

    name        its module: ``kernels/<name>.py``.
    function    the ``@triton.jit`` function in it; beside it stands ``launch``.
    source      the whole text of the module.
    digest      of the text below the header.
    parameters  what is left of the kernel's parameters, in order.
    constants   what was folded, derived values too, by name.
    grid        Python expressions over the batch `n` and `cdiv`.
    steps       numbers of the plan's steps that launch it.
    """

    name: str
    function: str
    source: str
    digest: str
    parameters: tuple[Parameter, ...]
    constants: tuple[tuple[str, Known], ...]
    num_warps: int
    num_stages: int
    grid: tuple[str, ...]
    steps: tuple[int, ...]

    @property
    def file(self) -> str:
        """Its place in the package."""
        return f"kernels/{self.name}.py"


@dataclass(frozen=True)
class Package:
    """A plan as Python: kernels, and for each step of the plan the launches (kernel name, arguments by parameter)."""

    plan: Plan
    kernels: tuple[Kernel, ...]
    launches: tuple[tuple[tuple[str, tuple[tuple[str, str], ...]], ...], ...]

    @cached_property
    def network(self) -> str:
        """The text of ``network.py``."""
        from cnndsl.codegen.emit import network_source

        return network_source(self)

    @cached_property
    def files(self) -> Mapping[str, str]:
        """All texts by their place in the package."""
        name = self.plan.graph.name
        return {
            "__init__.py": f'"""{name}, compiled by cnndsl."""\n',
            "network.py": self.network,
            "kernels/__init__.py": f'"""The kernels of {name}."""\n',
            **{kernel.file: kernel.source for kernel in self.kernels},
        }

    @cached_property
    def by_name(self) -> Mapping[str, Kernel]:
        """Kernels by name."""
        return {kernel.name: kernel for kernel in self.kernels}


@dataclass
class _Entry:
    """A kernel while its users are gathered."""

    name: str
    launch: Launch
    text: Specialized
    parameters: tuple[Parameter, ...]
    steps: list[int]
    edited: str | None = None
    """The text of a file that takes the kernel's place."""


def package(plan: Plan, *, replaced: Mapping[int, str] | None = None) -> Package:
    """Specialise every kernel that a plan launches.

    `replaced` holds, by step, texts of modules with a `launch` like that of the step's one kernel, to take its place.
    """
    replaced = replaced or {}
    entries: dict[object, _Entry] = {}
    names, values = Names(plan), _integers(plan)
    launches: list[tuple[tuple[str, tuple[tuple[str, str], ...]], ...]] = []
    for number, step in enumerate(plan.steps):
        of_step = []
        for launch in step.launches:
            known = known_of(launch)
            # By their texts: 0.0 equals -0.0, and 1 equals True.
            key = (launch.module, launch.kernel, repr(known), launch.grid, launch.num_warps, launch.num_stages)
            entry = entries.get(number if number in replaced else key)
            if entry is None:
                text = _specialized(launch.module, launch.kernel, _Constants(repr(known), known))
                name, edited = names.kernel(step, edited=number in replaced), replaced.get(number)
                entry = _Entry(name, launch, text, _parameters(plan, launch, text, values), [], edited)
                entries[number if number in replaced else key] = entry
            else:
                entry.parameters = _common(entry.parameters, _parameters(plan, launch, entry.text, values))
            if number not in entry.steps:
                entry.steps.append(number)
            passed = dict(launch.arguments)
            of_step.append((entry.name, tuple((p.name, passed[p.name]) for p in entry.parameters)))
        launches.append(tuple(of_step))
    return Package(plan, tuple(_kernel(plan, entry) for entry in entries.values()), tuple(launches))


@dataclass(frozen=True)
class _Constants:
    """What is known of a launch, told apart by its text."""

    text: str
    values: Mapping[str, Known] = field(compare=False)


@lru_cache(maxsize=1024)
def _specialized(module: str, kernel: str, known: _Constants) -> Specialized:
    """Kept: networks share layers, and a network's batch sizes share many."""
    return specialize(kernel_sources(), module, kernel, known.values)


def known_of(launch: Launch) -> dict[str, Known]:
    """The parameters of a launch whose values the plan knows: constants, strides of buffers, absent pointers."""
    known: dict[str, Known] = {}
    for name, expression in launch.arguments:
        if expression == "None":
            known[name] = None
        elif re.fullmatch(r"-?\d+", expression):
            known[name] = int(expression)
    return known | dict(launch.constants)


def _kernel(plan: Plan, entry: _Entry) -> Kernel:
    launch = entry.launch
    body = f"{entry.text.text.rstrip()}\n\n\n{_launcher(launch, entry.text, entry.parameters)}"
    digest = hashlib.sha256((entry.edited or body).encode()).hexdigest()[:16]
    text = header.kernel(
        plan, entry.steps, launch, constants=entry.text.constants, digest=digest, parameters=entry.parameters
    )
    return Kernel(
        entry.name, launch.kernel, entry.edited or f"{text}\n{body}", digest, entry.parameters, entry.text.constants,
        launch.num_warps, launch.num_stages, launch.grid, tuple(entry.steps),
    )


def _launcher(launch: Launch, text: Specialized, parameters: tuple[Parameter, ...]) -> str:
    """The host function beside a kernel."""
    names = [host_name(p.name) for p in parameters]
    axes = [_plain(axis) for axis in launch.grid]
    grid = ", ".join(axis.replace("cdiv(", "triton.cdiv(") for axis in axes)
    grid += "," if len(launch.grid) == 1 else ""
    warps = counted(launch.num_warps, "warp")
    # Products and sums may be contracted to one rounding, as in cuDNN; said aloud since Triton's default may change.
    options = [f"num_warps={launch.num_warps}", f"num_stages={launch.num_stages}", "enable_fp_fusion=True"]
    return "\n".join([
        *header.wrapped("def launch(", names, "):"),
        f'    """Launch it for n pictures: {programs(launch.grid)} programs of {warps}."""',
        f"    grid = ({grid})",
        *header.wrapped(f"    {text.kernel}[grid](", [*names, *options], ")"),
        "",
    ])


def programs(grid: Sequence[str]) -> str:
    """How many programs a grid has, as a product without factors that are 1."""
    return " x ".join(axis for axis in map(_plain, grid) if axis != "1") or "1"


def _plain(axis: str) -> str:
    """A grid's expression without divisions and multiplications by 1."""
    axis = re.sub(r"\bn \* 1(?=[,)])", "n", axis)
    return re.sub(r"cdiv\(([^(),]+), 1\)", r"\1", axis).removesuffix(" * 1")


def host_name(parameter: str) -> str:
    """A kernel's parameter as the host calls it: a tensor, not a pointer."""
    return parameter.removesuffix("_ptr")


def _parameters(
    plan: Plan, launch: Launch, text: Specialized, integers: Mapping[str, int]
) -> tuple[Parameter, ...]:
    passed = dict(launch.arguments)
    return tuple(_parameter(plan, name, passed[name], integers) for name in text.parameters)


def _parameter(plan: Plan, name: str, expression: str, integers: Mapping[str, int]) -> Parameter:
    if not name.endswith("_ptr"):
        return Parameter(name, "i32", integers[expression], aligned=False)
    element = TRITON_TYPES[plan.dtype]
    weight = weight_of(expression)
    if weight is not None and not weight.endswith(".weight"):
        element = "fp32"  # as the executor packs them
    offset = re.fullmatch(r"\w+\[(\d+):\]", expression)
    size = 4 if element == "fp32" else 2
    return Parameter(name, f"*{element}", None, aligned=offset is None or int(offset[1]) * size % 16 == 0)


def _integers(plan: Plan) -> dict[str, int]:
    """The integer arguments that stay, for the plan's batch and contiguous inputs."""
    values = {"n": plan.batch}
    for node in plan.graph.inputs:
        variable, type_ = variable_of(node.name), node.type
        pixels = type_.height * type_.width
        strides = {"n": type_.size, "c": pixels, "h": type_.width, "w": 1} if type_.is_map else {
            "n": type_.size, "c": 1, "h": 0, "w": 0,
        }
        values |= {f"s{axis}_{variable}": stride for axis, stride in strides.items()}
    return values


def _common(first: tuple[Parameter, ...], second: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """Parameters that two launches agree on; a pointer is aligned when it is in both."""
    pairs = zip(first, second, strict=True)
    return tuple(Parameter(a.name, a.type, a.value, aligned=a.aligned and b.aligned) for a, b in pairs)


# --- names ---------------------------------------------------------------------------------------------------


class Names:
    """Python names for a plan's inputs and kernels, none of which shadows another or what ``network.py`` uses."""

    TAKEN = frozenset({
        *keyword.kwlist, "torch", "n", "inputs", "weights", "progress", "report", "reporter", "outputs", "values",
        "arena", "device", "forward", "run", "parts", "part", "name", "starts", "step", "kernels", "network", "launch",
        "main", "is_wide", "joined", "range", "tuple", "zip", "sum", "len", "none", "true", "false",
    })  # fmt: skip

    def __init__(self, plan: Plan) -> None:
        # File systems may not tell capitals apart.
        self._taken = {*self.TAKEN, *(buffer.name for buffer in plan.buffers)}
        self.inputs = {node.name: self._new(node.name, "", "_sn", "_sc", "_sh", "_sw") for node in plan.graph.inputs}

    def kernel(self, step: Step, *, edited: bool = False) -> str:
        """A new name for a kernel first launched by a step."""
        return self._new(step.group.nodes[0].name + ("_edited" if edited else ""))

    def _new(self, name: str, *endings: str) -> str:
        """A name such that it, and it with each ending, is new."""
        word = re.sub(r"\W+", "_", name.replace(".", "_"), flags=re.ASCII)[:60]
        if not re.match(r"[A-Za-z]", word):
            word = f"layer_{word.lstrip('_')}"
        for candidate in (f"{word}_{i}" if i else word for i in range(10**6)):
            wanted = {candidate.lower() + ending for ending in (endings or ("",))}
            if not wanted & self._taken:
                self._taken |= wanted
                return candidate
        raise AssertionError


__all__ = ["Constant", "Kernel", "Names", "Package", "Parameter", "host_name", "known_of", "package", "programs"]
