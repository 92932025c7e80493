"""Modules of torch as networks: torch itself says what they compute, the text is read back as any file is."""

from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as f
from torch.nn.utils.parametrizations import weight_norm
from torchvision_models import models

import cnndsl
from cnndsl.errors import CnnError
from cnndsl.exchange.imported import Imported
from cnndsl.exchange.torch.export import read_module
from cnndsl.exchange.torch.operators import NEAREST, OPERATORS
from cnndsl.files import choose_network, load_text
from cnndsl.ops import operations
from cnndsl.passes.elaborate import elaborate


def computed(made: Imported, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the text and the weights say, by torch's own operators."""
    program = load_text(made.text)
    graph = elaborate(program, choose_network(program, None))
    images = iter(inputs)
    values: dict[str, torch.Tensor] = {}
    for node in graph.nodes:
        if node.op is None:
            values[node.name] = next(images)
            continue
        own = {w.name: made.weights[f"{node.name}.{w.name}"] for w in node.op.weights(*graph.types_of(node))}
        values[node.name] = node.op.reference([values[name] for name in node.inputs], own)
    return {name: values[node] for name, node in graph.outputs}


def randomised(module: nn.Module) -> nn.Module:
    """The module in evaluation mode, with statistics that are not those of an untrained one."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in module.state_dict().items():
        if name.endswith(("running_mean", "running_var")) or (tensor.dim() == 1 and tensor.is_floating_point()):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.eval()


def check(module: nn.Module, *shapes: tuple[int, ...], **options: Any) -> Imported:
    module = randomised(module)
    inputs = tuple(torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i, shape in enumerate(shapes))
    made = cnndsl.from_torch(module, inputs[0] if len(inputs) == 1 else inputs, **options)
    with torch.no_grad():
        expected = module(*inputs)
    found = computed(made, *inputs)
    expected = expected if isinstance(expected, torch.Tensor) else next(iter(expected))
    torch.testing.assert_close(found["main"], expected, rtol=1e-5, atol=1e-6)
    return made


# --- layers ----------------------------------------------------------------------------------------


class Function(nn.Module):
    """A module of one function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


LAYERS = [
    nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)),
    nn.Conv2d(4, 8, 3, groups=2, bias=False),
    nn.Conv2d(4, 6, 3, padding="same", dilation=2), nn.Conv2d(4, 6, 3, padding="valid"), nn.Conv2d(4, 4, 3, groups=4),
    nn.Sequential(nn.Flatten(), nn.Linear(4 * 9 * 8, 5)), nn.Sequential(nn.Flatten(), nn.Linear(288, 5, bias=False)),
    nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False, eps=1e-2), nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d(2, ceil_mode=True),
    nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveAvgPool2d((3, 2)), nn.AdaptiveMaxPool2d(1), nn.LocalResponseNorm(5, alpha=0.5, k=2.0),
    nn.LocalResponseNorm(4, alpha=0.5), nn.LocalResponseNorm(1, beta=0.5, alpha=2.0), nn.ReLU(), nn.ReLU6(), nn.SiLU(),
    nn.Sigmoid(), nn.Tanh(), nn.Hardswish(), nn.Hardsigmoid(), nn.GELU(), nn.ELU(0.7), nn.LeakyReLU(0.2), nn.Softmax(1),
    nn.Dropout(), nn.Dropout2d(), nn.Identity(), nn.ChannelShuffle(2), nn.ZeroPad2d((1, 2, 0, 3)),
    nn.ConstantPad2d(2, -1.5), nn.ReLU(inplace=True), nn.Sequential(nn.ReLU(inplace=True), nn.SiLU(inplace=True)),
]  # fmt: skip

def dropped(x: torch.Tensor) -> torch.Tensor:
    """What dropout returns at inference is its argument: changed in place, it changes both."""
    y = x + 1
    return f.dropout(y, training=False).relu_() + y


def dropped_view(x: torch.Tensor) -> torch.Tensor:
    y = x + 1
    return f.relu(f.dropout(y, training=False)[:], inplace=True) + y


def lrn_by_hand(x: torch.Tensor) -> torch.Tensor:
    mean = f.avg_pool3d(x.pow(2).unsqueeze(1), (3, 1, 1), 1, (1, 0, 0)).squeeze(1)
    return x / mean.mul(0.5).add(2.0).pow(0.75)


