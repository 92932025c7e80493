"""Pictures against values worked out by hand, and every file that is not one."""

import io
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mistakes import mistake
from PIL import Image

from cnndsl.portable.runtime import pictures
from cnndsl.runtime.pictures import load_picture

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(height * 1000 + width).integers(0, 256, shape, dtype=np.uint8)


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def pixels_of(tensor: torch.Tensor) -> np.ndarray:
    """[C, H, W] back to [H, W, C]."""
    return tensor.permute(1, 2, 0).numpy()


# --- values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 1, 127, 255])
def test_one_colour_is_normalised_exactly(tmp_path: Path, value: int) -> None:
    path = saved(tmp_path / "p.png", np.full((9, 13, 3), value, np.uint8))
    mean, std = IMAGENET
    made = load_picture(path, shape=(8, 8, 3), resize=10, crop=8, mean=mean, std=std)
    assert (made.dtype, tuple(made.shape), made.is_contiguous()) == (torch.float32, (3, 8, 8), True)
    for channel in range(3):
        expected = (np.float32(value) / np.float32(255) - np.float32(mean[channel])) / np.float32(std[channel])
        assert made[channel].unique().tolist() == [expected]


def test_caffe_values_are_bgr_up_to_255(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.png", np.full((4, 4, 3), (10, 20, 30), np.uint8))
    made = load_picture(path, shape=(4, 4, 3), mean=(104, 117, 123), range=255, order="bgr")
    assert made[:, 2, 1].tolist() == [30 - 104, 20 - 117, 10 - 123]
    made = load_picture(path, shape=(4, 4, 3), mean=(104, 117, 123), range=255)
    assert made[:, 2, 1].tolist() == [10 - 104, 20 - 117, 30 - 123]
    made = load_picture(path, shape=(4, 4, 3), mean=(5,), std=(2,), range=255)
    assert made[:, 2, 1].tolist() == [2.5, 7.5, 12.5]


def test_left_half_red(tmp_path: Path) -> None:
    pixels = np.zeros((6, 10, 3), np.uint8)
    pixels[:, :5, 0] = 255
    path = saved(tmp_path / "p.png", pixels)
    rgb = load_picture(path, shape=(4, 4, 3), crop=4)
    assert rgb[0].tolist() == [[1, 1, 0, 0]] * 4
    assert rgb[1:].max().item() == 0
    bgr = load_picture(path, shape=(4, 4, 3), crop=4, order="bgr")
    assert bgr[2].tolist() == [[1, 1, 0, 0]] * 4
    assert bgr[:2].max().item() == 0


def test_grey(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.png", np.full((4, 4, 3), (200, 100, 50), np.uint8))
    made = load_picture(path, shape=(4, 4, 1), range=255, mean=(1,), std=(2,))
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert tuple(made.shape) == (1, 4, 4)
    assert made.unique().tolist() == [(luma - 1) / 2]
    grey = noise(5, 5, 1)
    made = load_picture(saved(tmp_path / "g.png", grey), shape=(5, 5, 3), range=255)
    assert all(np.array_equal(made[channel].numpy(), grey) for channel in range(3))


# --- geometry ----------------------------------------------------------------------------------------


def by_hand(
    pixels: np.ndarray,
    size: tuple[int, int],
    *,
    corner: tuple[int, int],
    crop: tuple[int, int],
    interpolation: str = "bilinear",
) -> np.ndarray:
    """Resized by Pillow to a size, cut at a corner, both worked out in the test. [H, W, 3], 0 to 255."""
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    resized = np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), filters[interpolation]))
    return resized[corner[0] : corner[0] + crop[0], corner[1] : corner[1] + crop[1]].astype(np.float32)


