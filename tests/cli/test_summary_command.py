"""``cnndsl summary`` at every width and in every format."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from cnndsl.cli.summary_table import to_text
from cnndsl.figures import compact
from cnndsl.files import choose_network, load_path, load_text
from cnndsl.passes.elaborate import elaborate
from cnndsl.summary import Summary, summarize

EXAMPLES = Path(__file__).parents[2] / "examples"

NESTED = """block residual(c) {
    add {
        { conv1: conv(c, 3x3, pad=1, bias=false) -> bn1: batchnorm -> relu -> conv2: conv(c, 3x3, pad=1) }
        downsample: { conv(c, 1x1) -> batchnorm }
    }
    relu
}
network Nested(classes = 1000000) {
    input image [512x512x3]
    a_rather_long_name_for_a_stage: repeat 3 { residual(64) -> residual(128) }
    globalavgpool -> dense(classes)
}
"""


def nested() -> Summary:
    program = load_text(NESTED)
    return summarize(elaborate(program, choose_network(program, None)))


def example(name: str) -> Summary:
    program = load_path(EXAMPLES / f"{name}.cnn")
    return summarize(elaborate(program, choose_network(program, None)))


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_tables(run, monkeypatch, snapshot: SnapshotAssertion, name: str, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result: Result = run("summary", EXAMPLES / f"{name}.cnn")
    assert (result.exit_code, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert result.stdout == snapshot


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
@pytest.mark.parametrize("format_", ["markdown", "json"])
def test_other_formats(run, monkeypatch, snapshot: SnapshotAssertion, name: str, format_: str) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    result: Result = run("summary", f"examples/{name}.cnn", "--format", format_)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == snapshot


def test_a_pipe_has_no_width(run) -> None:
    """Every layer on one line, for grep, and no escape codes."""
    lines = run("summary", EXAMPLES / "vgg16.cnn").stdout.splitlines()
    assert "\x1b" not in "".join(lines)
    rows = [line for line in lines if re.match(r"(image|stage\d\.|fc\d)", line)]
    assert len(rows) == 22
    text = "stage1.conv1 conv(64, 3x3, pad=1) -> relu [224x224x64] 1,792 1,728 86,704,128 3.2M 12.2 MiB"
    assert " ".join(rows[1].split()) == text


@given(st.sampled_from(["alexnet", "vgg16_bn", "nested"]), st.integers(37, 240))
def test_no_width_garbles(name: str, width: int) -> None:
    summary = nested() if name == "nested" else example(name)
    lines = list(to_text(summary, width))
    assert max(map(len, lines)) <= width
    first, last = (i for i, line in enumerate(lines) if line.startswith("---"))
    header, body = lines[2], lines[first + 1 : last]
    read = table(header, body) if "layer" in header else stacked(body)
    # Put together again, no name, layer, shape or figure misses a character; figures may be rounded.
    parameters, macs = rounding(header)
    assert [(name, text, figures[:3]) for name, text, figures in read] == [
        (row.name, row.text.replace(" ", ""), [str(row.type), parameters(row.parameters), macs(row.macs)])
        for row in summary.rows
    ]
    assert f"{summary.parameters:,}" in "".join(lines[last:])
    figures = [line for line in lines[2:last] if re.search(r"(\bB|KiB|MiB|memory)$", line)]
    assert len({len(line) for line in figures}) == 1, "figures stand to the right"


def rounding(header: str) -> tuple[Callable[[int], str], Callable[[int], str]]:
    """How a table of this header prints parameters and MACs."""
    exact = "{:,}".format
    spaces = re.findall(r" +(?=MACs)", header)[0]
    return (compact if "params" in header else exact), (exact if len(spaces) > 6 else compact)


def table(header: str, lines: list[str]) -> list[tuple[str, str, list[str]]]:
    """The names, layers and figures (weights left out) of a table with a line or more for each row."""
    layer, end = header.index("layer"), min(line.index("[") for line in lines if "[" in line)
    rows: list[tuple[str, str, list[str]]] = []
    for line in lines:
        figures = line[end - 1 :].split()
        if figures:
            if "weights" in header:
                del figures[2]
            rows.append(("", "", figures))
        name, text, found = rows[-1]
        rows[-1] = (name + line[:layer].strip(), text + line[layer : end - 1].replace(" ", ""), found)
    return rows


def stacked(lines: list[str]) -> list[tuple[str, str, list[str]]]:
    """The same of a table with the figures below each layer."""
    rows, words = [], ""
    for line in lines:
        if re.match(r" *\[\d", line):
            name, text = words.split(":", 1)
            rows.append((name, text, line.split()))
            words = ""
        else:
            words += line.replace(" ", "")
    return rows


def test_batch_and_settings(run) -> None:
    text = run("summary", EXAMPLES / "alexnet.cnn", "--batch", 128, "--set", "classes=10").stdout
    assert text.startswith("AlexNet(classes=10), batch 128\n")
    assert re.search(r"^fc8 +dense\(10\) +\[10\] +40,970 +40,960 +40,960 +10 +5\.0 KiB$", text, re.MULTILINE)
    assert "for a batch of 128" in text


def test_markdown_is_a_table(run) -> None:
    lines = run("summary", EXAMPLES / "alexnet.cnn", "--format", "markdown").stdout.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 14 + 1
    assert {line.count("|") for line in table} == {9}
    assert re.fullmatch(r"\|(:?---+:?\|){8}", table[1])


def test_json_has_every_layer_in_exact_figures(run, tiny: Path) -> None:
    data = json.loads(run("summary", tiny, "--format", "json", "--batch", 2).stdout)
    assert data == json.loads(run("summary", tiny, "--json", "--batch", 2).stdout)
    assert [layer["name"] for layer in data["layers"]] == ["image", "conv1", "relu1", "pool1", "fc"]
    conv = data["layers"][1]
    assert conv == {
        "name": "conv1", "row": "conv1", "kind": "conv", "text": "conv(6, 3x3, pad=1)", "inputs": ["image"],
        "shape": [8, 8, 6], "values": 384, "bytes": 2 * 4 * 384, "parameters": 168, "weights": 162,
        "biases": 6, "buffers": 0, "macs": 64 * 6 * 27, "calls": [],
        "span": {"file": str(tiny), "line": 3, "column": 12, "end_line": 3, "end_column": 31},
    }
    assert data["totals"] == {
        "parameters": 168 + 388, "weights": 162 + 384, "biases": 6 + 4, "buffers": 0,
        "macs": 64 * 6 * 27 + 384, "flops": 2 * (64 * 6 * 27 + 384), "gflops": round(21504 / 1e9, 6),
        "values": 192 + 384 + 96 + 4, "activation_bytes": 8 * 676, "weight_bytes": 4 * 556,
        # The convolution's result and the pool's, 96 values to which 32 are added so that what follows is aligned.
        "arena_bytes": 8 * (384 + 128), "arena_bound_bytes": 8 * 512,
    }
    assert (data["ok"], data["batch"], data["outputs"]) == (True, 2, {"main": "fc"})


def test_mistakes_as_json(run, tmp_path: Path) -> None:
    path = tmp_path / "bad.cnn"
    path.write_text("network N { input x [8x8x3] rleu }", encoding="utf-8")
    result = run("summary", path, "--format", "json")
    assert (result.exit_code, result.stderr) == (1, "")
    data = json.loads(result.stdout)
    assert data["ok"] is False
    assert [(d["code"], d["line"], d["column"]) for d in data["diagnostics"]] == [("E0201", 1, 29)]


@pytest.mark.parametrize("batch", ["0", "-1", "x", "9999999999"])
def test_impossible_batches(run, tiny: Path, batch: str) -> None:
    result = run("summary", tiny, "--batch", batch)
    assert result.exit_code == 2
    assert "--batch" in result.stderr
