"""The executor as a torch module: what it takes, what it gives, and how it stands among other modules."""

from __future__ import annotations

import copy
import io
import pickle
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small import CUDA, TWO, compiled, error_of, random, refusal
from torch import nn

from cnndsl import CnnError
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import Check, relative_error, verify

# --- what goes in ---------------------------------------------------------------------------------


def strided(x: torch.Tensor) -> torch.Tensor:
    wide = torch.full([2 * size for size in x.shape], torch.nan, device=x.device)
    return wide[tuple(slice(1, None, 2) for _ in x.shape)].copy_(x)


def inferred(x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return x.clone()


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": strided,
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "batch last": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "inside a larger one": lambda x: torch.cat([x, x], 1)[:, 4:],
    "negated by a view": lambda x: torch._neg_view(-x),
    "a parameter": nn.Parameter,
    "needing a gradient": lambda x: x.clone().requires_grad_() * 1,
    "an inference tensor": inferred,
}


def same(y: torch.Tensor, other: torch.Tensor) -> bool:
    """Bit for bit in the interpreter; a GPU's compiler may order sums by the strides that it sees."""
    return torch.equal(y, other) if y.device.type == "cpu" else relative_error(y, other) < 1e-6


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_any_layout_gives_the_same(layout: str, device: str) -> None:
    net, x = compiled(device=device), random(3, 4, 6, 5, device=device)
    y = net(x)
    assert same(net(LAYOUTS[layout](x)), y)
    assert not y.requires_grad


def test_expanded_input(device: str) -> None:
    """Strides of 0: one picture as a batch, one channel as four, one pixel as all."""
    net, x = compiled(device=device), random(3, 4, 6, 5, device=device)
    for part in (x[:1], x[:, :1], x[:, :, :1, :1], x[:1, :1, :1, :1]):
        spread = part.expand(3, 4, 6, 5)
        assert same(net(spread), net(spread.contiguous()))


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


def nested(x: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls them a prototype
        return torch.nested.nested_tensor([x[0]])


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
    (
        lambda x: (nested(x),), "E0502",
        "error[E0502]: input `image` is a nested tensor; it must be dense",
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


# --- what comes out -------------------------------------------------------------------------------


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
            wrong.extend(number for _ in range(3) if not torch.equal(net(xs[number]), expected[number]))
        except BaseException as error:  # noqa: BLE001 - a thread's error is told by the test
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- a module among modules -----------------------------------------------------------------------


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


# --- verification ---------------------------------------------------------------------------------


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
