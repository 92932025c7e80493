"""The page as a file: all in one, nothing from elsewhere, and no text of a user's that could become part of it."""

import base64
import hashlib
import json
import re
import zlib
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import fakes

from cnndsl.report import Report, page, render
from cnndsl.report.render import SCRIPTS

SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)


class Parsed(HTMLParser):
    """The page's elements and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_it_names_nothing_outside_itself(vgg: Report) -> None:
    for tag, attributes in Parsed(page(vgg)).elements:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:,")), (tag, value)
    rest = SCRIPT.sub("", page(vgg))
    outside = set(re.findall(r"""["'(]((?:https?:)?//[^"')\s]+)""", rest))
    assert outside <= {"http://www.w3.org/2000/svg"}


def test_its_policy_allows_its_own_scripts_alone(vgg: Report) -> None:
    text = page(vgg)
    (policy,) = (a["content"] for tag, a in Parsed(text).elements if a.get("http-equiv") == "Content-Security-Policy")
    run = [body for attributes, body in SCRIPT.findall(text) if "type=" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in run]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
    assert len(run) == 2


def blocks(text: str) -> dict[str, str]:
    """The data of a page by the ids of its elements."""
    found = {}
    for attributes, body in SCRIPT.findall(text):
        identity = re.search(r'id="([^"]*)"', attributes)
        if identity is not None:
            found[identity[1]] = body
    return found


def test_its_data_is_the_report(two: Report) -> None:
    found = blocks(page(two))
    data = json.loads(found.pop("data"))
    expected = json.loads(json.dumps(asdict(two)))
    assert data == {key: value for key, value in expected.items() if key not in {"texts", "picture"}}
    unpacked = {key: json.loads(zlib.decompress(base64.b64decode(body))) for key, body in found.items()}
    assert unpacked == expected["texts"]
    assert two.picture in page(two)


HOSTILE = """# </script><script>window.hacked = 1</script><!-- <img src=x onerror=hacked()> {{data}} {{script}} \u2028
network Small(note = "<b onclick='hacked()'>&amp;</b>", classes = 10) {
    input image [8x8x3]   # <svg onload=alert(1)>
    conv1: conv(4, 3x3, pad=1) -> relu
    fc: dense(classes)
}
"""


def test_texts_stay_texts() -> None:
    report = fakes.fake_report(fakes.graph_of(HOSTILE), failing=["fc"])
    text = page(report)
    plain = page(fakes.fake_report(fakes.graph_of(fakes.SMALL)))
    assert [tag for tag, _ in Parsed(text).elements if tag in {"script", "img", "b"}] == ["script"] * len(
        SCRIPT.findall(text)
    )
    # As many as without: the two that run, the data, and each kernel's texts.
    assert len(SCRIPT.findall(text)) - len(report.texts) == len(SCRIPT.findall(plain)) - 3 == 3
    assert json.loads(blocks(text)["data"])["files"][0]["text"] == HOSTILE
    assert "<b onclick" not in text


def test_the_parts_of_the_script_are_all_there(vgg: Report) -> None:
    text = page(vgg)
    assert len(SCRIPTS) == len(set(SCRIPTS)) == len(list(Path(render.__file__).parent.glob("*.js"))) - 1  # the theme's
    for name in ("class CodeView", "class Pane", "class TextPanel", "function roofline", "function begin"):
        assert text.count(name) == 1
    assert "{{" not in SCRIPT.sub("", text)


def test_the_page_is_the_same_every_time(two: Report) -> None:
    assert page(two) == page(two)
