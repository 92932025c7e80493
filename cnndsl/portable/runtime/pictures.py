"""Turn a picture file into the tensor that a network's input describes. Needs torch and Pillow."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from .mistakes import Mistake, Unfit, Unreadable, reason_of

MAX_PIXELS = 1 << 27
"""Pixels that a picture may have, as it is or resized: 134 million, 0.4 GB in memory."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of what is read. Others start programs (EPS) or accept any bytes (TGA)."""

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
"""Pillow's names of the ways to resize."""

Size = tuple[int, int]
"""Height and width."""


def load_picture(
    path: Path,
    *,
    shape: tuple[int, int, int],
    resize: int | Size | None = None,
    crop: int | Size | None = None,
    interpolation: str = "bilinear",
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    range: float = 1,  # noqa: A002 - the argument's name in the language
    order: str = "rgb",
) -> torch.Tensor:
    """A picture as float32 [C, H, W], for an input of `shape` (H, W, C), C being 3 or 1 (grey).

    `resize` an integer makes the shorter side that long and keeps the proportions, the longer side rounded
    down as in torchvision; (height, width) stretches to that size. Pixels are resized by `interpolation`,
    "bilinear" or "bicubic" (a = -0.5, as Pillow has it), with antialiasing.
    `crop` cuts that size from the centre. Without either, the picture is resized until it just covers H x W,
    and the centre is cut out.

    Values run from 0 to `range` (1 or 255); channels come in `order` "rgb" or "bgr"; then `mean` is
    subtracted and the rest divided by `std`: one number for all, or one a channel in that order.

    A camera's rotation mark is obeyed, transparency is laid on white, 16-bit greys are scaled to 8 bits, the
    first frame of an animation is taken, colour profiles are ignored. Raises Unreadable where the file
    cannot be read and Unfit where these steps do not end in the input's shape.
    """
    height, width, channels = shape
    assert range in (1, 255)
    assert order in ("rgb", "bgr")
    assert all(len(values) in (1, channels) for values in (mean, std) if values is not None)
    if channels not in (1, 3):
        raise Unfit(
            f"a picture has 3 channels, or 1 in grey; the input has {channels}",
            help=("give the input as a tensor",),
        )
    picture = _read(path, mode="RGB" if channels == 3 else "L")
    resampling = RESAMPLING[interpolation]
    picture = _fit(picture, (height, width), resize=resize, crop=crop, resampling=resampling, path=path)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).reshape(height, width, channels)
    values = pixels.float().permute(2, 0, 1)
    if order == "bgr":
        values = values.flip(0)
    if range == 1:
        values = values / 255
    if mean is not None:
        values = values - torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1)
    if std is not None:
        values = values / torch.tensor(std, dtype=torch.float32).view(-1, 1, 1)
    return values.contiguous()


def _unreadable(path: Path, reason: str, *hints: str) -> Unreadable:
    return Unreadable(f"cannot read the picture {path}: {reason}", help=hints)


def _read(path: Path, *, mode: str) -> Image.Image:
    """The picture upright and opaque, in mode RGB or L."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and of broken marks; what matters here is refused below.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise _unreadable(path, f"it has {_size(picture)} pixels, the limit is {MAX_PIXELS}")
                # Older releases of Pillow open 16-bit greys of these formats as 32-bit ones.
                sixteen = picture.mode == "I" and picture.format in ("PNG", "PPM")
                picture.load()
                return _opaque(_upright(picture), path, sixteen=sixteen).convert(mode)
    except Mistake:
        raise
    except UnidentifiedImageError as error:
        way = f"pictures are read in the formats {', '.join(FORMATS)}"
        raise _unreadable(path, "it is not a picture", way) from error
    except Image.DecompressionBombError as error:
        raise _unreadable(path, f"it has more than {MAX_PIXELS} pixels") from error
    except Exception as error:  # decoders raise anything, from SyntaxError to struct.error, on garbage
        raise _unreadable(path, f"it is damaged ({reason_of(error)})") from error


def _upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its camera says; as it is where that mark is broken."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - a picture is worth showing, whatever its marks hold
        return picture


def _opaque(picture: Image.Image, path: Path, *, sixteen: bool) -> Image.Image:
    """The picture in a mode that Pillow converts to RGB or L as one would expect."""
    if sixteen or picture.mode.startswith("I;16"):
        # Pillow's own conversion cuts values at 255. 65535 / 255 is 257, so black and white are exact; values are
        # rounded, and no multiple of 1 / 257 comes so near an integer that the arithmetic in fp64 could cross it.
        return picture.convert("I").point(lambda value: value * (1 / 257) + 128.5 / 257).convert("L")
    if picture.mode in ("I", "F"):
        raise _unreadable(path, "its pixels are 32-bit numbers without a known range")
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return picture


def _fit(
    picture: Image.Image,
    target: Size,
    *,
    resize: int | Size | None,
    crop: int | Size | None,
    resampling: Image.Resampling,
    path: Path,
) -> Image.Image:
    """The picture resized and cropped to `target`. Raises Unfit where it does not come out so."""
    height, width = picture.height, picture.width
    window = (crop, crop) if isinstance(crop, int) else crop
    match resize:
        case int():
            size = _shorter_side(height, width, to=resize)
        case (_, _):
            size = resize
        case None if crop is None:
            size, window = _covering(height, width, target), target
        case None:
            size = (height, width)
    if size[0] * size[1] > MAX_PIXELS:
        what = f"resized to {size[0]}x{size[1]}, {path} ({_size(picture)}) would pass {MAX_PIXELS} pixels"
        raise Unfit(what, help=("write `resize` as height x width, or cut the picture first",))
    result = window or size
    if window is not None and (window[0] > size[0] or window[1] > size[1]):
        sizes = f"a crop of {window[0]}x{window[1]} from {size[0]}x{size[1]} pixels"
        way = f"write `resize={max(window)}` beside `crop`, or give a larger picture"
        raise Unfit(f"{path} is too small: {sizes} leaves gaps", help=(way,))
    if result != target:
        made = f"{path} ({_size(picture)}) becomes {result[0]}x{result[1]}"
        raise Unfit(f"{made}, but the input is {target[0]}x{target[1]}", help=(_cropping(target, window),))
    if size != (height, width):
        picture = picture.resize((size[1], size[0]), resampling)
    if window is None:
        return picture
    # Half pixels round to even, as in torchvision, so that the same pixels are seen.
    top, left = round((size[0] - window[0]) / 2), round((size[1] - window[1]) / 2)
    return picture.crop((left, top, left + window[1], top + window[0]))


def _cropping(target: Size, window: Size | None) -> str:
    """What to write in the .cnn file for a result of `target`."""
    height, width = target
    square = f"{height}" if height == width else f"{height}x{width}"
    if window is not None:
        return f"write `crop={square}`"
    return f"write `crop={square}` beside `resize`, or `resize={height}x{width}` to stretch the picture"


def _shorter_side(height: int, width: int, *, to: int) -> Size:
    """The size with a shorter side of `to`; the longer is rounded down."""
    if height <= width:
        return to, to * width // height
    return to * height // width, to


def _covering(height: int, width: int, target: Size) -> Size:
    """The smallest size of the picture's proportions that covers `target`; halves round up."""
    if target[0] * width >= target[1] * height:
        return target[0], max(target[1], (2 * target[0] * width + height) // (2 * height))
    return max(target[0], (2 * target[1] * height + width) // (2 * width)), target[1]


def _size(picture: Image.Image) -> str:
    return f"{picture.height}x{picture.width}"
