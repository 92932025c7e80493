"""Edited files that are not what `cnndsl eject` would have written: an answer, never a traceback."""

from pathlib import Path

import pytest
from edited import NET, PAIR, compiled, refused
from here import Checks
from kinds import write
from small import refusal

import cnndsl
from cnndsl.runtime.device import choose


def path_of(folder: Path, device: str) -> Path:
    return write(folder, PAIR, "b", target=choose(device)[1].name)


@pytest.mark.parametrize("layer", [
    "{[]: 1}", "{'tensors': {'x': 3}}", "{'tensors': {'x': {'shape': object}}}", "{'tensors': 1, 'operations': 2}",
    "-" * 9999 + "1", "f(1)", "{'dtype': 'fp32', 'tensors': {'x': None, 'y': []}}",
])  # fmt: skip
def test_what_it_says_of_itself_is_no_layer(tmp_path: Path, device: str, here: Checks, layer: str) -> None:
    """Whatever can be read of it differs from this place, or it is not looked at: no error is ours."""
    path = path_of(tmp_path, device)
    text = path.read_text(encoding="utf-8")
    start = text.index("LAYER = {")
    path.write_text(f"{text[:start]}LAYER = {layer}\n{text[text.index('DTYPE = ', start) :]}", encoding="utf-8")
    try:
        cnndsl.compile(PAIR, device=device, kernels={"b": path})
    except cnndsl.CnnError as error:
        assert {d.code for d in error.diagnostics} <= {"E0621", "E0622"}  # noqa: PT017 - it need not be raised


def test_names_that_no_file_can_have(device: str) -> None:
    code, text = refusal(lambda: cnndsl.compile(PAIR, device=device, kernels={"b": "a\0b.py"}))
    assert code == "E0621"
    assert "embedded null byte" in text


def test_a_file_that_looks_itself_up(tmp_path: Path, device: str, here: Checks) -> None:
    """The check imports it as the network does: as a module that `sys.modules` has, which a dataclass wants."""
    path = path_of(tmp_path, device)
    text = path.read_text(encoding="utf-8")
    mine = "from dataclasses import dataclass, field\n\n\n@dataclass\nclass Mine:\n    x: 'int' = 1\n\n\n"
    future = "from __future__ import annotations\n\nimport sys\n\nassert sys.modules[__name__].__dict__ is globals()\n"
    path.write_text(f"{future}{mine}{text}", encoding="utf-8")
    net = cnndsl.compile(PAIR, device=device, kernels={"b": path})
    assert "b_edited" in net.source_path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("content", "said"), [
    ("x = 1\n", "has no function `launch(x, w, b, y, n)`"),
    ("def launch(x, w, y, n):\n    pass\n", "has launch(x, w, y, n), but b is launched as launch(x, w, b, y, n)"),
    ("def launch(x, w, b, y, *n):\n    pass\n", "has launch(x, w, b, y, *n), but b"),
    ("def launch(x, w, b, y, n):\n    return (\n", "is no Python, line 2: '(' was never closed"),
    ("launch = print\n", "has no function `launch"),
    ("a = '\0'\n", "is no Python"),
    ("", "has no function `launch"),
])
def test_files_that_do_not_fit(tmp_path: Path, device: str, content: str, said: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(content)
    assert f"{path} {said}" in refused(device, path)


def test_kernels_that_are_no_mapping(device: str) -> None:
    with pytest.raises(cnndsl.CnnError, match=r"E0621\]: kernels is a mapping from layers to files, not \['b'\]"):
        cnndsl.compile(NET, device=device, kernels=["b"])


def test_files_that_cannot_be_read(tmp_path: Path, device: str) -> None:
    assert "No such file" in refused(device, tmp_path / "none.py")
    assert "cannot read" in refused(device, tmp_path)
    path = tmp_path / "latin.py"
    path.write_bytes("# Zürich\n".encode("latin-1"))
    assert "it is not a text in UTF-8" in refused(device, path)


def test_all_files_that_do_not_fit_are_told(tmp_path: Path, device: str) -> None:
    with pytest.raises(cnndsl.CnnError) as caught:
        compiled(device, kernels={"a": tmp_path / "none.py", "zz": tmp_path, "b": tmp_path / "no.py"})
    assert [d.code for d in caught.value.diagnostics] == ["E0621", "E0707", "E0621"]
