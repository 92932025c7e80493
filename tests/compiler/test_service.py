"""Compiling kernels: results, order, the cache, mistakes, targets."""

import linecache
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import samples
from samples import DENSE, SCALE, job, with_source

from cnndsl import targets
from cnndsl.compiler import (
    Job,
    available,
    compile_kernels,
    entries,
    installation,
    pool,
    processors,
    worker,
)
from cnndsl.errors import CnnError
from cnndsl.targets import STAGES, Target

FAILING = with_source(SCALE, " * 2.0", " * twice")


def code_of(caught: pytest.ExceptionInfo[CnnError]) -> str:
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.code


def no_process(*arguments, **options):
    raise AssertionError("a process was started")


def test_results_in_order_each_once_and_then_from_the_cache(empty_cache: Path, monkeypatch) -> None:
    jobs = [job(SCALE, "sm_90"), job(SCALE, "gfx942"), job(FAILING, "sm_90"), job(SCALE, "sm_90")]
    seen = []
    first = compile_kernels(jobs, workers=2, progress=lambda *step: seen.append(step))
    assert [c.job for c in first] == jobs
    assert sorted(seen) == [(1, 3, "scale1"), (2, 3, "scale1"), (3, 3, "scale1")]
    assert [c.cached for c in first] == [False] * 4
    assert first[0].folder == first[3].folder
    assert all(c.seconds > 0 and c.cpu_seconds > 0 for c in first if c.error is None)

    assert [c.error is None for c in first] == [True, True, False, True]
    assert "NameError" in first[2].error
    assert "tl.load(x_ptr + at) * twice" in first[2].error
    assert str(empty_cache) not in first[2].error
    assert (first[2].resources, first[2].folder, first[2].stages) == (None, None, ())

    monkeypatch.setattr(subprocess, "Popen", no_process)
    again = compile_kernels([jobs[1], jobs[0]])
    assert [c.cached for c in again] == [True, True]
    assert [c.folder for c in again] == [first[1].folder, first[0].folder]
    assert [c.resources for c in again] == [first[1].resources, first[0].resources]
    # What cannot be compiled is tried anew.
    with pytest.raises(AssertionError, match="a process was started"):
        compile_kernels([jobs[2]])


def test_nothing_to_do(empty_cache: Path) -> None:
    assert compile_kernels([]) == ()
    assert not empty_cache.exists()


def test_stages(dense) -> None:
    for name, compiled in dense.items():
        kind = compiled.job.target.kind
        assert compiled.stages == STAGES[kind]
        texts = {stage: compiled.stage(stage) for stage in compiled.stages}
        assert "tt.func public @dense_kernel" in texts["ttir"]
        assert "tt.func public @dense_kernel" in texts["ttgir"]
        assert "ttg.num-warps" in texts["ttgir"]
        assert "define " in texts["llir"]
        last = texts["amdgcn" if kind == "hip" else "sass"]
        assert "s_endpgm" in last if kind == "hip" else "EXIT" in last
        for text in texts.values():
            # Neither the folder that it was compiled in nor where Triton is installed.
            assert str(entries.root()) not in text, name
            assert str(installation.find().folder) not in text, name
            assert "cnndsl-compile-" not in text, name
        for path in compiled.folder.rglob("*"):
            if path.is_file() and not path.name.startswith("__grp__"):
                data = path.read_bytes()
                assert b".writing-" not in data, path
                assert b"cnndsl-compile-" not in data, path


def test_machine_code_is_for_reading(dense) -> None:
    lines = dense["sm_90"].stage("sass").splitlines()
    assert lines[0] == "dense_kernel:"
    assert not [line for line in lines if "/*" in line or "0x000fe" in line]
    assert [line for line in lines if line.endswith("  EXIT")]
    assert "NOP" not in lines[-1]


