"""The wheel and the editable installation, each used from outside the repository."""

import json
import os
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

USE = """
import json, sys
from importlib import resources
import cnndsl, cnndsl.kernels, cnndsl.grammars
from cnndsl.cli import main
kernels = sorted(p.name for p in resources.files("cnndsl.kernels").iterdir() if p.name.endswith(".py"))
grammar = resources.files("cnndsl.grammars").joinpath("cnn.lark").read_text(encoding="utf-8")
typed = resources.files("cnndsl").joinpath("py.typed").is_file()
print(json.dumps([cnndsl.__file__, cnndsl.kernels.__file__, kernels, grammar, typed]))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, run without this process's settings of Python."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TRITON", "PYTEST"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def use(python: Path, folder: Path) -> tuple[Path, Path]:
    """Where an interpreter finds the package and its kernels, after it proved that all of it is there."""
    package, kernels, names, grammar, typed = json.loads(run(python, "-c", USE, cwd=folder))
    assert names == sorted(path.name for path in (ROOT / "kernels").glob("*.py"))
    assert grammar == (ROOT / "grammars" / "cnn.lark").read_text(encoding="utf-8")
    assert typed
    return Path(package).parent, Path(kernels).parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by way of the source distribution, as one that is published would be."""
    folder = tmp_path_factory.mktemp("dist")
    # Neither reads anything from a network: setuptools, the build backend, is installed with the dev tools.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    assert len(list(folder.glob("*.tar.gz"))) == 1
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel, which sees this one's packages but not its cnndsl."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = Path(run(python, "-c", query, cwd=folder).strip())
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index")
    run(*pip, "--target", target, wheel, cwd=folder)
    # A path in a .pth file is searched last, and the .pth files inside it, such as that of the editable
    # installation, are not read.
    (target / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return python


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    listed = {name for name in names if ".dist-info/" not in name}
    expected = {
        *(str(path.relative_to(ROOT)) for path in (ROOT / "cnndsl").rglob("*.py")),
        *(f"cnndsl/kernels/{path.name}" for path in (ROOT / "kernels").glob("*.py")),
        "cnndsl/grammars/__init__.py",
        "cnndsl/grammars/cnn.lark",
        "cnndsl/py.typed",
        *(str(p.relative_to(ROOT)) for kind in ("css", "html", "js") for p in (ROOT / "cnndsl").rglob(f"*.{kind}")),
    }
    assert listed == expected
    assert {Path(name).name for name in names - listed} >= {"LICENSE", "METADATA", "entry_points.txt"}


def test_wheel_works_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    package, kernels = use(installed, tmp_path)
    assert not package.is_relative_to(ROOT)
    assert kernels == package / "kernels"


def test_editable_installation_uses_the_sources(tmp_path: Path) -> None:
    """The environment of the tests is one: `make` makes it."""
    assert use(Path(sys.executable), tmp_path) == (ROOT / "cnndsl", ROOT / "kernels")


def test_installed_command_checks_the_examples(installed: Path, tmp_path: Path) -> None:
    command = (installed, "-m", "cnndsl")
    run(*command, "check", *sorted((ROOT / "examples").glob("*.cnn")), cwd=tmp_path)
    summary = run(*command, "summary", ROOT / "examples" / "alexnet.cnn", "--format", "json", cwd=tmp_path)
    assert json.loads(summary)["totals"]["parameters"] == 62_378_344


def test_installed_command_runs_a_network(installed: Path, tmp_path: Path) -> None:
    """The kernels of the wheel run, in Triton's interpreter where there is no GPU, and agree with torch."""
    options = ("--verify", "--json", "--device", "cpu")
    answer = run(installed, "-m", "cnndsl", "run", ROOT / "examples" / "lenet5.cnn", *options, cwd=tmp_path)
    assert json.loads(answer)["ok"] is True
