"""``cnndsl cache``."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnndsl.compiler import entries

NOON = 1_790_000_000.0


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of two packages and three compiled kernels, used an hour after each other."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CNNDSL_CACHE", str(folder))
    monkeypatch.delenv("CNNDSL_CACHE_SIZE", raising=False)
    for number in range(3):
        entry = folder / "compiled" / f"digest{number}"
        (entry / "triton" / "KEY").mkdir(parents=True)
        (entry / "triton" / "KEY" / "kernel.cubin").write_bytes(b"c" * 2040)
        (entry / entries.RECORD).write_text("12345678")
        os.utime(entry / entries.RECORD, (NOON + 3600 * number,) * 2)
    for number in range(2):
        package = folder / "packages" / f"net_{number}"
        package.mkdir(parents=True)
        (package / "network.py").write_bytes(b"#" * 512)
        os.utime(package, (NOON + 3600 * number,) * 2)
    return folder


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local times are UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_show(run, cache: Path, in_utc) -> None:
    assert run("cache").stdout.splitlines() == [
        str(cache),
        "                    number     size    limit  least recently used  last used",
        "  packages               2  1.0 KiB      500  2026-09-21 14:13     2026-09-21 15:13",
        "  compiled kernels       3  6.0 KiB  1.0 GiB  2026-09-21 14:13     2026-09-21 16:13",
    ]


def test_a_narrow_terminal(run, cache: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    lines = run("cache").stdout.splitlines()[1:]
    assert max(len(line) for line in lines) <= 50
    assert "last used" not in lines[0]


def test_json(run, cache: Path, monkeypatch) -> None:
    monkeypatch.setenv("CNNDSL_CACHE_SIZE", "2")
    first, second, third = "2026-09-21T14:13:20+00:00", "2026-09-21T15:13:20+00:00", "2026-09-21T16:13:20+00:00"
    assert json.loads(run("cache", "--json").stdout) == {
        "folder": str(cache),
        "limit_bytes": 2 * 2**20,
        "cleared": False,
        "packages": {"count": 2, "bytes": 1024, "least_recently_used": first, "last_used": second},
        "compiled": {"count": 3, "bytes": 3 * 2048, "least_recently_used": first, "last_used": third},
    }


def test_clear(run, cache: Path) -> None:
    # Another process is at work.
    (cache / "compiled" / ".writing-1").mkdir()
    result = run("cache", "--clear")
    assert result.stdout == f"freed 7.0 KiB in {cache}: 2 packages, 3 compiled kernels\n"
    assert sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*")) == [
        "compiled", "compiled/.writing-1", "packages",
    ]
    assert run("cache", "--clear").stdout == f"{cache} was empty\n"


def test_clear_as_json(run, cache: Path) -> None:
    data = json.loads(run("cache", "--clear", "--json").stdout)
    assert (data["cleared"], data["packages"]["count"], data["compiled"]["count"]) == (True, 2, 3)
    after = json.loads(run("cache", "--json").stdout)
    assert (after["packages"]["count"], after["compiled"]["bytes"]) == (0, 0)


def test_no_cache_yet(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path / "none"))
    data = json.loads(run("cache", "--json").stdout)
    assert data["compiled"] == {"count": 0, "bytes": 0, "least_recently_used": None, "last_used": None}
    assert run("cache").stdout.splitlines()[2].split() == ["packages", "0", "0", "B", "500", "-", "-"]
    assert not (tmp_path / "none").exists()


def test_a_cache_that_may_not_be_deleted(run, cache: Path, monkeypatch) -> None:
    def refused(*arguments) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(entries.os, "rename", refused)
    result = run("cache", "--clear")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error[E0606]" in result.stderr


def test_a_size_that_is_none(run, cache: Path, monkeypatch) -> None:
    monkeypatch.setenv("CNNDSL_CACHE_SIZE", "much")
    result = run("cache")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error[E0706]: CNNDSL_CACHE_SIZE is `much`, which is no size" in result.stderr
