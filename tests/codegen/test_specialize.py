"""Kernel text and constants to kernel text: what is written, to the letter."""

import ast
import inspect
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_arguments import cases, entry_kernels
from specialized import NETWORKS, case_of, distinct, launches

from cnndsl.codegen.specialize import kernel_sources, specialize
from cnndsl.errors import CnnError

HEAD = "import triton\nimport triton.language as tl\n"


def specialized(text: str, *, kernel: str = "k", **known: Any) -> str:
    """A module of functions without their decorators, specialised; without the imports and decorators."""
    source = HEAD + inspect.cleandoc(text).replace("def ", "@triton.jit\ndef ")
    made = specialize({"m": source}, "m", kernel, known).text
    assert made.startswith(f"{HEAD}\n\n@triton.jit\ndef ")
    return made.removeprefix(HEAD).replace("@triton.jit\n", "").strip()


def check(before: str, after: str, **known: Any) -> None:
    assert specialized(before, **known) == inspect.cleandoc(after)


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


def test_branches() -> None:
    chain = """
        def k(x_ptr, n, A: tl.constexpr, B: tl.constexpr):
            # what y is
            if A == 1:
                # in one
                y = 1 * n

            # to two
            elif n > 3:
                y = n * B  # trailing
                # after y
            elif A == 2:
                y = n - B
            else:  # otherwise
                y = n + B
            # store
            tl.store(x_ptr, y)
    """
    first = """
        def k(x_ptr, n):
            # what y is
            # in one
            y = 1 * n

            # store
            tl.store(x_ptr, y)
    """
    check(chain, first.replace("\n\n            # store", "\n            # store"), A=1, B=5)
    check(chain, """
        def k(x_ptr, n):
            # what y is
            if n > 3:
                y = n * 5  # trailing
                # after y
            else:
                y = n - 5
            # store
            tl.store(x_ptr, y)
    """, A=2, B=5)  # fmt: skip
    check(chain, """
        def k(x_ptr, n):
            # what y is
            if n > 3:
                y = n * 5  # trailing
                # after y
            else:  # otherwise
                y = n + 5
            # store
            tl.store(x_ptr, y)
    """, A=3, B=5)  # fmt: skip


def test_nested_branches_and_what_is_left_of_them() -> None:
    check("""
        def k(x_ptr, n, A: tl.constexpr, B: tl.constexpr):
            y = n

            # goes
            if A:
                y = 1

            # stays

            # goes too
            if not B:
                if A:
                    y = 2
                else:
                    y = (
                        3  # goes
                        + 4
                    )

            for i in range(B):
                if A:
                    pass
                elif B > 1:
                    if n > i:
                        tl.static_assert(B > 0)
                    y += (
                        i  # the index
                        + B
                    )
                # end of the loop

            tl.store(x_ptr, y)
            if A:
                return
    """, """
        def k(x_ptr, n):
            y = n

            # stays

            for i in range(3):
                if n > i:
                    pass
                y += (
                    i  # the index
                    + 3
                )
                # end of the loop

            tl.store(x_ptr, y)
    """, A=False, B=3)  # fmt: skip


def test_nothing_follows_a_return() -> None:
    check("""
        def k(x_ptr, n, A: tl.constexpr):
            tl.store(x_ptr, double(n, A))


        def double(x, A: tl.constexpr):
            if A:
                return x + x
            # not reached
            x = x - 1
            return x
    """, """
        def double(x):
            return x + x


        def k(x_ptr, n):
            tl.store(x_ptr, double(n))
    """, A=True)  # fmt: skip


