"""Small kernels as a package has them, and what a launch passes to them."""

from dataclasses import dataclass, replace

from cnndsl import targets
from cnndsl.compiler import Job


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    value: int | None = None
    aligned: bool = True


@dataclass(frozen=True)
class Kernel:
    name: str
    function: str
    source: str
    parameters: tuple[Parameter, ...]
    num_warps: int = 4
    num_stages: int = 3


HEADER = "# The header of a kernel's file.\n# It says what the kernel is for.\n\n"

DENSE = Kernel(
    "fc1",
    "dense_kernel",
    HEADER
    + '''import triton
import triton.language as tl


@triton.jit
def rectified(acc):
    return tl.maximum(acc, 0.0, propagate_nan=tl.PropagateNan.ALL)  # helper


@triton.jit(do_not_specialize=["n"])
def dense_kernel(x_ptr, w_ptr, b_ptr, y_ptr, n, x_sn):
    """y = relu(x @ w.T + b) for 256 units of 512 features."""
    blocks = tl.cdiv(n, 64)  # of Triton's own function
    pid = tl.program_id(0)
    rows = pid % blocks * 64 + tl.arange(0, 64)
    k = pid // blocks * 64 + tl.arange(0, 64)
    f = tl.arange(0, 64)
    row_in = rows < n
    x_tile = x_ptr + (tl.where(row_in, rows, 0) * x_sn)[:, None] + f[None, :]
    w_tile = w_ptr + (k * 512)[:, None] + f[None, :]
    acc = tl.zeros((64, 64), dtype=tl.float32)
    for start in range(0, 512, 64):
        x = tl.load(x_tile + start)  # of x
        w = tl.load(w_tile + start)  # of w
        acc = tl.dot(x, w.T, acc)  # matrix
    acc += tl.load(b_ptr + k)[None, :]
    acc = rectified(acc)
    y_tile = y_ptr + (rows * 256)[:, None] + k[None, :]
    tl.store(y_tile, acc.to(tl.float16), mask=row_in[:, None])  # store


def launch(x, w, b, y, n, x_sn):
    grid = (triton.cdiv(n, 64) * 4,)
    dense_kernel[grid](x, w, b, y, n, x_sn, num_warps=4, num_stages=3, enable_fp_fusion=True)
''',
    (
        Parameter("x_ptr", "*fp16"), Parameter("w_ptr", "*fp16"), Parameter("b_ptr", "*fp32"),
        Parameter("y_ptr", "*fp16"), Parameter("n", "i32", 4), Parameter("x_sn", "i32", 512),
    ),
)  # fmt: skip

SCALE = Kernel(
    "scale1",
    "scale_kernel",
    HEADER
    + """import triton
import triton.language as tl


@triton.jit
def scale_kernel(x_ptr, y_ptr):
    at = tl.program_id(0) * 256 + tl.arange(0, 256)
    tl.store(y_ptr + at, tl.load(x_ptr + at) * 2.0)
""",
    (Parameter("x_ptr", "*fp32"), Parameter("y_ptr", "*fp32")),
    num_warps=1,
    num_stages=1,
)
"""The quickest to compile."""


def crowded(rows: int) -> Kernel:
    """A kernel with 4 * rows values for each thread of 32, or 2 * rows for each of 64."""
    source = HEADER + f"""import triton
import triton.language as tl


@triton.jit
def crowded_kernel(x_ptr, y_ptr, n):
    at = tl.arange(0, {rows})[:, None] * 128 + tl.arange(0, 128)[None, :]
    acc = tl.zeros(({rows}, 128), dtype=tl.float32)
    for step in range(n):
        acc = acc * tl.load(x_ptr + step * {rows * 128} + at) + 1.0
    tl.store(y_ptr + at, acc)
"""
    parameters = (Parameter("x_ptr", "*fp32"), Parameter("y_ptr", "*fp32"), Parameter("n", "i32", 7))
    return Kernel("crowded1", "crowded_kernel", source, parameters, num_warps=1, num_stages=1)


def job(kernel: Kernel, target: str) -> Job:
    return Job(kernel, targets.get(target))


def with_source(kernel: Kernel, old: str, new: str) -> Kernel:
    """A kernel with a part of its text replaced."""
    assert kernel.source.count(old) == 1, old
    return replace(kernel, source=kernel.source.replace(old, new))


def line_of(kernel: Kernel, text: str) -> int:
    """The line of a kernel's file that holds a text; there is one."""
    (line,) = [number for number, line in enumerate(kernel.source.splitlines(), 1) if text in line]
    return line
