"""What the tests of the command line share: running it, and small networks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cnndsl.cli import cli

TINY = """network Tiny(classes = 4) {
    input image [8x8x3] (mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    conv1: conv(6, 3x3, pad=1) -> relu
    pool1: maxpool(2x2)
    fc: dense(classes)
}
"""

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No settings of the person who runs the tests, and a cache of our own."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "CNNDSL_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def run() -> Run:
    """``run("check", "a.cnn")``: the result with its exit code, stdout and stderr."""

    def invoke(*arguments: object, **options: object) -> Result:
        result = CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="cnndsl", **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A network that runs in no time: ``image`` [8x8x3] to 4 classes."""
    path = tmp_path / "tiny.cnn"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def examples() -> Path:
    """The folder of the example networks."""
    return Path(__file__).parents[2] / "examples"
