"""Kernels run on a GPU where there is one, and in Triton's interpreter where there is none.

What compiles them for other GPUs runs in processes of its own.
"""

import os
from collections.abc import Iterator

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read by triton when it is first imported: must come before that

import pytest
from specialized import Compilers


@pytest.fixture(scope="session")
def device() -> str:
    """Where tensors lie: "cuda", or "cpu" under the interpreter."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="session")
def compilers() -> Iterator[Compilers]:
    """Two processes that make Triton IR; one for each worker of pytest-xdist."""
    found = Compilers(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
    yield found
    found.close()
