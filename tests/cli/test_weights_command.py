"""``cnndsl weights``: what it shows, what it finds wrong, what it writes."""

import json
import pickle
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import cnndsl
from cnndsl.errors import CnnError

NET = """network Net(classes = 4) {
    input image [8x8x3]
    conv1: conv(6, 3x3, pad=1, bias=false) -> bn1: batchnorm -> relu
    maxpool(2x2)
    fc: dense(classes)
}
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.cnn"
    path.write_text(NET, encoding="utf-8")
    return path


def weights(**changed: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """What the network needs; `changed` by names with ``__`` for a dot, None to leave one out."""
    generator = torch.Generator().manual_seed(2)
    made: dict[str, torch.Tensor] = {
        "conv1.weight": torch.randn(6, 3, 3, 3, generator=generator),
        "bn1.weight": torch.rand(6, generator=generator),
        "bn1.bias": torch.rand(6, generator=generator),
        "bn1.running_mean": torch.rand(6, generator=generator),
        "bn1.running_var": torch.rand(6, generator=generator),
        "bn1.num_batches_tracked": torch.tensor(3),
        "fc.weight": torch.randn(4, 96, generator=generator),
        "fc.bias": torch.randn(4, generator=generator),
    }
    made |= {name.replace("__", "."): value for name, value in changed.items()}  # type: ignore[misc]
    return {name: value for name, value in made.items() if value is not None}


NEEDED = [name for name in weights() if not name.endswith("num_batches_tracked")]


def saved(path: Path, tensors: object) -> Path:
    torch.save(tensors, path)
    return path


def answer(run: Any, *arguments: object, code: int = 0) -> dict[str, Any]:
    result = run("weights", *arguments, "--json")
    assert result.exit_code == code, result.stderr
    data: dict[str, Any] = json.loads(result.stdout)
    assert data["ok"] == (code == 0)
    return data


# --- files that cannot be read -------------------------------------------------------------------


def test_a_file_that_cannot_be_read(run, tmp_path: Path, net: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"nonsense")
    for arguments in (["show"], ["check", net], ["convert", net, "-o", tmp_path / "out.pt"]):
        result = run("weights", *arguments, tmp_path / "w.pt")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"error[E0401]: cannot read the weights {tmp_path / 'w.pt'}: ")
        (only,) = answer(run, *arguments, tmp_path / "w.pt", code=1)["diagnostics"]
        assert only["code"] == "E0401"
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_of_another_program(run, tmp_path: Path, protocol: int) -> None:
    """Torch warns of the protocol of some, which is not theirs to know who hold it."""
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"fc.weight": np.ones(3)}, protocol))
    shown = run("weights", "show", path)
    assert "it is a pickle, and not one of torch.save" in shown.stderr
    torch.save(weights(), path, _use_new_zipfile_serialization=False)
    assert run("weights", "show", path).exit_code == 0


# --- check ---------------------------------------------------------------------------------------


def test_check(run, tmp_path: Path, net: Path) -> None:
    path = saved(tmp_path / "w.pt", weights())
    result = run("weights", "check", net, path)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["parameter", "shape", "tensor", "in", "the", "file", "verdict"]
    assert lines[1] == "conv1.weight      [6, 3, 3, 3]  conv1.weight        fits"
    assert lines[-1] == f"{path}, a file of torch.save, fits Net: all 7 tensors are there"
    assert [row["parameter"] for row in answer(run, "check", net, path)["rows"]] == NEEDED


def test_check_explains_all_that_is_wrong(run, tmp_path: Path, net: Path) -> None:
    changed = weights(
        fc__weight=None, fc__wieght=weights()["fc.weight"], fc__bias=torch.ones(10), aux__weight=torch.ones(3),
        bn1__running_var=-torch.ones(6), bn1__bias=torch.ones(6, dtype=torch.int64), conv1__bias=torch.ones(6),
    )  # fmt: skip
    path = saved(tmp_path / "w.pt", changed)
    found = answer(run, "check", net, path, code=1)
    verdicts = {row["parameter"] or row["tensor"]: (row["verdict"], row["why"]) for row in found["rows"]}
    assert verdicts == {
        "conv1.weight": ("fits", ""),
        "bn1.weight": ("fits", ""),
        "bn1.bias": ("other type", "has elements of type int64, not a float type"),
        "bn1.running_mean": ("fits", ""),
        "bn1.running_var": ("bad values", "is a variance and has negative values, the least -1"),
        "fc.weight": ("missing", "`fc.wieght` there has its shape and a name like it"),
        "fc.bias": ("other shape", "fc has 4 channels, not 10"),
        "fc.wieght": ("extra", ""),
        "aux.weight": ("extra", "there is no layer aux"),
        "conv1.bias": ("extra", "conv1 is written without a bias here"),
    }
    assert [d["code"] for d in found["diagnostics"]] == ["E0402", "E0403", "E0404", "E0406"]
    assert len(found["diagnostics"][-1]["notes"]) == 2
    assert found["fits_with"] == []
    result = run("weights", "check", net, path)
    assert result.exit_code == 1
    assert "fc.bias           [4]           fc.bias [10]        other shape: fc has 4 channels" in result.stdout
    assert result.stdout.endswith(
        f"{path}, a file of torch.save, does not fit Net: of 7 tensors 3 fit; "
        "1 other type, 1 bad values, 1 missing, 1 other shape, 3 extra\n"
    )
    assert [line[:12] for line in result.stderr.splitlines()] == [f"error[{d['code']}]" for d in found["diagnostics"]]


@pytest.mark.parametrize(
    ("made", "options"),
    [
        ({f"backbone.{n}": t for n, t in weights().items()}, "--prefix backbone."),
        ({f"backbone.{n}": t for n, t in weights().items()} | {"head.w": torch.ones(1)}, "--prefix backbone."),
        (weights(aux__weight=torch.ones(3)), "--allow-extra"),
        ({f"a.b.{n}": t for n, t in weights(aux__weight=torch.ones(1)).items()}, "--prefix a.b. --allow-extra"),
        ({n.replace("conv1", "f.0").replace("bn1", "f.1").replace("fc", "h"): t for n, t in weights().items()},
         "--match order"),
    ],
)  # fmt: skip
def test_check_says_which_command_would_work(run, tmp_path: Path, net: Path, made: object, options: str) -> None:
    path = saved(tmp_path / "w.pt", made)
    (way,) = answer(run, "check", net, path, code=1)["fits_with"]
    assert way == f"cnndsl weights convert {net} {path} {options} -o w.safetensors"
    assert f"with this it fits: {way}\n" in run("weights", "check", net, path).stderr
    # And it does work.
    *words, _ = shlex.split(way)
    assert run(*words[1:], tmp_path / "out.safetensors").exit_code == 0
    assert answer(run, "check", net, tmp_path / "out.safetensors")["rows"]
    assert answer(run, "check", net, path, *options.split())["fits_with"] == []
    read = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in weights().items() if name in NEEDED)


def test_a_prefix_is_seen_where_a_layer_is_missing(run, tmp_path: Path, net: Path) -> None:
    tensors = {f"encoder.{name}": tensor for name, tensor in weights(fc__weight=None).items()}
    found = answer(run, "check", net, saved(tmp_path / "w.pt", tensors), code=1)
    rows = {row["parameter"]: row["why"] for row in found["rows"]}
    assert {rows[name] for name in NEEDED} == {*(f"it is `encoder.{n}` there" for n in NEEDED if n != "fc.weight"), ""}


def test_folded_batch_norms(run, tmp_path: Path, net: Path) -> None:
    tensors = {"onnx::Conv_12": torch.ones(6, 3, 3, 3), "onnx::Conv_13": torch.ones(6)}
    path = saved(tmp_path / "w.pt", tensors)
    said = f"`cnndsl import {path} -o NET.cnn` writes the network that its weights are for, and these"
    assert said in run("weights", "check", net, path).stdout
    assert said in run("weights", "convert", net, path, "-o", tmp_path / "out.pt").stderr


def test_settings_stand_in_the_command_too(run, tmp_path: Path, net: Path) -> None:
    tensors = weights(fc__weight=torch.ones(9, 96), fc__bias=torch.ones(9), aux__w=torch.ones(1))
    path = saved(tmp_path / "w.pt", tensors)
    (way,) = answer(run, "check", net, path, "--set", "classes=9", code=1)["fits_with"]
    assert way.endswith("--allow-extra --set classes=9 -o w.safetensors")
    assert answer(run, "check", net, path, code=1)["fits_with"] == []


def test_check_in_order_sets_both_sides_next_to_each_other(run, tmp_path: Path, net: Path) -> None:
    """Names that are not sorted, so that their order means something."""
    made = {n.replace("conv1", "z").replace("bn1", "y").replace("fc", "x"): t for n, t in weights().items()}
    made["x.weight"] = torch.ones(4, 7)
    del made["x.bias"]
    found = answer(run, "check", net, saved(tmp_path / "w.pt", made), "--match", "order", code=1)
    rows = [(row["parameter"], row["tensor"], row["verdict"], row["why"]) for row in found["rows"]]
    assert rows[-3:] == [
        ("bn1.running_var", "y.running_var", "fits", ""),
        ("fc.weight", "x.weight", "other shape", "fc reads 96 features, not 7"),
        ("fc.bias", None, "missing", ""),
    ]
    (only,) = found["diagnostics"]
    assert (only["code"], len(only["notes"])) == ("E0405", 2)
    assert "  = note: number 6 does not" in run("weights", "check", net, tmp_path / "w.pt", "--match", "order").stderr


def test_check_of_a_darknet_file(run, tmp_path: Path, net: Path) -> None:
    head = np.array([0, 2, 0, 0, 0], "<i4").tobytes()
    (tmp_path / "w.weights").write_bytes(head + np.arange(574, dtype="<f4").tobytes())
    rows = answer(run, "check", net, tmp_path / "w.weights")["rows"]
    assert [row["parameter"] for row in rows] == NEEDED
    (tmp_path / "w.weights").write_bytes(head + bytes(8))
    (only,) = answer(run, "check", net, tmp_path / "w.weights", code=1)["diagnostics"]
    assert only["code"] == "E0408"


def test_a_mistake_in_the_network_comes_first(run, tmp_path: Path) -> None:
    (tmp_path / "net.cnn").write_text("network Net { input x [3] fc: dnse(2) }", encoding="utf-8")
    result = run("weights", "check", tmp_path / "net.cnn", tmp_path / "missing.pt")
    assert (result.exit_code, result.stderr[:12]) == (1, "error[E0201]")


def test_check_compiles_nothing(tmp_path: Path, net: Path) -> None:
    path = saved(tmp_path / "w.pt", weights())
    program = f"""
