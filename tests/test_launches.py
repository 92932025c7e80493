"""What whole networks launch on a GPU, on a machine without one.

``gpu/survey.py`` walks the networks through Triton's own launch path with a driver that is not there, so
arguments are bound and specialised by the code that does it on a GPU. What the kernels then compile to is
another test's business: `test_kernel_table.py`.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock  # torch needs it too
from sample_networks import chosen, sources

from cnndsl import targets
from cnndsl.files import choose_network, load_path, load_text
from cnndsl.ops.binding import Launch
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import Groups, fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify

GPU = Path(__file__).with_name("gpu")

# --- every launch fits its kernel, for every target --------------------------------------------------------


@cache
def parameters(module: str, kernel: str) -> tuple[list[str], list[str]]:
    """The run-time parameters and the constants of a kernel, in order, read from its source."""
    spec = find_spec(f"cnndsl.kernels.{module}")  # found, not imported: that would import triton
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == kernel)
    # One variant for all batch sizes.
    assert [ast.unparse(d) for d in function.decorator_list] == ["triton.jit(do_not_specialize=['n'])"]
    names: tuple[list[str], list[str]] = [], []
    for argument in function.args.args:
        annotation = ast.unparse(argument.annotation) if argument.annotation is not None else ""
        names[annotation == "tl.constexpr"].append(argument.arg)
    return names


def check_launch(launch: Launch) -> None:
    """The arguments are the kernel's, in its order; the constants are all there, once; sizes suit Triton."""
    arguments, constants = parameters(launch.module, launch.kernel)
    assert [name for name, _ in launch.arguments] == arguments
    given = [name for name, _ in launch.constants]
    assert sorted(given) == sorted(constants)
    for name, value in launch.constants:
        if name.startswith("BLOCK_"):
            assert isinstance(value, int)
            assert value > 0
            assert value & (value - 1) == 0
    assert launch.num_warps in (1, 2, 4, 8, 16)
    assert 1 <= len(launch.grid) <= 3


def groups_of(source: str) -> Groups:
    program = load_text(source) if "{" in source else load_path(Path(source))
    return fuse(simplify(elaborate(program, choose_network(program, None), None)))


def launches_of(source: str) -> Iterator[Launch]:
    groups = groups_of(source)
    for number, target in enumerate(targets.TARGETS):
        for dtype in ("fp32", "tf32", "fp16", "bf16")[number % 2 :: 2]:
            for batch in (1, 16, 128):
                made = plan(groups, target=target, dtype=dtype, batch=batch, keep=batch == 16)
                yield from (launch for step in made.steps for launch in step.launches)


@pytest.mark.parametrize("name", chosen(sources()))
def test_launches_fit_their_kernels(name: str) -> None:
    launches = list(launches_of(sources()[name]))
    assert launches
    for launch in launches:
        check_launch(launch)


def wrong_launches() -> dict[str, Launch]:
    right = next(iter(launches_of(sources()["residual"])))
    a, c = right.arguments, right.constants
    return {
        "argument missing": replace(right, arguments=a[:-1]),
        "argument too many": replace(right, arguments=(*a, ("z_sn", "1"))),
        "arguments swapped": replace(right, arguments=(a[1], a[0], *a[2:])),
        "constant missing": replace(right, constants=c[1:]),
        "constant too many": replace(right, constants=(*c, ("UNROLL", 1))),
        "constant twice": replace(right, constants=(*c[1:], c[-1])),
        "block of 48": replace(right, constants=(*c[:-1], (c[-1][0], 48))),
        "three warps": replace(right, num_warps=3),
    }


@pytest.mark.parametrize("name", wrong_launches())
def test_wrong_launches_are_noticed(name: str) -> None:
    with pytest.raises(AssertionError):
        check_launch(wrong_launches()[name])


# --- the walk through Triton's launch path -----------------------------------------------------------------


