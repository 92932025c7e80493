"""``cnndsl run``: inputs, weights, results, verification."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import cnndsl
from cnndsl.cli import torch_modules
from cnndsl.runtime.executor import Network

PAIR = """network Pair {
    input left [4x4x2]
    input right [3]
    output heat { @left -> conv(2, 1x1) }
    @left -> flatten -> concat(@right) -> dense(5) -> softmax
}
"""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def arrays(tmp_path: Path) -> Callable[..., Path]:
    """``arrays("x", 2, 3)``: a file ``x.npy`` of that shape."""

    def make(name: str, *shape: int, seed: int = 1) -> Path:
        path = tmp_path / f"{name}.npy"
        np.save(path, np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
        return path

    return make


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    path = tmp_path / "pair.cnn"
    path.write_text(PAIR, encoding="utf-8")
    return path


def answer(run, *arguments: object) -> dict:
    result = run("run", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["ok"] is True
    return data


def test_results_and_all_else(run, tiny: Path) -> None:
    result = run("run", tiny, "--top", 2)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "random input"
    assert lines[1].split() == ["rank", "class", "score", "softmax"]
    assert [line.split()[0] for line in lines[2:]] == ["1", "2"]
    assert "no INPUT is given: 1 random input drawn from seed 0" in result.stderr
    assert "no --weights are given: 4 tensors drawn from seed 0" in result.stderr
    assert "Tiny in fp32 by" in result.stderr


def test_scores_are_the_networks(run, tiny: Path, arrays) -> None:
    path = arrays("x", 2, 3, 8, 8)
    data = answer(run, tiny, path, "--seed", 3)
    net = cnndsl.compile(tiny, seed=3)
    expected = net.reference(torch.from_numpy(np.load(path)).double().to(net.device)).cpu()
    pictures = data["outputs"][0]["pictures"]
    assert [p["input"] for p in pictures] == [f"{path}[0]", f"{path}[1]"]
    for p, scores in zip(pictures, expected, strict=True):
        order = scores.argsort(descending=True).tolist()
        assert [c["class"] for c in p["top"]] == order
        assert [c["rank"] for c in p["top"]] == [1, 2, 3, 4]
        assert [c["value"] for c in p["top"]] == pytest.approx(scores[order].tolist(), rel=1e-4)
        assert [c["softmax"] for c in p["top"]] == pytest.approx(scores.softmax(0)[order].tolist(), rel=1e-4)
        assert (p["min"], p["mean"]) == pytest.approx((float(scores.min()), float(scores.mean())), rel=1e-4)


def test_seeds_count(run, tiny: Path, arrays) -> None:
    path = arrays("x", 3, 8, 8)
    first, again = (answer(run, tiny, path, "--seed", 1)["outputs"] for _ in range(2))
    assert first == again
    assert answer(run, tiny, path, "--seed", 2)["outputs"] != first
    drawn, other = (answer(run, tiny, "--seed", s)["outputs"] for s in (1, 2))
    assert drawn != other


def test_pictures_are_prepared_as_the_input_line_says(run, tiny: Path, picture: Path, tmp_path: Path) -> None:
    from cnndsl.runtime.pictures import load_picture

    as_tensor = tmp_path / "cat.npy"
    half, quarter = (0.5,) * 3, (0.25,) * 3
    np.save(as_tensor, load_picture(picture, shape=(8, 8, 3), mean=half, std=quarter).numpy())
    from_picture = answer(run, tiny, picture)["outputs"][0]["pictures"][0]["top"]
    from_tensor = answer(run, tiny, as_tensor)["outputs"][0]["pictures"][0]["top"]
    assert from_picture == from_tensor


def test_one_mean_stands_for_all_channels(run, tiny: Path, picture: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.cnn"
    text = tiny.read_text().replace("(0.5, 0.5, 0.5)", "0.5").replace("(0.25, 0.25, 0.25)", "(0.25,)")
    short.write_text(text, encoding="utf-8")
    assert answer(run, short, picture)["outputs"] == answer(run, tiny, picture)["outputs"]


def test_several_inputs_are_one_batch(run, tiny: Path, picture: Path, arrays) -> None:
    array = arrays("x", 2, 3, 8, 8)
    pictures = answer(run, tiny, picture, array, f"image={picture}")["outputs"][0]["pictures"]
    assert [p["input"] for p in pictures] == [str(picture), f"{array}[0]", f"{array}[1]", str(picture)]
    assert pictures[0]["top"] == pictures[3]["top"] != pictures[1]["top"]


def test_batches_change_nothing(run, tiny: Path, arrays, monkeypatch) -> None:
    path = arrays("x", 5, 3, 8, 8)
    whole = answer(run, tiny, path)["outputs"]
    sizes = []
    launch = Network.run
    def counted(self: Network, *x: torch.Tensor, **options: object) -> object:
        sizes.append(len(x[0]))
        return launch(self, *x, **options)

    monkeypatch.setattr(Network, "run", counted)
    parts = answer(run, tiny, path, "--batch", 2)["outputs"]
    assert sizes == [2, 2, 1]
    for a, b in zip(whole[0]["pictures"], parts[0]["pictures"], strict=True):
        assert [c["class"] for c in a["top"]] == [c["class"] for c in b["top"]]
        assert [c["value"] for c in a["top"]] == pytest.approx([c["value"] for c in b["top"]], rel=1e-4)


def test_batch_of_random_inputs(run, tiny: Path) -> None:
    pictures = answer(run, tiny, "--batch", 3)["outputs"][0]["pictures"]
    assert [p["input"] for p in pictures] == [f"random input[{i}]" for i in range(3)]
    assert pictures[0]["top"] != pictures[1]["top"]


def test_several_inputs_and_outputs(run, pair: Path, arrays) -> None:
    left, right = arrays("left", 2, 4, 4), arrays("right", 3)
    data = answer(run, pair, f"right={right}", f"left={left}", "--verify")
    main, heat = data["outputs"]
    assert (main["name"], main["shape"], main["values"]) == ("main", [5], "probability")
    assert sum(c["value"] for c in main["pictures"][0]["top"]) == pytest.approx(1)
    assert all(c["softmax"] is None for c in main["pictures"][0]["top"])
    assert (heat["name"], heat["shape"], heat["pictures"][0]["top"]) == ("heat", [4, 4, 2], None)
    assert [c["name"] for c in data["verify"]] == ["main", "heat"]
    text = run("run", pair, f"right={right}", f"left={left}").stdout
    assert f"{left}, output main\n  rank  class  probability\n" in text
    assert f"{left}, output heat\n  [4x4x2]  min " in text


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["x.npy"], "E0702", "the network has 2 inputs (left [4x4x2], right [3]); which one is x.npy?"),
        (["left=left.npy"], "E0702", "no file is given for 1 input of the network: right"),
        (["left=right.npy", "right=right.npy"], "E0413", "right.npy is [3], but input `left` is [N, 2, 4"),
        (["left=left.npy", "right=cat.png"], "E0415", "input `right` is a vector [3]"),
        (["left=cat.png", "right=right.npy"], "E0415", "a picture has 3 channels"),
        (["left=none.npy", "right=right.npy"], "E0412", "cannot read the tensor none.npy"),
        (["left=many.npy", "right=right.npy"], "E0413", "pictures: `left` has 2, `right` has 1"),
    ],
)
def test_inputs_that_do_not_fit(
    run, pair: Path, picture: Path, arrays, monkeypatch, given: list[str], code: str, words: str
) -> None:
    monkeypatch.chdir(pair.parent)
    arrays("left", 2, 4, 4), arrays("right", 3), arrays("many", 2, 2, 4, 4)
    result = run("run", pair, *given)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"error[{code}]" in result.stderr
    assert words in result.stderr


def test_weights_by_name_and_order(run, tiny: Path, arrays, tmp_path: Path) -> None:
    path = arrays("x", 3, 8, 8)
    net = cnndsl.compile(tiny, seed=7)
    expected = answer(run, tiny, path, "--seed", 7)["outputs"]
    ours, theirs = tmp_path / "ours.pt", tmp_path / "theirs.pt"
    state = {name: tensor.cpu() for name, tensor in net.state_dict().items()}
    torch.save(state, ours)
    torch.save({f"features.{i // 2}.{n.split('.')[1]}": t for i, (n, t) in enumerate(state.items())}, theirs)
    data = answer(run, tiny, path, "--weights", ours)
    assert data["outputs"] == expected
    assert (data["weights"], data["drawn_weights"]) == (str(ours), 0)
    assert answer(run, tiny, path, "--weights", theirs, "--match", "order")["outputs"] == expected
    result = run("run", tiny, path, "--weights", theirs)
    assert result.exit_code == 1
    assert "error[E040" in result.stderr
    result = run("run", tiny, path, "--weights", tmp_path / "none.pt", "--json")
    assert (result.exit_code, json.loads(result.stdout)["diagnostics"][0]["code"]) == (1, "E0401")


def test_labels(run, tiny: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("tench\ngoldfish\ngreat white shark\nhammerhead\n", encoding="utf-8")
    top = answer(run, tiny, "--labels", labels)["outputs"][0]["pictures"][0]["top"]
    names = labels.read_text().splitlines()
    assert all(c["label"] == names[c["class"]] for c in top)
    assert "great white shark" in run("run", tiny, "--labels", labels).stdout
    labels.write_text("one\ntwo\n", encoding="utf-8")
    result = run("run", tiny, "--labels", labels)
    assert (result.exit_code, "names 2 labels, but the network's output has 4" in result.stderr) == (1, True)


def test_saved_outputs(run, tiny: Path, arrays, tmp_path: Path) -> None:
    path, out = arrays("x", 2, 3, 8, 8), tmp_path / "out.npz"
    data = answer(run, tiny, path, "--save", out)
    saved = np.load(out)["main"]
    assert saved.shape == (2, 4)
    assert data["saved"] == str(out)
    assert float(saved[1].max()) == data["outputs"][0]["pictures"][1]["top"][0]["value"]


def test_a_bad_place_to_save_is_known_before_the_run(run, tiny: Path, tmp_path: Path) -> None:
    result = run("run", tiny, "--save", tmp_path / "out.txt")
    assert (result.exit_code, "E0421" in result.stderr, "drawn" in result.stderr) == (1, True, False)


@pytest.mark.parametrize("dtype", ["fp32", "tf32", "fp16", "bf16"])
def test_verification_holds(run, tiny: Path, picture: Path, dtype: str) -> None:
    result = run("run", tiny, picture, "--verify-layers", "--dtype", dtype, "--top", 1)
    assert result.exit_code == 0, result.stderr
    table = result.stdout.split("\n\n")[1].splitlines()
    assert table[0].split() == ["compared", "error", "tolerance"]
    assert [line.rsplit(None, 3)[0] for line in table[1:]] == [
        "layer conv1 + relu1", "layer pool1", "layer fc", "output main",
    ]
    assert {line.split()[-1] for line in table[1:]} == {"ok"}


def test_verification_sees_a_wrong_result(run, tiny: Path, monkeypatch) -> None:
    launch = Network.run
    monkeypatch.setattr(Network, "run", lambda self, *x, **k: launch(self, *x, **k) * 1.0001)
    result = run("run", tiny, "--verify")
    assert result.exit_code == 1
    assert "WRONG" in result.stdout
    assert "verification failed: 1 comparison beyond the tolerance" in result.stderr
    result = run("run", tiny, "--verify", "--json")
    data = json.loads(result.stdout)
    assert (result.exit_code, data["ok"], data["verify"][0]["ok"]) == (1, False, False)
    # The same without the change passes, and so does the change without the question.
    assert run("run", tiny).exit_code == 0
    monkeypatch.undo()
    assert run("run", tiny, "--verify").exit_code == 0


def test_verification_keeps_the_worst_of_all_batches(run, tiny: Path, arrays, monkeypatch) -> None:
    launch, factors = Network.run, iter([1.0, 1.0, 1.0001, float("nan"), 1.0])
    monkeypatch.setattr(Network, "run", lambda self, *x, **k: launch(self, *x, **k) * next(factors))
    result = run("run", tiny, "--batch", 1, "--verify")
    assert result.exit_code == 0
    path = arrays("x", 2, 3, 8, 8)
    result = run("run", tiny, path, "--batch", 1, "--verify", "--json")
    (check,) = json.loads(result.stdout)["verify"]
    assert (result.exit_code, check["error"]) == (1, pytest.approx(1e-4, rel=0.1))
    result = run("run", tiny, path, "--batch", 1, "--verify", "--json")
    (check,) = json.loads(result.stdout)["verify"]
    assert (result.exit_code, check["error"], check["ok"]) == (1, None, False)


def test_values_that_are_not_finite(run, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "nan.npy"
    np.save(path, np.full((3, 8, 8), np.nan, dtype=np.float32))
    result = run("run", tiny, path, "--json")
    picture = json.loads(result.stdout)["outputs"][0]["pictures"][0]
    assert (picture["not_finite"], picture["max"], picture["top"][0]["value"]) == (4, None, None)
    assert "warning: output `main` holds 4 values not finite" in result.stderr
    assert "nan" in run("run", tiny, path).stdout


def test_mistakes_of_the_file_come_first(run, tmp_path: Path, monkeypatch) -> None:
    import cnndsl.cli.run as command

    path = tmp_path / "bad.cnn"
    path.write_text("network N { input x [8x8x3] rleu }", encoding="utf-8")
    monkeypatch.setattr(command, "torch_module", lambda *_: pytest.fail("torch was loaded"))
    result = run("run", path)
    assert (result.exit_code, "E0201" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "doing"),
    [
        (["run"], "running a network"),
        (["build", "-o", "out"], "building a network"),
        (["eject", "fc", "-o", "-"], "ejecting a kernel"),
        (["inspect", "--stage", "plan", "--target", "auto"], "looking for a GPU"),
    ],
)
def test_without_torch(run, tiny: Path, monkeypatch, arguments: list[str], doing: str) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="torch")

    monkeypatch.setattr(torch_modules, "importlib", SimpleNamespace(import_module=missing))
    command, *rest = arguments
    result = run(command, tiny, *rest)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"error[E0601]: {doing} needs PyTorch, which is not installed\n" in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 240000000000 bytes."),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
)
def test_memory_that_is_used_up(run, tiny: Path, monkeypatch, error: Exception) -> None:
    """Raised, not provoked: a machine may grant what it does not have, and then end the process."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Network, "draw_weights", fail)
    result = run("run", tiny)
    assert (result.exit_code, "error[E0605]: memory is used up" in result.stderr) == (1, True)


def test_other_failures_are_not_hidden(run, tiny: Path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(Network, "draw_weights", fail)
    with pytest.raises(RuntimeError, match="something else"):
        run("run", tiny)
