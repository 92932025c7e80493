"""``cnndsl eject``, and ``cnndsl run --kernel``."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from here import Checks

from cnndsl.runtime import replaced

NET = """network Net(width = 4) {
    input image [8x7x3]
    conv1: conv(width, 3x3, pad=1, bias=false) -> batchnorm -> relu
    dropout
    fork: concat { { left: conv(4, 1x1) } { right: conv(4, 3x3, pad=1) } }
    sum: add { {} { relu } { tanh } { silu } { elu } }
    last: conv(2, 1x1) -> sigmoid
}
"""
HERE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = Path("net.cnn")
    path.write_text(NET, encoding="utf-8")
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """Checks of edited kernels in this process."""
    checks = Checks()
    monkeypatch.setattr(replaced, "subprocess", SimpleNamespace(run=checks.run, DEVNULL=subprocess.DEVNULL))
    return checks


def test_a_file_and_back(run, net: Path, here: Checks) -> None:
    result = run("eject", net, "conv1", "-o", "mine.py")
    assert (result.exit_code, result.stdout) == (0, "")
    where = "Triton's interpreter" if HERE == "cpu" else "sm_"
    first, *commands = result.stderr.splitlines()
    assert first.startswith(f"conv1 + batchnorm1 + relu1 for {where}")
    assert first.endswith(" in fp32 written to mine.py")
    assert commands == ["  python mine.py", "  cnndsl run net.cnn --kernel conv1=mine.py"]
    plain = run("run", net, "--seed", 4, "--json")
    result = run("run", net, "--seed", 4, "--kernel", "conv1=mine.py", "--verify", "--json")
    assert result.exit_code == 0, result.stderr
    assert "edited kernels, each compared with torch: conv1" in result.stderr
    found = json.loads(result.stdout)
    assert found["kernels"] == {"conv1": "mine.py"}
    assert found["outputs"] == json.loads(plain.stdout)["outputs"]
    assert here.sizes == [[[1, 2]]]


def test_the_help_in_the_file_is_true(run, net: Path) -> None:
    """What a file says of itself can be typed in."""
    run("eject", net, "last", "-o", "mine.py", "--force")
    lines = Path("mine.py").read_text(encoding="utf-8").splitlines()
    python, again = (line[6:] for line in lines if line.startswith(("#     python", "#     cnndsl run")))
    assert again == "cnndsl run net.cnn --kernel last=mine.py"
    done = subprocess.run([sys.executable, *python.split()[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("last + sigmoid1 of Net, n = 4, fp32, ")


def test_a_wrong_one_is_refused(run, net: Path, here: Checks) -> None:
    run("eject", net, "conv1", "-o", "mine.py")
    text = Path("mine.py").read_text(encoding="utf-8")
    Path("mine.py").write_text(text.replace("tl.where(x < 0.0, 0.0, x)", "x"), encoding="utf-8")
    result = run("run", net, "--kernel", "conv1=mine.py")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error[E0622]: mine.py does not compute what conv1 does, with 1 picture" in result.stderr


def test_layer_by_layer_says_which_kernel_ran(run, net: Path, here: Checks) -> None:
    run("eject", net, "right", "-o", "mine.py")
    result = run("run", net, "--kernel", "right=mine.py", "--verify-layers")
    assert result.exit_code == 0, result.stderr
    said = "layer by layer, values lie apart: there right by the generated kernel, not the edited one"
    assert said in result.stderr
    assert said not in run("run", net, "--kernel", "right=mine.py", "--verify").stderr


def test_to_standard_output(run, net: Path) -> None:
    result = run("eject", net, 3, "-o", "-", "--target", "sm_90", "--dtype", "fp16", "--batch", 16, "--set", "width=6")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "For sm_90 in fp16, tiles for a batch of 16;" in result.stdout
    assert "cnndsl run net.cnn --dtype fp16 --set width=6 --kernel conv1=my_kernel.py" in result.stdout
    keywords = 'dtype="fp16", set={"width": 6}, kernels={"conv1": "my_kernel.py"}'
    assert f'cnndsl.compile("net.cnn", {keywords})' in result.stdout
    assert '"shape": (6, 8, 7)' in result.stdout
    assert result.stdout == run(
        "eject", net, "relu1", "-o", "-", "--target", "sm_90", "--dtype", "fp16", "--batch", 16, "--set", "width=6"
    ).stdout.replace("relu1=my_kernel.py", "conv1=my_kernel.py").replace('"relu1": "my', '"conv1": "my')


def test_files_that_are_there(run, net: Path) -> None:
    Path("mine.py").write_text("precious", encoding="utf-8")
    result = run("eject", net, "conv1", "-o", "mine.py")
    assert result.exit_code == 1
    assert result.stderr == "error[E0421]: mine.py is there already\n  = help: --force writes over it\n"
    assert Path("mine.py").read_text(encoding="utf-8") == "precious"
    assert run("eject", net, "conv1", "-o", "mine.py", "--force").exit_code == 0
    assert "precious" not in Path("mine.py").read_text(encoding="utf-8")
    result = run("eject", net, "conv1", "-o", "nowhere/mine.py")
    assert "error[E0421]: cannot write nowhere/mine.py: No such file or directory" in result.stderr


@pytest.mark.parametrize(("layer", "code", "said"), [
    ("conv9", "E0707", "did you mean `conv1`?"),
    ("99", "E0707", "net.cnn has 8 lines, and no line 99"),
    ("dropout1", "E0623", "dropout1 (dropout): does nothing at inference"),
    ("4", "E0623", "4 has no kernel of its own"),
    ("fork", "E0623", "fork (concat): its inputs are written side by side into one buffer, where it lies"),
    ("image", "E0623", "image (input): an input: the tensor that the caller passes"),
    ("5", "E0623", "5 is not one kernel: 2 launches compute it\n  = help: name one of its layers: left and right"),
    ("sum", "E0623", "sum has no kernel of its own: 2 launches compute it, each on the result of the one before"),
])
def test_layers_without_a_kernel(run, net: Path, layer: str, code: str, said: str) -> None:
    result = run("eject", net, layer, "-o", "mine.py")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"error[{code}]" in result.stderr
    assert said in result.stderr
    assert not Path("mine.py").exists()


def test_shared_kernels(run, net: Path) -> None:
    """By the kernel's name, of the layers that share it the first."""
    text = "network T { input x [4x4x3] conv(8, 1) -> relu s: { conv(8, 1) conv(8, 1) } conv(8, 1) -> relu }"
    net.write_text(text, encoding="utf-8")
    result = run("eject", net, "s_conv1", "-o", "mine.py")
    assert result.stderr.startswith("s.conv1 for ")
    assert "--kernel s.conv1=mine.py" in result.stderr


def test_targets(run, net: Path) -> None:
    result = run("eject", net, "conv1", "-o", "mine.py", "--target", "sm_91")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error[E0703]: there is no target `sm_91`")
    assert run("eject", net, "conv1").exit_code == 2


@pytest.mark.parametrize(("options", "said"), [
    (["--kernel", "conv1"], "cannot read --kernel conv1: write LAYER=FILE, as in --kernel conv2=my_conv.py"),
    (["--kernel", "=a.py"], "cannot read --kernel =a.py"),
    (["--kernel", "a=a.py", "--kernel", "a=b.py"], "--kernel gives a two files"),
])
def test_the_option_of_run(run, net: Path, options: list[str], said: str) -> None:
    result = run("run", net, *options)
    assert result.exit_code == 2
    assert said in result.stderr


def test_files_that_do_not_fit(run, net: Path) -> None:
    result = run("run", net, "--kernel", "conv1=mine.py", "--kernel", "conv7=mine.py", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)["diagnostics"]
    assert [d["code"] for d in found] == ["E0621", "E0707"]
