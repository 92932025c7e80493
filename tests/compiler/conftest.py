"""A cache of one's own, and kernels that several tests look at, compiled once."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import samples

from cnndsl.compiler import Compiled, compile_kernels, service

TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of compiled kernels of a new cache."""
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CNNDSL_CACHE_SIZE", raising=False)
    monkeypatch.setattr(service, "_used", set())
    yield tmp_path / "cache" / "compiled"
    assert not list((tmp_path / "cache").rglob(".writing-*"))
    assert not list((tmp_path / "cache").rglob(".trash-*"))


@pytest.fixture(scope="session")
def dense() -> Mapping[str, Compiled]:
    """`samples.DENSE` by target. Tests must not touch its folders: they are in the cache of the whole run."""
    return _compiled([samples.job(samples.DENSE, name) for name in TARGETS])


@pytest.fixture(scope="session")
def crowded() -> Mapping[str, Compiled]:
    """Kernels with more values than registers, by target."""
    return _compiled([samples.job(samples.crowded(64), "sm_80"), samples.job(samples.crowded(256), "gfx942")])


def _compiled(jobs) -> Mapping[str, Compiled]:
    assert "CNNDSL_CACHE" in os.environ
    found = {c.job.target.name: c for c in compile_kernels(jobs)}
    assert [c.error for c in found.values()] == [None] * len(found)
    return found
