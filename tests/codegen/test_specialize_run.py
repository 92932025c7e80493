"""Specialised kernels give the bits of the generic ones."""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import convolutions
import pytest
import simple_layers
import torch
from cnndsl.kernels import conv2d, depthwise, linear
from convolutions import Layer, make_data
from helpers import random_tensor

from cnndsl.codegen.specialize import kernel_sources, specialize


class Specialising:
    """Stands in for a kernel: each launch goes to a text with everything but pointers and `n` folded."""

    def __init__(self, kernel: Any, folder: Path, *, edit: Callable[[str], str] = str) -> None:
        self.arg_names = kernel.arg_names
        self.module = kernel.fn.__module__.rpartition(".")[2]
        self.name = kernel.fn.__name__
        self.folder, self.edit = folder, edit
        self.launched = 0

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*given: Any, **named: Any) -> None:
            arguments = {**dict(zip(self.arg_names, given, strict=False)), **named}
            arguments = {name: arguments[name] for name in self.arg_names}
            kernel, left = self.specialized(arguments)
            kernel[grid](**{name: arguments[name] for name in left})
            self.launched += 1

        return launch

    def specialized(self, arguments: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
        known = {k: v for k, v in arguments.items() if k != "n" and not isinstance(v, torch.Tensor)}
        made = specialize(kernel_sources(), self.module, self.name, known)
        assert made.constexprs == ()
        text = self.edit(made.text)
        path = self.folder / f"{self.name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, made.kernel), made.parameters


BLOCKS = (("BLOCK_NPQ", 32), ("BLOCK_K", 16), ("BLOCK_CRS", 16))
CONVOLUTIONS = {
    "flattened": Layer(n=2, pad=(1, 1, 1, 1), act="relu", blocks=BLOCKS),
    "one tap": Layer(channels=32, kernel=(3, 1), stride=(2, 1), pad=(1, 0, 0, 0), residual=True, blocks=BLOCKS),
    "1x1": Layer(n=2, channels=32, kernel=(1, 1), layout="nchw", act="silu", blocks=BLOCKS),
    "1x1 padded": Layer(channels=16, kernel=(1, 1), pad=(1, 0, 0, 2), bias=False, blocks=BLOCKS),
    "groups": Layer(channels=8, filters=20, groups=4, dilation=(2, 1), size=(11, 9), index64=True, blocks=BLOCKS),
    "bf16": Layer(channels=16, dtype="bf16", residual=True, wide_output=True, act="relu", blocks=BLOCKS),
    "cropped": Layer(pad=(-1, 0, 0, -2), layout="steps", dtype="fp16", index64=True, blocks=BLOCKS),
    "depthwise": Layer(channels=6, filters=12, groups=6, pad=(1, 1, 1, 1), residual=True, blocks=BLOCKS[:2]),
}


def equal(y: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to the bit, NaN and signs of zeros included."""
    whole = {2: torch.int16, 4: torch.int32}[y.element_size()]
    assert torch.equal(y.contiguous().view(whole), expected.contiguous().view(whole))


def convolved(
    layer: Layer, folder: Path, device: str, *, edit: Callable[[str], str] = str
) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's output by the specialised and by the generic kernel."""
    kernel = depthwise.depthwise_kernel if len(layer.blocks) == 2 else conv2d.conv2d_kernel
    data = make_data(layer)
    special = Specialising(kernel, folder, edit=edit)
    y = convolutions.run(special, layer, data, device=device)
    assert special.launched == 1
    return y, convolutions.run(kernel, layer, data, device=device)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str, tmp_path: Path, device: str) -> None:
    equal(*convolved(CONVOLUTIONS[name], tmp_path, device))


@pytest.mark.parametrize(("old", "new"), [("h = p - 1", "h = p - 0"), (" % 5", " % 4"), ("0.0, x)", "0.001, x)")])
def test_wrong_convolutions_are_noticed(old: str, new: str, tmp_path: Path, device: str) -> None:
    def edited(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    with pytest.raises(AssertionError):
        equal(*convolved(CONVOLUTIONS["flattened"], tmp_path, device, edit=edited))


@pytest.mark.parametrize("name", ["linear_kernel", "linear_small_kernel"])
@pytest.mark.parametrize("features", [32, 40])
@pytest.mark.parametrize("index64", [False, True])
def test_dense_layers(name: str, features: int, index64: bool, tmp_path: Path, device: str) -> None:
    kernel = getattr(linear, name)
    x, w, r = (
        random_tensor(*shape, dtype=torch.float16, seed=seed).to(device)
        for seed, shape in enumerate(((3, features), (20, features), (3, 20)))
    )
    arguments = {
        "x_ptr": x, "w_ptr": w, "b_ptr": None, "r_ptr": r, "n": 3, "x_sn": features, "y_sn": 20, "r_sn": 20,
        "F": features, "K": 20, "HAS_BIAS": False, "HAS_RESIDUAL": True, "ACT": "tanh", "ACT_ARG": 0.0,
        "INDEX64": index64, "EMULATE_BF16": False, "BLOCK_N": 16 if name == "linear_kernel" else 2,
        "BLOCK_K": 16, "BLOCK_F": 16,
    } | ({"PRECISION": "ieee"} if name == "linear_kernel" else {})  # fmt: skip
    results = []
    for each in (Specialising(kernel, tmp_path), kernel):
        y = torch.full((3, 20), float("nan"), dtype=torch.float16, device=device)
        each[(4,)](**arguments, y_ptr=y)
        assert y.isfinite().all()
        results.append(y)
    equal(*results)


X = simple_layers.random_input((2, 20, 9, 7), dtype=torch.float16, layout="strided")
SPECIAL = simple_layers.special_input((2, 20, 9, 7), layout="nchw")
BF16 = simple_layers.random_input((1, 20, 9, 7), dtype=torch.bfloat16)
ROW = simple_layers.random_input((2, 20, 1, 1), dtype=torch.float16, seed=1)
RESIDUAL = simple_layers.random_input((2, 20, 9, 7), dtype=torch.float16, seed=2)
WINDOWS: dict[str, Any] = {"kernel": (3, 3), "stride": (2, 2), "output": (5, 4), "pads": (1, 1, 1, 1)}
NORM: dict[str, Any] = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}
SIMPLE: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "pool2d max": (simple_layers.pool2d, (SPECIAL,), {"mode": "max", **WINDOWS}),
    "pool2d avg": (simple_layers.pool2d, (X,), {"mode": "avg", "count_pad": False, **WINDOWS}),
    "pool2d padded": (simple_layers.pool2d, (BF16,), {"mode": "avg", "act": ("relu", 0.0), **WINDOWS}),
    "global_pool max": (simple_layers.global_pool, (SPECIAL,), {"mode": "max"}),
    "global_pool avg": (simple_layers.global_pool, (BF16,), {"mode": "avg", "act": ("gelu", 0.0)}),
    "adaptive_avg_pool2d": (simple_layers.adaptive_avg_pool2d, (X,), {"output": (4, 11)}),
    "lrn": (simple_layers.lrn, (X,), NORM),
    "lrn wide": (simple_layers.lrn, (BF16,), {**NORM, "size": 19, "beta": 0.6, "target": "sm_90"}),
    "lrn_pool": (simple_layers.lrn_pool, (X,), {"first": "lrn", **NORM, **WINDOWS, "pads": (1, 1)}),
    "unary": (simple_layers.unary, (SPECIAL,), {"act": ("elu", 0.5)}),
    "join": (simple_layers.join, (X, ROW), {"op": "mul", "act": ("hardswish", 0.0), "target": "sm_90"}),
    "join of four": (simple_layers.join, (X, X, ROW, X), {"op": "add", "residual": RESIDUAL, "target": "sm_90"}),
    "softmax": (simple_layers.softmax, (BF16,), {"target": "sm_90"}),
    "copy": (simple_layers.copy, (SPECIAL,), {"pads": (-1, 2, 1, 0), "value": float("inf")}),
    "copy shuffled": (simple_layers.copy, (BF16,), {"pads": (1, 0, 0, 1), "value": 0.1, "groups": 4}),
    "flatten": (simple_layers.flatten, (X,), {"index64": False}),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy on inf * 0
@pytest.mark.parametrize("name", SIMPLE)
def test_other_layers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, inputs, options = SIMPLE[name]
    expected = layer(*inputs, **options)
    kernel = f"{layer.__name__}_kernel"
    special = Specialising(getattr(simple_layers, kernel), tmp_path)
    monkeypatch.setattr(simple_layers, kernel, special)
    equal(layer(*inputs, **options), expected)
    assert special.launched == 1


def test_every_layer_without_products_was_run() -> None:
    kernels = {name.removesuffix("_kernel") for name in vars(simple_layers) if name.endswith("_kernel")}
    assert {layer.__name__ for layer, _, _ in SIMPLE.values()} == kernels