@pytest.mark.parametrize(
    ("picture", "resize", "crop", "size", "corner"),
    [
        # The longer side rounds down (32 * 45 / 30 = 48; 32 * 47 / 30 = 50.13; 32 * 49 / 30 = 52.27) and half
        # a pixel rounds to the even number (10.5 to 10, 9.5 to 10, 11.5 to 12).
        ((30, 45), 32, 28, (32, 48), (2, 10)),
        ((30, 47), 32, 29, (32, 50), (2, 10)),
        ((49, 30), 32, 29, (52, 32), (12, 2)),
        ((30, 49), 32, 28, (32, 52), (2, 12)),
        ((30, 49), 32, 31, (32, 52), (0, 10)),
        ((40, 30), 16, 13, (21, 16), (4, 2)),
        ((32, 40), 32, 27, (32, 40), (2, 6)),
        ((20, 60), (32, 24), 24, (32, 24), (4, 0)),
        ((20, 60), (32, 24), (30, 20), (32, 24), (1, 2)),
        ((20, 60), (32, 24), None, (32, 24), (0, 0)),
        ((40, 60), None, 24, (40, 60), (8, 18)),
        ((24, 24), 32, None, (32, 32), (0, 0)),
    ],
)
def test_resize_and_crop(
    tmp_path: Path,
    picture: tuple[int, int],
    resize: int | tuple[int, int] | None,
    crop: int | tuple[int, int] | None,
    size: tuple[int, int],
    corner: tuple[int, int],
) -> None:
    pixels = noise(*picture)
    window = size if crop is None else (crop, crop) if isinstance(crop, int) else crop
    path = saved(tmp_path / "p.png", pixels)
    made = pixels_of(load_picture(path, shape=(*window, 3), resize=resize, crop=crop, range=255))
    assert np.array_equal(made, by_hand(pixels, size, corner=corner, crop=window))
    # One pixel aside, or one pixel longer, is another picture: this test would see it.
    for axis in range(2):
        longer = (size[0] + (axis == 0), size[1] + (axis == 1))
        assert not np.array_equal(made, by_hand(pixels, longer, corner=corner, crop=window))
        if corner[axis] > 0:
            aside = (corner[0] - (axis == 0), corner[1] - (axis == 1))
            assert not np.array_equal(made, by_hand(pixels, size, corner=aside, crop=window))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_interpolation(tmp_path: Path, interpolation: str) -> None:
    pixels = noise(30, 45)
    path = saved(tmp_path / "p.png", pixels)
    found = pixels_of(load_picture(path, shape=(28, 28, 3), resize=32, crop=28, range=255, interpolation=interpolation))
    here = {
        name: by_hand(pixels, (32, 48), corner=(2, 10), crop=(28, 28), interpolation=name)
        for name in ("bilinear", "bicubic")
    }
    assert [name for name, expected in here.items() if np.array_equal(found, expected)] == [interpolation]


@pytest.mark.parametrize(
    ("picture", "target", "size", "corner"),
    [
        ((30, 45), (16, 16), (16, 24), (0, 4)),
        ((45, 30), (16, 16), (24, 16), (4, 0)),
        ((30, 45), (10, 30), (20, 30), (5, 0)),
        ((30, 46), (16, 16), (16, 25), (0, 4)),  # 24.53 rounds up; 4.5 to the even 4
        ((10, 10), (16, 12), (16, 16), (0, 2)),
        ((16, 12), (16, 12), (16, 12), (0, 0)),
    ],
)
def test_without_options_the_centre_is_covered(
    tmp_path: Path,
    picture: tuple[int, int],
    target: tuple[int, int],
    size: tuple[int, int],
    corner: tuple[int, int],
) -> None:
    pixels = noise(*picture)
    made = pixels_of(load_picture(saved(tmp_path / "p.png", pixels), shape=(*target, 3), range=255))
    assert np.array_equal(made, by_hand(pixels, size, corner=corner, crop=target))


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 500), st.integers(1, 500))
def test_sizes_that_cover(height: int, width: int, target_height: int, target_width: int) -> None:
    target = (target_height, target_width)
    made = pictures._covering(height, width, target)
    scale = max(target_height / height, target_width / width)
    assert made[0] >= target_height
    assert made[1] >= target_width
    assert target_height == made[0] or target_width == made[1]
    assert abs(made[0] - scale * height) <= max(0.5 + 1e-9, target_height - scale * height)
    assert abs(made[1] - scale * width) <= max(0.5 + 1e-9, target_width - scale * width)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600))
