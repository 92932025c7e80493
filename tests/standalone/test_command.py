"""The command line of a build: inputs as `cnndsl run` reads them, results, and every mistake in a sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from builds import TINY, build_in, graph_of
from PIL import Image

from cnndsl.cli import run_inputs
from cnndsl.portable import load
from cnndsl.portable.runtime import command, loading, pictures
from cnndsl.portable.runtime.about import About, Input, Output, read_about
from cnndsl.portable.runtime.mistakes import Mistake

PAIR = """network Pair {
    input left [6x4x3] (resize=6x8, crop=6x4, mean=(1, 2, 3), std=(2,), range=255, order=bgr)
    input right [3]
    output heat { @left -> conv(2, 1x1) }
    @left -> flatten -> concat(@right) -> dense(5)
}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_in(tmp_path_factory.mktemp("tiny") / "tiny", TINY).folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_in(tmp_path_factory.mktemp("pair") / "pair", PAIR).folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with inputs of all kinds."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (10, 13, 3), dtype=np.uint8)).save("cat.png")
    np.save("one.npy", rng.standard_normal((3, 6, 4)).astype(np.float32))
    np.save("three.npy", rng.standard_normal((3, 3, 6, 4)))
    np.save("v.npy", rng.standard_normal((4, 3)).astype(np.float32))
    np.save("nhwc.npy", rng.standard_normal((8, 8, 3)).astype(np.float32))
    np.save("bytes.npy", rng.integers(0, 256, (3, 8, 8), dtype=np.uint8))
    np.save("none.npy", np.zeros((0, 3, 8, 8), np.float32))
    Path("four.txt").write_text("a\nb\nc\nd\n", encoding="utf-8")
    Path("latin.txt").write_bytes(b"caf\xe9\nb\nc\n")
    Path("notes.txt").write_text("notes", encoding="utf-8")
    return tmp_path


