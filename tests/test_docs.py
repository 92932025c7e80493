"""Every code block of README.md and docs/*.md runs.

What a block is, its language says; what else there is to know stands in a comment on the line before it, in
words that the reader of the page does not see (``<!-- file: small.cnn; exit: 1 -->``):

* ``cnn``: a file, which must be without mistakes. ``file: NAME`` puts it under that name into the folder in
  which the later blocks of the page run; ``file: NAME, from examples`` says that examples/NAME holds the same
  lines. ``set: classes=10`` sets a parameter. ``input: 56x56x64`` marks a piece of a network's body.
  ``wrong: E0304`` tells the codes of the mistakes that it is there to show.
* ``console``: lines that begin with ``$`` are run, the others are what they print, errors included; ``...``
  stands for anything. ``exit: 1`` tells the exit code of the last command. ``make`` is not run, but asked.
* ``python``: all of a page's blocks run in one process, in their order.
* ``text`` or nothing: a picture made of letters.

Any other block needs ``not run:`` and the reason. ``python tests/test_docs.py`` writes what the commands of
``console`` blocks print into the pages, where it is not yet there.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from cnndsl.errors import CnnError
from cnndsl.files import load_text
from cnndsl.passes.elaborate import elaborate

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
KNOWN = {"file", "set", "input", "wrong", "exit", "not run"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its page and line, its language, its text, and what the comment before it says."""

    page: Path
    line: int
    language: str
    text: str
    facts: dict[str, str]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name that the page gives it."""
        return self.facts["file"].split(",")[0] if "file" in self.facts else None


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    start, before = None, ""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if start is None:
            start, before = number, lines[number - 1].strip() if number else ""
            continue
        indent = len(lines[start]) - len(lines[start].lstrip())
        text = "".join(f"{inside[indent:]}\n" for inside in lines[start + 1 : number])
        language = lines[start].strip().removeprefix("```")
        comment = re.fullmatch(r"<!-- (.*) -->", before)
        facts = dict(part.split(": ", 1) for part in comment[1].split("; ")) if comment else {}
        found.append(Block(page, start + 1, language, text, facts))
        start = None
    assert start is None, f"{page.name}:{start} opens a block that nothing closes"
    return found


BLOCKS = [block for page in PAGES if page.exists() for block in blocks_of(page)]


def of(*languages: str) -> list[Block]:
    return [b for b in BLOCKS if b.language in languages and "not run" not in b.facts]


def folder_of(block: Block, folder: Path) -> Path:
    """The folder in which a block runs: the examples, and the files that its page has shown so far."""
    (folder / "examples").symlink_to(EXAMPLES)
    for other in BLOCKS:
        if other.page == block.page and other.line <= block.line and other.file is not None:
            (folder / other.file).write_text(other.text, encoding="utf-8")
    return folder


def test_every_block_is_run_or_excused() -> None:
    strange = [b for b in BLOCKS if b.language not in {"cnn", "console", "python", "text", ""}]
    assert [str(b) for b in strange if not b.facts.get("not run")] == []
    assert [str(b) for b in BLOCKS if not set(b.facts) <= KNOWN] == []


# --- cnn -----------------------------------------------------------------------------------------


def mistakes(text: str, name: str, **settings: int) -> list[str]:
    """The codes of a text's mistakes, in order."""
    try:
        program = load_text(text, name=name)
        for network in program.networks.values():
            elaborate(program, network, settings)
    except CnnError as error:
        return [d.code for d in error.diagnostics]
    return []


@pytest.mark.parametrize("block", of("cnn"), ids=str)
def test_cnn(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder_of(block, tmp_path))
    text = block.text
    if "input" in block.facts:
        text = f"network T {{ input x [{block.facts['input']}] {text} }}"
    expected = block.facts["wrong"].split() if "wrong" in block.facts else []
    settings = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", block.facts.get("set", ""))}
    assert mistakes(text, str(block), **settings) == expected
    if block.facts.get("file", "").endswith(", from examples"):
        assert block.text in (EXAMPLES / str(block.file)).read_text(encoding="utf-8")


# --- console -------------------------------------------------------------------------------------


def sessions(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it prints."""
    parts = re.split(r"^\$ ", block.text.replace("\\\n", ""), flags=re.MULTILINE)
    assert parts[0] == "", f"{block} begins with output"
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts[1:])]


def matches(expected: str, found: str) -> bool:
    """Whether an output is as expected; ``...`` stands for anything, blanks at a line's end do not count."""

    def trimmed(text: str) -> str:
        return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())

    pattern = ".*".join(re.escape(part) for part in trimmed(expected).split("..."))
    return re.fullmatch(pattern, trimmed(found), re.DOTALL) is not None


