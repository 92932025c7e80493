"""``cnndsl weights show``: the tensors of a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cnndsl.weights import stats


def saved(path: Path, tensors: object) -> Path:
    torch.save(tensors, path)
    return path


def answer(run: Any, *arguments: object, code: int = 0) -> dict[str, Any]:
    result = run("weights", *arguments, "--json")
    assert result.exit_code == code, result.stderr
    data: dict[str, Any] = json.loads(result.stdout)
    assert data["ok"] == (code == 0)
    return data


def test_show(run, tmp_path: Path) -> None:
    tensors = {
        "conv1.weight": torch.ones(6, 3, 3, 3), "bn1.weight": torch.ones(6), "bn1.num_batches_tracked": torch.tensor(3),
        "fc.weight": torch.ones(4, 96, dtype=torch.float16),
    }  # fmt: skip
    path = saved(tmp_path / "w.pt", {"epoch": 3, "state_dict": {f"module.{n}": t for n, t in tensors.items()}})
    result = run("weights", "show", path)
    assert result.exit_code == 0
    assert result.stdout == (
        "tensor                   shape         type     values\n"
        "conv1.weight             [6, 3, 3, 3]  float32     162\n"
        "bn1.weight               [6]           float32       6\n"
        "bn1.num_batches_tracked  []            int64         1\n"
        "fc.weight                [4, 96]       float16     384\n"
        "\n"
        f"{path}: a file of torch.save, 4 tensors, 553 values, 1.4 KiB\n"
        "the weights stand under `state_dict`; left out: `epoch`\n"
        "every name begins with `module.`, which is left out\n"
    )
    assert result.stderr == ""


def test_show_figures(run, tmp_path: Path) -> None:
    tensors = {
        "a": torch.tensor([1.0, -2.5, 4.0]),
        "b": torch.tensor([float("nan"), 1.0, float("inf")]),
        "c": torch.tensor([7, 9]),
        "d": torch.tensor([float("nan")]),
        "e": torch.empty(0),
        "f": torch.tensor([1e308, 1e308, 1e308], dtype=torch.float64),
        "g": torch.tensor([1j]),
        "h": torch.tensor([True, False]),
        "i": torch.tensor([0.5], dtype=torch.bfloat16),
    }
    path = saved(tmp_path / "w.pt", tensors)
    found = {t["name"]: t for t in answer(run, "show", path, "--stats")["tensors"]}
    figures = {n: (t["least"], t["largest"], t["mean"], t["not_finite"]) for n, t in found.items()}
    assert figures == {
        "a": (-2.5, 4, pytest.approx(2.5 / 3), 0), "b": (1, 1, 1, 2), "c": (7, 9, 8, 0), "d": (None, None, None, 1),
        "e": (None, None, None, 0), "f": (1e308, 1e308, None, 0), "g": (None, None, None, 0), "h": (0, 1, 0.5, 0),
        "i": (0.5, 0.5, 0.5, 0),
    }  # fmt: skip
    text = run("weights", "show", path, "--stats").stdout.splitlines()
    assert text[0].split() == ["tensor", "shape", "type", "values", "least", "largest", "mean", "not", "finite"]
    assert text[2].split() == ["b", "[3]", "float32", "3", "1", "1", "1", "2"]
    assert "least" not in answer(run, "show", path)["tensors"][0]


def test_figures_of_more_values_than_are_taken_at_once(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(10, 100, generator=torch.Generator().manual_seed(3))
    whole = stats.stats_of(values)
    monkeypatch.setattr(stats, "CHUNK", 7)
    assert stats.stats_of(values) == stats.Stats(whole.least, whole.most, pytest.approx(whole.mean), 0)
    assert (whole.least, whole.most) == (values.min().item(), values.max().item())
    assert whole.mean == pytest.approx(values.double().mean().item())


def test_show_reads_no_values(run, tmp_path: Path) -> None:
    """A file whose values are damaged is shown; its values are not."""
    with (tmp_path / "w.npz").open("wb") as file:
        np.savez_compressed(file, a=np.random.default_rng(1).random(40_000))
    content = bytearray((tmp_path / "w.npz").read_bytes())
    content[200_000] ^= 0xFF
    (tmp_path / "w.npz").write_bytes(content)
    assert answer(run, "show", tmp_path / "w.npz")["totals"] == {"tensors": 1, "values": 40_000, "bytes": 320_000}
    (only,) = answer(run, "show", tmp_path / "w.npz", "--stats", code=1)["diagnostics"]
    assert only["code"] == "E0401"


def test_show_darknet(run, tmp_path: Path) -> None:
    (tmp_path / "w.weights").write_bytes(np.array([0, 2, 0, 64000, 0], "<i4").tobytes() + bytes(400))
    assert run("weights", "show", tmp_path / "w.weights").stdout == (
        f"{tmp_path / 'w.weights'}: a Darknet file, version 0.2.0, trained on 64,000 pictures, 100 values\n"
        "its values have no names or shapes; `cnndsl weights check NET FILE` tells whose they are\n"
    )
    assert answer(run, "show", tmp_path / "w.weights")["totals"]["values"] == 100


def test_names_do_not_steer_the_terminal(run, tmp_path: Path) -> None:
    (tmp_path / "net.cnn").write_text("network Net { input x [3] fc: dense(2) }", encoding="utf-8")
    evil = "\x1b[2Ja\nb\r\x07"
    good = {"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}
    path = saved(tmp_path / "w.pt", {evil: 1, "state_dict": good | {f"{evil}.{i}": torch.ones(2) for i in range(3)}})
    net, out = tmp_path / "net.cnn", tmp_path / "x.pt"
    for arguments in (
        ["show", path], ["show", path, "--stats"], ["check", net, path], ["check", net, path, "--allow-extra"],
        ["convert", net, path, "-o", out], ["convert", net, path, "--allow-extra", "-o", out],
    ):  # fmt: skip
        result = run("weights", *arguments)
        assert all(c.isprintable() or c == "\n" for c in result.stdout + result.stderr), arguments
        assert "a\nb" not in result.stdout
    result = run("run", net, "--weights", path, "--allow-extra")
    assert result.exit_code == 0
    assert "the weights stand under `state_dict`; left out: `\N{REPLACEMENT CHARACTER}[2Ja" in result.stderr
    long = saved(tmp_path / "l.pt", {"n" * 100_000: torch.ones(1)})
    assert len(run("weights", "show", long).stdout) < 3000
