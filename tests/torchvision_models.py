"""torchvision's models as oracles.

torchvision's package refuses to be imported where its compiled operators do not fit the torch that is installed, as a
build of torch for CPUs alone. Its networks use none of them: declaring the operators' names is enough.
"""

from types import ModuleType

import pytest
import torch

_NAMES = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
          "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # fmt: skip
_declared: list[torch.library.Library] = []


def models() -> ModuleType:
    """`torchvision.models`; skips the test where torchvision is not installed."""
    try:
        import torchvision
    except ImportError:
        pytest.skip("torchvision is not installed")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        _declared.append(library)
        for name in _NAMES:
            library.define(name)
        import torchvision
    module: ModuleType = torchvision.models
    return module
