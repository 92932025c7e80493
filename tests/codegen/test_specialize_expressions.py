"""Expressions, written for constants: what is folded, what is left out, and which parentheses stand."""

from typing import Any

import pytest
from kernel_texts import specialized

# p, q, r: integers of 32 bits, a row of 16, a column of 16, and one number. w: wide. n: an integer of unknown width.
# f: a float tile. c: truth values. A to S: constants.
FRAME = """
def k(x_ptr, n, m, A: tl.constexpr, B: tl.constexpr, S: tl.constexpr):
    p = tl.arange(0, 16) + tl.program_id(1)
    q = p[:, None]
    r = tl.program_id(0)
    w = p.to(tl.int64)
    f = tl.load(x_ptr + p)
    c = p > 3
    tl.store(x_ptr, p + q + r + w + f + c)
    tl.store(x_ptr + n, {})
"""


def expression(text: str, **known: Any) -> str:
    """An expression as it is written for constants."""
    last = specialized(FRAME.format(text), **known).splitlines()[-1]
    return last.removeprefix("    tl.store(x_ptr + n, ").removesuffix(")")


FOLDED = [
    # Constants, and what derives from them.
    ("p * A", {"A": 3}, "p * 3"),
    ("p // (A * B) * S", {"A": 3, "B": 5, "S": 7}, "p // 15 * 7"),
    ("p * (A - B)", {"A": 3, "B": 5}, "p * -2"),
    ("p - A", {"A": -2}, "p - (-2)"),
    ("p + (A)", {"A": -2}, "p + (-2)"),
    ("A + p", {"A": -2}, "-2 + p"),
    ("A ** p", {"A": -2}, "(-2) ** p"),
    ("-A * f", {"A": 0.6}, "-0.6 * f"),
    ("-A * f", {"A": -0.5}, "0.5 * f"),
    ("f * (A / B)", {"A": 1e-4, "B": 5}, "f * 2e-05"),
    ("f * A", {"A": float("-inf")}, 'f * float("-inf")'),
    ("f * A", {"A": float("nan")}, 'f * float("nan")'),
    ("tl.dot(f, f, input_precision=S)", {"S": "tf32"}, 'tl.dot(f, f, input_precision="tf32")'),
    ("tl.dot(f, f, input_precision=S)", {"S": 'a"b'}, "tl.dot(f, f, input_precision='a\"b')"),
    ("tl.zeros((A, B), tl.float32)", {"A": 16, "B": 32}, "tl.zeros((16, 32), tl.float32)"),
    ("p + A.value", {"A": 3}, "p + 3"),
    ("p + (7 + 2) // 3 * A", {"A": 2}, "p + 6"),
    # Run-time integers are never folded, and no author's number is.
    ("p * 2 * 3", {"A": 1}, "p * 2 * 3"),
    ("p * 2 * A", {"A": 3}, "p * 2 * 3"),
    ("p * 1 + 0", {"A": 1}, "p * 1 + 0"),
    ("r // A * B", {"A": 4, "B": 4}, "r // 4 * 4"),
    # Parentheses: the author's stay, needed ones come, idle ones go.
    ("(p + q) * A", {"A": 3}, "(p + q) * 3"),
    ("(p + q) + (A)", {"A": 3}, "(p + q) + (3)"[:-3] + "3"),
    ("(p * A)[None, :]", {"A": 1}, "p[None, :]"),
    ("((p + q) * A)[None, :]", {"A": 1}, "(p + q)[None, :]"),
    ("r * ((p + q) * A)", {"A": 1}, "r * (p + q)"),
    ("r - ((p + q) * A)", {"A": 1}, "r - (p + q)"),
    ("r + (p * A)", {"A": 1}, "r + p"),
    ("-(p * A + q)", {"A": 1}, "-(p + q)"),
    ("(A if c else p) + 1", {"A": 1}, "(1 if c else p) + 1"),
    ("(p if A else q + r) * 2", {"A": False}, "(q + r) * 2"),
    # Leftovers of integer arithmetic.
    ("p * A", {"A": 1}, "p"),
    ("A * p", {"A": 1}, "p"),
    ("p // A", {"A": 1}, "p"),
    ("p + A", {"A": 0}, "p"),
    ("A + p", {"A": 0}, "p"),
    ("p - A", {"A": 0}, "p"),
    ("n * A - B", {"A": 1, "B": 0}, "n"),
    ("x_ptr + A", {"A": 0}, "x_ptr"),
    ("x_ptr + (p * A - B)[:, None] * S", {"A": 1, "B": 0, "S": 1}, "x_ptr + p[:, None]"),
    ("A - p", {"A": 0}, "0 - p"),
    ("A // p", {"A": 1}, "1 // p"),
    ("p % A", {"A": 1}, "p % 1"),
    ("p * A", {"A": 0}, "p * 0"),
    ("tl.where(c, p, A) * B", {"A": 0, "B": 1}, "tl.where(c, p, 0)"),
    ("tl.minimum(p, n - 1) // A", {"A": 1}, "tl.minimum(p, n - 1)"),
    # Not of floating point, where -0.0 + 0 is 0.0, nor of truth values, which become integers, nor by 1.0.
    ("f * A + B", {"A": 1, "B": 0}, "f * 1 + 0"),
    ("f + A", {"A": 0.0}, "f + 0.0"),
    ("c * A + B", {"A": 1, "B": 0}, "c * 1 + 0"),
    ("(p > r) * A", {"A": 1}, "(p > r) * 1"),
    ("p * A", {"A": 1.0}, "p * 1.0"),
    ("p * A", {"A": True}, "p * True"),
    ("f.to(tl.int32) * A", {"A": 1}, "f.to(tl.int32) * 1"),
    ("p.to(tl.float32) * A", {"A": 1}, "p.to(tl.float32) * 1"),
    ("p.to(tl.int64) * A", {"A": 1}, "p.to(tl.int64)"),
    ("p / A", {"A": 1}, "p / 1"),
    # A sum loses what is zero, as long as it changes neither type nor shape.
    ("p + r % A * 8", {"A": 1}, "p"),
    ("r % A * 8 + p", {"A": 1}, "p"),
    ("r + p % A", {"A": 1}, "r + p % 1"),
    ("p + q % A", {"A": 1}, "p + q % 1"),
    ("p + w % A", {"A": 1}, "p + w % 1"),
    ("w + p % A * 3", {"A": 1}, "w"),
    ("p + n % A", {"A": 1}, "p + n % 1"),
    ("x_ptr + p % A", {"A": 1}, "x_ptr + p % 1"),
    ("(x_ptr + p) + r % A", {"A": 1}, "x_ptr + p"),
    ("f + p % A", {"A": 1}, "f + p % 1"),
    # Conditions.
    ("f if A > 2 else p", {"A": 3}, "f"),
    ("f if S == 'relu' else p", {"S": "none"}, "p"),
    ("f if A is None else p", {"A": None}, "f"),
    ("f if A is not None else p", {"A": None}, "p"),
    ("p if r > A and A > 1 else q", {"A": 2}, "p if r > 2 else q"),
    ("p if r > A and A < 1 else q", {"A": 2}, "q"),
    ("p if A < 1 or r > A else q", {"A": 2}, "p if r > 2 else q"),
    ("p if r > A or A > 1 else q", {"A": 2}, "p"),
    ("p if not A or (r > 1 and A) else q", {"A": 2}, "p if r > 1 else q"),
    ("p if r > 1 and A and n > 2 else q", {"A": 2}, "p if r > 1 and n > 2 else q"),
    ("p if 0 < A < 3 else q", {"A": 2}, "p"),
    ("p if 0 < r < A else q", {"A": 2}, "p if 0 < r < 2 else q"),
    ("tl.load(x_ptr) > 0 and A", {"A": False}, "tl.load(x_ptr) > 0 and False"),
]


@pytest.mark.parametrize(("before", "known", "after"), FOLDED)
def test_expressions(before: str, known: dict[str, Any], after: str) -> None:
    assert expression(before, **known) == after
