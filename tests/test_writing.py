"""Files that are written as a whole or not at all."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mistakes import mistake

from cnndsl.writing import replaced, write_file


def refusal(action: Callable[[], object]) -> str:
    found = mistake(action)
    assert found.code == "E0421"
    return found.message


def test_a_file_new_and_old(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    write_file(path, b"one")
    path.chmod(0o640)
    write_file(str(path), b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o640)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_bytes(b"old")

    def fail(error: Exception) -> None:
        with replaced(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    full = OSError(errno.ENOSPC, "No space left on device")
    assert refusal(lambda: fail(full)) == f"cannot write {path}: No space left on device"
    with pytest.raises(KeyError):  # a mistake of ours is no mistake of the disk
        fail(KeyError("x"))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_long_names(tmp_path: Path) -> None:
    """A file system takes 255 bytes: the temporary name is shorter than the longest that it can stand for."""
    write_file(tmp_path / ("n" * 251 + ".svg"), b"x")
    write_file(tmp_path / ("\N{SNOWMAN}" * 83 + ".svg"), b"x")
    assert refusal(lambda: write_file(tmp_path / ("n" * 300), b"x")).endswith(": File name too long")


def test_links_lead_on(tmp_path: Path) -> None:
    for name in ("there", "not_there"):
        real, link = tmp_path / name, tmp_path / f"{name}.svg"
        link.symlink_to(real)
        if name == "there":
            real.write_bytes(b"old")
        write_file(link, b"new")
        assert link.is_symlink()
        assert real.read_bytes() == b"new"


def test_pipes_are_written_to(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, b"through")
    reader.join()
    assert (got, pipe.is_fifo(), list(tmp_path.iterdir())) == ([b"through"], True, [pipe])


@pytest.mark.parametrize(
    ("name", "reason"),
    [(".", "it is a folder"), ("none/a", "No such file or directory"), ("a\0b", "embedded null byte")],
)
def test_where_nothing_can_be(tmp_path: Path, name: str, reason: str) -> None:
    assert refusal(lambda: write_file(f"{tmp_path}/{name}", b"x")) == f"cannot write {tmp_path}/{name}: {reason}"
    assert not list(tmp_path.iterdir())
