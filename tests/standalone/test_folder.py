"""What a build leaves on the disk, and what it does to what was there."""

import json
import os
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from builds import EVERY, SILENT, TINY, build_in, graph_of

from cnndsl import targets
from cnndsl.codegen.store import write_package
from cnndsl.errors import CnnError, Diagnostic
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.runtime.executor import Network
from cnndsl.standalone import folder as folders
from cnndsl.standalone.build import Options, build

OTHER = TINY.replace("conv(4, 3x3) -> relu", "first: conv(4, 3x3)")


def contents(folder: Path) -> dict[str, bytes]:
    """The files by their places, but for what Python leaves beside the modules that it has imported."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.parent.name != "__pycache__")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def mistake(folder: Path, text: str = TINY, **options: object) -> Diagnostic:
    with pytest.raises(CnnError) as caught:
        build_in(folder, text, **options)
    (only,) = caught.value.diagnostics
    return only


# --- contents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["sm_90", "interpreter"])
def test_packages_are_those_of_the_cache(every: Path, tmp_path: Path, target: str) -> None:
    groups = fuse(simplify(graph_of(EVERY)))
    path = write_package(plan(groups, target=targets.get(target), dtype="fp16"), folder=tmp_path)
    own = {name: text for name, text in contents(every / target).items() if not name.startswith("binaries/")}
    assert own == contents(path.parent)
    other = write_package(plan(groups, target=targets.get(target), dtype="fp16", batch=128), folder=tmp_path)
    assert own != contents(other.parent)


def test_weights_are_those_that_the_kernels_read(every: Path) -> None:
    net = Network(graph_of(EVERY), target=targets.get("interpreter"), dtype="fp16", device=torch.device("cpu"))
    net.draw_weights(7)
    packed = net.packed_weights()
    saved = safetensors.torch.load_file(every / "weights.safetensors")
    assert set(saved) == set(packed)
    assert {t.dtype for t in saved.values()} == {torch.float16, torch.float32}
    for name, tensor in packed.items():
        assert saved[name].dtype == tensor.dtype
        assert torch.equal(saved[name], tensor), name
    with safetensors.safe_open(every / "weights.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["network"], metadata["dtype"]) == ("Every", "fp16")


def test_two_builds_have_the_same_bytes(every: Path, tmp_path: Path) -> None:
    """But for the name of the folder, which the README tells; another seed is seen."""
    build_in(tmp_path / "every", EVERY, targets=("sm_90",), dtype="fp16", seed=7)
    again = contents(tmp_path / "every")
    first = contents(every)
    assert first == again
    build_in(tmp_path / "every", EVERY, targets=("sm_90",), dtype="fp16", seed=8)
    changed = contents(tmp_path / "every")
    assert [name for name in again if changed[name] != again[name]] == ["weights.safetensors"]


def test_the_program_is_copied_as_it_stands(every: Path) -> None:
    source = Path(folders.__file__).parents[1] / "portable"
    files = [path.relative_to(source) for path in source.rglob("*.py")]
    assert len(files) >= 10
    assert all((every / path).read_bytes() == (source / path).read_bytes() for path in files)


def test_what_the_program_is_told(every: Path) -> None:
    about = json.loads((every / "about.json").read_text(encoding="utf-8"))
    assert about["inputs"][0]["shape"] == [16, 16, 3]
    assert about["inputs"][0]["picture"]["mean"] == [0.485, 0.456, 0.406]
    values = {output["name"]: output["values"] for output in about["outputs"]}
    assert values == {"main": "probability", "map": "score", "mean": "sigmoid", "flat": "score"}
    shared = {target["name"]: target["shared_memory_bytes"] for target in about["targets"]}
    assert list(shared) == ["sm_90", "interpreter"]
    descriptions = [json.loads(path.read_bytes()) for path in (every / "sm_90" / "binaries").glob("*.json")]
    assert 0 < shared["sm_90"] == max(each["shared"] for each in descriptions)
    assert set(contents(every)) - {"about.json"} == set(about["files"])


def test_readme(every: Path) -> None:
    readme = (every / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if line.startswith("| image"))
    assert row == (
        "| image | [n, 3, 16, 16] | resized to cover 16x16, cropped at its centre; RGB from 0 to 1; "
        "less 0.485, 0.456, 0.406; divided by 0.229, 0.224, 0.225 |"
    )
    assert "| main | [n, 5] |" in readme
    assert "| map | [n, 24, 2, 2] |" in readme
    assert "kernels for sm_90, Triton's interpreter" in readme
    assert "**Its weights are random numbers**" in readme
    for line in readme.splitlines():
        if line.startswith("| `"):
            names = line.split("`")[1].split(", ")
            assert all((every / name).exists() for name in names), names


def test_readme_of_other_networks(tmp_path: Path) -> None:
    build_in(tmp_path / "a", "network A { input x [4x4x3] (resize=6, crop=4, order=bgr, range=255, mean=104) relu }")
    readme = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert "resized to a shorter side of 6; cropped at its centre; BGR from 0 to 255; less 104 |" in readme
    weights = "random numbers"
    assert weights not in readme  # it has no weights
    build_in(tmp_path / "b", "network B { input a [4x4x2] input v [7] output side { relu } dense(2) }".replace(
        "output side { relu } dense(2)", "add(@a) output v2 { relu } relu").replace("[7]", "[4x4x2]"))
    readme = (tmp_path / "b" / "README.md").read_text(encoding="utf-8")
    assert "python b a=a.safetensors v=v.safetensors" in readme
    assert "y = net(x0, x1)  # a dict of tensors by output" in readme
    assert "| a | [n, 2, 4, 4] | not taken |" in readme


# --- what was there ----------------------------------------------------------------------------------


def test_an_earlier_build_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er" / "net"
    build_in(folder, OTHER)
    (folder / "runtime" / "__pycache__").mkdir()
    (folder / "runtime" / "__pycache__" / "about.cpython-311.pyc").write_bytes(b"")
    assert (folder / "interpreter" / "kernels" / "first.py").exists()
    build_in(folder, TINY)
    assert not (folder / "interpreter" / "kernels" / "first.py").exists()
    build_in(tmp_path / "fresh" / "net", TINY)
    assert contents(folder) == contents(tmp_path / "fresh" / "net")
    assert [p.name for p in folder.parent.iterdir()] == ["net"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    build_in(tmp_path / "net", TINY)
    assert (tmp_path / "net" / "about.json").exists()


def test_a_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "net").symlink_to("real")
    build_in(tmp_path / "net", TINY)
    assert (tmp_path / "net").is_symlink()
    assert (tmp_path / "real" / "about.json").exists()


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "runtime").mkdir(parents=True)
    (folder / "cat.png").write_bytes(b"cat")
    (folder / "runtime" / "notes.txt").write_bytes(b"notes")
    (folder / "main.py").write_bytes(b"mine")
    before = contents(folder)
    found = mistake(folder)
    assert (found.code, found.message) == (
        "E0422", f"cannot build into {folder}: it holds files that no build wrote, such as `cat.png`",
    )
    assert found.help[1].startswith("--force")
    assert contents(folder) == before
    build_in(folder, OTHER, force=True)
    build_in(folder, TINY, force=True)
    after = contents(folder)
    assert (after.pop("cat.png"), after.pop("runtime/notes.txt")) == (b"cat", b"notes")
    build_in(tmp_path / "fresh" / "photos", TINY)
    assert after == contents(tmp_path / "fresh" / "photos")


def test_an_earlier_build_with_files_of_others(tmp_path: Path) -> None:
    build_in(tmp_path / "net", TINY)
    (tmp_path / "net" / "out.npz").write_bytes(b"results")
    assert mistake(tmp_path / "net").code == "E0422"
    (tmp_path / "net" / "out.npz").unlink()
    (tmp_path / "net" / "data").symlink_to(tmp_path)
    assert "`data`" in mistake(tmp_path / "net").message
    (tmp_path / "net" / "data").unlink()
    build_in(tmp_path / "net", TINY)


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"files": ["a.txt"]}', '{"made_by": 1, "files": 3}'])
def test_another_about_json_is_no_mark(tmp_path: Path, text: str) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "about.json").write_text(text, encoding="utf-8")
    (tmp_path / "net" / "a.txt").write_bytes(b"")
    assert mistake(tmp_path / "net").code == "E0422"


def test_a_list_that_leads_elsewhere_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"")
    folder = tmp_path / "net"
    build_in(folder, TINY)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    about["files"] += ["../precious", str(tmp_path / "precious")]
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / "mine.txt").write_bytes(b"")
    build_in(folder, TINY, force=True)
    assert (tmp_path / "precious").exists()


def test_where_no_folder_can_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    found = mistake(file)
    assert (found.code, found.message) == ("E0422", f"cannot build into {file}: it is a file")
    found = mistake(file / "deep" / "er")
    assert (found.code, found.message) == ("E0421", f"cannot write {file}/deep/er: {file} is a file")
    assert file.read_bytes() == b"x"


def test_names_that_the_file_system_refuses(tmp_path: Path) -> None:
    assert mistake(tmp_path / ("n" * 300)).code == "E0421"
    assert mistake(tmp_path / "a\0b").code == "E0421"


@pytest.mark.parametrize("at", [0, 1])
def test_an_interruption_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """While the files are written, and between the two moves at the end."""
    build_in(tmp_path / "net", OTHER)
    before = contents(tmp_path / "net")
    calls: list[str] = []
    original = (Path.write_bytes, Path.rename)[at]

    def interrupted(self: Path, other: object) -> object:
        calls.append(self.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, other)

    monkeypatch.setattr(Path, ("write_bytes", "rename")[at], interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_in(tmp_path / "net", TINY)
    monkeypatch.undo()
    assert contents(tmp_path / "net") == before
    assert os.listdir(tmp_path) == ["net"]


def test_an_interruption_right_after_the_old_build_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_in(tmp_path / "net", OTHER)
    before = contents(tmp_path / "net")
    rename = Path.rename

    def interrupted(self: Path, other: Path) -> None:
        rename(self, other)
        if self == tmp_path / "net":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_in(tmp_path / "net", TINY)
    assert contents(tmp_path / "net") == before
    assert os.listdir(tmp_path) == ["net"]


def test_what_is_wrong_is_said_before_the_work(tmp_path: Path) -> None:
    """A folder that is taken, before weights are looked for."""
    (tmp_path / "net").write_bytes(b"")
    options = Options(folder=tmp_path / "net", targets=(), weights="missing.pt")
    with pytest.raises(CnnError) as caught:
        build(graph_of(TINY), options, SILENT)
    assert [d.code for d in caught.value.diagnostics] == ["E0422"]
