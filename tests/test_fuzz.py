"""Whatever is read, only a CnnError or a graph comes out, in bounded time and memory."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnndsl.codes import CODES
from cnndsl.errors import MAX_ERRORS, CnnError, render
from cnndsl.files import choose_network, load_path, load_text
from cnndsl.ir import Graph
from cnndsl.parser import parse
from cnndsl.passes import ledger
from cnndsl.passes.elaborate import elaborate
from cnndsl.tokens import KEYWORDS
from cnndsl.tree import show

TESTS = Path(__file__).parent
EXAMPLES = sorted((TESTS.parent / "examples").glob("*.cnn"))
WRONG = sorted((TESTS / "errors").glob("*.cnn"))
TEXTS = [path.read_text(encoding="utf-8") for path in (*EXAMPLES, *WRONG)]

SIGNS = [
    "->", "{", "}", "(", ")", "[", "]", ",", ":", "=", "==", "!=", "<", "<=", "+", "-", "*", "/", "//",
    "%", ".", "@a", "@a.b", "@", "#", ";", "|", "&&", "!", "=>", "**", "?", "/*", "*/", "'", '"', "\n",
]
WORDS = ["1", "0", "-1", "3x3", "_x_x3", "2.5", "1.", "1e9", "9" * 20, "x", "in", "in.channels", "same", "é", "\t",
         "conv(8, 3x3)", "relu", "dense(10)", "add { { } { } }", "input x [8x8x3]", '"no.cnn"',
         "maxpool(2x2)", "\x00"]
SOUP = st.sampled_from([*SIGNS, *WORDS, *sorted(KEYWORDS)])


def outcome(text: str, name: str = "t.cnn") -> Graph | CnnError:
    """A graph, or an error that can be shown in every way and whose places are places of the text."""
    try:
        program = load_text(text, name=name)
        return elaborate(program, choose_network(program, None))
    except CnnError as error:
        check(error)
        if error.recovered is not None:
            check_recovered(error.recovered)
        return error


def check_recovered(program: object) -> None:
    """A mended program can be elaborated like any other."""
    for network in program.networks.values():
        try:
            elaborate(program, network)
        except CnnError as error:
            check(error)


def check(error: CnnError) -> None:
    assert 1 <= len(error.diagnostics) <= MAX_ERRORS
    assert re.search(r"^error\[E\d{4}\]: .", str(error))
    colored = render(error.diagnostics, color=True)
    assert not re.search(
        r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202e]", colored
    ), "control characters reach a terminal"
    for d in error.diagnostics:
        assert d.code in CODES
        assert d.to_json()["code"] == d.code
        for span in (d.span, *(label.span for label in d.labels)):
            if span is not None:
                assert 0 <= span.start <= span.end <= len(span.source.text) + 1
                assert span.line >= 1
                assert span.column >= 1


# --- texts ---------------------------------------------------------------------------------------


@given(st.text(max_size=300))
@example("\ufeffnetwork A { input x [1] }")
@example("\ud800 network A { input x [1] }")
@example('network A { use "\udfff" }')
@example("\u202enetwork")
def test_any_text(text: str) -> None:
    outcome(text)


@given(data=st.binary(max_size=300))
def test_any_bytes(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.cnn"
    path.write_bytes(data)
    try:
        load_path(path)
    except CnnError as error:
        check(error)


@given(
    st.lists(SOUP, max_size=60),
    st.sampled_from(["{}", "network A {{ input x [8x8x3] {} }}", "block b {{ {} }}"])
)
def test_soup(tokens: list[str], frame: str) -> None:
    outcome(frame.format(" ".join(tokens)))


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A good or a wrong file with a few of its words and signs dropped, doubled, swapped or replaced, or cut off."""
    tokens = re.findall(r"\w+|\s+|->|[^\w\s]", draw(st.sampled_from(TEXTS)))
    for _ in range(draw(st.integers(1, 4))):
        i = draw(st.integers(0, len(tokens) - 1))
        match draw(st.sampled_from(["drop", "double", "swap", "replace", "insert", "cut"])):
            case "drop" if len(tokens) > 1:
                del tokens[i]
            case "double":
                tokens.insert(i, tokens[i])
            case "swap":
                j = draw(st.integers(0, len(tokens) - 1))
                tokens[i], tokens[j] = tokens[j], tokens[i]
            case "replace":
                tokens[i] = f" {draw(SOUP)} "
            case "insert":
                tokens.insert(i, f" {draw(SOUP)} ")
            case "cut" if i > 0:
                del tokens[i:]
    return "".join(tokens)


