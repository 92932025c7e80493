"""Statements of a kernel, written for constants: to the letter, comments and blank lines included."""

import inspect

from kernel_texts import HEAD, check

from cnndsl.codegen.specialize import specialize


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
