"""Compiling: sources, types, devices, the cache of packages, and other processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from small import CUDA, SMALL, TWO, compiled, random, refusal

import cnndsl
from cnndsl.runtime.verify import verify

# --- compiling ------------------------------------------------------------------------------------


def test_sources(tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.cnn").write_text(SMALL)
    (tmp_path / "both.cnn").write_text(SMALL + TWO)
    monkeypatch.chdir(tmp_path)
    shapes = []
    for source, options in [
        (SMALL, {}),
        (SMALL + TWO, {"network": "Small"}),
        ("one.cnn", {}),
        (str(tmp_path / "one.cnn"), {}),
        (tmp_path / "one.cnn", {}),
        ("both.cnn:Small", {}),
        (tmp_path / "both.cnn", {"network": "Small"}),
    ]:
        net = cnndsl.compile(source, device=device, set={"classes": 7}, **options)
        shapes.append(net(random(2, 4, 6, 5, device=device)).shape)
    assert set(shapes) == {(2, 7)}


@pytest.mark.parametrize(("source", "options", "code"), [
    ("no_such_file.cnn", {}, None),
    (SMALL + TWO, {}, None),
    (SMALL, {"network": "Smal"}, None),
    (SMALL, {"set": {"clases": 3}}, "E0219"),
    (SMALL, {"set": {"classes": 2.5}}, None),
    ("network T { input x [3x3x1] conv(2, 5x5) }", {}, "E0304"),
])
def test_wrong_sources(source: str, options: dict[str, Any], code: str | None) -> None:
    found, text = refusal(lambda: cnndsl.compile(source, device="cuda" if CUDA else "cpu", **options))
    assert code is None or found == code
    assert "Traceback" not in text


@pytest.mark.parametrize("dtype", [torch.float64, "fp64", torch.int8, torch.complex64, "half", float, ["fp16"]])
def test_unknown_type(dtype: Any) -> None:
    code, text = refusal(lambda: cnndsl.compile(SMALL, dtype=dtype))
    assert code == "E0604"
    assert text.startswith(f"error[E0604]: networks do not run in {dtype}\n")
    assert ("net.reference(x.double())" in text) is (dtype in (torch.float64, "fp64", float))


@pytest.mark.parametrize("dtype", ["fp32", "tf32", "fp16", "bf16", torch.float32, torch.float16, "bfloat16", None])
def test_types(dtype: Any, device: str) -> None:
    net = compiled(device=device, dtype=dtype)
    x = random(2, 4, 6, 5, device=device).to(net.dtype)
    assert net(x).dtype == net.dtype
    assert all(check.ok for check in verify(net, [x], layers=True))
    assert {t.dtype for t in net.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("place", ["tpu", "mps", "meta", "cuda:99", 3.5, ["cpu"], torch.device("xpu")])
def test_unknown_device(place: Any) -> None:
    assert refusal(lambda: cnndsl.compile(SMALL, device=place))[0] == "E0602"


@pytest.mark.skipif(CUDA, reason="there is a GPU")
def test_no_gpu() -> None:
    code, text = refusal(lambda: cnndsl.compile(SMALL, device="cuda"))
    assert code == "E0602"
    assert text.startswith("error[E0602]: PyTorch finds no GPU here\n")
    assert [cnndsl.compile(SMALL, device=d).device for d in (None, "auto", "cpu:0", torch.device("cpu"))] == 4 * [
        torch.device("cpu")
    ]


def test_properties(device: str) -> None:
    net = compiled(device=device, dtype=torch.float16)
    assert (net.device.type, net.dtype, net.compute) == (device, torch.float16, "fp16")
    assert net.source_path.name == "network.py"
    assert "conv1.launch(" in net.source_path.read_text()
    assert "conv2d_kernel[" in (net.source_path.parent / "kernels" / "conv1.py").read_text()
    assert [step.group.title for step in net.plan.steps] == ["conv1 + bn1 + relu1", "head.pool", "head.fc"]


# --- the cache ------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"raise SystemExit\n", b"\xff\xfe\x00"])
def test_a_damaged_package_is_repaired(damage: bytes, device: str) -> None:
    text = SMALL.replace("Small", f"Damaged{len(damage)}")
    net, x = compiled(text, device), random(1, 4, 6, 5, device=device)
    whole = net.source_path.read_bytes()
    net.source_path.write_bytes(damage)
    again = compiled(text, device)
    assert torch.equal(again(x), net(x))
    assert again.source_path.read_bytes() == whole


def test_a_package_is_written_once(device: str) -> None:
    path = compiled(device=device).source_path
    before = path.stat().st_mtime_ns
    assert compiled(device=device).source_path.stat().st_mtime_ns == before
    found = sorted(str(p.relative_to(path.parent)) for p in path.parent.rglob("*.py"))
    kernels = ["kernels/__init__.py", "kernels/conv1.py", "kernels/head_fc.py", "kernels/head_pool.py"]
    assert found == ["__init__.py", *kernels, "network.py"]


def test_no_folder_for_packages(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path / "file"))
    net = compiled(device=device)
    code, text = refusal(lambda: net(random(1, 4, 6, 5, device=device)))
    assert code == "E0606"
    assert text == f"""error[E0606]: cannot write the compiled network to {tmp_path}/file/packages: Not a directory
  = help: set CNNDSL_CACHE to a folder that can be written"""


def test_long_names(device: str) -> None:
    net = compiled(SMALL.replace("Small", "Small" * 100), device)
    assert net(random(1, 4, 6, 5, device=device)).shape == (1, 3)


# --- other processes ------------------------------------------------------------------------------


def start(script: str, **environment: str) -> subprocess.Popen[str]:
    """Run a script in a Python of its own, without this process's choice between interpreter and GPU."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | environment
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


