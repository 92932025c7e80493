"""The panes of code: which lines light up together, and what else they show."""

from pathlib import Path

import fakes
from browser import Open
from fakes import write
from looking import SEEN, drawn, expected_links, in_view, lit, pane, set_value, times

from cnndsl.report import Report


def test_pointing_at_an_instruction_lights_its_lines(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, SEEN + "source,ttir,sass")
    page.hover(f"{pane(3)} .line[data-line='10']")
    links = expected_links(vgg, "sass", 10)
    found = {"source": lit(page, pane(1)), "ttir": lit(page, pane(2)), "sass": lit(page, pane(3))}
    assert found["ttir"] == [i for i in links["ttir"] if i in drawn(page, pane(2))]
    assert found["sass"] == [i for i in links["sass"] if i in drawn(page, pane(3))]
    assert 10 in found["sass"]
    page.eval(f"desk.panes[0].view.reveal({links['source'][0] - 1})")
    assert lit(page, pane(1)) == links["source"]
    places = vgg.targets[0].launches[0].places
    assert lit(page, "#text") == sorted(line for file, line in places if file == 0)
    assert page.text(".where").startswith(f"line {links['source'][0]} → ")
    # One line further, other lines are lit: the test would notice.
    assert found != {name: expected_links(vgg, "sass", 10, shift=1)[name] for name in found}
    page.away()
    assert [lit(page, selector) for selector in (pane(1), pane(2), pane(3), "#text")] == [[], [], [], []]


def test_a_click_follows_the_line_and_stays(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, SEEN + "source,sass")
    body = fakes.body_lines(vgg.texts[vgg.targets[0].kernels[0].texts]["source"].text)
    source = body[7 * 44 % len(body)]
    links = expected_links(vgg, "source", source)
    page.eval(f"desk.panes[0].view.reveal({source - 1})")
    page.settle()
    page.click(f"{pane(1)} .line[data-line='{source}']")
    page.away()
    assert lit(page, pane(1)) == [source]
    assert in_view(page, f"{pane(2)} .line[data-line='{links['sass'][0]}']")
    assert lit(page, pane(2)) == [i for i in links["sass"] if i in drawn(page, pane(2))] != []
    assert f"line={source}" in page.eval("location.hash")
    assert page.text(f"{pane(2)} .links").endswith(f"from line {source}")
    page.press("Escape")
    assert lit(page, pane(1)) == []
    assert "line=" not in page.eval("location.hash")


def test_lines_say_where_they_come_from_without_a_pointer(vgg: Report, vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, SEEN + "source,sass")
    texts = vgg.texts[vgg.targets[0].kernels[0].texts]
    assert page.text(f"{pane(2)} .line[data-line='2'] .tag") == str(texts["sass"].map[1])
    source = texts["sass"].map[1]
    page.eval(f"desk.panes[0].view.reveal({source - 1})")
    many = sum(line == source for line in texts["sass"].map)
    assert page.text(f"{pane(1)} .line[data-line='{source}'] .tag") == times(many)
    selector = f"{pane(2)} .line[data-line='2']"
    described = page.eval(f'document.querySelector("{selector}").getAttribute("aria-description")')
    assert described.startswith(f"from line {source}, warp-group matrix product")


def test_panes_show_any_stage(vgg_page: Path, open_page: Open) -> None:
    page = open_page(vgg_page, SEEN + "source,sass")
    assert page.texts(f"{pane(2)} .small-tabs button") == ["Source", "TTIR", "PTX", "SASS"]
    page.click(f"{pane(2)} .small-tabs [data-stage='ptx']")
    assert "fma.rn.f32" in page.text(f"{pane(2)} .line[data-line='2']")
    set_value(page, ".desk-foot select", "3")
    assert page.texts("#view-code .pane .small-tabs [aria-selected=true]") == ["Source", "PTX", "SASS"]
    assert "panes=source,ptx,sass" in page.eval("location.hash")
    page.press("j")
    assert page.texts("#view-code .pane .small-tabs [aria-selected=true]") == ["Source", "PTX", "SASS"]


def test_a_real_kernel(open_page: Open, tmp_path: Path) -> None:
    """Compiled by Triton: an instruction of the matrix units leads to `tl.dot`."""
    from cnndsl import targets
    from cnndsl.report import build

    graph = fakes.graph_of("network Real { input x [8x8x16] conv: conv(16, 3x3, pad=1) }")
    report = build(graph, targets=[targets.get("sm_80")], dtype="fp16", workers=1)
    (kernel,) = report.targets[0].kernels
    assert kernel.error is None
    texts = report.texts[kernel.texts]
    lines = texts["sass"].text.splitlines()
    number = next(i for i, line in enumerate(lines, 1) if "HMMA" in line)
    source = texts["sass"].map[number - 1]
    assert "tl.dot" in texts["source"].text.splitlines()[source - 1]
    page = open_page(write(report, tmp_path), f"#launch=conv&view=code&panes=source,sass&line={source}")
    assert lit(page, pane(1)) == [source]
    assert number in lit(page, pane(2))
    assert in_view(page, f"{pane(1)} .line[data-line='{source}']")
    assert "tensor cores" in page.eval(f"desk.describe(desk.stages.get('sass'), {number - 1})")
