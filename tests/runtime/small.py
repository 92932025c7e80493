"""What the tests of the executor share: two small networks, the same in torch, and where they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import random_weights
from torch import nn

import cnndsl
from cnndsl import CnnError
from cnndsl.runtime.executor import Network
from cnndsl.runtime.verify import relative_error

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
