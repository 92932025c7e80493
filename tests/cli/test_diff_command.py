"""``cnndsl diff``: what it prints, for people and for tools."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

CFG = "[net]\nheight=8\nwidth=8\nchannels=3\n[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=relu\n"


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "net.cfg"
    path.write_text(CFG, encoding="utf-8")
    return path


def network(path: Path, *layers: str, head: str = "input image [8x8x3]") -> Path:
    path.write_text(f"network Net {{\n{head}\n" + "\n".join(layers) + "\n}\n", encoding="utf-8")
    return path


def table(text: str) -> list[str]:
    """The lines between the rule below the titles and the totals."""
    lines = text.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("---")) + 1 : lines.index("", 4)]


def test_settings_need_a_cnn_file(run: Run, cfg: Path, tmp_path: Path) -> None:
    result = run("diff", cfg, cfg, "--set", "classes=3")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--set is for parameters of .cnn files: neither A nor B is one" in result.stderr
    own = tmp_path / "own.cnn"
    own.write_text("network Net(n = 5) { input image [8x8x3] conv(n, 3x3, pad=1) -> relu }", encoding="utf-8")
    for pair in ((cfg, own), (own, cfg)):
        assert run("diff", *pair, "--set", "n=4", "--exit-code").exit_code == 0
        assert run("diff", *pair, "--exit-code").exit_code == 1
        assert run("diff", *pair, "--set", "m=4").exit_code == 1


def test_what_a_format_does_not_say(run: Run, cfg: Path, tmp_path: Path) -> None:
    own = network(tmp_path / "own.cnn", "conv(4, 3x3, pad=1) -> relu", head="input image [8x8x3] (resize=9, mean=0.5)")
    result = run("diff", cfg, own, "--exit-code")
    assert result.exit_code == 0, result.stdout
    assert "pictures    only B says how pictures become `image`: resize 9, mean (0.5,)" in result.stdout
    assert "both compute the same numbers" in result.stdout
    found = json.loads(run("diff", own, cfg, "--json").stdout)
    assert found["same"]
    assert found["unsaid"] == ["only A says how pictures become `image`: resize 9, mean (0.5,)"]
    # Two .cnn files say it both, by leaving it out too.
    other = network(tmp_path / "other.cnn", "conv(4, 3x3, pad=1) -> relu")
    assert run("diff", other, own, "--exit-code").exit_code == 1


def test_weights_are_no_network(run: Run, cfg: Path) -> None:
    result = run("diff", cfg, "net.pth")
    assert result.exit_code == 2
    assert "`cnndsl weights check NET.cnn net.pth` holds them against one" in result.stderr


def test_layers_of_one_kind_are_one_line(run: Run, tmp_path: Path) -> None:
    a = network(tmp_path / "a.cnn", "conv(4, 3x3)", "repeat 2 { conv(4, 3x3, pad=1) -> relu }", "dense(5)")
    b = network(tmp_path / "b.cnn", "conv(4, 3x3)", "dense(5)")
    rows = table(run("diff", a, b).stdout)
    assert [row.split()[0] for row in rows if not row.startswith("  ")] == ["<"]
    assert rows[1].startswith("<  conv2 .. relu2: 4 layers ")
    assert rows[1].split()[-2:] == ["296", "10.4K"]  # 2 x (4x3x3x4 + 4) parameters, 2 x 6x6 x 4x3x3x4 MACs
    each = table(run("diff", a, b, "--all").stdout)
    assert sum(row.startswith("<") for row in each) == 4


def test_layers_alike_on_other_shapes_are_one_line(run: Run, tmp_path: Path) -> None:
    body = ("repeat 2 { conv(3, 3x3, pad=1) -> relu }", "globalavgpool", "dense(5)")
    a = network(tmp_path / "a.cnn", "maxpool(2x2)", *body)
    b = network(tmp_path / "b.cnn", "maxpool(4x4)", *body)
    result = run("diff", a, b)
    rows = table(result.stdout)
    place = next(i for i, row in enumerate(rows) if row.endswith("they read tensors of another shape"))
    assert "conv1 .. relu2: 4 layers alike" in rows[place - 1]
    assert rows[place - 1].endswith("168  2.6K | 648")  # 2 x (3x3x3x3 + 3); 2 x 81 x 4x4 against 2 x 81 x 2x2
    assert "5 of another shape" in result.stdout
    # Where a layer has other weights it has a line of its own.
    c = network(tmp_path / "c.cnn", "maxpool(4x4)", "conv(2, 1x1)", *body)
    d = network(tmp_path / "d.cnn", "maxpool(2x2)", "conv(1, 1x1)", *body)
    rows = table(run("diff", c, d).stdout)
    assert any(row.startswith("!  conv2: conv(3, 3x3, pad=1)") for row in rows)


def test_a_narrow_terminal_tells_the_two_apart(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    a = network(tmp_path / "a.cnn", "first: conv(4, 3x3, stride=2) -> relu")
    b = network(tmp_path / "b.cnn", "first: conv(4, 3x3, stride=3, bias=false) -> relu")
    lines = run("diff", a, b).stdout.splitlines()
    assert "! first: conv(4, 3x3, stride=2)" in lines
    assert "  | first: conv(4, 3x3, stride=3," in lines
    assert "    [3x3x4] | [2x2x4], 112 | 108 params," in lines
    assert max(map(len, lines[2:])) <= 40


def test_the_same_every_time(run: Run, tmp_path: Path) -> None:
    outputs = [f"output o{n} {{ relu }}" for n in range(9)]
    a = network(tmp_path / "a.cnn", "a: conv(4, 1x1)", *outputs)
    b = network(tmp_path / "b.cnn", "a: conv(4, 1x1)")
    told = [line for line in run("diff", a, b).stdout.splitlines() if "is only in A" in line]
    assert told[0] == "outputs     output o0 is only in A"
    assert told[1:] == [f"            output o{n} is only in A" for n in range(1, 9)]


def test_long_names_break_at_their_dots(run: Run, monkeypatch: pytest.MonkeyPatch, examples: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    rows = table(run("diff", examples / "googlenet.cnn", examples / "googlenet_torchvision.cnn").stdout)
    words = {word for row in rows for word in row.split() if word.startswith("inception_3a.conv_3x3")}
    assert words == {"inception_3a.conv_3x3:", "inception_3a.conv_3x3_"}  # not inception_3a.conv_3x3_r


def test_a_note_on_folded_batch_norms(run: Run, tmp_path: Path) -> None:
    a = network(tmp_path / "a.cnn", "conv(4, 3x3, bias=false) -> batchnorm -> relu")
    b = network(tmp_path / "b.cnn", "conv(4, 3x3) -> relu")
    note = "B has no batch norms where A has them behind 1 convolution: they may be folded into B's weights"
    result = run("diff", a, b, "--exit-code")
    assert (result.exit_code, f"\nnote        {note}\nverdict " in result.stdout) == (1, True)
    assert json.loads(run("diff", a, b, "--json").stdout)["notes"] == [note]
    assert json.loads(run("diff", a, a, "--json").stdout)["notes"] == []
    assert "\nnote " not in run("diff", a, a).stdout
