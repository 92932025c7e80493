"""Ejected kernels run on a GPU where there is one, and in Triton's interpreter where there is none."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read by triton when it is first imported: must come before that

import pytest
from here import here  # noqa: F401 - a fixture of all
from small import PLACES


@pytest.fixture(scope="module", params=PLACES)
def device(request: pytest.FixtureRequest) -> str:
    """Where kernels run: "cpu" in the interpreter, or "cuda" under the marker `gpu`."""
    return str(request.param)
