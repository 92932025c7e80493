"""Whole networks on a CUDA device: every layer against fp64; streams, graphs, tensors beyond 2^31 values."""

import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from sample_networks import sources

import cnndsl
from cnndsl.errors import CnnError
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import TOLERANCES, compare_outputs, relative_error, verify

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from peers import torch_network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

DEVICE = "cuda"
DTYPES = ("fp32", "tf32", "fp16", "bf16")


@cache
def compiled(source: str, dtype: str, device: str = DEVICE) -> Network:
    return cnndsl.compile(source, device=device, dtype=dtype, seed=1)


def network(name: str, dtype: str = "fp16") -> Network:
    return compiled(sources()[name], dtype)


def pictures(net: Network, n: int, *, seed: int = 0) -> list[torch.Tensor]:
    """Random inputs, one for each that the network takes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n, *node.type.torch_shape) for node in net.graph.inputs]
    return [torch.randn(shape, generator=generator).to(net.device, net.dtype) for shape in shapes]


def named(result: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return result if isinstance(result, dict) else {"main": result}


def check(net: Network, xs: list[torch.Tensor]) -> None:
    """Every layer, computed apart, and the outputs of the network as it normally runs."""
    for found in (*verify(net, xs, layers=True), *verify(net, xs)):
        assert found.ok, found


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two results are equal, bit for bit; NaN is equal to nothing."""
    return all(torch.equal(a[name], b[name]) for name in b)


# --- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 17])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["alexnet", "residual", "inception", "mobile", "inputs", "slices", "lenet5"])
def test_small_and_middling_networks(name: str, dtype: str, n: int) -> None:
    net = network(name, dtype)
    check(net, pictures(net, n))


@pytest.mark.parametrize(
    ("dtype", "n"), [("fp16", 1), ("fp16", 3), ("fp16", 17), ("fp32", 3), ("tf32", 3), ("bf16", 17)]
)
def test_vgg16(dtype: str, n: int) -> None:
    net = network("vgg16", dtype)
    check(net, pictures(net, n))


@pytest.mark.parametrize("name", ["alexnet_paper", "alexnet_torchvision", "vgg16_bn"])
def test_other_examples(name: str) -> None:
    net = network(name)
    check(net, pictures(net, 2))


BRANCHED = ("resnet18", "resnet50", "googlenet", "densenet121", "mobilenet_v2", "efficientnet_b0", "shufflenet_v1")


def fp16_errors(net: Network, xs: list[torch.Tensor]) -> tuple[dict[str, float], dict[str, float]]:
    """The relative errors of a network's outputs and how large they may be: in fp16 twice torch's own, if that is more.

    With random weights torch's own are 1.2e-3 (ShuffleNet) and 3.5e-3 (MobileNet v2) on a CPU, where the others keep to
    1e-3; the tolerance is 2e-3.
    """
    expected = named(net.reference(*(x.double() for x in xs)))
    found, peer = named(net(*xs)), torch_network(net, xs)(*xs)
    errors = {name: relative_error(found[name], r) for name, r in expected.items()}
    torchs = {name: relative_error(peer[name], r) for name, r in expected.items()}
    assert all(error < 1e-2 for error in torchs.values()), torchs  # a bound that means something
    return errors, {name: max(TOLERANCES["fp16"], 2 * error) for name, error in torchs.items()}


@pytest.mark.parametrize("name", BRANCHED)
def test_branched_and_mobile_networks_in_fp32(name: str) -> None:
    net = network(name, "fp32")
    check(net, pictures(net, 2))


@pytest.mark.parametrize("name", BRANCHED)
def test_branched_and_mobile_networks_in_fp16(name: str) -> None:
    """Each kernel by itself, and the whole, where errors add up, beside torch in the same type."""
    net = network(name, "fp16")
    xs = [x / 16 for x in pictures(net, 2)]  # ShuffleNet's values with random weights would pass fp16's largest
    for found in verify(net, xs, layers=True):
        assert found.ok or found.kind == "output", found
    errors, limits = fp16_errors(net, xs)
    assert all(errors[output] <= limits[output] for output in limits), (errors, limits)


