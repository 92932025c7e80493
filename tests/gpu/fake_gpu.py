"""A GPU that is not there: Triton's own launch path, up to the launch itself.

`FakeGpu` is a driver for Triton that says it has a GPU of a given architecture. A kernel launched as
``kernel[grid](...)`` then goes through the code that runs on a machine with that GPU: arguments are bound,
specialised (a 1 becomes a constant, multiples of 16 are known to be such) and, where asked for, compiled. In
place of the launch stands a check of what the driver would be handed, and a record of it. Tensors may live on
torch's "meta" device, which takes no memory: networks of any batch size can be walked through.

To be used in a process of its own: nothing can be compiled where triton was imported for the interpreter.
"""

import itertools
import os

os.environ.pop("TRITON_INTERPRET", None)

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
import triton.compiler
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from cnndsl.targets import Target

GRID_LIMITS = (2**31 - 1, 65535, 65535)  # of CUDA, per axis
POINTERS = {"*fp32": torch.float32, "*fp16": torch.float16, "*bf16": torch.bfloat16}
REAL_COMPILE = triton.compiler.compile
DEVICES = itertools.count()
INTEGERS = {"i32": (-(2**31), 2**31 - 1), "i64": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True)
class Launch:
    """One launch that did not happen. `spec` is what decides the machine code, `arguments` are by name."""

    spec: "Spec"
    grid: tuple[int, int, int]
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Spec:
    """A kernel with all that the compiler is told about its arguments.

    signature    a type, or "constexpr", by parameter
    constants    value by position of the parameter; None for an absent pointer
    attributes   by position: [["tt.divisibility", 16]] for multiples of 16
    """

    module: str
    kernel: str
    arch: int | str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[int, Any], ...]
    attributes: tuple[tuple[int, str], ...]
    num_warps: int
    num_stages: int

    def constant(self, name: str) -> Any:
        """The value of a constexpr parameter; absent pointers and ones are constants too."""
        names = [n for n, _ in self.signature]
        return dict(self.constants)[names.index(name)]


class FakeGpu:
    """The driver: what was launched, and which kernels were specialised or compiled for it.

    `compiles` is whether kernels are really compiled; without, they are bound and specialised only. A kernel that
    needs more than `shared_memory_bytes`, by default the target's, is refused.
    """

    active: ClassVar["FakeGpu"]

    def __init__(
        self, target: Target, *, compiles: bool = False, shared_memory_bytes: int | None = None
    ) -> None:
        self.target = target
        self.shared_memory_bytes = shared_memory_bytes or target.shared_memory_bytes
        self.compiles = compiles
        self.launches: list[Launch] = []
        self.kernels: dict[Spec, Any] = {}
        self._device = next(DEVICES)  # Triton keeps the target of a device for good

    def activate(self) -> None:
        """Make it the GPU that Triton sees."""
        target = GPUTarget(self.target.kind, self.target.arch, self.target.warp_size)
        driver.set_active(
            SimpleNamespace(
                get_current_target=lambda: target,
                get_current_device=lambda: self._device,
                get_current_stream=lambda device: 0,
                launcher_cls=self._launcher,
                utils=SimpleNamespace(
                    get_device_properties=lambda device: {"max_shared_mem": self.shared_memory_bytes},
                    load_binary=lambda name, kernel, shared, device: (None, None, 0, 0, 1024),
                ),
            )
        )
        # Every kernel keeps one `compile` for all devices: it must find the GPU that is active then.
        FakeGpu.active = self
        triton.compiler.compile = _compile_for_the_active

    def _compile(self, src: Any, target: GPUTarget, options: dict[str, Any]) -> Any:
        src.spec = spec_of(src, target, options)
        if self.compiles:
            kernel = REAL_COMPILE(src, target=target, options=options)
        else:
            kernel = SimpleNamespace(function=None, packed_metadata=None, launch_metadata=lambda *_: None)
            kernel.run = self._launcher(src, None)
        self.kernels[src.spec] = kernel
        return kernel

    def _launcher(self, src: Any, metadata: Any) -> Callable[..., None]:
        """Stands where Triton's CudaLauncher does, and holds the arguments to what that one converts."""

        def launch(x: int, y: int, z: int, stream: int, *rest: Any) -> None:
            # The function, packed metadata, launch metadata and two hooks; then the arguments.
            arguments = dict(zip(src.fn.arg_names, rest[5:], strict=True))
            for size, limit in zip((x, y, z), GRID_LIMITS, strict=True):
                assert type(size) is int, f"{src.name}: a grid of {size!r}"
                assert 1 <= size <= limit, f"{src.name}: a grid of {(x, y, z)}"
            for name, type_ in src.signature.items():
                if type_ != "constexpr":
                    _check_argument(f"{src.name}: {name}", type_, arguments[name])
            self.launches.append(Launch(src.spec, (x, y, z), arguments))

        return launch


def _compile_for_the_active(src: Any, target: GPUTarget, options: dict[str, Any]) -> Any:
    return FakeGpu.active._compile(src, target, options)


def _check_argument(name: str, type_: str, value: Any) -> None:
    if type_ in POINTERS:
        assert isinstance(value, torch.Tensor), f"{name} is {value!r}"
        assert value.dtype == POINTERS[type_], f"{name} is {value.dtype}"
    else:
        low, high = INTEGERS[type_]
        assert type(value) is int, f"{name} is {value!r}"
        assert low <= value <= high, f"{name} is {value}"


def spec_of(src: Any, target: GPUTarget, options: dict[str, Any]) -> Spec:
    return Spec(
        module=src.fn.__module__,
        kernel=src.fn.__name__,
        arch=target.arch,
        signature=tuple(src.signature.items()),
        constants=tuple(sorted((path[0], value) for path, value in src.constants.items())),
        attributes=tuple(sorted((path[0], repr(value)) for path, value in src.attrs.items() if value)),
        num_warps=options["num_warps"],
        num_stages=options["num_stages"],
    )

