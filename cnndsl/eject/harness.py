"""What stands below an ejected kernel: its comparison with torch. This text is copied, and never imported.

Above the mark are the names that it finds in the file: `cnndsl.eject.source` writes them for each layer.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch

LAYER: dict[str, Any]
DTYPE: torch.dtype
TOLERANCE: float
CASES: list[dict[str, Any]]
OUTPUT: dict[str, Any]
make_inputs: Callable[..., tuple[torch.Tensor, ...]]
reference: Callable[..., torch.Tensor]
arguments: Callable[..., tuple[Any, ...]]
launch: Callable[..., None]

# --- what is copied ---


PART = 2**24
"""Values of the largest tensor that are compared at a time: in fp64 everything is two to four times as large."""


class Wrong(Exception):
    """What is wrong with the kernel, as a sentence."""


def check(n: int = 2, device: str = "cpu", seed: int = 0) -> float:
    """The kernel's error ||y - r|| / ||r|| for n pictures, r being the reference in fp64.

    Raises Wrong where that exceeds TOLERANCE or one value is far off, and where the kernel leaves values of y as
    they were, or changes any other memory.
    """
    # So few values that chance could bring a sum near 0, where no relative error is small: several draws.
    draws = max(1, min(16, 64 // (n * torch.Size(OUTPUT["shape"]).numel())))
    worst = 0.0
    for case in CASES:
        found = [outcome(n, device, seed + i, **case) for i in range(draws)]
        if draws > 1:
            whole = [reference(*inputs_in_fp64(inputs)) for inputs, _ in found]
            worst = max(worst, compare(torch.cat([y for _, y in found]), torch.cat(whole), 0))
            continue
        ((inputs, y),) = found
        part = max(1, PART // max(x[:1].numel() for x in (*inputs, y)))
        for i in range(0, n, part):
            r = reference(*inputs_in_fp64(inputs, slice(i, i + part)))
            worst = max(worst, compare(y[i : i + part], r, i))
    return worst


def outcome(n: int, device: str, seed: int, **case: Any) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Random inputs, and what the kernel makes of them: y [n, ...]. Raises Wrong for what it does to memory."""
    inputs = make_inputs(n, device, seed, **case)
    memory, bits = empty_output(n, device)
    y = bits.view(DTYPE)
    given = arguments(*inputs, y)
    named = zip(LAYER["launch"], given, strict=True)
    read = [(name, t) for name, t in named if isinstance(t, torch.Tensor) and t is not y]
    before = [all_bytes(t).clone() for _, t in read]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the interpreter's, of infinities
        launch(*given)
    if device != "cpu":
        torch.cuda.synchronize()
    for (name, t), old in zip(read, before, strict=True):
        if not torch.equal(all_bytes(t), old):
            raise Wrong(f"it writes into `{name}`, or beside it, which it may only read")
    result = y.clone()
    unwritten = (bits == POISON[DTYPE]).nonzero()
    if len(unwritten):
        first = place(unwritten[0])
        raise Wrong(f"it leaves {len(unwritten):,} of {y.numel():,} values unwritten: the first is y{first}")
    bits.fill_(POISON[DTYPE])
    outside = (memory != POISON[DTYPE]).nonzero()
    if len(outside):
        at, end = int(outside[0]) - bits.storage_offset(), n * OUTPUT["picture"] - OUTPUT["offset"]
        where = "in front of it" if at < -OUTPUT["offset"] else "behind it" if at >= end else "between its channels"
        raise Wrong(f"it writes {len(outside):,} values outside of y: {where}")
    return inputs, result


def compare(y: torch.Tensor, r: torch.Tensor, first: int) -> float:
    """||y - r|| / ||r||. Raises Wrong where it exceeds TOLERANCE, or one value is off by four times that.

    One value's error is measured by its own size and the mean square of all: among a million values, a wrong one
    does not show in the norm. `first` is the number of the first picture.
    """
    r = r.to(y.device)
    off = (y.double() - r).abs().nan_to_num(nan=float("inf"))
    size = r.square().mean().sqrt()
    error = float(off.square().mean().sqrt() / size) if size > 0 else float(off.max())
    single = off / (r.abs() + size).clamp_min(1e-300)
    if error <= TOLERANCE and float(single.max()) <= 4 * TOLERANCE:
        return error
    i = torch.stack(torch.unravel_index(single.argmax(), y.shape))
    at, bad = tuple(i.tolist()), int((single > 4 * TOLERANCE).sum())
    i[0] += first
    raise Wrong(
        f"its result is wrong: {bad:,} of {y.numel():,} values are far off; y{place(i)} is {float(y[at]):.6g}, "
        f"torch says {float(r[at]):.6g}. The relative error of all is {error:.1e}, the tolerance {TOLERANCE:.1e}"
    )


# --- memory ---------------------------------------------------------------------------------------------------

POISON = {torch.float32: 0x7FD5AA55, torch.float16: 0x7E55, torch.bfloat16: 0x7FD5}
"""A NaN that no arithmetic gives, as an integer: what y, and the memory around it, holds before the launch."""


