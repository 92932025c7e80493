"""What a network can be compiled for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["interpreter", "cuda", "hip"]

STAGES: Mapping[Kind, tuple[str, ...]] = {
    "interpreter": (),
    "cuda": ("ttir", "ttgir", "llir", "ptx", "sass"),
    "hip": ("ttir", "ttgir", "llir", "amdgcn"),
}
"""The texts that Triton compiles a kernel through. The interpreter runs its source."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A machine to compile for.

    arch                  what Triton's GPUTarget wants: 90 for CUDA compute capability 9.0, "gfx942" for HIP,
                          None for the interpreter.
    warp_size             threads that run in step; 1 for the interpreter.
    shared_memory_bytes   what one program may use at most.
    num_multiprocessors   of the largest common board: how many programs it takes to fill the machine.
    """

    name: str
    kind: Kind
    arch: int | str | None
    warp_size: int
    shared_memory_bytes: int
    num_multiprocessors: int

    @property
    def stages(self) -> tuple[str, ...]:
        """The texts that a kernel is compiled through for it."""
        return STAGES[self.kind]


def _cuda(arch: int, shared_kib: int, num_multiprocessors: int) -> Target:
    return Target(
        name=f"sm_{arch}",
        kind="cuda",
        arch=arch,
        warp_size=32,
        shared_memory_bytes=shared_kib * 1024,
        num_multiprocessors=num_multiprocessors,
    )


def _hip(arch: str, shared_kib: int, num_multiprocessors: int) -> Target:
    return Target(
        name=arch,
        kind="hip",
        arch=arch,
        warp_size=64,
        shared_memory_bytes=shared_kib * 1024,
        num_multiprocessors=num_multiprocessors,
    )


TARGETS = (
    Target(
        name="interpreter",
        kind="interpreter",
        arch=None,
        warp_size=1,
        shared_memory_bytes=0,
        num_multiprocessors=1,
    ),
    _cuda(80, 163, 108),  # A100
    _cuda(86, 99, 84),  # RTX 3090, A40
    _cuda(89, 99, 128),  # RTX 4090, L40
    _cuda(90, 227, 132),  # H100, H200
    _cuda(100, 227, 148),  # B200
    _cuda(120, 99, 170),  # RTX 5090
    _hip("gfx90a", 64, 104),  # one die of MI250
    _hip("gfx942", 64, 304),  # MI300X
    _hip("gfx950", 160, 256),  # MI350X
)


def get(name: str) -> Target:
    """Return the target called `name`.

    Raises ValueError for an unknown name, with all known ones in the message.
    """
    for target in TARGETS:
        if target.name == name:
            return target
    known = ", ".join(target.name for target in TARGETS)
    raise ValueError(f"unknown target {name!r}; known targets: {known}")
