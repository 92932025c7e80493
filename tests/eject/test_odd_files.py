"""Edited files that are Python, but not what `cnndsl eject` would have written: an answer, never a traceback."""

from pathlib import Path

import pytest
from here import Checks
from kinds import write
from small import refusal

import cnndsl
from cnndsl.runtime.device import choose

PAIR = "network Pair { input image [9x8x3] conv(4, 1) -> relu b: conv(4, 3x3, pad=1) -> relu }"


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
