"""A browser for the whole run, pages that must not complain, and reports that several tests look at."""

from collections.abc import Iterator
from pathlib import Path

import fakes
import pytest
from browser import Browser, Open, Page, find
from fakes import write

from cnndsl.report import Report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find()
    if path is None:
        pytest.skip("no Chromium here: `apt-get install chromium` brings it")
    with Browser(path) as found:
        yield found


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """``open_page(path, "#view=code", dark=True)``. Afterwards: no complaint, no request but for the file itself."""
    opened: list[Page] = []
    paths: list[Path] = []

    def open_(path: Path, fragment: str = "", *, width: int = 1440, height: int = 900, dark: bool = False) -> Page:
        opened.append(Page(browser, width=width, height=height, dark=dark))
        paths.append(path)
        return opened[-1].open(path, fragment)

    yield open_
    for found, path in zip(opened, paths, strict=True):
        assert found.complaints == []
        assert {url.partition("#")[0] for url in found.requests} == {path.resolve().as_uri()}
        found.close()


@pytest.fixture(scope="session")
def vgg() -> Report:
    """VGG-19: 24 launches of 17 kernels, from two files. One kernel has 20,000 instructions."""
    return fakes.fake_report(
        fakes.graph_of(fakes.EXAMPLES / "vgg19.cnn"), lengths={"stage1_conv2": 20_000}, spilling=["fc6"]
    )


@pytest.fixture(scope="session")
def vgg_page(vgg: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(vgg, tmp_path_factory.mktemp("vgg"))


@pytest.fixture(scope="session")
def two() -> Report:
    """A branching network for two GPUs; of one of them a kernel could not be compiled."""
    return fakes.fake_report(fakes.graph_of(fakes.BRANCHES), names=["sm_90", "sm_80"], failing=["inception2_conv1"])


@pytest.fixture(scope="session")
def two_page(two: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(two, tmp_path_factory.mktemp("two"))