def test_tiles_for_many_pictures() -> None:
    """Above 45 pictures the tiles for 128 are taken; 100 of them fill no tile exactly."""
    net = network("alexnet")
    check(net, pictures(net, 100))


def test_a_slightly_wrong_residual_network_is_noticed() -> None:
    """A tenth less of the last of eight blocks moves the classes by 6 %."""
    net = network("resnet18")
    xs = [x / 16 for x in pictures(net, 2)]
    errors, limits = fp16_errors(net, xs)
    assert errors["main"] <= limits["main"]
    wrong = cnndsl.compile(sources()["resnet18"], device=DEVICE, dtype="fp16", seed=1)
    with torch.no_grad():
        wrong.state_dict()["layer4.1.bn2.weight"].mul_(0.9)
    expected = named(net.reference(*(x.double() for x in xs)))["main"]
    assert relative_error(named(wrong(*xs))["main"], expected) > limits["main"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_slightly_wrong_network_is_noticed(dtype: str) -> None:
    net = network("alexnet", dtype)
    text = Path(sources()["alexnet"]).read_text(encoding="utf-8")
    assert "k=2)" in text
    wrong = compiled(text.replace("k=2)", "k=1.9)"), dtype)
    xs = pictures(net, 3)
    assert all(c.ok for c in compare_outputs(net, xs, named(net(*xs))))
    assert not all(c.ok for c in compare_outputs(net, xs, named(wrong(*xs))))


def test_every_memory_format() -> None:
    net = network("alexnet")
    (x,) = pictures(net, 3)
    expected = net(x)
    wide = torch.full((3, 6, 230, 460), float("nan"), dtype=x.dtype, device=x.device)
    view = wide[:, 1:4, 2:229, 5:459:2]
    view.copy_(x)
    for other in (x.contiguous(memory_format=torch.channels_last), view, x.flip(0).flip(0)):
        assert relative_error(net(other), expected) < TOLERANCES["fp16"]
    assert relative_error(net(view.flip(3)), expected) > TOLERANCES["fp16"]


@pytest.mark.parametrize("name", ["alexnet", "inception"])
def test_nothing_is_read_before_it_is_written(name: str) -> None:
    """torch's allocator hands out freed memory again: here, memory full of NaN."""
    net = network(name)
    xs = pictures(net, 4)
    expected = named(net(*xs))
    sizes = [4 * net.plan.arena, *(4 * buffer.size for buffer in net.plan.buffers if buffer.offset is None)]
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    blocks = [torch.full((size,), float("nan"), dtype=net.dtype, device=net.device) for size in sizes]
    del blocks
    assert torch.empty(sizes[0], dtype=net.dtype, device=net.device).isnan().all()
    assert same(named(net(*xs)), expected)


def test_the_same_twice() -> None:
    """A result that moves between runs is a race."""
    net = network("vgg16")
    xs = pictures(net, 16)
    first = named(net(*xs))
    for _ in range(5):
        assert same(named(net(*xs)), first)
    assert not same(named(net(*pictures(net, 16, seed=1))), first)


# --- streams, graphs, devices ------------------------------------------------------------------------------


def test_kernels_follow_the_current_stream() -> None:
    net = network("residual")
    xs, others = pictures(net, 4), pictures(net, 4, seed=1)
    expected = named(net(*xs))
    assert not same(named(net(*others)), expected)
    busy = torch.randn((8192, 8192), device=net.device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # Kernels on another stream would not wait for this, and see the old values of `others`.
        for _ in range(8):
            busy = busy @ busy / 8192
        for x, y in zip(others, xs, strict=True):
            x.copy_(y)
        result = named(net(*others))
    stream.synchronize()
    assert same(result, expected)


@pytest.mark.parametrize("name", ["alexnet", "inception"])
def test_a_warm_network_can_be_captured(name: str) -> None:
    net = network(name)
    xs, others = pictures(net, 2), pictures(net, 2, seed=1)
    expected = [named(net(*xs)), named(net(*others))]
    assert not same(*expected)
    held = [x.clone() for x in xs]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = named(net(*held))
    for inputs, right in zip((xs, others, xs), (*expected, expected[0]), strict=True):
        for output in result.values():
            output.fill_(float("nan"))
        for x, y in zip(held, inputs, strict=True):
            x.copy_(y)
        graph.replay()
        torch.cuda.synchronize()
        assert same(result, right)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_another_device_than_the_current_one() -> None:
    source = sources()["residual"]
    first, second = compiled(source, "fp32", "cuda:0"), compiled(source, "fp32", "cuda:1")
    assert torch.cuda.current_device() == 0
    xs = pictures(first, 3)
    y = second(*(x.to("cuda:1") for x in xs))
    assert torch.cuda.current_device() == 0
    assert isinstance(y, torch.Tensor)
    assert y.device == torch.device("cuda:1")
    assert relative_error(y.cpu(), first(*xs).cpu()) < TOLERANCES["fp32"]


def test_a_numbered_device() -> None:
    net = compiled(sources()["residual"], "fp32", "cuda:0")
    check(net, pictures(net, 2))


def test_a_tensor_on_the_wrong_device_is_explained() -> None:
    net = network("residual")
    with pytest.raises(CnnError) as caught:
        net(*(x.cpu() for x in pictures(net, 1)))
    assert caught.value.diagnostics[0].code == "E0503"


# --- tensors beyond 2^31 values ----------------------------------------------------------------------------

BIG = """
    network Big {
        input x [512x512x16]
        first: conv(16, 3x3, pad=1) -> relu
        maxpool(3x3, stride=1, pad=1)
        lrn(5)
        conv(16, 3x3, pad=1, groups=in.channels)
        silu
        concat { { conv(8, 1x1) } { avgpool(3x3, stride=1, pad=1) } { } }
        pad((1, 0, 0, 0))
        conv(16, 2x1) -> add(@first) -> relu
        output end { globalavgpool -> dense(10) }
        softmax
    }
"""


def test_offsets_beyond_32_bits() -> None:
    """Every tensor is longer than 2^31 values: the last pictures come out as they do by themselves.

    The tiles differ with the batch size, so the last bits may.
    """
    n = 2**31 // (512 * 512 * 16) + 6
    if torch.cuda.mem_get_info()[0] < 80 * 2**30:
        pytest.skip("needs 80 GiB of free memory")
    net = compiled(BIG, "fp16")
    torch.cuda.manual_seed(5)
    x = torch.empty((n, 16, 512, 512), dtype=torch.float16, device=DEVICE).normal_()
    assert x.numel() > 2**31
    for number, picture in enumerate(x):
        picture.mul_(0.5 + number / n)  # otherwise the means of their channels would be all alike
    chosen, others = (0, n // 2, n - 2, n - 1), (1, n // 2 - 1, 2, 3)

    def pick(values: torch.Tensor, numbers: tuple[int, ...]) -> torch.Tensor:
        return torch.stack([values[number] for number in numbers])

    few = pick(x, chosen)
    check(net, [few])
    outputs, values = net.trace(x)
    expected_outputs, expected_values = net.trace(few)
    for name, expected in (expected_outputs | expected_values).items():
        found = (outputs | values)[name]
        assert relative_error(pick(found, chosen), expected) < TOLERANCES["fp16"], name
        # Pictures differ, so that one in the place of another is seen.
        assert relative_error(pick(found, others), expected) > TOLERANCES["fp16"], name
    del outputs, values
    y = named(net(x))
    for name, expected in expected_outputs.items():
        assert relative_error(pick(y[name], chosen), expected) < TOLERANCES["fp16"], name
