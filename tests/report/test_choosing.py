"""A click on a line, a layer, a row or a link: what the page shows then."""

from pathlib import Path

import fakes
import pytest
from browser import Open
from fakes import write
from looking import in_view, pane, set_value, times, title

from cnndsl.report import Report


def test_a_line_of_the_text_shows_its_kernel(vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page)
    assert page.text(".tabs [aria-selected=true]") == "Overview"
    page.click("#text .line[data-line='13']")
    assert title(page) == "fc6 + relu1"
    assert page.text(".tabs [aria-selected=true]") == "Code"
    assert page.texts("#view-code .pane:not([hidden]) .small-tabs [aria-selected=true]") == ["Source", "SASS"]
    assert "fc6" in page.texts(f"{pane(1)} .line")[0]
    assert page.eval("[...document.querySelectorAll('#text .line.marked')].map((e) => e.dataset.line)") == ["13"]
    assert page.eval("location.hash") == "#view=code&launch=fc6&panes=source,sass"
    boxes = page.eval("[...document.querySelectorAll('g.box.selected g.node')].map((e) => e.dataset.node)")
    assert boxes == ["fc6", "relu1", "dropout1"]
    assert in_view(page, "g.box.selected")


def test_a_line_of_many_layers_offers_them_all(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page)
    page.click("#file-tabs [data-file='1']")
    (line,) = [i for i, text in enumerate(vgg.files[1].text.splitlines(), 1) if "conv(" in text]
    page.click(f"#text .line[data-line='{line}']")
    chips = page.texts("#notice .chip")
    expected = [each.title for each in vgg.targets[0].launches if (1, line) in each.places]
    assert chips == expected
    assert len(chips) == 16
    assert page.text(f"#text .line[data-line='{line}'] .tag") == times(16)
    page.click("#notice .chip:nth-of-type(5)")
    assert title(page) == chips[4]
    assert page.texts("#notice .chip[aria-pressed=true]") == [chips[4]]


def test_a_layer_of_the_picture_shows_its_kernel_or_says_why_it_has_none(vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page)
    page.click("g.node[data-node='stage3.conv2']")
    assert title(page) == "stage3.conv2 + relu2"
    page.click("g.node[data-node='stage3.relu2']")
    assert title(page) == "stage3.conv2 + relu2"
    page.click("g.node[data-node='dropout2']")
    assert page.text("#notice").startswith("dropout2 has no kernel of its own: does nothing at inference.")
    page.click("g.node[data-node='image']")
    assert "an input" in page.text("#notice")
    page.click("#notice .close")
    assert page.eval("document.querySelector('#notice').hidden")


def test_lines_without_a_kernel_say_so(vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page)
    page.click("#text .line[data-line='1']")
    assert page.text("#notice").startswith("There is no layer on vgg19.cnn:1.")
    page.click("#text .line[data-line='5']")
    assert page.text("#notice").startswith("image has no kernel: an input")


@pytest.mark.parametrize(
    ("fragment", "view", "heading"),
    [
        ("#launch=stage5.conv4&view=cost", "Cost", "stage5.conv4 + relu4"),
        ("#kernel=stage4_conv1", "Code", "stage4.conv1 + relu1"),
        ("#launch=stage2.relu1", "Code", "stage2.conv1 + relu1"),
    ],
)
def test_deep_links(vgg_page: Path, open_page: Open, fragment: str, view: str, heading: str) -> None:
    page = open_page(vgg_page, fragment)
    assert page.text(".tabs [aria-selected=true]") == view
    assert title(page) == heading


def test_a_link_to_nothing_says_so(vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, "#launch=nonsense&panes=bogus&line=-3")
    assert page.text(".tabs [aria-selected=true]") == "Overview"
    assert page.text("#notice").startswith("There is no launch nonsense for sm_90.")


def column(page, name: str) -> list[str]:
    heads = [text.rstrip() for text in page.texts(".launches thead button")]
    number = heads.index(name) + 1
    return page.texts(f".launches tbody tr > :nth-child({number})")


def test_the_table_sorts_by_every_column(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page)
    launches = vgg.targets[0].launches
    assert column(page, "Layers") == [each.title for each in launches]
    heads = page.texts(".launches thead button")
    for number, name in enumerate(heads, 1):
        page.click(f".launches thead th:nth-child({number}) button")
        assert page.eval(f"document.querySelector('.launches th:nth-child({number})').getAttribute('aria-sort')") in {
            "ascending", "descending",
        }, name
    number = heads.index("At least") + 1
    page.click(f".launches thead th:nth-child({number}) button")
    by_time = sorted(range(len(launches)), key=lambda i: (-launches[i].seconds, i))
    assert column(page, "#") == [str(i + 1) for i in by_time]
    page.press("Enter")
    reverse = sorted(range(len(launches)), key=lambda i: (launches[i].seconds, i))
    assert column(page, "#") == [str(i + 1) for i in reverse]
    assert column(page, "#") != column(page, "Registers")


def test_the_table_opens_kernels_and_follows_keys(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page)
    page.press("j", "j")
    assert page.texts(".launches tr.selected > :first-child") == ["3"]
    page.click(".launches tbody tr:nth-child(20) .plain")
    assert title(page) == vgg.targets[0].launches[19].title
    assert column(page, "Spills").count("8") == 1
    page.press("1")
    assert page.eval("document.querySelectorAll('.roofline .dot').length") == 19


def test_two_targets(two: Report, two_page: Path, open_page: Open) -> None:
    page = open_page(two_page)
    assert page.texts("#target option") == ["sm_90 (H100 SXM5)", "sm_80 (A100 80GB SXM)"]
    page.click("g.node[data-node='inception2.conv1']")
    assert page.text("#view-code .missing h3") == "inception2_conv1 did not compile for sm_90"
    assert "does not dominate this use\n<of conv>" in page.text("#view-code .missing pre")
    assert page.texts("#view-code .pane:not([hidden]) .small-tabs [aria-selected=true]") == ["Source"]
    set_value(page, "#target", "1")
    assert title(page) == "inception2.conv1 + relu1"
    assert page.eval("location.hash").startswith("#target=sm_80&")
    assert page.text("#view-code .missing h3") == "inception2_conv1 did not compile for sm_80"
    page.press("1")
    assert len(page.texts(".launches tr.failed")) == 2  # both inceptions have it
    assert page.texts(".fact.bad dd:not(.about)") == ["1 kernel"]
    page.press("j", "2")
    assert page.texts("#view-code .missing") == []
    assert page.texts("#view-code .pane:not([hidden]) .small-tabs [aria-selected=true]") == ["Source", "SASS"]


def test_without_machine_code_the_source_stands_alone(open_page: Open, tmp_path: Path) -> None:
    report = fakes.fake_report(fakes.graph_of(fakes.SMALL), names=["interpreter"], dtype="fp32")
    page = open_page(write(report, tmp_path), "#launch=conv1")
    assert page.texts("#view-code .pane:not([hidden]) .small-tabs [aria-selected=true]") == ["Source"]
    assert "no machine code" in page.text("#view-code .missing")
    page.press("1")
    assert "no machine code" in page.text("#view-overview .note")
    assert page.texts(".roofline") == []
    page.press("4")
    assert "no peaks are assumed" in page.text("#view-cost .note")