def test_the_shorter_side(height: int, width: int, to: int) -> None:
    short, long = sorted((height, width))
    made = pictures._shorter_side(height, width, to=to)
    assert sorted(made) == [to, math.floor(to * long / short)]  # torchvision computes in floating point
    assert (made[0] <= made[1]) == (height <= width or made[0] == made[1])


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    # Every fourth column is white. A triangle as wide as eight columns holds two of them, 3.5 and 0.5 or 2.5
    # and 1.5 columns from its middle; either way they weigh (4 - 3.5 + 4 - 0.5) / 16 = 1/4. Sampling gives 0
    # or 255.
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 3::4] = 255
    made = load_picture(saved(tmp_path / "p.png", pixels), shape=(10, 20, 3), resize=10, range=255)
    assert made[:, :, 2:-2].unique().tolist() == [64]


def test_a_ramp_stays_a_ramp(tmp_path: Path) -> None:
    # Linear interpolation keeps a line: output column i has its middle at 2 i + 0.5, of value 4 (2 i + 0.5).
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (30, 1))
    made = load_picture(saved(tmp_path / "p.png", ramp), shape=(15, 30, 1), resize=15, range=255)
    assert made[0, :, 1:-1].unique(dim=0).tolist() == [[8 * i + 2 for i in range(1, 29)]]


@pytest.mark.parametrize(
    ("options", "message", "help_"),
    [
        (
            {"resize": 8},
            "(6x10) becomes 8x13, but the input is 8x8",
            "write `crop=8` beside `resize`, or `resize=8x8` to stretch the picture",
        ),
        ({"resize": 9, "crop": 7}, "(6x10) becomes 7x7, but the input is 8x8", "write `crop=8`"),
        (
            {"crop": 8},
            "is too small: a crop of 8x8 from 6x10 pixels leaves gaps",
            "write `resize=8` beside `crop`, or give a larger picture",
        ),
        (
            {"resize": (8, 7)},
            "(6x10) becomes 8x7, but the input is 8x8",
            "write `crop=8` beside `resize`, or `resize=8x8` to stretch the picture",
        ),
    ],
)
def test_options_that_miss_the_input(tmp_path: Path, options: dict[str, int], message: str, help_: str) -> None:
    path = saved(tmp_path / "p.png", noise(6, 10))
    found = mistake(lambda: load_picture(path, shape=(8, 8, 3), **options))
    assert (found.code, found.message, found.help) == ("E0415", f"{path} {message}", (help_,))


def test_four_channels_are_no_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.png", noise(6, 10))
    found = mistake(lambda: load_picture(path, shape=(8, 8, 4)))
    assert found.code == "E0415"
    assert found.message == "a picture has 3 channels, or 1 in grey; the input has 4"


# --- kinds of pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_rotation_mark_is_obeyed(tmp_path: Path, orientation: int) -> None:
    upright = noise(6, 9)
    # How a camera held so stores the picture: the inverse of what the mark asks for.
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(store(upright))).save(tmp_path / "p.png", exif=exif)
    made = pixels_of(load_picture(tmp_path / "p.png", shape=(6, 9, 3), range=255))
    assert np.array_equal(made, upright)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:, :2, 3] = 255
    pixels[:, 3, 3] = 51  # a fifth
    made = load_picture(saved(tmp_path / "p.png", pixels), shape=(4, 4, 3), range=255)
    assert made[0, 0].tolist() == [200, 200, 255, 244]
    assert made[1, 0].tolist() == [0, 0, 255, 204]
    made = load_picture(tmp_path / "p.png", shape=(4, 4, 1), range=255)
    assert made[0, 0, 2].item() == 255


def test_palettes(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30, 40, 50, 60])
    picture.putpixel((3, 0), 2)
    picture.save(tmp_path / "p.png")
    made = load_picture(tmp_path / "p.png", shape=(4, 4, 3), range=255)
    assert made[:, 0, 0].tolist() == [10, 20, 30]
    assert made[:, 0, 3].tolist() == [40, 50, 60]
    picture.save(tmp_path / "q.png", transparency=2)
    made = load_picture(tmp_path / "q.png", shape=(4, 4, 3), range=255)
    assert made[:, 0, 0].tolist() == [10, 20, 30]
    assert made[:, 0, 3].tolist() == [255, 255, 255]


