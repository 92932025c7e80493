"""``cnndsl inspect``."""

import ast
import json
import re
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from cnndsl.parser import parse
from cnndsl.tree import show

EVERYTHING = """use "other.cnn"
block b(n, k = (1, 2)) {
    if n > 1 and not in.channels == 2 * n + 1 { conv(n, 3x3, pad=same) } else if true { relu } else { }
}
network N(name = "x") {
    input image [_x8x3] (mean=(0.5,), std=-1.5)
    start: b(4) [h, w, 4 * c]
    join: concat { { } arm: { @start -> relu } }
    add(@start, @join.arm)
    group: { relu }
    r: repeat n // 2 { relu }
    output side { dense(-n - 1) }
    @start
}
"""


RICH = """use "blocks.cnn"

# Layers of every fate.
network Rich {
    input image [16x16x3] (range=255,
                           mean=(0.5, 0.5, 0.5))
    stem: conv(8, 3x3, pad=1) -> relu
    stage(2, 16)
    output side { dense(3) }
    arms: concat {
        left: { inner: conv(4, 1x1) -> relu }
        right: { inner: maxpool(3x3, stride=1, pad=1) }
    }
    lost: relu
    @arms flat: flatten dropout
    fc: dense(10)
}
"""
BLOCKS = """block stage(n, channels) {
    repeat n { conv(channels, 3x3, pad=1) -> batchnorm -> relu }
}
"""


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    (tmp_path / "blocks.cnn").write_text(BLOCKS, encoding="utf-8")
    (tmp_path / "rich.cnn").write_text(RICH, encoding="utf-8")
    return tmp_path / "rich.cnn"


def test_tree_shows_all_of_the_language(snapshot: SnapshotAssertion) -> None:
    assert show(parse(EVERYTHING, "all.cnn")) == snapshot


def test_tree_needs_no_sense(run, tmp_path: Path) -> None:
    """It shows what was read where the layers, shapes and used files are wrong."""
    path = tmp_path / "wrong.cnn"
    path.write_text('use "nowhere.cnn"\nnetwork N { input x [1x1x1] rleu(9x9) }\n', encoding="utf-8")
    result = run("inspect", path, "--stage", "tree")
    assert result.exit_code == 0
    assert "layer rleu(9x9)  # line 2" in result.stdout


def test_tree_of_one_network(run, tmp_path: Path) -> None:
    path = tmp_path / "two.cnn"
    path.write_text("network A { input x [1] relu }\nnetwork B { input x [1] tanh }\n", encoding="utf-8")
    text = run("inspect", f"{path}:B", "--stage", "tree").stdout
    assert ("tanh" in text, "relu" in text) == (True, False)
    result = run("inspect", f"{path}:Bb", "--stage", "tree")
    assert (result.exit_code, "did you mean `B`?" in result.stderr) == (1, True)


@pytest.mark.parametrize("stage", ["graph", "simplified", "groups"])
def test_stages(run, tiny: Path, snapshot: SnapshotAssertion, stage: str) -> None:
    result = run("inspect", tiny, "--stage", stage)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == snapshot


def test_graph_is_the_default(run, tiny: Path) -> None:
    assert run("inspect", tiny).stdout == run("inspect", tiny, "--stage", "graph").stdout


def test_settings_reach_the_graph(run, tiny: Path) -> None:
    assert "dense(9)" in run("inspect", tiny, "--set", "classes=9").stdout


def test_plan_follows_its_options(run, tiny: Path) -> None:
    first = run("inspect", tiny, "--stage", "plan").stdout.splitlines()[0]
    assert first == "plan Tiny for interpreter in fp32, tiles for a batch of 1"
    arguments = ["--stage", "plan", "--target", "sm_90", "--dtype", "fp16", "--batch", "16"]
    first = run("inspect", tiny, *arguments).stdout.splitlines()[0]
    assert first == "plan Tiny for sm_90 in fp16, tiles for a batch of 16"


