"""What several tests look for in the page."""

import json

from browser import Page

from cnndsl.report import Report

VIEWS = ("overview", "code", "resources", "cost", "fusion")

SEEN = "#launch=stage1.conv1&view=code&panes="
"""The code of a short kernel; stages follow."""


def lit(page: Page, selector: str) -> list[int]:
    """The numbers of the lines that are lit in a code view, of those that are drawn."""
    return sorted(_numbers(page, f"{selector} .line.lit"))


def drawn(page: Page, selector: str) -> set[int]:
    """The numbers of the lines that are in the document."""
    return set(_numbers(page, f"{selector} .line"))


def _numbers(page: Page, selector: str) -> list[int]:
    return page.eval(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => Number(e.dataset.line))")


def pane(number: int) -> str:
    """The selector of a pane."""
    return f"#view-code .pane:nth-child({number})"


def times(count: int) -> str:
    """How often a line was used, as the page writes it beside the line."""
    return f"\N{MULTIPLICATION SIGN}{count}"


def set_value(page: Page, selector: str, value: str) -> None:
    """Choose an option, as a person does."""
    page.eval(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
        "e.dispatchEvent(new Event('change')); })()"
    )
    page.settle()


def title(page: Page) -> str:
    return page.text("#headline h2")


def in_view(page: Page, selector: str) -> bool:
    """Whether an element lies within the box that scrolls it."""
    return page.eval(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
        "const [a, b] = [e, e.closest('.scroller, #picture')].map((each) => each.getBoundingClientRect());"
        "return a.top >= b.top - 1 && a.bottom <= b.bottom + 1; })()"
    )


def expected_links(report: Report, stage: str, line: int, *, launch: int = 0, shift: int = 0) -> dict[str, list[int]]:
    """For a line of a stage (from 1), the lines of each stage that come from the same line of the source."""
    target = report.targets[0]
    texts = report.texts[target.kernels[target.launches[launch].kernel].texts]
    source = line if stage == "source" else texts[stage].map[line - 1] + shift
    found = {name: [i for i, s in enumerate(text.map, 1) if s == source] for name, text in texts.items()}
    return {**found, "source": [source]}
