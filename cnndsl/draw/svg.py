"""A scene as SVG: one file without scripts, in the reader's own font, for light pages and dark ones.

What a page that embeds it can rely on:

- ``g.node`` is a layer: ``id`` (prefix, ``node-`` and name), ``data-node`` (its name), ``data-line`` and ``data-file``
  (where it is written), ``data-group`` (the number of its kernel's group; absent where no kernel computes it),
  ``data-kind`` (``conv``, ``input``), ``data-family`` (its colour), ``data-state`` (computed, folded, free, unused),
  ``data-shape``. In the view ``kernels`` a node is a whole kernel, ``data-nodes`` names all its layers, and the rest is
  its first layer's.
- ``g.box`` holds the nodes of one kernel, ``data-group`` again and ``data-kind`` (input, layers, output);
  ``g.output`` within one is an output, ``data-output`` its name.
- ``g.edge`` is a value on its way to one reader: ``data-from`` and ``data-to`` are names of layers, or of an output.
- ``g.frame`` surrounds a block: ``data-path``.

Each has a ``<title>``. With `embed`, boxes can be focused and have the role of a button. Colours are CSS variables,
``--net-`` and a role of `cnndsl.draw.theme` (``--net-conv``, ``--net-ink``, ``--net-edge``; ``-line`` behind it for the
line of a shape that has both: ``--net-box-line``): set on the ``<svg>``'s surroundings, they go before its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from cnndsl.draw.lines import bends, tip
from cnndsl.draw.scene import Group, Line, Rect, Scene, Text
from cnndsl.draw.theme import DARK, LIGHT, Paint

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def svg(scene: Scene, *, embed: bool = False, prefix: str = "net-") -> str:
    """The scene as SVG text.

    With `embed` it is an element to be put in an HTML page, without background; else a whole file. `prefix` goes
    before each id, which a page must have once.
    """
    size = f'viewBox="0 0 {_number(scene.width)} {_number(scene.height)}"'
    about = f"<title>{_text(scene.name)}</title><desc>{_text(scene.description)}</desc>"
    if embed:
        head = f'<svg class="cnndsl-net" xmlns="http://www.w3.org/2000/svg" {size} role="group" aria-label='
        head += f'"{_text(scene.name)}" style="max-width:{_number(scene.width)}px">'
    else:
        head = '<?xml version="1.0" encoding="UTF-8"?>\n<svg class="cnndsl-net" xmlns="http://www.w3.org/2000/svg" '
        head += f'width="{_number(scene.width)}" height="{_number(scene.height)}" {size} role="img">{about}'
    lines = [head, f"<style>{_style()}</style>"]
    if not embed:
        lines.append(f'<rect class="page" width="100%" height="100%" fill="{LIGHT["page"].fill}"/>')
    for group in scene.groups:
        lines.extend(_group(group, prefix, embed=embed))
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def _group(group: Group, prefix: str, *, embed: bool) -> Iterator[str]:
    data = "".join(f' data-{name}="{_text(value)}"' for name, value in group.data)
    known = dict(group.data)
    named = known.get("node") or known.get("output") if group.kind in {"node", "output"} else None
    mark = f' id="{_text(prefix)}{group.kind}-{_text(named)}"' if named is not None else ""
    focus = ' tabindex="0" role="button"' if embed and group.kind == "box" and "group" in known else ""
    yield f'<g class="{group.kind}"{mark}{data}{focus}>'
    if group.title:
        yield f"<title>{_text(group.title)}</title>"
    for item in group.items:
        match item:
            case Group():
                yield from _group(item, prefix, embed=embed)
            case Rect():
                yield _rect(item)
            case Text():
                yield _written(item)
            case Line():
                yield _line(item)
    yield "</g>"


def _rect(rect: Rect) -> str:
    paint = LIGHT[rect.role]
    place = " ".join(
        f'{name}="{_number(value)}"'
        for name, value in zip(("x", "y", "width", "height"), (rect.x, rect.y, rect.width, rect.height), strict=True)
    )
    line = f' stroke="{paint.line}"' if paint.line != "none" else ""
    dashes = ' stroke-dasharray="4 3"' if paint.dashed else ""
    return f'<rect class="{rect.role}" {place} rx="{_number(rect.radius)}" fill="{paint.fill}"{line}{dashes}/>'


def _written(text: Text) -> str:
    anchor = f' text-anchor="{text.anchor}"' if text.anchor != "start" else ""
    weight = ' font-weight="600"' if text.bold else ""
    return (
        f'<text class="{text.role}" x="{_number(text.x)}" y="{_number(text.y)}" font-size="{_number(text.size)}"'
        f'{anchor}{weight} fill="{LIGHT[text.role].fill}">{_text(text.text)}</text>'
    )


def _line(line: Line) -> str:
    """The line with round corners, up to its tip, and the tip."""
    corners, base = tip(line)
    parts = [f"M{_pair(line.points[0])}"]
    for start, corner, end in bends(line):
        parts.append(f"L{_pair(start)}Q{_pair(corner)} {_pair(end)}")
    colour = LIGHT["edge"].line
    return (
        f'<path class="edge-line" d="{"".join(parts)}L{_pair(base)}" fill="none" stroke="{colour}"/>'
        f'<path class="edge-tip" d="M{"L".join(map(_pair, corners))}Z" fill="{colour}"/>'
    )


# --- style -----------------------------------------------------------------------------------------


def _style() -> str:
    """Colours by class; the attributes beside them are for programs that know no variables."""
    rules = [
        f".cnndsl-net{{font-family:var(--net-font,{FONT})}}",
        ".cnndsl-net .edge-line{stroke-width:1.3}",
        ".cnndsl-net rect{stroke-width:1}",
        *_colours(LIGHT),
    ]
    dark = "".join(_colours(DARK))
    return "\n".join([*rules, f"@media (prefers-color-scheme:dark){{{dark}}}"])


def _colours(theme: dict[str, Paint]) -> Iterator[str]:
    for role, paint in theme.items():
        if role == "edge":
            yield f".cnndsl-net .edge-line{{stroke:var(--net-edge,{paint.line})}}"
            yield f".cnndsl-net .edge-tip{{fill:var(--net-edge,{paint.line})}}"
            continue
        rules = [f"fill:var(--net-{role},{paint.fill})"] if paint.fill != "none" else []
        rules += [f"stroke:var(--net-{role}-line,{paint.line})"] if paint.line != "none" else []
        if rules:
            # Groups have classes too, whose colours their texts would inherit.
            kind = "text" if role in {"ink", "muted"} else "rect"
            yield f".cnndsl-net {kind}.{role}{{{';'.join(rules)}}}"


def _pair(point: tuple[float, float]) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _text(text: str) -> str:
    """Escaped, and without characters that XML does not have."""
    allowed = "".join(c if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in text)
    return escape(allowed.encode("utf-8", "replace").decode("utf-8"))


