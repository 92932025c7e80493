"""``cnndsl check``, and how every command prints mistakes."""

import json
from pathlib import Path

import pytest

BAD = """block b(n) { conv(n, 3x3) -> rleu }
network A { input x [8x8x3] b(4) dense(10) }
network B(classes = 3) { input x [8x8x3] b(4) dense(clases) }
"""
TWO = """network A(classes = 3) { input x [8x8x3] dense(classes) }
network B(width = 2) { input x [8x8x3] conv(width, 3x3) }
"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.cnn"
    path.write_text(BAD, encoding="utf-8")
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.cnn"
    path.write_text(TWO, encoding="utf-8")
    return path


def test_one_line_for_each_network(run, tiny: Path, two: Path) -> None:
    result = run("check", tiny, two)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{tiny}: Tiny ok, 4 layers, 556 parameters, 10.8K MACs, [8x8x3] -> [4]",
        f"{two}: A ok, 1 layer, 579 parameters, 576 MACs, [8x8x3] -> [3]",
        f"{two}: B ok, 1 layer, 56 parameters, 1.9K MACs, [8x8x3] -> [6x6x2]",
    ]


def test_all_mistakes_of_all_networks_and_files(run, bad: Path, tiny: Path) -> None:
    result = run("check", bad, tiny, bad.with_name("none.cnn"))
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{tiny}: Tiny ok")
    # The block's mistake once, though both networks have it.
    assert result.stderr.count("error[E0201]: unknown layer `rleu`") == 1
    assert result.stderr.count("error[E0208]: unknown name `clases`") == 1
    assert f"{bad}: 2 mistakes\n" in result.stderr
    assert f"error[E0110]: cannot read {bad.with_name('none.cnn')}" in result.stderr
    assert "\x1b" not in result.stderr


def test_json(run, bad: Path, tiny: Path) -> None:
    result = run("check", bad, tiny, "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    data = json.loads(result.stdout)
    assert data["ok"] is False
    places = [(d["code"], d["line"], d["column"]) for d in data["diagnostics"]]
    assert places == [("E0201", 1, 30), ("E0208", 3, 53)]
    assert [(f["file"], f["ok"], len(f["diagnostics"])) for f in data["files"]] == [
        (str(bad), False, 2),
        (str(tiny), True, 0),
    ]
    network = {"name": "Tiny", "settings": {"classes": 4}, "layers": 5, "parameters": 556, "macs": 10_752}
    assert data["files"][1]["networks"] == [network]


def test_json_when_all_is_well(run, tiny: Path) -> None:
    result = run("check", tiny, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["ok"] is True


def test_one_network_of_several(run, bad: Path, two: Path) -> None:
    assert run("check", f"{two}:B").stdout.count("\n") == 1
    result = run("check", f"{bad}:A")
    assert (result.exit_code, "E0208" in result.stderr) == (1, False)
    result = run("check", f"{two}:C")
    assert result.exit_code == 1
    assert "there is no network `C`" in result.stderr


def test_settings_go_to_the_networks_that_have_them(run, two: Path) -> None:
    result = run("check", two, "--set", "classes=7", "--set", "width=5")
    assert result.exit_code == 0
    assert "[8x8x3] -> [7]" in result.stdout
    assert "[8x8x3] -> [6x6x5]" in result.stdout
    result = run("check", two, "--set", "clases=7")
    assert result.exit_code == 1
    assert "has no parameter `clases`" in result.stderr
    assert "did you mean `classes`?" in result.stderr
    # Asked for by name, a network refuses what only its neighbour has.
    assert run("check", f"{two}:B", "--set", "classes=7").exit_code == 1


def test_a_file_of_blocks(run, examples: Path) -> None:
    assert run("check", examples / "vgg.cnn").stdout == f"{examples / 'vgg.cnn'}: ok, 1 block, no network\n"


def test_a_file_of_nothing(run, tmp_path: Path) -> None:
    (tmp_path / "empty.cnn").write_text("# nothing\n", encoding="utf-8")
    result = run("check", tmp_path / "empty.cnn")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "holds no network" in result.stderr


def test_standard_input(run, tiny: Path) -> None:
    result = run("check", "-", input=tiny.read_text())
    assert result.stdout.startswith("-: Tiny ok")
    result = run("check", "-", input="network N { input x [8x8x3] rleu }")
    assert result.exit_code == 1
    assert "  --> <stdin>:1:29\n" in result.stderr
    result = run("check", "-", input=b"\xff\xfe\x00")
    assert result.exit_code == 1
    assert "<stdin> is not a text in UTF-8: byte 0xff on line 1" in result.stderr


def test_colour_is_forced_and_refused(run, monkeypatch, bad: Path) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1;31merror[E0201]\x1b[0m" in run("check", bad).stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("check", bad).stderr


def test_every_example_is_well(run, examples: Path) -> None:
    result = run("check", *sorted(examples.glob("*.cnn")))
    assert (result.exit_code, result.stderr) == (0, "")
