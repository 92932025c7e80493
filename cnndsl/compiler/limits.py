"""What one multiprocessor holds, and how many programs of a kernel fit on it at once.

Sources: the table "Technical Specifications per Compute Capability" and the occupancy sections of the tuning guides
of the CUDA documentation; AMD's CDNA2, CDNA3 and CDNA4 instruction set manuals and LLVM's "User Guide for AMDGPU
Backend". Multiprocessors of all of them have four partitions, each with 512 registers of 32 bits for each thread of a
warp, given out eight at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Limiter = Literal["warps", "program slots", "registers", "shared memory", "tensor memory"]

PARTITIONS = 4
REGISTERS = 512
REGISTER_GRANULE = 8
TENSOR_MEMORY_COLUMNS = 512


@dataclass(frozen=True)
class Limits:
    """One multiprocessor (AMD: compute unit).

    warps     that can be resident (AMD: wavefronts).
    programs  that can be resident, however small.
    shared    bytes of shared memory (AMD: local data share).
    granule   bytes by which shared memory is given out.
    reserved  bytes of it that the driver takes for each program.
    """

    warps: int
    programs: int
    shared: int
    granule: int
    reserved: int = 0


def _cuda(warps: int, programs: int, shared_kib: int) -> Limits:
    return Limits(warps, programs, shared_kib * 1024, granule=128, reserved=1024)


LIMITS = {
    "sm_80": _cuda(64, 32, 164),
    "sm_86": _cuda(48, 16, 100),
    "sm_89": _cuda(48, 24, 100),
    "sm_90": _cuda(64, 32, 228),
    "sm_100": _cuda(64, 32, 228),
    # The tuning guide says 32 programs, the programming guide 24. With two warps or more neither is reached.
    "sm_120": _cuda(48, 24, 100),
    # Sixteen programs of several warps, and as many of one as there are warps.
    "gfx90a": Limits(32, 32, 64 * 1024, granule=512),
    "gfx942": Limits(32, 32, 64 * 1024, granule=512),
    "gfx950": Limits(32, 32, 160 * 1024, granule=1280),
}
"""By the name of the target."""


@dataclass(frozen=True)
class Occupancy:
    """Programs on one multiprocessor at once, and what allows no more of them.

    percent  of the warps that it could hold.
    """

    programs: int
    percent: float
    limiter: Limiter


def occupancy(target: str, *, registers: int, shared: int, warps: int, tensor_memory: int = 0) -> Occupancy:
    """Occupancy of a kernel by the target's name.

    registers      of each thread (AMD: vector and accumulation registers together).
    shared         bytes of each program.
    warps          of each program.
    tensor_memory  columns of each program.
    """
    limits = LIMITS[target]
    registers = _up(max(registers, 1), REGISTER_GRANULE)
    fits: dict[Limiter, int] = {
        "warps": limits.warps // warps,
        "program slots": limits.programs,
        "registers": PARTITIONS * (REGISTERS // registers) // warps,
    }
    taken = _up(shared + limits.reserved, limits.granule)
    if taken:
        fits["shared memory"] = limits.shared // taken
    if tensor_memory:
        fits["tensor memory"] = TENSOR_MEMORY_COLUMNS // tensor_memory
    # The first of equals: a kernel that fills the machine is limited by its warps, whatever else it fills too.
    limiter = min(fits, key=lambda name: fits[name])
    programs = fits[limiter]
    return Occupancy(programs, 100 * programs * warps / limits.warps, limiter)


def _up(number: int, granule: int) -> int:
    return -(-number // granule) * granule
