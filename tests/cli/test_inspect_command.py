"""``cnndsl inspect``."""

import ast
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


def test_source_is_the_file_that_runs(run, tiny: Path) -> None:
    import cnndsl

    text = run("inspect", tiny, "--stage", "source").stdout
    net = cnndsl.compile(tiny, device="cpu")
    assert text == net.source_path.read_text(encoding="utf-8")
    assert "forward" in [getattr(item, "name", None) for item in ast.parse(text).body]


def test_unknown_target(run, tiny: Path) -> None:
    result = run("inspect", tiny, "--stage", "plan", "--target", "sm90")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error[E0703]: there is no target `sm90`" in result.stderr
    assert "did you mean `sm_90`?" in result.stderr