def test_sixteen_bits_and_one_bit_and_inks(tmp_path: Path) -> None:
    wide = np.array([[0, 128, 129, 257], [32896, 65406, 65407, 65535]], np.uint16)
    made = load_picture(saved(tmp_path / "p.png", wide), shape=(2, 4, 1), range=255)
    assert made[0].tolist() == [[0, 0, 1, 1], [128, 254, 255, 255]]
    made = load_picture(saved(tmp_path / "p.tiff", wide), shape=(2, 4, 3), range=255)
    assert made[2].tolist() == [[0, 0, 1, 1], [128, 254, 255, 255]]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "b.png")
    assert load_picture(tmp_path / "b.png", shape=(1, 2, 3)).tolist() == [[[1, 0]]] * 3
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "c.tiff")
    assert load_picture(tmp_path / "c.tiff", shape=(8, 8, 3))[:, 0, 0].tolist() == [0, 1, 1]


def test_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "p.gif", save_all=True, append_images=frames[1:])
    assert load_picture(tmp_path / "p.gif", shape=(4, 4, 3))[:, 0, 0].tolist() == [1, 0, 0]


def test_a_broken_mark_does_not_spoil_a_picture(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "p.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert load_picture(tmp_path / "p.png", shape=(4, 4, 3))[:, 0, 0].tolist() == [1, 0, 0]


# --- what is not a picture ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda p: None, "there is no such file"),
        (lambda p: p.mkdir(), "it is a folder"),
        (os.mkfifo, "it is not a regular file"),
        (lambda p: p.write_bytes(b""), "it is empty"),
        (lambda p: p.write_text("a text"), "it is not a picture"),
        (lambda p: p.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "it is not a picture"),
        (
            lambda p: Image.new("F", (4, 4)).save(p, "TIFF"),
            "its pixels are 32-bit numbers without a known range",
        ),
        (
            lambda p: Image.new("I", (4, 4)).save(p, "TIFF"),
            "its pixels are 32-bit numbers without a known range",
        ),
    ],
)
def test_what_is_not_a_picture(tmp_path: Path, write: Callable[[Path], object], reason: str) -> None:
    path = tmp_path / "p.png"
    write(path)
    found = mistake(lambda: load_picture(path, shape=(4, 4, 3)))
    assert (found.code, found.message) == ("E0411", f"cannot read the picture {path}: {reason}")


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "p.png", noise(20, 30))
    monkeypatch.setattr(pictures, "MAX_PIXELS", 600)
    assert tuple(load_picture(path, shape=(20, 30, 3)).shape) == (3, 20, 30)
    found = mistake(lambda: load_picture(path, shape=(21, 21, 3), resize=21, crop=21))
    assert found.code == "E0415"
    assert found.message == f"resized to 21x31, {path} (20x30) would pass 600 pixels"
    monkeypatch.setattr(pictures, "MAX_PIXELS", 599)
    found = mistake(lambda: load_picture(path, shape=(20, 30, 3)))
    assert (found.code, found.message) == (
        "E0411",
        f"cannot read the picture {path}: it has 20x30 pixels, the limit is 599",
    )


def test_a_picture_that_claims_billions_of_pixels(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "BMP")
    content = bytearray(stream.getvalue())
    content[18:26] = (60000).to_bytes(4, "little") * 2
    (tmp_path / "p.bmp").write_bytes(content)
    found = mistake(lambda: load_picture(tmp_path / "p.bmp", shape=(4, 4, 3)))
    assert found.message.endswith(f"it has more than {pictures.MAX_PIXELS} pixels")


@many
@given(
    st.binary(min_size=1, max_size=300),
    st.sampled_from((b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM")),
)
def test_random_bytes_are_refused(tmp_path: Path, content: bytes, magic: bytes) -> None:
    (tmp_path / "p.png").write_bytes(magic + content)
    assert mistake(lambda: load_picture(tmp_path / "p.png", shape=(4, 4, 3))).code == "E0411"


@many
@given(st.sampled_from(("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")), st.floats(0, 1, exclude_max=True))
def test_a_picture_cut_short_is_refused(tmp_path: Path, kind: str, kept: float) -> None:
    stream = io.BytesIO()
    Image.fromarray(noise(24, 24)).save(stream, kind)
    content = stream.getvalue()
    path = tmp_path / "p"
    path.write_bytes(content)
    assert tuple(load_picture(path, shape=(24, 24, 3)).shape) == (3, 24, 24)
    # The last bytes of some formats are marks that a reader may do without, 20 of them in a PNG.
    path.write_bytes(content[: int(kept * (len(content) - 20))])
    assert mistake(lambda: load_picture(path, shape=(24, 24, 3))).code == "E0411"
