"""The examples after VGG against torchvision's modules, or the same in plain torch, by the modules' state dicts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from branched import BRANCHED, HEADS, torchvision_module
from example_graphs import EXAMPLES, graph_of
from poisoned import poison
from torch import nn
from torch_networks import Darknet19, GoogLeNet, ZFNet
from torchvision_models import models

import cnndsl
from cnndsl.files import choose_network, load_text
from cnndsl.passes.elaborate import elaborate
from cnndsl.runtime.executor import Network
from cnndsl.runtime.reference import evaluate
from cnndsl.runtime.verify import relative_error

Outputs = dict[str, torch.Tensor]

TORCHVISION = (
    "googlenet_torchvision", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "squeezenet1_0", "squeezenet1_1",
)  # fmt: skip
PLAIN = ("googlenet", "resnet50_v1", "zfnet", "darknet19")
FULL = ("googlenet", "resnet18", "resnet50")
"""Run by kernels at full size; the others with an eighth of their channels on small pictures."""

# Sides of small pictures: where pools round up, ones at which they have to. GoogLeNet's auxiliary heads fit one size.
SIDES = {
    "googlenet": 224, "googlenet_torchvision": 64, "resnet18": 72, "resnet34": 72, "resnet50": 72, "resnet101": 40,
    "resnet152": 40, "resnet50_v1": 72, "squeezenet1_0": 69, "squeezenet1_1": 65, "zfnet": 96, "darknet19": 64,
}  # fmt: skip

TOLERANCE = 2e-6


CLASSES = 10

MUTATIONS = [
    ("googlenet", "norm1:        lrn(5, alpha=1e-4", "norm1:        lrn(5, alpha=1e-3"),
    ("googlenet", "k=1)\n    pool2", "k=2)\n    pool2"),
    ("googlenet", "pool4:        maxpool(3x3", "pool4:        maxpool(2x2"),
    ("googlenet", "maxpool(3x3, stride=1", "avgpool(3x3, stride=1"),
    ("googlenet_torchvision", "eps=1e-3", "eps=1e-5"),
    ("googlenet_torchvision", "maxpool3:    maxpool(3x3, stride=2, ceil=true)", "maxpool3:    maxpool(3x3, stride=2)"),
    ("googlenet_torchvision", "maxpool4:    maxpool(2x2", "maxpool4:    maxpool(3x3"),
    ("googlenet_torchvision", "bn:   batchnorm(eps=1e-3)\n    relu", "bn:   batchnorm(eps=1e-3)\n    relu6"),
    ("resnet18", "maxpool(3x3, stride=2, pad=1)", "maxpool(3x3, stride=2, ceil=true)"),
    ("resnet18", "relu\n            conv2: conv(channels, 3x3, pad=1,", "conv2: conv(channels, 3x3, pad=1,"),
    ("resnet18", "    relu\n}\n\n# Down", "}\n\n# Down"),
    ("resnet50", "1x1, bias=false) -> bn1: batchnorm -> relu", "1x1, bias=false) -> bn1: batchnorm"),
    ("resnet50_v1", "maxpool(3x3, stride=2, ceil=true)", "maxpool(3x3, stride=2, pad=1)"),
    ("squeezenet1_0", "0: conv(96, 7x7, stride=2)", "0: conv(96, 7x7, stride=2, pad=2)"),
    ("squeezenet1_1", "0: conv(64, 3x3, stride=2)", "0: conv(64, 3x3, stride=2, pad=1)"),
    ("squeezenet1_1", "1: conv(classes, 1x1) -> relu", "1: conv(classes, 1x1)"),
    ("squeezenet1_1", "expand1x1: conv(expanded, 1x1) -> relu", "expand1x1: conv(expanded, 1x1)"),
    ("zfnet", "norm2: lrn(5, alpha=5e-4", "norm2: lrn(5, alpha=1e-4"),
    ("zfnet", "pool1: maxpool(3x3, stride=2, ceil=true)", "pool1: maxpool(3x3, stride=2)"),
    ("darknet19", "leaky_relu(0.1)", "leaky_relu"),
    ("darknet19", "bn:   batchnorm", "bn:   batchnorm(eps=1e-3)"),
]
"""What is changed in an example or in the file of its blocks; keys stay, and sizes where no assertion stood."""


# --- oracles -------------------------------------------------------------------------------------


def module_of(name: str) -> nn.Module:
    """The same network in torch, with random values."""
    module: nn.Module
    match name:
        case "googlenet":
            module = on_meta(lambda: GoogLeNet(CLASSES))
        case "zfnet":
            module = on_meta(lambda: ZFNet(CLASSES, pixels=4))
        case "darknet19":
            module = on_meta(lambda: Darknet19(CLASSES))
        case "resnet50_v1":
            module = original_resnet50()
        case _:
            module = torchvision_module(str(BRANCHED[name].model), classes=CLASSES)
    module.to_empty(device="cpu")
    draw(module)
    return module.eval()


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):  # values are drawn here, which takes seconds in torch's own way
        return make()


def original_resnet50() -> nn.Module:
    """torchvision's network with the strides and the pool of the authors' one."""
    module = torchvision_module("resnet50", classes=CLASSES)
    module.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    for stage in (module.layer2, module.layer3, module.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return module


def draw(module: nn.Module) -> None:
    """Weights that keep the size of activations (He et al. 2015), and norms that do something."""
    generator = torch.Generator().manual_seed(20)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.uniform_(low, high, generator=generator)

    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.normal_(0, math.sqrt(2 / layer.weight[0].numel()), generator=generator)
                if layer.bias is not None:
                    uniform(layer.bias, -0.3, 0.3)
            elif isinstance(layer, nn.BatchNorm2d):
                uniform(layer.weight, 0.6, 1.2)
                uniform(layer.bias, -0.3, 0.3)
                uniform(layer.running_mean, -0.3, 0.3)
                uniform(layer.running_var, 0.1, 1.5)
                layer.num_batches_tracked.fill_(1000)


HEADS_READ = {"googlenet": ("inception_4a", "inception_4d"), "googlenet_torchvision": ("inception4a", "inception4d")}


def expected(name: str, module: nn.Module, x: torch.Tensor) -> Outputs:
    """All outputs in fp64. In inference, torch's modules leave out the heads: they are called on what they read."""
    module = module.double()
    read: Outputs = {}
    hooks = [
        module.get_submodule(layer).register_forward_hook(lambda _m, _i, y, head=head: read.update({head: y}))
        for head, layer in zip(("aux1", "aux2"), HEADS_READ.get(name, ()), strict=False)
    ]
    with torch.no_grad():
        outputs = {"main": module(x.double())}
        outputs |= {head: module.get_submodule(head)(y) for head, y in read.items()}
    for hook in hooks:
        hook.remove()
    return outputs


