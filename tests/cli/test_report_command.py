"""``cnndsl report``: what it writes, and what it says when it cannot."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from cnndsl.cli.target_names import ALL
from cnndsl.compiler import Job, installation
from cnndsl.report import gather


def data_of(path: Path) -> dict:
    """The data of a page."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"))
    return json.loads(text)


@pytest.fixture
def compiled(monkeypatch) -> list[tuple[str, str]]:
    """Nothing is compiled; the kernels and targets that would be. Those called `fc` fail."""
    asked: list[tuple[str, str]] = []

    def compile_kernels(jobs: Sequence[Job], *, progress, **_) -> tuple:
        asked.extend((job.kernel.name, job.target.name) for job in jobs)
        progress(len(jobs), len(jobs), "fc")
        errors = {"fc": "error: no\nmore"}
        return tuple(SimpleNamespace(job=j, error=errors.get(j.kernel.name), resources=None, stages=()) for j in jobs)

    monkeypatch.setattr(gather, "compile_kernels", compile_kernels)
    monkeypatch.setattr(installation, "find", lambda: SimpleNamespace(version="3.7.1"))
    return asked


def test_it_writes_a_page(run, tiny: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run("report", tiny, "-o", page, "--target", "interpreter", "--batch", "4", "--set", "classes=7")
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = result.stdout.splitlines()
    assert re.fullmatch(
        rf"{re.escape(str(page))}: Tiny\(classes=7\) in fp32 for interpreter: 5 layers, 3 kernels, [\d.]+ KiB", first
    )
    assert "no machine code" in second
    data = data_of(page)
    assert (data["title"], data["dtype"], data["batch"]) == ("Tiny(classes=7)", "fp32", 4)
    assert [target["name"] for target in data["targets"]] == ["interpreter"]
    assert data["files"][0]["text"] == tiny.read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir() if path != tiny] == ["page.html"]


def test_targets_are_compiled_for_each_once(run, tiny: Path, tmp_path: Path, compiled) -> None:
    options = ("--target", "sm_80", "--target", "gfx942", "--target", "sm_80", "--dtype", "fp16")
    result = run("report", tiny, "-o", tmp_path / "page.html", *options)
    names = ["conv1", "pool1", "fc"]
    assert compiled == [(name, target) for target in ("sm_80", "gfx942") for name in names]
    assert [target["name"] for target in data_of(tmp_path / "page.html")["targets"]] == ["sm_80", "gfx942"]
    assert "for sm_80, gfx942: 5 layers, 6 kernels" in result.stdout


def test_a_kernel_that_fails_is_in_the_page_and_in_the_exit_code(run, tiny: Path, tmp_path: Path, compiled) -> None:
    result = run("report", tiny, "-o", tmp_path / "page.html")
    assert result.exit_code == 1
    assert result.stderr == "fc cannot be compiled for sm_90: error: no\n"
    errors = [kernel["error"] for kernel in data_of(tmp_path / "page.html")["targets"][0]["kernels"]]
    assert errors == [None, None, "error: no\nmore"]


def test_to_standard_output(run, tiny: Path) -> None:
    result = run("report", tiny, "-o", "-", "--target", "interpreter")
    assert result.stdout.startswith("<!DOCTYPE html>")
    assert result.stdout.endswith("</html>\n")
    assert result.stderr.startswith("the page: Tiny(classes=4) in fp32 for interpreter")


def test_the_name_has_a_default(run, tiny: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("report", tiny, "--target", "interpreter").stdout.startswith("report.html: ")
    assert (tmp_path / "report.html").exists()


def test_where_it_cannot_write(run, tiny: Path, tmp_path: Path) -> None:
    result = run("report", tiny, "-o", tmp_path / "none" / "page.html", "--target", "interpreter")
    assert result.exit_code == 1
    assert result.stderr == f"error[E0421]: cannot write {tmp_path}/none/page.html: No such file or directory\n"


def test_a_page_that_cannot_be_written_leaves_the_old_one(run, tiny: Path, tmp_path: Path, monkeypatch) -> None:
    page = tmp_path / "page.html"
    page.write_text("old", "utf-8")

    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    result = run("report", tiny, "-o", page, "--target", "interpreter")
    assert (result.exit_code, "No space left on device" in result.stderr) == (1, True)
    assert page.read_text("utf-8") == "old"


def test_mistakes_on_the_command_line(run, tiny: Path, tmp_path: Path) -> None:
    result = run("report", tiny, "--target", "sm90", "-o", tmp_path / "page.html")
    assert result.exit_code == 1
    hints = f"  = help: did you mean `sm_90`?\n  = help: targets are {ALL}, or auto\n"
    assert result.stderr == f"error[E0703]: there is no target `sm90`\n{hints}"
    assert run("report", tiny, "--dtype", "fp8").exit_code == 2
    missing = run("report", tmp_path / "missing.cnn")
    assert (missing.exit_code, missing.stderr.split(":")[0]) == (1, "error[E0110]")
    assert not (tmp_path / "page.html").exists()


def test_it_needs_no_torch() -> None:
    program = (
        "import sys; from cnndsl.cli import report; import cnndsl.report.gather;"
        "sys.exit(bool({'torch', 'triton', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_name_that_is_no_text(run, tiny: Path, tmp_path: Path) -> None:
    """On Linux a file's name is bytes; those that are no UTF-8 have no place in a page."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.cnn"))
    path.write_bytes(tiny.read_bytes())
    page = tmp_path / "page.html"
    assert run("report", path, "-o", page, "--target", "interpreter").exit_code == 0
    assert data_of(page)["files"][0]["name"] == f"{tmp_path}/?.cnn"
