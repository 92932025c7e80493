"""Colours that change no character, and differences that leave out nothing that counts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnndsl.cli.inspect_colors import colored, painted
from cnndsl.cli.inspect_diff import compared, unified

STAGES = ("source", "ttir", "ttgir", "llir", "ptx", "sass", "amdgcn")

SAMPLES = {
    "source": '@triton.jit\ndef f(x):  # why\n    """Two\n    lines."""\n    return tl.load(x, mask="no") + 0x1F\n',
    "ttir": '  %acc_3 = tt.dot %x, %1 {tf = "a"} : tensor<64x32xf32, #mma> loc(#loc3)  // why\n',
    "llir": '  %12 = call i32 asm sideeffect "mov.u32 $0;", "=r"() #2, !dbg !7 ; why\n',
    "ptx": "$L__BB0_1:\n\t@%p1 bra $L__BB0_2;\n\tld.global.v4.b32 \t{ %r1, %r2 }, [%rd5]; // why\n.visible .entry k\n",
    "sass": ".L_x_1:\n    // conv1.py:24\n        01a0  @!P0 HGMMA.64x64x16.F32 R24, gdesc[UR4], R24\n",
    "amdgcn": "BB0_1:\n\tv_mfma_f32_16x16x16_f16 a[0:3], v[1:2], v3, 0 ; why\n\t.loc\t1 2 3\n",
}


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@pytest.mark.parametrize("stage", SAMPLES)
def test_samples_have_colours(stage: str) -> None:
    text = colored(SAMPLES[stage], stage)
    assert plain(text) == SAMPLES[stage]
    assert text.count("\x1b[0m") >= 4
    for line in text.splitlines():
        assert line.count("\x1b[0m") * 2 == line.count("\x1b["), "each line by itself, for pagers"


@pytest.mark.parametrize(("stage", "piece", "style"), [
    ("source", "# why", "comment"),
    ("source", '    lines."""', "string"),
    ("source", "@triton.jit", "place"),
    ("source", "def", "keyword"),
    ("source", "tl.load", "value"),
    ("source", "0x1F", "number"),
    ("ttir", "tt.dot", "keyword"),
    ("ttir", "%acc_3", "value"),
    ("ttir", "loc(#loc3)", "comment"),
    ("llir", "call", "keyword"),
    ("llir", ", !dbg !7", "comment"),
    ("ptx", "%r1", "value"),
    ("ptx", "// why", "comment"),
    ("sass", "HGMMA.64x64x16.F32", "keyword"),
    ("sass", "R24", "value"),
    ("sass", "    // conv1.py:24", "comment"),
    ("amdgcn", "v_mfma_f32_16x16x16_f16", "keyword"),
    ("amdgcn", "v[1:2]", "value"),
])
def test_pieces_have_their_style(stage: str, piece: str, style: str) -> None:
    text = colored(SAMPLES[stage], stage)
    assert painted(piece, style) in text or painted(piece.strip(), style) in text


@given(st.sampled_from(STAGES), st.text(alphabet="ab0.xe-+_%$@#!;:/*\\\"'()[]{}<> \t\nRPL"))
def test_colours_change_no_character(stage: str, text: str) -> None:
    assert plain(colored(text, stage)) == text


# --- differences -----------------------------------------------------------------------------------


def halves(lines: list[str]) -> tuple[list[str], list[str]]:
    """The two texts, as far as the hunks of a diff show them, with the line numbers that their heads promise."""
    one: list[str] = []
    other: list[str] = []
    promised = shown = (0, 0)
    for line in [*lines[2:], "@@ -1 +1 @@"]:
        if line.startswith("@@"):
            assert shown == promised
            found = re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", line)
            assert found is not None, line
            for half, start, count in ((one, found[1], found[2]), (other, found[3], found[4])):
                first = int(start) + (count == "0")
                half.extend(["?"] * (first - 1 - len(half)))
            promised, shown = (int(found[2] or "1"), int(found[4] or "1")), (0, 0)
            continue
        shown = (shown[0] + (line[0] in " -"), shown[1] + (line[0] in " +"))
        if line.startswith(" "):
            one.append(line[1:])
            other.append(line[1:])
        else:
            (one if line.startswith("-") else other).append(line[1:])
    return one, other