def test_declared_constants() -> None:
    made = specialize({"m": HEAD + inspect.cleandoc("""
        @triton.jit
        def k(x_ptr, n, s, A: tl.constexpr, B: tl.constexpr):
            \"\"\"Doc.\"\"\"
            HALF: tl.constexpr = A // 2
            # Of x.
            TYPE: tl.constexpr = x_ptr.dtype.element_ty
            if A > 3:
                QUARTER: tl.constexpr = A // 4
                y = n * QUARTER
            else:
                THIRD: tl.constexpr = A // 3
                y = THIRD
            for i in range(s):
                INNER: tl.constexpr = HALF + 1
                y += INNER * i
            tl.store(x_ptr, (y + HALF).to(TYPE) * B)
    """)}, "m", "k", {"A": 8, "s": 5})  # fmt: skip
    assert made.text == HEAD + "\n\n" + inspect.cleandoc("""
        @triton.jit
        def k(x_ptr, n, B: tl.constexpr):
            \"\"\"Doc.\"\"\"
            # Of x.
            TYPE: tl.constexpr = x_ptr.dtype.element_ty
            y = n * 2
            for i in range(5):
                y += 5 * i
            tl.store(x_ptr, (y + 4).to(TYPE) * B)
    """) + "\n"  # fmt: skip
    assert made.parameters == ("x_ptr", "n", "B")
    assert made.constexprs == ("B",)
    assert made.constants == (("s", 5), ("A", 8), ("HALF", 4), ("QUARTER", 2), ("INNER", 5))


def test_folded_parameters_that_get_another_value() -> None:
    straight = """
        def k(x_ptr, n, s):
            y = n * s
            s = tl.cast(s, tl.int64)
            tl.store(x_ptr + s, y * s)
    """
    check(straight, """
        def k(x_ptr, n):
            y = n * 7
            s = tl.cast(7, tl.int64)
            tl.store(x_ptr + s, y * s)
    """, s=7)  # fmt: skip
    for change in ("if n > 2:", "for i in range(n):"):
        check(f"""
            def k(x_ptr, n, s):
                \"\"\"Doc.\"\"\"
                y = n * s
                {change}
                    s = s + 1
                tl.store(x_ptr, y * s)
        """, f"""
            def k(x_ptr, n):
                \"\"\"Doc.\"\"\"
                s = 7
                y = n * s
                {change}
                    s = s + 1
                tl.store(x_ptr, y * s)
        """, s=7)  # fmt: skip
    check("""
        def k(x_ptr, n, s):
            s += n
            tl.store(x_ptr, s)
    """, """
        def k(x_ptr, n):
            s = -7
            s += n
            tl.store(x_ptr, s)
    """, s=-7)  # fmt: skip


def test_variables_that_nothing_reads_go() -> None:
    check("""
        def k(x_ptr, n, A: tl.constexpr):
            i = tl.arange(0, 16)
            # of the inside
            inside = i < n
            loaded = tl.load(x_ptr + i)
            if A:
                tl.store(x_ptr + i, i, mask=inside)
            else:
                tl.store(x_ptr + i, i)
    """, """
        def k(x_ptr, n):
            i = tl.arange(0, 16)
            loaded = tl.load(x_ptr + i)
            tl.store(x_ptr + i, i)
    """, A=False)  # fmt: skip


def test_other_names_of_a_variable_go() -> None:
    text = """
        def k(x_ptr, n, s, A: tl.constexpr):
            # of the row and the column
            h = n * A
            w = h * A + s
            v = w
            if s > 0:
                v = s
            for i in range(n):
                d = i * A
                e = s * A
                tl.store(x_ptr + d * e, h + w + v)
            for j in tl.static_range(3):
                t = j * A
                tl.store(x_ptr + t // 2, d)
            s = s + 1
    """
    # s and v get other values; j is Python's integer.
    check(text, """
        def k(x_ptr, n, s):
            # of the row and the column
            w = n + s
            v = w
            if s > 0:
                v = s
            for i in range(n):
                e = s
                tl.store(x_ptr + i * e, n + w + v)
            for j in tl.static_range(3):
                t = j
                tl.store(x_ptr + t // 2, i)
            s = s + 1
    """, A=1)  # fmt: skip


HELPERS = """
    def k(x_ptr, n, s, A: tl.constexpr, B: tl.constexpr):
        y = double(n, B)
        y = double(y, A) + double(x=y, FACTOR=3)
        z = shifted(double(n, B), s)
        y = shifted(y, s)
        tl.store(x_ptr + offset(n, s) + offset(y, 2 * s), y + z)


    def double(x, FACTOR: tl.constexpr):
        \"\"\"Return x times FACTOR.\"\"\"
        if FACTOR == 2:
            return x + x
        else:
            return x * FACTOR


    # Adds to x.
    def shifted(x, by):
        if by == 0:
            return x
        else:
            return x + by


    def offset(x, step):
        return x * step
"""


