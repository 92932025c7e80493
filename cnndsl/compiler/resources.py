"""What a compiled kernel takes of the machine, and the instructions that tell how well it was compiled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cnndsl.compiler import limits

Widths = tuple[tuple[int, int], ...]
"""Bytes that one thread moves with one instruction, and the number of such instructions, the narrowest first."""


@dataclass(frozen=True)
class Instructions:
    """Instructions of the machine code, each counted once however often it is executed.

    total          all but those that do nothing.
    matrix         of the matrix units: HMMA, HGMMA, tcgen05's UTCHMMA; v_mfma on AMD.
    bulk_copies    of whole tiles by the copy engine: UTMALDG, UTMASTG, UBLKCP.
    async_copies   from global to shared memory past the registers: LDGSTS; loads to LDS on AMD.
    local          to and from local memory, which is where registers are spilled: LDL, STL; scratch on AMD.
    global_loads   by width; without `async_copies`.
    global_stores  by width.
    copy_widths    of `async_copies`.
    """

    total: int
    matrix: int
    bulk_copies: int
    async_copies: int
    local: int
    global_loads: Widths
    global_stores: Widths
    copy_widths: Widths


@dataclass(frozen=True)
class Usage:
    """What the compiler says about a kernel, whatever machine it runs on.

    registers      of each thread (AMD: vector and accumulation registers together).
    stack          bytes of each thread.
    spill_stores   bytes that all instructions together spill, for each thread; loops are not counted.
    spill_loads    the same for reading them back.
    shared         bytes of each program.
    warps, stages  of each program; stages as asked for.
    tensor_memory  columns of each program (sm_100).
    """

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int
    warps: int
    stages: int
    tensor_memory: int
    instructions: Instructions

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Usage:
        """The inverse. Raises KeyError and TypeError for what is none."""
        counts: dict[str, Any] = {
            name: value if isinstance(value, int) else tuple((width, count) for width, count in value)
            for name, value in data["instructions"].items()
        }
        return cls(**{**data, "instructions": Instructions(**counts)})


@dataclass(frozen=True)
class Resources(Usage):
    """A kernel on a target.

    programs   on one multiprocessor at once; 0 where not even one fits.
    occupancy  percent of the warps that a multiprocessor can hold.
    limiter    what allows no more of them.
    """

    programs: int
    occupancy: float
    limiter: limits.Limiter


def on_target(usage: Usage, target: str) -> Resources:
    """The resources of a kernel on a target, by its name."""
    found = limits.occupancy(
        target,
        registers=usage.registers, shared=usage.shared, warps=usage.warps, tensor_memory=usage.tensor_memory,
    )
    own = {f.name: getattr(usage, f.name) for f in fields(Usage)}
    return Resources(**own, programs=found.programs, occupancy=found.percent, limiter=found.limiter)


# --- CUDA -----------------------------------------------------------------------------------------------------------

_SASS = re.compile(r"^\s+[0-9a-f]{4,}\s+(?:@!?U?P\w+\s+)?([A-Z]\w*)((?:\.\w+)*)", re.MULTILINE)
_SASS_MATRIX = re.compile(r"[A-Z]?G?MMA|UTC\w*MMA")
_SASS_BULK = re.compile(r"UTMALDG|UTMASTG|UTMAREDG|UBLKCP|UBLKRED")
_SASS_WIDTHS = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16, "256": 32}


def of_cuda(*, sass: str, usage: str, metadata: Mapping[str, Any]) -> Usage:
    """Usage of a kernel from its SASS, what ``cuobjdump -res-usage`` says, and Triton's metadata."""
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    counts: Counter[str] = Counter()
    widths: dict[str, Counter[int]] = {name: Counter() for name in ("LDG", "STG", "LDGSTS", "LDL", "STL")}
    for name, modifiers in _SASS.findall(sass):
        counts["total"] += name != "NOP"
        counts["matrix"] += _SASS_MATRIX.fullmatch(name) is not None
        counts["bulk"] += _SASS_BULK.fullmatch(name) is not None
        if name in widths:
            widths[name][next((_SASS_WIDTHS[m] for m in modifiers.split(".") if m in _SASS_WIDTHS), 4)] += 1
    return Usage(
        registers=int(found[1]),
        stack=int(found[2]),
        spill_stores=_bytes(widths["STL"]),
        spill_loads=_bytes(widths["LDL"]),
        shared=metadata["shared"],
        warps=metadata["num_warps"],
        stages=metadata["num_stages"],
        tensor_memory=metadata.get("tmem_size") or 0,
        instructions=Instructions(
            total=counts["total"],
            matrix=counts["matrix"],
            bulk_copies=counts["bulk"],
            async_copies=widths["LDGSTS"].total(),
            local=widths["LDL"].total() + widths["STL"].total(),
            global_loads=_sorted(widths["LDG"]),
            global_stores=_sorted(widths["STG"]),
            copy_widths=_sorted(widths["LDGSTS"]),
        ),
    )


