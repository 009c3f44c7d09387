"""Lines as text for people: harmless, bounded, each row a row."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.jupyter.output.text import LONGEST, count_of_lines, rendered
from ipyreconnect.lines.line import Line
from ipyreconnect.lines.text import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("* OK ready", "* OK ready"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\tb\x00c\x7f", r"a\tb\x00c\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("over\rwritten", r"over\rwritten"),
        ("\u202eevil", r"\u202eevil"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800", r"\ud800"),
        ("Grüße\u00a0🦆 日本", "Grüße\u00a0🦆 日本"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_what_a_terminal_would_obey_is_made_visible(text: str, shown: str) -> None:
    """No server can clear the screen, set a title, or turn a line's direction."""
    assert visible(text) == shown


@given(st.text())
def test_no_control_character_ever_comes_through(text: str) -> None:
    """Whatever comes, no character that a terminal obeys is in what is shown."""
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", visible(text))


@given(st.binary())
def test_a_received_line_is_rows_without_control_characters(data: bytes) -> None:
    """The same for whole lines, also those that carry line ends (announced bytes)."""
    for row in rendered(Line(data)):
        assert not re.search("[\x00-\x1f\x7f-\x9f]", row)


def test_a_line_with_announced_bytes_has_a_row_for_each_of_their_lines() -> None:
    """An IMAP literal reads like the text that it is."""
    line = Line(b"* 1 FETCH (BODY[] {14}\r\nDear\r\n\r\nYours\r\n)")
    assert rendered(line) == ["< * 1 FETCH (BODY[] {14}", "  Dear", "  ", "  Yours", "  )"]
    assert rendered(Line(b"$4\r\nab\r\n")) == ["< $4", "  ab"]


def test_an_over_long_line_is_cut_and_says_so() -> None:
    """A line without end costs at most two screens."""
    (row,) = rendered(Line(b"x" * (LONGEST + 7)))
    assert row == f"< {'x' * LONGEST} … 7 more characters"
    assert rendered(Line(b"abc", truncated=True)) == ["< abc …"]


def test_a_number_of_lines_is_a_phrase() -> None:
    """One line, no lines, and a thousand with a comma."""
    assert [count_of_lines(count) for count in (0, 1, 2, 1234)] == [
        "0 lines",
        "1 line",
        "2 lines",
        "1,234 lines",
    ]
