"""A report as one HTML page: style, script, picture and data in it, nothing from anywhere else.

The page's own policy forbids every request, and every script but its own two, by their hashes: whatever a name or a
comment of a ``.cnn`` file says, it stays text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib import resources
from typing import Any

from cnndsl.draw.theme import DARK, LIGHT
from cnndsl.report.model import Report, Text

SCRIPTS = (
    "dom.js", "tokens.js", "stages.js", "code.js", "panes.js", "network.js", "roofline.js", "views.js", "keys.js",
    "main.js",
)  # fmt: skip
"""The parts of the page's script, in order; each uses those before it."""


def page(report: Report) -> str:
    """The page."""
    theme = _asset("theme.js")
    script = '"use strict";\n' + "\n".join(_asset(name) for name in SCRIPTS)
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in (theme, script))
    parts = {
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}",
        "version": html.escape(str(report.versions["cnndsl"])),
        "title": html.escape(report.title),
        "style": _asset("report.css") + _picture_colours(),
        "theme": theme,
        "picture": report.picture,
        "data": _json(_data(report)),
        "blobs": "\n".join(
            f'<script type="text/plain" id="{key}">{_packed(stages)}</script>' for key, stages in report.texts.items()
        ),
        "script": script,
    }
    # One pass over the template: what is put in is not looked at again, whatever it holds.
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))
    # A file's name may hold bytes that are no text.
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _asset(name: str) -> str:
    return (resources.files("cnndsl.report") / name).read_text("utf-8")


def _picture_colours() -> str:
    """The drawing's colours, for the page to choose the scheme of both."""
    rules = []
    for root, theme in ((":root", LIGHT), (':root[data-theme="dark"]', DARK)):
        names = {f"--net-{role}": paint.fill for role, paint in theme.items()}
        names |= {f"--net-{role}-line": paint.line for role, paint in theme.items()}
        names["--net-edge"] = theme["edge"].line
        rules.append(f"{root}{{{';'.join(f'{name}:{value}' for name, value in names.items() if value != 'none')}}}")
    return "\n".join(rules)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _data(report: Report) -> dict[str, Any]:
    data = asdict(report)
    # Both have places of their own in the page.
    del data["texts"], data["picture"]
    return data


def _json(data: object) -> str:
    """JSON that can stand inside a script element: without ``<``, it cannot end it or open a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _packed(stages: Mapping[str, Text]) -> str:
    data = json.dumps({name: asdict(text) for name, text in stages.items()}, separators=(",", ":"))
    return base64.b64encode(zlib.compress(data.encode(), 9)).decode()