def result(process: subprocess.Popen[str]) -> str:
    """What it printed. It must end well."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_two_processes_write_one_package(tmp_path: Path) -> None:
    """Ten networks each, at the same time, into one folder; without torch."""
    script = """
        import sys
        from cnndsl.codegen.store import write_package
        from cnndsl.files import choose_network, load_text
        from cnndsl.passes.elaborate import elaborate
        from cnndsl.passes.fuse import fuse
        from cnndsl.passes.plan import plan
        from cnndsl.passes.simplify import simplify
        from cnndsl.targets import get
        plans = []
        for i in range(10):
            program = load_text(f"network T{i} {{ input x [4x4x3] repeat 20 {{ conv(3, 1x1) }} }}")
            graph = elaborate(program, choose_network(program, None))
            plans.append(plan(fuse(simplify(graph)), target=get("sm_90"), dtype="fp16"))
        sys.stdin.readline()
        print([len(write_package(p).read_bytes()) for p in plans], "torch" in sys.modules)
    """
    script = textwrap.dedent(script)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script], env={**os.environ, "CNNDSL_CACHE": str(tmp_path)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    outputs = [p.communicate("go\n", timeout=300) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs
    assert outputs[0] == outputs[1]
    assert outputs[0][0].endswith("False\n")
    folders = list((tmp_path / "packages").iterdir())
    assert len(folders) == 10, "a folder was left behind"


def test_without_triton() -> None:
    """Checking and summing up work; running says what is missing."""
    process = start("""
        import sys
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "triton":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Missing())
        import cnndsl
        from cnndsl.files import choose_network, load_text
        from cnndsl.passes.elaborate import elaborate
        text = "network T { input x [4x4x3] conv(2, 1x1) }"
        program = load_text(text)
        print(elaborate(program, choose_network(program, None)).nodes[-1].type)
        try:
            cnndsl.compile(text)
        except cnndsl.CnnError as error:
            print(error)
    """)
    assert result(process) == """[4x4x2]
error[E0601]: running a network needs Triton, which is not installed
  = note: Triton has packages for Linux alone; `check`, `summary` and `inspect` work without it
  = help: pip install triton
"""


@pytest.mark.skipif(CUDA, reason="compiles for the CPU")
def test_another_process(tmp_path: Path) -> None:
    """A pickled network runs in a fresh process; where Triton is set up for GPUs already, it says so."""
    net, x = compiled(), random(2, 4, 6, 5)
    (tmp_path / "net.pkl").write_bytes(pickle.dumps((net, x, net(x))))
    load = f"""
        import pickle, torch, cnndsl
        net, x, y = pickle.loads(open({str(tmp_path / "net.pkl")!r}, "rb").read())
        try:
            print(torch.equal(net(x), y))
        except cnndsl.CnnError as error:
            print(error)
    """
    fresh, taken = start(load), start("import triton.language\n" + textwrap.dedent(load))
    assert result(fresh) == "True\n"
    assert result(taken) == """error[E0603]: this process has Triton set up for GPUs already
  = note: Triton chooses between GPU and interpreter when it is first imported, once for a process
  = help: set TRITON_INTERPRET=1 before the first import of triton to run on the CPU
"""
