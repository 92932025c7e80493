"""The examples with branches, and the other networks of the literature after VGG: what is published of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Exact counts of what leads to `main`, in convolutions and dense layers, and what others say of them.

    `gmacs` is a published figure, as many decimals as it has; `source` says whose. `model` is the network of
    torchvision with the same state dict, and `side` a side of pictures so small that a test takes little time, and
    yet one at which every pool that rounds up has something to round (None: shapes allow no other size).
    """

    parameters: int
    macs: int
    gmacs: str = ""
    source: str = ""
    model: str | None = None
    side: int | None = None


TORCHVISION = "torchvision, documentation of the weights"

BRANCHED = {
    "googlenet": Published(6_998_552, 1_582_671_872),
    "googlenet_torchvision": Published(
        6_624_904, 1_498_376_192, "1.498", TORCHVISION, model="googlenet", side=107
    ),
    "resnet18": Published(11_689_512, 1_814_073_344, "1.814", TORCHVISION, model="resnet18", side=72),
    "resnet34": Published(21_797_672, 3_663_761_408, "3.664", TORCHVISION, model="resnet34", side=72),
    "resnet50": Published(25_557_032, 4_089_184_256, "4.089", TORCHVISION, model="resnet50", side=72),
    "resnet101": Published(44_549_160, 7_801_405_440, "7.801", TORCHVISION, model="resnet101", side=40),
    "resnet152": Published(60_192_808, 11_513_626_624, "11.514", TORCHVISION, model="resnet152", side=40),
    "resnet50_v1": Published(25_557_032, 3_857_973_248, "3.8", "the paper's table 1", side=72),
    "squeezenet1_0": Published(1_248_424, 818_924_576, "0.819", TORCHVISION, model="squeezenet1_0", side=63),
    "squeezenet1_1": Published(1_235_496, 349_151_936, "0.349", TORCHVISION, model="squeezenet1_1", side=63),
    "zfnet": Published(62_357_608, 1_168_032_896),
    "darknet19": Published(20_842_376, 2_790_989_824, "2.79", "the paper, section 3: 5.58 billion operations", side=64),
    "densenet121": Published(7_978_856, 2_834_161_664, "2.834", TORCHVISION, model="densenet121", side=64),
    "efficientnet_b0": Published(5_288_548, 385_814_752, "0.386", TORCHVISION, model="efficientnet_b0", side=64),
    "mobilenet_v1": Published(4_231_976, 568_740_352, "0.569", "the paper's table 8", side=64),
    "mobilenet_v2": Published(3_504_872, 300_774_272, "0.301", TORCHVISION, model="mobilenet_v2", side=64),
    "regnet_x_400mf": Published(5_495_976, 413_812_608, "0.414", TORCHVISION, model="regnet_x_400mf", side=64),
    "regnet_y_400mf": Published(4_344_144, 401_842_848, "0.402", TORCHVISION, model="regnet_y_400mf", side=64),
    "shufflenet_v1": Published(1_865_728, 137_460_672, "0.137", "the paper's table 2: 137 million", side=64),
}

HEADS = {
    "googlenet": (13_378_280, 1_591_044_096),
    "googlenet_torchvision": (13_004_888, 1_506_748_416),
}
"""Parameters and multiply-accumulates of all outputs, where there are more than `main`."""
