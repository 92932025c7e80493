"""``cnndsl draw``."""

import io
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image


def nodes(text: str) -> list[str]:
    return [g.get("data-node") for g in ET.fromstring(text).iter() if g.get("class") == "node"]


def test_svg_to_standard_output(run, tiny: Path) -> None:
    result = run("draw", tiny)
    assert (result.exit_code, result.stderr) == (0, "")
    assert nodes(result.stdout) == ["image", "conv1", "relu1", "pool1", "fc"]
    assert result.stdout == run("draw", tiny, "-o", "-").stdout
    typed = run("draw", "-", input=tiny.read_text(encoding="utf-8")).stdout
    assert result.stdout == typed.replace("&lt;stdin&gt;", str(tiny))


def test_a_file_by_its_suffix(run, tiny: Path, tmp_path: Path) -> None:
    for name in ("net.svg", "net.PNG"):
        path = tmp_path / name
        path.write_text("old", encoding="utf-8")
        result = run("draw", tiny, "--output", path)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{path} written\n")
    assert nodes((tmp_path / "net.svg").read_text(encoding="utf-8"))[0] == "image"
    assert (tmp_path / "net.PNG").read_bytes()[:4] == b"\x89PNG"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.PNG", "net.svg", "tiny.cnn"]


def test_the_format_by_its_option(run, tiny: Path, tmp_path: Path) -> None:
    assert run("draw", tiny, "--format", "png", "-o", tmp_path / "a.svg").exit_code == 0
    assert (tmp_path / "a.svg").read_bytes()[:4] == b"\x89PNG"
    out = run("draw", tiny, "--format", "png")
    assert Image.open(io.BytesIO(out.stdout_bytes)).format == "PNG"


def test_views_and_directions(run, tiny: Path) -> None:
    assert nodes(run("draw", tiny, "--kernels").stdout) == ["image", "conv1", "pool1", "fc"]
    assert run("draw", tiny, "--layers").stdout == run("draw", tiny).stdout

    def size(*options: str) -> tuple[int, int]:
        tree = ET.fromstring(run("draw", tiny, *options).stdout)
        return int(tree.get("width")), int(tree.get("height"))

    assert size()[0] < size()[1]
    assert size("--direction", "right")[0] > size("--direction", "right")[1]


def test_settings_and_wrapping(run, examples: Path) -> None:
    result = run("draw", examples / "vgg19.cnn", "--set", "classes=10")
    assert "dense(10)" in result.stdout
    assert "VGG19(classes=10)" in result.stdout
    assert run("draw", examples / "vgg19.cnn", "--no-wrap").stdout != run("draw", examples / "vgg19.cnn").stdout


def test_a_file_with_several_networks(run, tmp_path: Path) -> None:
    path = tmp_path / "two.cnn"
    path.write_text("network A { input x [1] relu }\nnetwork B { input x [1] tanh }\n", encoding="utf-8")
    assert nodes(run("draw", f"{path}:B").stdout) == ["x", "tanh1"]
    assert "E0213" in run("draw", path).stderr


@pytest.mark.parametrize(("output", "hint"), [
    ("net.jpg", "write net.svg"), ("net", "write net.svg, or say --format svg"), ("net.svg.txt", "write net.svg.svg"),
])  # fmt: skip
def test_an_unknown_format(run, tiny: Path, output: str, hint: str) -> None:
    result = run("draw", tiny, "-o", output)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error[E0421]: cannot write {output}: pictures are written as .svg or .png\n  = help: {hint}\n"
    )
    assert not Path(output).exists()


def test_a_place_that_cannot_be_written(run, tiny: Path, tmp_path: Path) -> None:
    result = run("draw", tiny, "-o", tmp_path / "none" / "net.svg")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error[E0421]: cannot write {tmp_path}/none/net.svg: No such file or directory\n"
    folder = tmp_path / "folder.svg"
    folder.mkdir()
    assert "it is a folder" in run("draw", tiny, "-o", folder).stderr
    assert "null byte" in run("draw", tiny, "-o", f"{tmp_path}/a\0b.svg").stderr
    (tmp_path / "link.svg").symlink_to(tmp_path / "real.svg")
    assert run("draw", tiny, "-o", tmp_path / "link.svg").exit_code == 0
    assert (tmp_path / "link.svg").is_symlink()
    assert (tmp_path / "real.svg").is_file()


def test_mistakes_in_the_network(run, tmp_path: Path) -> None:
    path = tmp_path / "wrong.cnn"
    path.write_text("network N { input x [8x8x3] conv(4, 9x9) rleu }\n", encoding="utf-8")
    result = run("draw", path, "-o", tmp_path / "net.svg")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "E0201" in result.stderr
    assert not (tmp_path / "net.svg").exists()
    assert "E0110" in run("draw", tmp_path / "none.cnn").stderr
    assert run("draw", path, "--direction", "up").exit_code == 2


@pytest.mark.parametrize(("kind", "slow"), [("svg", {"torch", "triton", "numpy", "PIL"}), ("png", {"torch", "triton"})])
def test_it_needs_no_torch(tiny: Path, kind: str, slow: set[str]) -> None:
    program = f"""
import sys
from cnndsl.cli import cli
cli.main(["draw", {str(tiny)!r}, "--format", {kind!r}], standalone_mode=False)
assert not {slow!r} & set(sys.modules), {slow!r} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
