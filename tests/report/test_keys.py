"""The page without a pointer."""

from pathlib import Path

from browser import Open
from looking import SEEN, VIEWS, drawn, expected_links, in_view, lit, pane, title

from cnndsl.report import Report


def test_keys_walk_through_launches_and_views(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    launches = vgg.targets[0].launches
    page = open_page(vgg_page)
    for number, view in enumerate(VIEWS, 1):
        page.press(str(number))
        assert page.text(".tabs [aria-selected=true]").lower() == view
        assert page.eval(f"!document.querySelector('#view-{view}').hidden")
    page.press("j", "j")
    assert title(page) == launches[2].title
    page.press("k")
    assert title(page) == launches[1].title
    assert page.text("#status").startswith(f"{launches[1].title}, launch 2 of 24")
    page.press(*"k" * 3)
    assert title(page) == launches[0].title


def test_keys_in_the_code(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, SEEN + "source,sass")
    page.eval(f"document.querySelector('{pane(2)} .scroller').focus()")
    page.press("ArrowDown", "ArrowDown", "ArrowDown")
    assert page.texts(f"{pane(2)} .cursor .number") == ["3"]
    active = page.eval(f"document.querySelector('{pane(2)} .scroller').getAttribute('aria-activedescendant')")
    assert page.eval(f"document.getElementById('{active}').dataset.line") == "3"
    links = expected_links(vgg, "sass", 3)
    assert lit(page, pane(2)) == [i for i in links["sass"] if i in drawn(page, pane(2))]
    page.press("Enter")
    assert lit(page, pane(1)) == links["source"]
    assert in_view(page, f"{pane(1)} .line.lit")
    page.press("n")
    assert page.texts(f"{pane(2)} .cursor .number") == [str(links["sass"][1])]
    page.press("End")
    assert page.texts(f"{pane(2)} .cursor .number") == [str(len(vgg.texts["texts-0-0"]["sass"].map))]


def test_find(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, SEEN + "source,sass")
    page.click(f"{pane(2)} .line[data-line='2']")
    page.press("/")
    assert page.eval(f"document.activeElement === document.querySelector('{pane(2)} input')")
    page.press(*"hgmma")
    lines = vgg.texts["texts-0-0"]["sass"].text.splitlines()
    expected = [i for i, line in enumerate(lines, 1) if "HGMMA" in line]
    assert page.text(f"{pane(2)} .hits") == f"1/{len(expected)}"
    page.press("Enter", "Enter")
    assert page.text(f"{pane(2)} .hits") == f"3/{len(expected)}"
    assert in_view(page, f"{pane(2)} .line[data-line='{expected[2]}']")
    assert page.eval(f"document.querySelectorAll('{pane(2)} .line.found').length") > 3
    page.press("Escape")
    assert page.text(f"{pane(2)} .hits") == ""


def test_keys_in_the_picture_and_in_the_text(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page)
    page.eval("document.querySelector('g.box[tabindex=\"0\"]').focus()")
    page.press("ArrowDown", "ArrowDown", "Enter")
    assert title(page) == "stage1.conv2 + relu2"
    assert page.eval("document.querySelectorAll('g.box[tabindex=\"0\"]').length") == 1
    page.eval("document.querySelector('#text .scroller').focus()")
    page.press("End", "ArrowUp", "Enter")
    assert title(page) == "fc8"


def test_help_and_tab_order(vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, SEEN + "source,sass")
    page.press("?")
    assert page.eval("document.querySelector('#keys').open")
    assert "next and previous launch" in page.text("#keys")
    page.press("Escape")
    assert not page.eval("document.querySelector('#keys').open")
    page.eval("document.activeElement.blur()")
    order = []
    for _ in range(60):
        page.press("Tab")
        order.append(page.eval(
            "(() => { const e = document.activeElement; return e.id || e.className?.baseVal || e.className"
            " || e.dataset.stage || e.getAttribute('aria-label') || e.textContent; })()"
        ))  # fmt: skip
        if order[-1] == "BODY" or order.count(order[0]) > 1:
            break
    wanted = ["skip", "keys-button", "theme-button", "scroller", "box selected", "splitter", "tab-code"]
    places = [order.index(next(each for each in order if each.startswith(name))) for name in wanted]
    assert places == sorted(places), order
    # Every stop can be seen: the browser's own outline, or ours.
    assert page.eval("[...document.querySelectorAll('button, select, input, [tabindex]')].every((e) =>"
                     "e.textContent.trim() || e.getAttribute('aria-label') || e.getAttribute('aria-hidden'))")


def test_tabs_by_arrow_keys(vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page)
    page.eval("document.querySelector('#tab-overview').focus()")
    page.press("ArrowRight", "ArrowRight")
    assert page.eval("document.activeElement.id") == "tab-resources"
    page.press("Home")
    assert page.eval("document.activeElement.id") == "tab-overview"
    assert page.eval("[...document.querySelectorAll('.tabs [tabindex=\"0\"]')].length") == 1


def test_the_network_can_be_hidden_and_resized(vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, SEEN + "source,sass")
    width = "document.querySelector('#detail').getBoundingClientRect().width"
    before = page.eval(width)
    page.eval("document.querySelector('#splitter').focus()")
    page.press(*["ArrowLeft"] * 5)
    assert page.eval(width) > before + 100
    page.press("w")
    assert page.eval(width) == 1440
    page.press("w")
    assert page.eval(width) < 1440