def worker(script: str, *arguments: str, folder: Path, stdin: str = "") -> str:
    """Run a script of tests/gpu in a process that may compile; its standard output."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"CNNDSL_CACHE": str(folder / "cnndsl"), "TRITON_CACHE_DIR": str(folder / "triton")}
    done = subprocess.run(
        [sys.executable, str(GPU / script), *arguments],
        input=stdin, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    found = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled_networks"
    found.mkdir(exist_ok=True)
    return found


def once(path: Path, make: Callable[[], str]) -> Any:
    """The JSON in a file; whichever process comes first makes it."""
    with FileLock(f"{path}.lock"):
        if not path.exists():
            path.write_text(make(), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def survey(folder: Path) -> dict[str, Any]:
    """All runs and the distinct kernels in them."""
    found: dict[str, Any] = once(folder / "survey.json", lambda: worker("survey.py", folder=folder))
    return found


def strides_of(run: dict[str, Any], shape: list[int]) -> dict[str, int]:
    """The strides of an input [n, C, H, W] in a run's layout."""
    if len(shape) == 1:
        return {"sn": shape[0], "sc": 1, "sh": 0, "sw": 0}
    h, w, c = shape
    if run["layout"] == "nhwc":
        return {"sn": h * w * c, "sh": w * c, "sw": c, "sc": 1}
    return {"sn": h * w * c, "sc": h * w, "sh": w, "sw": 1}


def check_specialised(run: dict[str, Any], launch: dict[str, Any]) -> None:
    """Triton made of the arguments what the package said that it would, so that what is compiled ahead is what runs."""
    parameters = run["kernels"][launch["kernel"]]
    signature = dict(launch["signature"])
    attributes = {launch["signature"][position][0]: value for position, value in launch["attributes"]}
    assert list(signature) == [p["name"] for p in parameters]
    for p in parameters:
        name, multiple = p["name"], attributes.get(p["name"]) == "[['tt.divisibility', 16]]"
        if p["type"].startswith("*"):
            assert signature[name] == p["type"]
            assert multiple >= p["aligned"]
        elif name == "n":
            assert (signature[name], multiple) == ("i32", False)  # one compilation serves every batch size
        else:
            # A stride of the caller's: a 1 becomes a constant, a multiple of 16 is known to be such.
            values = [strides_of(run, shape)[name.partition("_")[2]] for shape in run["inputs"]]
            assert any(
                signature[name] == ("constexpr" if v == 1 else "i32" if v < 2**31 else "i64")
                and multiple == (v % 16 == 0)
                for v in values
            ), (name, values, signature[name], multiple)
            if run["layout"] == "nchw" and len(run["inputs"]) == 1:
                assert p["value"] == values[0]


def check_run(run: dict[str, Any]) -> None:
    """Every launch was accepted, is the package's, and stays within 32 bits; large batches run in parts."""
    assert run["error"] is None, run["error"]
    passes = -(-run["n"] // run["max_batch"])
    assert [launch["kernel"] for launch in run["launches"]] == run["planned"] * passes
    assert run["planned"]
    for launch in run["launches"]:
        assert launch["reach"] < 2**31, launch["layer"]
        check_specialised(run, launch)


def check_runs(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        check_run(run)


@pytest.mark.parametrize("name", chosen(sources()))
def test_the_launcher_accepts_every_network(name: str, survey: dict[str, Any]) -> None:
    runs = [run for run in survey["runs"] if run["network"] == name]
    assert {(run["target"], run["dtype"]) for run in runs} >= {("sm_90", "fp16")}
    check_runs(runs)
    # Batches on both sides of 2^31 elements.
    assert {-(-run["n"] // run["max_batch"]) for run in runs} == {1, 2}


SABOTAGE = {
    "conv1.launch(": "conv1.launch(n, ",
    "num_warps=": "num_wraps=",
    "grid = (": "grid = (0 * n, ",
    "n = image.shape[0]": "n = float(image.shape[0])",
    "buf0 = arena": "buf0 = 1 * n + 0 #",
    "MAX_BATCH = ": "MAX_BATCH = 10**12 + ",
    "DTYPE = torch.float16": "DTYPE = torch.float32",
    '@triton.jit(do_not_specialize=["n"])': "@triton.jit",
    "image_sn, image_sc, ": "image_sc, image_sn, ",
}


def test_broken_launches_are_noticed(folder: Path) -> None:
    pairs = [word for pair in SABOTAGE.items() for word in ("--replace", *pair)]
    found = json.loads(worker("survey.py", "--only", "residual", "--dtype", "fp16", *pairs, folder=folder))
    for old in SABOTAGE:
        for target in ("sm_80", "sm_90"):
            runs = [r for r in found["runs"] if (r["replaced"], r["target"]) == (old, target)]
            assert runs
            with pytest.raises(AssertionError):
                check_runs(runs)