def main(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command line of a build, up to where kernels would be loaded."""
    monkeypatch.setattr(command, "FOLDER", folder)
    return command.main(list(arguments))


# --- inputs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [["left=cat.png", "left=three.npy", "right=v.npy"], ["right=v.npy", "left=one.npy", "left=three.npy"]]
)
def test_inputs_are_those_of_cnndsl_run(pair: Path, place: Path, given: list[str]) -> None:
    """The same bits, and the same names of the pictures."""
    expected = run_inputs.read(graph_of(PAIR), given)
    options = command._parser(read_about(pair)).parse_args(given)
    found, names = command._inputs(read_about(pair), options)
    assert tuple(names) == expected.names
    assert len(found) == 2
    assert [(x.dtype, x.shape) for x in found] == [(x.dtype, x.shape) for x in expected.tensors]
    assert all(torch.equal(x, y) for x, y in zip(found, expected.tensors, strict=True))


def test_random_inputs_are_those_of_cnndsl_run(pair: Path) -> None:
    for seed in (0, 3):
        options = command._parser(read_about(pair)).parse_args(["--seed", str(seed)])
        found, names = command._inputs(read_about(pair), options)
        expected = run_inputs.draw(graph_of(PAIR), 1, seed).tensors
        assert names == ["random input"]
        assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


# --- mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["dog.png"], "cannot read the picture dog.png: there is no such file", None),
        (["."], "cannot read the picture .: it is a folder", None),
        (["notes.txt"], "cannot read the picture notes.txt: it is not a picture", "pictures are read in the formats"),
        (["x.npy"], "cannot read the tensor x.npy: there is no such file", None),
        (["one.npy"], "one.npy is [3, 6, 4], but input `image` is [n, 3, 8, 8]", None),
        (["nhwc.npy"], "nhwc.npy is [8, 8, 3], but input `image` is [n, 3, 8, 8]", "it is in the order height"),
        (["bytes.npy"], "bytes.npy has elements of type uint8, not a float type", "write it as float32"),
        (["none.npy"], "none.npy is [0, 3, 8, 8], which is an empty batch", None),
        (["--save", "out.npz"], "cannot write out.npz: outputs are written as .safetensors, .npy, .pt, .pth", None),
        (["--labels", "four.txt"], "four.txt names 4 labels, but the network's output has 3", None),
        (["--labels", "missing.txt"], "cannot read the labels missing.txt: No such file or directory", None),
        (["--labels", "latin.txt"], "cannot read the labels latin.txt: it is not UTF-8 text", None),
        (["--device", "gpu"], "there is no device `gpu`", "write cpu, cuda or cuda:1"),
        (["--device", "cuda"], "PyTorch finds no GPU here", "the CPU runs the same network: --device cpu"),
    ],
)
def test_mistakes(
    tiny: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys, arguments: list[str], message: str, hint
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(tiny, monkeypatch, *arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    first, *rest = said.err.splitlines()
    assert first == f"error: {message}"
    assert len(rest) == (hint is not None)
    assert all(line.startswith(f"  help: {hint}") for line in rest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["left=one.npy"], "no file is given for right"),
        (["one.npy"], "the network has 2 inputs; which one is one.npy?"),
        (["left=one.npy", "right=v.npy"], "the inputs have different numbers of pictures: `left` has 1, `right` has 4"),
        (["left=one.npy", "right=cat.png"], "input `right` is a vector, which no picture becomes"),
        (["--save", "x.npy"], "cannot write x.npy: a .npy file holds one array, and there are 2 outputs"),
    ],
)
def test_mistakes_with_several_inputs(
    pair: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys, arguments: list[str], message: str
) -> None:
    assert main(pair, monkeypatch, *arguments) == 1
    assert capsys.readouterr().err.splitlines()[0] == f"error: {message}"


@pytest.mark.parametrize("arguments", [["--top", "0"], ["--top", "x"], ["--frobnicate"], ["--seed", "1.5"]])
def test_the_command_itself(tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(tiny, monkeypatch, *arguments)
    assert ended.value.code == 2
    assert "usage: python tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "first"),
    [
        (ModuleNotFoundError("No module named 'PIL'", name="PIL"), 1,
         "error: this needs pillow, to read pictures, which is not installed"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 1,
         "error: this needs torch, which is not installed"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (MemoryError(), 1, "error: memory is used up"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "error: memory is used up"),
    ],
)  # fmt: skip
def test_ends(tiny: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys, error, status: int, first: str) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(pictures, "load_picture", fail)
    assert main(tiny, monkeypatch, "cat.png") == status
    assert capsys.readouterr().err.splitlines()[0] == first


def test_our_own_mistakes_are_not_hidden(tiny: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(pictures, "load_picture", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(tiny, monkeypatch, "cat.png")


def test_a_library_is_warned_of_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more than that: here, where there are no kernels at all, loading goes no further."""
    monkeypatch.setattr(loading, "read_about", lambda folder: None)
    monkeypatch.setattr(loading, "choose", lambda about, device: (torch.device("cpu"), None, "no kernels for this GPU"))
    monkeypatch.setattr(loading, "Network", lambda about, target, device: "the network")
    with pytest.warns(UserWarning, match="no kernels for this GPU"):
        assert load() == "the network"
    monkeypatch.setattr(loading, "choose", lambda about, device: (torch.device("cpu"), None, None))
    assert load("cpu") == "the network"


def test_mistakes_are_value_errors() -> None:
    mistake = Mistake("this is wrong", help=("do that",))
    assert isinstance(mistake, ValueError)
    assert str(mistake) == "this is wrong\nhelp: do that"


# --- results -----------------------------------------------------------------------------------------

ABOUT = About(
    "Net", "fp32", 1, (Input("image", (8, 8, 3), {}),),
    (Output("main", (4,), "score"), Output("heat", (2, 2, 1), "score")), (),
)  # fmt: skip


def results(main: list[float], heat: list[float], **options: object) -> list[dict]:
    outputs = {"main": torch.tensor([main]), "heat": torch.tensor([heat]).view(1, 1, 2, 2)}
    return command._results(ABOUT, outputs, ["cat.png"], **{"top": 2, "labels": None, **options})


def test_best_classes_and_ranges() -> None:
    found = results([0.0, 2.0, 1.0, -1.0], [1.0, 2.0, 3.0, 6.0], labels=["a", "b", "c", "d"])
    shares = torch.tensor([0.0, 2.0, 1.0, -1.0]).softmax(0).tolist()
    assert found == [
        {
            "input": "cat.png", "output": "main", "values": "score", "shape": [4], "not_finite": 0,
            "top": [
                {"class": 1, "score": 2.0, "softmax": shares[1], "label": "b"},
                {"class": 2, "score": 1.0, "softmax": shares[2], "label": "c"},
            ],
        },
        {
            "input": "cat.png", "output": "heat", "values": "score", "shape": [2, 2, 1], "not_finite": 0,
            "min": 1.0, "max": 6.0, "mean": 3.0,
        },
    ]  # fmt: skip
    assert command._text(found) == [
        "cat.png, output main",
        "  class   score  softmax  label",
        "      1  2.0000   0.6439  b",
        "      2  1.0000   0.2369  c",
        "cat.png, output heat",
        "  [2x2x1]  min 1.0000  max 6.0000  mean 3.0000",
    ]


def test_numbers_that_are_none() -> None:
    """JSON has no NaN, and a person is told."""
    found = results([float("nan"), 1.0, float("-inf"), 0.0], [float("nan")] * 4)
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)[0]["top"][0] == {"class": 0, "score": None, "softmax": None}
    assert (found[0]["not_finite"], found[1]["not_finite"]) == (2, 4)
    assert (found[1]["min"], found[1]["mean"]) == (None, None)
    assert "  warning: 2 values are not finite (NaN or infinite)" in command._text(found)


def test_probabilities_have_no_softmax_and_names_no_escapes() -> None:
    about = About("Net", "fp32", 1, (), (Output("main", (1, 1, 2), "probability"),), ())
    found = command._results(about, {"main": torch.tensor([[[[0.25]], [[0.75]]]])}, ["a\x1b[2J"], top=5, labels=None)
    assert found[0]["top"] == [{"class": 1, "probability": 0.75}, {"class": 0, "probability": 0.25}]
    assert command._text(found)[0] == "a?[2J"
