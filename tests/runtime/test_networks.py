"""Whole networks against torch: random ones, and those that fusing, folding and placing could get wrong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from branched import BRANCHED
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Example, networks, random_inputs, random_weights
from poisoned import poison
from strategies import Dims

import cnndsl
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import TOLERANCES, relative_error, verify
from cnndsl.runtime.verify import _layers as layer_checks

CUDA = torch.cuda.is_available()
GPU = [pytest.mark.gpu, pytest.mark.skipif(not CUDA, reason="needs a CUDA device")]
CPU = pytest.mark.skipif(CUDA, reason="Triton compiles for the GPU in this process")
DTYPES = ("fp32", "tf32", "fp16", "bf16")
PLACES = [
    pytest.param("cpu", "fp32", id="cpu-fp32", marks=CPU),
    *(pytest.param("cuda", d, id=f"cuda-{d}", marks=GPU) for d in (DTYPES if CUDA else DTYPES[:1])),
]

Outputs = dict[str, torch.Tensor]


def named(outputs: torch.Tensor | Outputs) -> Outputs:
    return outputs if isinstance(outputs, dict) else {"main": outputs}


def compiled(text: str, device: str, dtype: str, weights: Outputs | None = None) -> tuple[Network, Outputs]:
    net = cnndsl.compile(text, device=device, dtype=dtype)
    if weights is None:
        weights = random_weights({key: t.shape for key, t in net.state_dict().items()})
    net.load_weights(weights)
    return net, weights


def largest_error(outputs: Outputs, expected: Outputs) -> float:
    assert set(outputs) == set(expected)
    return max(relative_error(outputs[name].cpu(), r.cpu()) for name, r in expected.items())


@pytest.mark.parametrize(("device", "dtype"), PLACES)
def test_random_network(device: str, dtype: str) -> None:
    @settings(max_examples=settings.default.max_examples * 3 // 5)
    @given(networks(), st.sampled_from((2, 1, 5)))
    def check(example: Example, batch: int) -> None:
        net, weights = compiled(example.text, device, dtype)
        xs = [x.to(net.dtype) for x in random_inputs(example.inputs, batch=batch)]
        expected = example.run([x.double() for x in xs], {key: t.double() for key, t in weights.items()})
        reference = named(net.reference(*(x.double() for x in xs)))
        assert largest_error(reference, expected) < 1e-10
        poison(net, batch)
        xs = [x.to(device) for x in xs]
        outputs = named(net(*xs))
        if dtype == "fp32":
            assert largest_error(outputs, expected) < 1e-5
        # Kept apart, every value is the same: memory is shared only between values that never meet.
        poison(net, batch, keep=True)
        kept, values = net.trace(*xs)
        if device == "cpu":
            assert all(torch.equal(outputs[name], y) for name, y in kept.items())
        # Each layer from its own inputs, so that roundings do not add up: right in every type.
        assert [c for c in layer_checks(net, xs, values, TOLERANCES[dtype]) if not c.ok] == []

    check()


# --- what fusing could get wrong -----------------------------------------------------------------

# Text, and wrong texts with the same weights, as a compiler would compute that does one thing wrong.
NETWORKS: dict[str, tuple[str, dict[str, str]]] = {
    "residual of an input": (
        "input x [5x6x4] add { { a: conv(4, 3, pad=1) } {} } relu b: conv(3, 1)",
        {
            "dropped": "input x [5x6x4] a: conv(4, 3, pad=1) relu b: conv(3, 1)",
            "after the activation": "input x [5x6x4] a: conv(4, 3, pad=1) relu add(@x) b: conv(3, 1)",
        },
    ),
    "residual of a projection": (
        """input x [6x6x3] add { { a: conv(4, 3, pad=1, stride=2) -> n: batchnorm -> relu -> b: conv(4, 3, pad=1) }
            { c: conv(4, 1, stride=2) -> m: batchnorm } } relu""",
        {
            "a batch norm left out": """input x [6x6x3]
                add { { a: conv(4, 3, pad=1, stride=2) -> relu -> b: conv(4, 3, pad=1) -> n: batchnorm }
                { c: conv(4, 1, stride=2) -> m: batchnorm } } relu""",
            "an activation left out": """input x [6x6x3]
                add { { a: conv(4, 3, pad=1, stride=2) -> n: batchnorm -> b: conv(4, 3, pad=1) }
                { c: conv(4, 1, stride=2) -> m: batchnorm } } relu""",
        },
    ),
    "both arms end in a convolution": (
        "input x [4x4x3] a: conv(5, 1) add { { b: conv(5, 1) } { c: conv(5, 3, pad=1) } } relu",
        {"before the sum": "input x [4x4x3] a: conv(5, 1) add { { b: conv(5, 1) } { c: conv(5, 3, pad=1) -> relu } }"},
    ),
    "a dense residual": (
        "input x [7] a: dense(9) b: dense(9) add(@a) -> tanh c: dense(9) add(@a) -> relu",
        {"of the wrong layer": "input x [7] a: dense(9) b: dense(9) add(@a) -> tanh c: dense(9) add(@b) -> relu"},
    ),
    "batch norms in a row": (
        "input x [4x4x3] a: conv(5, 3) n: batchnorm m: batchnorm -> relu",
        {"the other order": "input x [4x4x3] a: conv(5, 3) m: batchnorm n: batchnorm -> relu"},
    ),
    "batch norm after a dense layer": (
        "input x [4x4x3] a: dense(5, bias=false) n: batchnorm -> relu b: dense(5) m: batchnorm(eps=0.1)",
        {"eps": "input x [4x4x3] a: dense(5, bias=false) n: batchnorm(eps=0.1) -> relu b: dense(5) m: batchnorm"},
    ),
    "batch norm after a depthwise convolution": (
        "input x [5x5x4] a: conv(8, 3, groups=4) n: batchnorm b: conv(6, 1, groups=2) m: batchnorm",
        {
            "order of groups": """input x [5x5x4] channel_shuffle(2)
                a: conv(8, 3, groups=4) n: batchnorm b: conv(6, 1, groups=2) m: batchnorm""",
        },
    ),
    "batch norm that does not fold": (
        "input x [4x4x5] a: conv(5, 1) output o {} n: batchnorm -> relu add(@a) m: batchnorm",
        {"folded for all": "input x [4x4x5] a: conv(5, 1) n: batchnorm output o {} relu add(@n) m: batchnorm"},
    ),
    "batch norm before a grouped convolution": (
        "input x [5x5x6] n: batchnorm a: conv(8, 3, groups=2) m: batchnorm avgpool(2) b: dense(4)",
        {
            "order of channels": """input x [5x5x6] n: batchnorm channel_shuffle(2) a: conv(8, 3, groups=2)
                m: batchnorm avgpool(2) b: dense(4)""",
        },
    ),
    "batch norm before a flatten": (
        "input x [2x3x4] n: batchnorm flatten a: dense(6) output o { @x m: batchnorm -> flatten -> b: dense(5) }",
        {
            "order of channels": """input x [2x3x4] n: batchnorm channel_shuffle(2) flatten a: dense(6)
                output o { @x m: batchnorm -> flatten -> b: dense(5) }""",
        },
    ),
    "batch norm of features": (
        "input x [2x3x4] flatten n: batchnorm a: dense(6)",
        {"order of features": "input x [2x3x4] channel_shuffle(2) flatten n: batchnorm a: dense(6)"},
    ),
    "batch norm behind what averages and shuffles": (
        """input x [6x6x3] a: conv(6, 3) -> avgpool(3, stride=2, pad=1, count_pad=false) -> channel_shuffle(3)
            n: batchnorm -> relu -> b: conv(4, 1)""",
        {
            "the order of channels": """input x [6x6x3] a: conv(6, 3) -> avgpool(3, stride=2, pad=1, count_pad=false)
                n: batchnorm -> channel_shuffle(3) -> relu -> b: conv(4, 1)""",
            "zeros": """input x [6x6x3] a: conv(6, 3) -> n: batchnorm -> avgpool(3, stride=2, pad=1)
                channel_shuffle(3) -> relu -> b: conv(4, 1)""",
        },
    ),
    "batch norm and activation over arms": (
        """input x [4x4x3] concat { { a: conv(2, 1) -> channel_shuffle(2) }
            { concat { { b: conv(3, 3, pad=1) } { c: conv(2, 1) } } } } n: batchnorm -> silu -> d: conv(3, 1)""",
        {
            "other arms": """input x [4x4x3] concat { { concat { { b: conv(3, 3, pad=1) } { c: conv(2, 1) } } }
                { a: conv(2, 1) } } n: batchnorm -> silu -> d: conv(3, 1)""",
            "no activation": """input x [4x4x3] concat { { a: conv(2, 1) -> silu }
                { concat { { b: conv(3, 3, pad=1) -> silu } { c: conv(2, 1) } } } } n: batchnorm -> d: conv(3, 1)""",
        },
    ),
    "concat": (
        "input x [4x4x3] concat { { a: conv(5, 1) } { b: conv(5, 1) } {} { tanh } } c: conv(4, 1)",
        {
            "order": "input x [4x4x3] concat { { b: conv(5, 1) } { a: conv(5, 1) } {} { tanh } } c: conv(4, 1)",
            "end": "input x [4x4x3] concat { { a: conv(5, 1) } { b: conv(5, 1) } { tanh } {} } c: conv(4, 1)",
        },
    ),
    "flatten": (
        "input x [3x4x5] a: conv(6, 1) flatten -> relu -> dropout b: dense(6) -> softmax",
        {"in memory order": "input x [3x4x5] a: conv(6, 1) channel_shuffle(2) flatten -> relu b: dense(6) -> softmax"},
    ),
    "squeeze and excitation": (
        "input x [4x4x6] mul { {} { globalavgpool -> a: conv(3, 1) -> relu -> b: conv(6, 1) -> sigmoid } }",
        {"gate": "input x [4x4x6] mul { {} { globalmaxpool -> a: conv(3, 1) -> relu -> b: conv(6, 1) -> sigmoid } }"},
    ),
}


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("name", list(NETWORKS))
def test_network_and_wrong_ones(name: str, device: str, dtype: str) -> None:
    body, mutants = NETWORKS[name]
    net, weights = compiled(f"network T {{ {body} }}", device, dtype)
    inputs: tuple[Dims, ...] = tuple(node.type.shape for node in net.graph.inputs)
    xs = [x.to(net.dtype).to(device) for x in random_inputs(inputs, batch=3)]
    expected = named(net.reference(*(x.double() for x in xs)))
    # Eight layers' roundings.
    assert largest_error(named(net(*xs)), expected) < (1e-6 if dtype == "fp32" else 3 * TOLERANCES[dtype])
    for mutant, text in mutants.items():
        wrong, _ = compiled(f"network T {{ {text} }}", device, dtype, weights)
        outputs = {key: y for key, y in named(wrong(*xs)).items() if key in expected}
        assert max(relative_error(y, expected[key]) for key, y in outputs.items()) > 3 * TOLERANCES[dtype], mutant


def test_reference_is_not_the_kernels() -> None:
    """A weight that the kernels do not get is seen: reference and kernels share no packed tensor."""
    net, _ = compiled("network T { input x [4x4x3] a: conv(5, 3) n: batchnorm }", "cuda" if CUDA else "cpu", "fp32")
    (x,) = (x.to(net.device) for x in random_inputs(((4, 4, 3),), batch=1))
    net(x)
    for tensor in net._packed.values():
        tensor.add_(1)
    assert largest_error(named(net(x)), named(net.reference(x.double()))) > 0.1


# --- examples ------------------------------------------------------------------------------------


EXAMPLES = Path(__file__).parents[2] / "examples"

# The side of the smallest picture that leaves one pixel after the last pooling; None: small as it is.
SIDES = {
    "alexnet": 67, "alexnet_paper": 67, "alexnet_torchvision": 63, "lenet5": None, "vgg11": 32, "vgg13": 32,
    "vgg16": 32, "vgg16_bn": 32, "vgg19": 32,
}


def smaller(name: str, folder: Path) -> Path:
    """An example for small pictures and with an eighth of the filters, beside the files that it uses."""
    for file in EXAMPLES.glob("*.cnn"):
        shutil.copy(file, folder)
    side = SIDES[name]
    path = folder / f"{name}.cnn"
    if side is not None:
        text = re.sub(r"(?<=\S) +\[[\dx]+\]$", "", path.read_text(), flags=re.MULTILINE)
        text = re.sub(r"\[\d+x\d+x3\]", f"[{side}x{side}x3]", text)
        text = re.sub(r"crop=\d+", f"crop={side}", text)
        text = re.sub(r"(?<=conv\()\d+|(?<=stage\(\d, )\d+", lambda m: str(int(m[0]) // 8), text)
        path.write_text(text.replace("dense(4096)", "dense(64)"))
    return path


def test_every_example_is_there() -> None:
    whole = {file.stem for file in EXAMPLES.glob("*.cnn") if "network " in file.read_text()}
    assert whole == set(SIDES) | set(BRANCHED)  # those are in test_branched_numbers.py


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("name", list(SIDES))
def test_example_on_a_small_picture(name: str, device: str, dtype: str, tmp_path: Path) -> None:
    net = cnndsl.compile(smaller(name, tmp_path), device=device, dtype=dtype, set={"classes": 10})
    (node,) = net.graph.inputs
    (x,) = random_inputs((node.type.shape,), batch=2)
    x = x.to(net.dtype).to(device)
    poison(net, 2)
    error = largest_error(named(net(x)), named(net.reference(x.double())))
    assert error < (2e-6 if dtype == "fp32" else 2 * TOLERANCES[dtype])
    if dtype != "fp32":
        assert all(check.ok for check in verify(net, [x], layers=True))


@pytest.mark.parametrize(("device", "dtype"), PLACES)
def test_alexnet(device: str, dtype: str) -> None:
    net = cnndsl.compile(EXAMPLES / "alexnet.cnn", device=device, dtype=dtype)
    x = torch.randn(1, 3, 227, 227, generator=torch.Generator().manual_seed(0)).to(net.dtype).to(device)
    (check,) = verify(net, [x])
    assert check.error < (2e-6 if dtype == "fp32" else TOLERANCES[dtype])
    # A tolerance that a slightly wrong picture would not meet.
    assert relative_error(net.reference(x.double().roll(1, 3)), net.reference(x.double())) > 2 * TOLERANCES[dtype]