FUNCTIONS = {
    "dropped": dropped,
    "dropped_view": dropped_view,
    "lrn_by_hand": lrn_by_hand,
    "add": lambda x: x + f.relu(x),
    "mul": lambda x: x * torch.sigmoid(x),
    "square": lambda x: x * x,
    "power": lambda x: x**2,
    "scale": lambda x: 2 * x + 1,
    "minus": lambda x: (x - 0.5) / 0.25,
    "cat": lambda x: torch.cat([x, f.relu(x)], 1),
    "excite": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "mean": lambda x: x.mean((-2, -1)),
    "amax": lambda x: x.amax((2, 3), keepdim=True),
    "clamp": lambda x: x.clamp(0, 6),
    "clamp0": lambda x: x.clamp(min=0),
    "flatten": lambda x: torch.flatten(x, 1),
    "view": lambda x: x.view(x.shape[0], -1),
    "noop": lambda x: x.contiguous(),
    "channels": lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None],
    "shuffle": lambda x: x.view(x.shape[0], 2, 2, 9, 8).transpose(1, 2).contiguous().view(x.shape[0], 4, 9, 8),
    "permuted": lambda x: x.view(x.shape[0], 2, 2, 9, 8).permute(0, 2, 1, 3, 4).reshape(x.shape[0], -1, 9, 8),
    "in_place": lambda x: f.relu(x).mul_(3).add_(x),
    "minus_tensor": lambda x: x - f.relu(x),
    "from_one": lambda x: 1 - x,
    "negative": lambda x: -x,
    "alpha": lambda x: torch.add(x, f.relu(x), alpha=2),
    "cube": lambda x: x**3,
    "expanded": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)).expand_as(x),
    "flat_mean": lambda x: x.flatten(2).mean(2),
    "flat_max": lambda x: x.view(x.shape[0], 4, -1).amax(2, keepdim=True).squeeze(2),
    "squeezed": lambda x: f.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "shuffled_rows": lambda x: x.view(2, 2, 2, 72).transpose(1, 2).reshape(2, 4, 9, 8),
    "viewed_twice": lambda x: f.relu(x.view(2, 4, -1).view(2, 2, 2, 72).reshape(2, 4, 9, 8)),
    "float": lambda x: x.float().to(memory_format=torch.channels_last),
    "constants": lambda x: x * (torch.ones(4) * 2).exp()[:, None, None],
    "unused": lambda x: (x.cumsum(1), x)[1],
}


