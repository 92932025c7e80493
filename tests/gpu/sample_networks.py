"""The networks that the tests of this folder compile: the examples, and texts for what those leave out."""

import os
from collections.abc import Iterable
from pathlib import Path

from cnndsl.ops import operations

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EVERYTHING = "CNNDSL_COMPILE_ALL" in os.environ
"""Whether tests take all that they could: `make test-all` does, `make test` has ten minutes."""
ALIKE = {
    "alexnet_torchvision", "densenet121", "googlenet_torchvision", "mobilenet_v1", "regnet_x_400mf",
    "regnet_y_400mf", "resnet101", "resnet152", "resnet18", "resnet34", "resnet50_v1", "squeezenet1_0",
    "squeezenet1_1", "vgg11", "vgg13", "vgg16_bn", "vgg19",
}  # fmt: skip
"""Examples whose kernels differ from those of others in sizes alone: tests that work long on each leave them out."""

TEXTS = {
    "residual": """
        block basic(channels, stride = 1) {
            add {
                { conv(channels, 3x3, stride=stride, pad=1, bias=false) -> batchnorm -> relu
                  conv(channels, 3x3, pad=1, bias=false) -> batchnorm }
                { if stride != 1 or in.channels != channels {
                    conv(channels, 1x1, stride=stride, bias=false) -> batchnorm } }
            }
            relu
        }
        network Residual {
            input image [64x64x3]
            conv(64, 7x7, stride=2, pad=3, bias=false) -> batchnorm -> relu -> maxpool(3x3, stride=2, pad=1)
            basic(64)
            basic(128, stride=2)
            globalavgpool -> dense(10)
        }
    """,
    "inception": """
        network Inception {
            input image [32x32x3]
            conv(48, 3x3, pad=1) -> relu
            concat {
                { conv(64, 1x1) -> relu }
                { conv(24, 1x1) -> relu -> conv(40, 3x3, pad=1) -> relu }
                { maxpool(3x3, stride=1, pad=1) -> conv(24, 1x1) -> relu }
                { conv(16, 1x1) -> lrn(5) }
            }
            output aux { adaptiveavgpool(4) -> dense(10) -> softmax }
            maxpool(3x3, stride=2, ceil=true)
            concat { { conv(20, 1x1) } {} }
            avgpool(3x3, stride=2, pad=1, count_pad=false)
            flatten -> dense(10) -> softmax
        }
    """,
    "mobile": """
        network Mobile {
            input image [40x40x3]
            conv(16, 3x3, stride=2, pad=1, bias=false) -> batchnorm -> hardswish
            add {
                { conv(96, 1x1) -> hardswish
                  conv(96, 5x5, pad=2, groups=in.channels) -> batchnorm -> hardswish
                  mul { {} { globalavgpool -> conv(24, 1x1) -> relu -> conv(96, 1x1) -> hardsigmoid } }
                  conv(16, 1x1) }
                {}
            }
            conv(64, 1x1, groups=2) -> channel_shuffle(2)
            conv(128, 3x3, stride=2, groups=in.channels) -> silu
            pad(1) -> globalmaxpool -> dense(12) -> sigmoid
        }
    """,
    "inputs": """
        network Inputs {
            input left [9x9x8]
            input right [9x9x8]
            input numbers [24]
            features: dense(40) -> tanh
            @left
            add(@right) -> leaky_relu(slope=0.2)
            output sum { identity }
            dense(40) -> gelu
            add(@features) -> elu
        }
    """,
    # Batch norms into what follows, across averages and into arms; concats that list the arms of earlier ones.
    "folds": """
        network Folds {
            input image [20x20x8]
            batchnorm -> conv(24, 3x3, stride=2, groups=2) -> relu
            concat {
                { conv(12, 1x1) -> avgpool(3x3, stride=1, pad=1, count_pad=false) }
                { conv(24, 1x1, bias=false) -> channel_shuffle(3) }
            }
            a: batchnorm -> relu
            b: conv(16, 3x3, pad=1) -> batchnorm -> relu
            @a concat(@b)
            c: conv(16, 3x3, pad=1)
            @a concat(@b, @c)
            batchnorm -> relu
            globalavgpool -> flatten -> batchnorm -> dense(10)
        }
    """,
    # A map that lies in a slice of a wider one, and one that a caller passes, both read by a dense layer.
    "slices": """
        network Slices {
            input image [6x6x16]
            output direct { dense(24) }
            concat { { conv(8, 1x1) -> a: conv(24, 3x3, pad=1) } { relu6 } }
            output part { @a dense(16) }
            dense(8)
        }
    """,
}


def examples() -> list[str]:
    """The names of the examples that are networks; the others are files of blocks."""
    return [path.stem for path in sorted(EXAMPLES.glob("*.cnn")) if "\nnetwork " in path.read_text(encoding="utf-8")]


def chosen(names: Iterable[str]) -> list[str]:
    """Those that tests take that work long on each."""
    return [name for name in names if EVERYTHING or name not in ALIKE]


def sources() -> dict[str, str]:
    """Every network by name: a path or a text, as `cnndsl.compile` takes it."""
    files = {name: str(EXAMPLES / f"{name}.cnn") for name in examples()}
    layers = {
        f"layer {name}": f"network Layer {{ input x [14x14x64] {op.example} }}"
        for name, op in operations().items()
    }
    return files | TEXTS | layers
