"""The cache of compiled kernels: damage, several processes, its size."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import samples
from samples import SCALE, job

from cnndsl.compiler import compile_kernels, entries, installation, upkeep
from cnndsl.errors import CnnError


def write_entry(digest: str, *, size: int = 100, name: str = "scale1") -> entries.Entry:
    """An entry with a file of `size` bytes, without a compiler."""
    with entries.scratch() as scratch:
        group = scratch / digest / "triton" / "KEY"
        group.mkdir(parents=True)
        (group / "kernel.cubin").write_bytes(b"c" * size)
        (group / "__grp__kernel.json").write_text(json.dumps({"child_paths": {"kernel.cubin": "/old/kernel.cubin"}}))
        return entries.commit(scratch / digest, digest, {"kernel": name})


def test_written_and_found(empty_cache: Path) -> None:
    assert entries.find("a") is None
    written = write_entry("a")
    found = entries.find("a")
    assert found == written
    assert found.folder == empty_cache / "a"
    assert found.triton == empty_cache / "a" / "triton" / "KEY"
    assert found.record["kernel"] == "scale1"
    # Triton's list names the files where they are now.
    listed = json.loads((found.triton / "__grp__kernel.json").read_text())["child_paths"]
    assert listed == {"kernel.cubin": str(found.triton / "kernel.cubin")}


def edit_record(folder: Path) -> None:
    path = folder / entries.RECORD
    path.write_text(path.read_text().replace("scale1", "scale2"))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a file is gone": lambda folder: (folder / "triton/KEY/kernel.cubin").unlink(),
    "a file is shorter": lambda folder: (folder / "triton/KEY/kernel.cubin").write_bytes(b"c" * 99),
    "a file is zeros": lambda folder: (folder / "triton/KEY/kernel.cubin").write_bytes(b"\0" * 100),
    "a file is a folder": lambda folder: [
        (folder / "triton/KEY/kernel.cubin").unlink(), (folder / "triton/KEY/kernel.cubin").mkdir(),
    ],
    "no record": lambda folder: (folder / entries.RECORD).unlink(),
    "half a record": lambda folder: (folder / entries.RECORD).write_text('{"check": "'),
    "a record of nothing": lambda folder: (folder / entries.RECORD).write_text("[]"),
    "a record of other values": edit_record,
    "an empty folder": lambda folder: [shutil.rmtree(folder), folder.mkdir()],
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_noticed_and_mended(what: str, empty_cache: Path) -> None:
    write_entry("a")
    DAMAGE[what](empty_cache / "a")
    assert entries.find("a") is None
    write_entry("a", name="new")
    assert entries.find("a").record["kernel"] == "new"
    assert [path.name for path in empty_cache.iterdir()] == ["a"]


def test_the_first_of_two_stays(empty_cache: Path) -> None:
    write_entry("a", name="first")
    assert write_entry("a", name="second").record["kernel"] == "first"
    assert entries.find("a").record["kernel"] == "first"


def test_a_damaged_kernel_is_compiled_again(empty_cache: Path) -> None:
    (first,) = compile_kernels([job(SCALE, "gfx942")])
    (binary,) = first.folder.glob("triton/*/*.hsaco")
    content = binary.read_bytes()
    binary.write_bytes(content[:-1])
    (second,) = compile_kernels([job(SCALE, "gfx942")])
    assert not second.cached
    assert second.folder == first.folder
    assert binary.read_bytes() == content


def test_a_cache_that_can_only_be_read(empty_cache: Path, monkeypatch) -> None:
    write_entry("a")

    def refused(*arguments) -> None:
        raise PermissionError

    monkeypatch.setattr(entries.os, "utime", refused)
    assert entries.find("a") is not None


# --- several processes ----------------------------------------------------------------------------------------------

PROGRAM = f"""
import sys, time
sys.path.insert(0, {str(Path(samples.__file__).parent)!r})
from dataclasses import replace
from samples import SCALE, job
from cnndsl.compiler import compile_kernels
print("ready", flush=True)
sys.stdin.readline()
kernels = [replace(SCALE, name=f"scale{{i}}") for i in range(3)]
for compiled in compile_kernels([job(k, "gfx942") for k in kernels], workers=1):
    assert compiled.error is None, compiled.error
    assert "s_endpgm" in compiled.stage("amdgcn")
    print(compiled.folder.name)