class Excite(nn.Module):
    """Squeeze and excitation with dense layers: a vector that becomes a map again."""

    def __init__(self, *, window: bool) -> None:
        super().__init__()
        # The second reads a map of several pixels, as a convolution with a window of its size does.
        self.pool = nn.AdaptiveAvgPool2d((2, 3) if window else 1)
        self.fc = nn.Sequential(nn.Linear(24 if window else 4, 2), nn.ReLU(inplace=True), nn.Linear(2, 4), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, _, _ = x.shape
        gate = self.fc(self.pool(x).view(n, -1))
        # The vector itself is read, too.
        return x * gate.view(n, c, 1, 1).expand_as(x) + x * (gate * 2)[:, :, None, None]


class Each(nn.Module):
    """A convolution, and each of many layers behind it, as outputs of their own: one export for all of them."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 1)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.first(x)
        return {f"out{number}": layer(x.clone()) for number, layer in enumerate(self.layers)}


def test_layers_and_functions() -> None:
    excite = [Excite(window=False), Excite(window=True), weight_norm(nn.Conv2d(4, 3, 3))]
    layers = [*LAYERS, *map(Function, FUNCTIONS.values()), *excite]
    module = randomised(Each(layers))
    x = torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    made = cnndsl.from_torch(module, x)
    with torch.no_grad():
        expected = module(x)
    found = computed(made, x)
    found["out0"] = found.pop("main")
    assert found.keys() == expected.keys()
    for name, (key, theirs) in zip(map(str, [*LAYERS, *FUNCTIONS, *excite]), expected.items(), strict=True):
        ours = found[key]
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")
    assert made.notes == ()


def test_the_oracle_tells_networks_apart() -> None:
    """MUTATION: another epsilon, or another pooling, fails `check`."""
    pairs = (nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=1e-2)), (nn.AvgPool2d(3, 2, 1), nn.MaxPool2d(3, 2, 1))
    for right, wrong in pairs:
        made = check(nn.Sequential(nn.Conv2d(4, 4, 1), right), (2, 4, 9, 8))
        x = torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(0))
        other = randomised(nn.Sequential(nn.Conv2d(4, 4, 1), wrong))
        other.load_state_dict({**other.state_dict(), **made.weights}, strict=False)
        with pytest.raises(AssertionError):
            torch.testing.assert_close(computed(made, x)["main"], other(x), rtol=1e-5, atol=1e-6)


SHAPE_KEEPING = st.sampled_from([
    partial(nn.Conv2d, 4, 4, 3, padding=1), partial(nn.Conv2d, 4, 4, 1, bias=False), partial(nn.BatchNorm2d, 4),
    partial(nn.ReLU, inplace=True), nn.ReLU, partial(nn.MaxPool2d, 3, 1, 1), nn.Dropout, partial(nn.ChannelShuffle, 2),
    partial(nn.LocalResponseNorm, 3), partial(nn.SiLU, inplace=True), nn.Hardswish,
])  # fmt: skip


class Residual(nn.Module):
    def __init__(self, body: nn.Module, kind: str) -> None:
        super().__init__()
        self.body, self.kind = body, kind
        self.project = nn.Conv2d(8, 4, 1) if kind == "cat" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        match self.kind:
            case "add":
                return self.body(x.clone()) + x
            case "in place":
                y = self.body(x.clone())
                y += x
                return f.relu(y, inplace=True)
            case "cat":
                return self.project(torch.cat([self.body(x.clone()), x], 1))
        return x * torch.sigmoid(self.body(x.clone()).mean((2, 3), keepdim=True))


BODIES = st.recursive(
    st.lists(SHAPE_KEEPING, min_size=1, max_size=4).map(lambda makers: nn.Sequential(*(make() for make in makers))),
    lambda inner: st.builds(Residual, inner, st.sampled_from(["add", "in place", "cat", "excite"]))
    | st.lists(inner, min_size=1, max_size=3).map(lambda parts: nn.Sequential(*parts)),
    max_leaves=5,
)


@settings(max_examples=12, deadline=None)
@given(BODIES)
def test_random_modules(body: nn.Module) -> None:
    made = check(nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 4, 3), body=body, pool=nn.AdaptiveAvgPool2d(1),
                                           flat=nn.Flatten(), head=nn.Linear(4, 3))), (2, 3, 7, 6))  # fmt: skip
    assert all(value.dtype == torch.float32 for value in made.weights.values())


# --- networks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_torchvision(name: str) -> None:
    torch.manual_seed(0)
    module = getattr(models(), name)(weights=None)
    made = check(module, (1, 3, 64, 64))
    theirs = {k: t for k, t in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert sorted(tuple(t.shape) for t in made.weights.values()) == sorted(tuple(t.shape) for t in theirs.values())
    if name == "resnet18":
        assert made.weights.keys() == theirs.keys()


def test_it_compiles_and_runs(tmp_path: Path) -> None:
    """The whole road: exported, written, saved, read back, and run by the kernels in the interpreter."""
    module = randomised(nn.Sequential(OrderedDict(
        conv=nn.Conv2d(3, 8, 3, padding=1), norm=nn.BatchNorm2d(8), relu=nn.ReLU(), pool=nn.MaxPool2d(2),
        flat=nn.Flatten(), head=nn.Linear(8 * 4 * 4, 5),
    )))  # fmt: skip
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    made = cnndsl.from_torch(module, x[:1], name="Small")
    with torch.no_grad():
        expected = module(x)
    torch.testing.assert_close(made.compile(device="cpu")(x), expected, rtol=1e-5, atol=1e-5)
    text, weights = made.save(tmp_path / "small.cnn")
    again = cnndsl.compile(text, weights=weights, device="cpu")
    torch.testing.assert_close(again(x), expected, rtol=1e-5, atol=1e-5)
    assert "network Small" in text.read_text()
    with pytest.raises(CnnError, match="is there already"):
        made.save(tmp_path / "small.cnn")
    made.save(tmp_path / "small.cnn", force=True)


class Heads(NamedTuple):
    """Two outputs with names."""

    logits: torch.Tensor
    aux: torch.Tensor


def test_several_inputs_and_outputs() -> None:
    class Two(nn.Module):
        def __init__(self, kind: type) -> None:
            super().__init__()
            self.kind, self.a, self.b = kind, nn.Conv2d(3, 4, 1), nn.Linear(6, 4)

        def forward(self, image: torch.Tensor, vector: torch.Tensor):
            x, y = self.a(image), self.b(vector)
            return self.kind(x.mean((2, 3)) + y, torch.relu(y))

    inputs = torch.randn(2, 3, 5, 5), torch.randn(2, 6)
    kinds = (Heads, "aux"), (lambda a, b: {"logits": a, "aux": b}, "aux"), (lambda a, b: (a, b), "output1")
    for kind, second in kinds:
        module = Two(kind).eval()
        made = cnndsl.from_torch(module, inputs)
        found = computed(made, *inputs)
        expected = module(*inputs)
        values = list(expected.values()) if isinstance(expected, dict) else list(expected)
        assert list(found) == ["main", second]
        torch.testing.assert_close(list(found.values()), values)
        assert "input image" in made.text
        assert "input vector" in made.text


def test_what_is_said_of_the_weights() -> None:
    """A weight that is used twice, tied, or of another type; a layer's name is its own, whose weight it may be."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1).half()
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            y = self.c(self.c(self.b(self.a(x)).half())).float()
            return {"y": y, "nothing": None}

    module = Tied().eval()
    made = read_module(module, X)
    assert [*made.weights] == [f"{name}.{leaf}" for name in ("a", "b", "c", "c_2") for leaf in ("weight", "bias")]
    torch.testing.assert_close(made.weights["b.weight"], module.a.weight.detach())
    assert sorted(made.notes) == [
        "`b.weight` is used 2 times: each use has a copy", "`c.bias` is used 2 times: each use has a copy",
        "`c.weight` is used 2 times: each use has a copy",
        "the module computes in float16 and float32: a network computes in one type",
    ]  # fmt: skip


# --- mistakes --------------------------------------------------------------------------------------


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x.relu()


X = torch.randn(1, 4, 9, 8)


@pytest.mark.parametrize(
    ("module", "example", "code", "words"),
    [
        (nn.Sequential(nn.Dropout()).train(), X, "E0831", "training mode"),
        (nn.Conv2d(4, 4, 1).eval(), X[0], "E0831", "not [4, 9, 8]"),
        (nn.Conv2d(4, 4, 1).eval(), "x", "E0831", "not str"),
        (nn.Conv2d(3, 4, 1).eval(), X, "E0831", "torch.export cannot follow it"),
        (Branching().eval(), X, "E0831", "torch.export cannot follow it"),
        (Function(lambda x: x.cumsum(1)).eval(), X, "E0832", "aten.cumsum"),
        (nn.ConvTranspose2d(4, 4, 2).eval(), X, "E0832", "conv_transpose2d"),
        (nn.PReLU().eval(), X, "E0832", "prelu"),
        (nn.MaxPool2d(3, dilation=2).eval(), X, "E0832", "its window is dilated"),
        (nn.AvgPool2d(2, divisor_override=3).eval(), X, "E0832", "a number of its own"),
        (nn.GELU(approximate="tanh").eval(), X, "E0832", "approximation by tanh"),
        (nn.Hardtanh(-1, 1).eval(), X, "E0832", "clamps to -1..1"),
        (Function(lambda x: x.clamp(torch.ones(4, 1, 1))).eval(), X, "E0832", "it clamps to a tensor..none"),
        (nn.Softmax(2).eval(), X, "E0832", "not over the channels"),
        (nn.ReflectionPad2d(1).eval(), X, "E0832", "reflect"),
        (Function(lambda x: torch.cat([x, x], 2)).eval(), X, "E0832", "other than the channels"),
        (Function(lambda x: x.transpose(2, 3)).eval(), X, "E0832", "exchanges dimensions"),
        (Function(lambda x: x.mean(1)).eval(), X, "E0832", "other than height and width"),
        (Function(lambda x: x.view(1, 8, 2, 18).relu()).eval(), X, "E0832", "of the shape [n, 8, 2, 18]"),
        (Function(lambda x: x.flatten(2)).eval(), X, "E0801", "output output0 has the shape [1, 4, 72]"),
        (Function(lambda x: x.mean((2, 3)).squeeze(0)).eval(), X, "E0832", "it takes the batch away"),
        (Function(lambda x: x[:1]).eval(), X, "E0832", "it takes a part of a tensor"),
        (Function(lambda x: x / 0).eval(), X, "E0832", "divides by zero"),
        (Function(lambda x: x ** torch.ones(1)).eval(), X, "E0832", "raises to a power"),
        # Constants that torch broadcasts to another shape than the layer's.
        (Function(lambda x: x * torch.ones(8)).eval(), X, "E0832", "not one value for each channel"),
        (Function(lambda x: x.mean((2, 3)) * torch.ones(4, 1, 1)).eval(), X, "E0832", "not one value for each channel"),
        (Function(lambda x: x.mean((2, 3)) * torch.ones(1, 1, 1, 1)).eval(), X, "E0832", "it makes [1, 1, 1, 4]"),
        (Function(lambda x: x * torch.ones(2, 1, 1, 1)).eval(), X, "E0832", "not one value for each channel"),
        (Function(lambda x: x.expand(2, 4, 9, 8).relu()).eval(), X, "E0832", "it makes [2, 4, 9, 8]"),
        (nn.ConstantPad2d(1, float("-inf")).eval(), X, "E0801", "pad's value must be finite"),
        (Function(lambda x: x.int()).eval(), X, "E0832", "converts numbers to int32"),
        (nn.Conv2d(4, 4, 1, device="meta").eval(), X.to("meta"), "E0831", "a shape and no values"),
        (Counting().eval(), X, "E0832", "it changes `calls`, and a network keeps no state"),
        (lambda x: x, X, "E0831", "no torch.nn.Module"),
        (nn.ReLU().eval(), 3, "E0831", "not int"),
        (nn.ReLU().eval(), {"x": X}, "E0831", "not dict"),
        (Function(lambda x: x / torch.relu(x)).eval(), X, "E0832", "divides by something other than a constant"),
        (nn.BatchNorm2d(4, track_running_stats=False).eval(), X, "E0832", "training mode"),
    ],
    ids=range(38),
)
def test_mistakes(module: nn.Module, example: Any, code: str, words: str) -> None:
    with pytest.raises(CnnError) as caught:
        cnndsl.from_torch(module, example)
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert words in found.message


@pytest.mark.parametrize(("module", "layer"), [(nn.LogSoftmax(1), "softmax"), (nn.SELU(), "elu"), (nn.GLU(1), "mul")])
def test_the_nearest_layer_is_one(module: nn.Module, layer: str) -> None:
    """By what it computes: `sum` looks like `sub`, `glu` like `gelu`, and `log_softmax` like torch's `_softmax`."""
    with pytest.raises(CnnError, match=f"the nearest layer is `{layer}`"):
        cnndsl.from_torch(module.eval(), X)


def test_all_names_of_nearest_layers_are_layers() -> None:
    assert not set(NEAREST) & set(OPERATORS)
    assert set(NEAREST.values()) <= set(operations())


def test_all_operators_outside_are_told_at_once() -> None:
    module = Function(lambda x: torch.cat([x.cumsum(1), torch.relu(x).erf(), x.cumsum(1) + x], 1)).eval()
    with pytest.raises(CnnError) as caught:
        cnndsl.from_torch(module, X)
    assert [d.code for d in caught.value.diagnostics] == ["E0832"] * 3


def test_what_is_changed_in_place_beneath_a_view_is_refused() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = f.relu(x)
        flat = y.view(1, -1)
        y.mul_(2)
        return flat

    with pytest.raises(CnnError) as caught:
        cnndsl.from_torch(Function(function).eval(), X)
    assert "in place, of which another view is read later" in caught.value.diagnostics[0].message