def split(text: str) -> dict[str, str]:
    """The files that `--stage source` printed, by their place in the package."""
    parts = re.split(r"^# ---- (\S+) -+\n", text, flags=re.MULTILINE)
    assert parts[0] == ""
    return dict(zip(parts[1::2], (f"{part.rstrip()}\n" for part in parts[2::2]), strict=True))


def test_source_is_what_runs(run, tiny: Path) -> None:
    import cnndsl

    files = split(run("inspect", tiny, "--stage", "source").stdout)
    folder = cnndsl.compile(tiny, device="cpu").source_path.parent
    assert list(files) == ["network.py", "kernels/conv1.py", "kernels/pool1.py", "kernels/fc.py"]
    for name, text in files.items():
        assert text == (folder / name).read_text(encoding="utf-8")
        ast.parse(text)
    assert {path.name for path in (folder / "kernels").glob("*.py")} == {"__init__.py", "conv1.py", "pool1.py", "fc.py"}
    # One file alone can be piped into a file of that name.
    for name in ("network.py", "conv1", "relu1", "kernels/pool1.py", "fc.py"):
        text = run("inspect", tiny, name).stdout
        assert text in files.values(), name
    assert run("inspect", tiny, "relu1").stdout == files["kernels/conv1.py"]


def test_unknown_target(run, tiny: Path) -> None:
    result = run("inspect", tiny, "--stage", "plan", "--target", "sm90")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error[E0703]: there is no target `sm90`" in result.stderr
    assert "did you mean `sm_90`?" in result.stderr


# --- lines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [None, 100, 40], ids=str)
def test_lines(
    run, rich: Path, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch, width: int | None
) -> None:
    """Beside the text, or below each line where there is no room."""
    monkeypatch.chdir(rich.parent)
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    result = run("inspect", rich.name, "--stage", "lines")
    assert (result.exit_code, result.stderr) == (0, "")
    if width == 100:
        assert max(map(len, result.stdout.splitlines())) <= width
    assert result.stdout == snapshot


def test_lines_as_json(run, rich: Path) -> None:
    data = json.loads(run("inspect", rich, "--stage", "lines", "--json").stdout)
    assert (data["ok"], data["network"], len(data["files"])) == (True, "Rich", 2)
    (line,) = (line for line in data["files"][0]["lines"] if "stage(2" in line["text"])
    assert line["kernels"] == ["stage1_conv1", "stage1_conv2"]


# --- LAYER -----------------------------------------------------------------------------------------

CHOICES = {
    "stem": ["stem"],
    "relu1": ["stem"],
    "stem.py": ["stem"],
    "stage1.batchnorm2": ["stage1_conv2"],
    "stage1_conv2": ["stage1_conv2"],
    "stage1": ["stage1_conv1", "stage1_conv2"],
    "side": ["side_dense1"],
    "inner": ["left_inner", "right_inner"],
    "left": ["left_inner"],
    "7": ["stem"],
    "8": ["stage1_conv1", "stage1_conv2"],
    "blocks.cnn:2": ["stage1_conv1", "stage1_conv2"],
    "main": ["fc"],
}


@pytest.mark.parametrize("wanted", CHOICES)
def test_choices(run, rich: Path, wanted: str) -> None:
    result = run("inspect", rich, wanted, "--stage", "source")
    assert result.exit_code == 0, result.stderr
    launchers = re.findall(r"^# Digest", result.stdout, re.MULTILINE)
    assert len(launchers) == len(CHOICES[wanted])
    if len(launchers) > 1:
        assert list(split(result.stdout)) == [f"kernels/{name}.py" for name in CHOICES[wanted]]
    else:
        names = CHOICES[wanted][0].replace("_", ".")
        assert result.stdout.startswith(f"# {names}")
        assert "----" not in result.stdout


FREE = {
    "image": "image is an input: the tensor that the caller passes",
    "dropout1": "dropout1 (dropout) needs no kernel: does nothing at inference",
    "arms": "arms (concat) needs no kernel: its inputs are written side by side into one buffer, where it lies",
    "flat": "flat (flatten) needs no kernel: the dense layers after it order their weights as the map lies",
    "lost": "lost (relu) needs no kernel: no output depends on it",
}


