"""Tables: nothing lost at any width, figures that stand right."""

import re

from hypothesis import given
from hypothesis import strategies as st

from cnndsl.cli.table import Column, fitting_widths, markdown, render_rows, wrap
from cnndsl.figures import binary, compact

WORDS = st.text("abcXYZ019()=x", min_size=1, max_size=14)
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(" -> ".join)
PATHS = st.lists(WORDS, min_size=1, max_size=5).map(".".join)


@given(st.one_of(TEXTS, PATHS), st.integers(4, 60))
def test_wrapping_keeps_every_character(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(line == line.rstrip() and line for line in lines)


def test_lines_begin_with_the_arrow() -> None:
    text = "conv(96, 11x11, stride=4) -> relu -> dropout"
    assert wrap(text, 28) == ["conv(96, 11x11, stride=4)", "-> relu -> dropout"]


def test_paths_break_behind_their_dots() -> None:
    assert wrap("layer1.downsample.conv1", 12) == ["layer1.", "downsample.", "conv1"]


def test_one_long_word_is_cut_and_not_lost() -> None:
    assert wrap("abcdefghij", 4) == ["abcd", "efgh", "ij"]


ROWS = st.lists(st.tuples(PATHS, TEXTS, st.integers(0, 10**10)), min_size=1, max_size=8)


@given(ROWS, st.integers(45, 160))
def test_no_line_is_longer_than_the_terminal(rows: list[tuple[str, str, int]], width: int) -> None:
    columns = (
        Column("name", tuple(r[0] for r in rows), wraps=True),
        Column("layer", tuple(r[1] for r in rows), wraps=True),
        Column("figure", tuple(f"{r[2]:,}" for r in rows), right=True),
    )
    widths = fitting_widths(columns, width)
    assert widths is not None
    lines = [line for row in render_rows(columns, widths) for line in row]
    assert max(map(len, lines)) <= width
    ends = {len(line) for line in lines if re.search(r"  [\d,]+$", line)}
    assert len(ends) <= 1, "figures stand to the right"


def test_there_is_no_table_without_room() -> None:
    columns = (Column("name", ("a" * 30,), wraps=True, least=10), Column("n", ("1,234,567",), right=True))
    assert fitting_widths(columns, 20) is None
    assert fitting_widths(columns, 21) == (10, 9)
    assert fitting_widths(columns, None) == (30, 9)


def test_markdown_escapes_bars() -> None:
    assert markdown((Column("a|b", ("c|d",)), Column("n", ("1",), right=True))) == [
        "| a\\|b | n |",
        "|:---|---:|",
        "| c\\|d | 1 |",
    ]


def test_compact_figures() -> None:
    cases = {0: "0", 999: "999", 1000: "1.0K", 25_088: "25.1K", 999_949: "999.9K", 999_950: "1.0M"}
    assert compact(10**21) == "1000.0E"
    assert {number: compact(number) for number in cases} == cases


def test_bytes() -> None:
    cases = {0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 618_348: "603.9 KiB", 2**34: "16.0 GiB"}
    assert binary(2**20 - 1) == "1.0 MiB"
    assert {count: binary(count) for count in cases} == cases