def test_helpers() -> None:
    # Variants share a text; what does nothing goes; strides that differ stay parameters.
    check(HELPERS, """
        def double_factor_2(x):
            \"\"\"Return x times FACTOR.\"\"\"
            return x + x


        def double_factor_3(x):
            \"\"\"Return x times FACTOR.\"\"\"
            return x * 3


        # Adds to x.
        def shifted(x):
            return x + 5


        def offset(x, step):
            return x * step


        def k(x_ptr, n):
            y = double_factor_2(n)
            y = double_factor_3(y) + double_factor_3(x=y)
            z = shifted(double_factor_2(n))
            y = shifted(y)
            tl.store(x_ptr + offset(n, 5) + offset(y, 10), y + z)
    """, A=3, B=2, s=5)  # fmt: skip
    check(HELPERS, """
        def double(x, FACTOR: tl.constexpr):
            \"\"\"Return x times FACTOR.\"\"\"
            if FACTOR == 2:
                return x + x
            else:
                return x * FACTOR


        def double_factor_3(x):
            \"\"\"Return x times FACTOR.\"\"\"
            return x * 3


        def offset(x):
            return x * 0


        def k(x_ptr, n, B: tl.constexpr):
            y = double(n, B)
            y = double_factor_3(y) + double_factor_3(x=y)
            z = double(n, B)
            tl.store(x_ptr + offset(y), y + z)
    """, A=3, s=0)  # fmt: skip


def test_a_constant_with_many_values_stays_a_parameter() -> None:
    check("""
        def k(x_ptr, n, A: tl.constexpr):
            tl.store(x_ptr, times(n, A, 1) + times(n, A, 2) + times(n, A, 3) + times(n, A, 4))


        def times(x, A: tl.constexpr, B: tl.constexpr):
            return x * A * B
    """, """
        def times(x, B: tl.constexpr):
            return x * 7 * B


        def k(x_ptr, n):
            tl.store(x_ptr, times(n, 1) + times(n, 2) + times(n, 3) + times(n, 4))
    """, A=7)  # fmt: skip


def test_helpers_of_other_modules_and_their_constants() -> None:
    sources = {
        "one": HEAD + "\nfrom .two import helper as other\n\n\n@triton.jit\ndef k(x_ptr, n, A: tl.constexpr):\n"
        "    tl.store(x_ptr, other(n, A) + helper(n, FACTOR))\n\n\nFACTOR: tl.constexpr = 4\n\n\n"
        "@triton.jit\ndef helper(x, A: tl.constexpr = 3, B: tl.constexpr = 2):\n    return x * A * B\n",
        "two": HEAD + "\n\nLIMIT = tl.constexpr(-6.5)\n\n\n"
        "@triton.jit\ndef helper(x, A: tl.constexpr):\n    return x * A + LIMIT\n",
    }
    made = specialize(sources, "one", "k", {"A": 5}).text
    assert made == HEAD + "\n\n" + inspect.cleandoc("""
        @triton.jit
        def helper_of_two(x):
            return x * 5 + (-6.5)


        @triton.jit
        def helper_of_one(x):
            return x * 4 * 2


        @triton.jit
        def k(x_ptr, n):
            tl.store(x_ptr, helper_of_two(n) + helper_of_one(n))
    """) + "\n"  # fmt: skip


def test_signatures() -> None:
    text = """
        def k(
            x_ptr,  # values
            y_ptr,
            n,
            # strides
            s,  # of rows
            t,
            A: tl.constexpr,  # the first
        ):
            if y_ptr is not None:
                n += tl.load(y_ptr)
            tl.store(x_ptr + s * t, n * A)
    """
    check(text, """
        def k(
            x_ptr,  # values
            n,
            # strides
            s,  # of rows
            A: tl.constexpr,  # the first
        ):
            tl.store(x_ptr + s * 3, n * A)
    """, y_ptr=None, t=3)  # fmt: skip
    check(text.replace("  # values", ""), """
        def k(x_ptr, n, t):
            tl.store(x_ptr + 2 * t, n * 4)
    """, y_ptr=None, s=2, A=4)  # fmt: skip


def test_decorators_name_what_is_left() -> None:
    source = HEAD + '@triton.jit(do_not_specialize=["n", "m"])\ndef k(x_ptr, n, m):\n    tl.store(x_ptr, n + m)\n'
    for known, decorator in (
        ({}, '@triton.jit(do_not_specialize=["n", "m"])'),
        ({"m": 3}, '@triton.jit(do_not_specialize=["n"])'),
        ({"m": 3, "n": 1}, "@triton.jit"),
    ):
        assert f"\n\n{decorator}\ndef k(" in specialize({"m": source}, "m", "k", known).text


