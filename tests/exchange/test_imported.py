# ruff: noqa: RUF001 - names in other scripts are meant
"""What every import shares: the files that it becomes, and names of other scripts."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

import cnndsl
from cnndsl.errors import CnnError, problem
from cnndsl.exchange import imported as module
from cnndsl.exchange.imported import Imported, imported
from cnndsl.exchange.model import Builder
from cnndsl.exchange.spelling import in_latin
from cnndsl.ir import TensorType
from cnndsl.ops.activations import Relu
from cnndsl.ops.conv import Conv
from tests.exchange.onnx_graphs import model, node, read, weight

TEXT = "network Net {\n    input image [4x4x3]\n    conv(2, 1x1, bias=false)\n}\n"
NET = Imported("Net", TEXT, {"conv1.weight": torch.ones(2, 3, 1, 1)})


def refusal(path: Path | str, **options: bool) -> str:
    with pytest.raises(CnnError) as caught:
        NET.save(path, **options)
    (found,) = caught.value.diagnostics
    assert found.code == "E0421"
    return "\n".join([found.message, *found.help])


def test_files(tmp_path: Path) -> None:
    made = NET.save(tmp_path / "net.cnn")
    assert made == (tmp_path / "net.cnn", tmp_path / "net.safetensors")
    compiled = cnndsl.compile(made[0], weights=made[1], device="cpu")
    assert torch.equal(compiled.state_dict()["conv1.weight"], NET.weights["conv1.weight"])
    for path in made:
        told = refusal(made[0])
        assert f"{path}: it is there already" in told
        assert "force=True" in told
        path.unlink()
    NET.save(made[0])
    assert NET.save(made[0], force=True) == made


@pytest.mark.parametrize("force", [False, True])
def test_names_that_are_no_files(tmp_path: Path, force: bool) -> None:
    assert "File name too long" in refusal(tmp_path / f"{'n' * 300}.cnn", force=force)
    assert "null byte" in refusal(f"{tmp_path}/a\0b.cnn", force=force)
    assert "No such file or directory" in refusal(tmp_path / "missing" / "net.cnn", force=force)
    for name in ("", ".", "..", ".cnn", "net", "net.safetensors", "net.onnx"):
        assert "a network's file ends in .cnn" in refusal(tmp_path / name if name else "", force=force)
    assert list(tmp_path.iterdir()) == []


def test_no_text_without_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full after the first file leaves no network without weights."""

    def full(path: Path, *_: object) -> None:
        raise problem("E0421", f"cannot write {path}: No space left on device")

    monkeypatch.setattr("cnndsl.weights.saving.write_safetensors", full)
    assert "No space left" in refusal(tmp_path / "net.cnn")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(module, "write_file", full)
    assert "net.cnn: No space left" in refusal(tmp_path / "net.cnn")
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


# --- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "latin"),
    [
        ("conv1.weight", "conv1.weight"), ("Große", "Grosse"), ("naïve_é", "naive_e"), ("e\u0301", "e"),
        ("свёртка1", "svertka1"), ("Щука", "Shchuka"), ("объём", "obem"), ("α", "alpha"), ("Łódź", "Lodz"),
        ("Ωm", "Omegam"), ("卷积", "u5377u79ef"), ("カ", "ka"), ("한", "han"), ("²٣", "23"), ("ﬁn", "fin"),
        ("a→b🚀", "a→b🚀"),
    ],
)  # fmt: skip
def test_letters(name: str, latin: str) -> None:
    assert in_latin(name) == latin


@given(st.text())
@example("ŉ ⅷ ª ǆ ⑳ 𝐱")
def test_every_letter_becomes_some(text: str) -> None:
    made = in_latin(text)
    assert not any(c.isalnum() and not c.isascii() for c in made)
    assert all(unicodedata.category(c)[0] != "M" for c in made if not text.isascii())
    assert re.sub(r"\W", "", made) if any(c.isalpha() and c.lower() not in "ъь" for c in text) else True


letters = st.text(alphabet="éeèßsжz卷u5377._-", min_size=1, max_size=5)


@given(st.lists(letters, min_size=1, max_size=6))
@example(["é", "e", "e_2", "è"])
@example(["卷", "u5377", "ж", "zh"])
def test_names_never_collide(names: list[str]) -> None:
    """Names that become the same stay layers of their own, with their own weights."""
    builder = Builder("сеть", origin="net.onnx")
    at = builder.input("вход", TensorType((2, 2, 1)))
    for number, name in enumerate(names):
        weights = {"weight": torch.full((1, 1, 1, 1), float(number))}
        at = builder.add(Conv(1, (1, 1), bias=False), at, name=name, weights=weights)
        at = builder.add(Relu(), at, name=name)
        if number:
            builder.output(name, at)
    builder.output("é", at) if len(names) == 1 else None
    done = imported(builder.finish())
    assert done.name == "set"
    assert "input vkhod " in done.text
    assert sorted(t.item() for t in done.weights.values()) == list(range(len(names)))
    outputs = list(cnndsl.compile(done.text, weights=done.weights, device="cpu")(torch.ones(1, 1, 2, 2)))
    assert len(outputs) == max(len(names) - 1, 1)


def test_a_model_in_another_script(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "изображение свёртка.weight", "h"), node("Relu", "h", "été"),
        node("Conv", "été 卷积.weight", "y"),
    ]  # fmt: skip
    stored = [weight("свёртка.weight", 2, 3, 1, 1), weight("卷积.weight", 2, 2, 1, 1)]
    made = model(nodes, {"изображение": (3, 4, 4)}, *stored)
    made.graph.name = "größe"
    path = tmp_path / "m.onnx"
    onnx.save(made, path)
    done = imported(read(made, tmp_path))
    assert done.name == "Grosse"
    assert sorted(done.weights) == ["svertka.weight", "u5377u79ef.weight"]
    assert "input izobrazhenie [4x4x3]" in done.text
    np.testing.assert_array_equal(
        done.weights["svertka.weight"].numpy(), onnx.numpy_helper.to_array(made.graph.initializer[0])
    )
