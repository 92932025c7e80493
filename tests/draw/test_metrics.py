"""Widths of texts without a font."""

import pytest

from cnndsl.draw.metrics import BOLD, elided, width


def test_width_is_that_of_the_letters() -> None:
    assert width("", 12) == 0
    assert width("il", 10) == pytest.approx(6.0)
    assert width("il", 20) == pytest.approx(12.0)
    assert width("il", 10, bold=True) == pytest.approx(6.0 * BOLD)
    assert width("conv", 10) == pytest.approx(width("co", 10) + width("nv", 10))
    assert width("\u6f22", 10) > width("W", 10) > width("\u00e9", 10) > width("e", 10)


@pytest.mark.parametrize(("text", "most", "shown"), [
    ("conv", 4, "conv"), ("abcdefghij", 10, "abcdefghij"), ("abcdefghijk", 10, "abcd...ijk"),
    ("abcdefghijkl", 9, "abc...jkl"),
])  # fmt: skip
def test_long_texts_lose_their_middle(text, most, shown) -> None:
    assert elided(text, most) == shown
    assert len(shown) <= most
