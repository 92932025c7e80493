"""Pictures as PNG files."""

import io

import pytest
from picture_checks import EXAMPLES, drawn, graph_of, of_kind, walk
from PIL import Image, ImageColor

from cnndsl.draw import png as module
from cnndsl.draw.metrics import width
from cnndsl.draw.png import SCALE, png
from cnndsl.draw.scene import Group, Line, Rect, Scene
from cnndsl.draw.theme import LIGHT


@pytest.fixture(scope="module")
def scene() -> Scene:
    return drawn(graph_of(EXAMPLES / "alexnet.cnn"))[1]


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    return image.convert("RGB")


def test_its_size_and_colours(scene) -> None:
    data = png(scene)
    assert data == png(scene)
    image = opened(data)
    assert image.size == (scene.width * SCALE, scene.height * SCALE)
    assert image.getpixel((1, 1)) == ImageColor.getrgb(LIGHT["page"].fill)
    for node in of_kind(scene, "node"):
        (cell,) = (item for item in node.items if isinstance(item, Rect))
        if cell.role != "faint":
            # Left of the text, in the middle of the row.
            at = (round((cell.x + 4) * SCALE), round((cell.y + cell.height / 2) * SCALE))
            assert image.getpixel(at) == ImageColor.getrgb(LIGHT[cell.role].fill)


def test_lines_lead_where_they_should(scene) -> None:
    """Every way is dark from its start to its end."""
    image = opened(png(scene)).convert("L")
    for group in walk(scene.groups):
        for line in (item for item in group.items if isinstance(item, Line)):
            for part in (0.1, 0.5, 0.9):
                (x0, y0), (x1, y1) = line.points[0], line.points[1]
                at = (round((x0 + (x1 - x0) * part) * SCALE), round((y0 + (y1 - y0) * part) * SCALE))
                around = [image.getpixel((at[0] + dx, at[1] + dy)) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
                assert min(around) < 150


def test_a_scene_that_is_too_large_comes_out_smaller(scene, monkeypatch) -> None:
    monkeypatch.setattr(module, "_MOST", 200_000)
    image = opened(png(scene))
    assert 150_000 < image.width * image.height <= 201_000
    assert image.width / image.height == pytest.approx(scene.width / scene.height, rel=0.01)


def test_dashes_and_an_empty_scene() -> None:
    bare = Rect(10, 10, 80, 40, 5, "bare")
    image = opened(png(Scene("n", "d", 100, 60, (Group("box", (bare,)),))))
    top = [image.getpixel((x, 10 * SCALE)) for x in range(10 * SCALE, 90 * SCALE)]
    assert len(set(top)) > 1, "dashed"
    assert image.getpixel((50 * SCALE, 30 * SCALE)) == (255, 255, 255)
    assert opened(png(Scene("n", "d", 10, 10, ()))).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("text", ["conv(96, 11x11, stride=4)", "maxpool(2x2)", *map(chr, range(33, 127))])
def test_texts_need_no_more_than_the_layout_thinks(text) -> None:
    for size in (10.0, 12.0):
        assert module.font(size * 8).getlength(text) / 8 <= width(text, size)
