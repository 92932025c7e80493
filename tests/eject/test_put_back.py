"""Edited kernels in the place of generated ones: right ones run, wrong ones never do."""

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from edited import NET, PAIR, compiled, refused
from here import Checks
from kinds import KINDS, all_facts, graph_of, made, write
from small import refusal

from cnndsl import CnnError
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.runtime import replaced
from cnndsl.runtime.device import choose
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import TOLERANCES, relative_error, verify
from cnndsl.targets import get

RELU = "tl.where(x < 0.0, 0.0, x)"


@pytest.fixture
def file(tmp_path: Path, device: str) -> Any:
    """``file("b", old, new)``: the ejected file of a layer, with a piece of its text changed."""

    def make(layer: str, old: str = "", new: str = "", *, text: str = NET, dtype: Any = "fp32") -> Path:
        path = write(tmp_path, text, layer, target=choose(device)[1].name, dtype=dtype)
        source = path.read_text(encoding="utf-8")
        assert old in source
        path.write_text(source.replace(old, new) if old else source, encoding="utf-8")
        return path

    return make


def images(net: Network, n: int, *, seed: int = 0) -> torch.Tensor:
    x = torch.randn(n, 3, 9, 8, generator=torch.Generator().manual_seed(seed))
    return x.to(net.device, net.dtype)


def source_of(net: Network) -> str:
    return net.source_path.read_text(encoding="utf-8")


# --- right ones ---------------------------------------------------------------------------------------------------


def test_a_comment_changes_no_bit(file: Any, device: str, here: Checks) -> None:
    plain = compiled(device)
    path = file("b", "    acc =", "    # mine\n    acc =")
    net = compiled(device, kernels={"b": path})
    assert "b_edited.launch(" in source_of(net)
    assert (net.source_path.parent / "kernels" / "b_edited.py").read_text() == path.read_text()
    assert net.source_path != plain.source_path
    for n in (1, 3):
        assert torch.equal(net(images(net, n)), plain(images(plain, n)))
    # The generated kernel has other tiles there.
    assert relative_error(net(images(net, 20)), plain(images(plain, 20))) < 1e-6
    assert here.sizes == [[[1, 2]], [[3]], [[20]]]
    net(images(net, 3, seed=1))
    net(images(net, 2))
    assert len(here.sizes) == 3  # sizes that are known to be right


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_other_tiles_in_every_kind_of_place(file: Any, device: str, here: Checks, dtype: Any) -> None:
    """A layer that reads the caller's tensor, a slice of a concat, a residual, an LRN with its pool, a dense layer."""
    kernels = {layer: file(layer, "num_warps=", "num_warps=2 * ", dtype=dtype)
               for layer in ("conv1", "left", "c", "lrn1", "fc")}
    net = compiled(device, kernels=kernels, dtype=dtype)
    assert all(f"{layer}_edited.launch(" in source_of(net) for layer in kernels)
    x = images(net, 2).contiguous(memory_format=torch.channels_last)
    (check,) = verify(net, [x])
    assert check.error <= TOLERANCES[dtype]
    assert here.sizes == [[[1, 2]] * 5]


def test_smaller_tiles(file: Any, device: str, here: Checks) -> None:
    if device != "cpu":
        pytest.skip("the tile is the interpreter's")
    tiles = {"tl.arange(0, 128)": "tl.arange(0, 64)", "(triton.cdiv(n * 72, 128)": "(triton.cdiv(n * 72, 64)",
             "pid * 128": "pid * 64",
             "tl.zeros((128,": "tl.zeros((64,"}
    path = file("b", text=PAIR)
    text = path.read_text()
    assert all(text.count(old) == 1 for old in tiles), text
    for old, new in tiles.items():
        text = text.replace(old, new)
    path.write_text(text)
    net = compiled(device, PAIR, kernels={"b": path})
    assert verify(net, [images(net, 3)])[0].ok


