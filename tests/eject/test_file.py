"""Ejected files: every kind of kernel runs, and fails its check when it is wrong; references are the layers' own."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from kinds import KINDS, all_facts, graph_of, load, made, text_of
from oracle import Sample, differ, network_text, op_of, samples

from cnndsl.codegen.package import Package
from cnndsl.eject import source
from cnndsl.eject.facts import Facts, facts_of
from cnndsl.eject.layers import step_of
from cnndsl.errors import CnnError
from cnndsl.linemap import line_map
from cnndsl.ops.activations import Relu
from cnndsl.runtime.device import choose
from cnndsl.runtime.reference import evaluate_node
from cnndsl.runtime.verify import TOLERANCES


def wrong(text: str) -> str:
    """A file whose kernel stores a quarter more than it should."""
    calls = [
        node for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split("_axis")[0] in {"tl.store", "store_channels"}
    ]
    value = max(calls, key=lambda node: node.lineno).args[1]
    assert value.lineno == value.end_lineno
    lines = text.splitlines()
    line, end = lines[value.lineno - 1], value.end_col_offset
    lines[value.lineno - 1] = f"{line[:value.col_offset]}1.25 * {line[value.col_offset:end]}{line[end:]}"
    return "\n".join(lines)


def one_of_each(package: Package) -> list[Facts]:
    """A step for each kind of kernel."""
    return list({package.by_name[facts.kernel].function: facts for facts in all_facts(package)}.values())


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_every_kind_runs_as_a_file(device, dtype, tmp_path: Path) -> None:
    package = made(KINDS, target=choose(device)[1].name, dtype=dtype)
    found = all_facts(package) if dtype == "fp32" else one_of_each(package)
    assert len(one_of_each(package)) >= 13
    for facts in found:
        file = load(text_of(package, facts), tmp_path)
        assert file.check(3, device, seed=1) <= TOLERANCES[dtype], facts.step.group.title
        assert TOLERANCES[dtype] == file.TOLERANCE


def test_every_kind_fails_when_it_is_wrong(device, tmp_path: Path) -> None:
    package = made(KINDS, target=choose(device)[1].name)
    for facts in all_facts(package):
        file = load(wrong(text_of(package, facts)), tmp_path)
        with pytest.raises(file.Wrong, match="its result is wrong"):
            file.check(1, device)


def test_kernels_of_a_gpu_run_in_the_interpreter(device, tmp_path: Path) -> None:
    if device != "cpu":
        pytest.skip("is about the interpreter")
    package = made(KINDS, target="sm_90", dtype="fp16")
    found = {package.by_name[facts.kernel].function: facts for facts in one_of_each(package)}
    for name in ("linear_small_kernel", "conv2d_kernel", "lrn_pool_kernel"):
        load(text_of(package, found[name]), tmp_path).check(2, device)


def test_a_file_needs_torch_and_triton_alone(tmp_path: Path) -> None:
    package = made(KINDS)
    for facts in all_facts(package):
        text = text_of(package, facts)
        imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
        roots = {alias.name.split(".")[0] for node in imports if isinstance(node, ast.Import) for alias in node.names}
        roots |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
        assert roots - set(sys.stdlib_module_names) == {"torch", "triton"}
        assert all(len(line) <= 120 for line in text.splitlines())
    path = tmp_path / "my_conv.py"
    path.write_text(text_of(package, all_facts(package)[0]), encoding="utf-8")
    hidden = f"import runpy, sys; sys.modules['cnndsl'] = None; runpy.run_path({str(path)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", hidden, "--n", "2", "--seed", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("conv1 + batchnorm1 + relu1 of Kinds, n = 2, fp32, ")
    assert "\nright: the relative error is " in done.stdout


def test_the_command_line_of_a_file(device, tmp_path: Path, monkeypatch, capsys) -> None:
    package = made(KINDS, target=choose(device)[1].name)
    text = text_of(package, all_facts(package)[0])

    def main(file: str, *arguments: str) -> object:
        module = load(file, tmp_path)
        monkeypatch.setattr(sys, "argv", ["my_kernel.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            module.main()
        return ended.value.code

    assert str(main(wrong(text))).startswith("wrong: its result is wrong: ")  # a text is exit status 1
    assert main(text, "--n", "0") == 2
    assert "--n must be 1 or more" in capsys.readouterr().err
    if device == "cpu":
        other = made(KINDS, target="sm_90", dtype="bf16")
        assert "eject the layer with --target interpreter" in str(main(text_of(other, all_facts(other)[0])))
    limited = text.replace('"largest_n": None', '"largest_n": 7').replace('"largest_n": 1', '"largest_n": 7 or 1')
    assert main(limited, "--n", "8") == 2
    assert "--n must be from 1 to 7" in capsys.readouterr().err


# --- references ---------------------------------------------------------------------------------------------------


def part(facts: Facts) -> dict[str, Any]:
    """The names below the kernel."""
    space: dict[str, Any] = {"torch": torch, "F": torch.nn.functional, "Any": Any, "inspect": inspect}
    exec(source.check_source(facts), space)
    return space


def doubles(shapes: dict[str, tuple[int, ...]], **more: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=g, dtype=torch.float64) + 0.5 for name, shape in shapes.items()}


@pytest.mark.parametrize("sample", samples(), ids=str)
def test_references_are_the_layers_own(sample: Sample) -> None:
    """On the inputs of the layers' tests, in fp64; and packed weights are those that the executor makes."""
    package = made(network_text(sample.layer, sample.inputs))
    for facts in all_facts(package):
        space, node = part(facts), facts.step.group.anchor
        xs = doubles({t.node: (3, *t.shape) for t in facts.reads})
        weights = doubles({w.name: w.shape for own in facts.weights for w in own})
        y = space["reference"](*xs.values(), *weights.values())
        if facts.is_copy:
            assert torch.equal(y, next(iter(xs.values())))
            continue
        assert facts.step.group.nodes == (node,)
        assert not differ(y, evaluate_node(node, [xs[name] for name in node.inputs], {node.name: weights}))
        if weights:
            expected = op_of(node).pack(package.plan.graph.types_of(node), weights, ())
            packed = space["pack"](*weights.values())
            for one, other in zip(packed if len(expected) > 1 else [packed], expected.values(), strict=True):
                assert not differ(one.float(), other.float())


