"""Wrong files and the whole of what is said about them.

Each `NAME.cnn` in tests/errors has its expected output beside it in `NAME.txt`; cases of several files are
folders whose `main.cnn` is loaded. `pytest --update-golden` writes the outputs; read what it has written.
Where each message points is written down a second time, by hand, in PLACES, which nothing writes.
"""

from pathlib import Path

import pytest

from cnndsl.errors import CnnError, Diagnostic, render
from cnndsl.files import choose_network, load_path
from cnndsl.frontend import load_program
from cnndsl.passes.elaborate import elaborate

FOLDER = Path(__file__).parent / "errors"
CASES = sorted([*(p.stem for p in FOLDER.glob("*.cnn")), *(p.parent.name for p in FOLDER.glob("*/main.cnn"))])
PLACES = dict(
    line.split(maxsplit=1) for line in (FOLDER / "PLACES").read_text(encoding="utf-8").splitlines() if line
)


def mistakes_of(name: str) -> tuple[Diagnostic, ...]:
    """All that is wrong with a case, as `cnndsl check` finds it."""
    path = Path(name, "main.cnn") if Path(name).is_dir() else Path(f"{name}.cnn")
    try:
        program = load_program(lambda: load_path(path))
        networks = program.networks.values() or [choose_network(program, None)]
    except CnnError as error:
        return error.diagnostics
    found: dict[object, Diagnostic] = {}
    for network in networks:
        try:
            elaborate(program, network)
        except CnnError as error:
            for d in error.diagnostics:
                found.setdefault((d.code, d.message, d.span), d)
    return tuple(found.values())


@pytest.fixture(autouse=True)
def _in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs name the files as they are seen from there."""
    monkeypatch.chdir(FOLDER)


@pytest.mark.parametrize("name", CASES)
def test_output(name: str, update_golden: bool) -> None:
    found = render(mistakes_of(name)) + "\n"
    golden = FOLDER / f"{name}.txt"
    if update_golden:
        golden.write_text(found, encoding="utf-8")
    assert golden.exists(), f"{golden.name} is missing: pytest --update-golden writes it"
    assert found == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_place(name: str) -> None:
    """Code, line and column of each message: where a person would point."""
    shown = []
    for d in mistakes_of(name):
        place = f"{d.span.line}:{d.span.column}" if d.span is not None else "-"
        file = Path(d.span.source.name).name if d.span is not None else f"{name}.cnn"
        shown.append(
            f"{d.code} {place}" if file in {"main.cnn", f"{name}.cnn"} else f"{d.code} {file}:{place}"
        )
    assert ", ".join(shown) == PLACES[name]


def test_every_output_has_its_file() -> None:
    assert sorted(p.stem for p in FOLDER.glob("*.txt")) == CASES
    assert sorted(PLACES) == CASES


def test_there_are_many() -> None:
    assert len(CASES) >= 45
