"""``cnndsl inspect`` on a terminal, and at the stages that Triton compiles."""

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cnndsl.cli.inspect_resources import FIGURES
from cnndsl.codegen import package as packages

ONE = """network One {
    input x [8x8x16]
    a: conv(16, 3x3, pad=1)
    b: conv(32, 1x1) -> relu
}
"""
"""Two kernels of which `b` alone is compiled in most tests: a second for each target and type."""


@pytest.fixture
def one(tmp_path: Path) -> Path:
    path = tmp_path / "one.cnn"
    path.write_text(ONE, encoding="utf-8")
    return path


def inspect(run, path: Path, *options: str):
    return run("inspect", path, *options, "--dtype", "fp16")


# --- texts -----------------------------------------------------------------------------------------

SIGNS = {
    "ttir": ("tt.func public @conv2d_kernel", "tt.dot "),
    "ttgir": ("#ttg.", "ttng.warp_group_dot"),
    "llir": ("define ptx_kernel void @conv2d_kernel", "wgmma.mma_async"),
    "ptx": (".target sm_90a", "wgmma.mma_async"),
    "sass": ("conv2d_kernel:", "HGMMA"),
}
LOCATIONS = {"ttir": "loc(", "ttgir": "loc(", "llir": "!dbg", "ptx": ".loc"}


def test_amdgcn_without_a_target(run, one: Path, monkeypatch) -> None:
    """Of the two makers, the one that has it; into a cache that is named by a path from here."""
    monkeypatch.chdir(one.parent)
    monkeypatch.setenv("CNNDSL_CACHE", "here")
    result = inspect(run, one, "b", "--stage", "amdgcn")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("for gfx942; --target names another\ncompiled 1 kernel for gfx942")
    assert "v_mfma_" in result.stdout
    assert len(list((one.parent / "here" / "compiled").iterdir())) == 1


def test_stages_of_a_gpu(run, one: Path) -> None:
    for stage, signs in SIGNS.items():
        result = inspect(run, one, "b", "--stage", stage, "--target", "sm_90")
        assert (result.exit_code, "for sm_90" in result.stderr) == (0, True)
        assert all(sign in result.stdout for sign in signs), stage
        assert "----" not in result.stdout, "a text alone is piped as it is"
        assert "/tmp" not in result.stdout
        assert str(Path.home()) not in result.stdout
        if stage in LOCATIONS:
            assert LOCATIONS[stage] not in result.stdout
            full = inspect(run, one, "b", "--stage", stage, "--target", "sm_90", "--locations").stdout
            assert LOCATIONS[stage] in full
            assert "b.py" in full
    # SASS has comments for people in their stead.
    places = re.findall(r"^ +// b.py:(\d+)$", result.stdout, re.MULTILINE)
    source = inspect(run, one, "b", "--target", "sm_90").stdout.splitlines()
    assert any("tl.store(" in source[int(number) - 1] for number in places)


def test_amd(run, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path / "empty"))
    result = inspect(run, one, "b", "--stage", "amdgcn", "--target", "gfx942")
    assert (result.exit_code, "v_mfma_" in result.stdout, ".loc" in result.stdout) == (0, True, False)
    pattern = r"compiled 1 kernel for gfx942 in \d+\.\d s \(1 worker\), 0 from the cache\n"
    assert re.fullmatch(pattern, result.stderr)


def test_default_target_and_several_kernels(run, one: Path) -> None:
    result = inspect(run, one, "--stage", "ptx")
    assert result.stderr.startswith("for sm_90; --target names another\n")
    assert re.search(r"^(?:compiled )?2 kernels for sm_90 ", result.stderr, re.MULTILINE)
    titles = re.findall(r"^// ---- (.*?) -+$", result.stdout, re.MULTILINE)
    assert titles == ["a: a, for sm_90 in fp16", "b: b + relu1, for sm_90 in fp16"]
    alone = inspect(run, one, "b", "--stage", "ptx")
    assert result.stdout.endswith(alone.stdout)
    assert alone.stderr.endswith("1 kernel for sm_90 from the cache\n"), "nothing is compiled twice"