def test_the_reference_of_a_whole_group() -> None:
    """Layers that one kernel computes, a batch norm among them, are one after the other in the reference."""
    package = made(KINDS)
    found = {facts.kernel: part(facts) for facts in all_facts(package)}
    xs = doubles({"x": (2, 3, 9, 8), "weight": (8, 3, 3, 3), "bias": (8,)})
    assert torch.equal(
        found["conv1"]["reference"](*xs.values()),
        torch.relu(torch.nn.functional.conv2d(xs["x"], xs["weight"], xs["bias"], padding=1)),
    )
    f = torch.nn.functional
    x, r, weight, bias = doubles({"x": (2, 8, 9, 8), "r": (2, 8, 9, 8), "weight": (8, 8, 1, 1), "bias": (8,)}).values()
    assert torch.equal(found["res"]["reference"](x, r, weight, bias), f.hardswish(f.conv2d(x, weight, bias) + r))
    x = 10 * doubles({"x": (2, 8, 6, 6)})["x"]
    expected = f.max_pool2d(f.local_response_norm(x, 5, 1e-2, 0.5, 1.0), 2)
    assert torch.equal(found["lrn2"]["reference"](x), expected)


def test_an_lrn_is_given_values_that_show_it() -> None:
    """Of values near 1, AlexNet's LRN changes less than the rounding of fp16."""
    (facts,) = all_facts(made("network T { input x [5x5x16] lrn(5, alpha=5e-4, beta=0.75, k=2) }", dtype="fp16"))
    space = part(facts)
    (x,) = space["inputs_in_fp64"](space["make_inputs"](2))
    r = space["reference"](x)
    assert float((r - x * 2**-0.75).norm() / r.norm()) > 0.1


