"""MobileNets, DenseNet, ShuffleNet, RegNets and EfficientNet against torch, and wrong networks that must be told apart.

Each stands beside torchvision's module, or the paper's in plain torch, and takes its state dict. Wrong ones are what a
person would write who overlooked a detail that changes neither shapes nor keys.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from functools import cache

import pytest
import torch
from example_graphs import EXAMPLES
from poisoned import poison
from torch import nn
from torchvision_models import models

import cnndsl
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import relative_error

TOLERANCE = 1e-5
"""torch itself in fp32 comes within 5e-6 of fp64."""
CLASSES = 10

# Sides of pictures that leave 2x2 pixels to the last stages; MobileNet's and DenseNet's are even all the way, so that
# it shows where an odd pixel of padding goes.
SIDES = {
    "densenet121": 64,
    "efficientnet_b0": 48,
    "mobilenet_v1": 64,
    "mobilenet_v2": 48,
    "regnet_x_400mf": 33,
    "regnet_y_400mf": 33,
    "shufflenet_v1": 48,
}


# --- the same in torch ---------------------------------------------------------------------------


def unit(channels: int, filters: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and its normalisation."""
    padding = kernel // 2
    conv = nn.Conv2d(channels, filters, kernel, stride=stride, padding=padding, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(filters)]