# --- AMD ------------------------------------------------------------------------------------------------------------

_GCN = re.compile(r"^\t([a-z]\w*)(.*)$", re.MULTILINE)
_GCN_GLOBAL = re.compile(r"(?:global|buffer|flat)_(load|store)_(lds_)?(\w+)")
_GCN_SPILL = re.compile(r"; (\d+)-byte Folded (Spill|Reload)")


def of_amd(*, amdgcn: str, metadata: Mapping[str, Any]) -> Usage:
    """Usage of a kernel from its assembler text and Triton's metadata."""
    counts: Counter[str] = Counter()
    widths: dict[str, Counter[int]] = {name: Counter() for name in ("load", "store", "copy")}
    for name, rest in _GCN.findall(amdgcn):
        counts["total"] += name != "s_nop"
        counts["matrix"] += name.startswith(("v_mfma_", "v_smfmac_"))
        spill = _GCN_SPILL.search(rest)
        if spill is not None:
            counts[spill[2]] += int(spill[1])
        moved = _GCN_GLOBAL.match(name)
        if spill is not None or name.startswith("scratch_"):
            # Without scratch instructions, on gfx90a, registers are spilled by those for global memory.
            counts["local"] += name.startswith(("scratch_", "buffer_", "flat_"))
        elif moved is not None:
            to_shared = moved[2] is not None or re.search(r"\blds\b", rest.partition(";")[0]) is not None
            widths["copy" if to_shared else moved[1]][_gcn_width(moved[3])] += 1
    return Usage(
        registers=_gcn_number(amdgcn, "vgpr_count"),
        stack=_gcn_number(amdgcn, "private_segment_fixed_size"),
        spill_stores=counts["Spill"],
        spill_loads=counts["Reload"],
        shared=metadata["shared"],
        warps=metadata["num_warps"],
        stages=metadata["num_stages"],
        tensor_memory=0,
        instructions=Instructions(
            total=counts["total"],
            matrix=counts["matrix"],
            bulk_copies=0,
            async_copies=widths["copy"].total(),
            local=counts["local"],
            global_loads=_sorted(widths["load"]),
            global_stores=_sorted(widths["store"]),
            copy_widths=_sorted(widths["copy"]),
        ),
    )


def _gcn_number(amdgcn: str, name: str) -> int:
    """A number of the metadata at the text's end."""
    found = re.search(rf"^\s*(?:- )?\.{name}:\s+(\d+)$", amdgcn, re.MULTILINE)
    assert found is not None, name
    return int(found[1])


def _gcn_width(type_: str) -> int:
    if (several := re.match(r"dwordx(\d)", type_)) is not None:
        return 4 * int(several[1])
    if (bits := re.match(r"[a-z]+(\d+)", type_)) is not None:
        return int(bits[1]) // 8
    return 1 if "byte" in type_ else 2 if "short" in type_ else 4


def _bytes(widths: Mapping[int, int]) -> int:
    return sum(width * count for width, count in widths.items())


def _sorted(widths: Mapping[int, int]) -> Widths:
    return tuple(sorted(widths.items()))


def bytes16(widths: Iterable[tuple[int, int]]) -> int:
    """How many instructions move 16 bytes or more."""
    return sum(count for width, count in widths if width >= 16)