@pytest.mark.parametrize("wanted", FREE)
def test_layers_without_a_kernel(run, rich: Path, wanted: str) -> None:
    for stage in ("source", "ptx", "resources", "plan"):
        result = run("inspect", rich, wanted, "--stage", stage, "--target", "sm_90")
        assert (result.exit_code, result.stderr) == (0, f"{FREE[wanted]}\n")
        assert ("stem" in result.stdout, result.stdout == "") == (False, stage != "plan")


def test_folded_layers_are_shown_with_a_word(run, rich: Path) -> None:
    result = run("inspect", rich, "stage1.batchnorm1")
    said = "stage1.batchnorm1 (batchnorm) is folded into the weights of stage1.conv1, in kernel stage1_conv1\n"
    assert (result.exit_code, result.stderr) == (0, said)
    assert result.stdout.startswith("# stage1.conv1 + stage1.batchnorm1 + stage1.relu1 of Rich\n")


WRONG = {
    "stem2": ("there is no layer, kernel, label or line `stem2`", "did you mean `stem`?"),
    "batchnorm3": ("there is no layer, kernel, label or line `batchnorm3`", "did you mean `batchnorm1`?"),
    "qqqq": ("there is no layer, kernel, label or line `qqqq`", "layers are image, stem, relu1, "),
    "1": ('line 1 of rich.cnn holds no layer: use "blocks.cnn"', "line 5: input image [16x16x3]"),
    "2": ("line 2 of rich.cnn holds no layer: it is empty", "line 5"),
    "99": ("rich.cnn has 17 lines, and no line 99", ""),
    "0": ("rich.cnn has 17 lines, and no line 0", ""),
    "blocks.cnn:1": ("line 1 of blocks.cnn holds no layer: block stage(n, channels) {", "line 2"),
    "block.cnn:2": ("no layer of the network comes from block.cnn", "did you mean blocks.cnn:2?"),
    "": ("there is no layer, kernel, label or line ``", ""),
    # Python reads no number of so many digits.
    "9" * 5000: ("there is no layer, kernel, label or line `".ljust(600, "9") + "...", ""),
}


