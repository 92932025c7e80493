"""What may import what, and what starts without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import cnndsl

PACKAGE = Path(cnndsl.__file__).parent
EXAMPLES = Path(__file__).parent.parent / "examples"

TEXT = {
    "syntax", "tokens", "cursor", "brackets", "mend", "mend_bodies", "mend_values", "build_tree", "parser", "files",
}  # fmt: skip
"""The modules between a text and its syntax tree, which are one room."""

ROOMS: dict[str, str] = {
    "errors": "",
    "figures": "",
    "targets": "",
    "writing": "errors",
    "tiles": "targets",
    "ir": "errors",
    "ops": "ir targets tiles",
    "codes": "errors ops",
    "text": "errors",
    "passes": "errors figures ir ops targets text tiles",
    "frontend": "errors passes text",
    "summary": "errors ir ops passes",
    "compare": "figures ir ops",
    "tree": "ops text",
    "codegen": "errors figures ops passes tiles",
    "linemap": "errors ir ops passes",
    "compiler": "__init__ codegen errors targets",
    "draw": "figures ir passes summary",
    "report": "__init__ codegen compiler draw errors figures ir linemap ops passes summary targets tiles",
    "eject": "codegen errors ir linemap ops passes",
    "portable": "",
    "weights": "errors figures ir ops writing",
    "runtime": "codegen eject errors figures frontend ir linemap ops passes portable targets text tiles weights",
    "standalone": "__init__ codegen compiler errors ir ops passes portable runtime targets tiles",
    "exchange": "__init__ errors ir ops passes runtime text weights writing",
    "cli": "codegen codes compare compiler draw eject errors exchange figures frontend ir linemap passes report "
    "runtime standalone summary targets text tiles tree weights writing",
    "__init__": "errors exchange runtime",
    "__main__": "cli",
}
"""What each room imports from the package, and nobody else does. A room stands below those that it imports."""

OUTSIDE: dict[str, str] = {
    "text": "lark",
    "cli": "click",
    "cli/run_inputs.py cli/run_job.py cli/run_results.py": "torch",
    "eject/source.py eject/trace.py eject/harness.py": "torch",
    "exchange/onnx/arrays.py exchange/onnx/emit.py": "numpy torch",
    "exchange/onnx/constants.py exchange/onnx/nodes_arithmetic.py exchange/onnx/nodes_dense.py "
    "exchange/onnx/nodes_shapes.py exchange/onnx/nodes_windows.py exchange/onnx/operators.py "
    "exchange/onnx/patterns.py exchange/onnx/patterns_lrn.py": "numpy",
    "exchange/torch/arithmetic.py exchange/torch/backend.py exchange/torch/call.py exchange/torch/export.py "
    "exchange/torch/graphs.py exchange/torch/layers.py exchange/torch/maps.py": "torch",
    "portable": "torch PIL",
    "standalone/build.py": "torch",
    "runtime": "torch numpy",
    "weights": "torch numpy safetensors",
}
"""What a room, or some of its files, imports from other packages as it is loaded."""

LATER: dict[str, str] = {
    "ops": "torch",
    "codegen": "platformdirs",
    "compiler/worker.py": "triton",
    "draw/png.py": "PIL",
    "exchange": "google numpy onnx torch",
    "eject/worker.py": "torch triton",
    "portable": "numpy triton",
    "runtime": "triton",
    "cli/progress.py": "rich",
}
"""What it imports within its functions, where it is used."""


@dataclass(frozen=True)
class Import:
    """The first name of what a file imports, the room where it is ours, and whether that is at the file's top."""

    package: str
    room: str
    top: bool


def room_of(module: str) -> str:
    """The room of a module by the first part of its name within the package."""
    room = {"tiles_simple": "tiles", "tiles_pooled": "tiles", "compare_pairing": "compare"}.get(module, module)
    return "text" if room in TEXT else room


def home(path: Path) -> str:
    """The room of a file."""
    return room_of(path.relative_to(PACKAGE).with_suffix("").parts[0])


def imports_of(path: Path) -> Iterator[Import]:
    """All that a file imports, but for types alone and from its own room."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = node.module or ""
            names = [f"{module}.{a.name}" for a in node.names] if module == "cnndsl" else [module]
        elif isinstance(node, ast.ImportFrom):
            # A build carries these files and calls them otherwise.
            assert home(path) == "portable", f"{path}: relative import"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            # What importlib is given, and not importlib.resources.
            name = node.args[0].value
            if str(name).startswith("cnndsl.") and not ast.unparse(node.func).endswith("files"):
                names = [name]
        for name in names:
            package, _, rest = name.partition(".")
            room = room_of(rest.partition(".")[0] or "__init__") if package == "cnndsl" else ""
            if room != home(path):
                yield Import(package, room, id(node) in top)


def allowed(table: dict[str, str], path: Path) -> set[str]:
    """What a table says of a file, by its room and by its name."""
    names = {home(path), path.relative_to(PACKAGE).as_posix()}
    return {word for key, words in table.items() if names & set(key.split()) for word in words.split()}


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms(path: Path) -> None:
    room = home(path)
    outside, later = allowed(OUTSIDE, path), allowed(LATER, path)
    for found in imports_of(path):
        if found.package == "cnndsl":
            assert found.room in ROOMS[room].split(), f"{room} imports {found.room}"
        elif found.package not in sys.stdlib_module_names:
            assert found.package in outside | later, f"{path.name} imports {found.package}"
            assert found.package in outside or not found.top, f"{path.name} imports {found.package} before it is used"


def test_every_room_is_listed_and_stands_below_those_that_it_imports() -> None:
    assert {home(path) for path in FILES} == set(ROOMS)
    above: set[str] = {"__init__"}  # as the package's name alone: its version, and where it lies
    for room, imported in ROOMS.items():
        assert set(imported.split()) <= above, room
        above.add(room)


def test_nothing_is_allowed_that_nobody_does() -> None:
    """Neither a room, nor a package, nor a file that is named for one."""
    used = [(home(path), path.relative_to(PACKAGE).as_posix(), found) for path in FILES for found in imports_of(path)]
    wanted = {(room, one) for room, imported in ROOMS.items() for one in imported.split()}
    assert wanted == {(room, found.room) for room, _, found in used if found.package == "cnndsl"}
    for table, top in ((OUTSIDE, True), (LATER, False)):
        for key, packages in table.items():
            for name in key.split():
                found = {each.package for room, file, each in used if name in {room, file} and each.top is top}
                assert set(packages.split()) <= found, f"{name} does without {packages}"


# --- what is slow to load ------------------------------------------------------------------------


SLOW = '{"torch", "triton", "numpy", "PIL", "safetensors", "rich"}'


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


NET = str(EXAMPLES / "vgg16.cnn")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", NET],
        ["summary", NET],
        ["draw", NET],
        *(["inspect", NET, "--stage", stage] for stage in ("tree", "graph", "simplified", "groups", "plan", "lines")),
        ["inspect", NET, "--stage", "source", "--target", "sm_90"],
        ["inspect", NET, "conv1_1", "--diff", "sm_80"],
        ["explain", "E0304"],
        ["cache"],
        *([command, "--help"] for command in ("run", "build", "eject", "report")),
    ],
    ids=" ".join,
)
def test_commands_need_no_torch(arguments: list[str]) -> None:
    run(f"""
import sys
from cnndsl.cli import cli
cli.main({arguments!r}, standalone_mode=False)
assert not {SLOW} & set(sys.modules), {SLOW} & set(sys.modules)
""")
