"""A build runs where cnndsl is not, and gives the bits that cnndsl gives."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from builds import EVERY, TINY, Python, build_in
from PIL import Image

REFERENCE = """
import sys, torch, cnndsl
from cnndsl.cli.run_inputs import read
text, tensor, picture, result = sys.argv[1:]
net = cnndsl.compile(text, device="cpu", dtype="fp16", seed=7)
torch.save({name: net(read(net.graph, [path]).tensors[0].half()) for name, path in
            {"tensor": tensor, "picture": picture}.items()}, result)
"""

ALONE = """
import importlib.util, sys
for name in ("cnndsl", "safetensors", "click", "lark"):
    assert importlib.util.find_spec(name) is None, name
import every, changed
assert "torch" not in sys.modules
import torch
x = torch.load("x.pt").half()
net = every.load()
assert (str(net.device), net.dtype, net.target.name) == ("cpu", torch.float16, "interpreter")
parts = [net(each[None]) for each in x]
joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
nhwc = net(x.to(memory_format=torch.channels_last))
torch.save({"tensor": net(x), "one by one": joined, "nhwc": nhwc, "changed": changed.load("cpu")(x)}, "alone.pt")
empty = net(x[:0])
assert {name: tuple(y.shape) for name, y in empty.items()} == {n: (0, *y.shape[1:]) for n, y in joined.items()}
for wrong in (x.float(), x[:, :2], x[0], x.to("meta"), [x]):
    try:
        net(wrong)
    except ValueError as error:
        print(type(error).__name__, str(error).splitlines()[0])
"""


@pytest.fixture(scope="module")
def place(every: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `every`, `changed` (a kernel of which differs in one character), and their inputs."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "every").symlink_to(every)
    shutil.copytree(every, folder / "changed")
    kernel = folder / "changed" / "interpreter" / "kernels" / "conv1.py"
    text = kernel.read_text(encoding="utf-8")
    assert text.count("h = p - 1\n") == 1
    kernel.write_text(text.replace("h = p - 1\n", "h = p - 2\n"), encoding="utf-8")
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.save(x, folder / "x.pt")
    np.save(folder / "x.npy", x.numpy())
    pixels = np.random.default_rng(0).integers(0, 256, (31, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "cat.png")
    return folder


@pytest.fixture(scope="module")
def reference(place: Path) -> dict[str, dict[str, torch.Tensor]]:
    """What cnndsl gives, in a process of its own: Triton may be set up for a GPU in this one."""
    files = [place / name for name in ("x.npy", "cat.png", "reference.pt")]
    subprocess.run([sys.executable, "-c", REFERENCE, EVERY, *files], check=True)
    return torch.load(files[-1])


def bits(outputs: dict[str, torch.Tensor]) -> dict[str, list[int]]:
    """Outputs by name as integers: NaN and zeros of either sign are told apart."""
    assert all(y.dtype == torch.float16 for y in outputs.values())
    return {name: y.contiguous().view(torch.int16).flatten().tolist() for name, y in outputs.items()}


def test_same_bits_from_python(place: Path, python: Python, reference) -> None:
    said = python("-c", ALONE, cwd=place).stdout
    alone = torch.load(place / "alone.pt")
    expected = bits(reference["tensor"])
    assert set(expected) == {"main", "map", "mean", "flat"}
    assert all(len(set(values)) > 3 for values in expected.values())
    assert bits(alone["tensor"]) == expected
    assert bits(alone["one by one"]) == expected
    assert bits(alone["nhwc"]) == expected
    changed = bits(alone["changed"])
    assert all(changed[name] != expected[name] for name in expected)
    assert said.splitlines() == [
        "Unfit input `image` is torch.float32 on cpu, the network is torch.float16 on cpu",
        "Unfit input `image` is [n, 3, 16, 16], got [3, 2, 16, 16]",
        "Unfit input `image` is [n, 3, 16, 16], got [3, 16, 16]",
        "Unfit input `image` is torch.float16 on meta, the network is torch.float16 on cpu",
        "Unfit input `image` must be a dense torch tensor",
    ]


def test_same_bits_from_a_picture(place: Path, python: Python, reference) -> None:
    done = python("every", "cat.png", "--save", "picture.safetensors", "--json", "--top", "2", cwd=place)
    saved = safetensors.torch.load_file(place / "picture.safetensors")
    assert bits(saved) == bits(reference["picture"])
    assert "Every in fp16 by Triton's interpreter on the CPU: 1 picture in" in done.stderr
    found = json.loads(done.stdout)
    assert (found["network"], found["target"], found["random_input"]) == ("Every", "interpreter", False)
    outputs = {result["output"]: result for result in found["outputs"]}
    best = reference["picture"]["main"][0].float().topk(2)
    assert outputs["main"]["top"] == [
        {"class": i, "probability": v} for i, v in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    assert outputs["map"]["max"] == reference["picture"]["map"].float().max().item()


def test_same_bits_from_a_file_of_tensors(place: Path, python: Python, reference) -> None:
    """A batch, with ``python -m``."""
    said = python("-m", "every", "x.npy", "--save", "tensor.pt", "--device", "cpu", cwd=place).stdout.splitlines()
    assert bits(torch.load(place / "tensor.pt")) == bits(reference["tensor"])
    best = reference["tensor"]["main"].argmax(1).tolist()
    titles = [f"x.npy[{i}], output main" for i in range(3)]
    assert said[:2] == [titles[0], "  class  probability"]
    assert [said[said.index(title) + 2].split()[0] for title in titles] == [str(i) for i in best]


@pytest.mark.parametrize("name", ["my net.v2", "class", "torch", "a'b$HOME`c`", "ünï", "-x", "%(prog)s", "{0}"])
def test_any_name_of_a_folder(tmp_path: Path, python: Python, name: str) -> None:
    build_in(tmp_path / name, TINY)
    for program in (tmp_path / name, f"./{name}", f"./{name}/main.py"):
        assert "Run Tiny in fp32, compiled by cnndsl for interpreter." in python(program, "--help", cwd=tmp_path).stdout
    readme = (tmp_path / name / "README.md").read_text(encoding="utf-8")
    assert f"python -m {name}" not in readme
    commands = [line for line in readme.splitlines() if line.startswith("python ")]
    # What the README says can be typed as it stands.
    shell = subprocess.run(
        ["bash", "-c", commands[0].replace("python", sys.executable, 1).replace(" cat.png", " --help")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )
    assert shell.returncode == 0, (commands[0], shell.stderr)
    assert "Run Tiny" in shell.stdout


def test_a_name_that_can_be_imported(tmp_path: Path, python: Python) -> None:
    build_in(tmp_path / "tiny_1", TINY)
    readme = (tmp_path / "tiny_1" / "README.md").read_text(encoding="utf-8")
    assert "python -m tiny_1 cat.png" in readme
    program = readme.split("```python\n")[1].split("```")[0]
    python("-c", program + "assert tuple(y.shape) == (8, 3)", cwd=tmp_path)
