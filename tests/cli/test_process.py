"""The command as a process: pipes, terminals, signals, exit codes."""

import errno
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cnndsl.cli import commands

COMMAND = [sys.executable, "-m", "cnndsl"]


def start(*arguments: object, **options: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([*COMMAND, *map(str, arguments)], **options)


def finish(*arguments: object, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **options
    )


def read_terminal(terminal: int) -> str:
    """All that a process wrote to a terminal, to its end."""
    chunks = []
    try:
        while chunk := os.read(terminal, 65536):
            chunks.append(chunk)
    except OSError as error:
        if error.errno != errno.EIO:  # Linux's way to say that nobody writes any more
            raise
    return b"".join(chunks).decode()


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.cnn"
    path.write_text("network N { input x [8x8x3] rleu }", encoding="utf-8")
    return path


def test_quick_commands_import_neither_torch_nor_triton(examples: Path) -> None:
    file = str(examples / "vgg16_bn.cnn")
    names = ("tree", "graph", "simplified", "groups", "plan", "source")
    stages = [["inspect", file, "--stage", name] for name in names]
    program = f"""
import sys
from cnndsl.cli import cli
slow = {{"torch", "triton", "numpy", "PIL", "rich"}}
for arguments in [["--help"], ["check", {file!r}], ["summary", {file!r}], ["run", "--help"], *{stages!r}]:
    cli.main(arguments, standalone_mode=False)
    assert not slow & set(sys.modules), (arguments, slow & set(sys.modules))
assert "cnndsl.passes.plan" in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_exit_codes(tiny: Path, bad: Path) -> None:
    assert finish("check", tiny).returncode == 0
    result = finish("check", bad)
    assert (result.returncode, result.stdout, "\x1b" in result.stderr) == (1, "", False)
    result = finish("nothing")
    assert (result.returncode, result.stdout) == (2, "")


def test_a_terminal_has_colours(bad: Path) -> None:
    for variable, expected in (("FOO", True), ("NO_COLOR", False)):
        ours, theirs = pty.openpty()
        process = start("check", bad, stderr=theirs, env={**os.environ, "TERM": "xterm", variable: "1"})
        os.close(theirs)
        text = read_terminal(ours)
        os.close(ours)
        assert process.wait() == 1
        assert ("\x1b[1;31merror[E0201]" in text) is expected
        assert "error[E0201]" in text


def test_progress_is_for_terminals_and_results_for_pipes(tiny: Path) -> None:
    ours, theirs = pty.openpty()
    process = start(
        "run", tiny,
        stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(theirs)
    shown = read_terminal(ours)
    os.close(ours)
    assert process.stdout is not None
    with process.stdout as pipe:
        results = pipe.read().decode()
    assert process.wait() == 0
    assert "\x1b[?25l" in shown, "the bar hides the cursor"
    assert shown.rstrip().endswith("\x1b[?25h") or shown.index("\x1b[?25h") > shown.index("\x1b[?25l")
    assert "loading torch" in shown
    assert "no --weights are given: 4 tensors drawn from seed 0" in shown
    assert results.startswith("random input\n  rank  class")
    assert "\x1b" not in results


def test_interrupt(tiny: Path) -> None:
    process = start(
        "check", tiny, "-",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    process.stdout.readline()  # of the first file; now it waits for the second, on stdin
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.decode().strip()) == (130, "interrupted")


@pytest.mark.parametrize("command", [["summary"], ["check"], ["inspect"]])
def test_a_closed_pipe(examples: Path, command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*command, examples / "vgg16.cnn", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (commands.PIPE_CLOSED, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(examples: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = start("summary", examples / "vgg16.cnn", stdout=full, stderr=subprocess.PIPE)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.decode() == "error: cannot write the output: No space left on device\n"


def test_names_that_are_no_text() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    arguments = [*COMMAND, "check", b"\xff.cnn"]
    result = subprocess.run(arguments, capture_output=True, check=False, env=environment)
    assert result.returncode == 1
    assert b"error[E0110]" in result.stderr
    assert b"Traceback" not in result.stderr


def test_our_own_mistakes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def broken() -> None:
        raise ZeroDivisionError("what happened")

    group = click.Group(commands={"broken": broken})
    with pytest.raises(SystemExit) as caught:
        commands.run(group, ["broken"])
    errors = capsys.readouterr().err
    assert caught.value.code == commands.BUG
    assert errors.startswith("internal error: ZeroDivisionError: what happened\n")
    assert "CNNDSL_TRACEBACK=1 cnndsl" in errors
    assert "Traceback" not in errors
    monkeypatch.setenv("CNNDSL_TRACEBACK", "1")
    with pytest.raises(SystemExit):
        commands.run(group, ["broken"])
    assert "Traceback (most recent call last)" in capsys.readouterr().err
