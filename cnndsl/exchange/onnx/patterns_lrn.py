"""Local response normalisation written in arithmetic: as torch's exporter does, and as this package's own.

ONNX has an operator for it, but torch's exporter does not use it, and it has no window of even size as torch's.
"""

from __future__ import annotations

import numpy as np

from cnndsl.exchange.onnx.draft import ChannelMean, ChannelPad, Item, Power
from cnndsl.exchange.onnx.sweep import Sweep, becomes, scalar
from cnndsl.exchange.onnx.values import plain
from cnndsl.ops.conv import Conv
from cnndsl.ops.joins import Mul
from cnndsl.ops.normalize import LocalResponseNorm

Window = tuple[int, float, float]
"""The size of a window over channels, alpha and k."""


def lrn(sweep: Sweep, item: Item) -> Item | None:
    """x / (k + alpha * mean of squares) ^ beta, of a quotient."""
    x, divisor = item.inputs
    power = sweep.of(divisor)
    beta, number = (power.op.exponent, power.inputs[0]) if isinstance(power.op, Power) else (1.0, divisor)
    found = _window_of_means(sweep, number, x) or _window_of_band(sweep, number, x)
    if found is None:
        return None
    size, alpha, k = found
    return becomes(item, LocalResponseNorm(size, alpha=plain(alpha), beta=beta, k=plain(k)), x)


def _is_square(sweep: Sweep, number: int, x: int) -> bool:
    item = sweep.of(number)
    return isinstance(item.op, Mul) and item.inputs == (x, x)


def _window_of_means(sweep: Sweep, number: int, x: int) -> Window | None:
    """alpha * (mean over channels, with zeros on either side) + k: torch's exporter."""
    alpha, k = 1.0, 0.0
    for _ in range(4):
        found = scalar(sweep.of(number))
        if found is None:
            break
        alpha, k, number = alpha * found[0], k + alpha * found[1], sweep.of(number).inputs[0]
    mean = sweep.of(number)
    if not isinstance(mean.op, ChannelMean):
        return None
    size, border = mean.op.size, sweep.of(mean.inputs[0])
    # An even window has its extra channel below.
    if border.op != ChannelPad(size // 2, (size - 1) // 2) or not _is_square(sweep, border.inputs[0], x):
        return None
    return size, alpha, k


def _window_of_band(sweep: Sweep, number: int, x: int) -> Window | None:
    """A 1x1 convolution by a band of one value: what `cnndsl export` writes for windows of even size."""
    item = sweep.of(number)
    plain_conv = isinstance(item.op, Conv) and item.op == Conv(item.op.filters, (1, 1), bias=True)
    if not plain_conv or not _is_square(sweep, item.inputs[0], x):
        return None
    band, k = item.weights["weight"][:, :, 0, 0], item.weights["bias"]
    channels = np.arange(len(band))
    distance = channels[None, :] - channels[:, None]
    if band.shape[0] != band.shape[1] or not band.any():
        return None
    size = int(distance[band != 0].max() - distance[band != 0].min()) + 1
    within = (distance >= -(size // 2)) & (distance <= (size - 1) // 2)
    value = band[0, 0]
    if (band != np.where(within, value, 0)).any() or (k != k[0]).any():
        return None
    return size, float(value) * size, float(k[0])
