"""Networks with edited kernels, for tests of those."""

from pathlib import Path
from typing import Any

from small import refusal

import cnndsl
from cnndsl.runtime.executor import Network

NET = """network Net {
    input image [9x8x3]
    conv1: conv(8, 3x3, pad=1, bias=false) -> batchnorm -> relu
    fork: concat { { left: conv(8, 1x1) -> leaky_relu } { right: conv(8, 3x3, pad=1) } }
    a: conv(16, 3x3, pad=1) -> relu
    b: conv(16, 3x3, pad=1) -> relu
    c: conv(16, 3x3, pad=1) -> add(@a) -> relu
    lrn1: lrn(alpha=1e-2) -> maxpool(2x2)
    fc: dense(5)
}"""
PAIR = "network Pair { input image [9x8x3] conv(4, 1) -> relu b: conv(4, 3x3, pad=1) -> relu }"
"""Where one layer is enough."""


def compiled(device: str, text: str = NET, **options: Any) -> Network:
    return cnndsl.compile(text, device=device, **options)


def refused(device: str, path: Path, layer: str = "b", text: str = NET, **options: Any) -> str:
    code, said = refusal(lambda: compiled(device, text, kernels={layer: path}, **options))
    assert code == "E0621"
    return said