# --- networks ------------------------------------------------------------------------------------


def whole(name: str) -> str:
    """An example with the blocks that it uses, as one text."""

    def blocks(line: re.Match[str]) -> str:
        return (EXAMPLES / line[1]).read_text(encoding="utf-8")

    return re.sub(r'^use "(.+)"$', blocks, (EXAMPLES / f"{name}.cnn").read_text(encoding="utf-8"), flags=re.MULTILINE)


def resized(text: str, side: int) -> str:
    """The network for pictures of another side, without the shapes that it asserts."""
    text = re.sub(r"(?<=\S) +\[[^]]+\]$", "", text, flags=re.MULTILINE)
    text = text.replace("[224x224x3]", f"[{side}x{side}x3]")
    return re.sub(r"(crop|resize)=\d+", rf"\1={side}", text)


def narrowed(text: str) -> str:
    """The same with an eighth of the channels."""
    return re.sub(
        r"\b(conv|dense|basic|bottleneck|fire|inception|unit)\((\d+(?:, \d+)*)(?=[,)])",
        lambda m: f"{m[1]}({re.sub(r'[0-9]+', lambda n: str(int(n[0]) // 8), m[2])}",
        text,
    )


def loaded(text: str, module: nn.Module) -> Network:
    """A network with a module's values, taken over as a user of torch would: strictly, with all of its keys."""
    net = cnndsl.compile(text, device="cpu", set={"classes": CLASSES})
    net.load_state_dict(module.state_dict())
    return net


def named(outputs: torch.Tensor | Outputs) -> Outputs:
    return outputs if isinstance(outputs, dict) else {"main": outputs}