def test_one_of_layers_that_share_a_kernel(file: Any, device: str, here: Checks) -> None:
    text = "network T { input x [9x8x3] conv(16, 1) -> relu p: conv(16, 3, pad=1) q: conv(16, 3, pad=1) }"
    path = file("q", text=text)
    net = compiled(device, text, kernels={"q": path})
    launches = [line.strip() for line in source_of(net).splitlines() if ".launch(" in line]
    assert [line.split(".")[0] for line in launches] == ["conv1", "p", "q_edited"]
    assert verify(net, [images(net, 2)])[0].ok
    # A file of the one fits the other, whose tensors lie alike.
    both = compiled(device, text, kernels={"q": path, "p": path})
    assert verify(both, [images(both, 2)])[0].ok


def test_layer_by_layer(file: Any, device: str, here: Checks) -> None:
    """A slice of a concat has memory of its own there: its edited kernel does not fit, and that is said."""
    net = compiled(device, kernels={"left": file("left"), "b": file("b")})
    assert net.not_traced == ("left",)
    checks = verify(net, [images(net, 2)], layers=True)
    assert all(check.ok for check in checks)
    traced = net._packages[1, True][1].read_text(encoding="utf-8")
    assert "left.launch(" in traced
    assert "b_edited.launch(" in traced
    assert compiled(device, kernels={"b": file("b")}).not_traced == ()


def test_weights_of_the_network(file: Any, device: str, here: Checks) -> None:
    """The check draws weights of its own; the network's are used in the network, and may change."""
    net = compiled(device, PAIR, kernels={"b": file("b", text=PAIR)})
    before = net(images(net, 2))
    with torch.no_grad():
        net.get_parameter("b.weight").mul_(2)
    after = net(images(net, 2))
    assert not torch.equal(before, after)
    assert relative_error(after, net.reference(images(net, 2).double())) <= 1e-5


def test_the_file_is_read_once(file: Any, device: str, here: Checks) -> None:
    path = file("b", "    acc =", "    # once\n    acc =", text=PAIR)
    net = compiled(device, PAIR, kernels={"b": path})
    path.write_text("nonsense")
    net(images(net, 5))
    assert here.sizes == [[[1, 2]], [[5]]]


def test_what_was_right_is_noted(file: Any, device: str, here: Checks) -> None:
    path = file("b", "    acc =", "    # noted\n    acc =", text=PAIR)
    compiled(device, PAIR, kernels={"b": path})
    compiled(device, PAIR, kernels={"b": path})
    assert len(here.sizes) == 1
    path.write_text(path.read_text().replace("# noted", "# another"))
    net = compiled(device, PAIR, kernels={"b": path})
    assert len(here.sizes) == 2
    for note in net.source_path.parent.glob("checked-*"):
        note.unlink()
    compiled(device, PAIR, kernels={"b": path})
    assert len(here.sizes) == 3


def test_copies_check_again(file: Any, device: str, here: Checks) -> None:
    net = compiled(device, PAIR, kernels={"b": file("b", "    acc =", "    # copied\n    acc =", text=PAIR)})
    for note in net.source_path.parent.glob("checked-*"):
        note.unlink()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        before = len(here.sizes)
        assert torch.equal(other(images(net, 1)), net(images(net, 1)))
        assert len(here.sizes) <= before + 1
    assert len(here.sizes) == 2


