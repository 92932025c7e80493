"""Ctrl-C while kernels are compiled."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import samples

PROGRAM = """
import sys
sys.path.insert(0, {samples!r})
from dataclasses import replace
from samples import SCALE, job, with_source
from cnndsl.compiler import compile_kernels
slow = with_source(SCALE, "import triton\\n", '''import os, pathlib, subprocess, time
child = subprocess.Popen(["sleep", "600"])
pathlib.Path({pids!r} + ".new").write_text(f"{{os.getpid()}} {{child.pid}}")
os.rename({pids!r} + ".new", {pids!r})
time.sleep(600)
import triton
''')
quick = replace(SCALE, name="quick1")
compile_kernels([job(quick, "gfx942"), job(slow, "gfx942")], workers=1)
"""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for whom it is a child of does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_all_that_was_started_is_ended_and_nothing_is_left_half_written(empty_cache: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = PROGRAM.format(samples=str(Path(samples.__file__).parent), pids=str(pids))
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    wait_until(pids.exists)
    worker, child = map(int, pids.read_text().split())
    assert is_alive(worker)
    assert is_alive(child)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not is_alive(worker)
    wait_until(lambda: not is_alive(child))
    # What was done before is kept.
    (entry,) = empty_cache.iterdir()
    assert (entry / "quick1.py").exists()


def test_workers_end_with_the_process_that_started_them(empty_cache: Path, tmp_path: Path) -> None:
    """Even where it is killed and can do nothing about it."""
    program = f"""
import sys, time
sys.path.insert(0, {str(Path(samples.__file__).parent)!r})
from samples import SCALE, job
from cnndsl.compiler import pool
with pool.Pool(1) as workers:
    for _ in workers.run([("a", {{"supported": []}})]):
        print(workers._workers[0].process.pid, flush=True)
        time.sleep(600)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    worker = int(process.stdout.readline())
    assert is_alive(worker)
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: not is_alive(worker))
