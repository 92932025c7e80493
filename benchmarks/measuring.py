"""How times are taken: events, a cold cache, contestants in turn; and the ceilings of the machine."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import triton

Call = Callable[[], object]

WARM_UP = 3
MATRIX = 8192
"""Rows and columns of the matrices whose product is timed: far beyond launch overhead."""
COPIED = 2**31
"""Bytes that are copied, far more than any cache holds."""


def on_gpu(device: torch.device) -> bool:
    """Whether a device has events, streams and graphs. The CPU stands in for one only to try these scripts."""
    return device.type == "cuda"


@dataclass(frozen=True)
class Timer:
    """Times calls on one device, in microseconds.

    On a GPU a sample is the time between two events around the call. The GPU is idle when the first one is
    recorded, so a sample includes what the host needs to start the call's kernels, as it does for a single
    call in a program; a call that replays a CUDA graph shows the kernels by themselves. Before each sample a
    buffer of four times the size of the L2 cache is read, not written: afterwards the cache holds neither
    weights nor input, nor lines that would have to be written back while the call runs.
    """

    device: torch.device
    flushing: torch.Tensor | None

    @staticmethod
    def of(device: torch.device) -> "Timer":
        if not on_gpu(device):
            return Timer(device, None)
        size = torch.cuda.get_device_properties(device).L2_cache_size or 64 * 2**20
        return Timer(device, torch.ones(size, dtype=torch.float32, device=device))

    def synchronize(self) -> None:
        if on_gpu(self.device):
            torch.cuda.synchronize(self.device)

    def sample(self, call: Call) -> float:
        """The time of one call."""
        if self.flushing is None:
            start = time.perf_counter()
            call()
            return (time.perf_counter() - start) * 1e6
        self.flushing.sum()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.synchronize()
        begin.record()
        call()
        end.record()
        self.synchronize()
        return float(begin.elapsed_time(end)) * 1e3

    def first(self, call: Call) -> float:
        """Seconds of a call on the host's clock, with compilation and searches for algorithms."""
        self.synchronize()
        start = time.perf_counter()
        call()
        self.synchronize()
        return time.perf_counter() - start

    def in_turn(
        self, calls: Mapping[str, Call], *, repetitions: int, seconds: float
    ) -> dict[str, list[float]]:
        """Samples of each call, taken in turn and beginning with another one each round.

        Stops after `repetitions` rounds, or after `seconds` once there are three.
        """
        samples: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            for _ in range(WARM_UP):
                call()
        names = list(calls)
        end = time.perf_counter() + seconds
        for number in range(repetitions):
            for turn in range(len(names)):
                name = names[(number + turn) % len(names)]
                samples[name].append(self.sample(calls[name]))
            if number >= 2 and time.perf_counter() > end:
                break
        return samples


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, spread and noise of samples in microseconds.

    `halves_us` are the medians of the even and the odd samples: two measurements of one thing, whose
    difference is the noise.
    """
    ordered = sorted(samples)
    last = len(ordered) - 1
    return {
        "median_us": statistics.median(ordered),
        "p10_us": ordered[round(0.1 * last)],
        "p90_us": ordered[round(0.9 * last)],
        "repetitions": len(ordered),
        "halves_us": [statistics.median(samples[::2]), statistics.median(samples[1::2] or samples)],
    }


# --- ceilings ----------------------------------------------------------------------------------------------


def set_precision(dtype: str) -> None:
    """Let torch's own fp32 products be what the type says: IEEE for fp32, tf32 for tf32."""
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"


def ceilings(timer: Timer, dtype: torch.dtype) -> dict[str, float]:
    """What the machine reaches at most: bytes per second copying, operations per second multiplying.

    The copy counts bytes read and written; the product is of random numbers. Both are torch's.
    """
    side, length = (MATRIX, COPIED) if on_gpu(timer.device) else (512, 2**20)
    full = torch.randint(0, 255, (length,), dtype=torch.uint8, device=timer.device)
    empty = torch.empty_like(full)
    a, b = (torch.randn((side, side), device=timer.device).to(dtype) for _ in range(2))
    calls: dict[str, Call] = {"copy": lambda: empty.copy_(full), "product": lambda: a @ b}
    copy, product = timer.in_turn(calls, repetitions=10, seconds=10).values()
    return {
        "bytes_per_second": 2 * length / statistics.median(copy) * 1e6,
        "flops": 2 * side**3 / statistics.median(product) * 1e6,
    }


# --- poison ------------------------------------------------------------------------------------------------


def poison(sizes: Sequence[int], dtype: torch.dtype, device: torch.device) -> bool:
    """Fill the memory that the next allocations of these sizes (in elements) get with NaN.

    Returns whether that was seen to work. torch's CUDA allocator hands a freed block out again, so it does
    there; on the CPU it is not tried.
    """
    if not on_gpu(device):
        return False
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    blocks = [torch.full((size,), float("nan"), dtype=dtype, device=device) for size in sizes]
    del blocks
    again = [torch.empty(size, dtype=dtype, device=device) for size in sizes]
    return all(bool(block.isnan().all()) for block in again)


# --- the machine -------------------------------------------------------------------------------------------


def machine(device: torch.device) -> dict[str, Any]:
    """What ran, for the record."""
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda,
        "commit": commit(),
        "device": str(device),
    }
    if on_gpu(device):
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "l2_bytes": properties.L2_cache_size,
            "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")[:20],
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def commit() -> str:
    """The checkout's commit, with a + where files differ; $CNNDSL_COMMIT where there is no checkout."""
    told = os.environ.get("CNNDSL_COMMIT", "")
    if told:
        return told
    folder = str(Path(__file__).resolve().parent)
    name = _output("git", "-C", folder, "rev-parse", "HEAD")
    changed = _output("git", "-C", folder, "status", "--porcelain", "--untracked-files=no")
    return (name + ("+" if changed else "")) or "unknown"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
