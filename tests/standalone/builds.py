"""Networks to build, builds of them, and where to run these."""

import importlib.metadata
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from cnndsl import targets
from cnndsl.files import choose_network, load_text
from cnndsl.ir import Graph
from cnndsl.passes.elaborate import elaborate
from cnndsl.standalone.build import Options, Result, build

# All kernels there are, but for the linear one that small batches on a GPU do not take.
EVERY = """network Every(classes = 5) {
    input image [16x16x3] (mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    conv1: conv(8, 3x3, pad=1, bias=false) -> batchnorm -> relu
    lrn -> maxpool(2x2)
    joined: concat {
        { conv(8, 3x3, pad=1, groups=2) -> lrn(3) -> channel_shuffle(2) }
        { conv(8, 3x3, pad=1, groups=8) -> batchnorm -> silu }
        { }
    }
    add { { conv(24, 1x1) } { } } -> relu
    mul { { } { globalavgpool -> hardsigmoid } }
    output map { adaptiveavgpool(2x2) }
    output mean { globalavgpool -> flatten -> sigmoid }
    avgpool(2x2)
    output flat { flatten }
    flatten -> fc1: dense(20) -> gelu
    fc: dense(classes) -> softmax
}
"""

TINY = """network Tiny(classes = 3) {
    input image [8x8x3]
    conv(4, 3x3) -> relu
    dense(classes)
}
"""

SILENT = SimpleNamespace(phase=lambda text: None, step=lambda done, total, label: None)

Python = Callable[..., subprocess.CompletedProcess[str]]


def graph_of(text: str) -> Graph:
    program = load_text(text)
    return elaborate(program, choose_network(program, None))


def build_in(folder: Path, text: str, **options: object) -> Result:
    """Build a text's network, for the interpreter alone unless `targets` says more."""
    wanted = tuple(targets.get(name) for name in options.pop("targets", ()))
    return build(graph_of(text), Options(folder=folder, targets=wanted, **options), SILENT)


def needed(*names: str) -> dict[str, Path]:
    """The files and folders in site-packages of distributions and all that they need, by name."""
    found: dict[str, Path] = {}
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        for file in distribution.files or ():
            if file.parts[0] not in {"..", "__pycache__"} and file.suffix != ".pth":
                found[file.parts[0]] = Path(str(distribution.locate_file(file.parts[0])))
        required = (r for r in distribution.requires or () if "extra ==" not in r)
        waiting.extend(re.match(r"[\w.-]+", requirement)[0] for requirement in required)
    return found
