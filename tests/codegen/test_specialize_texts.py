"""What is refused, and what holds of every specialised text."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_arguments import cases, entry_kernels
from specialized import NETWORKS, case_of, distinct, launches

from cnndsl.codegen.specialize import kernel_sources, specialize
from cnndsl.errors import CnnError

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
