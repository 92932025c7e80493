"""What the tests of ejected kernels share: a network with every kind of kernel, and loading a file."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from cnndsl import targets
from cnndsl.codegen.package import Package, package
from cnndsl.eject.facts import Facts, facts_of
from cnndsl.eject.source import ejected
from cnndsl.files import choose_network, load_text
from cnndsl.ir import Graph
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import fuse
from cnndsl.passes.plan import plan
from cnndsl.passes.simplify import simplify
from cnndsl.tiles import DType

KINDS = """network Kinds {
    input vector [12]
    input image [9x8x3]
    conv1: conv(8, 3x3, pad=1, bias=false) -> batchnorm -> relu
    fork: concat {
        { left: conv(4, 1x1) -> leaky_relu(0.2) }
        { pool1: maxpool(3x3, stride=1, pad=1) }
    }
    depth: conv(12, 3x3, pad=1, groups=12) -> relu6
    half: conv(8, 3x3, pad=1, groups=2) -> elu
    res: conv(8, 1x1) -> add(@half) -> hardswish
    lrn1: lrn(3, alpha=1e-2) -> gelu
    shuffled: channel_shuffle(2)
    norm: batchnorm -> silu
    mean: avgpool((3, 3), stride=2, pad=(1, 0, 1, 1), count_pad=false)
    gate: mul { {} { globalavgpool -> conv(8, 1x1) -> sigmoid } }
    framed: pad(1, value=0.5)
    both: add { {} { tanh } }
    lrn2: lrn(5, alpha=1e-2, beta=0.5) -> small: maxpool(2x2)
    squeezed: adaptiveavgpool(2x3)
    flat: flatten
    output peak { @both -> globalmaxpool }
    joined: concat(@vector)
    fc1: dense(20) -> relu
    output end { dense(7) -> softmax }
    @squeezed -> fc2: dense(6)
}
"""


def made(
    text: str, *, target: str = "interpreter", dtype: DType = "fp32", batch: int = 1, keep: bool = False
) -> Package:
    """The package of a network."""
    groups = fuse(simplify(graph_of(text)))
    return package(plan(groups, target=targets.get(target), dtype=dtype, batch=batch, keep=keep))


@cache
def graph_of(text: str) -> Graph:
    """The network of a text."""
    program = load_text(text)
    return elaborate(program, choose_network(program, None))


def all_facts(package_: Package) -> list[Facts]:
    """Every step that one kernel computes."""
    return [facts_of(package_, i) for i, step in enumerate(package_.plan.steps) if len(step.launches) == 1]


def text_of(package_: Package, facts: Facts) -> str:
    return ejected(package_, facts, layer=facts.step.group.anchor.name, network="net.cnn", file="my_kernel.py")


def load(text: str, folder: Path, name: str = "my_kernel") -> ModuleType:
    """A file's module."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, text: str, layer: str, **options: Any) -> Path:
    """The ejected file of a layer of a network, as it is."""
    package_ = made(text, **options)
    (facts,) = [f for f in all_facts(package_) if layer in {n.name for n in f.step.group.computed}]
    path = folder / f"my_{layer}.py"
    path.write_text(text_of(package_, facts), encoding="utf-8")
    return path
