"""Stored numbers as numpy arrays: the initialisers of a file, and the tensors in its nodes."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cnndsl.exchange.onnx.load import NETWORK

if TYPE_CHECKING:
    import onnx

    from cnndsl.weights.stored import Stored

MAX_BYTES = 8 << 30
"""Bytes of one tensor."""


def stored_array(stored: Stored) -> np.ndarray:
    """The values of an initialiser; bfloat16, which numpy lacks, becomes float32. Raises CnnError (E0813)."""
    tensor = stored.load()
    array: np.ndarray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def array_of(tensor: onnx.TensorProto, path: Path) -> np.ndarray:
    """The values of a tensor in a node of the model at `path`; bfloat16 becomes float32.

    Raises CnnError (E0813) where the bytes and the shape disagree.
    """
    from onnx import TensorProto, helper, numpy_helper

    what = f"its constant `{tensor.name}`"
    shape = tuple(tensor.dims)
    try:
        stored = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, ValueError, TypeError) as error:
        raise NETWORK.mistake(path, f"{what} is of the unknown type {tensor.data_type}") from error
    if (stored.kind not in "fiub" and stored.name != "bfloat16") or tensor.HasField("segment"):
        raise NETWORK.mistake(path, f"{what} holds {stored.name}, not plain numbers")
    if tensor.data_location == TensorProto.EXTERNAL:
        raise NETWORK.mistake(path, f"{what} lies in another file, as weights alone may")
    disagree = NETWORK.mistake(path, f"{what} does not hold what its shape {shape} says")
    if any(size < 0 for size in shape) or prod(shape) * stored.itemsize > MAX_BYTES:
        raise disagree
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # numpy's and onnx's, on any disagreement of bytes and shape
        raise disagree from error
    if array.shape != shape:
        raise disagree
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