"""


def test_two_processes_at_once(empty_cache: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [p.stdout.readline() for p in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert sorted(outputs[0].split()) == sorted(path.name for path in empty_cache.iterdir())
    assert all(entries.find(digest) is not None for digest in outputs[0].split())


def test_what_another_process_has_compiled_meanwhile(empty_cache: Path, monkeypatch) -> None:
    """A kernel that appears in the cache after the others were begun is not compiled a second time."""
    (theirs,) = compile_kernels([job(SCALE, "gfx942")])
    first = entries.find
    asked = []

    def late(digest: str) -> entries.Entry | None:
        asked.append(digest)
        return None if len(asked) == 1 else first(digest)

    monkeypatch.setattr(entries, "find", late)
    (found,) = compile_kernels([job(SCALE, "gfx942")])
    assert (found.cached, found.folder) == (True, theirs.folder)
    assert len(asked) == 2


# --- size -----------------------------------------------------------------------------------------------------------


def use(digest: str, seconds_ago: float) -> None:
    moment = time.time() - seconds_ago
    os.utime(entries.root() / digest / entries.RECORD, (moment, moment))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_entry_that_another_process_takes_away_at_this_moment(empty_cache: Path, monkeypatch) -> None:
    """What stands in the way of the first attempt is gone when it is looked for."""
    write_entry("a", name="old")
    rename, taken = os.rename, []

    def renamed(old: Path, new: Path) -> None:
        try:
            rename(old, new)
        except OSError:
            shutil.rmtree(new)
            taken.append(new)
            raise

    monkeypatch.setattr(entries.os, "rename", renamed)
    assert write_entry("a", name="new").record["kernel"] == "new"
    assert taken == [empty_cache / "a"]


def test_the_least_recently_used_go_first(empty_cache: Path) -> None:
    for age, digest in enumerate("abcd"):
        write_entry(digest, size=10_000)
        use(digest, 1000 - age)
    size = upkeep.holding().compiled.size
    upkeep.trim(size)
    assert names(empty_cache) == ["a", "b", "c", "d"]
    entries.find("a")  # a use
    upkeep.trim(size - 1)
    assert names(empty_cache) == ["a", "c", "d"]
    upkeep.trim(size - size // 4 - 1, keep={"c"})
    assert names(empty_cache) == ["a", "c"]
    upkeep.trim(0, keep={"c"})
    assert names(empty_cache) == ["c"]


def test_a_run_keeps_what_it_uses(empty_cache: Path, monkeypatch) -> None:
    write_entry("old")
    monkeypatch.setenv("CNNDSL_CACHE_SIZE", "0")
    first, second = compile_kernels([job(SCALE, "gfx942"), job(SCALE, "gfx90a")])
    assert names(empty_cache) == sorted([first.folder.name, second.folder.name])
    (third,) = compile_kernels([job(SCALE, "gfx950")])
    assert names(empty_cache) == sorted(c.folder.name for c in (first, second, third))


def test_packages_are_bounded_by_number_and_stay_for_a_day(empty_cache: Path, monkeypatch) -> None:
    packages = empty_cache.parent / "packages"
    for age in range(4):
        (packages / f"net_{age}").mkdir(parents=True)
        moment = time.time() - age * upkeep.DAY * 0.6
        os.utime(packages / f"net_{age}", (moment, moment))
    monkeypatch.setattr(upkeep, "MAX_PACKAGES", 1)
    upkeep.trim(0)
    assert names(packages) == ["net_0", "net_1"]
    monkeypatch.setattr(upkeep, "MAX_PACKAGES", 2)
    upkeep.trim(0)
    assert names(packages) == ["net_0", "net_1"]


def test_what_killed_processes_left_is_swept(empty_cache: Path) -> None:
    write_entry("a")
    for name, age in {".writing-new": 60, ".writing-old": upkeep.DAY * 2, ".trash-new": 60}.items():
        (empty_cache / name).mkdir()
        os.utime(empty_cache / name, (time.time() - age,) * 2)
    upkeep.trim(2**30)
    assert names(empty_cache) == [".writing-new", "a"]
    (empty_cache / ".writing-new").rmdir()


def test_removing_what_is_gone(empty_cache: Path) -> None:
    write_entry("a")
    assert entries.remove(empty_cache / "a") is True
    assert entries.remove(empty_cache / "a") is False


def test_a_cache_that_cannot_be_read(empty_cache: Path, monkeypatch) -> None:
    def refused(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(upkeep.os, "scandir", refused)
    for look in (upkeep.holding, upkeep.clear):
        with pytest.raises(CnnError) as caught:
            look()
        (found,) = caught.value.diagnostics
        assert found.code == "E0606"
        assert found.message == f"cannot read the cache {empty_cache.parent}: Permission denied"
    upkeep.trim(0)  # nothing is to be had here


@pytest.mark.parametrize(("text", "size"), [("", 2**30), ("1", 2**20), ("0.5", 2**19), ("0", 0)])
def test_limit(text: str, size: int, monkeypatch) -> None:
    monkeypatch.setenv("CNNDSL_CACHE_SIZE", text)
    assert upkeep.limit_bytes() == size


@pytest.mark.parametrize("text", ["1G", "-1", "nan", "inf"])
def test_no_limit(text: str, monkeypatch, empty_cache: Path) -> None:
    monkeypatch.setenv("CNNDSL_CACHE_SIZE", text)
    with pytest.raises(CnnError) as caught:
        compile_kernels([job(SCALE, "sm_90")])
    assert caught.value.diagnostics[0].code == "E0706"
    assert text in str(caught.value)


def test_another_build_of_triton_is_another(monkeypatch, tmp_path: Path) -> None:
    installed = installation.find()
    tool = tmp_path / "ptxas"
    tool.write_text("one")
    monkeypatch.setenv("TRITON_PTXAS_PATH", str(tool))
    first = installation.find()
    tool.write_text("another")
    second = installation.find()
    assert len({installed.identity, first.identity, second.identity}) == 3
