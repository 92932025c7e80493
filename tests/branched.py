"""The examples with branches, and the other networks of the literature after VGG: what is published of them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchvision_models import models


@dataclass(frozen=True)
class Published:
    """Exact counts of what leads to `main`, in convolutions and dense layers, and what others say of them.

    `gmacs` is a published figure, as many decimals as it has; `source` says whose. `model` is the network of
    torchvision with the same state dict.
    """

    parameters: int
    macs: int
    gmacs: str = ""
    source: str = ""
    model: str | None = None


TORCHVISION = "torchvision, documentation of the weights"

BRANCHED = {
    "googlenet": Published(6_998_552, 1_582_671_872),
    "googlenet_torchvision": Published(6_624_904, 1_498_376_192, "1.498", TORCHVISION, model="googlenet"),
    "resnet18": Published(11_689_512, 1_814_073_344, "1.814", TORCHVISION, model="resnet18"),
    "resnet34": Published(21_797_672, 3_663_761_408, "3.664", TORCHVISION, model="resnet34"),
    "resnet50": Published(25_557_032, 4_089_184_256, "4.089", TORCHVISION, model="resnet50"),
    "resnet101": Published(44_549_160, 7_801_405_440, "7.801", TORCHVISION, model="resnet101"),
    "resnet152": Published(60_192_808, 11_513_626_624, "11.514", TORCHVISION, model="resnet152"),
    "resnet50_v1": Published(25_557_032, 3_857_973_248, "3.8", "the paper's table 1"),
    "squeezenet1_0": Published(1_248_424, 818_924_576, "0.819", TORCHVISION, model="squeezenet1_0"),
    "squeezenet1_1": Published(1_235_496, 349_151_936, "0.349", TORCHVISION, model="squeezenet1_1"),
    "zfnet": Published(62_357_608, 1_168_032_896),
    "darknet19": Published(20_842_376, 2_790_989_824, "2.79", "the paper, section 3: 5.58 billion operations"),
    "densenet121": Published(7_978_856, 2_834_161_664, "2.834", TORCHVISION, model="densenet121"),
    "efficientnet_b0": Published(5_288_548, 385_814_752, "0.386", TORCHVISION, model="efficientnet_b0"),
    "mobilenet_v1": Published(4_231_976, 568_740_352, "0.569", "the paper's table 8"),
    "mobilenet_v2": Published(3_504_872, 300_774_272, "0.301", TORCHVISION, model="mobilenet_v2"),
    "regnet_x_400mf": Published(5_495_976, 413_812_608, "0.414", TORCHVISION, model="regnet_x_400mf"),
    "regnet_y_400mf": Published(4_344_144, 401_842_848, "0.402", TORCHVISION, model="regnet_y_400mf"),
    "shufflenet_v1": Published(1_865_728, 137_460_672, "0.137", "the paper's table 1: 137 million"),
}

HEADS = {
    "googlenet": (13_378_280, 1_591_044_096),
    "googlenet_torchvision": (13_004_888, 1_506_748_416),
}
"""Parameters and multiply-accumulates of all outputs, where there are more than `main`."""


def torchvision_module(model: str, *, classes: int = 1000) -> nn.Module:
    """torchvision's network on the device "meta", with sizes and no values; GoogLeNet with its auxiliary heads."""
    options: dict[str, Any] = {"aux_logits": True, "init_weights": False} if model == "googlenet" else {}
    # Drawing values takes seconds; but a RegNet computes its widths with tensors, which must have some.
    with torch.device("cpu" if model.startswith("regnet") else "meta"):
        module: nn.Module = getattr(models(), model)(num_classes=classes, **options)
    return module.to("meta").eval()