def guard(picture: int) -> int:
    """Values of memory on either side of a tensor, aligned as the network's tensors are."""
    return -(-max(picture, 2**16) // 128) * 128


def placed(
    values: torch.Tensor, strides: tuple[int, ...], *, picture: int, offset: int = 0, device: str
) -> torch.Tensor:
    """Values in DTYPE as they lie in the network: `picture` values of memory for each picture, NaN elsewhere."""
    before = guard(picture)
    memory = torch.full((len(values) * picture + 2 * before,), float("nan"), dtype=DTYPE, device=device)
    return memory.as_strided(values.shape, strides, before + offset).copy_(values)


def passed(values: torch.Tensor, layout: str, device: str) -> torch.Tensor:
    """Values in DTYPE as a caller may pass them: contiguous, channels_last, or with every stride another."""
    size, row = values[0].numel(), values.shape[-1]
    strides = values.contiguous().stride()
    if layout == "channels_last":
        strides = values.contiguous(memory_format=torch.channels_last).stride()
    elif layout == "apart" and values.dim() == 2:
        strides, size = (2 * row + 1, 2), 2 * row + 1
    elif layout == "apart":
        _, c, h, w = values.shape
        size = c * (h + 1) * 2 * w + 3
        strides = (size, (h + 1) * 2 * w, 2 * w, 2)
    return placed(values, strides, picture=size, device=device)


def between_nans(t: torch.Tensor) -> torch.Tensor:
    """A weight, dense, with NaN on either side: reading beyond it shows."""
    memory = torch.full((t.numel() + 2**17,), float("nan"), dtype=t.dtype, device=t.device)
    return memory[2**16 : 2**16 + t.numel()].view(t.shape).copy_(t)


def empty_output(n: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Memory full of POISON, and y in it [n, ...], both as integers."""
    before = guard(OUTPUT["picture"])
    integer = torch.int32 if DTYPE is torch.float32 else torch.int16
    memory = torch.full((n * OUTPUT["picture"] + 2 * before,), POISON[DTYPE], dtype=integer, device=device)
    return memory, memory.as_strided((n, *OUTPUT["shape"]), OUTPUT["strides"], before + OUTPUT["offset"])


def all_bytes(t: torch.Tensor) -> torch.Tensor:
    """The whole memory that a tensor lies in."""
    return torch.empty(0, dtype=torch.uint8, device=t.device).set_(t.untyped_storage())


def inputs_in_fp64(inputs: tuple[torch.Tensor, ...], part: slice = slice(None)) -> list[torch.Tensor]:
    """The inputs as the reference takes them; of feature maps some pictures alone."""
    names = list(inspect.signature(reference).parameters)
    return [(t[part] if name in LAYER["tensors"] else t).double() for name, t in zip(names, inputs, strict=True)]


def place(index: torch.Tensor) -> str:
    """An index as Python writes it."""
    return f"[{', '.join(map(str, index.tolist()))}]"


# --- the command line -----------------------------------------------------------------------------------------


def milliseconds(n: int, seed: int) -> float:
    """The median of 100 launches on the GPU, by its own clock, after ten that do not count."""
    inputs = make_inputs(n, "cuda", seed)
    given = arguments(*inputs, empty_output(n, "cuda")[1].view(DTYPE))
    times: list[float] = []
    for _ in range(110):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        launch(*given)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times[10:])[50]


def main() -> None:
    """Compare the kernel with torch and print the error; the exit status is 1 when it is wrong."""
    parser = argparse.ArgumentParser(description=f"Compare {LAYER['layer']} of {LAYER['network']} with torch in fp64.")
    parser.add_argument("--n", type=int, default=2, help="pictures (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (default: 0)")
    options = parser.parse_args()
    if not 1 <= options.n <= (LAYER["largest_n"] or options.n):
        parser.error(f"--n must be from 1 to {LAYER['largest_n']:,}" if LAYER["largest_n"] else "--n must be 1 or more")
    interpreted = os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "yes", "on", "y"}
    device = "cpu" if interpreted else "cuda"
    where = "in Triton's interpreter" if interpreted else f"on {torch.cuda.get_device_name()}"
    print(f"{LAYER['layer']} of {LAYER['network']}, n = {options.n}, {LAYER['dtype']}, {where}")
    if LAYER["target"] == "interpreter" and not interpreted:
        print("its tiles are the interpreter's, too large for most GPUs: eject it with --target", file=sys.stderr)
    if LAYER["target"] != "interpreter" and interpreted and LAYER["dtype"] == "bf16":
        sys.exit("the interpreter computes bf16 in a way of its own: eject the layer with --target interpreter")
    try:
        error = check(options.n, device, options.seed)
    except Wrong as wrong:
        sys.exit(f"wrong: {wrong}")
    print(f"right: the relative error is {error:.1e}, the tolerance {TOLERANCE:.1e}")
    if device == "cuda":
        print(f"{milliseconds(options.n, options.seed):.4f} ms, the median of 100 launches")


if __name__ == "__main__":
    main()