def test_parts_of_a_large_batch(file: Any, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where offsets are in 32 bits, a large batch is launched in parts: those sizes are checked."""
    waiting: list[list[int]] = []
    monkeypatch.setattr(replaced, "_run", lambda jobs, device: waiting.extend(sorted(job.waiting) for job in jobs))
    planned = plan(fuse(simplify(graph_of(NET))), target=get("sm_90"), dtype="fp16")
    path = write(file("b").parent, NET, "b", target="sm_90", dtype="fp16")
    package = made(NET, target="sm_90", dtype="fp16")
    found = replaced.read({"b": path}, graph_of(NET), package, device=torch.device("cpu"))
    most = planned.max_batch
    assert most is not None
    found.check(path.parent, planned, 2 * most + 7)
    found.check(path.parent, planned, most)
    found.check(path.parent, planned, 1)
    assert waiting == [[7, most], [1, 2]]


# --- wrong ones ---------------------------------------------------------------------------------------------------


def wrong(device: str, path: Path) -> str:
    code, text = refusal(lambda: compiled(device, PAIR, kernels={"b": path}))
    assert code == "E0622"
    return text


def test_another_activation(file: Any, device: str, here: Checks) -> None:
    said = wrong(device, file("b", RELU, "tl.where(x < 0.0, 0.01 * x, x)", text=PAIR))
    assert "my_b.py does not compute what b does, with 1 picture" in said
    assert "note: its result is wrong: " in said
    assert "my_b.py --n 1 makes this comparison by itself" in said


def test_wrong_for_one_size_alone(file: Any, device: str, here: Checks) -> None:
    path = file("b", "    grid = (", '    """Wrong for five."""\n    n = 4 if n == 5 else n\n    grid = (', text=PAIR)
    net = compiled(device, PAIR, kernels={"b": path})
    net(images(net, 6))
    code, text = refusal(lambda: net(images(net, 5)))
    assert code == "E0622"
    assert "with 5 pictures" in text
    assert "values unwritten: the first is y[4, 0, 0, 0]" in text
    code, _ = refusal(lambda: net(images(net, 5)))  # and again
    assert code == "E0622"
    net(images(net, 6))


def test_of_another_operation(file: Any, device: str, here: Checks) -> None:
    """Its tensors lie alike: what it computes tells, and then what it was taken from."""
    path = file("b", text=PAIR.replace("pad=1) -> relu }", "pad=1) -> tanh }"))
    assert "note: it was ejected from conv(4, 3x3, pad=1) -> tanh; here stands conv(4, 3x3, pad=1) -> relu" in wrong(
        device, path
    )
    same = file("b", text=PAIR.replace("pad=1) -> relu }", "pad=same) -> relu }"))
    compiled(device, PAIR, kernels={"b": same})


def test_the_files_own_check_counts_for_nothing(file: Any, device: str, here: Checks) -> None:
    """A larger tolerance in the file, or another reference, does not make a wrong kernel right."""
    path = file("b", RELU, "tl.where(x < 0.0, 0.01 * x, x)", text=PAIR)
    text = path.read_text()
    text = text.replace("TOLERANCE = ", "TOLERANCE = 1000 * ")
    text = text.replace("def check(", "def check(*_, **__):\n    return 0.0\n\n\ndef old(")
    path.write_text(text)
    assert "its result is wrong" in wrong(device, path)
    # What the file says it was is not what it is taken for either.
    path.write_text(text[: text.index("# ====")])
    assert "its result is wrong" in wrong(device, path)


@pytest.mark.parametrize(("edit", "said"), [
    ("    raise ValueError('mine')\n", "note: ValueError: mine"),
    ("    raise SystemExit(0)\n", "note: SystemExit: 0"),
    ("    torch.cuda.nonsense()\n", "note: AttributeError: "),
    ("    pass\n", "it leaves 288 of 288 values unwritten: the first is y[0, 0, 0, 0]"),
    ("    y[:1] = 0\n", "its result is wrong"),
    ("    y.untyped_storage().fill_(0)\n", "values outside of y"),
    ("    x.zero_()\n", "writes into `x`"),
])
def test_launches_that_fail(tmp_path: Path, device: str, here: Checks, edit: str, said: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"import torch\n\n\ndef launch(x, w, b, y, n):\n{edit}")
    text = wrong(device, path)
    assert said in text
    where = "mine.py, line 5 fails in the place of b" if "note: " in said else "mine.py does not compute what b does"
    assert f"{where}, with 1 picture" in text


def test_a_file_that_cannot_be_imported(tmp_path: Path, device: str, here: Checks) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import torch\n\n1 / 0\n\n\ndef launch(x, w, b, y, n):\n    pass\n")
    text = wrong(device, path)
    assert "mine.py, line 3 fails in the place of b" in text
    assert "ZeroDivisionError: division by zero" in text


def test_all_that_are_wrong_are_told(file: Any, device: str, here: Checks) -> None:
    kernels = {"c": file("c", RELU, "x"), "b": file("b"), "conv1": file("conv1", RELU, "x")}
    with pytest.raises(CnnError) as caught:
        compiled(device, kernels=kernels)
    assert [d.code for d in caught.value.diagnostics] == ["E0622", "E0622"]
    assert "what c does" in str(caught.value)
    assert "what conv1 does" in str(caught.value)


def test_memory_that_is_used_up(tmp_path: Path, device: str, here: Checks) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def launch(x, w, b, y, n):\n    raise MemoryError\n")
    code, text = refusal(lambda: compiled(device, PAIR, kernels={"b": path}))
    assert code == "E0605"
    assert "memory is used up while" in text


def test_a_crash(tmp_path: Path, device: str) -> None:
    """In a process of its own, which a wrong kernel may take down. So does a right one run there, before it."""
    path = tmp_path / "mine.py"
    path.write_text("import os\n\n\ndef launch(x, w, b, y, n):\n    os.abort()\n")
    right = write(tmp_path, NET, "a", target=choose(device)[1].name)
    right.write_text(f"import os\n{right.read_text()}\nassert os.getpid() != {os.getpid()}\n")
    code, text = refusal(lambda: compiled(device, kernels={"a": right, "b": path}))
    assert code == "E0622"
    assert "mine.py fails in the place of b, with 1 picture" in text
    assert "note: the process that ran it ended with signal 6" in text


# --- files that do not fit ----------------------------------------------------------------------------------------


def test_of_another_type(file: Any, device: str) -> None:
    path = file("b", dtype="fp16", text=PAIR)
    assert "it computes in fp16, this network in fp32" in refused(device, path, text=PAIR)


def test_of_another_place(file: Any, device: str) -> None:
    said = refused(device, file("a"), "left")
    assert "my_a.py was ejected for another place: its kernel cannot be that of left" in said
    assert "its `x` is [16, 9, 8], that of left + leaky_relu1 is [8, 9, 8]" in said
    said = refused(device, file("left"), "left", text=NET.replace("fork: concat", "fork: add"))
    assert "its `y` has strides [1152, 1, 128, 16], that of left" in said
    one = "network T { input x [9x8x3] first: conv(8, 3x3, pad=1) }"
    other = "network T { input x [9x8x3] relu first: conv(8, 3x3, pad=1) }"
    said = refused(device, file("first", text=other), "first", text=one)
    assert "has launch(x, w, b, y, n), but first is launched as launch(x, w, b, y, n, x_sn, x_sh, x_sw, x_sc)" in said


def test_bf16_of_another_kind_of_target(file: Any, device: str, tmp_path: Path) -> None:
    other = "sm_90" if device == "cpu" else "interpreter"
    path = write(tmp_path, PAIR, "b", target=other, dtype="bf16")
    assert f"it is for {other}, and bf16 is computed otherwise for" in refused(device, path, text=PAIR, dtype="bf16")


def test_names(file: Any, device: str) -> None:
    path = file("b")
    for kernels, code, said in (
        ({"bb": path}, "E0707", "did you mean `b`?"),
        ({"image": path}, "E0623", "image has no kernel of its own"),
        ({"b": path, "relu3": path}, "E0621", "b and relu3 are computed by one kernel: give it one file"),
    ):
        found, text = refusal(lambda kernels=kernels: compiled(device, kernels=kernels))
        assert found == code
        assert said in text


def test_every_kind_can_be_replaced(tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a network's kernels by their own files: the very bits of the network without."""
    monkeypatch.setattr(replaced, "_run", lambda jobs, device: None)  # their checks are those of test_file.py
    package = made(KINDS, target=choose(device)[1].name)
    kernels = {}
    for facts in all_facts(package):
        name = facts.step.group.output.name
        if facts.is_copy:
            continue  # one of the joined tensors; the layer is not one kernel
        kernels[name] = tmp_path / f"{name}.py"
        kernels[name].write_text(package.by_name[facts.kernel].source)
    plain, net = compiled(device, KINDS), compiled(device, KINDS, kernels=kernels)
    g = torch.Generator().manual_seed(0)
    xs = [torch.randn(2, *shape, generator=g).to(net.device) for shape in ((12,), (3, 9, 8))]
    assert source_of(net).count("_edited.launch(") == len(kernels) > 20
    expected, found = plain(*xs), net(*xs)
    assert isinstance(found, dict)
    assert isinstance(expected, dict)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
