"""Modules of torch, exported by torch, imported: the same numbers, under the module's own keys."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import cnndsl
from cnndsl.compare import compare
from cnndsl.exchange.imported import Imported, imported
from cnndsl.exchange.model import Model
from cnndsl.exchange.onnx import read_onnx
from cnndsl.files import choose_network, load_text
from cnndsl.ir import Graph
from cnndsl.passes.elaborate import elaborate
from cnndsl.runtime.reference import evaluate
from tests.exchange.onnx_graphs import TOLERANCE, error
from tests.torchvision_models import models


class Everything(nn.Module):
    """Each activation, join and pool once, with the shape arithmetic that people write in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(8), nn.Hardswish())
        self.left = nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=2)
        self.right = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(8, 8, 1), nn.SiLU())
        self.acts = nn.ModuleList([nn.GELU(), nn.ELU(0.5), nn.LeakyReLU(0.2), nn.ReLU6(), nn.Hardsigmoid(), nn.Tanh()])
        self.norm = nn.LocalResponseNorm(3)
        self.squeeze = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16), nn.Sigmoid())
        self.fc = nn.Linear(16 * 9, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = torch.cat([self.left(x), self.right(x) + x], dim=1)
        for act in self.acts:
            x = act(x) + x
        x = nn.functional.pad(self.norm(x), (1, 0, 0, 1))
        x = nn.functional.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)
        x = x * self.squeeze(x.mean((2, 3)))[:, :, None, None]
        y = nn.functional.avg_pool2d(x, 2)
        return self.fc(y.flatten(1)).softmax(1), nn.functional.max_pool2d(x, 2, ceil_mode=True)


def residual() -> nn.Module:
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 2, 1, 1], num_classes=10)


def mobile() -> nn.Module:
    from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

    row = partial(InvertedResidualConfig, width_mult=1.0)
    settings = [row(16, 3, 16, 16, True, "RE", 2, 1), row(16, 5, 24, 24, False, "HS", 2, 1)]
    return MobileNetV3(settings, 32, num_classes=10)


def shuffled(net: nn.Module) -> nn.Module:
    """In evaluation mode, with statistics that are no ones and zeros."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net.eval()


def exported(net: nn.Module, x: torch.Tensor, folder: Path, *, opset: int, folded: bool) -> Model:
    path = folder / "net.onnx"
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that needs no further package
        torch.onnx.export(
            net,
            (x,),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["image"],
            training=mode,
            dynamic_axes={"image": {0: "n"}},
            do_constant_folding=folded,
        )
    return read_onnx(path)


@pytest.mark.parametrize("folded", [False, True], ids=["as it is", "folded"])
@pytest.mark.parametrize(
    ("make", "opset"), [*((Everything, opset) for opset in (9, 11, 13, 17)), (residual, 17), (mobile, 14)],
    ids=lambda v: getattr(v, "__name__", v),
)  # fmt: skip
def test_exported_modules(tmp_path: Path, make, opset: int, folded: bool) -> None:
    if make is not Everything:
        models()
    net = shuffled(make())
    x = torch.randn(2, 3, 20, 20) if make is Everything else torch.randn(2, 3, 64, 64)
    model = exported(net, x, tmp_path, opset=opset, folded=folded)
    with torch.no_grad():
        wanted = net(x)
    made = imported(model)
    outputs = evaluate(model.graph, [x], model.weights).values()
    for ours, theirs in zip(outputs, wanted if isinstance(wanted, tuple) else [wanted], strict=True):
        assert error(ours.numpy(), theirs.numpy()) < TOLERANCE
    own = {key for key in net.state_dict() if not key.endswith("num_batches_tracked")}
    if folded:
        # Batch norms are gone, and the names of weights with them; layers keep theirs by their modules.
        stems = {key.rpartition(".")[0] for key in model.weights}
        assert stems <= {key.rpartition(".")[0] for key in own}
    else:
        assert set(model.weights) == own
        assert set(made.weights) == own


def graph_of(made: Imported) -> Graph:
    program = load_text(made.text)
    return elaborate(program, choose_network(program, None))


@pytest.mark.parametrize("make", [residual, mobile])
def test_both_roads_from_torch_give_the_same(tmp_path: Path, make) -> None:
    """Through ONNX and through torch.export."""
    models()
    net, x = shuffled(make()), torch.randn(2, 3, 64, 64)
    through_onnx = imported(exported(net, x, tmp_path, opset=17, folded=False))
    direct = cnndsl.from_torch(net, x)
    found = compare(graph_of(through_onnx), graph_of(direct))
    assert (found.same, found.keys) == (True, (True, True))
    assert through_onnx.weights.keys() == direct.weights.keys()
    assert all(torch.equal(tensor, direct.weights[key]) for key, tensor in through_onnx.weights.items())
    next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d)).eps = 0.5
    other = cnndsl.from_torch(net, x)
    assert not compare(graph_of(through_onnx), graph_of(other)).same


def test_torchs_lrn_of_even_size(tmp_path: Path) -> None:
    """Its extra channel is below, as the layer's; ONNX's own would have it above."""
    net, x = nn.LocalResponseNorm(4, alpha=0.5, k=2.0).eval(), torch.randn(2, 6, 3, 4)
    model = exported(net, x, tmp_path, opset=17, folded=True)
    assert [n.text for n in model.graph.nodes[1:]] == ["lrn(size=4, alpha=0.5, k=2)"]
    (ours,) = evaluate(model.graph, [x], model.weights).values()
    assert error(ours.numpy(), net(x).numpy()) < TOLERANCE
    above = nn.functional.local_response_norm(x.flip(1), 4, 0.5, 0.75, 2.0).flip(1)
    assert error(above.numpy(), net(x).numpy()) > 100 * TOLERANCE
