"""What whole networks launch on a GPU, and what those kernels compile to, on a machine without one.

``gpu/survey.py`` walks the networks through Triton's own launch path with a driver that is not there, so
arguments are bound and specialised by the code that does it on a GPU. Of the kernels found, a representative
dozen is compiled and held to what can be known from machine code: no spills, matrix instructions, wide
accesses. With CNNDSL_COMPILE_ALL=1 all of them are, for two targets, four types and three batch sizes: two
thousand kernels, a second or two each.

That nothing known to be slow has crept in does not say that they are fast.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock  # torch needs it too

from cnndsl import targets
from cnndsl.files import choose_network, load_path, load_text
from cnndsl.ops.binding import Launch
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import Groups, fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify

GPU = Path(__file__).with_name("gpu")
sys.path.append(str(GPU))

from sample_networks import sources  # noqa: E402 - found beside the worker that compiles them

EVERYTHING = "CNNDSL_COMPILE_ALL" in os.environ
SHARED = {target.arch: target.shared_memory_bytes for target in targets.TARGETS}

Facts = dict[str, Any]


# --- every launch fits its kernel, for every target --------------------------------------------------------


@cache
def parameters(module: str, kernel: str) -> tuple[list[str], list[str]]:
    """The run-time parameters and the constants of a kernel, in order, read from its source."""
    spec = find_spec(f"cnndsl.kernels.{module}")  # found, not imported: that would import triton
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == kernel)
    assert [ast.unparse(d) for d in function.decorator_list] == ["triton.jit"]
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
    assert sorted([*given, "INDEX64"]) == sorted(constants)
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


@pytest.mark.parametrize("name", sources())
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


def constant(spec: dict[str, Any], name: str) -> Any:
    """The value of a constexpr parameter of a specialised kernel."""
    position = [parameter for parameter, _ in spec["signature"]].index(name)
    return dict(spec["constants"])[position]


def check_run(run: dict[str, Any], specs: list[dict[str, Any]]) -> None:
    """Every launch was accepted, and counts in 64 bits exactly where its widest tensor needs them."""
    assert run["error"] is None, run["error"]
    assert run["launches"]
    for launch in run["launches"]:
        assert constant(specs[launch["spec"]], "INDEX64") == (launch["reach"] >= 2**31), launch["layer"]


def check_runs(runs: list[dict[str, Any]], specs: list[dict[str, Any]]) -> None:
    for run in runs:
        check_run(run, specs)


@pytest.mark.parametrize("name", sources())
def test_the_launcher_accepts_every_network(name: str, survey: dict[str, Any]) -> None:
    runs = [run for run in survey["runs"] if run["network"] == name]
    specs = survey["specs"]
    assert {(run["target"], run["dtype"]) for run in runs} >= {("sm_90", "fp16")}
    check_runs(runs, specs)
    # Batches on both sides of 2^31 elements: both answers were seen.
    wide = {constant(specs[launch["spec"]], "INDEX64") for run in runs for launch in run["launches"]}
    assert wide == {False, True}
    assert len({len(run["launches"]) for run in runs}) == 1


SABOTAGE = {
    "w_ptr=": "v_ptr=",
    "HAS_BIAS=True, ": "",
    "num_warps=": "num_wraps=",
    "[(cdiv(": "[(0 * cdiv(",
    "n=n,": "n=float(n),",
    "y_ptr=buf": "y_ptr=0 * n + 1, #",
    ">= 2**31": ">= 2**62",
    "INDEX64=": "INDEX64=True or ",
}


def test_broken_launches_are_noticed(folder: Path) -> None:
    pairs = [word for pair in SABOTAGE.items() for word in ("--replace", *pair)]
    found = json.loads(worker("survey.py", "--only", "residual", "--dtype", "fp16", *pairs, folder=folder))
    for old in SABOTAGE:
        for target in ("sm_80", "sm_90"):
            runs = [r for r in found["runs"] if (r["replaced"], r["target"]) == (old, target)]
            assert runs
            with pytest.raises(AssertionError):
                check_runs(runs, found["specs"])


# --- what the kernels compile to ---------------------------------------------------------------------------


def expectations(spec: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Instructions that a kernel must and must not hold, by their first words or whole names."""
    wanted: set[str] = set()
    unwanted = {"LDL", "STL"}
    signature = dict(spec["signature"])
    kernel, sm_90 = spec["kernel"], spec["arch"] == 90
    if kernel in ("conv2d_kernel", "linear_kernel"):
        rows = constant(spec, "BLOCK_NPQ" if kernel == "conv2d_kernel" else "BLOCK_N")
        if signature["w_ptr"] == "*fp32" and constant(spec, "PRECISION") == "ieee":
            wanted.add("FFMA")
            unwanted |= {"HGMMA", "HMMA"}
        else:
            # Below 64 rows there is nothing to fill a warpgroup's matrix instruction with.
            wanted.add("HGMMA" if sm_90 and rows >= 64 else "HMMA")
    aligned = {spec["signature"][position][0] for position, _ in spec["attributes"]}
    if kernel in ("conv2d_kernel", "pool2d_kernel") and {"y_ptr", "y_sw"} <= aligned:
        wanted.add("STG.E.128")
    runs = signature.get("x_sc") == "constexpr"  # pixels' channels lie side by side
    if kernel == "conv2d_kernel" and {"x_ptr", "x_sn", "x_sh", "x_sw", "w_ptr"} <= aligned and runs:
        reduction = constant(spec, "C") * constant(spec, "R") * constant(spec, "S")
        # A single step of the reduction has no pipeline to copy for.
        wanted.add("LDGSTS.E.BYPASS.128" if reduction > constant(spec, "BLOCK_CRS") else "LDG.E.128")
        unwanted |= {"LDG.E.U16", "LDGSTS.E"}
    if kernel == "linear_small_kernel" and constant(spec, "F") % constant(spec, "BLOCK_F") == 0:
        wanted.add("LDG.E.128")
    return wanted, unwanted


