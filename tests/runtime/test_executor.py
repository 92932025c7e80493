"""The executor as a torch module: what it takes, gives, keeps, and says when something is wrong."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import random_weights
from torch import nn

import cnndsl
from cnndsl import CnnError
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import Check, relative_error, verify

CUDA = torch.cuda.is_available()
PLACES = [
    pytest.param("cpu", marks=pytest.mark.skipif(CUDA, reason="Triton compiles for the GPU in this process")),
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not CUDA, reason="needs a CUDA device")]),
]

SMALL = """network Small(classes = 3) {
    input image [6x5x4]
    conv1: conv(8, 3x3, pad=1, bias=false) -> bn1: batchnorm -> relu
    head: { pool: maxpool(2x2) -> fc: dense(classes) }
}"""
TWO = """network Two {
    input a [4x4x3] input b [4x4x3]
    add(@a) c: conv(2, 1x1)
    output side { globalavgpool -> flatten }
    relu
}"""


class Torch(nn.Module):
    """SMALL as a person would write it in torch."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.head = nn.Module()
        self.head.fc = nn.Linear(3 * 2 * 8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        y: torch.Tensor = self.head.fc(torch.max_pool2d(x, 2).flatten(1))
        return y


@pytest.fixture(scope="module", params=PLACES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def compiled(text: str = SMALL, device: str = "cpu", **options: Any) -> Network:
    net = cnndsl.compile(text, device=device, **options)
    net.load_weights(random_weights({key: t.shape for key, t in net.state_dict().items()}))
    return net


def random(*shape: int, device: str = "cpu", seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def error_of(net: Network, *xs: torch.Tensor) -> float:
    y, r = net(*xs), net.reference(*(x.double() for x in xs))
    if isinstance(y, dict):
        return max(relative_error(y[name], r[name]) for name in y)
    return relative_error(y, r)


def refusal(do: Callable[[], object]) -> tuple[str, str]:
    """Code of the one diagnostic, and its whole text."""
    with pytest.raises(CnnError) as caught:
        do()
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.code, str(caught.value)


# --- what goes in --------------------------------------------------------------------------------


def strided(x: torch.Tensor) -> torch.Tensor:
    wide = torch.full([2 * size for size in x.shape], torch.nan, device=x.device)
    return wide[tuple(slice(1, None, 2) for _ in x.shape)].copy_(x)


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": strided,
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "batch last": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "inside a larger one": lambda x: torch.cat([x, x], 1)[:, 4:],
    "negated by a view": lambda x: torch._neg_view(-x),
    "a parameter": nn.Parameter,
    "needing a gradient": lambda x: x.clone().requires_grad_() * 1,
    "an inference tensor": lambda x: _in_inference(x),
}


def _in_inference(x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return x.clone()


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_any_layout_gives_the_same(layout: str, device: str) -> None:
    net, x = compiled(device=device), random(3, 4, 6, 5, device=device)
    y = net(x)
    assert torch.equal(net(LAYOUTS[layout](x)), y)
    assert not y.requires_grad


def test_expanded_input(device: str) -> None:
    """Strides of 0: one picture as a batch, one channel as four, one pixel as all."""
    net, x = compiled(device=device), random(3, 4, 6, 5, device=device)
    for part in (x[:1], x[:, :1], x[:, :, :1, :1], x[:1, :1, :1, :1]):
        spread = part.expand(3, 4, 6, 5)
        assert torch.equal(net(spread), net(spread.contiguous()))


@pytest.mark.parametrize("batch", [0, 1, 3, 17, 70])
def test_any_batch(batch: int, device: str) -> None:
    """Batches near 16 and 128 use other tiles than one of 1."""
    net, x = compiled(device=device), random(batch, 4, 6, 5, device=device)
    y = net(x)
    assert (y.shape, y.dtype, y.device.type) == ((batch, 3), torch.float32, device)
    assert error_of(net, x) < 1e-6
    if batch > 1:
        assert relative_error(y[1:2], net(x[1:2])) < 1e-6


def test_no_batch_at_all_in_several_outputs(device: str) -> None:
    net = compiled(TWO, device)
    x = random(0, 3, 4, 4, device=device)
    assert {name: y.shape for name, y in net(x, x).items()} == {"main": (0, 2, 4, 4), "side": (0, 2)}
    outputs, values = net.trace(x, x)
    assert (set(outputs), values) == ({"main", "side"}, {})
    assert all(check.ok for check in verify(net, [x, x], layers=True))


WRONG_INPUTS: list[tuple[Callable[[torch.Tensor], tuple[Any, ...]], str, str]] = [
    (lambda x: (), "E0505", "error[E0505]: Small takes 1 input (image [n, 4, 6, 5]), got 0"),
    (lambda x: (x, x), "E0505", "error[E0505]: Small takes 1 input (image [n, 4, 6, 5]), got 2"),
    (
        lambda x: (x[0],), "E0501",
        """error[E0501]: input `image` must be [n, 4, 6, 5], got [4, 6, 5]
  = note: torch's order: batch, channels, height, width
  = help: the batch is missing: pass x[None]""",
    ),
    (
        lambda x: (x.permute(0, 2, 3, 1),), "E0501",
        """error[E0501]: input `image` must be [n, 4, 6, 5], got [2, 6, 5, 4]
  = note: torch's order: batch, channels, height, width
  = help: this is height, width, channels: pass x.permute(0, 3, 1, 2)""",
    ),
    (
        lambda x: (x[0].permute(1, 2, 0),), "E0501",
        """error[E0501]: input `image` must be [n, 4, 6, 5], got [6, 5, 4]
  = note: torch's order: batch, channels, height, width
  = help: this is height, width, channels: pass x.permute(2, 0, 1)[None]""",
    ),
    (
        lambda x: (x.sum(),), "E0501",
        """error[E0501]: input `image` must be [n, 4, 6, 5], got []
  = note: torch's order: batch, channels, height, width""",
    ),
    (
        lambda x: (x.half(),), "E0502",
        """error[E0502]: input `image` is torch.float16, but this network was compiled for torch.float32
  = help: pass x.to(torch.float32), or compile with dtype=torch.float16""",
    ),
    (
        lambda x: (x.byte(),), "E0502",
        """error[E0502]: input `image` is torch.uint8, but this network was compiled for torch.float32
  = help: pass x.to(torch.float32)""",
    ),
    (
        lambda x: (x.double(),), "E0502",
        """error[E0502]: input `image` is torch.float64, but this network was compiled for torch.float32
  = help: pass x.to(torch.float32)""",
    ),
    (
        lambda x: (x.cpu().numpy(),), "E0502",
        """error[E0502]: input `image` must be a torch tensor, got ndarray
  = help: torch.from_numpy(x) makes one of an array""",
    ),
    (lambda x: (x.to_sparse(),), "E0502", "error[E0502]: input `image` is torch.sparse_coo; it must be dense"),
]


@pytest.mark.parametrize(("change", "code", "text"), WRONG_INPUTS, ids=[text[:60] for _, _, text in WRONG_INPUTS])
def test_wrong_input(change: Callable[..., Any], code: str, text: str, device: str) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    assert refusal(lambda: net(*change(x))) == (code, text)


def test_input_on_another_device() -> None:
    net, x = compiled(device="cuda" if CUDA else "cpu"), torch.empty(2, 4, 6, 5, device="meta")
    here = "cuda:0" if CUDA else "cpu"
    assert refusal(lambda: net(x)) == (
        "E0503",
        f"""error[E0503]: input `image` is on meta, but this network was compiled for {here}
  = help: pass x.to("{here}")""",
    )


def test_all_that_is_wrong_at_once(device: str) -> None:
    net = compiled(TWO, device)
    x = random(2, 3, 4, 4, device=device)
    with pytest.raises(CnnError) as caught:
        net(x.half(), x[:, :2])
    assert [d.code for d in caught.value.diagnostics] == ["E0502", "E0501"]
    assert refusal(lambda: net(x, x[:1]))[1] == "error[E0501]: the inputs have different batch sizes: [1, 2]"


def test_reference_checks_its_input_too(device: str) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    assert refusal(lambda: net.reference(x[0]))[0] == "E0501"
    assert refusal(lambda: net.reference(x.int()))[0] == "E0502"
    assert net.reference(x.double()).dtype == torch.float64


# --- what comes out ------------------------------------------------------------------------------


def test_results_stay_when_the_next_are_made(device: str) -> None:
    net = compiled(TWO, device)
    a, b = random(2, 3, 4, 4, device=device), random(2, 3, 4, 4, device=device, seed=1)
    first = net(a, b)
    kept = {name: y.clone() for name, y in first.items()}
    second = net(b, b)
    assert all(torch.equal(first[name], y) for name, y in kept.items())
    assert not torch.equal(first["main"], second["main"])
    assert all(torch.equal(y, kept[name]) for name, y in net(a, b).items())


def test_an_input_returned_is_a_copy(device: str) -> None:
    net = compiled("network T { input x [3x4x2] output same {} dropout }", device)
    x = random(2, 2, 3, 4, device=device)
    y = net(x)
    y["main"].zero_()
    y["same"].add_(1)
    assert torch.equal(x, random(2, 2, 3, 4, device=device))


def test_outputs_by_name(device: str) -> None:
    net = compiled(TWO, device)
    x = random(2, 3, 4, 4, device=device)
    y = net(x, x)
    assert {name: tuple(t.shape) for name, t in y.items()} == {"main": (2, 2, 4, 4), "side": (2, 2)}
    assert y["main"].is_contiguous(memory_format=torch.channels_last)
    assert isinstance(compiled(device=device)(random(2, 4, 6, 5, device=device)), torch.Tensor)


def test_inputs_are_not_written_to(device: str) -> None:
    net = compiled("network T { input x [4x4x3] relu add(@x) -> relu mul(@x) }", device)
    x = random(2, 3, 4, 4, device=device)
    net(x)
    assert torch.equal(x, random(2, 3, 4, 4, device=device))


def test_progress(device: str) -> None:
    net, x = compiled(device=device), random(1, 4, 6, 5, device=device)
    seen: list[tuple[int, int, str]] = []
    net.run(x, progress=lambda *step: seen.append(step))
    assert seen == [(0, 3, "conv1 + bn1 + relu1"), (1, 3, "head.pool"), (2, 3, "head.fc"), (3, 3, "")]


def test_several_threads_at_once(device: str) -> None:
    net = compiled(device=device)
    xs = [random(n, 4, 6, 5, device=device, seed=n) for n in (1, 2, 17, 3)]
    expected = [net(x).clone() for x in xs]
    net = copy.deepcopy(net)  # nothing packed, nothing imported: the threads do that too
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for _ in range(3):
                if not torch.equal(net(xs[number]), expected[number]):
                    wrong.append(number)
        except BaseException as error:  # noqa: BLE001 - a thread's error is told by the test
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- weights -------------------------------------------------------------------------------------


def test_state_dict_is_torch_s(device: str) -> None:
    net, module = compiled(device=device), Torch()
    theirs = {k: v.shape for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {key: t.shape for key, t in net.state_dict().items()} == theirs
    assert [key for key, _ in net.named_buffers()] == ["bn1.running_mean", "bn1.running_var"]
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in module.parameters())
    assert all(t.dtype == torch.float32 and t.device.type == device for t in net.state_dict().values())


def test_weights_from_and_to_a_torch_module(device: str) -> None:
    net, module, x = compiled(device=device), Torch().to(device).eval(), random(3, 4, 6, 5, device=device)
    with torch.no_grad():
        module.bn1.running_mean.uniform_(-1, 1)
        module.bn1.running_var.uniform_(0.2, 2)
        net.load_weights(module.state_dict())
        assert relative_error(net(x), module.double()(x.double())) < 1e-6
        # And back: the names are torch's own.
        other = Torch().to(device).eval()
        assert other.load_state_dict(net.state_dict(), strict=False).unexpected_keys == []
        assert relative_error(other(x), net(x)) < 1e-5


def test_round_trip_into_a_fresh_network(device: str, tmp_path: Path) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    fresh = cnndsl.compile(SMALL, device=device, seed=1)
    assert not torch.equal(fresh(x), net(x))
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(x), net(x))
    torch.save(net.state_dict(), tmp_path / "w.pt")
    loaded = cnndsl.compile(SMALL, device=device, weights=tmp_path / "w.pt")
    assert torch.equal(loaded(x), net(x))
    assert loaded.drawn == ()


def test_weights_by_order(device: str) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    names = {"conv1": "features.0", "bn1": "features.1", "head.fc": "classifier"}
    parts = {key: key.rpartition(".") for key in net.state_dict()}
    renamed = {f"{names[parts[key][0]]}.{parts[key][2]}": t for key, t in net.state_dict().items()}
    fresh = cnndsl.compile(SMALL, device=device, weights=renamed, match="order")
    assert torch.equal(fresh(x), net(x))


def test_drawn_weights(device: str) -> None:
    one, same, other = (cnndsl.compile(SMALL, device=device, seed=s) for s in (5, 5, 6))
    assert one.drawn == tuple(one.state_dict())
    for key, t in one.state_dict().items():
        assert torch.equal(t, same.state_dict()[key])
        assert not torch.equal(t, other.state_dict()[key])


def test_a_loaded_state_dict_stays_the_caller_s(device: str) -> None:
    net = compiled(device=device)
    mine = {key: t.clone() for key, t in net.state_dict().items()}
    net.load_weights(mine)
    mine["head.fc.weight"].zero_()
    assert net.state_dict()["head.fc.weight"].any()


def test_own_tensors_in_another_order(device: str) -> None:
    """What is loaded may be this network's own tensors, each about to be overwritten."""
    net = compiled("network T { input x [4x4x2] a: conv(2, 1) b: conv(2, 1) }", device)
    before = {key: t.clone() for key, t in net.state_dict().items()}
    own = net.state_dict()
    net.load_weights({key: own[("b" if key[0] == "a" else "a") + key[1:]] for key in own})
    assert torch.equal(net.state_dict()["a.weight"], before["b.weight"])
    assert torch.equal(net.state_dict()["b.weight"], before["a.weight"])


def test_a_weight_file_may_be_overwritten(device: str, tmp_path: Path) -> None:
    """Its tensors are mapped while they are read, and gone when it is cut short: they must have been copied."""
    path = tmp_path / "w.pt"
    net = compiled("network T { input x [64] dense(512, bias=false) }", device)
    before = {key: t.clone() for key, t in net.state_dict().items()}
    torch.save(net.state_dict(), path)
    net.load_weights(path)
    path.write_bytes(b"")
    assert all(torch.equal(t, before[key]) for key, t in net.state_dict().items())


def test_weights_in_half_precision(device: str, tmp_path: Path) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    torch.save({key: t.half() for key, t in net.state_dict().items()}, tmp_path / "w.pt")
    net.load_weights(tmp_path / "w.pt")
    assert {t.dtype for t in net.state_dict().values()} == {torch.float32}
    assert error_of(net, x) < 1e-6


@pytest.mark.parametrize("damage", ["missing", "surplus", "misshapen", "type"])
def test_failed_loading_changes_nothing(damage: str, device: str) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    before, y = {key: t.clone() for key, t in net.state_dict().items()}, net(x)
    weights = {key: torch.zeros_like(t) for key, t in before.items()}
    match damage:
        case "missing":
            del weights["head.fc.bias"]
        case "surplus":
            weights["more"] = torch.zeros(3)
        case "misshapen":
            weights["head.fc.bias"] = torch.zeros(4)
        case "type":
            weights["head.fc.bias"] = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(CnnError):
        net.load_weights(weights)
    assert all(torch.equal(t, before[key]) for key, t in net.state_dict().items())
    assert torch.equal(net(x), y)
    with pytest.raises(CnnError):
        net.load_weights("no_such_file.pt")


def _in_place(net: Network) -> None:
    with torch.no_grad():
        net.head.fc.weight.mul_(2)


def _in_inference_mode(net: Network) -> None:
    with torch.inference_mode():
        net.head.fc.weight.mul_(2)


def _optimizer(net: Network) -> None:
    net.head.fc.weight.grad = torch.ones_like(net.head.fc.weight)
    torch.optim.SGD([net.head.fc.weight], lr=0.5).step()


def _data_and_load(net: Network) -> None:
    net.conv1.weight.data.mul_(2)
    net.load_state_dict(net.state_dict())


def _data_replaced_twice(net: Network) -> None:
    """The second tensor may take the memory of the one that the kernels were made from."""
    shape = net.conv1.weight.shape
    for seed in (3, 4):
        net.conv1.weight.data = random(*shape, device=str(net.device), seed=seed)
        gc.collect()


def _transpose(net: Network) -> None:
    net.head.fc.weight.data = net.head.fc.weight.data.flatten().reshape(48, 3).t()


CHANGES: dict[str, Callable[[Network], object]] = {
    "in place": _in_place,
    "in inference mode": _in_inference_mode,
    "an optimizer's step": _optimizer,
    "through .data, then loaded": _data_and_load,
    ".data replaced": _data_replaced_twice,
    "a buffer": lambda net: net.bn1.running_mean.add_(0.5),
    "load_state_dict": lambda net: net.load_state_dict({k: 2 * t for k, t in net.state_dict().items()}),
    "load_state_dict, assigned": lambda net: net.load_state_dict(
        {k: 2 * t for k, t in net.state_dict().items()}, assign=True
    ),
    "load_weights": lambda net: net.load_weights({k: 2 * t for k, t in net.state_dict().items()}),
    "draw_weights": lambda net: net.draw_weights(9),
    "a layer replaced": lambda net: setattr(net, "conv1", nn.Conv2d(4, 8, 3, bias=False, device=net.device)),
    "strides alone": lambda net: _transpose(net),
    "channels_last": lambda net: net.to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("what", list(CHANGES))
def test_changed_weights_are_seen(what: str, device: str) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    before = net(x)
    CHANGES[what](net)
    assert error_of(net, x) < 1e-6
    assert torch.equal(before, net(x)) is (what == "channels_last")


def test_unchanged_weights_are_packed_once(device: str) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    net(x)
    packed = net._packed
    net.eval()(x)
    net(x[:1])
    assert net._packed is packed


def test_made_and_run_in_inference_mode(device: str) -> None:
    x = random(2, 4, 6, 5, device=device)
    with torch.inference_mode():
        net = compiled(device=device)
        assert error_of(net, x) < 1e-6
    with torch.no_grad():
        net.head.fc.weight.mul_(2)
    assert error_of(net, x) < 1e-6


def test_weights_assigned_in_inference_mode(device: str) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    with torch.inference_mode():
        net.load_state_dict({k: 2 * t for k, t in net.state_dict().items()}, assign=True)
        assert error_of(net, x) < 1e-6
        net.head.fc.weight.mul_(2)  # counted by nobody
        assert error_of(net, x) < 1e-6
    net.draw_weights(1)
    assert error_of(net, x) < 1e-6


# --- a module among modules ----------------------------------------------------------------------


def test_copies_and_pickles(device: str) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    y = net(x)
    stream = io.BytesIO()
    torch.save(net, stream)
    stream.seek(0)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(stream, weights_only=False)):
        assert torch.equal(other(x), y)
        other.draw_weights(3)
        assert not torch.equal(other(x), y)
        assert torch.equal(net(x), y)


def test_inside_another_module(device: str) -> None:
    whole = nn.Sequential(compiled(device=device), nn.Linear(3, 2).to(device))
    x = random(2, 4, 6, 5, device=device)
    whole(x).sum().backward()
    assert whole[1].weight.grad is not None
    assert list(whole.state_dict())[:2] == ["0.conv1.weight", "0.bn1.weight"]
    whole.eval().train().zero_grad()
    assert str(whole[0]).startswith(f"Network(\n  Small, fp32 on {whole[0].device}, 3 kernels\n")


@pytest.mark.parametrize("name", [
    "type", "half", "forward", "training", "drawn", "graph", "plan", "device", "weight", "bias", "state_dict", "to",
    "_modules", "_parameters", "_packed", "_watch", "_version", "T_destination", "0", "self",
])
def test_labels_that_torch_would_refuse(name: str, device: str) -> None:
    text = f"network T {{ input x [4x4x3] {name}: conv(2, 1x1) g: {{ {name}: conv(2, 1x1) }} }}"
    net, x = compiled(text, device), random(2, 3, 4, 4, device=device)
    keys = [f"{path}{name}.{leaf}" for path in ("", "g.") for leaf in ("weight", "bias")]
    assert list(net.state_dict()) == keys
    net.train()
    net.eval()
    assert not any(module.training for module in net.modules() if not isinstance(module.training, nn.Module))
    net.load_state_dict(net.state_dict())
    net.draw_weights(1)
    assert net.drawn == tuple(keys)
    net.load_weights({key: 2 * t for key, t in net.state_dict().items()})
    assert error_of(net, x) < 1e-6
    assert torch.equal(copy.deepcopy(net)(x), net(x))


REFUSED: dict[str, Callable[[Network], object]] = {
    "half": lambda net: net.half(),
    "double": lambda net: net.double(),
    "to a type": lambda net: net.to(torch.bfloat16),
    "to a device": lambda net: net.to("meta"),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_stays_where_it_is(what: str, device: str) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    y = net(x)
    code, text = refusal(lambda: REFUSED[what](net))
    assert code == "E0503"
    assert text == f"""error[E0503]: a compiled network stays on its device and in its type
  = note: it was compiled for {net.device} in fp32
  = help: compile it again: cnndsl.compile(source, device="cuda", dtype=torch.float16)"""
    assert torch.equal(net.float().to(device).requires_grad_(requires_grad=False)(x), y)


# --- compiling -----------------------------------------------------------------------------------


def test_sources(tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.cnn").write_text(SMALL)
    (tmp_path / "both.cnn").write_text(SMALL + TWO)
    monkeypatch.chdir(tmp_path)
    shapes = []
    for source, options in [
        (SMALL, {}),
        (SMALL + TWO, {"network": "Small"}),
        ("one.cnn", {}),
        (str(tmp_path / "one.cnn"), {}),
        (tmp_path / "one.cnn", {}),
        ("both.cnn:Small", {}),
        (tmp_path / "both.cnn", {"network": "Small"}),
    ]:
        net = cnndsl.compile(source, device=device, set={"classes": 7}, **options)
        shapes.append(net(random(2, 4, 6, 5, device=device)).shape)
    assert set(shapes) == {(2, 7)}


@pytest.mark.parametrize(("source", "options", "code"), [
    ("no_such_file.cnn", {}, None),
    (SMALL + TWO, {}, None),
    (SMALL, {"network": "Smal"}, None),
    (SMALL, {"set": {"clases": 3}}, "E0219"),
    (SMALL, {"set": {"classes": 2.5}}, None),
    ("network T { input x [3x3x1] conv(2, 5x5) }", {}, "E0304"),
])
def test_wrong_sources(source: str, options: dict[str, Any], code: str | None) -> None:
    found, text = refusal(lambda: cnndsl.compile(source, device="cuda" if CUDA else "cpu", **options))
    assert code is None or found == code
    assert "Traceback" not in text


@pytest.mark.parametrize("dtype", [torch.float64, "fp64", torch.int8, torch.complex64, "half", float, ["fp16"]])
def test_unknown_type(dtype: Any) -> None:
    code, text = refusal(lambda: cnndsl.compile(SMALL, dtype=dtype))
    assert code == "E0604"
    assert text.startswith(f"error[E0604]: networks do not run in {dtype}\n")
    assert ("net.reference(x.double())" in text) is (dtype in (torch.float64, "fp64", float))


@pytest.mark.parametrize("dtype", ["fp32", "tf32", "fp16", "bf16", torch.float32, torch.float16, "bfloat16", None])
def test_types(dtype: Any, device: str) -> None:
    net = compiled(device=device, dtype=dtype)
    x = random(2, 4, 6, 5, device=device).to(net.dtype)
    assert net(x).dtype == net.dtype
    assert all(check.ok for check in verify(net, [x], layers=True))
    assert {t.dtype for t in net.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("place", ["tpu", "mps", "meta", "cuda:99", 3.5, ["cpu"], torch.device("xpu")])
def test_unknown_device(place: Any) -> None:
    assert refusal(lambda: cnndsl.compile(SMALL, device=place))[0] == "E0602"


@pytest.mark.skipif(CUDA, reason="there is a GPU")
def test_no_gpu() -> None:
    code, text = refusal(lambda: cnndsl.compile(SMALL, device="cuda"))
    assert code == "E0602"
    assert text.startswith("error[E0602]: PyTorch finds no GPU here\n")
    assert [cnndsl.compile(SMALL, device=d).device for d in (None, "auto", "cpu:0", torch.device("cpu"))] == 4 * [
        torch.device("cpu")
    ]


def test_properties(device: str) -> None:
    net = compiled(device=device, dtype=torch.float16)
    assert (net.device.type, net.dtype, net.compute) == (device, torch.float16, "fp16")
    assert net.source_path.name == "network.py"
    assert "conv2d_kernel[" in net.source_path.read_text()
    assert [step.group.title for step in net.plan.steps] == ["conv1 + bn1 + relu1", "head.pool", "head.fc"]


# --- verification --------------------------------------------------------------------------------


def test_verify_finds_the_wrong_layer(device: str) -> None:
    net, x = compiled(device=device), random(2, 4, 6, 5, device=device)
    assert all(check.ok for check in verify(net, [x], layers=True))
    net._packed["conv1.weight"].mul_(1.0001)
    checks = verify(net, [x], layers=True)
    assert [check.name for check in checks if check.kind == "layer" and not check.ok] == ["conv1 + bn1 + relu1"]
    assert not next(check for check in checks if check.kind == "output").ok


@pytest.mark.parametrize(("y", "r", "error"), [
    ([1.0, 2.0], [1.0, 2.0], 0.0),
    ([1.0, 2.5], [1.0, 2.0], 0.5 / 5**0.5),
    ([0.0, 0.0], [0.0, 0.0], 0.0),
    ([0.5, 0.0], [0.0, 0.0], 0.5),
    ([torch.nan, 1.0], [torch.nan, 1.0], 0.0),
    ([torch.inf, 1.0], [torch.inf, 1.0], 0.0),
    ([torch.inf, 1.0], [-torch.inf, 1.0], torch.inf),
    ([torch.nan, 1.0], [torch.inf, 1.0], torch.inf),
    ([torch.nan, 1.0], [1.0, 1.0], torch.inf),
    ([1.0, 1.0], [torch.nan, 1.0], torch.inf),
    ([torch.inf, 1.0], [1e30, 1.0], torch.inf),
    ([1.0], [1.0, 1.0], torch.inf),
])
def test_relative_error(y: list[float], r: list[float], error: float) -> None:
    found = relative_error(torch.tensor(y), torch.tensor(r, dtype=torch.float64))
    assert found == pytest.approx(error)
    assert Check("x", "output", found, 1e-5).ok is (error == 0.0)


# --- the cache -----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"raise SystemExit\n", b"\xff\xfe\x00"])
def test_a_damaged_package_is_repaired(damage: bytes, device: str) -> None:
    text = SMALL.replace("Small", f"Damaged{len(damage)}")
    net, x = compiled(text, device), random(1, 4, 6, 5, device=device)
    whole = net.source_path.read_bytes()
    net.source_path.write_bytes(damage)
    again = compiled(text, device)
    assert torch.equal(again(x), net(x))
    assert again.source_path.read_bytes() == whole


def test_a_package_is_written_once(device: str) -> None:
    path = compiled(device=device).source_path
    before = path.stat().st_mtime_ns
    assert compiled(device=device).source_path.stat().st_mtime_ns == before
    assert sorted(p.name for p in path.parent.iterdir() if p.name != "__pycache__") == ["__init__.py", "network.py"]


def test_no_folder_for_packages(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path / "file"))
    net = compiled(device=device)
    code, text = refusal(lambda: net(random(1, 4, 6, 5, device=device)))
    assert code == "E0606"
    assert text == f"""error[E0606]: cannot write the compiled network to {tmp_path}/file/packages: Not a directory
  = help: set CNNDSL_CACHE to a folder that can be written"""


def test_long_names(device: str) -> None:
    net = compiled(SMALL.replace("Small", "Small" * 100), device)
    assert net(random(1, 4, 6, 5, device=device)).shape == (1, 3)


# --- other processes -----------------------------------------------------------------------------


def start(script: str, **environment: str) -> subprocess.Popen[str]:
    """Run a script in a Python of its own, without this process's choice between interpreter and GPU."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | environment
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


def result(process: subprocess.Popen[str]) -> str:
    """What it printed. It must end well."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_two_processes_write_one_package(tmp_path: Path) -> None:
    """Ten networks each, at the same time, into one folder; without torch."""
    script = """
        import sys
        from cnndsl.codegen.emit import write_package
        from cnndsl.files import choose_network, load_text
        from cnndsl.passes.elaborate import elaborate
        from cnndsl.passes.fuse import fuse
        from cnndsl.passes.plan import plan
        from cnndsl.passes.simplify import simplify
        from cnndsl.targets import get
        plans = []
        for i in range(10):
            program = load_text(f"network T{i} {{ input x [4x4x3] repeat 20 {{ conv(3, 1x1) }} }}")
            graph = elaborate(program, choose_network(program, None))
            plans.append(plan(fuse(simplify(graph)), target=get("sm_90"), dtype="fp16"))
        sys.stdin.readline()
        print([len(write_package(p).read_bytes()) for p in plans], "torch" in sys.modules)
    """
    script = textwrap.dedent(script)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script], env={**os.environ, "CNNDSL_CACHE": str(tmp_path)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    outputs = [p.communicate("go\n", timeout=300) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs
    assert outputs[0] == outputs[1]
    assert outputs[0][0].endswith("False\n")
    folders = list((tmp_path / "packages").iterdir())
    assert len(folders) == 10, "a folder was left behind"


def test_without_triton() -> None:
    """Checking and summing up work; running says what is missing."""
    process = start("""
        import sys
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "triton":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Missing())
        import cnndsl
        from cnndsl.files import choose_network, load_text
        from cnndsl.passes.elaborate import elaborate
        text = "network T { input x [4x4x3] conv(2, 1x1) }"
        program = load_text(text)
        print(elaborate(program, choose_network(program, None)).nodes[-1].type)
        try:
            cnndsl.compile(text)
        except cnndsl.CnnError as error:
            print(error)
    """)
    assert result(process) == """[4x4x2]
error[E0601]: running a network needs Triton, which is not installed
  = note: Triton has packages for Linux alone; `check`, `summary` and `inspect` work without it
  = help: pip install triton
"""


@pytest.mark.skipif(CUDA, reason="compiles for the CPU")
def test_another_process(tmp_path: Path) -> None:
    """A pickled network runs in a fresh process; where Triton is set up for GPUs already, it says so."""
    net, x = compiled(), random(2, 4, 6, 5)
    (tmp_path / "net.pkl").write_bytes(pickle.dumps((net, x, net(x))))
    load = f"""
        import pickle, torch, cnndsl
        net, x, y = pickle.loads(open({str(tmp_path / "net.pkl")!r}, "rb").read())
        try:
            print(torch.equal(net(x), y))
        except cnndsl.CnnError as error:
            print(error)
    """
    fresh, taken = start(load), start("import triton.language\n" + textwrap.dedent(load))
    assert result(fresh) == "True\n"
    assert result(taken) == """error[E0603]: this process has Triton set up for GPUs already
  = note: Triton chooses between GPU and interpreter when it is first imported, once for a process
  = help: set TRITON_INTERPRET=1 before the first import of triton to run on the CPU
"""