def test_long_lines_are_broken() -> None:
    made = specialized("""
        def k(x_ptr, n, a, b, A: tl.constexpr):
            first = n * a + n * b + n * a + n * b + n * a + n * b + n * a + n * b + n * a + n * b + n * a + n  # sum
            second = n * a + n * b + n * a + n  # a comment behind the line, as long as they get
            tl.store(x_ptr + first * a + second * b, first * a + second * b, mask=(first < a) & (second < b))
    """, a=10**15, b=10**16)  # fmt: skip
    assert max(map(len, made.splitlines())) <= 120
    assert ast.dump(ast.parse(made)) == ast.dump(ast.parse(
        "def k(x_ptr, n, A: tl.constexpr):\n"
        f"    first = {' + '.join([f'n * {10**15} + n * {10**16}'] * 5)} + n * {10**15} + n\n"
        f"    second = n * {10**15} + n * {10**16} + n * {10**15} + n\n"
        f"    tl.store(x_ptr + first * {10**15} + second * {10**16}, first * {10**15} + second * {10**16}, "
        f"mask=(first < {10**15}) & (second < {10**16}))\n"
    ))  # fmt: skip
    assert "    # sum\n    first = (\n        n * " in made
    assert "    # a comment behind the line, as long as they get\n    second = n * " in made


# --- what is refused, and where -----------------------------------------------------------------------------

REFUSED = [
    ("z = n // A\n    z = 1 // A", 3, 9, "cannot be computed for 1 and 0: integer division or modulo by zero"),
    ("z = A < 'a'", 2, 9, "cannot be computed for 0 and \"a\": '<' not supported between instances of 'int' and 'str'"),
    ("while n > A:\n        n -= 1", 2, 5, "a kernel that is specialised can do without While"),
    ("if A: n = 1", 2, 11, "statements stand on lines of their own"),
    ("if A:\n        n = 1\n    else: n = 2", 4, 11, "statements stand on lines of their own"),
    ("for i in range(n): n = 2", 2, 24, "statements stand on lines of their own"),
    ("z = A; y = n", 2, 10, "statements stand on lines of their own"),
    ("tl.static_assert(A > 1, 'A is large')", 2, 5, "this does not hold for the constants given: A is large"),
    ("tl.static_assert(A > 1)", 2, 5, "this does not hold for the constants given"),
    ("tl.store(x_ptr, *n)", 2, 21, "a kernel that is specialised can do without Starred"),
    ("tl.store(x_ptr, **n)", 2, 21, "arguments are written out when a kernel is specialised"),
    ("z = [i for i in n]", 2, 9, "a kernel that is specialised can do without ListComp"),
    ("z = lambda: 3", 2, 9, "a kernel that is specialised can do without Lambda"),
    ("z = f'{A}'", 2, 9, "a kernel that is specialised can do without JoinedStr"),
    ("z = y = 3", 2, 5, "a kernel that is specialised can do without Assign"),
    ("n[0] = 3", 2, 5, "values are assigned to names"),
    ("z = n @ n", 2, 9, "products of tiles are written tl.dot"),
    ("z = A in A", 2, 9, "only ==, !=, <, <=, >, >=, is and is not compare constants"),
    ("z = missing(n)", 2, 9, "`missing` is neither a variable of this kernel nor one of its helpers"),
    ("z = n + missing", 2, 13, "`missing` is neither a variable of this kernel nor one of its helpers"),
    ("for i, j in n:\n        n += i", 2, 9, "a loop has one variable"),
    ("for i in range(n):\n        B: tl.constexpr = A\n    z = B", 4, 9,
     "`B` is neither a variable of this kernel nor one of its helpers"),
    ("B: tl.constexpr", 2, 5, "a declaration has one name and a value"),
    ("n = k(x_ptr, n, A)", 2, 9, "`k` calls itself"),
    ("n = h(n)\n\n\ndef h(n, m):\n    return n", 2, 9, "`h` takes n, m"),
    ("n = h(n, k=n)\n\n\ndef h(n, m):\n    return n", 2, 9, "`h` takes n, m"),
    ("n = 1\n\n\ndef h(n, *m):\n    return n", 5, 1, "the parameters of kernels and helpers are plain ones"),
    ("n = (1", 2, 1, "this is not Python: '(' was never closed"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "line", "column", "message"), REFUSED)
