"""From the lines of every stage to the lines of the kernel's file."""

import re

import pytest
from samples import DENSE, line_of

from cnndsl.compiler import Compiled
from cnndsl.compiler.lines import source_lines, without_locations
from cnndsl.targets import STAGES

FILE = "fc1.py"
LOADS = {line_of(DENSE, "# of x"), line_of(DENSE, "# of w")}
MATRIX = line_of(DENSE, "# matrix")
STORE = line_of(DENSE, "# store")
HELPER = line_of(DENSE, "# helper")
CALL = line_of(DENSE, "# of Triton's own function")
LOOP = line_of(DENSE, "for start in")
KERNEL = line_of(DENSE, "def dense_kernel(")
BIAS = line_of(DENSE, "tl.load(b_ptr")

EVERY_STAGE = [(target, stage) for target in ("sm_80", "sm_90", "sm_100") for stage in STAGES["cuda"]] + [
    ("gfx942", stage) for stage in STAGES["hip"]
]


def lines_with(compiled: Compiled, stage: str, pattern: str, file: str = FILE) -> set[int | None]:
    """The source lines of a stage's lines that match."""
    text = compiled.stage(stage)
    found = {
        line
        for line, words in zip(source_lines(stage, text, file), text.splitlines(), strict=True)
        if re.search(pattern, words)
    }
    assert found, f"no {pattern} in {stage}"
    return found