def test_what_the_key_depends_on() -> None:
    installed = installation.find()

    def digest(kernel=DENSE, target="sm_90") -> str:
        return job(kernel, target).digest(installed)

    def with_parameter(name: str, **changes) -> str:
        parameters = tuple(replace(p, **changes) if p.name == name else p for p in DENSE.parameters)
        return digest(replace(DENSE, parameters=parameters))

    base = digest()
    alike = [
        digest(with_source(DENSE, "It says what", "It says that")),  # the header, with as many lines
        with_parameter("n", value=1),  # not specialised
        with_parameter("n", value=64),
        with_parameter("x_sn", value=1024),  # another multiple of 16
    ]
    assert alike == [base] * len(alike)
    others = [
        digest(target="sm_80"),
        digest(replace(DENSE, num_warps=8)),
        digest(replace(DENSE, num_stages=2)),
        digest(replace(DENSE, name="fc2")),  # places are named by it
        digest(replace(DENSE, source="#\n" + DENSE.source)),  # all lines have other numbers
        digest(with_source(DENSE, "range(0, 512, 64)", "range(0, 512, 32)")),
        digest(with_source(DENSE, "acc, 0.0,", "acc, 1.0,")),  # in a helper
        with_parameter("x_ptr", aligned=False),
        with_parameter("x_ptr", type="*bf16"),
        with_parameter("x_sn", value=1),
        with_parameter("x_sn", value=513),
        with_parameter("x_sn", value=2**31),
        job(DENSE, "sm_90").digest(replace(installed, identity="another Triton")),
    ]
    assert len({base, *others}) == 1 + len(others)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path / "file"))
    with pytest.raises(CnnError) as caught:
        compile_kernels([job(SCALE, "sm_90")])
    assert code_of(caught) == "E0606"


def test_a_cleared_cache_is_compiled_again(empty_cache: Path) -> None:
    (compiled,) = compile_kernels([job(SCALE, "gfx942")])
    text = compiled.stage("amdgcn")
    shutil.rmtree(empty_cache)
    assert compiled.stage("amdgcn") == text


# --- mistakes in a kernel's file ------------------------------------------------------------------------------------

WRONG = {
    "no Python": (with_source(SCALE, "def scale_kernel(", "def scale_kernel("[:-1]), ["SyntaxError"]),
    "no such function": (replace(SCALE, function="other_kernel"), ["other_kernel"]),
    "what Triton refuses": (
        with_source(SCALE, "tl.arange(0, 256)", "tl.arange(0, 250)"), ["power of 2", "tl.arange(0, 250)"],
    ),
    "what ptxas refuses": (
        with_source(
            SCALE, "tl.load(x_ptr + at) * 2.0",
            'tl.inline_asm_elementwise("nonsense $0, $1;", "=f,f", [tl.load(x_ptr + at)], tl.float32, True, 1)',
        ),
        ["ptxas", "nonsense"],
    ),
    "another type than was said": (
        replace(SCALE, parameters=(SCALE.parameters[0], samples.Parameter("y_ptr", "i32", 4))), ["Error"],
    ),
    "printing": (with_source(SCALE, "import triton\n", "print('to', 'stdout')\nimport triton\n"), None),
    # LLVM ends the process when it meets what it cannot compile.
    "an abort": (with_source(SCALE, "import triton\n", "__import__('os').abort()\nimport triton\n"), ["SIGABRT"]),
}  # fmt: skip


def test_mistakes_are_results_and_the_others_are_compiled(empty_cache: Path, monkeypatch) -> None:
    started = []
    start = pool._Worker.__init__

    def counted(*arguments) -> None:
        started.append(arguments)
        start(*arguments)

    monkeypatch.setattr(pool._Worker, "__init__", counted)
    kernels = [*(kernel for kernel, _ in WRONG.values()), replace(SCALE, name="last1")]
    found = compile_kernels([job(kernel, "sm_80") for kernel in kernels], workers=1)
    errors = dict(zip(WRONG, (c.error for c in found), strict=False))
    for name, (_, expected) in WRONG.items():
        if expected is None:
            assert errors[name] is None, name
        else:
            assert all(text in errors[name] for text in expected), (name, errors[name])
            assert str(empty_cache) not in errors[name]
            assert len(errors[name].splitlines()) <= 30
    assert found[-1].error is None
    assert len(started) == 2  # the second in place of the one that was aborted


