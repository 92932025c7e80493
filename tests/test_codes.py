"""The table of error codes: complete, and every example gives exactly its code."""

import ast
import re
from pathlib import Path

import pytest

import cnndsl
from cnndsl.codes import CODES, explain
from cnndsl.errors import CnnError
from cnndsl.files import load_text
from cnndsl.ops import operations
from cnndsl.passes.elaborate import elaborate

PACKAGE = Path(cnndsl.__file__).parent
NOT_RAISED_BY_NAME = {"E0704"}  # raised by the table itself


def codes_in(tree: ast.AST) -> set[str]:
    """String literals that are error codes."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str) and re.fullmatch(r"E\d{4}", value)}


def test_every_code_used_is_explained_and_none_is_idle() -> None:
    used: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "codes":
            used |= codes_in(ast.parse(path.read_text(encoding="utf-8")))
    assert used | NOT_RAISED_BY_NAME == set(CODES)


def test_codes_are_in_order_and_have_an_example() -> None:
    assert list(CODES) == sorted(CODES)
    for code in CODES.values():
        assert bool(code.wrong) != bool(code.message), code.code
        assert not code.right or code.wrong, code.code


def found(text: str) -> list[str]:
    """The codes of the mistakes in a text."""
    try:
        program = load_text(text)
        for network in program.networks.values():
            elaborate(program, network)
    except CnnError as error:
        return [d.code for d in error.diagnostics]
    return []


@pytest.mark.parametrize("code", [c for c in CODES.values() if c.wrong], ids=lambda c: c.code)
def test_examples(code, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(found(code.wrong)) == {code.code}
    if code.right:
        assert found(code.right) == []


def test_explain() -> None:
    for code in CODES:
        text = explain(code)
        assert text.startswith(f"{code}: ")
        prose = text.split("Wrong:")[0].split("For example:")[0]
        assert all(len(line) <= 80 for line in prose.splitlines()), code
    assert all(name in explain("E0201") for name in operations())


def test_explain_unknown() -> None:
    with pytest.raises(CnnError) as caught:
        explain("E0340")
    assert caught.value.diagnostics[0].code == "E0704"
    assert "did you mean E0" in str(caught.value)
