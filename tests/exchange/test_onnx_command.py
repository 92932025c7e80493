"""``cnndsl import`` of ONNX models."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import cnndsl
from cnndsl.cli import cli
from tests.exchange.onnx_graphs import TOLERANCE, error, model, node, random_inputs, run_theirs, saved, weight


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, ["import", *map(str, arguments)], prog_name="cnndsl")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def net() -> onnx.ModelProto:
    nodes = [
        node("Conv", "image conv1.weight conv1.bias", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "b"),
        node("MaxPool", "b", "c", kernel_shape=[2, 2], strides=[2, 2]), node("Flatten", "c", "d"),
        node("Gemm", "d fc.weight fc.bias", transB=1),
    ]  # fmt: skip
    shapes = {"conv1.weight": (6, 3, 3, 3), "conv1.bias": (6,), "fc.weight": (4, 96), "fc.bias": (4,)}
    stored = [weight(name, *shape) for name, shape in shapes.items()]
    return model(nodes, {"image": (3, 8, 8)}, *stored)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the model, and no settings of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    saved(net(), tmp_path)


def test_a_network_and_its_weights() -> None:
    result = run("small.onnx", "-o", "net.cnn")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == (
        "net.cnn: Small, 4 layers, 556 parameters, [8x8x3] -> [4]\n"
        "net.safetensors: 4 tensors, 556 values, 2.2 KiB\n"
    )
    assert result.stderr == (
        "to fill in: how a picture becomes the input, which the model does not say, for example\n"
        "  input image [8x8x3] (resize=8x8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))\n"
    )
    assert sorted(os.listdir()) == ["net.cnn", "net.safetensors", "small.onnx"]
    compiled = cnndsl.compile("net.cnn", weights="net.safetensors", device="cpu")
    assert set(compiled.state_dict()) == {"conv1.weight", "conv1.bias", "fc.weight", "fc.bias"}
    inputs = random_inputs(net())
    (theirs,) = run_theirs(net(), inputs)
    import torch

    assert error(compiled(torch.from_numpy(inputs["image"])).numpy(), theirs) < TOLERANCE
    assert error(compiled(torch.from_numpy(inputs["image"]).flip(3)).numpy(), theirs) > 100 * TOLERANCE


def test_the_text_alone() -> None:
    result = run("small.onnx", "-o", "-")
    assert result.exit_code == 0, result.stderr
    assert "network Small" in result.stdout
    assert "\n    input image [8x8x3]" in result.stdout
    assert "the weights, 4 tensors, are written with -o NET.cnn alone" in result.stderr
    assert os.listdir() == ["small.onnx"]
    assert "network Mine" in run("small.onnx", "-o", "-", "--name", "Mine").stdout


def test_nothing_is_written_over() -> None:
    assert run("small.onnx", "-o", "net.cnn").exit_code == 0
    Path("net.cnn").write_text("mine", encoding="utf-8")
    result = run("small.onnx", "-o", "net.cnn")
    assert result.exit_code == 1
    assert "error[E0421]: net.cnn and net.safetensors are there already" in result.stderr
    Path("net.cnn").unlink()
    assert "error[E0421]: net.safetensors is there already" in run("small.onnx", "-o", "net.cnn").stderr
    assert not Path("net.cnn").exists()
    assert run("small.onnx", "-o", "net.cnn", "--force").exit_code == 0
    assert "network Small" in Path("net.cnn").read_text(encoding="utf-8")


@pytest.mark.parametrize("output", [".", "..", "net.png", "net", "small.onnx", "net.safetensors"])
def test_a_network_goes_to_a_file_of_networks(output: str) -> None:
    before = Path("small.onnx").read_bytes()
    result = run("small.onnx", "-o", output, "--force")
    assert result.exit_code == 1
    assert result.stderr == (
        f"error[E0421]: cannot write {output}: a network's file ends in .cnn\n"
        "  = help: -o small.cnn, or -o - for standard output\n"
    )
    assert (os.listdir(), Path("small.onnx").read_bytes()) == (["small.onnx"], before)


def test_what_is_to_fill_in_has_the_name_of_the_text(tmp_path: Path) -> None:
    saved(model([node("Relu", "input.1")], {"input.1": (3, 4, 4)}), tmp_path)
    result = run("small.onnx", "-o", "net.cnn")
    assert "input.1" not in result.stderr
    text = Path("net.cnn").read_text(encoding="utf-8")
    (old,) = [line for line in text.splitlines() if line.startswith("    input ")]
    new = result.stderr.splitlines()[1]
    Path("net.cnn").write_text(text.replace(old, new), encoding="utf-8")
    assert cnndsl.compile("net.cnn", device="cpu").graph.inputs[0].spec is not None


def test_without_weights_there_is_one_file() -> None:
    Path("net.cfg").write_text("[net]\nwidth=4\nheight=4\nchannels=3\n[maxpool]\nsize=2\nstride=2\n", encoding="utf-8")
    assert json.loads(run("net.cfg", "-o", "net.cnn", "--json").stdout)["files"] == ["net.cnn"]
    assert not Path("net.safetensors").exists()


def test_for_tools() -> None:
    result = run("small.onnx", "-o", "net.cnn", "--json")
    told = json.loads(result.stdout)
    assert told == {
        "ok": True, "network": "Small", "files": ["net.cnn", "net.safetensors"], "weights": 4, "notes": [],
        "text": Path("net.cnn").read_text(encoding="utf-8"),
    }  # fmt: skip
    Path("small.onnx").write_bytes(b"no")
    told = json.loads(run("small.onnx", "-o", "-", "--json").stdout)
    assert [d["code"] for d in told["diagnostics"]] == ["E0813"]


@pytest.mark.parametrize("given", ["image=6x4x3", "6x4x3"])
def test_an_input_of_another_shape(given: str, tmp_path: Path) -> None:
    made = model([node("Conv", "image w")], {"image": (3, 1, 1)}, weight("w", 2, 3, 1, 1))
    for dim in made.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.ClearField("dim_value")
        dim.dim_param = "size"
    saved(made, tmp_path)
    result = run("small.onnx", "-o", "-")
    assert result.exit_code == 1
    assert "--input-shape image=224x224x3 says which" in result.stderr
    assert "input image [6x4x3]" in run("small.onnx", "-o", "-", "--input-shape", given).stdout


def test_notes_are_told(tmp_path: Path) -> None:
    mean = onnx.numpy_helper.from_array(np.full((3, 1, 1), 0.5, np.float32), "mean")
    saved(model([node("Sub", "x mean")], (3, 4, 4), mean), tmp_path)
    assert "note: the network normalises its input itself: mean (0.5, 0.5, 0.5)" in run("small.onnx", "-o", "-").stderr


def test_notes_are_told_once_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the text shows them already, as its comments."""
    mean = onnx.numpy_helper.from_array(np.full((3, 1, 1), 0.5, np.float32), "mean")
    saved(model([node("Sub", "x mean")], (3, 4, 4), mean), tmp_path)
    monkeypatch.setattr("cnndsl.cli.import_._on_terminal", lambda: True)
    result = run("small.onnx", "-o", "-")
    assert result.output.count("the network normalises its input itself") == 1
    assert run("small.onnx", "-o", "net.cnn").stderr.count("the network normalises its input itself") == 1