def test_a_reference_that_cannot_be_written(monkeypatch) -> None:
    monkeypatch.setattr(Relu, "reference", lambda self, xs, weights: xs[0] * xs[0].shape[0])
    (facts,) = all_facts(made("network T { input x [5x5x16] relu }"))
    with pytest.raises(CnnError, match=r"E0623.*relu1 cannot be ejected: its reference"):
        source.check_source(facts)
    monkeypatch.setattr(Relu, "reference", lambda self, xs, weights: torch.ops.aten.relu(xs[0]))
    with pytest.raises(CnnError, match=r"E0623.*relu1 cannot be ejected: its reference"):
        source.check_source(facts)


# --- facts --------------------------------------------------------------------------------------------------------


def test_facts() -> None:
    package = made(KINDS)
    found = {facts.kernel: facts for facts in all_facts(package)}
    (x,) = found["conv1"].reads
    assert (x.shape, x.strides, found["conv1"].parameters[-4:]) == ((3, 9, 8), None, ("x_sn", "x_sh", "x_sw", "x_sc"))
    assert found["left"].writes.strides == (9 * 8 * 12, 1, 8 * 12, 12)  # the left 4 of 12 channels
    assert (found["left"].writes.offset, found["pool1"].writes.offset) == (0, 4)
    assert found["pool1"].writes.picture == 9 * 8 * 12
    assert [t.name for t in found["res"].reads] == ["x", "r"]
    assert [w.name for own in found["conv1"].weights for w in own] == ["weight", "bias"]  # the batch norm's bias
    assert found["joined_1"].is_copy


def test_one_tensor_twice() -> None:
    (_, facts) = all_facts(made("network T { input x [4x4x3] a: conv(3, 1) mul(@a) }"))
    assert [t.name for t in facts.reads] == ["x0"]
    assert facts.passed[:3] == ("x0", "x0", "y")
    (facts,) = all_facts(made("network T { input x [4x4x3] mul(@x) }"))
    assert [t.strides for t in facts.reads] == [None]


@pytest.mark.parametrize(("name", "said"), [
    ("conv2x", "E0707.*there is no layer `conv2x`.*did you mean `conv2`"),
    ("nothing", "E0707.*layers with a kernel are conv1, conv2"),
    ("drop", r"E0623.*drop has no kernel of its own.*drop \(dropout\): does nothing at inference"),
    ("image", r"E0623.*image \(input\): an input"),
    ("sides", r"E0623.*sides is not one kernel: 2 launches compute it$"),
])
def test_names_without_a_step(name: str, said: str) -> None:
    text = """network T { input image [4x4x3] conv1: conv(3, 1) conv2: conv(3, 1) drop: dropout
        sides: concat(@image, @image) }"""
    package = made(text)
    with pytest.raises(CnnError, match=f"(?s){said}"):
        step_of(line_map(graph_of(text), package), name)


def test_names_of_steps() -> None:
    package = made(KINDS)
    lines = line_map(graph_of(KINDS), package)
    titles = [package.plan.steps[step_of(lines, name)].group.title for name in ("relu1", "batchnorm1", "joined_1")]
    assert titles == ["conv1 + batchnorm1 + relu1"] * 2 + ["joined"]


def test_shared_kernels_have_no_step_by_name() -> None:
    text = "network T { input x [4x4x3] a.b: conv(8, 1) conv(8, 1) -> conv(8, 1) -> conv(8, 1) }".replace("a.b", "a")
    package = made(text)
    shared = next(kernel for kernel in package.kernels if len(kernel.steps) > 1)
    lines = line_map(graph_of(text), package)
    assert package.plan.steps[step_of(lines, shared.name)].group.title == shared.name  # a layer's name comes first


def test_several_launches() -> None:
    package = made("network T { input x [4x4x3] sum: add { {} { relu } { tanh } { silu } { elu } } }")
    (number,) = (i for i, step in enumerate(package.plan.steps) if len(step.launches) > 1)
    with pytest.raises(CnnError, match=r"E0623.*sum has no kernel of its own: 2 launches compute it"):
        facts_of(package, number)
