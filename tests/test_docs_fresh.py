"""docs/layers.md and docs/errors.md say what the code says."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def generator():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["layers.md", "errors.md"])
def test_page_is_fresh(name, tmp_path, monkeypatch) -> None:
    # Examples are read as texts, whose `use` is relative to the current folder.
    monkeypatch.chdir(tmp_path)
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == generator().PAGES[name](), "run `make docs`"


def test_every_layer_has_a_page() -> None:
    from cnndsl.ops import operations

    page = (ROOT / "docs" / "layers.md").read_text(encoding="utf-8")
    assert [name for name in operations() if f"\n### {name}\n" not in page] == []