def test_what_is_read_is_not_written_over() -> None:
    before = Path("small.onnx").read_bytes()
    for name in ("net.cnn", "net.safetensors"):
        Path(name).symlink_to("small.onnx")
        result = run("small.onnx", "-o", "net.cnn", "--force")
        assert f"error[E0421]: cannot write {name}: it is read from" in result.stderr
        assert (sorted(os.listdir()), Path("small.onnx").read_bytes()) == (sorted([name, "small.onnx"]), before)
        Path(name).unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small.onnx", "-o", "-", "--name", "network"], "network is a word of the language"),
        (["net.cnn", "-o", "-"], "net.cnn is none of the files that are imported: "),
        (["net.pth", "-o", "-"], "`cnndsl weights check NET.cnn net.pth` holds them against one"),
        (["small.onnx"], "Missing option '-o'"),
        (["small.onnx", "-o", "-", "--name", "a b"], "a b is no name"),
        (["small.onnx", "-o", "-", "--input-shape", "image=8"], None),
        (["small.onnx", "-o", "-", "--input-shape", "image=8,8,3"], "write height x width x channels"),
        (["small.onnx", "-o", "-", "--input-shape", "image"], "write height x width x channels"),
    ],
)
def test_wrong_command_lines(arguments: list[str], message: str | None) -> None:
    result = run(*arguments)
    assert result.exit_code == (1 if message is None else 2)
    assert (message or "error[E0814]: ") in result.stderr


@pytest.mark.parametrize("size", [224, 32])
def test_what_is_to_fill_in_can_be_filled_in(size: int) -> None:
    """As it stands, it makes of a picture what the network takes."""
    saved(model([node("GlobalAveragePool", "image")], {"image": (3, size, size)}), Path())
    told = run("small.onnx", "-o", "net.cnn", "--force").stderr.splitlines()[-1]
    text = re.sub(r"^    input .*", told, Path("net.cnn").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert "mean=(0.5" in text
    Path("net.cnn").write_text(text, encoding="utf-8")
    Image.new("RGB", (50, 400)).save("picture.png")
    done = CliRunner().invoke(cli, ["run", "net.cnn", "picture.png", "--top", "1"])
    assert done.exit_code == 0, done.stderr


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the package is installed or not."""
    monkeypatch.setattr("cnndsl.exchange.onnx.load.find_spec", lambda _: None)
    result = run("nothere.onnx", "-o", "-")
    assert result.stderr.startswith("error[E0813]: cannot read the network nothere.onnx: there is no such file")
    assert "error[E0816]" in run("small.onnx", "-o", "-").stderr


def test_a_name_that_holds_no_folder() -> None:
    result = run("small.onnx", "-o", "missing/net.cnn")
    assert result.exit_code == 1
    assert "error[E0421]: cannot write " in result.stderr
