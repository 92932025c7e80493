"""Helpers beside a specialised kernel, signatures and layout."""

import ast
import inspect

from kernel_texts import HEAD, check, specialized

from cnndsl.codegen.specialize import specialize

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