@settings(max_examples=150)
@given(mutated())
def test_mutated_files(text: str) -> None:
    outcome(text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_line_ends_and_marks_change_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    texts = [text, "\ufeff" + text, text.replace("\n", "\r\n"), text.replace("\n", "\r")]
    trees = [show(parse(t, "t.cnn")) for t in texts]
    assert trees == trees[:1] * 4


# --- sizes ---------------------------------------------------------------------------------------


def net(body: str) -> str:
    return f"network A {{ input x [8x8x3] {body} }}"


TOWER = "".join(f"block b{i} {{ b{i - 1} b{i - 1} }}\n" for i in range(1, 40))
HOSTILE = {
    "words": "a " * 1_000_000,
    "braces": "{" * 2_000_000,
    "closing braces": net("}" * 40_000),
    "letters": "é" * 2_000_000,
    "quotes": "'" * 2_000_000,
    "comments": "/*" * 1_000_000,
    "one number": net("dense(" + "1" * 1_900_000 + ")"),
    "one fraction": net("dropout(0." + "1" * 1_900_000 + ")"),
    "one shape": f"network A {{ input x [{'1x' * 900_000}1] }}",
    "one reference": net("add(@" + "a." * 900_000 + "a)"),
    "one name": net("r" * 1_900_000),
    "one string": f'use "{"a" * 1_900_000}"',
    "white space": net("1" + " " * 1_900_000 + "1"),
    "too long": net("relu " * 500_000),
    "commas": net(", " * 40_000),
    "missing commas": net("conv(8 3x3) " * 4_000),
    "missing parentheses": net("conv(8, 3x3\n" * 14_000),
    "open parentheses": net("conv(" * 20_000),
    "operators": net("repeat " + "1+" * 20_000 + "1 { relu }"),
    "signs": net("dense(" + "-" * 40_000 + "1)"),
    "nots": net("if " + "not " * 40_000 + "true { relu }"),
    "else if": net("if false { } " + "else if false { } " * 15_000),
    "operators in a loop": net("repeat 100000 { if " + "1+" * 30_000 + "1 == 0 { } }"),
    "unknown layers": net("rleu " * 30_000),
    "unknown labels": net("".join(f"l{i}: relu @m{i} " for i in range(6_000))),
    "failing assertions": net("relu [1x1x1] " * 6_000),
    "outputs": net("".join(f"output o{i} {{ }} " for i in range(6_000))),
    "blocks": "".join(f"block b{i} {{ relu }} " for i in range(6_000)) + net("b1"),
    "chain of blocks": "block b0 { relu }"
    + "".join(f"block b{i} {{ b{i - 1} }} " for i in range(1, 6_000)) + net("b5999"),
    "circle of blocks": "block b0 { b5999 }"
    + "".join(f"block b{i} {{ b{i - 1} }} " for i in range(1, 6_000)) + net("b5999"),
    "parameters": f"block b({', '.join(f'p{i}=1' for i in range(10_000))}) {{ }} " + net("b " * 5_000),
    "tower": "block b0 { } " + TOWER + net("b39"),
    "tower of layers": "block b0 { relu } " + TOWER + net("b39"),
    "tower of unknown layers": "block b0 { rleu } " + TOWER + net("b39"),
    "tower of misfits": "block b0 { maxpool(9x9) [1x1x1] } " + TOWER + net("b39"),
    "tower of unknown labels": "block b0 { add(@y) } " + TOWER + net("b39"),
    "loops": net("repeat 100000 { repeat 100000 { repeat 100000 { } } }"),
    "loop of mistakes": net("repeat 100000 { repeat 100000 { rleu conv(8, 9x9) if 3 { } } }"),
    "huge sizes": net(f"conv({2**31 - 1}, {2**31 - 1}, pad={2**31 - 1}) dense({2**31 - 1})"),
    "huge product": net("dense(2000000000 * 2000000000 * 2000000000) dense(9007199254740993 // 1)"),
    "huge input": f"network A {{ input x [{2**40}x{2**40}x{2**40}] }}",
    "beyond 64 bits": net(f"dense({2**63}) dense(-{2**63}) repeat {2**63} {{ }}"),
    "floats": net("dropout(1e308 * 10) dropout(1e-320) batchnorm(eps=1e308) lrn(5, alpha=-0.0) dense(1e3)"),
}


CALM = {"one fraction", "signs", "nots", "outputs", "blocks"}
"""Those that are valid networks, only large."""

LIMITS = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
sys.path.insert(0, {str(TESTS)!r})
import test_fuzz
for name, text in test_fuzz.HOSTILE.items():
    print(name, flush=True)
    test_fuzz.check_hostile(name, text)
"""


def check_hostile(name: str, text: str) -> None:
    # One tower goes to the real limit, and the others stop earlier: they would only take longer.
    ledger.MAX_STEPS, ledger.MAX_LAYERS = (100_000, 20_000) if name == "tower of layers" else (10_000, 2_000)
    if name in CALM:
        ledger.MAX_LAYERS = ledger.MAX_STEPS = 100_000
    result = outcome(text)
    assert isinstance(result, Graph if name in CALM else CnnError), name
    assert isinstance(result, Graph) or len(str(result)) < 100_000


def test_sizes() -> None:
    """Each ends within a GiB, and all together within minutes, which is a hundred times what they take."""
    done = subprocess.run([sys.executable, "-c", LIMITS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-2000:]


def calls(function: Callable[[], object]) -> int:
    """How many functions are called: work that can be compared, where time cannot."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def layers(number: int) -> str:
    return net("conv(8, 3x3, pad=1) -> relu\n" * (number // 2))


def test_elaboration_is_linear() -> None:
    def work(number: int) -> int:
        program = load_text(layers(number))
        return calls(lambda: elaborate(program, choose_network(program, None)))

    work(10)  # what is cached does not count
    assert work(2000) <= 2.2 * work(1000)


def test_reading_is_linear() -> None:
    load_text(layers(10))
    assert calls(lambda: load_text(layers(1000))) <= 2.2 * calls(lambda: load_text(layers(500)))


def test_explaining_slips_is_linear() -> None:
    def work(number: int) -> int:
        return calls(lambda: outcome(net("conv(8 3x3, pad=1) -> relu;\n" * number)))

    work(10)
    assert work(1000) <= 2.2 * work(500)


# --- files that are none -----------------------------------------------------------------------------


def code_of(target: Path) -> str:
    with pytest.raises(CnnError) as caught:
        load_path(target)
    check(caught.value)
    return caught.value.diagnostics[0].code


def test_devices_pipes_folders(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.cnn")
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(tmp_path)
        listening.bind("socket.cnn")
    (tmp_path / "loop.cnn").symlink_to("loop.cnn")
    (tmp_path / "gone.cnn").symlink_to("nowhere.cnn")
    (tmp_path / "folder.cnn").mkdir()
    with (tmp_path / "endless.cnn").open("wb") as sparse:
        sparse.truncate(2**40)
    targets = ["pipe.cnn", "socket.cnn", "loop.cnn", "gone.cnn", "folder.cnn", "endless.cnn", "none.cnn", "x" * 300]
    for target in [*(tmp_path / name for name in targets), Path("/dev/zero"), Path("/dev/null/x")]:
        assert code_of(target) == "E0110", target
        (tmp_path / "main.cnn").write_text(f'use "{target}"\n{net("relu")}', encoding="utf-8")
        assert code_of(tmp_path / "main.cnn") == "E0216", target


@pytest.mark.parametrize(
    "path", ["\\0", "", ".", "..", "/", "~", "a" * 5000, "a/" * 2000, "\u202e", "*", "main.cnn"]
)
def test_strange_paths(path: str, tmp_path: Path) -> None:
    main = tmp_path / "main.cnn"
    main.write_text(f'use "{path}"\n{net("relu")}', encoding="utf-8")
    assert code_of(main) == ("E0215" if path == "main.cnn" else "E0216")


def test_many_files(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"f{number}.cnn").write_text(f'use "f{number + 1}.cnn"\n', encoding="utf-8")
    (tmp_path / "main.cnn").write_text(f'use "f0.cnn"\n{net("relu")}', encoding="utf-8")
    assert code_of(tmp_path / "main.cnn") == "E0218"


def test_many_words_in_many_files(tmp_path: Path) -> None:
    for number in range(4):
        text = " ".join(f"block b{number}_{i} {{ relu }}" for i in range(6000))
        (tmp_path / f"f{number}.cnn").write_text(text, encoding="utf-8")
    uses = "\n".join(f'use "f{number}.cnn"' for number in range(4))
    (tmp_path / "main.cnn").write_text(f"{uses}\n{net('relu')}", encoding="utf-8")
    assert code_of(tmp_path / "main.cnn") == "E0218"