def check_facts(spec: dict[str, Any], facts: Facts) -> None:
    assert "error" not in facts, facts["error"]
    assert (facts["stack"], facts["local"]) == (0, 0)
    # The driver keeps 1 KiB of a multiprocessor's memory for each program.
    assert facts["shared"] <= SHARED[spec["arch"]]
    assert facts["registers"] <= 255
    names = set(facts["instructions"])
    words = names | {name.split(".")[0] for name in names} | {name.replace(".CONSTANT", "") for name in names}
    wanted, unwanted = expectations(spec)
    assert wanted <= words, wanted - words
    assert not unwanted & words, unwanted & words


# Network, target, type, batch size, layer: one for each kernel and kind of machine code.
REPRESENTATIVES = (
    ("alexnet", "sm_90", "fp16", 1, "conv1 + relu1"),
    ("alexnet", "sm_90", "fp16", 128, "conv2 + relu2"),
    ("alexnet", "sm_90", "fp16", 128, "pool1"),
    ("alexnet", "sm_90", "fp16", 1, "norm1"),
    ("alexnet", "sm_90", "fp16", 1, "fc6 + relu6"),
    ("alexnet", "sm_90", "fp16", 128, "fc6 + relu6"),
    ("alexnet", "sm_90", "bf16", 16, "conv3 + relu3"),
    ("alexnet_paper", "sm_80", "fp16", 16, "conv2 + relu2"),
    ("lenet5", "sm_90", "fp32", 16, "c1 + tanh1"),
    ("vgg16", "sm_90", "fp32", 128, "stage4.conv2 + stage4.relu2"),
    ("vgg16", "sm_90", "tf32", 16, "stage3.conv2 + stage3.relu2"),
    ("residual", "sm_90", "fp16", 16, "basic1.conv2 + basic1.batchnorm2 + basic1.add1 + basic1.relu2"),
    ("mobile", "sm_90", "fp16", 16, "conv3 + batchnorm2 + hardswish3"),
    ("inception", "sm_90", "fp16", 3, "softmax1"),
)