def mobilenet(classes: int) -> nn.Module:
    """Table 1 of the paper; its last depthwise layer has stride 2 there, though its shapes stay: 1."""
    layers = [*unit(3, 32, 3, stride=2), nn.ReLU()]
    channels = 32
    for filters in (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024):
        stride = 2 if filters > max(channels, 64) else 1
        layers += [*unit(channels, channels, 3, stride=stride, groups=channels), nn.ReLU()]
        layers += [*unit(channels, filters), nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Shuffled(nn.Module):
    """A unit of ShuffleNet: figure 2 (b) of the paper, and with a stride (c)."""

    def __init__(self, channels: int, filters: int, *, stride: int = 1, first: bool = False) -> None:
        super().__init__()
        self.stride, narrow = stride, filters // 4
        self.reduce = nn.Sequential(*unit(channels, narrow, groups=1 if first else 3), nn.ReLU())
        self.depthwise = nn.Sequential(*unit(narrow, narrow, 3, stride=stride, groups=narrow))
        self.expand = nn.Sequential(*unit(narrow, filters - channels if stride == 2 else filters, groups=3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.reduce(x).unflatten(1, (3, -1)).transpose(1, 2).flatten(1, 2)
        y = self.expand(self.depthwise(y))
        if self.stride == 1:
            return torch.relu(x + y)
        return torch.relu(torch.cat([nn.functional.avg_pool2d(x, 3, stride=2, padding=1), y], 1))


def shufflenet(classes: int) -> nn.Module:
    """Column g = 3 of table 1."""
    layers = [*unit(3, 24, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
    channels = 24
    for filters, repeats in ((240, 3), (480, 7), (960, 3)):
        layers.append(Shuffled(channels, filters, stride=2, first=channels == 24))
        layers += [Shuffled(filters, filters) for _ in range(repeats)]
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def regnet(name: str, classes: int) -> nn.Module:
    """torchvision's, with at most three blocks of a stage: the others are the third once more, and slow here."""
    module: nn.Module = getattr(models(), name)(num_classes=classes)
    trunk = module.get_submodule("trunk_output")
    for stage, blocks in list(trunk.named_children()):
        trunk.add_module(stage, nn.Sequential(OrderedDict(list(blocks.named_children())[:3])))
    return module


WRITTEN_HERE: dict[str, Callable[[int], nn.Module]] = {"mobilenet_v1": mobilenet, "shufflenet_v1": shufflenet}


def draw(module: nn.Module, x: torch.Tensor) -> None:
    """Random norms that keep activations of any depth at their size.

    Statistics are those of `x`, each off by a random part; scales are so large that relu6 cuts some values off.
    """
    generator = torch.Generator().manual_seed(2)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.normal_(0, layer.weight[0].numel() ** -0.5, generator=generator)
                if layer.bias is not None:
                    layer.bias.normal_(generator=generator)
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.uniform_(-0.5, 0.5, generator=generator)
            norm.momentum = 1.0
            norm.train()
        module(x)
        for norm in norms:
            norm.eval()
            spread = norm.running_var.sqrt()
            norm.running_mean.add_(spread * torch.randn(spread.shape, generator=generator) / 4)
            norm.running_var.mul_(torch.empty_like(spread).uniform_(0.7, 1.4, generator=generator))


@cache
def oracle(name: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """A state dict, two pictures, and what torch makes of them in fp64."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    if name in WRITTEN_HERE:
        module = WRITTEN_HERE[name](CLASSES).eval()
    elif name.startswith("regnet"):
        module = regnet(name, CLASSES).eval()
    else:
        module = getattr(models(), name)(num_classes=CLASSES).eval()
    side = SIDES[name]
    draw(module, torch.randn(16, 3, side, side, generator=generator))
    x = torch.randn(2, 3, side, side, generator=generator)
    state = {key: t.clone() for key, t in module.state_dict().items()}
    with torch.no_grad():
        y = module.double()(x.double())
    # Nothing has died out on the way: the two pictures give results as different as results can be.
    assert y.std() > 0.1
    assert relative_error(y[0], y[1]) > 0.1
    return state, x, y


# --- networks ------------------------------------------------------------------------------------


def loaded(name: str, old: str = "", new: str = "") -> Network:
    """An example for small pictures, with the pattern `old` replaced, and the oracle's values."""
    parts = re.findall(r'^use "(.*)"\n', (EXAMPLES / f"{name}.cnn").read_text(), re.MULTILINE)
    text = "".join((EXAMPLES / part).read_text() for part in [*parts, f"{name}.cnn"])
    text = re.sub(r'^use ".*"\n|(?<=\S) +\[[^]]+\]$', "", text, flags=re.MULTILINE)
    text = text.replace("[224x224x3]", f"[{SIDES[name]}x{SIDES[name]}x3]").replace("crop=224", f"crop={SIDES[name]}")
    if name.startswith("regnet"):
        text = re.sub(r"repeat \d+", "repeat 2", text)
    changed = re.sub(old, new, text) if old else text
    assert not old or changed != text
    net = cnndsl.compile(changed, device="cpu", set={"classes": CLASSES})
    state, _, _ = oracle(name)
    if name in WRITTEN_HERE:  # in the order of the layers, but under other keys
        state = dict(zip(net.state_dict(), (t for t in state.values() if t.ndim), strict=True))
    net.load_state_dict(state)
    return net


@pytest.mark.parametrize("name", SIDES)
def test_small_pictures(name: str) -> None:
    net, (_, x, y) = loaded(name), oracle(name)
    poison(net, len(x))
    assert relative_error(net(x), y) < TOLERANCE
    assert relative_error(net.reference(x.double()), y) < TOLERANCE / 1e6


# What the text says, as a pattern, and what somebody might write instead.
NO_RESIDUAL = ("if stride == 1 and in.channels == channels", "if false")
EPSILON = (r"\bbatchnorm\b(?= ->|\n)", "batchnorm(eps=1e-3)")
MUTATIONS = [
    ("densenet121", *EPSILON),
    ("densenet121", r"norm5: batchnorm -> relu", "norm5: batchnorm"),
    ("densenet121", r"norm1: batchnorm -> relu -> (conv1: .*)", r"norm1: batchnorm -> \1 -> relu"),
    ("densenet121", r"avgpool\(2x2", "maxpool(2x2"),
    ("densenet121", r"concat \{\s*\{ \}\s*(\{[^}]*\})", r"concat { \1 { }"),
    ("efficientnet_b0", *EPSILON),
    ("efficientnet_b0", *NO_RESIDUAL),
    ("efficientnet_b0", "-> sigmoid", "-> hardsigmoid"),
    ("efficientnet_b0", "silu -> fc2", "relu -> fc2"),
    ("efficientnet_b0", "batchnorm -> silu", "batchnorm -> hardswish"),
    ("efficientnet_b0", r"(2: excite\(squeeze\))\n", r"\1 -> silu\n"),
    ("mobilenet_v1", *EPSILON),
    ("mobilenet_v1", r"\brelu\b", "relu6"),
    ("mobilenet_v1", "pad=1, groups", "pad=same, groups"),
    ("mobilenet_v1", r"(depthwise: .*?) -> relu", r"\1"),
    ("mobilenet_v2", *EPSILON),
    ("mobilenet_v2", *NO_RESIDUAL),
    ("mobilenet_v2", "relu6", "relu"),
    ("mobilenet_v2", "3: batchnorm", "3: batchnorm -> relu6"),
    ("regnet_x_400mf", *EPSILON),
    ("regnet_x_400mf", r"\}\n    relu\n", "}\n"),
    ("regnet_x_400mf", r"(a: .*) -> relu", r"\1"),
    ("regnet_y_400mf", "-> sigmoid", "-> hardsigmoid"),
    ("regnet_y_400mf", "relu -> fc2", "silu -> fc2"),
    ("regnet_y_400mf", "globalavgpool -> fc1", "globalmaxpool -> fc1"),
    ("shufflenet_v1", *EPSILON),
    ("shufflenet_v1", r"channel_shuffle\(3\)\n", ""),
    ("shufflenet_v1", r"channel_shuffle\(3\)", "channel_shuffle(narrow // 3)"),
    ("shufflenet_v1", r"(depthwise: .*)", r"\1 -> relu"),
    ("shufflenet_v1", r"pad=1\) \}", "pad=1, count_pad=false) }"),
    ("shufflenet_v1", r"(?s)(concat \{.*?\n    \}\n)    relu", r"\1"),
]


@pytest.mark.parametrize(("name", "old", "new"), MUTATIONS)
def test_wrong_networks_are_noticed(name: str, old: str, new: str) -> None:
    """By torch's own operators, since it is the text that is wrong."""
    _, x, y = oracle(name)
    assert relative_error(loaded(name, old, new).reference(x.double()), y) > 100 * TOLERANCE
