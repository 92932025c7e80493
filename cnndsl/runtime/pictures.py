"""Turn a picture file into the tensor that a network's input describes.

The work is done by a module that `cnndsl build` gives away with a network, so that both see the same pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch

from cnndsl.errors import problem
from cnndsl.portable.runtime import pictures
from cnndsl.portable.runtime.mistakes import Unfit, Unreadable
from cnndsl.weights.files import Kind, regular_file

_PICTURE = Kind("E0411", "picture")


def load_picture(
    path: str | Path,
    *,
    shape: tuple[int, int, int],
    resize: int | pictures.Size | None = None,
    crop: int | pictures.Size | None = None,
    interpolation: str = "bilinear",
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    range: float = 1,  # noqa: A002 - the argument's name in the language
    order: str = "rgb",
) -> torch.Tensor:
    """A picture as float32 [C, H, W]: see `cnndsl.portable.runtime.pictures.load_picture`.

    Raises `CnnError` E0411 where the file cannot be read and E0415 where it does not get the input's shape.
    """
    if shape[2] in (1, 3):  # no picture fits another input, whether it can be read or not
        path = regular_file(path, _PICTURE)
    try:
        return pictures.load_picture(
            Path(path), shape=shape, resize=resize, crop=crop, interpolation=interpolation, mean=mean, std=std,
            range=range, order=order,
        )  # fmt: skip
    except Unreadable as error:
        raise problem("E0411", error.message, help=error.help) from error
    except Unfit as error:
        raise problem("E0415", error.message, help=error.help) from error