def picture(side: int, batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def errors(outputs: torch.Tensor | Outputs, right: Outputs) -> list[float]:
    assert list(named(outputs)) == list(right)
    return [relative_error(named(outputs)[name], y) for name, y in right.items()]


# --- the text is the network that it says ---------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """A network of torch with its values, two pictures, and their outputs in fp64."""

    name: str
    module: nn.Module
    x: torch.Tensor
    outputs: Outputs

    def computed(self, text: str, x: torch.Tensor) -> Outputs:
        """The outputs of a text with the same values, by torch's operators."""
        program = load_text(resized(text, x.shape[-1]))
        graph = elaborate(program, choose_network(program, None), {"classes": CLASSES})
        return evaluate(graph, [x], self.module.state_dict())

    def differs(self, text: str) -> float:
        """How far a text is from the network, on the first picture, in its worst output."""
        return max(errors(self.computed(text, self.x[:1]), {name: y[:1] for name, y in self.outputs.items()}))


@pytest.fixture(scope="module")
def truth(request: pytest.FixtureRequest) -> Truth:
    """Made once for all tests of a network, which pytest runs one after the other."""
    name = str(request.param)
    module, x = module_of(name), picture(SIDES[name], 2)
    return Truth(name, module, x, expected(name, module, x))


def of(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("truth", names, indirect=True)


@of(*TORCHVISION, *PLAIN)
def test_the_text_is_the_network(truth: Truth) -> None:
    assert list(truth.outputs) == ["main", *(("aux1", "aux2") if truth.name in HEADS else ())]
    assert max(errors(truth.computed(whole(truth.name), truth.x.double()), truth.outputs)) < 1e-10
    assert truth.differs(whole(truth.name)) < TOLERANCE
    for y in truth.outputs.values():
        assert y.std() > 0.1
        assert relative_error(y[0], y[1]) > 0.01, "the outputs say nothing of the picture"


@pytest.mark.parametrize(("truth", "old", "new"), MUTATIONS, indirect=["truth"])
def test_another_text_is_another_network(truth: Truth, old: str, new: str) -> None:
    text = whole(truth.name)
    assert text.count(old) == 1
    assert truth.differs(text.replace(old, new)) > 50 * TOLERANCE


@of("resnet50")
def test_the_authors_resnet50_is_not_torchvision_s(truth: Truth) -> None:
    assert truth.differs(whole("resnet50_v1")) > 0.01


@of("googlenet_torchvision")
def test_pictures_of_googlenet(truth: Truth) -> None:
    """torchvision's checkpoint has transform_input, which undoes the usual preparation; here the input has none."""
    (node,) = graph_of(truth.name).inputs
    usual = models().GoogLeNet_Weights.IMAGENET1K_V1.transforms()
    pixels = truth.x.sigmoid().double()

    def prepared(mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
        return (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)

    truth.module.transform_input = True
    theirs = expected(truth.name, truth.module, prepared(usual.mean, usual.std))
    truth.module.transform_input = False
    ours = truth.computed(whole(truth.name), prepared(node.spec.mean, node.spec.std))
    assert max(errors(ours, theirs)) < TOLERANCE
    wrong = truth.computed(whole(truth.name), prepared(usual.mean, usual.std))
    assert min(errors(wrong, theirs)) > 100 * TOLERANCE


# --- weights --------------------------------------------------------------------------------------


@of("resnet18")
def test_counters_of_batches_are_no_surplus(truth: Truth) -> None:
    module = truth.module
    net = cnndsl.compile(whole("resnet18"), device="cpu", set={"classes": CLASSES})
    state = module.state_dict()
    assert "bn1.num_batches_tracked" in state
    assert net.load_state_dict(state) == ([], [])
    last = "layer4.0.downsample.1.running_var"
    assert torch.equal(net.state_dict()[last], state[last].float())
    # But only where there is a batch norm to count for, and nothing else is passed over.
    for key in ("conv1.num_batches_tracked", "bn1.batches"):
        with pytest.raises(RuntimeError, match=f"Unexpected key.*{key}"):
            net.load_state_dict(state | {key: torch.tensor(3)})
    del state["bn1.running_var"]
    with pytest.raises(RuntimeError, match=r"Missing key.*bn1\.running_var"):
        net.load_state_dict(state)
    # And back: torch's own batch norms do without the counters of a state dict that is as old as ours.
    assert module.load_state_dict(net.state_dict()) == ([], [])


# --- kernels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in TORCHVISION + PLAIN if name not in FULL])
def test_kernels_with_few_channels(name: str) -> None:
    side = SIDES[name]
    net = cnndsl.compile(narrowed(resized(whole(name), side)), device="cpu", set={"classes": CLASSES})
    x = picture(side, 2)
    poison(net, 2)
    right = named(net.reference(x.double()))
    assert max(errors(net(x), right)) < TOLERANCE
    assert min(errors(net.reference(x.double().roll(1, 3)), right)) > 100 * TOLERANCE


@pytest.mark.parametrize("name", FULL)
def test_kernels_at_full_size(name: str) -> None:
    """In fp32 against torch in fp64, with all channels, on a picture of the size that the file says."""
    module, x = module_of(name), picture(224, 1)
    net = loaded(whole(name), module)
    poison(net, 1)
    right = expected(name, module, x)
    assert max(errors(net(x), right)) < TOLERANCE
    assert min(errors(net.reference(x.double().roll(1, 3)), right)) > 100 * TOLERANCE