# --- resources -------------------------------------------------------------------------------------


def test_resources(run, one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("b", "--stage", "resources", "--target", "sm_80", "--target", "sm_90")
    data = json.loads(inspect(run, one, *arguments, "--json").stdout)
    assert (data["ok"], data["network"], data["dtype"], data["targets"]) == (True, "One", "fp16", ["sm_80", "sm_90"])
    assert [kernel["target"] for kernel in data["kernels"]] == ["sm_80", "sm_90"]
    assert data["kernels"][1]["layers"] == ["b", "relu1"]
    assert data["kernels"][1]["lines"] == [{"file": str(one), "line": 4}]
    ampere, hopper = (kernel["resources"] for kernel in data["kernels"])
    assert ampere["instructions"]["matrix"] > 0
    # The table says the same.
    text = inspect(run, one, *arguments, "--target", "sm_80").stdout  # twice the same target is once
    head, first, second = (re.split(r"  +", line) for line in text.splitlines())
    assert head == ["kernel", "target", *(figure.title for figure in FIGURES), "layers"]
    for cells, found, target in ((first, ampere, "sm_80"), (second, hopper, "sm_90")):
        row = dict(zip(head, cells, strict=True))
        assert (row["kernel"], row["target"], row["layers"]) == ("b", target, "b + relu1")
        for title in ("registers", "stack", "shared", "warps", "stages"):
            assert int(row[title].replace(",", "")) == found[title]
        counts = found["instructions"]
        assert int(row["matrix"]) == counts["matrix"]
        assert int(row["local"]) == counts["local"]
        assert row["occupancy"] == f"{found['occupancy']:.0f} %"
        stores = counts["global_stores"]
        wide = sum(count for width, count in stores if width >= 16)
        assert row["16 B stores"] == f"{wide}/{sum(count for _, count in stores)}"


@pytest.mark.parametrize(("width", "columns"), [
    (150, [figure.title for figure in FIGURES if figure.title != "instructions"]),
    (80, ["registers", "stack", "spills", "shared", "occupancy", "matrix", "16 B loads"]),
    (30, ["registers", "spills"]),
])
def test_resources_fit_the_terminal(
    run, one: Path, monkeypatch: pytest.MonkeyPatch, width: int, columns: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = inspect(run, one, "b", "--stage", "resources", "--target", "sm_80")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert set(columns) <= set(re.split(r"  +", lines[0]))
    left_out = re.search(r"^no room for (.*): a wider", result.stderr, re.MULTILINE)
    assert left_out is not None
    named = set(re.split(r", | and ", left_out[1]))
    assert named | set(re.split(r"  +", lines[0])) == {"kernel", "layers", *(figure.title for figure in FIGURES)}


# --- differences -----------------------------------------------------------------------------------


def test_differences(run, one: Path) -> None:
    arguments = ("b", "--target", "sm_90", "--diff", "sm_80")
    result = inspect(run, one, *arguments, "--stage", "ttir")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("no difference between sm_90 and sm_80\n")
    result = inspect(run, one, *arguments, "--stage", "ptx")
    assert result.stdout.startswith("--- b (sm_90)\n+++ b (sm_80)\n@@ ")
    assert "\n-.target sm_90a\n+.target sm_80\n" in result.stdout
    assert result.stderr.endswith("sm_90 and sm_80 differ in b\n")


def test_difference_of_resources(run, one: Path) -> None:
    arguments = ("b", "--stage", "resources", "--target", "sm_90")
    result = inspect(run, one, *arguments, "--diff", "sm_80")
    head, *rows = (re.split(r"  +", line.strip()) for line in result.stdout.splitlines())
    assert head == ["kernel", "figure", "sm_90", "sm_80", "change"]
    rows[0] = rows[0][1:]
    found = {row[0]: row[1:] for row in rows}
    both = [
        json.loads(inspect(run, one, "b", "--stage", "resources", "--target", name, "--json").stdout)["kernels"][0]
        for name in ("sm_90", "sm_80")
    ]
    before, after = (kernel["resources"]["instructions"]["matrix"] for kernel in both)
    assert before != after
    assert found["matrix"] == [str(before), str(after), f"{after - before:+,}"]
    result = inspect(run, one, *arguments, "--diff", "fp16")
    assert (result.stdout, result.stderr.splitlines()[-1]) == ("", "no difference: b")


# --- what fails ------------------------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that writes `a` with a mistake in it."""
    make = packages.package

    def spoilt(plan: packages.Plan) -> packages.Package:
        made = make(plan)
        kernels = (
            replace(k, source=k.source.replace("tl.program_id(0)", "tl.program_idd(0)")) if k.name == "a" else k
            for k in made.kernels
        )
        return replace(made, kernels=tuple(kernels))

    monkeypatch.setattr(packages, "package", spoilt)


@pytest.mark.usefixtures("broken")
def test_a_kernel_that_does_not_compile(run, one: Path) -> None:
    result = inspect(run, one, "--stage", "ptx", "--target", "sm_90")
    assert result.exit_code == 1
    assert "\n// a cannot be compiled:\n//   " in result.stdout
    assert "program_idd" in result.stdout.split("// ---- b")[0]
    assert ".target sm_90a" in result.stdout.split("// ---- b")[1], "the others are there"
    assert "error[E0612]: a cannot be compiled for sm_90\n  = note: " in result.stderr
    assert "program_idd" in result.stderr
    # One kernel alone: its error, and nothing that could be taken for its text.
    result = inspect(run, one, "a", "--stage", "sass", "--target", "sm_90")
    assert (result.exit_code, result.stdout, "E0612" in result.stderr) == (1, "", True)
    result = inspect(run, one, "--stage", "resources", "--target", "sm_90", "--json")
    data = json.loads(result.stdout)
    assert (result.exit_code, data["ok"], data["kernels"][0]["resources"]) == (1, False, None)
    assert data["kernels"][1]["resources"]["registers"] > 0
    assert "program_idd" in data["kernels"][0]["error"]
    assert "error[E0612]: a cannot be compiled for sm_90\n" in result.stderr
    result = inspect(run, one, "a", "--stage", "resources", "--target", "sm_90", "--diff", "fp32")
    assert (result.exit_code, result.stderr.count("E0612")) == (1, 2)
    assert re.findall(r"^a +cannot be compiled +cannot be compiled$", result.stdout, re.MULTILINE)


def test_without_triton(run, one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnndsl.compiler import installation

    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: None)
    assert inspect(run, one, "b", "--target", "sm_90").exit_code == 0
    result = inspect(run, one, "b", "--target", "sm_90", "--stage", "ptx")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error[E0601]: compiling a kernel needs Triton, which is not installed\n")


# --- a terminal ------------------------------------------------------------------------------------


def on_terminal(*arguments: object, **variables: str) -> str:
    """What a command writes to a terminal of 50 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cnndsl", *map(str, arguments)], stdout=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "50", **variables},
    )
    os.close(theirs)
    chunks = []
    try:
        while chunk := os.read(ours, 65536):
            chunks.append(chunk)
    except OSError:  # how Linux tells that nobody writes any more
        pass
    os.close(ours)
    assert process.wait() == 0
    return b"".join(chunks).decode().replace("\r\n", "\n")


def test_colours_change_nothing_else(run, one: Path) -> None:
    plain = run("inspect", one, "b").stdout
    shown = on_terminal("inspect", one, "b")
    assert "\x1b[1;34mdef\x1b[0m" in shown
    assert re.sub(r"\x1b\[[\d;]*m", "", shown) == plain, "not even wrapped"
    assert on_terminal("inspect", one, "b", NO_COLOR="1") == plain
    difference = on_terminal("inspect", one, "b", "--diff", "fp16")
    assert re.search(r"^\x1b\[31m-.*\x1b\[0m$", difference, re.MULTILINE)
    assert "\x1b[32m+" in difference