def test_mistakes_are_shown(body: str, line: int, column: int, message: str) -> None:
    text = f"def k(x_ptr, n, A: tl.constexpr):\n    {body}\n"
    with pytest.raises(CnnError) as caught:
        specialize({"m": text}, "m", "k", {"A": 0})
    (found,) = caught.value.diagnostics
    assert found.span is not None
    assert (found.code, found.span.source.name, found.message) == ("E0611", "kernels/m.py", message)
    assert (found.span.line, found.span.column) == (line, column)


def test_places_count_characters_not_bytes() -> None:
    text = "def k(x_ptr, A: tl.constexpr):\n    tl.store(x_ptr, 'äöü', missing)\n"
    with pytest.raises(CnnError) as caught:
        specialize({"m": text}, "m", "k", {"A": 0})
    assert caught.value.diagnostics[0].span is not None
    assert caught.value.diagnostics[0].span.text == "missing"


# --- what holds of every text -------------------------------------------------------------------------------


def check_text(text: str, kernel: str, gone: set[str]) -> None:
    """A text reads like a module: it parses, no folded name is left, no line is too long, no blank line idle."""
    tree = ast.parse(text)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = [function.name for function in functions]
    assert names[-1] == kernel
    assert len(set(names)) == len(names)
    for function in functions:
        defined = {a.arg for a in function.args.args} | set(names) | {"tl", "triton", "float", "range"}
        used = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        stored = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        assert used <= defined | stored
    used = {n.id for n in ast.walk(functions[-1]) if isinstance(n, ast.Name)}
    stored = {n.id for n in ast.walk(functions[-1]) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    assert not gone & (used - stored)
    assert not gone & {a.arg for a in functions[-1].args.args}
    # Every helper is called.
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert set(names[:-1]) <= called
    lines = text.split("\n")
    assert max(map(len, lines)) <= 120
    assert all(line == line.rstrip() for line in lines)
    assert "\n\n\n    " not in text
    assert ":\n\n" not in text.replace('"""', "")


@pytest.mark.parametrize("network", NETWORKS)
def test_texts_of_the_examples(network: str) -> None:
    for case in distinct([
        case_of(launch, element="fp16")
        for target in ("sm_90", "interpreter")
        for launch in launches(network, target, "fp16", 16)
    ]):  # fmt: skip
        made = case.specialized
        assert made.constexprs == ()
        check_text(made.text, case.kernel, set(case.known))
        # Specialising again, with nothing known, finds nothing more to do.
        again = specialize({"m": made.text}, "m", case.kernel, {})
        assert again.text == made.text
        assert again.parameters == made.parameters


@pytest.mark.parametrize("kernel", entry_kernels())
@settings(max_examples=settings.default.max_examples // 3)
@given(data=st.data())
def test_texts_of_random_arguments(kernel: str, data: st.DataObject) -> None:
    case = data.draw(cases(kernel, partial=data.draw(st.booleans())))
    made = case.specialized
    check_text(made.text, kernel, set(case.known))
    assert set(made.constexprs) == set(case.rest)
    assert dict(made.constants).keys() >= case.known.keys()


@pytest.mark.parametrize("kernel", entry_kernels())
def test_with_nothing_known_a_kernel_stays_as_it_is(kernel: str) -> None:
    module = entry_kernels()[kernel]
    text = specialize(kernel_sources(), module, kernel, {}).text
    ours, theirs = (
        next(n for n in ast.parse(t).body if isinstance(n, ast.FunctionDef) and n.name == kernel)
        for t in (text, kernel_sources()[module])
    )
    calls = {name for name in (n.id for n in ast.walk(theirs) if isinstance(n, ast.Name)) if name in text}
    assert calls
    # Helpers may have other names, for what the kernel gives them.
    assert [a.arg for a in ours.args.args] == [a.arg for a in theirs.args.args]
    assert ast.get_docstring(ours) == ast.get_docstring(theirs)
    assert [type(n) for n in ours.body] == [type(n) for n in theirs.body]
