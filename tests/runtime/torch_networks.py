"""Networks of the examples that torchvision does not have, in plain torch, with the keys of the .cnn files."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as f

Tensor = torch.Tensor


def rounded_up(x: Tensor, *, kernel: int = 3) -> Tensor:
    return f.max_pool2d(x, kernel, stride=2, ceil_mode=True)


class Inception(nn.Module):
    def __init__(self, channels: int, c1: int, r3: int, c3: int, r5: int, c5: int, proj: int) -> None:
        super().__init__()
        self.conv_1x1 = nn.Conv2d(channels, c1, 1)
        self.conv_3x3_reduce, self.conv_3x3 = nn.Conv2d(channels, r3, 1), nn.Conv2d(r3, c3, 3, padding=1)
        self.conv_5x5_reduce, self.conv_5x5 = nn.Conv2d(channels, r5, 1), nn.Conv2d(r5, c5, 5, padding=2)
        self.pool_proj = nn.Conv2d(channels, proj, 1)

    def forward(self, x: Tensor) -> Tensor:
        arms = (
            self.conv_1x1(x),
            self.conv_3x3(f.relu(self.conv_3x3_reduce(x))),
            self.conv_5x5(f.relu(self.conv_5x5_reduce(x))),
            self.pool_proj(f.max_pool2d(x, 3, stride=1, padding=1)),
        )
        return f.relu(torch.cat(arms, 1))


class Auxiliary(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(channels, 128, 1), nn.Linear(2048, 1024)
        self.classifier = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = f.relu(self.conv(f.avg_pool2d(x, 5, stride=3)))
        y: Tensor = self.classifier(f.relu(self.fc(x.flatten(1))))
        return y


class GoogLeNet(nn.Module):
    """The paper's; `forward` gives what leads to `main`, and heads are called by hooks, as torchvision's must be."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.conv2_reduce, self.conv2 = nn.Conv2d(64, 64, 1), nn.Conv2d(64, 192, 3, padding=1)
        self.inception_3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception_3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.inception_4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception_4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception_4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception_4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception_4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.inception_5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception_5b = Inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1, self.aux2 = Auxiliary(512, classes), Auxiliary(528, classes)
        self.classifier = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = f.local_response_norm(rounded_up(f.relu(self.conv1(x))), 5, alpha=1e-4, beta=0.75, k=1)
        x = f.relu(self.conv2(f.relu(self.conv2_reduce(x))))
        x = rounded_up(f.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1))
        x = rounded_up(self.inception_3b(self.inception_3a(x)))
        x = self.inception_4d(self.inception_4c(self.inception_4b(self.inception_4a(x))))
        x = self.inception_5b(self.inception_5a(rounded_up(self.inception_4e(x))))
        y: Tensor = self.classifier(x.mean((2, 3)))
        return y


class ZFNet(nn.Module):
    """For pictures that leave `pixels` at the end, 36 at full size."""

    def __init__(self, classes: int, *, pixels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2, padding=1)
        self.conv2 = nn.Conv2d(96, 256, 5, stride=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1)
        self.fc6, self.fc7 = nn.Linear(256 * pixels, 4096), nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, classes)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2):
            x = f.local_response_norm(rounded_up(f.relu(conv(x))), 5, alpha=5e-4, beta=0.75, k=2)
        for conv in (self.conv3, self.conv4, self.conv5):
            x = f.relu(conv(x))
        x = f.relu(self.fc7(f.relu(self.fc6(rounded_up(x).flatten(1)))))
        y: Tensor = self.fc8(x)
        return y


class Normalised(nn.Module):
    def __init__(self, channels: int, filters: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        return f.leaky_relu(self.bn(self.conv(x)), 0.1)


class Darknet19(nn.Module):
    STAGES = ((32,), (64,), (128, 64, 128), (256, 128, 256), (512, 256, 512, 256, 512), (1024, 512, 1024, 512, 1024))

    def __init__(self, classes: int) -> None:
        super().__init__()
        number, channels = 0, 3
        for stage in self.STAGES:
            for index, filters in enumerate(stage):
                number += 1
                self.add_module(f"conv{number}", Normalised(channels, filters, 1 if index % 2 else 3))
                channels = filters
        self.conv19 = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        units: Iterator[nn.Module] = iter(self.children())
        for stage in self.STAGES:
            x = f.max_pool2d(x, 2) if stage is not self.STAGES[0] else x
            for _ in stage:
                x = next(units)(x)
        y: Tensor = self.conv19(x)
        return y.mean((2, 3))
