"""What may import what, and what starts without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cnndsl

PACKAGE = Path(cnndsl.__file__).parent
EXAMPLES = Path(__file__).parent.parent / "examples"

TEXT = {
    "errors", "syntax", "tokens", "cursor", "brackets", "mend", "mend_bodies", "mend_values", "build_tree",
    "parser", "files",
}
"""The modules between a text and its syntax tree."""

ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "codes": {"errors", "ops"},
    "targets": set(),
    "syntax": {"errors"},
    **dict.fromkeys(TEXT - {"errors", "syntax"}, TEXT | {"grammars"}),
    "ir": {"errors", "ops"},  # ops as types alone: an operation is a field of a node
    "tiles": {"targets"},
    "tiles_simple": {"targets", "tiles"},
    "ops": {"ir", "errors", "targets", "tiles", "tiles_simple"},
    "passes": TEXT | {"ir", "ops", "targets", "tiles", "tiles_simple"},
}
"""What each room of the package may import from it; rooms that are not listed are the upper ones, free to."""

ALLOWED_FROM_OUTSIDE = {"lark"}


def room_of(path: Path) -> str:
    """The first part of a module's name within the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """The modules that a file imports, and whether at its top (and not only for types)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    top = {id(node) for node in tree.body}
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            found.extend((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names = [f"{module}.{a.name}" for a in node.names] if module == "cnndsl" else [module]
            found.extend((name, id(node) in top) for name in names)
    return found


LOWER = sorted(p for p in PACKAGE.rglob("*.py") if room_of(p) in ROOMS)


@pytest.mark.parametrize("path", LOWER, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms(path: Path) -> None:
    room = room_of(path)
    for name, top in imports_of(path):
        first, *rest = name.split(".")
        if first == "cnndsl":
            assert rest[0] == room or rest[0] in ROOMS[room], f"{room} imports {name}"
        elif first not in sys.stdlib_module_names and first not in ALLOWED_FROM_OUTSIDE:
            assert room == "ops", f"{room} imports {name}"
            assert not top, f"{path.name} imports {name} before it is used"
        elif first in ALLOWED_FROM_OUTSIDE:
            assert room in TEXT, f"{room} imports {name}"


def test_all_rooms_are_known() -> None:
    rooms = {room_of(p) for p in PACKAGE.rglob("*.py")}
    assert set(ROOMS) <= rooms
    assert rooms - set(ROOMS) <= {
        "__init__", "__main__", "cli", "codegen", "compiler", "draw", "eject", "frontend", "linemap", "portable", "report",
        "runtime", "standalone", "summary", "tree",
    }


SLOW = '{"torch", "triton", "numpy", "PIL"}'


def run(program: str) -> None:
    """Run a program in a process of its own; it must end well."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_elaboration_needs_no_torch() -> None:
    run(f"""
import sys
from pathlib import Path
from cnndsl.files import choose_network, load_path
from cnndsl.passes.elaborate import elaborate
program = load_path(Path({str(EXAMPLES / "alexnet.cnn")!r}))
elaborate(program, choose_network(program, None))
assert not {SLOW} & set(sys.modules), {SLOW} & set(sys.modules)
""")


@pytest.mark.parametrize("command", ["check", "summary"])
def test_commands_need_no_torch(command: str) -> None:
    run(f"""
import sys
from cnndsl.cli import cli
cli.main([{command!r}, {str(EXAMPLES / "vgg16.cnn")!r}], standalone_mode=False)
assert not {SLOW} & set(sys.modules), {SLOW} & set(sys.modules)
""")
