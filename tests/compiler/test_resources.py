"""Figures of compiled kernels, against what ptxas, cuobjdump and LLVM say themselves."""

import re
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cnndsl import targets
from cnndsl.compiler import Compiled, installation, limits
from cnndsl.compiler.resources import Resources, Usage, bytes16, of_amd, on_target

CUDA = ("sm_80", "sm_90", "sm_100")


def tool(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [installation.find().tool(name), *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout + done.stderr


def facts_of_ptxas(compiled: Compiled, folder: Path) -> dict[str, int]:
    """What ptxas says about the PTX."""
    arch = compiled.job.target.arch
    (ptx,) = compiled.triton.glob("*.ptx")
    said = tool(
        "ptxas-blackwell" if arch >= 100 else "ptxas", "-v", f"--gpu-name=sm_{arch}{'a' if arch >= 90 else ''}",
        "-lineinfo", "--regAllocOptLevel=2", ptx, "-o", folder / "out.cubin",
    )  # fmt: skip
    patterns = {
        "registers": r"Used (\d+) registers", "stack": r"(\d+) bytes stack frame",
        "spill_stores": r"(\d+) bytes spill stores", "spill_loads": r"(\d+) bytes spill loads",
    }  # fmt: skip
    return {name: int(re.search(pattern, said)[1]) for name, pattern in patterns.items()}


def opcodes_of_cuobjdump(compiled: Compiled) -> Counter[str]:
    (cubin,) = compiled.triton.glob("*.cubin")
    words = [
        re.sub(r"^@!?U?P\w+ ", "", found)
        for found in re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?);", tool("cuobjdump", "-sass", cubin), re.MULTILINE)
    ]
    return Counter(word.split()[0] for word in words)


@pytest.mark.parametrize("target", CUDA)
def test_registers_stack_and_spills(target: str, dense, tmp_path: Path) -> None:
    resources = dense[target].resources
    said = facts_of_ptxas(dense[target], tmp_path)
    assert {name: getattr(resources, name) for name in said} == said
    assert resources.registers > 32
    assert (resources.stack, resources.spill_stores, resources.spill_loads) == (0, 0, 0)


def test_a_kernel_that_spills(crowded, tmp_path: Path) -> None:
    resources = crowded["sm_80"].resources
    said = facts_of_ptxas(crowded["sm_80"], tmp_path)
    assert {name: getattr(resources, name) for name in said} == said
    assert min(said.values()) > 0
    counted = opcodes_of_cuobjdump(crowded["sm_80"])
    local = sum(count for name, count in counted.items() if name.split(".")[0] in {"LDL", "STL"})
    assert resources.instructions.local == local > 0


@pytest.mark.parametrize("target", CUDA)
def test_instructions(target: str, dense) -> None:
    counted = opcodes_of_cuobjdump(dense[target])
    found = dense[target].resources.instructions

    def total(*names: str) -> int:
        return sum(count for name, count in counted.items() if name.split(".")[0] in names)

    assert found.total == counted.total() - total("NOP")
    assert found.matrix == total("HMMA", "HGMMA", "UTCHMMA") > 0
    assert found.matrix == total({"sm_80": "HMMA", "sm_90": "HGMMA", "sm_100": "UTCHMMA"}[target])
    assert found.async_copies == total("LDGSTS") > 0
    assert found.bulk_copies == total("UTMALDG", "UBLKCP") == 0
    assert found.local == total("LDL", "STL") == 0
    for name, widths in (("LDG", found.global_loads), ("STG", found.global_stores), ("LDGSTS", found.copy_widths)):
        assert sum(count for _, count in widths) == total(name) > 0
        wide = sum(c for n, c in counted.items() if n.split(".")[0] == name and "128" in n.split("."))
        assert dict(widths).get(16, 0) == bytes16(widths) == wide
    # The tiles are copied 16 bytes at a time, and the results stored so.
    assert dict(found.copy_widths) == {16: found.async_copies}
    assert set(dict(found.global_stores)) == {16}


@pytest.mark.parametrize("target", CUDA)
def test_shared_memory_warps_and_stages(target: str, dense) -> None:
    resources = dense[target].resources
    # Two tiles of 64x64 values of two bytes for each stage in flight, one less where copies are waited for early.
    assert resources.shared >= 2 * 64 * 64 * 2 * 2
    assert (resources.warps, resources.stages) == (4, 3)
    assert resources.tensor_memory == (64 if target == "sm_100" else 0)


def llvm(text: str, name: str) -> int:
    return int(re.search(rf"^; {name}: (\d+)", text, re.MULTILINE)[1])


@pytest.mark.parametrize("which", ["dense", "crowded"])
def test_amd(which: str, request) -> None:
    compiled = request.getfixturevalue(which)["gfx942"]
    text, resources = compiled.stage("amdgcn"), compiled.resources
    assert resources.registers == llvm(text, "TotalNumVgprs")
    assert resources.stack == llvm(text, "ScratchSize")
    # LLVM's own figure knows of no shared memory, which Triton asks for at the launch.
    alone = replace(resources, shared=0)
    per_partition = on_target(Usage(**{f: getattr(alone, f) for f in Usage.__dataclass_fields__}), "gfx942")
    assert per_partition.programs * resources.warps // 4 == llvm(text, "Occupancy")


def test_instructions_of_amd(dense, crowded) -> None:
    text, found = dense["gfx942"].stage("amdgcn"), dense["gfx942"].resources.instructions
    assert found.matrix == text.count("\tv_mfma_") > 0
    assert dict(found.global_loads)[16] == len(re.findall(r"\t(?:buffer|global)_load_dwordx4\b", text)) > 0
    assert sum(dict(found.global_stores).values()) == len(re.findall(r"\t(?:buffer|global)_store_", text)) > 0
    assert (found.local, found.bulk_copies, found.async_copies) == (0, 0, 0)

    text, resources = crowded["gfx942"].stage("amdgcn"), crowded["gfx942"].resources
    assert resources.instructions.local == text.count("\tscratch_") > 0
    sizes = {"dword": 4, "dwordx2": 8, "dwordx3": 12, "dwordx4": 16}
    for kind, said in (("store", resources.spill_stores), ("load", resources.spill_loads)):
        assert said == sum(sizes[t] for t in re.findall(rf"\tscratch_{kind}_(\w+)", text)) > 0
    assert resources.registers == 512


GCN = """\
\tbuffer_load_dword v4, off, s[20:23], 0 offset:12 ; 4-byte Folded Reload
\tbuffer_store_dwordx2 v[4:5], off, s[20:23], 0 ; 8-byte Folded Spill
\tbuffer_load_dword v1, s[4:7], 0 offen lds
\tglobal_load_lds_dwordx4 v[1:2], off
\tglobal_load_ushort v1, v[2:3], off
\tglobal_load_short_d16_hi v1, v[2:3], off
\tglobal_load_ubyte v1, v[2:3], off
\tglobal_load_b128 v[1:4], v[2:3], off
\tbuffer_store_byte v1, v2, s[4:7], 0 offen
\tglobal_store_dwordx3 v[2:3], v[4:6], off
\tv_smfmac_f32_16x16x32_f16 v[0:3], v[4:5], v[6:9], v10
\tv_accvgpr_write_b32 a5, v4                ;  Reload Reuse
\ts_nop 0
\ts_endpgm
    .vgpr_count:     12
    .private_segment_fixed_size: 16
"""


def test_forms_that_the_samples_lack() -> None:
    """As LLVM writes them, gfx90a's spills in particular, which look like accesses to global memory."""
    usage = of_amd(amdgcn=GCN, metadata={"shared": 64, "num_warps": 2, "num_stages": 1})
    assert (usage.registers, usage.stack, usage.shared) == (12, 16, 64)
    assert (usage.spill_stores, usage.spill_loads) == (8, 4)
    found = usage.instructions
    assert (found.total, found.matrix, found.local, found.async_copies) == (13, 1, 2, 2)
    assert found.global_loads == ((1, 1), (2, 2), (16, 1))
    assert found.global_stores == ((1, 1), (12, 1))
    assert found.copy_widths == ((4, 1), (16, 1))


def test_json_and_back(dense) -> None:
    resources = dense["sm_90"].resources
    data = resources.to_json()
    assert set(data) == set(Resources.__dataclass_fields__)
    usage = Usage.from_json({name: data[name] for name in Usage.__dataclass_fields__})
    assert on_target(usage, "sm_90") == resources


# --- occupancy ------------------------------------------------------------------------------------------------------


def test_limits_agree_with_the_targets() -> None:
    gpus = {t.name: t for t in targets.TARGETS if t.kind != "interpreter"}
    assert set(limits.LIMITS) == set(gpus)
    for name, target in gpus.items():
        own = limits.LIMITS[name]
        assert own.shared - own.reserved == target.shared_memory_bytes, name


KIB = 1024
OCCUPANCY = [
    # 512 // 104 = 4 warps in each of 4 partitions are 4 programs of 4 warps.
    ("sm_80", {"registers": 104, "shared": 0, "warps": 4}, (4, 25.0, "registers")),
    # 97 registers are given out as 104.
    ("sm_80", {"registers": 97, "shared": 0, "warps": 4}, (4, 25.0, "registers")),
    ("sm_80", {"registers": 96, "shared": 0, "warps": 4}, (5, 31.25, "registers")),
    ("sm_90", {"registers": 255, "shared": 0, "warps": 8}, (1, 12.5, "registers")),
    # 32 registers allow 64 warps, which is all.
    ("sm_90", {"registers": 32, "shared": 0, "warps": 4}, (16, 100.0, "warps")),
    ("sm_90", {"registers": 16, "shared": 0, "warps": 1}, (32, 50.0, "program slots")),
    ("sm_86", {"registers": 32, "shared": 0, "warps": 1}, (16, 100 / 3, "program slots")),
    # With the driver's 1 KiB: 4 * 33 = 132 and 5 * 33 = 165 of 164 KiB.
    ("sm_80", {"registers": 32, "shared": 32 * KIB, "warps": 4}, (4, 25.0, "shared memory")),
    # 2 * 114 = 228: two of 113 KiB fit to the byte, and of one byte more only one.
    ("sm_90", {"registers": 32, "shared": 113 * KIB, "warps": 4}, (2, 12.5, "shared memory")),
    ("sm_90", {"registers": 32, "shared": 113 * KIB + 1, "warps": 4}, (1, 6.25, "shared memory")),
    ("sm_90", {"registers": 32, "shared": 227 * KIB, "warps": 4}, (1, 6.25, "shared memory")),
    ("sm_90", {"registers": 32, "shared": 227 * KIB + 1, "warps": 4}, (0, 0.0, "shared memory")),
    ("sm_100", {"registers": 32, "shared": 0, "warps": 4, "tensor_memory": 256}, (2, 12.5, "tensor memory")),
    ("gfx942", {"registers": 128, "shared": 0, "warps": 4}, (4, 50.0, "registers")),
    ("gfx942", {"registers": 64, "shared": 32 * KIB, "warps": 4}, (2, 25.0, "shared memory")),
    ("gfx942", {"registers": 64, "shared": 0, "warps": 4}, (8, 100.0, "warps")),
    # LDS of gfx950 is given out by 1280 bytes: 64 KiB are 65 280 + 1280.
    ("gfx950", {"registers": 64, "shared": 64 * KIB, "warps": 4}, (2, 25.0, "shared memory")),
]


@pytest.mark.parametrize(("target", "needs", "expected"), OCCUPANCY)
def test_occupancy(target: str, needs: dict[str, int], expected: tuple[int, float, str]) -> None:
    found = limits.occupancy(target, **needs)
    assert (found.programs, found.percent, found.limiter) == (expected[0], pytest.approx(expected[1]), expected[2])


def test_occupancy_of_compiled_kernels(dense) -> None:
    for name, compiled in dense.items():
        r = compiled.resources
        found = limits.occupancy(
            name, registers=r.registers, shared=r.shared, warps=r.warps, tensor_memory=r.tensor_memory
        )
        assert (r.programs, r.occupancy, r.limiter) == (found.programs, found.percent, found.limiter)
        assert r.programs >= 1
