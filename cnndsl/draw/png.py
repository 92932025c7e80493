"""A scene as PNG, for where SVG cannot go. Pillow draws it, on a light page, in Pillow's own font."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from cnndsl.draw.lines import bends, tip
from cnndsl.draw.scene import Group, Line, Rect, Scene, Text
from cnndsl.draw.theme import LIGHT

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

SCALE = 2
"""Pixels for each of the scene's units."""

_SMOOTH = 2
"""Shapes are drawn larger by this and then reduced, which smooths their edges."""

_MOST = 1 << 27
"""Pixels that are drawn at once at most (400 MB); larger scenes come out smaller."""


def png(scene: Scene) -> bytes:
    """The scene as a PNG file, SCALE pixels for each unit; less where the picture would be too large to hold."""
    from PIL import Image, ImageDraw

    area = scene.width * scene.height
    scale = min(float(SCALE), (_MOST / area) ** 0.5)
    smooth = _SMOOTH if area * (scale * _SMOOTH) ** 2 <= _MOST else 1
    size = (round(scene.width * scale), round(scene.height * scale))
    page = Image.new("RGB", (size[0] * smooth, size[1] * smooth), LIGHT["page"].fill)
    texts: list[Text] = []
    draw = ImageDraw.Draw(page)
    for group in scene.groups:
        _shapes(group, draw, scale * smooth, texts)
    if smooth > 1:
        page = page.reduce(smooth)
    _write(page, texts, scale)
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def font(size: float) -> FreeTypeFont | ImageFont:
    """Pillow's own font, `size` pixels high."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _shapes(group: Group, draw: ImageDraw, scale: float, texts: list[Text]) -> None:
    """Draw a group's shapes, and put its texts aside: they are written on the page as it comes out."""
    for item in group.items:
        match item:
            case Group():
                _shapes(item, draw, scale, texts)
            case Rect():
                _rect(item, draw, scale)
            case Line():
                _line(item, draw, scale)
            case Text():
                texts.append(item)


def _rect(rect: Rect, draw: ImageDraw, scale: float) -> None:
    paint = LIGHT[rect.role]
    corners = [rect.x * scale, rect.y * scale, (rect.x + rect.width) * scale, (rect.y + rect.height) * scale]
    fill = None if paint.fill == "none" else paint.fill
    line = None if paint.line == "none" or paint.dashed else paint.line
    if fill is not None or line is not None:
        draw.rounded_rectangle(corners, rect.radius * scale, fill, line, max(1, round(scale)))
    if paint.dashed:
        _dashes(corners, paint.line, draw, scale)


def _dashes(corners: list[float], colour: str, draw: ImageDraw, scale: float) -> None:
    left, top, right, bottom = corners
    thick, step = max(1, round(scale)), 7 * scale
    at = left
    while at < right:
        end = min(at + 4 * scale, right)
        draw.line([at, top, end, top], colour, thick)
        draw.line([at, bottom, end, bottom], colour, thick)
        at += step
    at = top
    while at < bottom:
        end = min(at + 4 * scale, bottom)
        draw.line([left, at, left, end], colour, thick)
        draw.line([right, at, right, end], colour, thick)
        at += step


def _line(line: Line, draw: ImageDraw, scale: float) -> None:
    colour = LIGHT["edge"].line
    corners, base = tip(line)
    way = [line.points[0]]
    for start, corner, end in bends(line):
        # A bend is a parabola, as SVG's Q draws it.
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):
            a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t**2
            way.append((a * start[0] + b * corner[0] + c * end[0], a * start[1] + b * corner[1] + c * end[1]))
    points = [(x * scale, y * scale) for x, y in (*way, base)]
    draw.line(points, colour, max(1, round(1.3 * scale)), joint="curve")
    draw.polygon([(x * scale, y * scale) for x, y in corners], colour)


def _write(page: Image, texts: list[Text], scale: float) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(page)
    fonts = {size: font(size * scale) for size in {text.size for text in texts}}
    for text in texts:
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
        draw.text(
            (text.x * scale, text.y * scale), text.text, LIGHT[text.role].fill, fonts[text.size], anchor,
            stroke_width=0.35 * scale if text.bold else 0,
        )  # fmt: skip
