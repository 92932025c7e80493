"""A network's weights: their names, where they come from, and that the kernels see every change."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small import SMALL, Torch, compiled, error_of, random
from torch import nn

import cnndsl
from cnndsl import CnnError
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import relative_error

# --- weights --------------------------------------------------------------------------------------


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
    with torch.no_grad():
        torch._foreach_add_(list(net.parameters()), 0.5)  # as torch's optimizers do; importing those takes seconds


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
    "strides alone": _transpose,
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


def test_an_unknown_way_of_matching_is_refused() -> None:
    net = cnndsl.compile("network N { input x [4] dense(2) }", device="cpu")
    with pytest.raises(CnnError, match="matched by 'typo'"):
        net.load_weights(net.state_dict(), match="typo")