lines_of_text = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=30)


@given(lines_of_text, lines_of_text)
def test_a_difference_holds_both_texts(a: list[str], b: list[str]) -> None:
    found = unified("\n".join(a), "\n".join(b), titles=("a", "b"), stage="tree")
    a, b = ("\n".join(lines).splitlines() for lines in (a, b))
    assert (found == []) == (a == b)
    shown_a, shown_b = halves(found) if found else ([], [])
    for text, shown in ((a, shown_a), (b, shown_b)):
        assert all(have in {want, "?"} for want, have in zip(text, shown, strict=False))
        assert len(shown) <= len(text)
    unseen = (["?" if i >= len(s) else s[i] for i in range(len(t))] for t, s in ((a, shown_a), (b, shown_b)))
    gone, come = (
        [line for line, have in zip(text, have_all, strict=True) if have == "?"]
        for text, have_all in zip((a, b), unseen, strict=True)
    )
    assert gone == come, "what is not shown is the same"


TILES = "tiles for a batch of"


@pytest.mark.parametrize(("stage", "one", "other", "same"), [
    ("source", "# Digest 0123456789abcdef. Written", "# Digest fedcba9876543210. Written", True),
    ("source", f"# For sm_80 in fp16, {TILES} 1; 4 warps", f"# For sm_90 in fp32, {TILES} 1; 4 warps", True),
    ("source", f"# For sm_80 in fp16, {TILES} 1; 4 warps", f"# For sm_80 in fp16, {TILES} 1; 8 warps", False),
    ("source", "# conv1 + relu1 of Net", "# conv1 + relu1 of Other", True),
    ("source", "# conv1 + relu1 of Net", "# conv1 + relu2 of Net", False),
    ("source", "#   net.cnn:7  conv1: conv(6, 3x3)", "#   other.cnn:12  conv1: conv(6, 3x3)", True),
    ("source", "    x = y % 81", "    x = y % 80", False),
    ("ttir", "%acc_3 = arith.addi %1, %x_9", "%acc_4 = arith.addi %2, %x_8", True),
    ("ttir", "%acc_3 = arith.addi %1, %x", "%acc_3 = arith.addi %1, %y", False),
    ("ttgir", "%x = a : tensor<4xi32, #blocked1>", "%x = a : tensor<4xi32, #blocked2>", False),
    ("ttir", "dense<3>", "dense<4>", False),
    ("llir", "  %12 = add i32 %3, 4", "  %13 = add i32 %9, 4", True),
    ("llir", "  %12 = add i32 %3, 4", "  %12 = add i32 %3, 5", False),
    ("ptx", "\tadd.s32 \t%r14, %r2, 16;", "\tadd.s32 \t%r9, %r10, 16;", True),
    ("ptx", "\tadd.s32 \t%r14, %r2, 16;", "\tadd.s32 \t%r14, %r2, 32;", False),
    ("ptx", "\tadd.s32 \t%r14, %r2, 16;", "\tadd.s64 \t%rd14, %rd2, 16;", False),
    ("sass", "        0120  IADD3 R4, R5, 0x10, RZ", "        0a30  IADD3 R7, R5, 0x10, RZ", True),
    ("sass", "        0120  IADD3 R4, R5, 0x10, RZ", "        0120  IADD3 R4, R5, 0x20, RZ", False),
    ("amdgcn", "\tv_add_u32 v4, v5, 16 ; why", "\tv_add_u32 v7, v5, 16", True),
    ("amdgcn", "\tv_add_u32 v4, v5, 16", "\tv_sub_u32 v4, v5, 16", False),
    ("graph", "  a    = relu <- b  [4x4x1]  # line 3", "  a = relu <- b  [4x4x1]  # line 9", True),
    ("graph", "  a = relu <- b  [4x4x1]  # line 3", "  a = relu <- c  [4x4x1]  # line 3", False),
])
def test_what_counts(stage: str, one: str, other: str, same: bool) -> None:
    assert (compared(one, stage) == compared(other, stage)) is same
    assert (unified(one, other, titles=("", ""), stage=stage) == []) is same
