"""Sizes, colours, paper, and texts that would like to be more than texts."""

from pathlib import Path

import fakes
import pytest
from browser import Open
from fakes import write
from looking import SEEN, drawn, expected_links, lit, pane

from cnndsl.report import Report


def test_twenty_thousand_instructions(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, "#launch=stage1.conv2&view=code&panes=source,sass")
    texts = vgg.texts[vgg.targets[0].kernels[1].texts]
    assert len(texts["sass"].map) == 20_001
    assert page.text(f"{pane(2)} .foot .dim") == "20,001 lines"
    assert page.eval(f"document.querySelectorAll('{pane(2)} .line').length") < 120
    page.eval(f"document.querySelector('{pane(2)} .scroller').scrollTop = 1e9")
    page.settle()
    assert page.texts(f"{pane(2)} .number")[-1] == "20001"
    assert page.eval(f"document.querySelectorAll('{pane(2)} .line').length") < 120
    page.hover(f"{pane(2)} .line[data-line='20000']")
    links = expected_links(vgg, "sass", 20_000, launch=1)["sass"]
    assert lit(page, pane(2)) == [i for i in links if i in drawn(page, pane(2))]
    assert len(links) > len(lit(page, pane(2)))


CONTRAST = """
(() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (e) => { const own = parse(getComputedStyle(e).backgroundColor);
    return own[3] === 1 || !e.parentElement ? over(own, [255, 255, 255, 1]) : over(own, ground(e.parentElement)); };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !e.checkVisibility()) continue;
    if (e.closest('script, style, svg, .unseen, .arrow, :disabled')) continue;
    const back = ground(e);
    const [x, y] = [light(over(parse(getComputedStyle(e).color), back)), light(back)].sort((a, b) => b - a);
    const ratio = (x + 0.05) / (y + 0.05);
    if (ratio < 4.5) found.push(`${e.tagName}.${e.className} "${e.textContent.slice(0, 30)}" ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast(vgg_page: Path, two_page: Path, open_page: Open, dark: bool) -> None:
    page = open_page(vgg_page, "#launch=fc6", dark=dark)
    assert page.eval("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    for key in "13452":
        page.press(key)
        assert page.eval(CONTRAST) == []
    page.hover(f"{pane(2)} .line[data-line='10']")
    page.eval("desk.panes[1].search.value = 'IADD'; desk.panes[1].find()")
    page.settle()
    assert page.eval(CONTRAST) == []
    page.press("?")
    assert page.eval(CONTRAST) == []
    # The measure itself: grey on grey is found.
    page.eval("document.querySelector('#facts').style.color = 'rgb(128 128 128)'")
    assert len(page.eval(CONTRAST)) == 1
    failed = open_page(two_page, "#launch=inception2.conv1", dark=dark)
    assert failed.eval(CONTRAST) == []


def test_the_scheme_can_be_chosen_and_the_picture_follows(vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('#picture text.ink, #picture text')).fill"
    dark = page.eval(f"[{ground}, {ink}]")
    page.press("t")
    light = page.eval(f"[{ground}, {ink}]")
    assert light[0] == "rgb(255, 255, 255)"
    assert [a != b for a, b in zip(light, dark, strict=True)] == [True, True]
    page.scheme(dark=False)
    page.scheme(dark=True)
    assert page.eval(f"[{ground}, {ink}]") == light


@pytest.mark.parametrize("width", [360, 800, 1200, 1900])
def test_nothing_sticks_out_at_any_width(vgg_page: Path, open_page: Open, width: int) -> None:
    page = open_page(vgg_page, "#launch=stage3.conv2", width=width, height=800)
    for key in "12345":
        page.press(key)
        assert page.eval("document.documentElement.scrollWidth") <= width
        assert page.eval("document.querySelector('#detail').getBoundingClientRect().width") > min(width - 20, 400)


def test_on_a_phone_the_kernel_comes_into_view(vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, width=400, height=800)
    page.click("#text .line[data-line='13']")
    assert abs(page.eval("document.querySelector('#detail').getBoundingClientRect().top")) < 5
    left = "[...document.querySelectorAll('.pane')].map((e) => Math.round(e.getBoundingClientRect().left))"
    assert page.eval(left) == [0, 0]


def test_on_paper_every_line_is_there(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, SEEN + "source")
    page.eval("window.dispatchEvent(new Event('beforeprint'))")
    texts = vgg.texts[vgg.targets[0].kernels[0].texts]
    assert len(page.texts(f"{pane(1)} .line")) == len(texts["source"].text.splitlines())
    page.eval("window.dispatchEvent(new Event('afterprint'))")
    assert len(page.texts(f"{pane(1)} .line")) < len(texts["source"].text.splitlines())


def test_nothing_of_a_network_runs(open_page: Open, tmp_path: Path) -> None:
    from test_render import HOSTILE

    report = fakes.fake_report(fakes.graph_of(HOSTILE), failing=["fc"])
    page = open_page(write(report, tmp_path), "#launch=%3Cimg%20src=x%20onerror=hacked()%3E")
    assert page.text("#text .line[data-line='1'] .words") == HOSTILE.split("\n")[0]
    for key in "12345":
        page.press(key)
    page.press("2")
    page.click("g.node[data-node='fc']")
    assert "<of conv>" in page.text("#view-code .missing pre")
    assert page.eval("[window.hacked, document.querySelectorAll('img, b[onclick]').length]") == [None, 0]