def test_files_of_one_name(tmp_path: Path, monkeypatch) -> None:
    """A worker gets many files of one name; Triton reads each again by its name, in the folder of the moment."""
    for text in ("X = 1\n", "X = 2\n"):
        folder = tmp_path / text[4]
        folder.mkdir()
        (folder / "conv1.py").write_text(text)
        os.utime(folder / "conv1.py", (0, 0))
        monkeypatch.chdir(folder)
        assert vars(worker._load("conv1.py", "conv1"))["X"] == int(text[4])
        assert linecache.getlines("conv1.py") == [text]


# --- targets and Triton ---------------------------------------------------------------------------------------------


def gpu(kind: str, arch: int | str) -> Target:
    return replace(targets.get("sm_90"), name=f"{arch}", kind=kind, arch=arch)


def test_available() -> None:
    assert all(available(t) for t in targets.TARGETS if t.kind != "interpreter")
    assert not available(targets.get("interpreter"))
    assert not available(gpu("cuda", 131))
    assert not available(gpu("hip", "gfx999"))


@pytest.mark.parametrize("target", [gpu("cuda", 131), gpu("hip", "gfx999")], ids=lambda t: t.name)
def test_an_architecture_that_triton_lacks(empty_cache: Path, target: Target) -> None:
    with pytest.raises(CnnError) as caught:
        compile_kernels([Job(SCALE, target)])
    assert code_of(caught) == "E0705"
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == f"the installed Triton cannot compile for {target.name}"
    same_kind = [t.name for t in targets.TARGETS if t.kind == target.kind]
    assert all(name in diagnostic.notes[0] for name in same_kind)


def test_the_interpreter(empty_cache: Path) -> None:
    with pytest.raises(CnnError) as caught:
        compile_kernels([job(SCALE, "interpreter")])
    assert code_of(caught) == "E0705"


def test_no_triton(empty_cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CnnError) as caught:
        compile_kernels([job(SCALE, "sm_90")])
    assert code_of(caught) == "E0601"


def test_a_triton_that_cannot_be_imported(empty_cache: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text("raise ImportError('libtriton.so is not for this machine')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(CnnError) as caught:
        compile_kernels([job(SCALE, "sm_90")])
    assert code_of(caught) == "E0601"
    assert "libtriton.so is not for this machine" in str(caught.value)


def test_neither_triton_nor_torch_are_imported(dense) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(samples.__file__).parent)!r})
import samples
from cnndsl.compiler import compile_kernels
(compiled,) = compile_kernels([samples.job(samples.DENSE, "sm_90")])
assert compiled.cached
assert compiled.stage("sass") and compiled.resources.registers
assert not {{"torch", "triton", "numpy"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_settings_of_the_user_do_not_reach_the_compiler(monkeypatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("TRITON_DISABLE_LINE_INFO", "1")
    monkeypatch.setenv("DISABLE_PTXAS_OPT", "1")
    monkeypatch.setenv("TRITON_PTXAS_PATH", "/opt/ptxas")
    kept = {name for name in installation.environment() if "TRITON" in name or "PTXAS" in name}
    assert kept == {"TRITON_PTXAS_PATH"}
    assert installation.find().tool("ptxas") == Path("/opt/ptxas")
    assert "/opt/ptxas" in installation.find().identity
    assert os.environ["PATH"] == installation.environment()["PATH"]


def test_processors() -> None:
    assert 1 <= processors() <= (os.cpu_count() or 1)