@pytest.mark.parametrize("wanted", WRONG, ids=lambda wanted: wanted[:20])
def test_wrong_choices(run, rich: Path, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.chdir(rich.parent)
    result = run("inspect", rich.name, wanted)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error[E0707]: {WRONG[wanted][0]}\n")
    assert WRONG[wanted][1] in result.stderr


def test_a_line_of_a_file_that_is_used(run, tmp_path: Path) -> None:
    """Stages print a line's number without its file."""
    (tmp_path / "b.cnn").write_text("block b {\n\n\n\n conv(8, 1x1)\n}", "utf-8")
    (tmp_path / "n.cnn").write_text('use "b.cnn"\nnetwork N { input x [4x4x8] b }', "utf-8")
    assert "help: b.cnn:5: conv(8, 1x1)" in run("inspect", tmp_path / "n.cnn", "5").stderr
    assert "b.cnn" not in run("inspect", tmp_path / "n.cnn", "n.cnn:5").stderr
    assert run("inspect", tmp_path / "n.cnn", "b.cnn:5").exit_code == 0


def test_a_layer_called_by_a_number(run, tmp_path: Path) -> None:
    """A number is a line, but for a layer of that name."""
    path = tmp_path / "numbers.cnn"
    path.write_text("network N { input x [4x4x1]\n conv(2, 1)\n f: {\n 2: relu 3: tanh }\n 3: sigmoid }", "utf-8")
    assert run("inspect", path, "3").stdout.startswith("# 3 of N")
    assert run("inspect", path, "2").stdout.startswith("# conv1 + f.2 of N")
    assert "`numbers.cnn:3`" not in run("inspect", path, f"{path}:3").stdout
    assert run("inspect", path, "5").stdout.startswith("# 3 of N")
    assert run("inspect", path, "numbers.cnn:4").stdout.startswith("# ---- kernels/conv1.py")


def test_files_of_one_name(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for filters, folder in ((8, "one"), (9, "two")):
        Path(folder).mkdir()
        Path(folder, "b.cnn").write_text(f"block {folder} {{\n conv({filters}, 1x1) }}", "utf-8")
    uses = 'use "one/b.cnn"\nuse "./two/b.cnn"\n'
    Path("n.cnn").write_text(f"{uses}network N {{ input x [4x4x8] tanh one two }}", "utf-8")
    result = run("inspect", "n.cnn", "b.cnn:2")
    assert (result.exit_code, result.stdout) == (1, "")
    said = "error[E0707]: 2 files are called b.cnn\n  = help: write one/b.cnn:2 or two/b.cnn:2\n"
    assert result.stderr.replace("./", "") == said
    assert run("inspect", "n.cnn", "two/b.cnn:2").stdout.startswith("# two1.conv1 of N")
    assert run("inspect", "n.cnn", "./one/b.cnn:2").stdout.startswith("# one1.conv1 of N")
    # The whole name of one is the end of the others'.
    Path("b.cnn").write_text(Path("n.cnn").read_text("utf-8"), "utf-8")
    assert "kernels/tanh1.py" in run("inspect", "b.cnn", "b.cnn:3").stdout
    assert "n.cnn has 3 lines" in run("inspect", "n.cnn", "n.cnn:4").stderr


@pytest.mark.parametrize(("stage", "expected"), [
    ("graph", ["stage1.relu2 = relu <- stage1.batchnorm2 [16x16x16] # blocks.cnn:2"]),
    ("simplified", ["stage1.relu2 = relu <- stage1.conv2 [16x16x16] # blocks.cnn:2"]),
    ("groups", ["3 stage1.conv2 + stage1.batchnorm2 + stage1.relu2 blocks.cnn:2"]),
    ("plan", ["2 stage1.conv2 + stage1.batchnorm2 + stage1.relu2 blocks.cnn:2", "stage1.relu1 -> [16x16x16] in buf3"]),
    ("lines", ["8 stage(2, 16) stage1_conv2", f"2 {BLOCKS.splitlines()[1].strip()} stage1_conv2"]),
])
def test_stages_of_a_layer(run, rich: Path, stage: str, expected: list[str]) -> None:
    whole, text = (
        [" ".join(line.split()) for line in run("inspect", rich, *layer, "--stage", stage).stdout.splitlines()]
        for layer in ([], ["stage1.relu2"])
    )
    if stage == "lines":  # what became of other layers on these lines is left out
        whole += expected
    assert set(text) < set(whole)
    assert set(expected) <= set(text)
    assert not [line for line in text if "stem" in line]


# --- options that do not go together ---------------------------------------------------------------

USAGE = {
    ("--stage", "plan", "--target", "sm_80", "--target", "sm_90"): "compare two targets with --diff",
    ("--stage", "resources", "--target", "sm_80", "--target", "sm_90", "--diff", "fp16"): "--diff is for one --target",
    ("--json",): "--json goes with --stage lines and --stage resources, without --diff",
    ("--stage", "lines", "--json", "--diff", "fp16"): "without --diff",
    ("conv1", "--stage", "tree"): "--stage tree is of a file: it takes no LAYER",
}


@pytest.mark.parametrize("options", USAGE, ids=" ".join)
def test_options_that_do_not_go_together(run, tiny: Path, options: tuple[str, ...]) -> None:
    result = run("inspect", tiny, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert USAGE[options] in " ".join(result.stderr.split())


@pytest.mark.parametrize(("stage", "target", "message"), [
    ("ptx", "gfx942", "gfx942 has no ptx\n  = note: its stages are source, ttir, ttgir, llir, amdgcn and resources\n"),
    ("amdgcn", "sm_90", "sm_90 has no amdgcn\n  = note: its stages are source, ttir, ttgir, llir, ptx, sass and "),
    ("ttir", "interpreter", "the interpreter has no ttir\n  = note: it runs the sources as they are: --stage source\n"),
    ("resources", "cpu", "the interpreter has no resources\n"),
])
def test_stages_that_a_target_lacks(run, tiny: Path, stage: str, target: str, message: str) -> None:
    result = run("inspect", tiny, "--stage", stage, "--target", target)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error[E0708]: {message}")


# --- --diff of texts -------------------------------------------------------------------------------


def test_difference_of_networks(run, tiny: Path, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    other = tiny.read_text("utf-8").replace("    conv1", "    # wider\n    conv1").replace("conv(6", "conv(16")
    Path("other.cnn").write_text(other.replace("network Tiny(", "network Other(width = 2, "), "utf-8")
    for stage in ("graph", "tree"):
        result = run("inspect", "tiny.cnn", "--stage", stage, "--diff", "other.cnn", "--set", "classes=5")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == snapshot(name=stage)
    result = run("inspect", "tiny.cnn", "conv1", "--diff", "other.cnn")
    assert "\n-    k_in = k < 6\n+    k_in = k < 16\n" in result.stdout
    assert result.stderr == "tiny.cnn and other.cnn differ in conv1\n"
    # A parameter that the other network does not have is set in this one alone.
    narrow = other.replace("(classes = 4)", "").replace("dense(classes)", "dense(5)")
    Path("narrow.cnn").write_text(narrow, "utf-8")
    lines = run("inspect", "other.cnn", "--diff", "narrow.cnn", "--set", "classes=5").stdout.splitlines()
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-graph Other", "+graph Tiny"]
    result_of_all = run("inspect", "tiny.cnn", "network.py", "--diff", "other.cnn").stdout
    assert '-    "conv1.weight": (6, 3, 3, 3),\n' in result_of_all
    assert "tl.store" not in result_of_all
    # Line 3 of the other network is a comment: it is the layers' names that count.
    assert run("inspect", "tiny.cnn", "3", "--diff", "other.cnn").stdout == result.stdout


def test_difference_of_types_and_targets(run, tiny: Path) -> None:
    result = run("inspect", tiny, "conv1", "--target", "sm_90", "--dtype", "fp16", "--diff", "fp32")
    assert (result.exit_code, result.stderr) == (0, "fp16 and fp32 differ in conv1\n")
    lines = result.stdout.splitlines()
    assert lines[:2] == ["--- conv1 (fp16)", "+++ conv1 (fp32)"]
    assert [line for line in lines if line.startswith("-# Parameters: x_ptr *fp16")]
    assert not [line for line in lines if line[:1] in "+-" and "Digest" in line]
    # The same text for another name of a target, but for that name and the digest.
    result = run("inspect", tiny, "--stage", "source", "--target", "sm_86", "--diff", "sm_89")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no difference between sm_86 and sm_89\n"
    assert run("inspect", tiny, "--diff", "fp16").stderr == "no difference between fp32 and fp16\n"


def test_kernels_that_one_network_alone_has(run, tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.cnn"
    other.write_text(tiny.read_text("utf-8").replace("pool1: maxpool(2x2)", "tanh").replace("fc:", "fc2:"), "utf-8")
    result = run("inspect", tiny, "--stage", "source", "--diff", other)
    assert f"--- pool1 ({tiny})\n+++ /dev/null\nonly {tiny} has kernels/pool1.py\n" in result.stdout
    assert f"--- /dev/null\n+++ fc2 ({other})\nonly {other} has kernels/fc2.py\n" in result.stdout
    assert "differ in network.py, pool1, fc, tanh1 and fc2; no difference in conv1\n" in result.stderr
    # A layer that the other network does not have.
    result = run("inspect", tiny, "pool1", "--diff", other)
    assert (result.exit_code, "only" in result.stdout) == (0, True)


@pytest.mark.parametrize(("other", "code", "hint"), [
    ("sm80", "E0709", "did you mean `sm_80`?"),
    ("fp8", "E0709", "gfx950, fp32, tf32, fp16 and bf16"),
    ("whatever", "E0709", "targets and types are interpreter, sm_80, "),
    ("gone.cnn", "E0110", "there is no such file"),
])
def test_nothing_to_compare_with(run, tiny: Path, other: str, code: str, hint: str) -> None:
    result = run("inspect", tiny, "--diff", other)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error[{code}]: ")
    assert hint in result.stderr