import sys
from cnndsl.cli import cli
cli.main(["weights", "check", {str(net)!r}, {str(path)!r}], standalone_mode=False)
found = {{"triton", "rich", "cnndsl.codegen", "cnndsl.runtime.executor", "google", "onnx"}} & set(sys.modules)
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- convert -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".npz"])
def test_convert_keeps_values_and_types(run, tmp_path: Path, net: Path, suffix: str) -> None:
    made = weights()
    made["fc.bias"], made["fc.weight"] = made["fc.bias"].half(), made["fc.weight"].double()
    made["conv1.weight"] = made["conv1.weight"].bfloat16()
    path = saved(tmp_path / "w.pt", {f"module.{name}": tensor for name, tensor in made.items()})
    out = tmp_path / f"out{suffix}"
    result = run("weights", "convert", net, path, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == (
        f"{out}: 7 tensors, 574 values, 3.4 KiB of bfloat16 and float32 and float64 and float16, for Net\n"
    )
    assert result.stderr == f"{path}: every name begins with `module.`, which is left out\n"
    from cnndsl.weights.reading import read_tensors

    read = read_tensors(out)
    assert set(read) == set(NEEDED)
    for name, tensor in read.items():
        kept = torch.float32 if suffix == ".npz" and made[name].dtype == torch.bfloat16 else made[name].dtype
        assert (tensor.dtype, tensor.tolist()) == (kept, made[name].tolist()), name
    again = run("weights", "convert", net, path, "-o", out)
    assert (again.exit_code, again.stderr) == (
        1, f"error[E0421]: cannot write {out}: it is there already\n  = help: --force writes over it\n"
    )  # fmt: skip
    assert answer(run, "convert", net, path, "-o", out, "--force")["tensors"] == 7


def test_convert_onto_itself_and_into_nothing(run, tmp_path: Path, net: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(weights(more__weight=torch.ones(1)), path)
    before = path.read_bytes()
    # What is left out would be lost.
    assert run("weights", "convert", net, path, "--allow-extra", "-o", path).exit_code == 1
    assert path.read_bytes() == before
    assert f"--allow-extra -o {path.stem}_new.safetensors" in run("weights", "check", net, path).stderr
    assert run("weights", "convert", net, path, "--allow-extra", "-o", path, "--force").exit_code == 0
    read = safetensors.torch.load_file(path)
    assert all(torch.equal(read[name], weights()[name]) for name in NEEDED)
    for output, words in (("w.txt", "unknown format `.txt`"), ("no/w.pt", "No such file or directory"),
                          (f"{'n' * 300}.pt", "File name too long")):  # fmt: skip
        result = run("weights", "convert", net, path, "-o", tmp_path / output)
        assert (result.exit_code, result.stderr[:12]) == (1, "error[E0421]")
        assert words in result.stderr
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_convert_writes_nothing_that_does_not_fit(run, tmp_path: Path, net: Path) -> None:
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"before")
    for made, code in (
        (weights(fc__bias=None), "E0402"), (weights(x__y=torch.ones(1)), "E0403"),
        (weights(fc__bias=torch.ones(5)), "E0404"),
        (weights(fc__bias=torch.full((4,), float("nan"))), "E0406"),
    ):  # fmt: skip
        path = saved(tmp_path / "w.pt", made)
        (only,) = answer(run, "convert", net, path, "-o", out, "--force", code=1)["diagnostics"]
        assert only["code"] == code
    assert out.read_bytes() == b"before"


def test_a_prefix_that_nothing_has(run, tmp_path: Path, net: Path) -> None:
    path = saved(tmp_path / "w.pt", weights())
    (only,) = answer(run, "check", net, path, "--prefix", "model.", code=1)["diagnostics"]
    assert (only["code"], only["message"]) == (
        "E0407",
        f"no tensor of {path} has a name that begins with `model.`; they begin with `conv1.`, `bn1.`, `fc.`",
    )


# --- the same door elsewhere ---------------------------------------------------------------------


def test_run_and_build_take_what_check_takes(run, tmp_path: Path, net: Path) -> None:
    path = saved(tmp_path / "w.pt", {f"module.{n}": t for n, t in weights(aux__weight=torch.ones(3)).items()})
    result = run("run", net, "--weights", path)
    assert (result.exit_code, "--allow-extra" in result.stderr) == (1, True)
    result = run("run", net, "--weights", path, "--allow-extra")
    assert result.exit_code == 0, result.stderr
    assert f"{path}: every name begins with `module.`, which is left out\n" in result.stderr
    result = run("build", net, "-o", tmp_path / "built", "--target", "cpu", "--weights", path, "--allow-extra")
    assert result.exit_code == 0, result.stderr
    assert f"{path}: every name begins with `module.`, which is left out\n" in result.stderr


def test_compile_takes_what_check_takes(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", weights(aux__weight=torch.ones(3)))
    with pytest.raises(CnnError, match="1 tensor that the network does not"):
        cnndsl.compile(NET, weights=path, device="cpu")
    net = cnndsl.compile(NET, weights=path, extra="ignore", device="cpu")
    assert torch.equal(net.state_dict()["fc.bias"], weights()["fc.bias"])
    assert net.load_weights(weights(aux__weight=torch.ones(3)), extra="ignore") == ()
    with pytest.raises(CnnError, match="extra weights are not 'skip'"):
        net.load_weights(path, extra="skip")  # type: ignore[arg-type]


def test_a_bias_is_never_extra(tmp_path: Path) -> None:
    """Without it, the layer would compute other numbers."""
    path = saved(tmp_path / "w.pt", weights(conv1__bias=torch.ones(6), aux__weight=torch.ones(3)))
    with pytest.raises(CnnError, match="1 tensor that the network does not"):
        cnndsl.compile(NET, weights=path, extra="ignore", device="cpu")


def test_help(run) -> None:
    for name in ("show", "check", "convert"):
        assert f"    cnndsl weights {name} " in run("weights", name, "--help").stdout
        assert f"  {name}  " in run("weights", "--help").stdout
    result = run("weights", "chekc")
    assert (result.exit_code, "did you mean 'check'?" in result.stderr) == (2, True)
    assert run("weights", "net.cnn").exit_code == 2
