"""``cnndsl build``: options, what it prints, what it refuses."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from cnndsl.cli.target_names import ALL
from cnndsl.compiler import Compiled
from cnndsl.standalone import binaries


def answer(run, *arguments: object) -> dict:
    result = run("build", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["ok"] is True
    return data


def refused(run, *arguments: object) -> dict:
    """The only diagnostic, which is also printed for people."""
    result = run("build", *arguments, "--json")
    assert result.exit_code == 1
    (only,) = json.loads(result.stdout)["diagnostics"]
    said = run("build", *arguments)
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr.startswith(f"error[{only['code']}]: {only['message']}\n")
    return only


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    """Compiles nothing; the kernels and targets that would have been compiled."""
    asked: list[tuple[str, str]] = []
    group = tmp_path / "KEY"
    group.mkdir()
    (group / "kernel.json").write_text('{"extern_libs": [], "shared": 7, "triton_version": "3.0"}', encoding="utf-8")
    (group / "kernel.cubin").write_bytes(b"code")
    (group / "kernel.llir").write_bytes(b"not kept")

    def compile_kernels(jobs, *, progress) -> list[Compiled]:
        asked.extend((job.kernel.name, job.target.name) for job in jobs)
        return [Compiled(job, True, 0.0, 0.0, None, None, group.parent, group) for job in jobs]

    monkeypatch.setattr(binaries, "compile_kernels", compile_kernels)
    return asked


def test_build(run, tiny: Path, tmp_path: Path, no_gpu: None) -> None:
    result = run("build", tiny, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 2**20
    assert result.stdout == (
        f"Tiny in {tmp_path / 'out'}: kernels 3 for interpreter; {len(files)} files, {size:.1f} MiB\n"
    )
    assert result.stderr == (
        "no --weights are given: 4 tensors drawn from seed 0\n"
        "no --target is given and no GPU is here: kernels are for Triton's interpreter alone\n"
    )


def test_options(run, tiny: Path, tmp_path: Path, quick: list[tuple[str, str]]) -> None:
    weights = tmp_path / "w.safetensors"
    shapes = {"conv1.weight": (6, 3, 3, 3), "conv1.bias": (6,), "fc.weight": (7, 96), "fc.bias": (7,)}
    tensors = {name: torch.randn(shape, generator=torch.Generator().manual_seed(1)) for name, shape in shapes.items()}
    safetensors.torch.save_file(tensors, weights)
    out = tmp_path / "out"
    found = answer(
        run, tiny, "-o", out, "--target", "sm_90", "--target", "sm_80", "--target", "sm_90", "--target", "cpu",
        "--weights", weights, "--set", "classes=7", "--dtype", "bf16", "--batch", "16",
    )  # fmt: skip
    assert (found["network"], found["folder"], found["drawn_weights"]) == ("Tiny", str(out), 0)
    assert list(found["targets"]) == ["sm_90", "sm_80", "interpreter"]
    assert found["files"] == {str(p.relative_to(out)): p.stat().st_size for p in out.rglob("*") if p.is_file()}
    names = ["conv1", "pool1", "fc"]
    assert quick == [(name, target) for target in ("sm_90", "sm_80") for name in names]
    about = json.loads((out / "about.json").read_text(encoding="utf-8"))
    assert (about["dtype"], about["batch"], about["settings"]) == ("bf16", 16, {"classes": "7"})
    assert [target["shared_memory_bytes"] for target in about["targets"]] == [7, 7, 0]
    assert (out / "sm_80" / "binaries" / "fc.cubin").read_bytes() == b"code"
    assert not (out / "sm_80" / "binaries" / "fc.llir").exists()
    assert "tiles for a batch of 16" in (out / "sm_90" / "network.py").read_text(encoding="utf-8")
    packed = safetensors.torch.load_file(out / "weights.safetensors")
    assert torch.equal(packed["conv1.weight"], tensors["conv1.weight"].permute(0, 2, 3, 1).bfloat16())
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert "random numbers" not in readme
    assert "3 for sm_90, 3 for sm_80" in readme


def test_weights_depend_on_the_seed(run, tiny: Path, tmp_path: Path, no_gpu: None) -> None:
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        answer(run, tiny, "-o", tmp_path / name, "--seed", seed)
    a, b, c = ((tmp_path / name / "weights.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_this_machines_gpu_is_the_default(
    run, tiny: Path, tmp_path: Path, quick: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = SimpleNamespace(name="Some GPU", major=8, minor=9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.version, "hip", None)
    assert list(answer(run, tiny, "-o", tmp_path / "out")["targets"]) == ["sm_89", "interpreter"]
    properties.major = 7  # too old
    found = refused(run, tiny, "-o", tmp_path / "out")
    assert (found["code"], found["message"]) == ("E0602", "Some GPU has compute capability 7.9; 8.0 is the least")
    assert "--target cpu" in found["help"][0]


def test_mistakes(run, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = refused(run, tiny, "-o", out, "--target", "sm90")
    assert (found["code"], found["message"]) == ("E0703", "there is no target `sm90`")
    assert found["help"] == ["did you mean `sm_90`?", f"targets are {ALL}, or auto"]
    assert refused(run, tiny, "-o", out, "--weights", tmp_path / "w.pt")["code"] == "E0401"
    assert refused(run, tiny, "-o", tmp_path)["code"] == "E0422"
    assert refused(run, tiny, "-o", tiny)["message"] == f"cannot build into {tiny}: it is a file"
    assert refused(run, tmp_path / "none.cnn", "-o", out)["code"] == "E0110"
    assert not out.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.cnn"]


def test_the_command_itself(run, tiny: Path) -> None:
    assert run("build", tiny).exit_code == 2
    assert run("build", tiny, "-o", "out", "--batch", 0).exit_code == 2
    assert run("build", tiny, "-o", "out", "--dtype", "int8").exit_code == 2
