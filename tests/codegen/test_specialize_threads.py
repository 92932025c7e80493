"""Several threads that specialise at once: what one of them has specialised is there for all."""

import sys
import threading
from collections.abc import Iterator

import pytest

from cnndsl.codegen.specialize import specialize

SOURCE = """
import triton
import triton.language as tl


@triton.jit
def outer(x, A: tl.constexpr):
    # all of it
    y = inner(x, A) + A
    return y * inner(x + A, 2)


@triton.jit
def inner(x, A: tl.constexpr):
    z = x * A
    return z + 1


@triton.jit
def kernel(x_ptr, n, A: tl.constexpr):
    tl.store(x_ptr + n, outer(n, A) + inner(n, A))
"""


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads that take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def texts(source: str) -> list[str]:
    return [specialize({"m": source}, "m", "kernel", {"A": a}).text for a in range(3, 13)]


@pytest.mark.usefixtures("hasty")
def test_threads_do_not_meet() -> None:
    """Without a lock, three threads of four end in "`inner` calls itself"."""
    expected = texts(SOURCE)
    found: list[list[str]] = []
    for attempt in range(4):
        source = f"# {attempt}\n{SOURCE}"
        start = threading.Barrier(4)

        def work(source: str = source, start: threading.Barrier = start) -> None:
            start.wait()
            found.append(texts(source))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [expected] * 16