def test_matches() -> None:
    assert matches("a\n...\nd\n", "a\nb\nc\nd  \n")
    assert matches("took ... s", "took 1.25 s\n")
    assert not matches("a\nb", "a\nc")
    assert not matches("a", "a\nb")
    assert not matches("1.5", "105")


def environment() -> dict[str, str]:
    """Like a plain terminal of 100 columns, without a GPU and without what pytest set for itself.

    As in a terminal, what goes to stdout and to stderr comes in the order in which it is written.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV", "TRITON_INTERPRET"))}
    return {**kept, "COLUMNS": "100", "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}


def perform(command: str, folder: Path) -> tuple[str, int]:
    """What a command of a page prints, and its exit code. `make` is only asked whether it has the target."""
    words = shlex.split(command)
    match words[0]:
        case "cnndsl":
            words = [sys.executable, "-m", "cnndsl", *words[1:]]
        case "python" if len(words) > 1 and (folder / words[1] / "about.json").exists():
            words = [sys.executable, *words[1:]]  # a network that the page has built
        case "python" if len(words) == 2 and words[1] in {b.file for b in of("python")}:
            words = [sys.executable, words[1]]  # a program that the page shows
        case "python" if len(words) > 1 and "LAYER = {" in (folder / words[1]).read_text(encoding="utf-8"):
            words = [sys.executable, *words[1:]]  # a kernel that the page has ejected
        case "sed" if len(words) == 4 and words[1] == "-i" and "/" not in words[3]:
            pass  # an edit of it
        case "make":
            words = ["make", "--silent", "--question", "-C", str(ROOT), *words[1:]]
        case "cat":
            pass
        case _:
            pytest.fail(f"`{command}` is no command that this test knows how to run safely")
    done = subprocess.run(
        words, cwd=folder, env=environment(), text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )
    # 0: nothing is to be done, 1: something is; 2: there is no such target.
    return (done.stdout, done.returncode // 2) if words[0] == "make" else (done.stdout, done.returncode)


@pytest.mark.parametrize("block", of("console"), ids=str)
def test_console(block: Block, tmp_path: Path) -> None:
    folder, code = folder_of(block, tmp_path), 0
    for command, expected in sessions(block):
        found, code = perform(command, folder)
        assert matches(expected, found), f"{block}: `{command}` printed\n{found}"
    assert code == int(block.facts.get("exit", "0"))


# --- python --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted({b.page for b in of("python")}), ids=lambda page: page.name)
def test_python(page: Path, tmp_path: Path) -> None:
    blocks = [b for b in of("python") if b.page == page]
    script = folder_of(blocks[-1], tmp_path) / "page.py"
    script.write_text("\n".join(f"# {block}\n{block.text}" for block in blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, env=environment(), text=True, check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


# --- facts that pages repeat ---------------------------------------------------------------------


def test_limits() -> None:
    """The table at the end of the language page."""
    from cnndsl import brackets, files, parser, tokens
    from cnndsl.ops import fields
    from cnndsl.passes import elaborate, ledger, shapes

    text = (ROOT / "docs" / "language.md").read_text(encoding="utf-8").split("## Limits")[1]
    rows = re.findall(r"^\| [a-z][^|]* \| ([\d,]+) \|$", text, re.MULTILINE)
    assert [int(number.replace(",", "")) for number in rows] == [
        parser.MAX_TEXT,
        tokens.MAX_TOKENS,
        brackets.MAX_DEPTH,
        files.MAX_FILES,
        elaborate.MAX_DEPTH,
        ledger.MAX_LAYERS,
        ledger.MAX_STEPS,
        shapes.MAX_VALUES,
        fields.MAX_SIZE,
    ]


def rewrite() -> None:
    """Write into every page what its commands print."""
    for block in reversed(of("console")):  # from the end, so that the numbers of earlier lines stay right
        with tempfile.TemporaryDirectory() as folder:
            folder_of(block, Path(folder))
            lines = []
            for command, expected in sessions(block):
                found, _ = perform(command, Path(folder))
                printed = "".join(f"{line.rstrip()}\n" for line in found.splitlines())
                lines.append(f"$ {command}\n{expected if matches(expected, found) else printed}")
        page = block.page.read_text(encoding="utf-8").splitlines(keepends=True)
        page[block.line : block.line + block.text.count("\n")] = ["".join(lines)]
        block.page.write_text("".join(page), encoding="utf-8")


if __name__ == "__main__":
    rewrite()