# Spills of a value or two, in bytes, where strides that Triton does not know to be multiples of
# 16 make loads narrow. Triton 3.7.1 has these, 3.6.0 others.
KNOWN_SPILLS = {
    ("inception", "sm_90", "fp32", 16, "conv4 + relu4"): 8,
    ("inception", "sm_90", "fp32", 16, "conv7"): 8,
    ("slices", "sm_90", "fp32", 1, "direct.dense1"): 16,
    ("slices", "sm_90", "fp32", 16, "direct.dense1"): 16,
}


def is_wanted(place: tuple[Any, ...]) -> bool:
    """Whether a kernel is compiled here; single layers and odd batch sizes are for the walk alone."""
    network, _, _, n, _ = place
    return place in REPRESENTATIVES or (EVERYTHING and n in (1, 16, 128) and not network.startswith("layer "))


@pytest.fixture(scope="module")
def chosen(survey: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The kernels to compile, by a name that says where they come from first."""
    found: dict[str, dict[str, Any]] = {}
    seen: set[int] = set()
    for run in survey["runs"]:
        for launch in run["launches"]:
            place = (run["network"], run["target"], run["dtype"], run["n"], launch["layer"])
            if launch["spec"] not in seen and place not in KNOWN_SPILLS and is_wanted(place):
                seen.add(launch["spec"])
                found[f"{' '.join(map(str, place))} {run['layout']}"] = survey["specs"][launch["spec"]]
    return found


@pytest.fixture(scope="module")
def compiled(chosen: dict[str, dict[str, Any]], folder: Path) -> dict[str, Facts]:
    """What became of them."""

    def work(names: list[str]) -> dict[str, Facts]:
        specs = json.dumps([everything[name] for name in names])
        lines = worker("compile_specs.py", stdin=specs, folder=folder)
        return dict(zip(names, map(json.loads, lines.splitlines()), strict=True))

    # With one warp in place of four, 128 sums a thread spill, and there is no warpgroup for HGMMA.
    starved = {**next(s for s in chosen.values() if s["num_warps"] == 4), "num_warps": 1}
    everything = chosen | {"starved": starved}
    names = list(everything)

    def in_two_processes() -> str:
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(work, [names[::2], names[1::2]])
        return json.dumps(first | second)

    found: dict[str, Facts] = once(folder / "compiled.json", in_two_processes)
    return found


def test_every_representative_was_found(chosen: dict[str, dict[str, Any]]) -> None:
    assert EVERYTHING or len(chosen) == len(REPRESENTATIVES)


def test_kernels_compile_well(chosen: dict[str, dict[str, Any]], compiled: dict[str, Facts]) -> None:
    complaints = []
    for name, spec in chosen.items():
        try:
            check_facts(spec, compiled[name])
        except AssertionError as error:
            complaints.append(f"{name}: {spec['kernel']}: {str(error).splitlines()[0]}")
    assert not complaints


def test_slow_kernels_are_noticed(chosen: dict[str, dict[str, Any]], compiled: dict[str, Facts]) -> None:
    spec = next(s for s in chosen.values() if s["num_warps"] == 4)
    with pytest.raises(AssertionError):
        check_facts(spec, compiled["starved"])
    # Each expectation can fail by itself.
    for name, spec in chosen.items():
        facts = compiled[name]
        for instruction in expectations(spec)[0]:
            others = {k: v for k, v in facts["instructions"].items() if not k.startswith(instruction[:5])}
            with pytest.raises(AssertionError):
                check_facts(spec, {**facts, "instructions": others})
        for change in ({"stack": 8}, {"local": 8}, {"shared": 2**20}, {"registers": 256}):
            with pytest.raises(AssertionError):
                check_facts(spec, facts | change)