EXPECTED = [
    ("ttir", r"tt\.load", LOADS | {BIAS}),
    ("ttir", r"tt\.dot ", {MATRIX}),
    ("ttir", r"tt\.store", {STORE}),
    ("ttir", r"arith\.maximumf", {HELPER}),
    ("ttir", r"scf\.for", {LOOP}),
    ("ttir", r"arith\.divsi %blocks", {CALL}),
    ("ttir", r"tt\.func public", {KERNEL}),
    ("ttgir", r"tt\.store|buffer_store", {STORE}),
    ("ttgir", r"scf\.for", {LOOP}),
]
EXPECTED_CUDA = [
    *EXPECTED,
    ("ttgir", r"ttg\.async_copy_global_to_local|tt\.load", LOADS | {BIAS}),
    ("llir", r"st\.global", {STORE}),
    ("llir", r"cp\.async\.c[ag]\.", LOADS),
    ("llir", r"^define ", {KERNEL}),
    ("llir", r"add i32 .*, 63", {CALL}),
    ("ptx", r"st\.global", {STORE}),
    ("ptx", r"cp\.async\.c[ag]\.", LOADS),
    ("ptx", r"max\.NaN", {HELPER}),
    ("sass", r"\bSTG\.", {STORE}),
    ("sass", r"\bLDGSTS\.", LOADS),
]
EXPECTED_OF = {
    "sm_80": [
        *EXPECTED_CUDA,
        *((stage, r"mma\.sync", {MATRIX}) for stage in ("llir", "ptx")),
        ("sass", r"\bHMMA", {MATRIX}),
    ],
    # Some HGMMA stand under the line of a load that ptxas moved between them.
    "sm_90": [*EXPECTED_CUDA, ("ptx", r"wgmma\.mma_async", {MATRIX}), ("sass", r"WARPGROUP\.ARRIVE", {MATRIX})],
    "sm_100": [*EXPECTED_CUDA, ("ptx", r"tcgen05\.mma", {MATRIX}), ("sass", r"\bUTCHMMA", {MATRIX})],
    "gfx942": [
        *EXPECTED,
        ("llir", r"call .*amdgcn\.mfma", {MATRIX}),
        ("amdgcn", r"\tv_mfma", {MATRIX}),
        ("llir", r"call .*llvm\.maxnum", {HELPER}),
        ("amdgcn", r"\tv_max_f32", {HELPER}),
        ("amdgcn", r"\tbuffer_store", {STORE}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("target", EXPECTED_OF)
def test_telling_lines(target: str, dense) -> None:
    found = {(stage, what): lines_with(dense[target], stage, what) for stage, what, _ in EXPECTED_OF[target]}
    assert found == {(stage, what): lines for stage, what, lines in EXPECTED_OF[target]}


def test_loads_of_amd(dense) -> None:
    """The bias is read in another width by some versions of Triton."""
    assert LOADS <= lines_with(dense["gfx942"], "amdgcn", r"\tbuffer_load_dwordx4") <= LOADS | {BIAS}


@pytest.mark.parametrize(("target", "stage"), EVERY_STAGE)
def test_every_stage(target: str, stage: str, dense) -> None:
    text = dense[target].stage(stage)
    lines = source_lines(stage, text, FILE)
    assert len(lines) == len(text.splitlines())
    known = {line for line in lines if line is not None}
    assert {MATRIX, STORE, *LOADS} <= known
    # No line without code: the header, decorators, the docstring, blank lines.
    source = DENSE.source.splitlines()
    first = line_of(DENSE, "def rectified")
    assert all(first <= line < line_of(DENSE, "def launch") for line in known)
    assert all(source[line - 1].strip() and not source[line - 1].lstrip().startswith(("@", '"""')) for line in known)
    # Of another file nothing is known.
    assert set(source_lines(stage, text, "fc2.py")) == {None}


@pytest.mark.parametrize(("target", "stage"), EVERY_STAGE)
def test_nearly_all_code_is_known(target: str, stage: str, dense) -> None:
    text = dense[target].stage(stage)
    is_code = {
        "ttir": r"\s+(%|tt\.|scf\.)", "ttgir": r"\s+(%|tt\.|ttg\.|scf\.)", "llir": r"  (%|tail|br|store|call)",
        "ptx": r"\t(?!\.|//)", "sass": r"\s+[0-9a-f]{4}  ", "amdgcn": r"\t[sv]_|\tds_|\tbuffer_",
    }[stage]  # fmt: skip
    lines = [
        line
        for line, words in zip(source_lines(stage, text, FILE), text.splitlines(), strict=True)
        if re.match(is_code, words)
    ]
    unknown = lines.count(None) / len(lines)
    assert len(lines) > 20
    # Loop counters and what the compilers moved together have no place.
    assert unknown < {"llir": 0.35, "ttgir": 0.2}.get(stage, 0.1), unknown


def test_a_call_of_tritons_own_function(dense) -> None:
    """`tl.cdiv` stands in a file of Triton's: its code is of the line that calls it, in machine code too."""
    compiled = dense["sm_90"]
    (sum_,) = lines_with(compiled, "ptx", r"add\.s32 .* 63;")
    assert sum_ == CALL
    assert lines_with(compiled, "sass", r"0x3f$") >= {CALL}
    text = compiled.stage("ptx")
    assert re.search(r"standard\.py:\d+:\d+ @\[ fc1\.py", text)
    # Without the chain of calls it would have no line.
    cut = re.sub(r" @\[ .*\]", "", text)
    at = text.splitlines().index(next(words for words in text.splitlines() if re.search(r"add\.s32 .* 63;", words)))
    assert (source_lines("ptx", text, FILE)[at], source_lines("ptx", cut, FILE)[at]) == (CALL, None)


@pytest.mark.parametrize(("target", "stage"), EVERY_STAGE)
def test_without_locations(target: str, stage: str, dense) -> None:
    text = dense[target].stage(stage)
    short, lines = without_locations(stage, text, FILE)
    assert len(short.splitlines()) == len(lines)
    assert not re.search(r"loc\(|#loc|!dbg|\t\.loc|\t\.file|DILocation|// fc1\.py|debug_info", short)
    assert len(short) < len(text)
    assert {MATRIX, STORE, *LOADS} <= set(lines)
    # What is left stands as it was, or as a part of it, in order.
    rest = iter(text.splitlines())
    for line in short.splitlines():
        head = line.split(" {")[0].rstrip()[:40]
        assert any(original.startswith(head) for original in rest), line


MLIR = """\
#loc = loc("a.py":3:0)
#loc1 = loc(unknown)
module {
  tt.func public @f(%x: i32 loc("x"(#loc))) -> i32 {
    %0 = "tt.reduce"(%x) <{axis = 0 : i32}> ({
    ^bb0(%l: f32 loc("/triton/standard.py":290:0), %r: f32 loc("/triton/standard.py":290:1)):
      %5 = arith.addf %l, %r : f32 loc(#loc9)
    }) : (i32) -> i32 loc(#loc8)
    cf.cond_br %c, ^bb1, ^bb2 loc(#loc1)
  ^bb1:  // pred
    %1 = scf.if %c -> (i32) {
      scf.yield %x : i32 loc(#loc4)
    } else {
      scf.yield %0 : i32 loc(fused[#loc4, #loc5])
    } loc(#loc5)
  } loc(#loc)
} loc(#loc)
#loc2 = loc("/triton/standard.py":250:15)
#loc3 = loc("a.py":7:9)
#loc4 = loc("a.py":8:4)
#loc5 = loc("y"(#loc6))
#loc6 = loc("a.py":9:4 to :12)
#loc7 = loc(callsite(#loc2 at #loc3))
#loc8 = loc("x"(#loc7))
#loc9 = loc(callsite(#loc2 at #loc7))
"""


def test_forms_that_the_samples_lack() -> None:
    lines = source_lines("ttir", MLIR, "a.py")
    assert lines[2:17] == [3, 3, 7, None, 7, 7, None, None, 9, 8, 9, 8, 9, 3, 3]
    assert not [line for line in (*lines[:2], *lines[17:]) if line]


def test_places_of_line_zero_are_none() -> None:
    text = '\t.file\t1 "/tmp" "a.py"\n\t.loc\t1 0 0 is_stmt 0  ; :0:0\n\ts_mov_b32 s0, 0\n'
    assert source_lines("amdgcn", text, "a.py") == [None, None, None]
